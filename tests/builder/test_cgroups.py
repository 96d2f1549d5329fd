from pathlib import Path

from builder.cgroups import cpu_limit, memory_limit


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_limits_of_control_groups(tmp_path):
    root, own = tmp_path / "cgroup", tmp_path / "self"
    assert cpu_limit(root, own) is None
    own.write_text("0::/a/b\n")
    write(root / "a/cpu.max", "150000 100000\n")
    write(root / "a/b/cpu.max", "max 100000\n")
    write(root / "a/b/memory.max", "max\n")
    assert cpu_limit(root, own) == 1.5
    assert memory_limit(root, own) is None
    write(root / "a/memory.max", "1000000\n")
    assert memory_limit(root, own) == 10**6


def test_limits_of_the_first_control_groups(tmp_path):
    root, own = tmp_path / "cgroup", tmp_path / "self"
    own.write_text("3:cpu,cpuacct:/docker/x\n2:memory:/docker/x\n1:cpuset:/y\n")
    write(root / "cpu/cpu.cfs_quota_us", "50000\n")  # the container sees its own group as the root
    write(root / "cpu/cpu.cfs_period_us", "100000\n")
    write(root / "memory/memory.limit_in_bytes", "2000\n")
    assert cpu_limit(root, own) == 0.5
    assert memory_limit(root, own) == 2000
    write(root / "cpu/cpu.cfs_quota_us", "-1\n")
    assert cpu_limit(root, own) is None
