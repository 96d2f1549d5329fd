"""Shards that are read from start to end, from a disk or a server."""
