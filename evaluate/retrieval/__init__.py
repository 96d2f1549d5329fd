"""Find nearest neighbours and measure retrieval."""
