"""The settings of a run: defaults, validation, recipes."""
