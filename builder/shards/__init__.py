"""The shard format: write it, read it, check it, show it."""
