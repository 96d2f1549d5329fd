"""From an encoder and shards to a feature store in HDF5."""
