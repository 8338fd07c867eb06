"""Every method: ranks agree, a killed run resumes exactly, and reports do not depend on the method's name."""

import json
import random

import pytest
import torch
from click.testing import CliRunner

from job.__main__ import main
from job.config.objectives import SETTINGS
from job.evaluation.markdown import plain
from job.methods import METHODS
from job.train import train
from tests.support.networks import tiny_batch, tiny_method
from tests.support.running import (
    assert_killed_and_resumed_equals,
    assert_same_weights,
    assert_stopped_and_resumed_equals,
    finish,
    merge,
    rows,
    start,
    weights,
)
from tests.support.steps import one_step

IN_TEST_TRAIN = ("dann", "source_only", "train_on_target")  # tests/test_train.py has theirs
NEW = tuple(name for name in METHODS if name not in IN_TEST_TRAIN)
# Stopping and resuming is tested for all. These stand for what a method can add: phases, coupled rows, state, no source
KILLED = ("mcd", "coral", "fixmatch", "shot")
QUICK = ("coral", "shot", "adabn")  # of these three also in `make check`
# These stand for what is shown: metrics of their own, two predictors, no source, statistics of the target
SHOWN = ("mcd", "coral", "shot", "adabn")
EXTRA = {  # what a method logs beside the metrics that all have
    "mcd": "train/discrepancy",
    "coral": "train/coral_loss",
    "cdan": "domain/confusion",
    "mcc": "train/class_confusion",
    "shot": "train/pseudo_label_loss",
    "dan": "train/mmd_loss",
    "deepjdot": "train/transport_cost",
    "afn": "domain/target_feature_norm",
}


def settings(name: str) -> dict:
    """Settings of a short run; without BatchNorm, which normalises by each rank's rows, except where it is needed."""
    norm = {"batch_norm": "mixed"} if name == "adabn" else {}
    return {"objective": {"name": name}, "model": norm, "train": {"steps": 16, "eval_every": 8, "checkpoint_every": 5}}


@pytest.fixture
def settings_of(checkpoint_of):
    """`settings_of(name)`, with a checkpoint to start from for a method that needs one."""

    def make(name: str) -> dict:
        needs = METHODS[name].needs_trained_predictor
        return merge(settings(name), {"model": {"weights": str(checkpoint_of(seed=9))}} if needs else {})

    return make


def test_every_method_has_settings_of_its_name():
    assert METHODS.keys() == SETTINGS.keys()


def test_every_method_reads_what_its_settings_say():
    for name, method in METHODS.items():
        assert (method.reads, method.labelled) == (SETTINGS[name].reads, SETTINGS[name].labelled), name


@pytest.mark.parametrize("name", METHODS)
def test_every_trained_parameter_gets_a_gradient_in_every_phase(name):
    """DDP waits for all of them."""
    method = tiny_method(name)
    batch = tiny_batch(method)
    for phase in method.phases:
        method.zero_grad(set_to_none=True)
        method(batch, torch.tensor(0.5, dtype=torch.float64), phase).total.backward()
        trainable = [parameter for parameter in method.parameters() if parameter.requires_grad]
        assert trainable
        assert all(parameter.grad is not None for parameter in trainable), phase


@pytest.mark.parametrize("name", METHODS)
def test_a_step_logs_finite_numbers_under_known_prefixes(name):
    method = tiny_method(name)
    metrics = one_step(method, tiny_batch(method)).metrics(5, 0)
    assert ("train/class_loss" in metrics) == (method.labelled is not None)
    assert (f"train/{method.labelled}_accuracy" in metrics) == (method.labelled is not None)
    for key, value in metrics.items():
        assert key.split("/")[0] in ("train", "domain", "schedule", "data"), key
        assert value == pytest.approx(value), key  # no NaN
    assert EXTRA.get(name) is None or EXTRA[name] in metrics


@pytest.mark.parametrize("name", METHODS)
def test_only_dann_s_relatives_have_metrics_of_a_domain_classifier(name):
    method = tiny_method(name)
    metrics = one_step(method, tiny_batch(method)).metrics(5, 0)
    assert ("domain/confusion" in metrics) == (method.adversary is not None)
    assert (method.predict(tiny_batch(method).images).domain_logits is not None) == (method.adversary is not None)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NEW])
def test_stopped_and_resumed_a_run_ends_with_the_same_weights(small, settings_of, name):
    keys = settings_of(name)
    whole, stopped = small(name="whole", **keys), small(name="stopped", **keys)
    assert_stopped_and_resumed_equals(stopped, whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLED)
def test_killed_and_resumed_a_run_ends_with_the_same_weights_and_two_ranks_agree(small, settings_of, tmp_path, name):
    keys = settings_of(name)
    whole, killed, two = (small(name=run, **keys) for run in ("whole", "killed", "two"))
    assert_killed_and_resumed_equals(killed, whole, tmp_path, random.randint(2, 12))
    finish(start(two, tmp_path, ranks=2))
    if name != "adabn":  # its BatchNorm normalises by each rank's own rows
        assert_same_weights(weights(two), weights(whole), tolerance=2e-4)
        for row, other in zip(rows(two), rows(whole), strict=True):
            assert {key for key in row if "rank" not in key} == other.keys()  # the slowest rank, and its work
            for key in {"train/class_loss", "train/pseudo_label_loss"} & other.keys():
                assert row[key] == pytest.approx(other[key], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_report_card_and_comparison_show_it(small, settings_of, tmp_path, name):
    once = merge(settings_of(name), {"train": {"eval_every": 16}})  # each evaluation draws for three seconds
    config = small(name="shown", **once, evaluation={"figures": True, "map_samples": 20, "pictures": 4})
    assert train(config) == 0
    page = (config.run_folder / "report.html").read_text()
    assert name in page
    logged = set().union(*rows(config))
    assert EXTRA.get(name) is None or EXTRA[name] in logged
    checkpoint = str(config.run_folder / "checkpoints" / "best")
    run = CliRunner().invoke
    assert run(main, ["evaluate", "--checkpoint", checkpoint], standalone_mode=False).exit_code == 0
    assert plain(name) in (config.run_folder / "evaluation" / "model_card.md").read_text()
    compared = run(main, ["compare", str(config.run_folder), "--out", str(tmp_path / "out")], standalone_mode=False)
    assert name in compared.output
    assert name in json.dumps(json.loads((tmp_path / "out" / "comparison.json").read_text()))
