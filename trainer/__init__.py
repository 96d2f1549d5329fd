"""Train a 3D-CNN that encodes appearance and playback speed, from shards (`builder.shards`)."""
