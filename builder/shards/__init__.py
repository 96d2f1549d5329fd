"""The shard format: writing, reading, checking and showing it."""
