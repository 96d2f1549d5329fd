"""Benchmarks of ascnet against common alternatives: `make bench`, `make bench-gpu`."""
