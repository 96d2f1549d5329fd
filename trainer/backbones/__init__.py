"""The 3D-CNN backbones, one file each."""
