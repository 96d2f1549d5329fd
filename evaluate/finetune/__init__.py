"""Train classifiers on clips: fine-tuning, and probes on augmented clips."""
