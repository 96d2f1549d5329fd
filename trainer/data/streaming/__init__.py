"""Read shards sequentially, from a disk, a server or a command."""
