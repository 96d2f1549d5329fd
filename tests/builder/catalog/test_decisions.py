import json

import pytest

from builder.build.build import BuildSettings, How, build
from builder.catalog import folder, table
from builder.catalog.decisions import leave_out
from builder.catalog.source import Catalog, Source
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError

NAMES = ("a/1.avi", "a/2.avi", "b/=3.avi", "b/caf\udce9.avi", "b/e\u0301.avi")


@pytest.fixture
def source(tmp_path):
    for name in NAMES:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "in"


def decided(source, *rows: str, head: str = "video,decision,group"):
    path = source.parent / "decisions.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return leave_out(folder.read(source), path)


def test_dropped_videos_are_left_alone_and_the_others_as_they_were(source):
    rows = ["a/1.avi,keep,1", "a/2.avi,drop,1", "b/=3.avi,drop,2"]
    rows += ["b/caf\\udce9.avi,drop,2", "b/\u00e9.avi,drop,2"]
    before, after = folder.read(source), decided(source, *rows)
    assert after.videos == tuple(video for video in before.videos if video.name == "a/1.avi")
    assert after.left_alone == tuple((name, "left out by decisions.csv") for name in NAMES[1:])
    assert after.classes == before.classes  # labels stay
    assert after.remarks[-1] == (
        "decisions.csv leaves out 4 of 5 videos. Careful: no video is left of b; labels stay."
    )


def test_beside_a_table_of_splits_and_of_a_list(source):
    (source / "splits.csv").write_text("video,split\na/1.avi,train\na/2.avi,test\n")
    for name in NAMES[2:]:
        (source / name).unlink()
    (video,) = decided(source, "a/2.avi,drop,1").videos
    assert (video.name, video.splits) == ("a/1.avi", {"1": "train"})
    listed = source / "videos.csv"
    listed.write_text("path,label\na/1.avi,x\na/2.avi,y\n")
    after = leave_out(table.read(listed), source.parent / "decisions.csv")
    assert [video.name for video in after.videos] == ["a/1.avi"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a/1.avi,maybe,1"], "line 2: the decision on 'a/1.avi' is 'maybe'; it is keep or drop"),
        (["a/1.avi,keep,1", "a/1.avi,drop,1"], "line 3: 'a/1.avi' is there twice"),
        (["a/9.avi,keep,1", "a/1.avi,drop,1"], "names 1 of 2 videos that are not below"),
        ([f"{name},drop,1" for name in ("a/1.avi", "a/2.avi")], "drops every video .2."),
    ],
)
def test_what_cannot_be_followed(source, rows, words):
    for name in NAMES[2:]:
        (source / name).unlink()
    with pytest.raises(BuilderError, match=words):
        decided(source, *rows)


def test_other_columns_and_fixed_data_sets(source):
    with pytest.raises(BuilderError, match="it needs video,decision and may have group"):
        decided(source, "a/1.avi,drop", head="video,split")
    official = Catalog("ucf101", source, (Source("a", source, None, "a", {}),), ())
    with pytest.raises(BuilderError, match="the videos of ucf101 are fixed"):
        leave_out(official, source.parent / "decisions.csv")


def test_every_dropped_video_is_a_row_with_its_reason(make_video, tmp_path):
    for name in ("1.avi", "2.avi"):
        make_video(tmp_path / "in" / name, frames=3)
    catalog = decided(tmp_path / "in", "2.avi,drop,1")
    out = tmp_path / "out"
    summary = build(catalog, out, BuildSettings(FrameSettings(short_side=32)), How())
    assert summary.counts["built"] == 1 and summary.counts["ignored"] == 1
    rows = [json.loads(line) for line in (out / "videos.jsonl").read_text().splitlines()]
    assert [(row["name"], row["status"]) for row in rows] == [
        ("1.avi", "built"),
        ("2.avi", "ignored"),
    ]
    assert rows[1]["reason"] == "left out by decisions.csv"
