"""A two-node Ray cluster on this machine; one node is killed in the middle."""

import signal
import sys
from pathlib import Path

import pytest

from builder.build.build import BuildSettings, How, build
from builder.catalog import folder
from builder.decode.frames import FrameSettings
from builder.errors import BuilderError

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

SETTINGS = BuildSettings(FrameSettings(short_side=32), videos_per_shard=1)


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ours = signal.getsignal(signal.SIGTERM)
    nodes = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    yield nodes
    ray.shutdown()
    nodes.shutdown()
    signal.signal(signal.SIGTERM, ours)  # a node that starts puts its own in place


def content(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.iterdir()}


def test_a_node_is_lost_and_the_bytes_are_those_of_a_local_build(cluster, video_folder, tmp_path):
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    catalog, lost = folder.read(video_folder), []

    def lose_a_node(done: int, total: int, text: str) -> None:
        if done >= 4 and not lost:
            cluster.remove_node(second, allow_graceful=False)
            lost.append(done)

    summary = build(catalog, tmp_path / "ray", SETTINGS, How(executor="ray"), lose_a_node)
    assert lost
    assert summary.done_now == summary.counts["built"] == 16
    build(catalog, tmp_path / "local", SETTINGS, How(workers=2))
    assert content(tmp_path / "ray") == content(tmp_path / "local")


def test_an_error_of_a_task_is_one_sentence(cluster, video_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("builder.build.records.engine_version", lambda name: "ffmpeg 0.1")
    with pytest.raises(BuilderError, match=r"^A machine of the cluster has ffmpeg .*ffmpeg 0.1"):
        build(folder.read(video_folder), tmp_path / "out", SETTINGS, How(executor="ray"))


def test_without_ray(video_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BuilderError, match=r"pip install 'ascnet\[ray\]'"):
        build(folder.read(video_folder), tmp_path / "out", SETTINGS, How(executor="ray"))


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_long_temporary_folder_is_what_has_to_change(name, video_folder, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(name, str(tmp_path))

    def refuse(**_: object) -> None:
        raise OSError(f"AF_UNIX path length cannot exceed 107 bytes: {tmp_path}/ray/plasma_store")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(BuilderError) as caught:
        build(folder.read(video_folder), tmp_path / "out", SETTINGS, How(executor="ray"))
    assert f"set {name} to a short path with room, such as /tmp" in str(caught.value)
    assert f"Ray cannot begin in {tmp_path}: AF_UNIX" in str(caught.value)
    assert "--out" not in str(caught.value)
