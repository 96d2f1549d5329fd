"""What the commands do, one file each, loaded when they run: their help needs no torch."""
