"""Our ways side by side with the usual ones: `make bench`, `make bench-gpu`."""
