"""Shards to a 3D-CNN that knows appearance and speed. Imports `builder.shards` only."""
