"""The objective, its networks and memory bank, and the metrics and guards that watch them."""
