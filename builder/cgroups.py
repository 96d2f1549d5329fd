"""CPU and memory limits of the control groups (containers) of this process."""

from collections.abc import Iterator
from pathlib import Path

_CGROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cpu_limit(root: Path = _CGROUPS, membership: Path = _OWN) -> float | None:
    """CPU limit of this process's control groups, in cores; None if there is none. It is read from
    the files below `root` (/sys/fs/cgroup), for the groups that `membership` (/proc/self/cgroup)
    lists."""
    limits = []
    for folder in _groups(root, membership, "cpu"):
        quota, period = (*_words(folder / "cpu.max"), "", "")[:2]
        if not quota:
            quota = "".join(_words(folder / "cpu.cfs_quota_us"))
            period = "".join(_words(folder / "cpu.cfs_period_us"))
        if quota.isdecimal() and period.isdecimal():  # "max" and "-1" are no limit
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_limit(root: Path = _CGROUPS, membership: Path = _OWN) -> int | None:
    """Memory limit of this process's control groups, in bytes; arguments as in `cpu_limit`."""
    words = (
        word
        for folder in _groups(root, membership, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        for word in _words(folder / name)
    )
    return min((int(word) for word in words if word.isdecimal()), default=None)


def _groups(root: Path, membership: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's control group and its ancestors, for cgroup v1 and v2. In a
    container the group's own path may be missing; the root then has its limits."""
    for line in membership.read_text().splitlines() if membership.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        group = top / path.strip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
