"""Results as a paper wants them: measures with intervals, tests between checkpoints, tables in several formats."""
