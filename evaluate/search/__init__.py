"""Search in any store, and near-duplicates."""
