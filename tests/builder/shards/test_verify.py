import errno
import json
import shutil
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.build.build import BuildSettings, How, build
from builder.catalog import folder
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError
from builder.shards import verify as verifying
from builder.shards.dataset import ShardDataset
from builder.shards.verify import Report, verify


@pytest.fixture
def copy(shards, tmp_path) -> Path:
    shutil.copytree(shards, tmp_path / "copy")
    return tmp_path / "copy"


def problems(path: Path, deep: bool = False) -> tuple[str, ...]:
    return verify(path, deep, workers=2).problems


def test_what_was_built_is_whole(dataset):
    counts, seen = dataset.counts, []
    plain = verify(dataset.folder, False, 2, lambda done, total, text: seen.append((done, total)))
    shards = len(dataset.manifest.shards)
    assert plain == Report(dataset.folder, shards, 16, 0, counts["bytes"], ())
    assert seen[-1] == (counts["bytes"], counts["bytes"])
    assert verify(dataset.folder, True, 2) == Report(
        dataset.folder, shards, 16, counts["frames"], counts["bytes"], ()
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_flipped_bit_is_found_and_its_sample_named(copy, data):
    dataset = ShardDataset(copy)
    shard = data.draw(st.sampled_from(dataset.manifest.shards))
    path = copy / shard.name
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(content)
    changed[at] ^= 1 << bit
    path.write_bytes(changed)
    try:
        own = sorted((v for v in dataset.videos if v.shard == path), key=lambda v: v.location.start)
        sample = next((v for v in own if at < v.location.end), own[-1])
        for deep in (False, True):
            found = problems(copy, deep)
            assert len(found) == 2
            assert any("SHA-256" in text for text in found)
            assert any(sample.name in text for text in found)
    finally:
        path.write_bytes(content)


def test_shards_that_are_cut_longer_missing_or_strange(copy):
    dataset = ShardDataset(copy)
    first, second, third = (copy / shard.name for shard in dataset.manifest.shards[:3])
    content = first.read_bytes()
    first.write_bytes(content[: len(content) // 2])
    second.write_bytes(second.read_bytes() + b"x")
    third.unlink()
    shutil.copy(second, copy / "folder-000099.tar")
    found = "\n".join(problems(copy))
    assert f"{first.name}: " in found
    assert "the shard ends inside it" in found
    assert "the last sample, has changed" in found
    assert f"{third.name}: it is missing" in found
    assert "folder-000099.tar: no shard of this data set" in found


def test_a_shard_that_cannot_be_read_is_not_called_damaged(copy, monkeypatch):
    first, second = (copy / shard.name for shard in ShardDataset(copy).manifest.shards[:2])
    really = verifying.open_regular

    def refused(path: Path) -> BinaryIO:
        if path == first:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(path)

    monkeypatch.setattr(verifying, "open_regular", refused)
    report = verify(copy, deep=False, workers=1)
    assert report.problems == (f"{first.name}: Permission denied",)
    assert report.unread == 1
    second.unlink()
    second.mkdir()
    report = verify(copy, deep=False, workers=1)
    assert len(report.problems) == 2 and report.unread == 1


def test_tables_that_have_changed(copy):
    path = copy / "videos.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines).replace('"label": 0', '"label": 1', 1))
    found = problems(copy, deep=True)
    assert any("videos.jsonl: it is not what" in text for text in found)
    assert any("JSON have changed" in text for text in found)
    path.write_text("".join(lines[1:]))
    assert any("built is 16, 15 in videos.jsonl" in text for text in problems(copy))


def test_a_picture_that_cannot_be_decoded_is_found_by_deep_alone(make_video, tmp_path, monkeypatch):
    """A shard that was built of spoilt pictures: its hashes agree."""
    make_video(tmp_path / "in" / "a.avi")
    build(folder.read(tmp_path / "in"), tmp_path / "out", BuildSettings(FrameSettings(32)), How())
    dataset = ShardDataset(tmp_path / "out")
    (video,) = dataset.videos
    monkeypatch.setattr("builder.shards.verify.simplejpeg.decode_jpeg", _spoilt)
    assert problems(dataset.folder) == ()
    assert len(problems(dataset.folder, deep=True)) == video.frames


def _spoilt(jpeg: bytes, **options: object) -> None:
    raise ValueError("premature end")


def test_dataset_json_with_another_count(copy):
    info = json.loads((copy / "dataset.json").read_text())
    info["counts"]["frames"] += 1
    (copy / "dataset.json").write_text(json.dumps(info))
    written, counted = problems(copy)
    assert counted == "dataset.json: it is not what the build wrote"
    assert written.startswith("dataset.json: frames is")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), name=st.sampled_from(["dataset.json", "videos.jsonl"]))
def test_any_flipped_bit_of_the_tables_is_found(copy, data, name):
    content = (copy / name).read_bytes()
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (copy / name).write_bytes(changed)
    try:
        found = problems(copy)
    except BuilderError as error:
        found = (str(error),)
    finally:
        (copy / name).write_bytes(content)
    assert any(name in text for text in found)


@pytest.mark.parametrize("change", ["another", "fewer", "none"])
def test_times_are_compared_with_the_row(motion, tmp_path, change):
    copy = tmp_path / "copy"
    shutil.copytree(motion.folder, copy)
    assert not problems(copy, deep=True)
    rows = [row.to_json() for row in motion.rows()]
    row = next(row for row in rows if row.get("times"))
    if change == "another":
        row["times"][3] += 0.001
    else:
        row["times"] = row["times"][:-1] if change == "fewer" else None
    (copy / "videos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = "\n".join(problems(copy, deep=True))
    assert "videos.jsonl: it is not what the build wrote" in found
    assert f"{row['name']} (sample {row['key']:09d}): its tar headers or its JSON" in found
    assert ("frame times" in found) == (change == "fewer")
