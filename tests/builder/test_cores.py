import pytest

from builder import cores


@pytest.mark.parametrize(
    ("limit", "used"), [(None, 8), (2.0, 2), (1.5, 2), (0.25, 1), (8.0, 8), (64.0, 8)]
)
def test_no_more_cores_than_the_container_allows(monkeypatch, limit, used):
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(cores, "cpu_limit", lambda: limit)
    assert cores.usable_cores() == used
