"""From shards to batches of augmented clips."""
