"""A data set that somebody else made: names in its tables are files in its folder, numbers are what
they can be, and each thing else is a sentence."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch

from builder.build.build import BuildSettings, How, build
from builder.catalog import folder as folder_reader
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError
from builder.shards import validation as tables
from builder.shards.dataset import ShardDataset, read_frames, read_offsets
from builder.shards.validation import MOST_PIXELS, wrong_row, wrong_times
from builder.shards.verify import verify
from evaluate.pages.thumbnails import frames_of
from tests.commands import refused, run_ascnet
from tests.security.traps import Trap
from trainer.config.recipe_file import override
from trainer.data.batches import training_batches
from trainer.data.clip_reader import read_batches
from trainer.data.jpeg_decoding import decoded_size
from trainer.data.streaming.reader import stream_shards
from trainer.data.training_set import gather
from trainer.distributed import ALONE
from trainer.errors import TrainerError

Change = Callable[[Any], None]


@pytest.fixture
def copy(shards, tmp_path) -> Path:
    shutil.copytree(shards, tmp_path / "copy")
    return tmp_path / "copy"


def info_with(folder: Path, change: Change) -> None:
    info = json.loads((folder / "dataset.json").read_text())
    change(info)
    (folder / "dataset.json").write_text(json.dumps(info))


def row_with(folder: Path, **changes: Any) -> None:
    """The first built video's row changed."""
    rows = [json.loads(line) for line in (folder / "videos.jsonl").read_text().splitlines()]
    rows[0].update(changes)
    (folder / "videos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def name_of_first(name: str) -> Change:
    return lambda info: info["shards"][0].update(name=name)


LOOKING = [
    ("info", "copy"),
    ("show", "copy", "--video", "0"),
    ("verify", "copy"),
    ("train", "copy", "--dry-run"),
    ("train", "copy", "--dry-run", "--set", "data.streaming=true"),
]


@pytest.mark.parametrize(
    "name",
    [
        "../outside.tar",
        "/abs/x.tar",
        "sub/x.tar",
        "",
        ".",
        "..",
        "a\nb.tar",
        "a\x1b[2J.tar",
        3,
        None,
    ],
)
def test_a_shard_is_a_file_in_the_folder(copy, tmp_path, name):
    inside = next(copy.glob("*.tar"))
    shutil.copy(inside, tmp_path / "outside.tar")
    info_with(copy, name_of_first(name))
    for words in LOOKING:
        assert "dataset.json was changed after it was built: a shard's name is" in refused(
            *words, cwd=tmp_path
        )


def test_a_shard_s_name_starts_no_program(copy, tmp_path, monkeypatch):
    trap = Trap(tmp_path / "started")
    info_with(copy, name_of_first(trap.command("cat {}/x.tar")))
    for words in LOOKING:
        said = refused(*(w.replace("copy", ".") for w in words), cwd=copy)
        assert "a shard's name is" in said
    assert not trap.is_sprung


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda info: info.update(dataset="x/../../../ESC"), "dataset is 'x/../../../ESC'"),
        (lambda info: info["shards"][0].update(splits={"../1": "train"}), "a shard's splits is"),
        (lambda info: info["shards"][0]["index"][0].__setitem__(0, -1), "cannot lie there"),
        (lambda info: info["shards"][0]["index"][0].__setitem__(0, 10**30), "cannot lie there"),
        (lambda info: info["shards"][0]["index"][0].__setitem__(1, 10**18), "cannot lie there"),
        (lambda info: info["shards"][0]["index"][1].__setitem__(1, 0), "cannot lie there"),
        (lambda info: info["shards"][0]["index"][0].__setitem__(3, 10**15), "cannot lie there"),
        (lambda info: info["shards"][0]["index"][0].pop(), "not four whole numbers"),
        (lambda info: info["shards"].append([]), r"a shard is []"),
        (lambda info: info["counts"].update(frames=-1), "counts.frames is -1"),
        (lambda info: info["counts"].update(failed=[1]), "counts.failed is [1]"),
        (lambda info: info.update(classes=[[]]), "classes is [[]]"),
        (lambda info: info["settings"].update(chroma="420,movie=x"), "settings.chroma is"),
        (lambda info: info.pop("shards"), "shards is not there"),
    ],
)
def test_a_dataset_json_of_others(copy, tmp_path, change, said):
    info_with(copy, change)
    for words in LOOKING:
        found = refused(*words, cwd=tmp_path)
        assert "dataset.json was changed after it was built: " in found and said in found


DEEP = b"[" * 200_000


@pytest.mark.parametrize("content", [DEEP, b'{"schema":' + DEEP, b"[]", b"\xff", b"null", b"7"])
@pytest.mark.parametrize("name", ["dataset.json", "videos.jsonl"])
def test_tables_that_are_none(copy, tmp_path, name, content):
    (copy / name).write_bytes(content)
    for words in LOOKING:
        assert f"copy/{name} was changed after it was built" in refused(*words, cwd=tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 65500, "height": 65500},
        {"width": 0},
        {"height": -1},
        {"width": 1.5},
        {"frames": 10**12},
        {"frames": -3},
        {"frames": 0},
        {"key": -1},
        {"key": 10**30},
        {"key": "0"},
        {"fps": float("nan")},
        {"fps": -25.0},
        {"fps": 1e-300},
        {"splits": {"../1": "train"}},
        {"splits": [["1", "train"]]},
        {"factors": {"a": [1]}},
        {"label": -1},
        {"status": "other"},
        {"name": None},
        {"times": 3},
        {"cuts": 3},
        {"shard": "../x"},
    ],
    ids=str,
)
def test_rows_of_others(copy, tmp_path, changes):
    row_with(copy, **changes)
    for words in LOOKING:
        said = refused(*words, cwd=tmp_path)
        assert "videos.jsonl was changed after it was built: " in said
        assert f"{next(iter(changes))} " in said


@pytest.mark.parametrize(
    "changes",
    [
        {"key": 10**6},
        {"key": 1},
        {"frames": 10**9},
        {"bytes": 7},
        {"times": [0.0, float("nan")]},
        {"times": [0.0]},
        {"frames": 3, "times": [0.0, float("nan"), 1.0]},
        {"frames": 3, "times": [0.0, 2.0, 1.0]},
        {"frames": 3, "times": [0.0, 1.0, float("inf")]},
        {"frames": 3, "times": [0.0, 1.0, 1.0]},
        {"frames": 3, "times": [0.0, "1", 2.0]},
        {"frames": 3, "times": [0, 1, 10**400]},
        {"cuts": [0]},
        {"cuts": [10**400]},
        {"cuts": ["2"]},
        {"cuts": [3, 3]},
    ],
    ids=str,
)
def test_rows_that_do_not_go_with_their_samples(copy, tmp_path, changes):
    row_with(copy, **changes)
    for words in LOOKING:
        if words[0] == "train" or (words[0] == "show" and "key" not in changes):
            said = refused(*words, cwd=tmp_path)
            assert "videos.jsonl was changed after it was built: " in said
    assert "videos.jsonl" in run_ascnet("verify", copy, cwd=tmp_path).stdout
    run_ascnet("info", copy, cwd=tmp_path)


def test_what_a_build_writes_is_taken(dataset, motion):
    for own in (dataset, motion):
        for row in own.rows():
            assert wrong_row(row.to_json()) == ""
            if row.times:
                assert wrong_times(row.times, row.frames) == ""
    assert MOST_PIXELS >= 7680 * 4320


ODD = [None, True, -1, 0, 7, 1 << 40, 65536, 1.5, float("nan"), "", "x", "../x", [], ["x"], {}]


def test_a_usual_row_keeps_every_rule(dataset):
    row = next(dataset.rows()).to_json()
    assert tables._is_usual(row)
    for key in row:
        for value in ODD:
            changed = row | {key: value}
            if tables._is_usual(changed):
                assert tables._broken(tables._BUILT, changed) == ""
        assert not tables._is_usual({k: v for k, v in row.items() if k != key}) or (
            tables._broken(tables._BUILT, {k: v for k, v in row.items() if k != key}) == ""
        )
    assert not tables._is_usual(row | {"width": 65500, "height": 65500})
    assert not tables._is_usual(row | {"splits": {"../1": "train"}})


def json_member(folder: Path, change: Callable[[dict[str, Any]], bytes]) -> None:
    """The JSON member of video 0 changed, in as many bytes."""
    video = next(v for v in ShardDataset(folder).videos if v.location.key == 0)
    where = video.location
    with video.shard.open("r+b") as file:
        text = os.pread(file.fileno(), where.json_bytes, where.json_start)
        new = change(json.loads(text))
        assert len(new) <= len(text)
        os.pwrite(file.fileno(), new.ljust(len(text)), where.json_start)


def offsets_as(change: Callable[[list[int]], object]) -> Callable[[dict[str, Any]], bytes]:
    def changed(stated: dict[str, Any]) -> bytes:
        kept = {"name": stated["name"], "frames": stated["frames"]}
        return json.dumps(kept | {"offsets": change(stated["offsets"])}).encode()

    return changed


SHARD_CHANGES = {
    "no UTF-8": lambda stated: b"\xff\xfe",
    "nested": lambda stated: b"[" * 190,
    "a list": lambda stated: b"[]",
    "no offsets": offsets_as(lambda own: None),
    "not rising": offsets_as(lambda own: [own[0], own[2], own[1], *own[3:]]),
    "outside": offsets_as(lambda own: [*own[:-1], own[-1] + 1]),
    "negative": offsets_as(lambda own: [-1, *own[1:]]),
    "few": offsets_as(lambda own: own[:-1]),
    "unequal": offsets_as(lambda own: [own[0], [1], *own[2:]]),
    "fractions": offsets_as(lambda own: [0.5, *own[1:]]),
    "huge": offsets_as(lambda own: [0, 10**30]),
    "text": offsets_as(lambda own: "abc"),
}


@pytest.mark.parametrize("change", SHARD_CHANGES.values(), ids=list(SHARD_CHANGES))
@pytest.mark.parametrize("streaming", ["true", "false"])
def test_shards_of_others(copy, tmp_path, tiny, change, streaming):
    json_member(copy, change)
    path = next(v.shard for v in ShardDataset(copy).videos if v.location.key == 0)
    assert f"{path.name} was changed after" in refused("show", copy, "--video", "0", cwd=tmp_path)
    assert f"{path.name}: " in run_ascnet("verify", copy, cwd=tmp_path).stdout
    settings = override(tiny, (f"data.streaming={streaming}",))
    with pytest.raises((BuilderError, TrainerError), match=f"{path.name}.* (changed|not hold)"):
        clips_of(copy, settings)


def clips_of(folder: Path, settings: Any) -> None:
    """All videos read, as training does."""
    data = gather({folder: str(folder)}, settings.data)
    batches = training_batches(settings, data, 0, 9, ALONE, torch.device("cpu"))
    try:
        for _ in batches:
            pass
    finally:
        batches.close()


def test_a_picture_of_another_size_is_not_decoded(copy, tmp_path, tiny):
    """Nor one of another format, which a decoder might run programs for."""
    video = next(v for v in ShardDataset(copy).videos if v.location.key == 0)
    offsets = read_offsets(video)
    header = bytearray(read_frames(video, offsets, [0])[0])
    at = header.index(b"\xff\xc0") + 5
    header[at : at + 4] = b"\xff\xdc\xff\xdc"  # 65500 x 65500
    for content in (bytes(header), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        with video.shard.open("r+b") as file:
            os.pwrite(file.fileno(), content, video.location.blob_start)
        said = refused("show", copy, "--video", "0", cwd=tmp_path)
        assert (
            "frame 0 of" in said and f"is no whole JPEG of {video.width} x {video.height}" in said
        )
        with pytest.raises(BuilderError, match="is no whole JPEG"):
            frames_of(video, 0, 0)
        assert run_ascnet("verify", copy, "--deep", cwd=tmp_path).returncode == 1
        with pytest.raises(TrainerError, match="is no readable JPEG"):
            clips_of(copy, tiny)


@pytest.mark.parametrize("short_side", [0, 16, 48, 112])
def test_the_decoded_size_is_that_of_a_whole_picture(short_side):
    for height, width in ((32, 43), (128, 171), (240, 320), (333, 517), (17, 400)):
        whole = simplejpeg.encode_jpeg(np.zeros((height, width, 3), np.uint8))
        found = simplejpeg.decode_jpeg(whole, min_height=short_side, min_width=short_side)
        if 2 * found.shape[0] <= height + 1:
            assert decoded_size(height, width, short_side) == found.shape[:2]
        else:
            assert decoded_size(height, width, short_side) == (height, width)
    assert decoded_size(8192, 8192, 112) == (1024, 1024)


def test_batches_that_no_memory_holds(dataset):
    class Reader:
        def size(self, request: Any) -> tuple[int, int]:
            return 60_000, 60_000

    class Request:
        video, frames, stride = 0, (0,) * 16, 1

    with pytest.raises(TrainerError, match="64 clips of 16 frames, the largest of 60000 x 60000"):
        next(read_batches(Reader(), [[Request()] * 64], 1))


def first_shard(folder: Path) -> Path:
    """One that is trained on."""
    shards = json.loads((folder / "dataset.json").read_text())["shards"]
    return folder / next(s["name"] for s in shards if s["splits"] == {"1": "train"})


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "link to a device", "dangling"])
def test_a_shard_that_is_no_file_holds_nothing_up(copy, tmp_path, tiny, kind):
    path = first_shard(copy)
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"dangling": "nowhere"}.get(kind, "/dev/zero"))
    since = time.monotonic()
    said = run_ascnet("verify", copy, cwd=tmp_path).stdout
    usual = {"dangling": "it is missing", "folder": "Is a directory"}
    why = usual.get(kind, "it is no regular file")
    assert f"{path.name}: {why}" in said
    key = next(v.location.key for v in ShardDataset(copy).videos if v.shard == path)
    why = why.replace("it is missing", "No such file")
    assert why in refused("show", copy, "--video", key, cwd=tmp_path)
    for streaming in ("true", "false"):
        with pytest.raises((TrainerError, OSError), match=why):
            clips_of(copy, override(tiny, (f"data.streaming={streaming}",)))
    assert time.monotonic() - since < 20


def test_a_table_that_is_no_file_holds_nothing_up(copy, tmp_path):
    (copy / "videos.jsonl").unlink()
    os.mkfifo(copy / "videos.jsonl")
    for words in LOOKING:
        assert "videos.jsonl: it is no regular file" in refused(*words, cwd=tmp_path)


def test_links_to_shards_elsewhere_are_followed_and_named(copy, tmp_path):
    path = first_shard(copy)
    (tmp_path / "disk").mkdir()
    path.rename(tmp_path / "disk" / "kept.tar")
    path.symlink_to(tmp_path / "disk" / "kept.tar")
    said = run_ascnet("verify", copy, cwd=tmp_path)
    assert said.returncode == 0 and "all as built" in said.stdout
    assert f"shards that are links: {path.name} -> {tmp_path}/disk/kept.tar" in said.stdout
    (tmp_path / "link").symlink_to(copy)  # a whole data set is linked without a word
    assert run_ascnet("info", "link", cwd=tmp_path).returncode == 0


def test_what_has_another_size_is_not_hashed(copy, tmp_path, monkeypatch):
    """A sparse file takes no room, and hashing it would take for ever."""
    path = first_shard(copy)
    os.truncate(path, 1 << 43)
    since = time.monotonic()
    found = "\n".join(verify(copy, deep=True, workers=1).problems)
    assert f"{path.name}: it has {1 << 43} bytes, and " in found
    assert time.monotonic() - since < 10


def test_verifying_ends_when_it_is_told(copy):
    path = first_shard(copy)
    os.truncate(path, 1 << 43)
    info_with(copy, lambda info: [shard.update(bytes=1 << 43) for shard in info["shards"]])

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    since = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            verify(copy, deep=False, workers=2)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - since < 5


def test_clips_come_from_the_folder_of_the_data_set(copy, tmp_path):
    for shard in stream_shards(ShardDataset(copy).videos, {copy: str(copy)}):
        assert Path(shard.url).parent == copy


# A build of others, which is gone on with: its records.


def a_build(video_folder: Path, out: Path) -> list[Any]:
    catalog = folder_reader.read(video_folder)
    return [catalog, out, BuildSettings(FrameSettings(short_side=32), videos_per_shard=4)]


@pytest.fixture
def half(video_folder, tmp_path) -> list[Any]:
    """A build of which two shards are built."""
    arguments = a_build(video_folder, tmp_path / "out")
    build(*arguments, How(shards=slice(0, 2)))
    return arguments


def test_a_build_goes_on(half):
    assert build(*half, How()).counts["built"] == 16


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["shard"].update(name="../../outside.tar"),
        lambda record: record["shard"].update(index=[[0, 0, 1, 10**18]]),
        lambda record: record["rows"][0].update(shard="../x"),
        lambda record: record["rows"][0].update(key=-5),
        lambda record: record["rows"][0].update(key=10**9),
        lambda record: record["rows"].append(3),
        lambda record: record.update(index=1),
        lambda record: record.update(more=1),
        lambda record: record.pop("rows"),
    ],
)
@pytest.mark.parametrize("retry", [False, True])
def test_records_of_others(half, tmp_path, change, retry):
    path = tmp_path / "out" / ".build" / "000000.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(BuilderError, match=r"not what a build writes|was changed"):
        build(*half, How(retry_failed=retry))
    assert not (tmp_path / "out" / "dataset.json").exists()


@pytest.mark.parametrize("content", [DEEP, b"[]", b"\xff"])
@pytest.mark.parametrize("name", ["000000.json", "identity.json"])
def test_records_that_are_none(half, tmp_path, name, content):
    (tmp_path / "out" / ".build" / name).write_bytes(content)
    with pytest.raises(BuilderError, match=f"{name} was changed"):
        build(*half, How())


@pytest.mark.parametrize("name", [".build", ".lock"])
def test_a_build_writes_through_no_link(video_folder, tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    kept = tmp_path / "elsewhere" / "x.partial"
    kept.write_text("mine")
    (tmp_path / "out").mkdir()
    target = tmp_path / "elsewhere" / ("" if name == ".build" else "made")
    (tmp_path / "out" / name).symlink_to(target)
    with pytest.raises(BuilderError, match=rf"{name} is a link"):
        build(*a_build(video_folder, tmp_path / "out"), How())
    assert list((tmp_path / "elsewhere").iterdir()) == [kept]
