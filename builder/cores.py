"""The CPU cores that this process may use."""

import math
import os

from builder.cgroups import cpu_limit


def usable_cores() -> int:
    """Number of cores that this process may use: those of its CPU affinity, but no more than its
    control groups (containers) allow, rounded up."""
    cores = len(os.sched_getaffinity(0))
    limit = cpu_limit()
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))
