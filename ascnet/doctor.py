"""What this machine has and lacks for ascnet, a line each.

Everything is imported within a check, and by name, so that a broken package is a line too.
"""

import contextlib
import io
import os
import platform
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ascnet.cgroups import cpu_limit, memory_limit
from builder.command_line import command_line

GOOD, MISSING, WARNING, BROKEN = "good", "missing", "warning", "broken"  # states of a finding
_GB = 1e9  # bytes
_MEMINFO = Path("/proc/meminfo")
_SHM = Path("/dev/shm")
_NVIDIA = Path("/proc/driver/nvidia/version")
_UNPACKERS = ("unrar", "unar", "7z", "7zz", "bsdtar")
_PIP = command_line(sys.executable, "-m", "pip")
# Distribution, module: packages that are needed and of which no more is to be said.
_SMALL = (
    ("click", "click"),
    ("ffmpeg-python", "ffmpeg"),
    ("imageio-ffmpeg", "imageio_ffmpeg"),
    ("rarfile", "rarfile"),
    ("tensorboardX", "tensorboardX"),
    ("tomli-w", "tomli_w"),
    ("tqdm", "tqdm"),
)


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    state: str  # GOOD, MISSING (optional), WARNING (works, but), BROKEN (required)
    text: str
    advice: str = ""  # what it is for and the next step; empty where all is good


def findings() -> Iterator[Finding]:
    """One finding after the other, in the order to print. Never raises for what it looks at."""
    yield _checked("ascnet", _ascnet)
    yield _checked("Python", _python)
    yield _checked("platform", lambda: (GOOD, f"{platform.platform()}, {platform.machine()}", ""))
    yield _checked("cores", _cores)
    yield _checked("memory", _memory)
    yield _checked("disk", _disk)
    yield _checked("/dev/shm", _shared_memory)
    yield _checked("open files", _open_files)
    yield _checked("torch", _torch, _anew("torch"))
    yield _checked("PIL", _pil, _anew("pillow-simd"))
    for name in ("numpy", "simplejpeg", "h5py", "webdataset"):
        yield _checked(name, partial(_package, name, name), _anew(name))
    yield _checked("others", _small_packages)
    yield _checked("ffmpeg", _ffmpeg)
    yield _checked("av", _av)
    yield _checked("ray", _ray)
    yield _checked("rar", _rar)


_Said = tuple[str, str, str]  # state, text, advice


def _checked(name: str, check: Callable[[], _Said], remedy: str = "") -> Finding:
    try:
        # A package that does not fit numpy writes a page to stderr besides raising.
        with contextlib.redirect_stderr(io.StringIO()):
            return Finding(name, *check())
    except (Exception, SystemExit) as error:
        return Finding(name, BROKEN, _sentence(error), remedy or _anew("ascnet"))


def _anew(distribution: str) -> str:
    if distribution == "ascnet":
        return "make clean setup, in the folder of ascnet, makes the environment anew"
    return f"{_PIP} install --force-reinstall --no-deps {distribution}, or make clean setup"


def _sentence(error: BaseException) -> str:
    """The first line of an error that says something, after its type unless it is one of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kind = type(error).__name__
    if kind == "BuilderError":
        return " ".join(lines)
    return f"{kind}: {lines[0]}" if lines else kind


def _ascnet() -> _Said:
    return (
        GOOD,
        f"{import_module('trainer.run.provenance').code()}, {Path(__file__).parent.parent}",
        "",
    )


def _python() -> _Said:
    where = sys.executable + ("" if sys.prefix != sys.base_prefix else " (no virtual environment)")
    return GOOD, f"{platform.python_version()}, {where}", ""


def _cores() -> _Said:
    usable = len(os.sched_getaffinity(0))
    text = f"{usable} usable of {os.cpu_count()}"
    limit = cpu_limit()
    if limit is None or limit >= usable:
        return GOOD, text, ""
    return (
        WARNING,
        f"{text}; the cgroup (container) allows {limit:g}",
        "The default of --workers counts cores, not what the container allows: give "
        f"`ascnet build --workers {max(1, round(limit))}`",
    )


def _memory() -> _Said:
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", _MEMINFO.read_text(), re.MULTILINE))
    total, free = 1024 * int(found["MemTotal"]), 1024 * int(found["MemAvailable"])
    text = f"{total / _GB:.1f} GB, {free / _GB:.1f} GB available"
    limit = memory_limit()
    if limit is not None and limit < total:
        text += f"; the cgroup (container) allows {limit / _GB:.1f} GB"
        free = min(free, limit)
    if free < _GB:
        return WARNING, text, "make demo takes 0.6 GB: end other programs, or use fewer --workers"
    return GOOD, text, ""


def _disk() -> _Said:
    here = Path.cwd()
    its = shutil.disk_usage(here)
    text = f"{its.free / _GB:.1f} GB free of {its.total / _GB:.1f} GB in {here}"
    if its.free < _GB:
        return WARNING, text, "Shards and runs go below the current folder: make room, or use --out"
    return GOOD, text, ""


def _shared_memory() -> _Said:
    if not _SHM.is_dir():
        return WARNING, "is not there", _FOR_SHM
    size = shutil.disk_usage(_SHM).total
    return (
        (GOOD, f"{size / _GB:.1f} GB", "")
        if size >= _GB
        else (WARNING, f"{size / _GB:.2f} GB", _FOR_SHM)
    )


_FOR_SHM = (
    "ascnet's readers are threads and do not need it, but DataLoader workers of other programs do, "
    "and Ray's object store: docker run --shm-size=8g"
)


def _open_files() -> _Said:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{_or_unlimited(soft)} (up to {_or_unlimited(hard)})"
    if soft != resource.RLIM_INFINITY and soft < 1024:
        return (
            WARNING,
            text,
            "Every video in work takes several: ulimit -n 4096, or fewer --workers",
        )
    return GOOD, text, ""


def _or_unlimited(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)


def _torch() -> _Said:
    torch = import_module("torch")
    text = f"{torch.__version__}, {torch.get_num_threads()} threads, "
    if not torch.version.cuda:
        text += "built without CUDA"
        if _NVIDIA.exists():
            return (
                WARNING,
                text,
                "This machine has an NVIDIA driver: install torch with CUDA, "
                + ("https://pytorch.org/get-started"),
            )
        return GOOD, text, ""
    text += f"CUDA {torch.version.cuda}, "
    if not torch.cuda.is_available():
        if _NVIDIA.exists():
            return (
                WARNING,
                text + "but no GPU can be used",
                (
                    "This machine has an NVIDIA driver: see nvidia-smi (is the driver too old for "
                    "this CUDA?) and CUDA_VISIBLE_DEVICES"
                ),
            )
        return GOOD, text + "no GPU", ""
    cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return GOOD, text + ", ".join(f"{c.name} ({c.total_memory / _GB:.1f} GB)" for c in cards), ""


def _package(distribution: str, module: str) -> _Said:
    import_module(module)
    return GOOD, version_of(distribution) or "of unknown version", ""


def _pil() -> _Said:
    installed = {name: version_of(name) for name in ("pillow-simd", "pillow")}
    both = f"{_PIP} uninstall -y pillow pillow-simd; {_PIP} install pillow-simd"
    try:
        pil, features = import_module("PIL.Image"), import_module("PIL.features")
    except ImportError as error:
        if all(installed.values()):
            return BROKEN, f"{_sentence(error)} (Pillow lies over pillow-simd)", both
        raise
    turbo = features.check("libjpeg_turbo")
    kind = "pillow-simd" if ".post" in pil.__version__ else "Pillow"
    text = f"{kind} {pil.__version__}, " + (
        f"libjpeg-turbo {features.version('libjpeg_turbo')}" if turbo else "without libjpeg-turbo"
    )
    if all(installed.values()):
        return (
            WARNING,
            f"{text}; Pillow and pillow-simd are both installed",
            (f"They overwrite each other's files, which ends in import errors: {both}"),
        )
    if kind == "Pillow":
        return (
            WARNING,
            text,
            (
                f"ascnet is made for pillow-simd: {_PIP} uninstall -y pillow; {_PIP} install "
                "pillow-simd"
            ),
        )
    if not turbo:
        return (
            WARNING,
            text,
            (
                "JPEGs are coded more slowly: install libjpeg-turbo's headers (libjpeg-dev), then "
                f"{_PIP} install --force-reinstall --no-cache-dir --no-deps pillow-simd"
            ),
        )
    return GOOD, text, ""


def _small_packages() -> _Said:
    texts: list[str] = []
    lacking: dict[str, str] = {}
    for distribution, module in _SMALL:
        try:
            texts.append(f"{distribution} {_package(distribution, module)[1]}")
        except Exception as error:  # the others are looked at all the same
            lacking[distribution] = _sentence(error)
    if lacking:
        text = "; ".join(f"{name}: {error}" for name, error in lacking.items())
        return BROKEN, text, _anew(" ".join(lacking))
    return GOOD, ", ".join(texts), ""


def _ffmpeg() -> _Said:
    named = os.environ.get("ASCNET_FFMPEG")
    fix = "Set ASCNET_FFMPEG to an ffmpeg of 5.1 or newer, or unset it to use the bundled one"
    try:
        engine = import_module("builder.decode.ffmpeg")
        path, version = engine.find_ffmpeg(), engine.ffmpeg_version()
    except Exception as error:
        return BROKEN, _sentence(error), fix
    origin = "ASCNET_FFMPEG" if named else "bundled with imageio-ffmpeg"
    if not named and os.environ.get("IMAGEIO_FFMPEG_EXE"):
        origin = "IMAGEIO_FFMPEG_EXE"
    text = f"{version}, {path} ({origin})"
    return GOOD, text, ""


def _av() -> _Said:
    purpose = f"ascnet build --engine pyav (faster builds): {_PIP} install 'av>=18'"
    return _optional("av", purpose, lambda: import_module("av"))


def _ray() -> _Said:
    purpose = f"ascnet build --executor ray (builds on many machines): {_PIP} install 'ray>=2.52'"
    return _optional("ray", purpose, lambda: None)  # importing Ray takes a second


def _optional(name: str, purpose: str, load: Callable[[], Any]) -> _Said:
    if find_spec(name) is None:
        return MISSING, "not installed", purpose
    try:
        load()
        return GOOD, version_of(name) or "of unknown version", ""
    except Exception as error:
        return WARNING, _sentence(error), f"Only needed for {purpose}"


def _rar() -> _Said:
    if found := [path for path in map(shutil.which, _UNPACKERS) if path]:
        return GOOD, ", ".join(found), ""
    return (
        MISSING,
        f"none of {', '.join(_UNPACKERS)}",
        (
            "ascnet fetch ucf101 and hmdb51 (their archives are rar): install unrar, unar or "
            "bsdtar (Debian, Ubuntu: apt-get install unrar, unar or libarchive-tools)"
        ),
    )


def version_of(distribution: str) -> str | None:
    """Version of an installed distribution; None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


_MARKS = {GOOD: " ", MISSING: "-", WARNING: "!", BROKEN: "X"}
_LISTS = {
    BROKEN: "Broken (X), and what mends it:",
    WARNING: "Worth a look (!):",
    MISSING: "Missing (-), and what for:",
}


def line(finding: Finding) -> str:
    """ "  torch       2.13.0, ...", the first character a mark unless all is good."""
    return f"{_MARKS[finding.state]} {finding.name:<11} {finding.text}"


def advice(found: list[Finding]) -> str:
    """What to do about all that is not good, the gravest first; empty if there is nothing."""
    blocks = []
    for state, title in _LISTS.items():
        lines = [f"  {f.name:<11} {f.advice}" for f in found if f.state == state]
        if lines:
            blocks.append("\n".join([title, *lines]))
    return "\n".join(blocks)
