"""Implementations of the commands, one file each. They load when a command runs, so that help does
not need torch."""
