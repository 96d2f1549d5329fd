"""3D-CNNs."""
