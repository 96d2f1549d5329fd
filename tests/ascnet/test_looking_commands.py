import json
import shutil

from PIL import Image

from builder.decode.ffmpeg import find_ffmpeg
from tests.commands import refused, run_ascnet


def test_info_of_one_and_of_several_data_sets(shards, tmp_path):
    assert "No shards in shards" in refused("info", cwd=tmp_path)
    for name in ("a", "b"):
        shutil.copytree(shards, tmp_path / "shards" / name)
    result = run_ascnet("info", "--classes", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("16 expected, 16 built, 0 failed") == 2
    assert result.stdout.count("8  bars\n") == 2
    both = json.loads(run_ascnet("info", "--json", cwd=tmp_path).stdout)
    assert [one["folder"] for one in both] == ["shards/a", "shards/b"]
    assert json.loads(run_ascnet("info", "shards/b", "--json", cwd=tmp_path).stdout) == both[1:]


def test_an_unfinished_build_among_others_is_left_out_with_a_word(shards, tmp_path):
    for name in ("done", "half"):
        shutil.copytree(shards, tmp_path / name)
    (tmp_path / "half" / "dataset.json").unlink()
    for words in (["info", "."], ["verify", "."]):
        result = run_ascnet(*words, cwd=tmp_path)
        assert (
            result.returncode == 0
            and "Left out: the build of half is not finished." in result.stdout
        )
    assert "No shards in half: its build is not finished." in refused("info", "half", cwd=tmp_path)


def test_show(shards, tmp_path):
    result = run_ascnet("show", shards, "--video", 2, cwd=tmp_path)
    assert result.stdout == "sheet-2.png\n", result.stderr
    with Image.open(tmp_path / "sheet-2.png") as picture:
        assert picture.format == "PNG"
        tall = picture.height
    few = run_ascnet(
        "show", shards, "--video", 2, "--frames", 2, "--out", "x/few.png", cwd=tmp_path
    )
    assert few.stdout == "x/few.png\n", few.stderr
    with Image.open(tmp_path / "x" / "few.png") as picture:
        assert picture.height < tall
    assert "keys 0 to 15" in refused("show", shards, "--video", 16, cwd=tmp_path)
    wrong = refused("show", shards, "--video", 2, "--out", "x.jpg", cwd=tmp_path)
    assert "'x.jpg'; sheets are PNG" in wrong


def test_show_wants_one_data_set(shards, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(shards, tmp_path / name)
    message = refused("show", tmp_path, "--video", 0, cwd=tmp_path)
    assert f"{tmp_path / 'a'}, {tmp_path / 'b'}" in message
    assert not list(tmp_path.glob("*.png"))


def test_doctor(tmp_path):
    healthy = run_ascnet("doctor", cwd=tmp_path)
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert " torch       " in healthy.stdout and " ffmpeg      " in healthy.stdout
    find_ffmpeg.cache_clear()
    ill = run_ascnet("doctor", "--json", cwd=tmp_path, ASCNET_FFMPEG="/no/ffmpeg")
    assert ill.returncode == 1 and ill.stderr == ""
    ffmpeg = next(f for f in json.loads(ill.stdout) if f["name"] == "ffmpeg")
    assert ffmpeg["state"] == "broken" and "/no/ffmpeg" in ffmpeg["text"]
