"""objective.label_shift=correct: weighted rows, pseudo-labels with the target's shares, and exact resuming."""

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from job.config.load import build_config
from job.evaluation.label_shift.estimate import Estimate
from job.methods import METHODS
from job.methods.dan import multi_kernel_mmd
from job.methods.deepjdot import transport_plan
from job.methods.label_shift import EstimatedShares
from job.methods.terms import squared_distances
from job.system.errors import JobError
from job.train import train
from job.vocabulary import SOURCE
from tests.support.networks import CLASSES, tiny_batch, tiny_method
from tests.support.preloaded import call_on_ranks
from tests.support.running import assert_same_weights, finish, rows, start, stop_at_step, weights
from tests.support.steps import assert_same_parameters, descend_adversarially, one_step

HALF = torch.tensor(0.5, dtype=torch.float64)
COUNTS, TARGET, PREDICTED = (50, 30, 20), (0.2, 0.2, 0.6), (0.5, 0.25, 0.25)
MOVED = torch.tensor([0.35, 0.25, 0.4], dtype=torch.float64)  # half of the way from the source's shares to TARGET


def corrected(name: str, **settings):
    """A method whose shares were moved once by an estimate."""
    method = tiny_method(name, label_shift="correct", **settings)
    method.shift.begin(COUNTS)
    method.after_evaluation(EstimatedShares(TARGET, PREDICTED))
    return method


def weights_by_hand():
    return MOVED / torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def test_weights_are_target_over_source_after_half_of_the_way():
    shift = corrected("dann").shift
    torch.testing.assert_close(shift.target, MOVED)
    torch.testing.assert_close(shift.weights, weights_by_hand())
    shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    assert (shares * shift.weights).sum().item() == pytest.approx(1)  # the mean over the source's rows
    predicted = (shares + torch.tensor(PREDICTED, dtype=torch.float64)) / 2
    torch.testing.assert_close(shift.alignment, (MOVED / predicted).log())


def test_weights_are_limited_and_finite_for_absent_classes():
    method = tiny_method("dann", label_shift="correct")
    method.shift.begin((100, 900, 0))
    for _ in range(40):
        method.after_evaluation(EstimatedShares((0.9, 0.0, 0.1), (1.0, 0.0, 0.0)))
    # raw 9, 0, infinity; limited to 9, 0.1, 10; divided by their mean over the source, 0.9 + 0.09
    torch.testing.assert_close(method.shift.weights, torch.tensor([9, 0.1, 10], dtype=torch.float64) / 0.99)
    assert torch.isfinite(method.shift.alignment).all()


def test_before_the_first_estimate_nothing_is_corrected():
    method, plain = tiny_method("dann", label_shift="correct"), tiny_method("dann")
    method.shift.begin(COUNTS)
    batch = tiny_batch(plain)
    assert torch.equal(method(batch, HALF).total, plain(batch, HALF).total)
    assert plain.shift is None
    assert not any("shift" in name for name in plain.state_dict())  # checkpoints of other runs are as before


def test_given_shares_are_used_from_the_first_step_and_no_estimate_moves_them():
    method = tiny_method("dann", label_shift="correct", target_shares=(0.1, 0.3, 0.6))
    method.shift.begin(COUNTS)
    weights = torch.tensor([0.2, 1, 3], dtype=torch.float64)
    torch.testing.assert_close(method.shift.weights, weights)
    assert not method.shift.alignment.any()  # no prediction is known yet
    method.after_evaluation(EstimatedShares((0.9, 0.05, 0.05), PREDICTED))
    torch.testing.assert_close(method.shift.weights, weights)
    predicted = (torch.tensor(COUNTS) / 100 + torch.tensor(PREDICTED)).double() / 2
    expected = torch.tensor([0.1, 0.3, 0.6], dtype=torch.float64) / predicted
    torch.testing.assert_close(method.shift.alignment, expected.log(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("objective", "says"),
    [
        ({"target_shares": [0.5, 0.5]}, "with objective.label_shift=correct only"),
        ({"label_shift": "correct", "target_shares": [0.5, 0.7]}, "sum to 1.2: give shares that sum to 1"),
    ],
)
def test_shares_that_cannot_be_used_are_refused(objective, says):
    with pytest.raises(JobError, match=says):
        build_config({"objective": objective}, "x")


def test_shares_of_another_number_of_classes_are_refused(small):
    with pytest.raises(JobError, match=r"objective\.target_shares has 2 numbers for 7 classes"):
        train(small(objective={"name": "dann", "label_shift": "correct", "target_shares": [0.5, 0.5]}))


def step_by_hand(method, batch, lambda_):
    """DANN with source rows that weigh w(y) in both losses (Tachet des Combes et al. 2020, eq. 6-7)."""
    images, labels, n = batch.images, batch.labels, len(batch.labels)
    parts = (method.network.feature_extractor, method.network.label_predictor, method.adversary.domain_classifier)
    features = parts[0](images)
    w = weights_by_hand()[labels]
    on_classes = (w * F.cross_entropy(parts[1](features[:n]), labels, reduction="none")).sum() / n
    p = torch.sigmoid(parts[2](features).squeeze(1))
    on_domains = -(w * torch.log(1 - p[:n])).sum() / n - torch.log(p[n:]).mean()
    descend_adversarially(method, on_classes, on_domains, lambda_)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_corrected_step_of_dann_equals_the_one_derived_by_hand(accumulate):
    by_hand, method = corrected("dann"), corrected("dann")
    batch = tiny_batch(method)
    step_by_hand(by_hand, batch, method.adversary.strength(0.5))
    one_step(method, batch, train={"steps": 10, "accumulate": accumulate})
    assert_same_parameters(method, by_hand, rtol=1e-6, atol=1e-8)


def test_cdan_multiplies_its_own_weights():
    plain, method = tiny_method("cdan", entropy_conditioning=False), corrected("cdan", entropy_conditioning=False)
    batch = tiny_batch(plain)
    n, w = len(batch.labels), weights_by_hand()[batch.labels]
    logits = plain.predict(batch.images).domain_logits
    expected = (w * F.softplus(logits[:n])).mean() + F.softplus(-logits[n:]).mean()
    torch.testing.assert_close(method(batch, HALF).terms["train/domain_loss"], expected)
    conditioned = corrected("cdan")(batch, HALF).terms["train/domain_loss"]
    assert not torch.isclose(conditioned, tiny_method("cdan")(batch, HALF).terms["train/domain_loss"])


def test_coral_weights_the_covariance_of_the_source():
    plain, method = tiny_method("coral"), corrected("coral")
    batch = tiny_batch(plain)
    n, w = len(batch.labels), weights_by_hand()[batch.labels]
    source, target = plain.network(batch.images).features.split(n)
    centred = source - (w[:, None] * source).sum(0) / w.sum()
    covariance = (w[:, None] * centred).T @ centred / (w.sum() - (w * w).sum() / w.sum())
    expected = (covariance - torch.cov(target.T)).square().sum() / (4 * source.shape[1] ** 2)
    torch.testing.assert_close(method(batch, HALF).terms["train/coral_loss"], expected)


def test_weights_of_whole_numbers_are_copies_of_rows():
    """A row of weight 2 counts like two rows in the plan, and in the means of the discrepancy with other rows."""
    torch.manual_seed(0)
    source, target = torch.randn(4, 3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    weights, copies = torch.tensor([2.0, 1, 1, 2], dtype=torch.float64), torch.tensor([0, 0, 1, 2, 3, 3])
    cost = squared_distances(source, target)
    plan, of_copies = transport_plan(cost, weights), transport_plan(cost[copies])
    torch.testing.assert_close(plan.sum(1), weights / 6)
    torch.testing.assert_close((plan * cost).sum(), (of_copies * cost[copies]).sum())
    equal = torch.full((4,), 3.0, dtype=torch.float64)
    expected = multi_kernel_mmd(source, target, (0.5, 1))
    torch.testing.assert_close(multi_kernel_mmd(source, target, (0.5, 1), equal), expected)
    # by hand: one bandwidth, pairs of two different rows
    rows = torch.cat([source, target])
    kernel = torch.exp(-squared_distances(rows, rows) / (2 * squared_distances(rows, rows).mean()))
    w = weights / 6
    own = sum(w[i] * w[j] * kernel[i, j] for i in range(4) for j in range(4) if i != j)
    own = own / sum(w[i] * w[j] for i in range(4) for j in range(4) if i != j)
    others = sum(kernel[i, j] for i in range(4, 10) for j in range(4, 10) if i != j) / 30
    cross = sum(w[i] * kernel[i, j] for i in range(4) for j in range(4, 10)) / 6
    torch.testing.assert_close(multi_kernel_mmd(source, target, (1,), weights), own + others - 2 * cross)


def test_pseudo_labels_are_aligned_with_the_target_s_shares():
    """A prediction just below the threshold passes it once its class is found more frequent than predicted."""
    method = corrected("dann", pseudo_label_weight=1.0)
    logits = torch.tensor([[0.0, 0.0, 0.1]], dtype=torch.float64)
    aligned = method.align(logits).softmax(1)
    ratio = MOVED / ((torch.tensor([0.5, 0.3, 0.2]) + torch.tensor(PREDICTED)) / 2).double()
    expected = logits.softmax(1) * ratio
    torch.testing.assert_close(aligned, expected / expected.sum(), rtol=1e-6, atol=1e-8)
    assert torch.equal(tiny_method("dann").align(logits), logits)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.labelled == SOURCE])
def test_every_method_that_reads_source_labels_weights_the_class_loss(name):
    method = corrected(name)
    batch = tiny_batch(method)
    loss = method(batch, HALF).terms["train/class_loss"]
    logits = method.network(batch.images).class_logits[: len(batch.labels)]
    by_hand = (weights_by_hand()[batch.labels] * F.cross_entropy(logits, batch.labels, reduction="none")).mean()
    if name != "mcd":  # the mean of two predictors
        torch.testing.assert_close(loss, by_hand)
    assert not torch.isclose(loss, tiny_method(name)(batch, HALF).terms["train/class_loss"])


def loss_and_gradients(share: int, shares: int) -> dict[str, torch.Tensor]:
    method = corrected("cdan", also=[{"name": "coral"}, {"name": "dan"}, {"name": "deepjdot"}])
    losses = method(tiny_batch(method).share(share, shares), HALF)
    losses.total.backward()
    return {"loss": losses.total.detach()} | {name: parameter.grad for name, parameter in method.named_parameters()}


def compute_share(rank: int, store: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.save(loss_and_gradients(rank, 2), f"{out}.{rank}")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_have_the_loss_and_gradient_of_one(tmp_path):
    call_on_ranks(compute_share, str(tmp_path / "store"), str(tmp_path / "out"))
    ranks = [torch.load(tmp_path / f"out.{rank}") for rank in range(2)]
    for name, expected in loss_and_gradients(0, 1).items():
        mean = (ranks[0][name] + ranks[1][name]) / 2
        torch.testing.assert_close(mean, expected.detach(), msg=lambda text, name=name: f"{name}: {text}")


RUN = {"objective": {"name": "dann", "label_shift": "correct"}}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"train": {"ema": 0.9}}], ids=["plain", "ema"])
def test_a_stopped_and_resumed_run_ends_with_the_same_weights_and_shares(small, monkeypatch, changes):
    """The estimate of step 8 is in the checkpoint of step 10, from which the run resumes."""
    monkeypatch.setattr(Estimate, "trust", property(lambda estimate: 0.8))  # of so few images none is trusted
    whole = small(name="whole", **RUN, **changes)
    assert train(whole) == 0
    resumed = small(name="resumed", **RUN, **changes)
    with monkeypatch.context() as patch:
        stop_at_step(patch, 10)
        assert train(resumed) == 75
    assert train(resumed) == 0
    assert_same_weights(weights(resumed), weights(whole))
    at_end = weights(whole)
    assert not torch.equal(at_end["shift.target"], at_end["shift.source"])
    assert at_end["shift.weights"].std() > 0.01


@pytest.mark.slow
def test_two_ranks_estimate_the_same_shares(small, tmp_path):
    one, two = (small(name=name, **RUN) for name in ("one", "two"))
    assert train(one) == 0
    finish(start(two, tmp_path, ranks=2))
    for row, other in zip(rows(one), rows(two), strict=True):
        for name in row:
            if name.startswith("label_shift/"):
                assert row[name] == pytest.approx(other[name], abs=0.02), name
    assert_same_weights(weights(two), weights(one), tolerance=5e-3)


def test_shares_of_another_start_decide_the_weights(small):
    """A run that corrects resumes only with the same evaluations, whose estimates are part of it."""
    plain, correcting = small(), small(**RUN)
    assert "evaluation" not in plain.decisive()
    assert "eval_every" not in plain.decisive()["train"]
    assert correcting.decisive()["train"]["eval_every"] == 8
    assert correcting.decisive()["evaluation"] == {"probe_samples": 40}
    assert plain.fingerprint() != correcting.fingerprint()


def test_two_kinds_of_class_weights_are_refused():
    with pytest.raises(JobError, match="both weight the classes"):
        build_config({"objective": {"label_shift": "correct", "class_weights": "balanced"}}, "x")


def test_methods_without_source_labels_are_refused(small):
    config = small(objective={"name": "train_on_target", "label_shift": "correct"})
    with pytest.raises(JobError, match="reads no label of the source"):
        train(config)


def test_classes_of_the_network_and_of_the_shares_agree():
    assert len(corrected("dann").shift.weights) == CLASSES
