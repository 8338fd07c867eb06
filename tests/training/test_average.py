"""`train.ema`: the average is evaluated, saved and exported, and a run with it resumes exactly."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from job.export import INPUT, export
from job.methods.build import build_method
from job.run_folder.checkpoint import read_checkpoint
from job.system.errors import JobError
from job.train import train
from job.training.average import decay_at
from tests.support.networks import tiny_batch, tiny_method
from tests.support.running import (
    assert_killed_and_resumed_equals,
    assert_same_weights,
    assert_stopped_and_resumed_equals,
    finish,
    start,
    weights,
)
from tests.support.steps import learner_for, loaded

EMA = {"ema": 0.9, "steps": 16, "eval_every": 8, "checkpoint_every": 5}


def test_the_decay_rises_from_a_tenth_to_the_setting():
    assert [decay_at(step, 0.9) for step in (0, 1, 80, 81, 10_000)] == pytest.approx([0.1, 2 / 11, 0.9, 0.9, 0.9])


@pytest.mark.parametrize("name", ["dann", "adabn"])
def test_two_steps_equal_the_average_derived_by_hand(name):
    """Parameters and statistics of BatchNorm are averaged, counters copied; training does not change."""
    plain, averaged = (tiny_method(name) for _ in range(2))
    batch = tiny_batch(plain)
    first = {key: value.clone() for key, value in plain.state_dict().items()}
    without, learner = learner_for(plain), learner_for(averaged, train={"steps": 10, "ema": 0.15})
    seen = []
    for step in (0, 1):
        for one in (without, learner):
            one.update(loaded(batch, plain, step))
        seen.append({key: value.clone() for key, value in plain.state_dict().items()})
    for key, value in learner.evaluated.state_dict().items():
        assert torch.equal(averaged.state_dict()[key], plain.state_dict()[key])
        if value.is_floating_point():
            after_one = 0.1 * first[key] + 0.9 * seen[0][key]
            torch.testing.assert_close(value, 0.15 * after_one + 0.85 * seen[1][key], msg=key)
        else:
            assert torch.equal(value, seen[1][key])


def test_without_it_the_method_itself_is_evaluated():
    learner = learner_for(tiny_method("dann"))
    assert learner.evaluated is learner.method
    assert "weights" not in learner.trainer_state()


@pytest.mark.slow
def test_checkpoints_evaluations_the_final_test_and_an_export_are_those_of_the_average(small, tmp_path, job):
    plain, config = small(name="plain", train=EMA | {"ema": None}), small(name="ema", train=EMA)
    assert train(plain) == train(config) == 0
    latest, best = (read_checkpoint(config.run_folder / "checkpoints" / name) for name in ("latest", "best"))
    assert_same_weights(latest.trainer()["weights"], weights(plain))  # training is the same with and without it
    assert any(not torch.equal(value, weights(plain)[name]) for name, value in latest.weights().items())

    def evaluated(checkpoint, split):
        out = tmp_path / "evaluated.json"
        assert job("evaluate", "--checkpoint", checkpoint.path, "--split", split, "--out", out)[0] == 0
        return json.loads(out.read_text())

    logged = json.loads((config.run_folder / "evaluation" / "step_00000016.json").read_text())
    other = json.loads((plain.run_folder / "evaluation" / "step_00000016.json").read_text())
    again = evaluated(latest, "val")
    assert again["target"]["mean_entropy"] == pytest.approx(logged["target"]["mean_entropy"], rel=1e-6)
    assert again["target"]["mean_entropy"] != pytest.approx(other["target"]["mean_entropy"], rel=1e-4)
    tested = json.loads((config.run_folder / "evaluation" / "test.json").read_text())
    assert evaluated(best, "test")["source"]["confusion"] == tested["source"]["confusion"]
    export(latest.path, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    images = torch.rand(4, 3, 48, 48)
    method = build_method(config, 48, 7)
    method.load_state_dict(latest.weights())
    with torch.inference_mode():
        expected = method.eval().predict((images - 0.5) / 0.5).class_logits.softmax(1).numpy()
    np.testing.assert_allclose(session.run(None, {INPUT: images.numpy()})[0], expected, atol=1e-5)


@pytest.mark.slow
def test_stopped_and_resumed_a_run_ends_with_the_same_average_and_the_same_trained_weights(small):
    whole, stopped = (small(name=name, train=EMA, model={"batch_norm": "mixed"}) for name in ("whole", "stopped"))
    assert_stopped_and_resumed_equals(stopped, whole)
    trained = [read_checkpoint(one.run_folder / "checkpoints" / "latest").trainer() for one in (stopped, whole)]
    assert_same_weights(trained[0]["weights"], trained[1]["weights"])


@pytest.mark.slow
def test_killed_and_resumed_a_run_ends_with_the_same_average_and_two_ranks_agree(small, tmp_path):
    whole, killed, two = (small(name=name, train=EMA) for name in ("whole", "killed", "two"))
    assert_killed_and_resumed_equals(killed, whole, tmp_path, 7)
    finish(start(two, tmp_path, ranks=2))
    assert_same_weights(weights(two), weights(whole), tolerance=2e-4)


@pytest.mark.parametrize("decay", [0, 1, -0.5, "much"])
def test_a_decay_outside_of_0_and_1_is_refused(small, decay):
    with pytest.raises(JobError, match=r"train\.ema"):
        small(train={"ema": decay})
