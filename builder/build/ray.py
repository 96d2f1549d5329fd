"""Build on many machines with Ray: one task per shard, written to a shared file system."""

import logging
import os
import signal
import sysconfig
import tempfile
import threading
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

from builder.build.job import ShardJob, build_shard
from builder.decode.engine import engine_version
from builder.errors import BuilderError, DecoderKilledError
from builder.shards.video_row import VideoRow

_TRIES = 5  # retries of a shard whose machine or process was lost


def build_on_ray(tasks: list[ShardJob], engine: str) -> Generator[list[VideoRow], None, None]:
    """Build shards on the Ray cluster that RAY_ADDRESS names, else on the one that runs here, else
    on one started for this build; yield the rows of each finished shard.

    If a machine is lost, Ray gives its unfinished shards to others. Raises BuilderError if Ray is
    not installed or cannot start, if a shard is lost too often, or as `build_here`.
    """
    try:
        import ray
    except ImportError as error:
        raise BuilderError(
            "--executor ray needs Ray, which is not installed: pip install 'ascnet[ray]'."
        ) from error

    is_started_here = not ray.is_initialized()
    if is_started_here:
        _start()
    remote = ray.remote(_build_shard).options(
        num_cpus=1, max_retries=_TRIES, retry_exceptions=[DecoderKilledError]
    )
    waiting = [remote.remote(task, engine) for task in tasks]
    try:
        while waiting:
            done, waiting = ray.wait(waiting)
            for reference in done:
                yield ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise BuilderError(
            f"Ray lost a shard {_TRIES + 1} times, or the whole cluster: {error} What is finished "
            "is kept; run the same command again."
        ) from error
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
        if is_started_here:
            ray.shutdown()


class _Fixed(list[str]):
    """A list that ignores `extend`, so that Ray cannot add to it."""

    def extend(self, more: Iterable[str]) -> None:
        pass


def _start() -> None:
    """Connect to the cluster, or start one. Raises BuilderError if that fails."""
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, job_config=_job_config())
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BuilderError(
            f"Ray's cluster cannot be used (RAY_ADDRESS is {os.environ.get('RAY_ADDRESS')!r}): "
            f"{error}. Correct RAY_ADDRESS, or unset it to use this machine."
        ) from error
    except OSError as error:
        name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
        raise BuilderError(
            f"Ray cannot begin in {os.environ.get(name) or tempfile.gettempdir()}: {error}. It "
            f"keeps its sockets below {name}, and a socket's path has at most 107 bytes: set "
            f"{name} to a short path with room, such as /tmp, and run the same command again."
        ) from error
    except Exception as error:  # a bare one if Ray's processes do not start in time
        raise BuilderError(
            f"Ray did not start: {error}. Repeat the command while fewer other programs run, "
            "with a longer RAY_raylet_start_wait_time_s, or without --executor ray."
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray has replaced the handler


def _job_config() -> Any:
    """A job configuration that sets the module search path of Ray's workers to their own and the
    folder of this package. By default Ray puts the working directory first, which may hold other
    people's files."""
    from ray.job_config import JobConfig

    if os.environ.get("RAY_ADDRESS", "").startswith("ray://"):
        return None  # Ray does not pass a client's directories to a remote cluster
    config = JobConfig()
    home = Path(__file__).resolve().parents[2]
    installed = home == Path(sysconfig.get_path("purelib")).resolve()
    config._py_driver_sys_path = _Fixed([] if installed else [str(home)])
    return config


def _build_shard(task: ShardJob, engine: str) -> list[VideoRow]:
    local = engine_version(task.frames.engine)
    if local != engine:
        raise BuilderError(
            f"A machine of the cluster has {local}, the build began with {engine}: install the "
            "same on all of them."
        )
    return build_shard(task)
