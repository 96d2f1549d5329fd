"""The files of a run, and the estimate of its cost."""
