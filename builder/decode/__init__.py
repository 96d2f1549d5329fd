"""Decode videos of any format into JPEG frames."""
