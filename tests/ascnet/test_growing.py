import errno
import os
import shutil
from pathlib import Path

import pytest

from ascnet import growing
from ascnet.growing import growing_of, shards_of
from builder.atomic import only_writer
from builder.build import job
from builder.catalog import folder
from builder.shards.dataset import ShardDataset
from evaluate.features import encode, extract
from evaluate.features.store import Features, unfinished
from tests.builder.decode.decoded import ffmpeg
from tests.commands import refused, run_ascnet
from tests.evaluate.stores import content


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def videos(video_folder, tmp_path) -> Path:
    """Six videos of two classes, and a file that is none."""
    for path in sorted(video_folder.rglob("*_c02.avi"))[:6]:
        name = tmp_path / "v" / path.relative_to(video_folder)
        name.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, name)
    (tmp_path / "v" / "bars" / "bad.mp4").write_text("no video")
    return tmp_path / "v"


def says(*words: object) -> str:
    done = run_ascnet(*words, cwd=Path.cwd())
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.fixture
def embed(finished_run):
    """`ascnet embed ... --out x.h5`, of the clips that are half a second apart."""

    def command(*words: object, out: str = "x.h5", every: object = 0.3) -> str:
        more = ("--every", every) if "--add" not in words and "--remove" not in words else ()
        return says("embed", *words, *more, "--run", finished_run, "--out", out)

    return command


@pytest.fixture
def worked(monkeypatch) -> dict[str, list]:
    """What is decoded, and how many clips are encoded."""
    done: dict[str, list] = {"decoded": [], "clips": []}
    transcode, of_crops = job.transcode, encode._of_crops

    def decoding(path, *more):
        done["decoded"].append(path.name)
        return transcode(path, *more)

    def encoding(network, batch, protocol):
        done["clips"].append(len(batch.clips))
        return of_crops(network, batch, protocol)

    monkeypatch.setattr(job, "transcode", decoding)
    monkeypatch.setattr(encode, "_of_crops", encoding)
    return done


def everything(store: str) -> dict[str, object]:
    """What a store holds, and the bytes of its shards."""
    shards = Path(store).with_suffix(".shards")
    files = {path.name: path.read_bytes() for path in shards.iterdir() if path.suffix != ".json"}
    known = {k: v for k, v in content(Path(store)).items() if "shards" not in str(k)}
    return known | files | {"dataset.json": (shards / "dataset.json").read_bytes()}


def test_only_what_is_new_or_changed_is_decoded_and_encoded(
    videos, video_folder, embed, worked, tmp_path
):
    embed(videos)
    for done in worked.values():
        done.clear()
    bars, test = videos / "bars", videos / "test"
    (bars / "v_bars_g01_c02.avi").rename(test / "moved.avi")
    (bars / "v_bars_g02_c02.avi").unlink()
    shutil.copy(video_folder / "test" / "v_test_g04_c01.avi", bars / "v_bars_g03_c02.avi")
    shutil.copy(video_folder / "test" / "v_test_g03_c01.avi", bars / "new.avi")
    os.utime(bars / "bad.mp4", ns=(1, 1))  # the content is the same
    said = embed(videos)
    assert "x.h5: 1 new, 1 changed, 1 renamed, 1 gone, 4 unchanged" in said
    assert "7 expected, 6 built, 1 failed" in said and "failed: bars/bad.mp4" in said
    assert sorted(worked["decoded"]) == ["new.avi", "v_bars_g03_c02.avi"]
    found = Features(Path("x.h5"))
    clips = found.clip_video.tolist()
    theirs = [found.names.index(f"bars/{name}") for name in ("new.avi", "v_bars_g03_c02.avi")]
    assert sum(worked["clips"]) == sum(map(clips.count, theirs))
    (tmp_path / "one").mkdir()
    embed(videos, out="one/x.h5")
    assert everything("x.h5") == everything("one/x.h5")
    assert found.shards == tmp_path / "x.shards"
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]
    assert "x.h5: 0 new, 0 changed, 0 gone, 7 unchanged" in embed(videos)


def test_add_and_remove(videos, embed, worked, tmp_path):
    embed(videos)
    before = everything("x.h5")
    for done in worked.values():
        done.clear()
    said = embed("--remove", "bars/bad.mp4", "v/bars/v_bars_g01_c02.avi")
    assert "0 new, 0 changed, 2 gone, 5 unchanged" in said and worked["decoded"] == []
    assert "bars/v_bars_g01_c02.avi" not in Features(Path("x.h5")).names
    assert "2 new, 0 changed, 0 gone, 5 unchanged" in embed("--add", videos)
    assert everything("x.h5") == before
    assert "0 new, 0 changed, 0 gone, 7 unchanged" in embed("--add", videos / "bars")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    shutil.copy(videos / "bars" / "v_bars_g01_c02.avi", inbox / "a.avi")
    assert "1 new, 0 changed, 0 gone, 7 unchanged" in embed("--add", inbox)
    shutil.copy(videos / "test" / "v_test_g01_c02.avi", inbox / "a.avi")
    assert "0 new, 1 changed, 0 gone, 7 unchanged" in embed("--add", inbox)
    # What was added from elsewhere stays when the folder is read again.
    assert "0 new, 0 changed, 0 gone, 8 unchanged" in embed(videos)
    assert "a.avi" in Features(Path("x.h5")).names


def test_what_is_refused(videos, embed, finished_run, tmp_path):
    embed(videos)
    before = Path("x.h5").read_bytes()
    store = ("--run", finished_run, "--out", "x.h5")
    other = tmp_path / "other" / "bars"
    other.mkdir(parents=True)
    shutil.copy(videos / "test" / "v_test_g02_c02.avi", other / "v_bars_g01_c02.avi")
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    max((run / "checkpoints").glob("*.pt")).unlink()
    everyone = [path.relative_to(videos) for path in videos.rglob("*.*")]
    cases = {
        ("--remove", "bars/v_bars_g11_c02.avi", *store): "Did you mean bars/v_bars_g01_c02.avi",
        ("--remove", "v_test_g01_c02.avi", *store): "Did you mean test/v_test_g01_c02.avi?",
        ("--remove", *everyone, *store): "No video would remain in x.h5",
        ("--add", other.parent, *store): "would be named bars/v_bars_g01_c02.avi, like another",
        ("--add", other, "--every", 0.5, *store): "are every 0.3 s, without mirror images",
        ("--add", other, "--run", run, "--out", "x.h5"): "was made with checkpoint",
        (other, "--every", 0.3, *store): "has 7 videos from",
        (videos, "--every", 0.3, "--run", run, "--out", "x.h5"): "was made with weights of SHA-256",
        ("--add", "--remove", "a", *store): "cannot be combined",
        ("--add", *store): "--add takes videos or folders",
        ("--add", other, "--overwrite", *store): "omit one of them",
        ("--add", other, "--run", finished_run, "--out", "no.h5"): "There is no feature store no",
    }
    for words, wanted in cases.items():
        said = refused("embed", *words, cwd=tmp_path)
        assert wanted in said and len(said.split("Error: ")) == 2, (words, said)
    with only_writer(tmp_path / "x.shards"):
        said = refused("embed", "--add", other, *store, cwd=tmp_path)
        assert f"Another process is writing to {tmp_path}/x.shards" in said
    assert Path("x.h5").read_bytes() == before and not growing_of(Path("x.h5")).exists()


def test_a_file_that_still_cannot_be_read_is_unchanged(videos, embed, monkeypatch):
    opened = Path.open

    def denied(path, *more, **others):
        if path.name == "locked.avi":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *more, **others)

    shutil.copy(videos / "test" / "v_test_g01_c02.avi", videos / "test" / "locked.avi")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", denied)
        assert "2 failed" in embed(videos)
        assert "0 new, 0 changed, 0 gone, 8 unchanged" in embed(videos)
    assert "0 new, 1 changed, 0 gone, 7 unchanged" in embed(videos)
    assert "test/locked.avi" in Features(Path("x.h5")).names


def test_a_folder_that_moved_and_one_that_is_another(videos, embed, finished_run, tmp_path):
    embed(videos)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    shutil.copy(videos / "test" / "v_test_g01_c02.avi", inbox / "a.avi")
    embed("--add", inbox)
    videos.rename(tmp_path / "moved")
    assert "0 new, 0 changed, 0 gone, 8 unchanged" in embed("moved")
    assert "a.avi" in Features(Path("x.h5")).names
    other = tmp_path / "other" / "bars"
    other.mkdir(parents=True)
    shutil.copy(tmp_path / "moved" / "test" / "v_test_g02_c02.avi", other / "one.avi")
    (tmp_path / "moved").rename(tmp_path / "gone")  # as if its disk were not mounted
    words = ("--every", 0.3, "--run", finished_run, "--out", "x.h5")
    assert "x.h5 has 8 videos from" in refused("embed", other.parent, *words, cwd=tmp_path)
    (tmp_path / "moved").mkdir()  # an empty mount point
    assert "1 new, 0 changed, 0 gone, 8 unchanged" in embed("--add", other / "one.avi")


def test_several_paths_do_not_take_the_classes_of_a_folder_away(
    videos, embed, finished_run, tmp_path
):
    embed(videos)
    words = ("embed", *videos.iterdir(), "--every", 0.3, "--run", finished_run, "--out", "x.h5")
    said = refused(*words, cwd=tmp_path)
    assert f"x.h5 was made from the folder {videos}, which gives its videos classes" in said
    assert set(Features(Path("x.h5")).class_of) == {"bars", "test"}


def test_the_name_that_is_not_there_is_said(videos, embed, finished_run, tmp_path):
    embed(videos)
    words = ("embed", "--remove", "v/bars/v_bars_g01_c02.avi", "nope.mp4")
    said = refused(*words, "--run", finished_run, "--out", "x.h5", cwd=tmp_path)
    assert "There is no video nope.mp4 in x.h5" in said


def test_a_store_that_moved_with_its_shards_finds_them(videos, embed, tmp_path):
    embed(videos)
    (tmp_path / "kept").mkdir()
    for name in ("x.h5", "x.shards"):
        shutil.move(name, tmp_path / "kept" / name)
    assert Features(tmp_path / "kept" / "x.h5").shards == tmp_path / "kept" / "x.shards"
    table = tmp_path / "kept" / "x.shards" / "dataset.json"
    table.write_text(table.read_text() + " ")  # those of another store
    assert Features(tmp_path / "kept" / "x.h5").shards == tmp_path / "x.shards"


def test_a_split_of_a_folder_with_a_file_that_cannot_be_read(videos, embed):
    """The table names this file, too, or no build and no embedding of the folder would go on."""
    embed(videos)
    says("select", "x.h5", "--split", "50/50", "--threshold", 1, "--out", videos / "splits.csv")
    splits = {video.name: video.splits for video in folder.read(videos).videos}
    assert splits.pop("bars/bad.mp4") == {}
    assert {parts["1"] for parts in splits.values()} == {"train", "test"}
    assert "0 new, 0 changed, 0 gone, 7 unchanged" in embed(videos)


class KilledError(BaseException):
    pass


def killed(*_: object, **__: object) -> None:
    raise KilledError


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (extract, "encode_together"),  # while features are computed
        (growing, "take_place"),  # when the store has its name, and its shards have not
        (growing, "partial_of"),  # between the two, when the old shards are not yet away
    ],
)
def test_killed_it_goes_on_and_the_old_store_is_there(
    videos, video_folder, embed, monkeypatch, place, name
):
    embed(videos)
    old = everything("x.h5")
    shutil.copy(video_folder / "test" / "v_test_g03_c01.avi", videos / "bars" / "new.avi")
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(place, name, killed)
        embed(videos)
    has_its_name = place is growing
    assert len(Features(Path("x.h5")).names) == 6 + has_its_name
    if not has_its_name:
        assert everything("x.h5") == old
    embed(videos)
    assert growing_of(Path("x.h5")).exists() is False and shards_of(Path("x.h5")).is_dir()
    assert not [path for path in Path().iterdir() if "partial" in path.name]
    assert len(Features(Path("x.h5")).names) == 7


def test_what_was_begun_for_other_files_is_begun_anew(videos, video_folder, embed, monkeypatch):
    embed(videos)
    shutil.copy(video_folder / "test" / "v_test_g03_c01.avi", videos / "bars" / "new.avi")
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(extract, "encode_together", killed)
        embed(videos)
    assert unfinished(Path("x.h5")).exists()
    (videos / "bars" / "new.avi").rename(videos / "bars" / "newer.avi")
    said = embed(videos)
    assert "x.partial.shards: was begun for other files" in said
    assert "bars/newer.avi" in Features(Path("x.h5")).names


def test_a_store_of_an_earlier_version_grows(videos, video_folder, embed, worked):
    """Nothing is known of its files but their sizes and contents."""
    embed(videos)
    Path("x.shards/sources.json").unlink()
    worked["decoded"].clear()
    shutil.copy(video_folder / "test" / "v_test_g03_c01.avi", videos / "bars" / "new.avi")
    assert "1 new, 0 changed, 0 gone, 7 unchanged" in embed(videos)
    assert worked["decoded"] == ["new.avi"] and Path("x.shards/sources.json").is_file()


def test_clips_of_a_store_with_shots_straddle_no_cut(embed, make_video, tmp_path, finished_run):
    for name, pattern in (("a", "testsrc"), ("b", "smptebars")):
        make_video(tmp_path / f"{name}.avi", frames=20, pattern=pattern)
    (tmp_path / "v").mkdir()
    two = f"-i {tmp_path / 'b.avi'} -filter_complex [0][1]concat -c:v mpeg4 -q:v 2"
    ffmpeg("-i", tmp_path / "a.avi", *two.split(), tmp_path / "v" / "c.avi")
    embed("v", "--shots")
    store = Features(Path("x.h5"))
    assert all(last < 20 or first >= 20 for first, last in store.clip_frames.tolist())
    assert {first >= 20 for first, _ in store.clip_frames.tolist()} == {False, True}
    shutil.copy2(tmp_path / "a.avi", tmp_path / "v" / "d.avi")
    again = ("embed", "v", "--every", 0.3, "--run", finished_run, "--out", "x.h5")
    assert "was built with --shots, and now without" in refused(*again, cwd=tmp_path)
    embed("--add", "v/d.avi")
    assert [video.cuts for video in ShardDataset(Path("x.shards")).videos] == [(20,), ()]


@pytest.mark.parametrize("number", [errno.ENOTEMPTY, errno.EBUSY])
def test_a_disk_that_keeps_open_files_leaves_a_folder_to_the_next_command(
    number, videos, embed, monkeypatch
):
    """As NFS and FUSE do with the lock of the old shards."""
    remove = shutil.rmtree

    def keeping(folder, *more, **others):
        if not Path(folder).name.startswith("x.shards."):
            return remove(folder, *more, **others)
        raise OSError(number, os.strerror(number), str(folder))

    embed(videos)
    (videos / "bars" / "bad.mp4").unlink()
    next(videos.rglob("*.avi")).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", keeping)
        assert "5 videos" in embed(videos)
    (left,) = Path().glob("x.shards.*.partial")
    embed(videos)
    assert not left.exists()
