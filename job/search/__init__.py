"""Search for settings without target labels: `python -m job search`."""
