"""Check what this machine has and lacks for ascnet; each check gives one line.

Packages are imported within the checks and by name, so that a broken package is reported, too.
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

from builder.cgroups import cpu_limit, memory_limit
from builder.command_line import command_line
from builder.cores import usable_cores

GOOD, MISSING, WARNING, BROKEN = "good", "missing", "warning", "broken"  # states of a finding
_GB = 1e9  # bytes
_MEMINFO = Path("/proc/meminfo")
_SHM = Path("/dev/shm")
_NVIDIA = Path("/proc/driver/nvidia/version")
_UNPACKERS = ("unrar", "unar", "7z", "7zz", "bsdtar")
_PIP = command_line(sys.executable, "-m", "pip")
_NO_TURBO = "without libjpeg-turbo"
_PACKAGES = ("numpy", "simplejpeg", "h5py", "webdataset")
# Required distributions that need no further check, with their modules.
_SMALL = {
    "click": "click",
    "ffmpeg-python": "ffmpeg",
    "imageio-ffmpeg": "imageio_ffmpeg",
    "rarfile": "rarfile",
    "tensorboardX": "tensorboardX",
    "tomli-w": "tomli_w",
    "tqdm": "tqdm",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        state: GOOD, MISSING (optional), WARNING (works, but), BROKEN (required)
        advice: what it is for and the next step; empty if it is good
    """

    name: str
    state: str
    text: str
    advice: str = ""


def findings() -> Iterator[Finding]:
    """Yield the findings in the order to print. Problems of the machine never raise."""
    for name, check in _CHECKS.items():
        yield _checked(name, check, _anew(_DISTRIBUTION[name]))


_Said = str | tuple[str, str, str]  # text if good, otherwise state, text and advice


def _checked(name: str, check: Callable[[], _Said], remedy: str) -> Finding:
    try:
        # A package built for another numpy prints a long text to stderr before it raises.
        with contextlib.redirect_stderr(io.StringIO()):
            said = check()
    except (Exception, SystemExit) as error:
        return Finding(name, BROKEN, _sentence(error), remedy)
    return Finding(name, GOOD, said) if isinstance(said, str) else Finding(name, *said)


def _anew(distribution: str) -> str:
    if distribution == "ascnet":
        return "run make clean setup in the folder of ascnet to recreate the environment"
    return f"{_PIP} install --force-reinstall --no-deps {distribution}, or make clean setup"


def _sentence(error: BaseException) -> str:
    """The first line of an error, preceded by its type unless it is one of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kind = type(error).__name__
    if kind == "BuilderError":
        return " ".join(lines)
    return f"{kind}: {lines[0]}" if lines else kind


def _ascnet() -> _Said:
    return f"{import_module('trainer.run.provenance').code()}, {Path(__file__).parent.parent}"


def _python() -> _Said:
    where = sys.executable + ("" if sys.prefix != sys.base_prefix else " (no virtual environment)")
    return f"{platform.python_version()}, {where}"


def _platform() -> _Said:
    return f"{platform.platform()}, {platform.machine()}"


def _cores() -> _Said:
    there = len(os.sched_getaffinity(0))
    text = f"{there} usable of {os.cpu_count()}"
    limit = cpu_limit()
    if limit is None or limit >= there:
        return text
    return (
        f"{text}; the cgroup (container) allows {limit:g}; default for workers and threads: "
        f"{usable_cores()}"
    )


def _memory() -> _Said:
    kilobytes = dict(re.findall(r"(?m)^(\w+):\s+(\d+) kB", _MEMINFO.read_text()))
    total, free = (1024 * int(kilobytes[name]) for name in ("MemTotal", "MemAvailable"))
    text = f"{total / _GB:.1f} GB, {free / _GB:.1f} GB available"
    limit = memory_limit()
    if limit is not None and limit < total:
        text += f"; the cgroup (container) allows {limit / _GB:.1f} GB"
        free = min(free, limit)
    if free < _GB:
        return WARNING, text, "make demo needs 0.6 GB: end other programs, or use fewer --workers"
    return text


def _disk() -> _Said:
    here = Path.cwd()
    usage = shutil.disk_usage(here)
    text = f"{usage.free / _GB:.1f} GB free of {usage.total / _GB:.1f} GB in {here}"
    if usage.free < _GB:
        return (
            WARNING,
            text,
            ("Shards and runs are written below the current folder: free space, or use --out"),
        )
    return text


def _shared_memory() -> _Said:
    size = shutil.disk_usage(_SHM).total if _SHM.is_dir() else 0
    if size >= _GB:
        return f"{size / _GB:.1f} GB"
    advice = (
        "ascnet does not need it, as it reads with threads, but DataLoader workers of other "
        "programs and Ray's object store do: docker run --shm-size=8g"
    )
    return WARNING, f"{size / _GB:.2f} GB" if _SHM.is_dir() else "is not there", advice


def _open_files() -> _Said:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = {resource.RLIM_INFINITY: "unlimited"}
    text = f"{unlimited.get(soft, soft)} (up to {unlimited.get(hard, hard)})"
    if soft not in unlimited and soft < 1024:
        advice = "Each video being processed needs several: ulimit -n 4096, or fewer --workers"
        return WARNING, text, advice
    return text


def _torch() -> _Said:
    torch = import_module("torch")
    text = f"{torch.__version__}, {torch.get_num_threads()} threads, "
    driver = "This machine has an NVIDIA driver: "
    if not torch.version.cuda:
        text += "built without CUDA"
        advice = f"{driver}install torch with CUDA, https://pytorch.org/get-started"
        return (WARNING, text, advice) if _NVIDIA.exists() else text
    text += f"CUDA {torch.version.cuda}, "
    if torch.cuda.is_available():
        cards = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        return text + ", ".join(f"{c.name} ({c.total_memory / _GB:.1f} GB)" for c in cards)
    advice = (
        f"{driver}see nvidia-smi (is the driver too old for this CUDA?) and CUDA_VISIBLE_DEVICES"
    )
    return (
        (WARNING, f"{text}but no GPU can be used", advice) if _NVIDIA.exists() else text + "no GPU"
    )


def _pil() -> _Said:
    both = version_of("pillow-simd") and version_of("pillow")
    anew = f"{_PIP} uninstall -y pillow pillow-simd; {_PIP} install pillow-simd"
    try:
        pil, features = import_module("PIL.Image"), import_module("PIL.features")
    except ImportError as error:
        if both:
            return BROKEN, f"{_sentence(error)} (Pillow has overwritten pillow-simd)", anew
        raise
    turbo = features.check("libjpeg_turbo")
    kind = "pillow-simd" if ".post" in pil.__version__ else "Pillow"
    text = f"{kind} {pil.__version__}, "
    text += f"libjpeg-turbo {features.version('libjpeg_turbo')}" if turbo else _NO_TURBO
    if both:
        advice = f"They overwrite each other's files, which leads to import errors: {anew}"
        return WARNING, f"{text}; Pillow and pillow-simd are both installed", advice
    if kind == "Pillow":
        advice = f"{_PIP} uninstall -y pillow; {_PIP} install pillow-simd"
        return WARNING, text, f"ascnet is made for pillow-simd: {advice}"
    if not turbo:
        advice = (
            "JPEGs are encoded and decoded more slowly: install libjpeg-turbo's headers "
            f"(libjpeg-dev), then {_PIP} install --force-reinstall --no-cache-dir --no-deps "
            "pillow-simd"
        )
        return WARNING, text, advice
    return text


def _package(distribution: str, module: str) -> str:
    import_module(module)
    return version_of(distribution) or "of unknown version"


def _small_packages() -> _Said:
    texts: list[str] = []
    lacking: dict[str, str] = {}
    for distribution, module in _SMALL.items():
        try:
            texts.append(f"{distribution} {_package(distribution, module)}")
        except Exception as error:  # the others are still checked
            lacking[distribution] = _sentence(error)
    if lacking:
        text = "; ".join(f"{name}: {error}" for name, error in lacking.items())
        return BROKEN, text, _anew(" ".join(lacking))
    return ", ".join(texts)


def _ffmpeg() -> _Said:
    try:
        engine = import_module("builder.decode.ffmpeg")
        path, version = engine.find_ffmpeg(), engine.ffmpeg_version()
    except Exception as error:
        fix = "Set ASCNET_FFMPEG to an ffmpeg of 5.1 or newer, or unset it to use the bundled one"
        return BROKEN, _sentence(error), fix
    named = (name for name in ("ASCNET_FFMPEG", "IMAGEIO_FFMPEG_EXE") if os.environ.get(name))
    return f"{version}, {path} ({next(named, 'bundled with imageio-ffmpeg')})"


def _optional(name: str, purpose: str, load: bool) -> _Said:
    if find_spec(name) is None:
        return MISSING, "not installed", purpose
    try:
        return _package(name, name) if load else version_of(name) or "of unknown version"
    except Exception as error:
        return WARNING, _sentence(error), f"Only needed for {purpose}"


def _av() -> _Said:
    purpose = f"ascnet build --engine pyav (faster builds): {_PIP} install 'av>=18'"
    return _optional("av", purpose, load=True)


def _ray() -> _Said:
    purpose = f"ascnet build --executor ray (builds on many machines): {_PIP} install 'ray>=2.52'"
    return _optional("ray", purpose, load=False)  # importing Ray takes a second


def _transformers() -> _Said:
    purpose = f"--encoder hf:MODEL (models of Hugging Face): {_PIP} install 'transformers>=5'"
    return _optional("transformers", purpose, load=False)  # importing it takes seconds


def _rar() -> _Said:
    if paths := [path for path in map(shutil.which, _UNPACKERS) if path]:
        return ", ".join(paths)
    advice = (
        "ascnet fetch ucf101 and hmdb51 (their archives are rar): install unrar, unar or bsdtar "
        "(on Debian and Ubuntu: sudo apt-get install unar)"
    )
    return MISSING, f"none of {', '.join(_UNPACKERS)}", advice


def version_of(distribution: str) -> str | None:
    """Version of an installed distribution; None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


_CHECKS: dict[str, Callable[[], _Said]] = {
    "ascnet": _ascnet,
    "Python": _python,
    "platform": _platform,
    "cores": _cores,
    "memory": _memory,
    "disk": _disk,
    "/dev/shm": _shared_memory,
    "open files": _open_files,
    "torch": _torch,
    "PIL": _pil,
    **{name: partial(_package, name, name) for name in _PACKAGES},
    "others": _small_packages,
    "ffmpeg": _ffmpeg,
    "av": _av,
    "ray": _ray,
    "transformers": _transformers,
    "rar": _rar,
}
# The distribution to reinstall if a check fails.
_DISTRIBUTION = dict.fromkeys(_CHECKS, "ascnet") | {"torch": "torch", "PIL": "pillow-simd"}
_DISTRIBUTION |= {name: name for name in _PACKAGES}
_MARKS = {GOOD: " ", MISSING: "-", WARNING: "!", BROKEN: "X"}
_LISTS = {
    BROKEN: "Broken (X), and how to fix it:",
    WARNING: "Worth a look (!):",
    MISSING: "Missing (-), and what it is for:",
}


def line(finding: Finding) -> str:
    """A finding as a line, such as " torch 2.13.0, ..."; the first character marks its state."""
    return f"{_MARKS[finding.state]} {finding.name:<12} {finding.text}"


def advice(findings: list[Finding]) -> str:
    """What to do about all problems, the most serious first; "" if there are none."""
    blocks = []
    for state, title in _LISTS.items():
        lines = [f"  {f.name:<12} {f.advice}" for f in findings if f.state == state]
        if lines:
            blocks.append("\n".join([title, *lines]))
    return "\n".join(blocks)
