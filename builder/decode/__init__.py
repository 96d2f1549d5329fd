"""Decode a video into JPEG frames, whatever its file is."""
