"""Download the official archives of data sets and unpack them."""
