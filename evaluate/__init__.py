"""Evaluate encoders: extract features, measure and search them. Imports `trainer` and `builder`."""
