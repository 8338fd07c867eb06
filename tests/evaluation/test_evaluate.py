"""Evaluations use the configured threads, log every score, and agree on any number of ranks."""

import contextlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from job.evaluation import evaluate as module
from job.evaluation import mixed
from job.evaluation.selection import SCORES
from job.train import train
from tests.support.running import finish, rows, start


@pytest.mark.parametrize("threads", [1, 3])
def test_the_threads_of_the_configuration_decode_in_an_evaluation_too(small, monkeypatch, threads):
    used = []

    def read_split(*args, real=module.read_split, **settings):
        used.append(settings["threads"])
        return real(*args, **settings)

    monkeypatch.setattr(module, "read_split", read_split)
    assert train(small(train={"steps": 1}, data={"threads": threads})) == 0
    assert set(used) == {threads}


def score_rows(config) -> dict[str, float]:
    return {name: value for name, value in rows(config)[-1].items() if name.startswith("selection/")}


def test_every_label_free_score_is_logged_at_every_evaluation(small):
    config = small(train={"steps": 16, "log_every": 16}, evaluation={"probe_samples": 25})
    assert train(config) == 0
    evaluations = [row for row in rows(config) if "val/source_accuracy" in row]
    assert len(evaluations) == 2
    for row in evaluations:
        # a network that has hardly learned may predict one class: then there are no mixes and no neighbourhoods
        assert {f"selection/{name}" for name in SCORES} - set(row) <= {"selection/mixval", "selection/snd"}


@pytest.mark.slow
def test_one_and_two_ranks_have_the_same_scores(small, tmp_path):
    changes = {"train": {"steps": 1}, "optimizer": {"lr": 1e-9}, "evaluation": {"probe_samples": 25}}
    one, two = (small(name=name, **changes) for name in ("one", "two"))
    for config, ranks in ((one, 1), (two, 2)):
        finish(start(config, tmp_path, ranks=ranks))
    assert {f"selection/{name}" for name in SCORES} - {"selection/mixval", "selection/snd"} <= set(score_rows(one))
    assert score_rows(two) == pytest.approx(score_rows(one), abs=1e-4)


def test_a_score_that_cannot_be_computed_counts_as_worst(small, caplog):
    config = small(selection={"score": "dev"}, train={"steps": 16}, evaluation={"probe_samples": 5})
    assert train(config) == 0
    assert not any("selection/dev" in row for row in rows(config))
    assert "selection.score=dev cannot be computed" in (config.run_folder / "log.txt").read_text()
    summary = json.loads((config.run_folder / "summary.json").read_text())
    assert (summary["selection/chosen_by"], summary["selection/chosen_step"]) == ("dev", 16)  # the latest of equals


def images_mixed(monkeypatch, predicted, ranks=1, batch_size=6):
    """What `predict_mixes` gives the network, and what it returns, for images that hold their position."""

    def read_split(*_, rows, batch_size, **__):
        for first in range(rows.start, rows.stop, batch_size):
            values = torch.arange(first, min(first + batch_size, rows.stop))
            yield values.float().reshape(-1, 1, 1, 1), None, None

    seen, gathered = [], []
    monkeypatch.setattr(mixed, "read_split", read_split)
    monkeypatch.setattr(mixed, "gather_object", lambda parts: gathered.extend(parts) or list(gathered))

    class Echo(torch.nn.Module):
        def predict(self, images):
            seen.extend(images.flatten().tolist())
            return SimpleNamespace(class_logits=torch.nn.functional.one_hot(images.flatten().long(), 32))

    for rank in range(ranks):
        accelerator = SimpleNamespace(
            process_index=rank, num_processes=ranks, device="cpu", autocast=contextlib.nullcontext
        )
        found = mixed.predict_mixes(
            Echo(), accelerator, None, None, "x", "val", np.array(predicted), lambda x: x, batch_size, 1, lambda: False
        )
    return sorted(seen), found


@pytest.mark.parametrize(("ranks", "batch_size"), [(1, 100), (1, 2), (2, 4), (3, 100)])
def test_images_of_different_predicted_classes_are_mixed_both_ways(monkeypatch, ranks, batch_size):
    predicted = [0, 1, 2, 0, 1, 9, 1, 2, 3, 4, 5]  # half is 5: 1 and 6 are predicted alike, 10 has no partner
    seen, found = images_mixed(monkeypatch, predicted, ranks, batch_size)
    pairs = [(0, 5), (2, 7), (3, 8), (4, 9)]
    pairs = [(i, j) for i, j in pairs if predicted[i] != predicted[j]]
    mixes = [0.55 * i + 0.45 * j for i, j in pairs], [0.55 * j + 0.45 * i for i, j in pairs]
    assert seen == pytest.approx(sorted(mixes[0] + mixes[1]))
    assert found.dominant.tolist() == [predicted[i] for i, _ in pairs] + [predicted[j] for _, j in pairs]
    assert found.predicted.tolist() == [int(np.float32(value)) for value in mixes[0] + mixes[1]]


def test_one_predicted_class_leaves_nothing_to_mix(monkeypatch):
    seen, found = images_mixed(monkeypatch, [1] * 8)
    assert not seen
    assert len(found.dominant) == len(found.predicted) == 0
