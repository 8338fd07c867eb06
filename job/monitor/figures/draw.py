"""All figures of a run, as PNG files in its folder. Those that needed target labels are in ``figures/oracle``."""

import os
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from job.monitor.figures import confusion, domain, faces, feature_map, recall, speed
from job.run_folder.run_view import RunView

FIGURES: dict[str, Callable[[RunView], Figure | None]] = {  # name in W&B -> None where there is nothing to draw
    "figures/confusion_source": confusion.draw_source,
    "oracle/confusion_target": confusion.draw_target,
    "figures/recall_source": recall.draw_source,
    "oracle/recall_target": recall.draw_target,
    "figures/features_by_domain": feature_map.draw_by_domain,
    "figures/features_by_emotion": feature_map.draw_by_emotion,
    "oracle/features_by_emotion": feature_map.draw_by_emotion_oracle,
    "figures/domain_predictions": domain.draw_histogram,
    "figures/target_classes": domain.draw_target_classes,
    "figures/target_faces": faces.draw_target_faces,
    "figures/mistakes_source": faces.draw_source_mistakes,
    "oracle/mistakes_target": faces.draw_target_mistakes,
    "figures/speed": speed.draw_speed,
}


def draw_figures(run: RunView) -> dict[str, Path]:
    """Write every figure that the run has numbers for; returns them by their names in W&B."""
    written = {}
    for name, draw in FIGURES.items():
        figure = draw(run)
        if figure is not None:
            written[name] = path = figure_path(run.folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}")
            figure.savefig(temporary, format="png")
            os.replace(temporary, path)
    return written


def figure_path(folder: Path, name: str) -> Path:
    """``figures/speed`` -> FOLDER/figures/speed.png, ``oracle/...`` -> FOLDER/figures/oracle/....png"""
    return folder / "figures" / f"{name.removeprefix('figures/')}.png"
