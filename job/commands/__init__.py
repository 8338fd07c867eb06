"""The commands of ``python -m job``, one module per group. Imports are inside them: --help is fast."""
