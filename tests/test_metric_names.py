"""The table of metrics, and metrics that it does not list."""

import re

import pytest

from job import metric_names
from job.metric_names import METRICS, PANELS, by_panel, find, in_line, title
from job.monitor.terminal import shown
from tests.support.running import REPO


def test_docs_contain_the_generated_table():
    text = (REPO / "docs" / "monitoring.md").read_text()
    assert metric_names.markdown_table() in text, "paste the output of `python -m job.metric_names` into the page"


def test_names_are_unique_and_their_panels_exist():
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))
    assert {metric.panel for metric in METRICS} - {""} <= set(PANELS)
    assert all(metric.labels for metric in METRICS if metric.name.startswith("oracle/"))


def test_a_run_logs_only_listed_metrics(small):
    from job.train import train
    from tests.support.running import rows

    config = small(train={"steps": 2, "eval_every": 2})
    assert train(config) == 0
    logged = set().union(*rows(config))
    assert [name for name in logged if not any(metric.matches(name) for metric in METRICS)] == []


def test_the_terms_of_every_method_are_explained():
    """A title made from the name, such as `class confusion`, says nothing to a reader of the log."""
    files = (REPO / "job" / "methods").glob("*.py")
    logged = {name for path in files for name in re.findall(r'"((?:train|domain)/\w+)"', path.read_text())}
    assert "train/class_confusion" in logged
    assert [name for name in sorted(logged) if not any(metric.matches(name) for metric in METRICS)] == []


@pytest.mark.parametrize(
    ("name", "expected"), [("train/centroid_loss", "centroid"), ("train/centroid_distance", "centroid distance")]
)
def test_unlisted_loss_term_is_in_the_losses_panel_and_the_progress_line(name, expected):
    assert title(name) == expected
    assert find(name).panel == "Losses"
    row = {"speed/images_per_second": 10.0, name: 0.25, "train/class_loss": 1.0}
    assert shown(row) == f"class 1  {expected} 0.25  img/s 10"


def test_other_unlisted_metrics_have_a_panel_too():
    assert by_panel(["domain/mmd", "teacher/decay"]) == {"Domains": ["domain/mmd"], "Other": ["teacher/decay"]}
    assert title("teacher/decay") == "decay"
    assert in_line(["teacher/decay"]) == []
    assert find("oracle/something").labels


def test_star_is_replaced_by_the_class_or_score():
    assert title("val/source_recall/joy") == "joy"
    assert title("oracle/test_target_recall/joy") == "recall of joy, target, test (oracle)"
    assert title("selection/infomax") == "infomax"
