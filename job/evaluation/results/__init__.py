"""Results for a paper: measures with intervals, tests between checkpoints, tables in several formats."""
