"""Classifiers that are trained: fine-tuning, and probes of augmented clips."""
