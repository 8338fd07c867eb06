"""FixMatch against steps and thresholds derived by hand (Sohn et al. 2020, eq. 4; Zhang et al. 2021, eq. 5-9)."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors.torch import load_file

from job.config.terms import FixMatchTermSettings
from job.methods.batch import STRONG_VIEW
from job.methods.build import build_method
from job.methods.class_status import ClassStatus
from job.methods.fixmatch import FixMatchTerm
from job.shards.manifest import load_manifest
from job.train import train
from job.training.learner import build_learner
from tests.support.networks import tiny_batch, tiny_config, tiny_method
from tests.support.preloaded import call_on_ranks
from tests.support.steps import assert_same_parameters, descend, one_step

HALF = torch.tensor(0.5, dtype=torch.float64)


def status(value=None, **settings) -> ClassStatus:
    made = ClassStatus(3, FixMatchTermSettings(**settings))
    if value is not None:
        made.status.value = torch.tensor(value)
    return made


def term_of(method) -> FixMatchTerm:
    return next(module for module in method.modules() if isinstance(module, FixMatchTerm))


def test_a_step_equals_the_one_derived_by_hand():
    by_hand = tiny_method("fixmatch")
    batch = tiny_batch(by_hand)
    source, target, strong = batch.images.chunk(3)
    p = by_hand.network(target).class_logits.softmax(1).detach()
    labels, threshold = p.argmax(1), p.max(1).values.sort().values[3:5].mean().item()
    chosen = p.max(1).values >= threshold  # half of the rows
    method = tiny_method("fixmatch", weight=2.0, rises=False, thresholds="fixed", threshold=threshold)
    log_q = by_hand.network(strong).class_logits.log_softmax(1)
    on_strong = -sum(log_q[i, labels[i]] for i in range(8) if chosen[i]) / 8
    loss = F.cross_entropy(by_hand.network(source).class_logits, batch.labels) + 2.0 * on_strong
    descend(loss, by_hand.parameters())
    metrics = one_step(method, batch).metrics(5, 0)
    assert metrics["train/pseudo_label_loss"] == pytest.approx(on_strong.item())
    assert metrics["train/pseudo_label_share"] == pytest.approx(chosen.double().mean().item())
    assert_same_parameters(method, by_hand)


def test_thresholds_equal_those_derived_by_hand():
    """Status 0.5, 0.2 and 0.1; 0.2 are not confident: beta = 1, 0.4, 0.2, and beta / (2 - beta) = 1, 0.25, 1 / 9."""
    by_hand = torch.tensor([0.9, 0.9 * 0.25, 0.9 / 9])
    torch.testing.assert_close(status([0.5, 0.2, 0.1], threshold=0.9, lowest_threshold=0).thresholds(), by_hand)
    limited = status([0.5, 0.2, 0.1], threshold=0.9, lowest_threshold=0.15).thresholds()
    torch.testing.assert_close(limited, by_hand.clamp(min=0.15))
    fixed = status([0.5, 0.2, 0.1], threshold=0.9, thresholds="fixed").thresholds()
    torch.testing.assert_close(fixed, torch.full((3,), 0.9))


def test_thresholds_are_low_while_most_rows_are_not_confident():
    """0.9 of the rows are not: beta = 1 / 9 for the best class."""
    thresholds = status([0.1, 0.0, 0.0], threshold=0.9, lowest_threshold=0).thresholds()
    torch.testing.assert_close(thresholds, torch.tensor([0.9 / 17, 0.0, 0.0]))
    assert (status(threshold=0.3, lowest_threshold=0.5).thresholds() == 0.3).all()


def test_the_status_is_the_moving_share_of_confident_rows():
    made = status(threshold=0.8, status_decay=0.75)
    logits = torch.tensor([[0.9, 0.05, 0.05], [0.85, 0.1, 0.05], [0.3, 0.4, 0.3], [0.05, 0.05, 0.9]]).log()
    labels, _ = made.choose(logits, torch.tensor([0, 1, 2, 0]))
    assert labels.tolist() == [0, 0, 1, 2]
    assert (made.status.value == 0).all()  # moves after the step
    made.update()
    torch.testing.assert_close(made.status.value, 0.25 * torch.tensor([0.5, 0.0, 0.25]))
    made.choose(logits[:2], torch.tensor([0, 1]))
    made.choose(logits[2:], torch.tensor([2, 0]))
    made.update()  # two shares of a batch count as one batch
    torch.testing.assert_close(made.status.value, (0.25 + 0.25 * 0.75) * torch.tensor([0.5, 0.0, 0.25]))


def test_alignment_multiplies_by_the_ratio_of_the_classes_and_normalises():
    made = status(threshold=0.5, thresholds="fixed", align=True)
    made.predicted.value = torch.tensor([0.8, 0.1, 0.1])
    made.labelled.value = torch.tensor([0.2, 0.4, 0.4])
    labels, chosen = made.choose(torch.tensor([[0.8, 0.15, 0.05], [0.96, 0.02, 0.02]]).log(), torch.tensor([0, 0]))
    # 0.2, 0.6, 0.2, and 0.24, 0.08, 0.08 over 0.4: 0.6
    assert labels.tolist() == [1, 0]
    assert chosen.tolist() == [True, True]
    torch.testing.assert_close(made.predicted._sum, torch.tensor([0.88, 0.085, 0.035]))


@pytest.mark.parametrize("name", ["fixmatch", "dann"])
def test_the_teacher_is_a_moving_average_and_its_predictions_are_the_labels(name):
    settings = {"teacher_decay": 0.9, "thresholds": "fixed", "threshold": 0.0, "rises": False}
    if name != "fixmatch":
        settings = {"also": [{"name": "fixmatch", **settings}]}
    method = tiny_method(name, **settings)
    term, batch = term_of(method), tiny_batch(method)
    before = [parameter.detach().clone() for parameter in method.network.parameters()]
    for average, weight in zip(term.teacher.parameters(), before, strict=True):
        assert torch.equal(average, weight)
        assert not average.requires_grad
        average.data.mul_(-1)  # now it predicts other labels
    labels = term.teacher(batch.split(batch.images)["target"]).class_logits.argmax(1)
    strong = method.network(batch.images).class_logits[-8:]
    assert method(batch, HALF).terms["train/pseudo_label_loss"].item() == pytest.approx(
        F.cross_entropy(strong, labels).item()
    )
    one_step(method, batch)
    for average, was, weight in zip(term.teacher.parameters(), before, method.network.parameters(), strict=True):
        torch.testing.assert_close(average, -0.9 * was + 0.1 * weight)


def test_the_teacher_starts_from_the_network_and_leaves_the_other_weights_alone():
    """The weights of new layers are drawn after the teacher was made, and those of other modules after its layers."""
    also = [{"name": "fixmatch", "teacher_decay": 0.99}]
    model = {"backbone": "mnist", "init": "kaiming"}
    plain = build_method(tiny_config("dann", model=model), 28, 10)
    taught = build_method(tiny_config("dann", model=model, objective={"name": "dann", "also": also}), 28, 10)
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, taught.get_parameter(name)), name
    taught.begin()
    for name, value in taught.network.state_dict().items():
        assert torch.equal(value, term_of(taught).teacher.state_dict()[name]), name


def test_the_teacher_of_a_run_starts_from_loaded_weights_too(small):
    config = small(name="first", train={"steps": 1, "eval_every": 1, "checkpoint_every": 1})
    assert train(config) == 0
    weights = str(config.run_folder / "checkpoints" / "latest")
    objective = {"name": "fixmatch", "teacher_decay": 0.99}
    config = small(name="second", objective=objective, model={"weights": weights})
    method = build_learner(config, load_manifest(config.data.shards), Accelerator(cpu=True)).method
    trained = load_file(Path(weights) / "model.safetensors")
    for name, value in term_of(method).teacher.state_dict().items():
        assert torch.equal(value, trained[f"network.{name}"]), name


@pytest.mark.slow
def test_two_ranks_have_the_status_of_one_with_all_rows(tmp_path):
    call_on_ranks(status_of_share, 2, str(tmp_path))
    logits, labels = rows_of_target()
    one = status(threshold=0.6, align=True)
    one.choose(logits, labels)
    one.update()
    assert one.status.value.sum() > 0
    for rank in range(2):
        for name, value in torch.load(tmp_path / f"{rank}.pt").items():
            torch.testing.assert_close(value, one.state_dict()[name])


def rows_of_target():
    torch.manual_seed(0)
    return 2 * torch.randn(16, 3), torch.arange(16) % 3


def status_of_share(rank: int, ranks: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    logits, labels = (rows.chunk(ranks)[rank] for rows in rows_of_target())
    made = status(threshold=0.6, align=True)
    made.choose(logits, labels)
    made.update()
    torch.save(made.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_joined_to_dann_it_brings_its_view_and_leaves_the_domain_loss_alone():
    plain, both = tiny_method("dann"), tiny_method("dann", also=[{"name": "fixmatch"}], pseudo_label_weight=1.0)
    assert both.blocks == ("source", "target", "second view", STRONG_VIEW)
    losses = both(tiny_batch(both), HALF).terms
    assert losses["train/domain_loss"].item() == plain(tiny_batch(plain), HALF).terms["train/domain_loss"].item()
