"""All figures of a run, as PNG files in its folder. Those that need target labels are in ``figures/oracle``.

The report draws the curves over the steps itself, with values under the mouse pointer, and W&B draws them from the
metrics. All other figures are drawn here; the report and W&B show the files.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from matplotlib.figure import Figure

from job.monitor.figures import confidence, confusion, domain, faces, feature_map
from job.monitor.figures.paths import figure_path
from job.run_folder.run_view import RunView
from job.system.files import atomic_path

FIGURES: dict[str, Callable[[RunView], Figure | None]] = {  # name in W&B -> renderer; it returns None without data
    "figures/confusion_source": confusion.draw_source,
    "oracle/confusion_target": confusion.draw_target,
    "figures/features_by_domain": feature_map.draw_by_domain,
    "figures/features_by_emotion": feature_map.draw_by_class,
    "oracle/features_by_emotion": feature_map.draw_by_class_oracle,
    "figures/domain_predictions": domain.draw_histogram,
    "figures/target_classes": domain.draw_target_classes,
    "figures/confidence": confidence.draw_confidence,
    "figures/target_faces": faces.draw_target_faces,
    "figures/mistakes_source": faces.draw_source_mistakes,
    "oracle/mistakes_target": faces.draw_target_mistakes,
    "figures/test_confusion_source": confusion.draw_source_test,
    "oracle/test_confusion_target": confusion.draw_target_test,
}
TEST_FIGURES = ("figures/test_confusion_source", "oracle/test_confusion_target")


def draw_figures(run: RunView, names: Collection[str] = tuple(FIGURES)) -> dict[str, Path]:
    """Write the named figures; return the path of each by its name in W&B.

    A figure without data is skipped, and its old file deleted: for example oracle figures without target labels.
    """
    written = {}
    for name in names:
        figure, path = FIGURES[name](run), figure_path(run.folder, name)
        if figure is None:
            path.unlink(missing_ok=True)
            continue
        written[name] = path
        for folder in (run.folder / "figures", path.parent):  # without parents=True: the run may have been deleted
            folder.mkdir(exist_ok=True)
        with atomic_path(path) as partial:
            figure.savefig(partial, format="png")
    return written
