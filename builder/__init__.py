"""Videos to frame-JPEG WebDataset shards. Imports no other room."""
