"""Cross-validation: runs by method, fold and seed, and their common results."""
