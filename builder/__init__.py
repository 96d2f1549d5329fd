"""Videos to verified frame-JPEG WebDataset shards. Imports no other room."""
