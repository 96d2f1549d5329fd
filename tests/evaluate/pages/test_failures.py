"""What a build left out, on the page about a run."""

import json
import shutil

from builder.shards.manifest import VIDEOS_FILE
from evaluate.pages.report import make_report
from tests.page_reader import Page


def test_failures_are_counted_and_listed_to_a_limit(run_on_copy, copy):
    failed = {"status": "failed", "reason": "truncated", "detail": "the end is missing"}
    ignored = {"status": "ignored", "name": "x.txt", "key": None, "reason": "no video"}
    with (copy / VIDEOS_FILE).open("a") as file:
        for i in range(53):
            file.write(json.dumps(failed | {"key": 100 + i, "name": f"bad{i}.avi"}) + "\n")
        file.write(json.dumps(ignored) + "\n")
    page = Page(make_report(run_on_copy))
    assert "69 videos expected, 16 built, 53 failed; 1 other files left alone" in page.text
    assert ["truncated", "53", "failed, not in the shards"] in page.rows
    assert sum(row[0].startswith("bad") for row in page.rows) == 50
    assert "… and 3 more" in page.text
    shutil.rmtree(copy)
    assert "so there is no list of the failed videos" in Page(make_report(run_on_copy)).text
