"""Cross-validation: runs by method, fold and seed, and what they measure together."""
