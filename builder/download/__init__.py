"""Fetch the official archives and unpack them."""
