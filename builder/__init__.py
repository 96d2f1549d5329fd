"""Build WebDataset shards of JPEG frames from videos. Imports none of the other packages."""
