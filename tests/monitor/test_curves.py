"""Line colours of the report's curves."""

from job.monitor.colours import GREY, ROLE
from job.monitor.report.curves import _colours


def test_scores_of_one_chart_have_different_colours():
    names = [f"selection/{name}" for name in ("infomax", "entropy", "mixval", "source_accuracy")]
    colours = _colours(names)
    assert len(set(colours.values())) == len(names)
    assert GREY not in colours.values()


def test_domains_keep_their_colours_and_training_is_grey():
    colours = _colours(["train/source_accuracy", "val/source_accuracy", "oracle/target_accuracy"])
    assert list(colours.values()) == [GREY, ROLE["source"], ROLE["target"]]
