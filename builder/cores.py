"""How much of the machine this process may use."""

import math
import os

from builder.cgroups import cpu_limit


def usable_cores() -> int:
    """Cores that this process may use: those that it may run on, and no more than the time that
    its control groups (containers) allow it, rounded up."""
    cores = len(os.sched_getaffinity(0))
    limit = cpu_limit()
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))
