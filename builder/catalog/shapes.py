"""The synthetic data set `shapes`: video files with known factors, drawn by this program.

A textured shape moves in front of a textured, slowly panning scene. Class = scene family x motion
programme. As in UCF-101, the clips of a group share what is in front of the camera (here object and
scene), the groups of a class do not, and no split divides a group. Colours, scales and directions
are drawn per group, so neither colour nor a single texture gives the class away.
"""

import hashlib
import json
import math
import os
import subprocess
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from builder.atomic import partial_of, write_atomically
from builder.catalog.source import Catalog, Source
from builder.decode.ffmpeg import find_ffmpeg
from builder.decode.processes import end_with_parent
from builder.errors import BuilderError
from builder.progress import Progress, silent
from builder.system_errors import cannot_write
from builder.workers import run_local

FAMILIES = ("Stripes", "Checks", "Dots", "Clouds")
PROGRAMMES = ("Slide", "Orbit", "Spin", "Pulse", "Bounce", "Swing")
OUTLINES = ("triangle", "square", "star", "cross", "disc")
TEMPOS = {"slow": 0.9, "medium": 1.5, "fast": 2.4}  # cycles per second
GROUPS = 16  # per class
CLIPS = 2  # per group
TEST_GROUPS = {"1": range(1, 6), "2": range(6, 11), "3": range(11, 16)}

_VERSION = 1  # of the rendering; another version makes other videos
_WIDTH, _HEIGHT, _FPS = 160, 120, 25
_FACTORS_FILE = "factors.json"  # written last: says that all videos are there
_VERSION_FILE = "version.txt"  # written first: the version that draws the videos


@dataclass(frozen=True)
class DrawnClip:
    """One video of the data set, by the parameters that it is drawn from.

    Attributes:
        family: one of FAMILIES
        programme: one of PROGRAMMES
        group: 1 .. GROUPS
        clip: 1 .. CLIPS
    """

    family: str
    programme: str
    group: int
    clip: int

    @property
    def class_name(self) -> str:
        return self.family + self.programme

    @property
    def name(self) -> str:
        return f"{self.class_name}/v_{self.class_name}_g{self.group:02d}_c{self.clip:02d}.avi"

    def rng(self, *words: str | int) -> np.random.Generator:
        """A random generator that depends only on the class, the group and `words`."""
        text = "/".join(str(word) for word in (_VERSION, self.class_name, self.group, *words))
        return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))

    @property
    def outline(self) -> str:
        return OUTLINES[self.rng("outline").integers(len(OUTLINES))]

    @property
    def tempo(self) -> str:
        return tuple(TEMPOS)[self.rng("tempo", self.clip).integers(len(TEMPOS))]

    def factors(self) -> dict[str, str | float]:
        return {
            "family": self.family,
            "programme": self.programme,
            "outline": self.outline,
            "tempo": self.tempo,
            "cycles_per_second": TEMPOS[self.tempo],
        }


def clips() -> list[DrawnClip]:
    """All 768 clips, in the order of their names."""
    every = product(FAMILIES, PROGRAMMES, range(1, GROUPS + 1), range(1, CLIPS + 1))
    return sorted((DrawnClip(*row) for row in every), key=lambda clip: clip.name)


def make(
    root: Path,
    workers: int,
    progress: Progress = silent,
) -> None:
    """Draw all videos that are missing in `root`, in the layout of UCF-101. Raises BuilderError if
    they cannot be written."""
    every = clips()
    marker = root / _FACTORS_FILE
    is_drawn = marker.is_file() and json.loads(marker.read_text())["version"] == _VERSION
    if is_drawn and all((root / clip.name).is_file() for clip in every):
        return
    try:
        _clear_other_version(root)
        for folder in {(root / clip.name).parent for clip in every}:
            folder.mkdir(parents=True, exist_ok=True)
        finished = run_local(partial(_write, root), every, workers, _pool)
        for done, clip in enumerate(finished, 1):
            progress(done, len(every), clip.name)
        factors = {clip.name: clip.factors() for clip in every}
        write_atomically(marker, json.dumps({"version": _VERSION, "factors": factors}))
    except OSError as error:
        raise BuilderError(cannot_write(root, error)) from error


def _clear_other_version(root: Path) -> None:
    """Delete videos that another version drew."""
    mark = root / _VERSION_FILE
    if mark.is_file() and mark.read_text() == str(_VERSION):
        return
    (root / _FACTORS_FILE).unlink(missing_ok=True)
    for path in root.glob("*/v_*_g??_c??.avi"):
        path.unlink()
    root.mkdir(parents=True, exist_ok=True)
    write_atomically(mark, str(_VERSION))


def _pool(workers: int) -> ProcessPoolExecutor:
    # Forked, as is Python's default up to 3.13: the other methods start a new interpreter, which
    # searches the working directory for modules first.
    return ProcessPoolExecutor(workers, get_context("fork"), end_with_parent, (os.getpid(),))


def read(root: Path) -> Catalog:
    """The catalog of the videos that `make` wrote. Raises BuilderError if they are unfinished."""
    if not (root / _FACTORS_FILE).is_file():
        raise BuilderError(f"{root} holds no finished `shapes`; `ascnet build shapes` makes them.")
    every = clips()
    videos = tuple(
        Source(
            name=clip.name,
            path=root / clip.name,
            class_name=clip.class_name,
            group=f"{clip.class_name}/g{clip.group:02d}",
            splits={
                s: "test" if clip.group in test else "train" for s, test in TEST_GROUPS.items()
            },
            factors=clip.factors(),
        )
        for clip in every
    )
    classes = sorted({clip.class_name for clip in every})
    return Catalog("shapes", root, videos, tuple(classes))


def _write(root: Path, clip: DrawnClip) -> DrawnClip:
    path = root / clip.name
    if not path.is_file():
        partial_path = partial_of(path)
        command = [find_ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        command += ["-s", f"{_WIDTH}x{_HEIGHT}", "-r", str(_FPS), "-i", "pipe:0", "-threads", "1"]
        command += ["-fflags", "+bitexact", "-flags", "+bitexact", "-c:v", "mpeg4", "-q:v", "3"]
        command += ["-f", "avi", str(partial_path)]
        done = subprocess.run(command, input=draw(clip).tobytes(), capture_output=True, check=False)
        if done.returncode != 0:
            partial_path.unlink(missing_ok=True)
            complaint = done.stderr.decode("utf-8", "replace").strip()[-200:]
            raise BuilderError(f"ffmpeg cannot write {path}: {complaint or done.returncode}.")
        partial_path.rename(path)
    return clip


def draw(clip: DrawnClip) -> np.ndarray:
    """Draw the frames of a clip: uint8, T x 120 x 160 x 3."""
    scene, sprite = _scene(clip), _sprite(clip)
    rng = clip.rng("motion", clip.clip)
    frames = int(rng.integers(36, 49))
    phase, jitter = rng.uniform(0, 1), rng.uniform(0.9, 1.1)
    direction = rng.choice([-1.0, 1.0])
    centre = np.array([_WIDTH, _HEIGHT]) / 2 + rng.uniform(-10, 10, 2)
    size = rng.uniform(0.75, 1.0)
    pan_start, pan = rng.uniform(20, 100, 2), rng.uniform(-8, 8, 2)  # pixels, pixels per second
    noise = rng.normal(0, 7, (2, _HEIGHT, _WIDTH, 3)).astype(np.float32)
    video = np.empty((frames, _HEIGHT, _WIDTH, 3), np.uint8)
    for t in range(frames):
        seconds = t / _FPS
        cycle = direction * (seconds * TEMPOS[clip.tempo] * jitter + phase)
        offset, angle, zoom = _pose(clip.programme, cycle)
        left, top = pan_start + pan * seconds
        view = (1, 0, left, 0, 1, top)
        frame = scene.transform((_WIDTH, _HEIGHT), Image.Transform.AFFINE, view, _BILINEAR)
        pose = _to_sprite(centre + offset, angle, zoom * size)
        posed = sprite.transform((_WIDTH, _HEIGHT), Image.Transform.AFFINE, pose, _BILINEAR)
        frame.paste(posed, (0, 0), posed)
        grain = np.roll(noise[t % 2], rng.integers(0, 60, 2), axis=(0, 1))
        video[t] = np.clip(np.asarray(frame, np.float32) + grain, 0, 255)
    return video


_BILINEAR = Image.Resampling.BILINEAR
_SPRITE = 96  # pixels, side of the object's image
_SCENE_TONES, _OBJECT_TONES = (40.0, 140.0), (180.0, 245.0)  # brightness of the two colours
_CHROMA = 55.0  # a colour's distance from grey


def _pose(programme: str, cycle: float) -> tuple[np.ndarray, float, float]:
    """Pose of the object after `cycle` cycles: offset (pixels, x and y), angle (radians), zoom."""
    turn = 2 * math.pi * cycle
    still = np.zeros(2)
    match programme:
        case "Slide":
            return np.array([38 * math.sin(turn), 0.0]), 0.0, 1.0
        case "Orbit":
            return np.array([32 * math.cos(turn), 24 * math.sin(turn)]), 0.0, 1.0
        case "Spin":
            return still, turn, 1.0
        case "Pulse":
            return still, 0.0, 1.0 + 0.45 * math.sin(turn)
        case "Bounce":
            return np.array([0.0, 24 - 48 * abs(math.sin(turn / 2))]), 0.0, 1.0
        case "Swing":
            angle = 0.9 * math.sin(turn)
            return np.array([-40 * math.sin(angle), 40 * math.cos(angle) - 30]), angle, 1.0
    raise ValueError(f"programme is {programme!r}, allowed are {PROGRAMMES}")


def _to_sprite(centre: np.ndarray, angle: float, zoom: float) -> tuple[float, ...]:
    """PIL's affine coefficients, which map a pixel of the frame to one of the sprite."""
    c, s = math.cos(angle) / zoom, math.sin(angle) / zoom
    half, (x, y) = _SPRITE / 2, centre
    return (c, s, half - c * x - s * y, -s, c, half + s * x - c * y)


def _scene(clip: DrawnClip) -> Image.Image:
    size = (2 * _WIDTH, 2 * _HEIGHT)
    return Image.fromarray(_texture(clip.rng("scene"), clip.family, size, 32, _SCENE_TONES))


def _sprite(clip: DrawnClip) -> Image.Image:
    """The object (RGBA): an outline cut from a fine check pattern."""
    rng = clip.rng("object")
    sprite = Image.fromarray(
        _texture(rng, "Checks", (_SPRITE, _SPRITE), 20, _OBJECT_TONES)
    ).convert("RGBA")
    mask = Image.new("L", (4 * _SPRITE, 4 * _SPRITE))
    half = 2 * _SPRITE
    corners = [(half + half * r * x, half + half * r * y) for r, x, y in _outline(clip.outline)]
    pen = ImageDraw.Draw(mask)
    pen.polygon(corners, fill=255)
    pen.line([*corners, corners[0]], fill=250, width=12)
    mask = mask.resize((_SPRITE, _SPRITE), Image.Resampling.BOX)
    sprite.putalpha(mask)
    return sprite


def _outline(kind: str) -> list[tuple[float, float, float]]:
    """Corners as (radius, cos, sin); radius 1 is half the sprite."""
    radii = {
        "triangle": [0.85] * 3,
        "square": [0.8] * 4,
        "disc": [0.68] * 32,
        "star": [0.9, 0.38] * 5,
        "cross": [0.8, 0.8, 0.36] * 4,
    }[kind]
    step = 2 * math.pi / len(radii)
    return [(r, math.cos(i * step - 1.57), math.sin(i * step - 1.57)) for i, r in enumerate(radii)]


def _texture(
    rng: np.random.Generator,
    family: str,
    size: tuple[int, int],
    period: float,
    tones: tuple[float, float],
) -> np.ndarray:
    """A pattern of the family with a period of about `period` pixels, in two colours of the given
    brightness: uint8, height x width x 3. `size` is (width, height)."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle, period = rng.uniform(0.5, 1.1), period * rng.uniform(0.85, 1.15)
    u = (x * math.cos(angle) + y * math.sin(angle)) * (2 * math.pi / period)
    v = (y * math.cos(angle) - x * math.sin(angle)) * (2 * math.pi / period)
    match family:
        case "Stripes":
            field = np.sin(u)
        case "Checks":
            field = 4 * np.sin(u) * np.sin(v)
        case "Dots":
            field = 1.6 * (np.cos(u) + np.cos(v)) - 1.2
        case "Clouds":
            field = _clouds(rng, period, width, height)
        case _:
            raise ValueError(f"family is {family!r}, allowed are {FAMILIES}")
    weight = 1 / (1 + np.exp(-4 * field))[..., None]
    low, high = _two_colours(rng, *tones)
    shade = 1 + 0.15 * np.sin(x / width * 3 + y / height * 2 + rng.uniform(0, 6))[..., None]
    return np.asarray(np.clip((low + (high - low) * weight) * shade, 0, 255), np.uint8)


def _clouds(rng: np.random.Generator, period: float, width: int, height: int) -> np.ndarray:
    """Smooth noise with features of about `period` pixels, zero mean and unit variance."""
    coarse = rng.normal(size=(int(height / period * 2) + 2, int(width / period * 2) + 2))
    picture = Image.fromarray(coarse.astype(np.float32)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    field = np.asarray(picture)
    return np.asarray((field - field.mean()) / field.std())


def _two_colours(
    rng: np.random.Generator, dark: float, bright: float
) -> tuple[np.ndarray, np.ndarray]:
    """Two RGB colours (float, 0 .. 255) of the given brightness and any hue."""
    hues = rng.uniform(0, 2 * math.pi, 2)
    turned = [np.cos(hue + np.array([0, 1, 2]) * 2 * math.pi / 3) for hue in hues]
    return dark + _CHROMA * turned[0], bright + _CHROMA * turned[1]
