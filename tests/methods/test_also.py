"""Terms of `objective.also`: any method adds them to its loss."""

import pytest
import torch

from job.config.load import build_config
from job.config.terms import TERM_SETTINGS
from job.methods import METHODS, TERMS, couples_rows
from job.methods.terms import rise
from job.system.errors import JobError
from tests.support.networks import tiny_batch, tiny_method
from tests.support.steps import one_step

HALF = torch.tensor(0.5, dtype=torch.float64)
ON_BOTH_DOMAINS = [name for name, method in METHODS.items() if method.reads == ("source", "target")]


def test_every_term_has_settings_of_its_name():
    assert TERMS.keys() == TERM_SETTINGS.keys()


@pytest.mark.parametrize("rises", [True, False])
def test_the_loss_is_the_method_s_and_the_weighted_terms(rises):
    also = [{"name": "coral", "weight": 3.0, "rises": rises}, {"name": "entropy", "weight": 0.5, "rises": rises}]
    plain, both = tiny_method("dann"), tiny_method("dann", also=also)
    batch = tiny_batch(plain)
    before, after = plain(batch, HALF), both(batch, HALF)
    coral = tiny_method("coral")(batch, HALF).terms["train/coral_loss"]
    logits = plain.network(batch.images).class_logits[len(batch.labels) :]
    p = logits.softmax(1)
    entropy = -(p * p.log()).sum(1).mean()
    factor = rise(HALF, 10).float() if rises else 1.0
    torch.testing.assert_close(after.total, before.total + factor * (3.0 * coral + 0.5 * entropy))
    assert after.terms["train/coral_loss"] == coral
    assert after.terms["train/domain_loss"] == before.terms["train/domain_loss"]


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("name", ON_BOTH_DOMAINS)
def test_every_term_joins_every_other_method_on_both_domains(name, term):
    """Every parameter gets a gradient in every phase: DDP waits for all of them."""
    if name == term:
        return
    method = tiny_method(name, also=[{"name": term}])
    batch = tiny_batch(method)
    for phase in method.phases:
        method.zero_grad(set_to_none=True)
        method(batch, HALF, phase).total.backward()
        assert all(parameter.grad is not None for parameter in method.parameters()), phase
    logged = one_step(method, batch).metrics(5, 0)
    plain = tiny_method(name)
    assert logged.keys() > one_step(plain, tiny_batch(plain)).metrics(5, 0).keys()
    assert all(value == value for value in logged.values())


def test_terms_are_added_in_the_first_phase_only():
    method = tiny_method("mcd", also=[{"name": "entropy"}])
    with_term = [phase for phase in method.phases if "train/entropy" in method(tiny_batch(method), HALF, phase).terms]
    assert with_term == ["learn"]


@pytest.mark.parametrize("name", ["source_only", "train_on_target", "adabn"])
def test_methods_on_one_domain_refuse_terms(name):
    with pytest.raises(JobError, match=f"objective.also is not a setting of {name}"):
        build_config({"objective": {"name": name, "also": [{"name": "coral"}]}}, "test")


def test_a_term_that_couples_rows_makes_the_method_do_so():
    def objective(*names):
        return build_config({"objective": {"name": "dann", "also": [{"name": name} for name in names]}}, "t").objective

    assert couples_rows(objective("coral"))
    assert not couples_rows(objective("entropy"))
    assert not couples_rows(objective())


def test_terms_do_not_change_the_initial_weights():
    plain, both = tiny_method("dann"), tiny_method("dann", also=[{"name": name} for name in TERMS])
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, both.get_parameter(name)), name


@pytest.mark.parametrize(
    ("also", "says"),
    [
        ([{"name": "corl"}], "objective.also.0.name = 'corl' is not a term: did you mean coral?"),
        (
            [{"name": "coral"}, {"name": "coral", "wieght": 1}],
            "objective.also.1.wieght: did you mean objective.also.w",
        ),
        ([{"name": "coral", "weight": -1}], "objective.also.0.weight = -1: input should be greater"),
        ([{}], "objective.also.0.name = '' is not a term: choose one of"),
        ("coral", "objective.also = 'coral': input should be a list"),
        ([{"name": "coral"}, {"name": "coral", "weight": 2}], "objective.also adds coral to dann, coral"),
    ],
)
def test_a_mistake_is_reported_in_one_line(also, says):
    with pytest.raises(JobError) as raised:
        build_config({"objective": {"name": "dann", "also": also}}, "x.yaml")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_changed_term_is_another_run_and_no_term_keeps_the_fingerprint():
    def config(**objective):
        return build_config({"objective": {"name": "dann", **objective}}, "t")

    assert config(also=[]).fingerprint() == config().fingerprint()
    assert config(also=[{"name": "coral"}]).fingerprint() != config().fingerprint()
    assert config(also=[{"name": "coral"}]).fingerprint() != config(also=[{"name": "coral", "weight": 2}]).fingerprint()
    assert "also" not in config().decisive()["objective"]
