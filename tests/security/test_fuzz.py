"""Thousands of hostile files: nothing is started, read or written elsewhere, nothing takes much
memory, and every end is one sentence. `make test-slow`; each number of a seed is drawn again."""

import gzip
import io
import json
import random
import resource
import shutil
import tarfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from builder.download.unpack import unpack
from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset
from evaluate.features.store import Features
from tests.commands import run_ascnet
from tests.conftest import TINY
from tests.evaluate.stores import random_store
from tests.security import hostile
from tests.security.watch import watching

pytestmark = pytest.mark.slow
SETTINGS = [word for change in TINY for word in ("--set", change)]
SECONDS = 30.0  # of computing that one file may take
MEMORY = 1 << 30  # bytes that one file may take


@dataclass
class Trial:
    """Files read one after another, and what went wrong."""

    place: Path  # where all happens
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def read(self, name: str, action: Callable[[], str]) -> None:
        """`action` reads one file and says how it ended."""
        began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        private = (self.place / "private", Path("/etc/passwd"))
        # A run's record holds the commit of our code, for which git is asked.
        with watching(self.place / "work", private, starts=("git",)) as watch:
            try:
                self.ends[action()] += 1
            except Exception as error:
                self.wrong.append(f"{name}: {type(error).__name__}: {error!s:.200}")
        took = time.process_time() - began
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        self.wrong += [f"{name}: {seen}" for seen in watch.seen]
        if took > SECONDS:
            self.wrong.append(f"{name}: {took:.0f} s")
        if grown > MEMORY:
            self.wrong.append(f"{name}: {grown / 1e6:.0f} MB")
        if (self.place / "work" / "RAN").exists():
            self.wrong.append(f"{name}: a program ran")
            (self.place / "work" / "RAN").unlink()

    def check(self, title: str) -> None:
        print(f"\n{title}: {dict(self.ends)}")
        assert not self.wrong, f"{len(self.wrong)} wrong:\n" + "\n".join(self.wrong[:40])


@pytest.fixture
def trial(shards: Path, make_video: Any, tmp_path: Path) -> Trial:
    """A work folder, and a private one beside it, with what a hostile file would like to read."""
    (tmp_path / "work").mkdir()
    private = tmp_path / "private"
    private.mkdir()
    shutil.copy(next(shards.glob("*.tar")), private / "secret.tar")
    make_video(private / "secret.mp4", args="-c:v libx264 -pix_fmt yuv420p")
    return Trial(tmp_path)


def command(trial: Trial, *words: object) -> Callable[[], str]:
    def run() -> str:
        done = run_ascnet(*words, cwd=trial.place / "work")
        said = done.stderr if done.returncode else done.stdout
        assert done.returncode in (0, 1, 2), done
        assert not set(done.stdout + done.stderr) & set("\x1b\x07"), "steers the terminal"
        assert len(said) < 100_000, f"says {len(said)} characters"
        return f"{words[0]} {done.returncode}"

    return run


def signed(tree: dict[str, Any]) -> bytes:
    """A dataset.json whose own checksum is right, as whoever changes it would make it."""
    tree = {key: tree[key] for key in tree if key != "sha256_above"}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(tree[key])}" for key in tree)
    above = f"{{\n{lines},\n".encode()
    return above + f'"sha256_above": "{sha256(above).hexdigest()}"\n}}\n'.encode()


def looks(data: Path, i: int) -> tuple[object, ...]:
    """A command that reads a data set, another one for each `i`."""
    return (
        ("info", data),
        ("verify", data),
        ("verify", data, "--deep"),
        ("show", data, "--video", i % 3, "--out", "sheet.png"),
        ("train", data, *SETTINGS, "--dry-run"),
        ("train", data, *SETTINGS, "--set", "optim.steps=1", "--run", f"runs/{i}"),
        ("train", data, *SETTINGS, "--set", "data.streaming=true", "--dry-run"),
    )[i % 7]


@pytest.mark.parametrize("name", ["dataset.json", "videos.jsonl"])
def test_data_sets(name, shards, trial):
    rng, data = random.Random(f"1 {name}"), trial.place / "work" / "data"
    whole = {path.name: path.read_bytes() for path in shards.iterdir() if path.is_file()}
    for i in range(500):
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        for file, content in whole.items():
            (data / file).write_bytes(content)
        info = json.loads(whole["dataset.json"])
        times = rng.choice((1, 1, 3))
        if i % 3 == 0:
            (data / name).write_bytes(hostile.raw(rng, whole[name]))
        elif name == "dataset.json":
            (data / name).write_bytes(signed(hostile.changed(rng, info, times) or {}))
        else:
            rows = [json.loads(line) for line in whole[name].splitlines()]
            table = "".join(
                json.dumps(row) + "\n" for row in hostile.changed(rng, rows, times)
            ).encode()
            (data / name).write_bytes(table)
            info["videos_jsonl_sha256"] = sha256(table).hexdigest()
            (data / "dataset.json").write_bytes(signed(info))
        trial.read(f"{name} {i}", command(trial, *looks(data, i)))
    trial.check(name)


def test_tar_headers(shards, trial):
    rng, data = random.Random(2), trial.place / "work" / "data"
    for i in range(300):
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(shards, data)
        path = rng.choice(sorted(data.glob("*.tar")))
        content = bytearray(path.read_bytes())
        heads = [
            at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"
        ]
        for at in rng.sample(heads, min(len(heads), rng.choice((1, 2)))):
            start = rng.choice((0, 100, 124, 148, 156, 157, 345))
            text = rng.choice((b"../private/secret.tar", b"77777777777", b"\x80" * 12, b"/x", b"2"))
            content[at + start : at + start + len(text)] = text
            content[at + 148 : at + 156] = b"        "
            content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
        path.write_bytes(content)
        info = json.loads((data / "dataset.json").read_bytes())
        for shard in info["shards"]:
            if shard["name"] == path.name:
                shard["sha256"] = sha256(content).hexdigest()
        (data / "dataset.json").write_bytes(signed(info))
        trial.read(f"tar {i}", command(trial, *looks(data, i)))
    trial.check("tar headers")


def test_configs(finished_run, trial):
    rng, run = random.Random(3), trial.place / "work" / "runs" / "run"
    shutil.copytree(finished_run, run)
    whole = (run / "config.toml").read_bytes()
    lines = whole.decode().splitlines()
    for i in range(500):
        if i % 3:
            changed = list(lines)
            for _ in range(rng.choice((1, 1, 3))):
                at = rng.choice([n for n, line in enumerate(lines) if " = " in line])
                key = lines[at].partition(" = ")[0]
                new = hostile.value(rng, rng.choice(hostile.STRINGS))
                changed[at] = f"{key} = {json.dumps(new)[:1000]}"
            text = "\n".join(changed).encode("utf-8", "replace")
        else:
            text = hostile.raw(rng, whole)
        (run / "config.toml").write_bytes(text)
        words = (
            ("train", "--run", run, "--resume", "--dry-run"),
            ("train", "--recipe", run / "config.toml", "--dry-run"),
            ("report", run),
            ("export", "--run", run, "--out", f"weights{i}.safetensors"),
        )[i % 4]
        trial.read(f"config.toml {i}", command(trial, *words))
    trial.check("config.toml")


def test_stores(trial):
    rng, path = random.Random(4), trial.place / "work" / "store.h5"
    random_store(path, (3, 1, 4, 2, 5, 2), 8)
    whole = path.read_bytes()
    for i in range(300):
        path.unlink()
        if i % 2:
            path.write_bytes(hostile.raw(rng, whole) if i % 4 == 1 else flipped(rng, whole))
        else:
            path.write_bytes(whole)
            rebuilt(rng, path, trial.place / "private")
        trial.read(f"store {i}", lambda: opened(path))
        trial.read(f"store {i}", command(trial, "near-duplicates", path))
    trial.check("stores")


def flipped(rng: random.Random, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(rng.choice((1, 4, 40))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def rebuilt(rng: random.Random, path: Path, private: Path) -> None:
    """A store in which a member is another kind of thing, or points elsewhere."""
    with h5py.File(path, "r+") as file:
        name = rng.choice(sorted(file))
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        action = rng.randrange(7)
        if action == 0:
            file[name] = h5py.ExternalLink(str(private / "other.h5"), "/x")
        elif action == 1:
            file[name] = h5py.SoftLink("/" + rng.choice(sorted(file)))
        elif action == 2:
            file.create_group(name)
        elif action == 3:
            external = [(str(private / "secret.tar"), 0, 1 << 20)]
            file.create_dataset(name, (1 << 16,), np.uint8, external=external)
        elif action == 4:
            file.create_dataset(name, (1 << 33,), np.float32, chunks=(1 << 16,), fillvalue=0)
        elif action == 5:
            kind = dtype if dtype.kind in "iuf" else np.float64
            file.create_dataset(name, tuple(rng.choice((0, 1, 7)) for _ in shape), kind)
        else:
            layout = h5py.VirtualLayout((8,), np.float32)
            layout[:] = h5py.VirtualSource(str(private / "other.h5"), "x", (8,))
            file.create_virtual_dataset(name, layout)
        if rng.random() < 0.5:
            key = rng.choice(sorted(file.attrs))
            file.attrs[key] = rng.choice(("x" * 60_000, -1, 2.5, "[" * 60_000, "../private"))


def opened(path: Path) -> str:
    try:
        store = Features(path)
        assert len(store.names) < 10_000
    except Exception as error:
        assert type(error).__name__ in ("EvaluateError", "UnavailableError"), error
        return "refused"
    return "opened"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives(trial):
    rng, folder = random.Random(5), trial.place / "work" / "out"
    archive = trial.place / "work" / "archive"
    names = (*hostile.STRINGS[:8], "a/b.avi", "c.avi", ".lock", ".fetch/x", "a\nb", "x" * 300, "a/")
    for i in range(500):
        archive.write_bytes(archive_of(rng, i, names))
        shutil.rmtree(folder, ignore_errors=True)
        trial.read(f"archive {i}", lambda: unpacked(archive, folder))
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert size < 200 << 20, (i, size)
    trial.check("archives")


def archive_of(rng: random.Random, i: int, names: tuple[str, ...]) -> bytes:
    buffer, picked = io.BytesIO(), [rng.choice(names) for _ in range(rng.choice((1, 2, 4)))]
    if i % 2:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            for name in picked:
                kind = zipfile.ZipInfo(name[:500].encode("utf-8", "replace").decode() or "x")
                kind.external_attr = rng.choice((0o100644, 0o120777, 0o020644, 0)) << 16
                file.writestr(kind, rng.choice((b"x", b"/etc/passwd", bytes(1 << 24))))
    else:
        with tarfile.open(fileobj=buffer, mode="w") as file:
            for name in picked:
                entry = tarfile.TarInfo(name[:90].encode("utf-8", "replace").decode() or "x")
                kinds = (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)
                entry.type = rng.choice((*kinds, tarfile.CHRTYPE, *[tarfile.REGTYPE] * 4))
                entry.linkname, entry.size = "../../private/secret.tar", 3
                file.addfile(entry, io.BytesIO(b"abc"))
    content = buffer.getvalue()
    if i % 5 == 0:
        content = hostile.raw(rng, content)
    return gzip.compress(content, 1) if i % 4 == 2 else content


def unpacked(archive: Path, folder: Path) -> str:
    try:
        unpack(archive, folder)
    except (BuilderError, OSError) as error:
        return "too long a name" if isinstance(error, OSError) else "refused"
    return "unpacked"


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{}'\nfile '{}'\n",
    "mpd": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4">'
        '<Representation id="0" bandwidth="1"><BaseURL>{}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>"
    ),
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "asx": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
    "imf": '<?xml version="1.0"?><CompositionPlaylist>{}</CompositionPlaylist>',
    "avs": 'DirectShowSource("{}")\n',
    "pls": "[playlist]\nFile1={}\n",
}
ENDINGS = (".mp4", ".avi", ".mkv", ".webm", ".ts", ".mov", ".mpg", ".wmv")


@pytest.mark.parametrize("engine", ["ffmpeg", "pyav"])
def test_playlists(engine, trial):
    rng, private = random.Random(6), trial.place / "private"
    source = trial.place / "work" / "videos"
    source.mkdir()
    shutil.copy(private / "secret.mp4", source / "good.mp4")
    for i in range(300):
        kind = sorted(PLAYLISTS)[i % len(PLAYLISTS)]
        target = rng.choice(
            (
                str(private / "secret.mp4"),
                f"file://{private / 'secret.mp4'}",
                f"file:{private / 'secret.mp4'}",
                "../../private/secret.mp4",
                f"concat:{private / 'secret.mp4'}",
                f"subfile,,start,0,end,0,,:{private / 'secret.mp4'}",
                f"crypto:{private / 'secret.mp4'}",
                f"data:video/mp4;base64,{'A' * 100}",
                "http://127.0.0.1:9/x.mp4",
                "pipe:0",
            )
        )
        text = PLAYLISTS[kind].replace("{}", target).encode()
        if i % 4 == 3:
            text = hostile.raw(rng, text)[:100_000]
        (source / f"{i:03d}-{kind}{rng.choice(ENDINGS)}").write_bytes(text)
    done = run_ascnet(
        "build", "folder", "--source", source, "--engine", engine, cwd=trial.place / "work"
    )
    rows = [row.status for row in ShardDataset(trial.place / "work/shards/folder").rows()]
    print(engine, done.stdout)
    assert Counter(rows) == {"failed": 300, "built": 1}
