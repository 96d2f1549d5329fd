"""Pages run no script but their own, and ask for nothing."""

import re
import shutil
from base64 import b64encode
from hashlib import sha256

from evaluate.pages.report import write_report
from evaluate.pages.template import policy
from tests.page_reader import Page

EVIL = "<script>alert(1)</script>"


def test_the_policy_allows_the_pages_own_script_alone(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")

    text = write_report(run).read_text(encoding="utf-8")
    (meta,) = Page(text).all("meta", **{"http-equiv": "Content-Security-Policy"})
    script = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    own = b64encode(sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{own}';" in meta["content"]
    assert meta["content"].startswith("default-src 'none';")
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_a_script_of_another_is_not_allowed():
    page = "<head></head><p>x</p><script>ours()</script></body>"
    assert policy(page.replace("x", EVIL)) == policy(page)
