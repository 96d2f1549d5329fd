"""Weights of other projects in, weights for other programs out."""
