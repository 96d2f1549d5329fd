"""The page in a real browser, where there is one."""

import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from evaluate.pages.report import write_report
from tests.evaluate.pages.test_pages import fill_store, write_result
from tests.page_reader import Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")

needs_browser = pytest.mark.skipif(BROWSER is None, reason=f"no browser: {', '.join(NAMES)}")


@pytest.fixture(scope="module")
def page(finished_run: Path, dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("browser") / "run"
    shutil.copytree(finished_run, run)
    fill_store(run, dataset)
    write_result(run)
    return write_report(run)


def open_in_browser(page: Path, scratch: Path) -> tuple[str, str]:
    """The document after its scripts ran, and what the browser logged."""
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={scratch}", "--enable-logging=stderr"]
    command += ["--v=0", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"]
    done = subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout, done.stderr


@needs_browser
def test_the_page_opens_without_errors_and_requests(page, tmp_path):
    probe = """<script>
    addEventListener("error", (event) => console.error("failed: " + event.message));
    addEventListener("load", () => {
      const names = performance.getEntriesByType("resource").map((entry) => entry.name);
      document.body.dataset.loaded = names.filter((name) => !name.startsWith("data:")).join(" ");
      document.body.dataset.wider = document.documentElement.scrollWidth - innerWidth;
      document.querySelector("table.sortable th:nth-child(1) button").click();
      document.querySelector(".tall-list button").click();
      document.querySelector("svg.chart").dispatchEvent(new FocusEvent("focus"));
    });
    </script>"""
    copy = tmp_path / "page.html"
    text = page.read_text(encoding="utf-8").replace("<title>", f"{probe}<title>", 1)
    digest = sha256(probe[len("<script>") : -len("</script>")].encode()).digest()
    allowed = f"script-src 'sha256-{b64encode(digest).decode()}' "
    copy.write_text(text.replace("script-src ", allowed, 1), encoding="utf-8")
    dom, logged = open_in_browser(copy, tmp_path / "profile")
    assert "CONSOLE" not in logged, logged
    (body,) = Page(dom).all("body")
    assert body["data-loaded"] == "" and int(body["data-wider"]) <= 0
    seen = Page(dom)
    heads = [heading for _, heading in seen.headings]
    assert {"Results", "Training", "What is found", "Classes", "Map", "Data"} <= set(heads)
    assert ["trained", "50.0 ± 1.5", "75.5 ± 1.5", "–", "this run"] in seen.rows
    (sorted_by,) = seen.all("th", **{"aria-sort": "ascending"})
    assert sorted_by.get("class") is None  # by name, after the click
    assert seen.all("button", **{"aria-pressed": "true"})
    assert "step 8: loss" in seen.text


@needs_browser
def test_a_script_that_got_into_the_page_does_not_run(page, tmp_path):
    markup = """<script>document.title = "ran"</script><img src="x" onerror="document.title='ran'">
    <iframe srcdoc="<script>parent.document.title = 'ran'</script>"></iframe>"""
    copy = tmp_path / "page.html"
    text = page.read_text(encoding="utf-8")
    copy.write_text(text.replace('<main id="main"', f'{markup}<main id="main"', 1))
    dom, logged = open_in_browser(copy, tmp_path / "profile")
    assert "<title>ran" not in dom and "Content Security Policy" in logged
    text = text.replace("Content-Security-Policy", "X")  # without it they would
    copy.write_text(text.replace('<main id="main"', f'{markup}<main id="main"', 1))
    assert "<title>ran" in open_in_browser(copy, tmp_path / "other")[0]


@needs_browser
def test_the_probe_sees_errors_and_requests(tmp_path):
    copy = tmp_path / "bad.html"
    copy.write_text("<!doctype html><title>x</title><script>nothing()</script>")
    assert "CONSOLE" in open_in_browser(copy, tmp_path / "profile")[1]
