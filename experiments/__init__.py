"""Experiments: what each part of the method does, measured. Not part of the product."""
