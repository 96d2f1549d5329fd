"""Make films with known shared parts from short real clips.

A film is a sequence of clips of scenes that no other film shows. Into each film, two excerpts of
other films are spliced, re-encoded and changed (`CHANGES`); every fourth film begins with the same
intro. Each row of `truth.csv` is a part that two films share: `video,begin,end,other,other_begin,
other_end,speed,change`, in seconds.
"""

import csv
import random
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

from builder.decode.ffmpeg import find_ffmpeg

FPS = 25
SIZE = (192, 144)
BASE = 30.0  # seconds of a film without its spliced excerpts
INTRO = 4.0  # seconds
WORKERS = 4
LENGTHS = (3, 4, 5, 6, 8)  # seconds of an excerpt
LOGO = "drawbox=x=iw-52:y=8:w=44:h=18:color=white:t=fill"
SMALL = "scale=iw/2:-2"
CHANGES: Mapping[str, tuple[float, str]] = {  # playback speed, filters
    "encoded again, half the size": (1.0, SMALL),
    "logo": (1.0, LOGO),
    "0.8 x": (0.8, SMALL),
    "0.9 x": (0.9, SMALL),
    "1.1 x": (1.1, SMALL),
    "1.25 x": (1.25, SMALL),
}
_MOST_OF_SCENE = 10  # clips of one scene in a film


@dataclass(frozen=True)
class Clip:
    """A real clip that films are made of."""

    path: Path
    seconds: float


@dataclass(frozen=True)
class SharedPart:
    """A part that two films share.

    Attributes:
        begin: seconds in `video`; `end` likewise
        other_begin: seconds in `other`; `other_end` likewise
        speed: playback speed in the other film
        change: a key of CHANGES, or "intro"
    """

    video: str
    begin: float
    end: float
    other: str
    other_begin: float
    other_end: float
    speed: float
    change: str


def make_films(scenes: Sequence[Sequence[Clip]], folder: Path, seed: int) -> list[SharedPart]:
    """Write films of the clips of `scenes` to `folder`; return their shared parts."""
    random_ = random.Random(seed)
    cuts = folder.parent / f"{folder.name}-pieces"
    for place in (cuts, folder):
        place.mkdir(parents=True, exist_ok=True)
    films = _rows(scenes, random_)
    intro = _piece(films.pop(), cuts / "intro.mkv", INTRO)
    with ThreadPoolExecutor(WORKERS) as pool:
        places = [cuts / f"base{i}.mkv" for i in range(len(films))]
        bases = list(pool.map(_piece, films, places, [BASE] * len(films)))
        plans = _plans(len(films), random_)
        outs = [folder / plan.name for plan in plans]
        list(pool.map(_film, plans, [bases] * len(films), [intro] * len(films), outs))
    truth = [*_spliced(plans), *_intros(plans)]
    with (folder.parent / f"{folder.name}-truth.csv").open("w", newline="") as file:
        csv.writer(file).writerows(map(astuple, truth))
    return truth


def _rows(scenes: Sequence[Sequence[Clip]], random_: random.Random) -> list[list[Path]]:
    """Sequences of clips of about BASE seconds, one for each film; leftover clips are unused."""
    left = [list(scene)[:_MOST_OF_SCENE] for scene in scenes]
    random_.shuffle(left)
    rows: list[list[Path]] = []
    row: list[Path] = []
    time = 0.0
    for clip in (clip for scene in left for clip in [*scene, None]):
        if clip is None:  # a scene is never continued in the next film
            if time >= BASE + 1:
                rows, row, time = [*rows, row], [], 0.0
        elif time < BASE + 1:
            row, time = [*row, clip.path], time + clip.seconds
    return rows


def _piece(clips: Sequence[Path], out: Path, seconds: float) -> Path:
    width, height = SIZE
    fit = (
        f"scale={width}:{height}:force_original_aspect_ratio=increase,"
        f"crop={width}:{height},setsar=1,fps={FPS},format=yuv420p"
    )
    chains = [f"[{i}:v:0]{fit}[v{i}]" for i in range(len(clips))]
    joined = "".join(f"[v{i}]" for i in range(len(clips)))
    graph = ";".join([*chains, f"{joined}concat=n={len(clips)}:v=1:a=0[v]"])
    inputs = [word for clip in clips for word in ("-i", str(clip))]
    _ffmpeg(*inputs, "-filter_complex", graph, "-map", "[v]", *_frames(seconds), *_x264(16), out)
    return out


@dataclass(frozen=True)
class _Excerpt:
    """An excerpt of the base of film `donor`, which begins at second `begin` and follows `after` of
    the donor's own splices."""

    donor: int
    begin: float
    lasts: float  # seconds in the host
    speed: float
    change: str
    after: int


@dataclass(frozen=True)
class _Plan:
    """A film: the places (seconds) at which its base is cut, and the excerpts spliced in there."""

    name: str
    number: int
    intro: float
    places: tuple[float, float]
    excerpts: tuple[_Excerpt, _Excerpt]


def _plans(films: int, random_: random.Random) -> list[_Plan]:
    places = [
        (_on_grid(random_.uniform(10, 11)), _on_grid(random_.uniform(19, 20))) for _ in range(films)
    ]
    excerpts = [_excerpts(i, places[i], random_) for i in range(films)]
    return [
        _Plan(
            name=f"film{i:02d}.mp4",
            number=i,
            intro=INTRO if i % 4 == 0 else 0.0,
            places=places[i],
            excerpts=(excerpts[i - 1][0], excerpts[i - 2][1]),
        )
        for i in range(films)
    ]


def _excerpts(
    donor: int, places: tuple[float, float], random_: random.Random
) -> tuple[_Excerpt, _Excerpt]:
    """Two excerpts of a film: one from before its own splices, for the next film, and one from
    after them, for the film after that. So each film gets one of each kind."""
    found = []
    for slot, (low, high) in enumerate(((0.5, places[0]), (places[1], BASE - 0.5))):
        number = 2 * donor + slot
        change = list(CHANGES)[number % len(CHANGES)]
        speed = CHANGES[change][0]
        # Seconds in the donor; at least 3 s in both films.
        length = min(max(LENGTHS[number % len(LENGTHS)], 3 * speed), high - low)
        begin = _on_grid(random_.uniform(low, high - length))
        found.append(_Excerpt(donor, begin, _on_grid(length / speed), speed, change, 2 * slot))
    return found[0], found[1]


def _spliced(plans: Sequence[_Plan]) -> list[SharedPart]:
    truth = []
    for plan in plans:
        at = plan.intro
        for place, one in zip(plan.places, plan.excerpts, strict=True):
            donor = plans[one.donor]
            begin = donor.intro + one.begin + sum(e.lasts for e in donor.excerpts[: one.after])
            in_donor = (begin, begin + one.lasts * one.speed)
            in_host = (at + place, at + place + one.lasts)
            truth.append(
                SharedPart(donor.name, *in_donor, plan.name, *in_host, one.speed, one.change)
            )
            at += one.lasts
    return truth


def _intros(plans: Sequence[_Plan]) -> list[SharedPart]:
    heads = [plan.name for plan in plans if plan.intro]
    return [
        SharedPart(a, 0, INTRO, b, 0, INTRO, 1.0, "intro")
        for i, a in enumerate(heads)
        for b in heads[i + 1 :]
    ]


def _film(plan: _Plan, bases: Sequence[Path], intro: Path, out: Path) -> None:
    base = bases[plan.number]
    pieces = [
        _changed(bases[one.donor], one, base.parent / f"{out.stem}-{one.donor}.mkv")
        for one in plan.excerpts
    ]
    first, second = plan.places
    width, height = SIZE
    inputs = [base, *pieces, *([intro] if plan.intro else [])]
    fit = f"scale={width}:{height},setsar=1,setpts=PTS-STARTPTS"
    chains = [
        f"[0:v]split=3[a][b][c];[a]trim=end={first},{fit}[v0]",
        f"[b]trim=start={first}:end={second},{fit}[v2];[c]trim=start={second},{fit}[v4]",
        f"[1:v]{fit}[v1];[2:v]{fit}[v3]",
        *([f"[3:v]{fit}[v]"] if plan.intro else []),
    ]
    joined = ("[v]" if plan.intro else "") + "[v0][v1][v2][v3][v4]"
    graph = ";".join([*chains, f"{joined}concat=n={len(inputs) + 2}:v=1:a=0[out]"])
    words = [word for path in inputs for word in ("-i", str(path))]
    _ffmpeg(*words, "-filter_complex", graph, "-map", "[out]", *_x264(26), out)


def _changed(base: Path, one: _Excerpt, out: Path) -> Path:
    """Cut and change an excerpt for its host."""
    graph = (
        f"trim=start={one.begin},setpts=(PTS-STARTPTS)/{one.speed},fps={FPS},"
        f"{CHANGES[one.change][1]}"
    )
    _ffmpeg("-i", str(base), "-vf", graph, *_frames(one.lasts), *_x264(34), out)
    return out


def _on_grid(seconds: float) -> float:
    return round(seconds * FPS) / FPS


def _frames(seconds: float) -> tuple[str, ...]:
    return ("-frames:v", str(round(seconds * FPS)))


def _x264(quality: int) -> tuple[str, ...]:
    return (
        "-an",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast" if quality < 20 else "veryfast",
        "-crf",
        str(quality),
        "-threads",
        "1",
    )


def _ffmpeg(*words: str | Path) -> None:
    out = Path(words[-1])
    if out.exists():  # made by an earlier call, which was killed
        return
    part = out.with_suffix(f".part{out.suffix}")
    command = [find_ffmpeg(), "-v", "error", "-y", *map(str, words[:-1]), str(part)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    part.rename(out)
