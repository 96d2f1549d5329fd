"""Models in the layout of Hugging Face's transformers, as encoders."""
