"""What commands that train many runs share: `search` and `crossval` start runs, lock them, and pass signals on."""
