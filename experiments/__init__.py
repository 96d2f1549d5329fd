"""Experiments that measure the effect of each part of the method. Not part of the product."""
