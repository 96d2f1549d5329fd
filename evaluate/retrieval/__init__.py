"""Nearest neighbours and what is measured of them."""
