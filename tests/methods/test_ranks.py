"""Two ranks with half of the rows each: the losses and gradients of one rank with all rows."""

import pytest
import torch
import torch.distributed as dist

from job.methods import METHODS, TERMS
from job.methods.one_term import OneTerm
from job.methods.ranks import shared_generator
from tests.support.networks import tiny_batch, tiny_method
from tests.support.preloaded import call_on_ranks

pytestmark = pytest.mark.slow  # two processes
HALF = torch.tensor(0.5, dtype=torch.float64)
PLAIN = "mcd"  # a method on both domains that shares no term's name and gathers nothing itself


def loss_and_gradients(term: str, share: int, shares: int) -> dict[str, torch.Tensor]:
    """The loss of a share of the rows and its gradients by parameter."""
    method = tiny_method(PLAIN, also=[{"name": term, "weight": 2.0}])
    batch = tiny_batch(method).share(share, shares)
    torch.manual_seed(share)  # as each step begins: a term that draws from it computes another loss on each rank
    losses = method(batch, HALF)
    losses.total.backward()
    gradients = {name: parameter.grad for name, parameter in method.named_parameters()}
    return {"loss": losses.total.detach()} | losses.terms | gradients


def compute_share(rank: int, store: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.save({term: loss_and_gradients(term, rank, 2) for term in TERMS}, f"{out}.{rank}")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def shares(tmp_path_factory):
    """What each of two ranks computes, by term."""
    folder = tmp_path_factory.mktemp("ranks")
    call_on_ranks(compute_share, str(folder / "store"), str(folder / "out"))
    return [torch.load(folder / f"out.{rank}") for rank in range(2)]


@pytest.mark.parametrize("term", TERMS)
def test_the_mean_over_two_ranks_is_the_loss_and_gradient_of_one_with_all_rows(shares, term):
    """DDP takes the mean of the ranks' gradients."""
    for name, expected in loss_and_gradients(term, 0, 1).items():
        mean = (shares[0][term][name] + shares[1][term][name]) / 2
        torch.testing.assert_close(mean, expected.detach(), msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("term", [name for name, term in TERMS.items() if term.couples_rows])
def test_a_loss_that_couples_rows_is_the_same_on_both_ranks(shares, term):
    logged = [name for name in shares[0][term] if name.startswith("train/") and name != "train/class_loss"]
    assert logged
    for name in logged:
        assert torch.equal(shares[0][term][name], shares[1][term][name])


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if issubclass(method, OneTerm)])
def test_a_method_of_one_term_couples_rows_if_the_term_does(name):
    """Otherwise `train.accumulate` would be accepted and change the loss."""
    assert METHODS[name].couples_rows == TERMS[name].couples_rows


def test_what_all_ranks_draw_depends_on_seed_use_and_progress_and_on_nothing_else():
    def draw(*arguments):
        return torch.randn(3, generator=shared_generator(*arguments)).tolist()

    torch.manual_seed(0)
    first = draw(5, "directions", 0.25)
    torch.manual_seed(1)
    assert draw(5, "directions", 0.25) == first
    others = [draw(6, "directions", 0.25), draw(5, "noise", 0.25), draw(5, "directions", 0.5), draw(5, "directions")]
    assert len({tuple(each) for each in (first, *others)}) == 5
