"""Extract features with an encoder and keep them in HDF5 stores."""
