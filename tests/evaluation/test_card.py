"""The model card says what was counted, for every domain and emotion, and no more."""

import numpy as np
import pytest

from job.config.load import build_config
from job.evaluation.card import model_card, wilson
from job.shards.manifest import Manifest
from job.vocabulary import EMOTIONS
from tests.support.reports import report


def shards(**changes):
    info = {"path": "a.tar", "samples": 100, "bytes": 9, "sha256": "0", "labelled": True}
    splits = {"train": ({**info, "labelled": False},), "val": ({**info, "labelled": False},), "test": (info,)}
    content = {"layout": "kdef", "size": 64, "class_names": EMOTIONS, "seed": 0, "quality": 95, "crop": "face"}
    content |= {"domains": {"source": splits, "target": splits}, "options": {"source": "male", "target": "female"}}
    return Manifest(**content | changes)


def confused(wrong: int, few: bool = False):
    """40 images of each class (4 of disgust), all right but `wrong` of fear that are taken for surprise."""
    counts = [40] * 6 + [4 if few else 40]
    labels = np.repeat(np.arange(7), counts)
    predicted = labels.copy()
    predicted[np.flatnonzero(labels == EMOTIONS.index("fear"))[:wrong]] = EMOTIONS.index("surprise")
    return report(np.eye(7)[predicted], labels)


def rows(card: str, heading: str) -> dict[str, list[str]]:
    text = card.split(f"# {heading}", 1)[1].split("\n#", 1)[0]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in lines}


def card_of(source, target, split="test", **changes) -> str:
    config = build_config({"name": "women"}, "test")
    return model_card(
        config, shards(**changes), "runs/women/checkpoints/best", 7, split, {"source": source, "target": target}
    )


def test_the_errors_of_each_domain_and_emotion():
    card = card_of(confused(4), confused(10, few=True))
    source, target = rows(card, "source: male"), rows(card, "target: female")
    assert source["fear"] == ["40", "0.100 (0.040 to 0.231)", "0.000", "surprise (4)"]
    assert source["surprise"][2] == f"{4 / 44:.3f}"
    assert source["joy"] == ["40", "0.000 (0.000 to 0.088)", "0.000", "-"]
    assert target["fear"][0] == "40"
    assert target["fear"][1].startswith("0.250 (")
    assert target["disgust *few*"][0] == "4"
    assert "280 images: accuracy 0.986" in card


def test_the_domains_side_by_side():
    compared = rows(card_of(confused(4), confused(10)), "Difference between the domains")
    assert compared["fear"] == ["0.100", "0.250", "+0.150"]
    assert compared["joy"] == ["0.000", "0.000", "+0.000"]
    assert compared["all"] == [f"{4 / 280:.3f}", f"{10 / 280:.3f}", f"{6 / 280:+.3f}"]


def test_without_labels_there_are_no_errors_to_report():
    blind = report(np.eye(7))
    card = card_of(confused(4), blind, split="val")
    assert "errors cannot be counted" in card
    assert "Difference between the domains" not in card
    assert rows(card, "target: female")["joy"] == [f"{1 / 7:.3f}"]


def test_an_emotion_that_does_not_occur():
    labels = np.repeat(np.arange(6), 10)
    card = card_of(confused(0), report(np.eye(7)[labels], labels))
    assert rows(card, "target: female")["disgust *few*"] == ["0", "-", "-", "-"]
    assert rows(card, "Difference between the domains")["disgust"] == ["0.000", "-", "-"]
    assert "nan" not in card


def test_what_it_must_say_of_its_limits_and_of_the_data():
    card = card_of(confused(1), confused(1), left_out={"emotion contempt": 18})
    for words in ("not what a person feels", "2024/1689", "binary labels", "docs/responsible_use.md", "crop face"):
        assert words in card
    assert rows(card, "The data")["left out"] == ["18 emotion contempt"]
    assert rows(card, "The model")["labels used in training"] == ["the source's alone"]


KNOWN = [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (9, 10, 0.5958, 0.9821)]


@pytest.mark.parametrize(("right", "total", "low", "high"), KNOWN)
def test_the_interval_is_wilsons(right, total, low, high):
    assert wilson(right, total) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert wilson(0, 0) == (0.0, 1.0)
