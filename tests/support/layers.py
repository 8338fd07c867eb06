"""The layers of `job`, which tests/test_architecture.py enforces and docs/development.md shows."""

# From the bottom up. A package imports from those above it in this list and from its own modules; packages that share a
# line do not import each other.
LAYERS = [
    ("vocabulary", "metric_names"),
    ("system",),
    ("config",),
    ("models", "face_drawing"),
    ("datasets",),
    ("shards",),
    ("methods",),
    ("run_folder",),
    ("training",),
    ("evaluation",),
    ("prediction",),
    ("monitor",),
    ("doctor",),
    ("sharing",),
    ("train", "predict", "export"),
    ("many_runs", "demo"),
    ("search", "crossval"),
    ("commands",),
    ("__main__",),
]
