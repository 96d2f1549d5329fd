"""The formats that a backbone is exported to."""

FORMATS = {"torchvision": ".pth", "safetensors": ".safetensors", "onnx": ".onnx"}  # and endings
