"""The model card reports the errors of each domain and class, and escapes names from outside."""

import dataclasses
import re

import numpy as np
import pytest

from job.config.load import build_config
from job.config.objectives import SETTINGS
from job.evaluation.card import model_card
from job.shards.manifest import Manifest
from job.vocabulary import DOMAINS, EMOTIONS, SPLITS
from tests.support.reports import report


def shard(path, labelled):
    counts = (40, 10, 10, 10, 10, 10, 10) if labelled else None
    return {
        "path": path,
        "samples": 100,
        "bytes": 200_000,
        "sha256": "0" * 64,
        "labelled": labelled,
        "class_counts": counts,
    }


def shards(**changes):
    def splits(domain):
        return {split: (shard(f"{domain}/{split}.tar", split == "test"),) for split in SPLITS}

    content = {"layout": "kdef", "size": 64, "class_names": EMOTIONS, "seed": 0, "quality": 95, "crop": "face"}
    content |= {
        "domains": {domain: splits(domain) for domain in DOMAINS},
        "options": {"source": "male", "target": "female"},
    }
    return Manifest(**content | changes)


def confused(wrong: int, few: bool = False):
    """Report on 40 images of each class (4 of disgust if `few`), correct but for `wrong` of fear taken as surprise."""
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


def test_errors_of_each_domain_and_class():
    card = card_of(confused(4), confused(10, few=True))
    source, target = rows(card, "source: male"), rows(card, "target: female")
    assert source["fear"] == ["40", "0.100 (0.040 to 0.231)", "0.000", "surprise (4)"]
    assert source["surprise"][2] == f"{4 / 44:.3f}"
    assert source["joy"] == ["40", "0.000 (0.000 to 0.088)", "0.000", "-"]
    assert target["fear"][0] == "40"
    assert target["fear"][1].startswith("0.250 (")
    assert target["disgust *few*"][0] == "4"
    assert "280 images: accuracy 0.986" in card


def test_domains_side_by_side():
    compared = rows(card_of(confused(4), confused(10)), "Difference between the domains")
    assert compared["fear"] == ["0.100", "0.250", "+0.150"]
    assert compared["joy"] == ["0.000", "0.000", "+0.000"]
    assert compared["all"] == [f"{4 / 280:.3f}", f"{10 / 280:.3f}", f"{6 / 280:+.3f}"]


def test_unlabelled_domain_has_no_error_rates():
    blind = report(np.eye(7))
    card = card_of(confused(4), blind, split="val")
    assert "7 images; no target labels: not measured" in card
    assert "Difference between the domains" not in card
    assert rows(card, "target: female")["joy"] == ["1", f"{1 / 7:.3f}"]
    assert "information maximisation 1.000" in card


def test_class_that_does_not_occur():
    labels = np.repeat(np.arange(6), 10)
    card = card_of(confused(0), report(np.eye(7)[labels], labels))
    assert rows(card, "target: female")["disgust *few*"] == ["0", "-", "-", "-"]
    assert rows(card, "Difference between the domains")["disgust"] == ["0.000", "-", "-"]
    assert "nan" not in card


def test_card_states_its_limits_and_the_data():
    card = card_of(confused(1), confused(1), left_out={"emotion contempt": 18})
    for words in ("not what a person feels", "2024/1689", "binary labels", "docs/responsible_use.md", "crop face"):
        assert words in card
    assert rows(card, "The data")["left out"] == ["18 emotion contempt"]
    assert rows(card, "The model")["labels used in training"] == ["source labels"]


def test_only_labelled_images_of_a_partly_labelled_target_count():
    target = confused(4)
    partly = dataclasses.replace(target, samples=target.samples + 700, predicted=target.predicted + 100)
    card = card_of(confused(4), partly)
    assert "280 of 980 images: accuracy 0.986" in card
    assert "The other images have no label" in card
    fear = rows(card, "target: female")["fear"]
    assert fear == ["40", "0.100 (0.040 to 0.231)", "0.000", "surprise (4)"]
    unlabelled = dataclasses.replace(target, confusion=np.zeros((7, 7), int))
    assert "no target labels: not measured" in card_of(confused(4), unlabelled)


def test_confidence_on_unlabelled_images():
    blind = dataclasses.replace(report(np.eye(7)), confidence=np.array([0] * 9 + [2] + [0] * 8 + [3, 5]))
    assert "above 0.9 in 80 % of the images, and below 0.5 in 20 %" in card_of(confused(4), blind)


HOSTILE = ("<script>alert(1)</script>", "a|b", "x\n# y", "[l](javascript:1)", "`c`", "*b*", "![i](http://h)")


def test_names_cannot_inject_html_or_markdown():
    config = build_config({"name": "<img src=x onerror=alert(1)> **bold**"}, "test")
    manifest = shards(
        class_names=HOSTILE, options={"source": "<b>men</b>", "target": "w|omen\n\n# Title"},
        left_out={"<i>a</i> | b": 2},
    )  # fmt: skip
    reports = {"source": confused(4), "target": confused(10)}
    card = model_card(config, manifest, "runs/`x|y`/<b>", 7, "test", reports)
    prose = re.sub(r"(?s)(`+).*?\1", "", card.replace("\\`", ""))  # inline code is shown literally
    assert not re.search(r"<[a-z/!]", prose)
    assert not re.search(r"(?<!\\)[\[\]*`](?!few\*)(?<!few\*)", prose.replace("*few*", ""))
    assert [line for line in card.splitlines() if line.startswith("# ")] == [card.splitlines()[0]]
    for line in card.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 5, 6), line  # names add no cells


def test_card_names_the_terms_of_a_method_with_their_settings():
    terms = [{"name": "mcc", "weight": 0.5}, {"name": "coral"}]
    config = build_config({"name": "terms", "objective": {"name": "dann", "lambda_max": 0.3, "also": terms}}, "test")
    reports = {"source": confused(1), "target": report(np.eye(7), None)}
    card = model_card(config, shards(), "runs/terms/checkpoints/best", 1, "test", reports)
    assert rows(card, "The model")["method"] == ["dann+mcc+coral, lambda\\_max 0.3, mcc weight 0.5"]


@pytest.mark.parametrize("name", SETTINGS)
def test_card_names_any_method_with_its_settings(name):
    config = build_config({"name": "x", "objective": {"name": name, "label_smoothing": 0.1}}, "test")
    text = model_card(config, shards(), "c", 1, "test", {"source": confused(1), "target": confused(1)})
    assert rows(text, "The model")["method"] == [f"{name.replace('_', chr(92) + '_')}, label\\_smoothing 0.1"]
