"""Paths of the figures of a run."""

from pathlib import Path


def figure_path(folder: Path, name: str) -> Path:
    """Return FOLDER/figures/confidence.png for ``figures/confidence``, FOLDER/figures/oracle/... for ``oracle/...``."""
    return folder / "figures" / f"{name.removeprefix('figures/')}.png"
