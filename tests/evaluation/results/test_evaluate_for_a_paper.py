"""`job evaluate --paper` and `job compare --pair`, on checkpoints of untrained networks."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from job.monitor.figures.paper import draw_paper


def test_evaluate_writes_tables_and_figures(job, checkpoint_of, tmp_path):
    checkpoint, paper, out = checkpoint_of(), tmp_path / "paper", tmp_path / "metrics.json"
    code, output, errors = job("evaluate", "--checkpoint", checkpoint, "--paper", paper, "--out", out)
    assert code == 0, errors
    results = json.loads((paper / "results.json").read_text())
    metrics = json.loads(out.read_text())
    for role in ("source", "target"):
        found, domain = results["domains"][role], metrics[role]
        assert found["accuracy"]["value"] == pytest.approx(domain["accuracy"])
        assert found["macro_f1"]["value"] == pytest.approx(domain["macro_f1"])
        assert found["confusion"] == domain["confusion"]
        assert found["images"] == 35
        assert found["clusters"] == {"subjects": 2, "images": 0}
        assert metrics["results"]["domains"][role] == found
    assert results["protocol"] == "held_out"
    assert results["gap"]["value"] == pytest.approx(metrics["source"]["accuracy"] - metrics["target"]["accuracy"])
    accuracy = f"{results['domains']['target']['accuracy']['value']:.3f} ("
    for text in (output, (paper / "results.md").read_text(), (paper / "domains.tex").read_text()):
        assert accuracy in text
        assert "held-out images of the target" in text
    assert "intervals: bootstrap of subjects" in output
    assert "report.html and the model card have other intervals (Wilson)" in output
    assert "report.html" not in (paper / "domains.tex").read_text(), "a paper has no report"
    assert r"\begin{tabular}{lrrrrrrrr}" in (paper / "classes.tex").read_text()
    for name in ("reliability", "recall", "confusion_source", "confusion_target"):
        with Image.open(paper / f"{name}.png") as image:
            assert image.info["dpi"][0] == pytest.approx(300, abs=1)
            assert np.asarray(image.convert("L")).std() > 5
        assert ElementTree.parse(paper / f"{name}.svg").getroot().tag.endswith("svg")


def test_nothing_is_drawn_of_a_domain_without_labels(tmp_path):
    results = {"domains": {"source": None, "target": None}, "class_names": ["joy", "fear"]}
    assert draw_paper(results, tmp_path) == []


def test_two_checkpoints_are_compared_image_by_image(job, checkpoint_of, tmp_path):
    one, other = checkpoint_of(name="one", seed=1), checkpoint_of(name="other", seed=2)
    code, output, errors = job("compare", "--pair", one, other, "--out", tmp_path / "out")
    assert code == 0, errors
    result = json.loads((tmp_path / "out" / "pair.json").read_text())
    assert (result["images"], result["subjects"], result["protocol"]) == (35, 2, "held_out")
    assert f"McNemar's exact test: p = {result['mcnemar_p']:.3g}" in output
    assert "by a bootstrap of 2 subjects" in output


def test_a_pair_of_different_protocols_is_refused(job, checkpoint_of):
    one, other = checkpoint_of(name="one"), checkpoint_of(name="other", protocol="transductive")
    code, _, errors = job("compare", "--pair", one, other)
    assert code == 2
    assert "different protocol (held_out and transductive)" in errors
    assert job("compare")[0] == 2
    assert job("compare", "--pair", one, other, one)[0] == 2
