"""Where the figures of a run lie."""

from pathlib import Path


def figure_path(folder: Path, name: str) -> Path:
    """``figures/confidence`` -> FOLDER/figures/confidence.png, ``oracle/...`` -> FOLDER/figures/oracle/....png"""
    return folder / "figures" / f"{name.removeprefix('figures/')}.png"
