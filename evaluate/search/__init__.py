"""Search a feature store, and find near-duplicates in it."""
