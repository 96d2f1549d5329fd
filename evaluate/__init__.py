"""Checkpoints to honest numbers. Imports `trainer` and `builder.shards`."""
