"""Search spaces: keys that do not apply to a trial, and mistakes, each reported in one line before the first trial."""

import json

import optuna
import pytest

from job.config.load import load_config
from job.search.space import Choices, load_space
from tests.support.running import REPO

METHODS = """
optimizer.domain_lr_factor: {low: 1, high: 10, when: {objective.name: [dann, cdan]}}
objective.lambda_max: {low: 0.1, high: 1}
objective.coral_weight: {low: 0.1, high: 10, log: true}
objective.name: {choices: [dann, coral, source_only]}
"""


@pytest.mark.slow
def test_a_trial_has_only_the_keys_that_its_method_has(search, trials):
    code, _, errors = search("--trials", 12, "--pruner", "none", space=METHODS)
    assert code == 0, errors
    keys = {trial["values"]["objective.name"]: set(trial["values"]) - {"objective.name"} for trial in trials()}
    assert keys == {
        "dann": {"optimizer.domain_lr_factor", "objective.lambda_max"},
        "coral": {"objective.coral_weight"},
        "source_only": set(),
    }


@pytest.mark.parametrize(
    ("words", "compared_by"),
    [
        ((), "ensemble+infomax"),
        (("objective.name=coral",), "ensemble+infomax"),
        (("selection.score=bnm",), None),  # by that which also chooses the checkpoints
        (("--compare-by", "class_ami"), "class_ami"),
    ],
)
def test_trials_are_compared_by_the_ensemble_unless_a_score_is_named(search, study, words, compared_by):
    for _ in range(2):  # the second continues the first
        code, _, errors = search("--trials", 1, *words, space=METHODS)
        assert code == 0, errors
        assert json.loads((study / "study.json").read_text()).get("compare_by") == compared_by


@pytest.mark.parametrize(("by", "guide"), [("ensemble+infomax", "infomax"), ("ensemble", "infomax"), ("bnm", "bnm")])
def test_proposals_and_pruning_follow_a_score_of_single_trials(search, study, by, guide):
    words = () if by == "ensemble+infomax" else ("--compare-by", by)
    code, _, errors = search("--trials", 1, *words)
    assert code == (0 if guide == "infomax" else 2), errors
    if code == 0:
        assert json.loads((study / "search.json").read_text())["score"] == guide
    else:
        assert f"has finished without a score {guide}" in errors


def test_a_search_over_methods_that_began_with_infomax_keeps_it(search, study):
    """As those of earlier versions did."""
    assert search("--trials", 1, "--compare-by", "infomax", space=METHODS)[0] == 0
    assert "compare_by" not in json.loads((study / "study.json").read_text())
    code, _, errors = search("--trials", 1, space=METHODS)
    assert code == 0, errors


def test_a_word_fixes_a_key_and_the_others_are_searched(search, trials):
    code, _, errors = search("--trials", 3, "objective.name=coral", space=METHODS)
    assert code == 0, errors
    assert all(set(trial["values"]) == {"objective.coral_weight"} for trial in trials())


@pytest.mark.slow
def test_terms_are_choices_that_are_lists_and_their_weight_is_a_range(search, trials, job, study):
    space = """
objective.also: {choices: [[], [{name: coral}], [{name: entropy}]]}
objective.also.0.weight: {low: 0.01, high: 1, log: true}
"""
    code, _, errors = search("--trials", 8, space=space)
    assert code == 0, errors
    for trial in trials():
        assert ("objective.also.0.weight" in trial["values"]) == bool(trial["values"]["objective.also"])
    assert len({str(trial["values"]["objective.also"]) for trial in trials()}) == 3
    code, _, errors = job("train", "--check", "--config", study / "best.yaml")
    assert code == 0, errors


@pytest.mark.parametrize(
    ("choices", "value", "encoded"),
    [
        ((5, 10, 20), 10.0, "10"),  # the configuration has floats where the space has integers
        ((0, 0.1), 0.0, "0"),
        ((True, False), True, "true"),
        ((True, False), 1, None),
        ((1, 2), True, None),
        (([], [{"name": "coral"}]), [{"name": "coral"}], '[{"name": "coral"}]'),
        ((5, 20), 10.0, None),
    ],
)
def test_a_value_of_the_configuration_is_the_equal_choice(choices, value, encoded):
    assert Choices(choices).encoded(value) == encoded


def test_the_space_of_dann_starts_from_the_recipe():
    """Its first trial is the configuration unchanged, whose gamma is 10.0 and not 10."""
    base = load_config(REPO / "configs" / "faces.yaml").stored()
    space = load_space(REPO / "configs" / "search" / "dann.yaml", base, [])
    study = optuna.create_study()
    study.enqueue_trial(space.of(base))
    values = space.sample(study.ask(), base)
    assert (values["objective.gamma"], values["objective.label_smoothing"]) == (10, 0)


@pytest.mark.parametrize(
    ("space", "words", "says"),
    [
        ("optimizer.lrr: {low: 0.1, high: 1}", (), "unknown key optimizer.lrr: did you mean optimizer.lr?"),
        ("optimizer.lr: {low: 0.1, hihg: 1}", (), "space.yaml: optimizer.lr: give {low: 0.1, high: 1, log: true} or"),
        ("optimizer.lr: {low: 1, high: 0.1}", (), "space.yaml: optimizer.lr: low (1) must be below high (0.1)"),
        ("optimizer.lr: {low: 0, high: 0.1, log: true}", (), "log: true needs low above 0"),
        ("optimizer.lr: {low: -1, high: 0.1}", (), "space.yaml: optimizer.lr = -1: input should be greater than 0"),
        ("optimizer.name: {choices: [sgd, adam]}", (), "optimizer.name = 'adam': input should be 'sgd' or 'adamw'"),
        ("optimizer.name: {low: 1, high: 2}", (), "optimizer.name is not a number: give {choices: [...]}"),
        ("train.steps: {low: 0.5, high: 2}", (), "train.steps is a whole number"),
        ("seed: {choices: [0, 1]}", (), "seed: scores of different data or seeds do not compare"),
        ("data.shards: {choices: [a, b]}", (), "data.shards: scores of different data"),
        ("selection.score: {choices: [infomax, source_accuracy]}", (), "the score must be the same for all trials"),
        ("wandb.group: {choices: [a, b]}", (), "wandb.group: no result depends on it"),
        ("objective.coral_weight: {low: 0, high: 1}", (), "objective.coral_weight is not a setting of dann"),
        ("objective.name: {choices: [dann, train_on_target]}", (), "train_on_target learns from target labels"),
        ("optimizer.lr: {low: 0.1, high: 1}", ("optimizer.lr=0.1",), "nothing to search"),
        ("optimizer.lr: {low: 0.1, high: 1}", ("objective.name=train_on_target",), "needs target labels"),
        ("optimizer.lr: {low: 0.1, high: 1, when: {objective.nam: [dann]}}", (), "`when` names objective.nam"),
        ("- a", (), "space.yaml is not a search space"),
        ("a: [", (), "space.yaml is not valid YAML"),
    ],
)
def test_a_mistake_is_one_line_before_the_first_trial(search, study, space, words, says):
    code, _, errors = search("--trials", 2, *words, space=space)
    assert code == 2
    assert says in errors
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1
    assert not list(study.glob("trial-*"))
