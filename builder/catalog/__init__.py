"""Data set readers: list the videos of a data set with their labels, splits and source groups."""
