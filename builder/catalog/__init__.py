"""Where the videos, labels, splits and source groups of a data set come from."""
