"""The settings of a run: defaults, rules, recipes."""
