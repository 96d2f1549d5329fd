"""Implementations of the commands, one file each. They load when a command runs, so that help does
not need torch."""

import numpy as np  # noqa: F401  before torch, which swallows a Ctrl-C while it loads numpy
