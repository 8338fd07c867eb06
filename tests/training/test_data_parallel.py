"""What DDP leaves out for a method, and that ranks still agree exactly."""

import copy
import os

import pytest
import torch
import torch.distributed as dist

from job.methods import METHODS
from job.training import compilation
from job.training.compilation import compile_method
from job.training.data_parallel import has_equal_buffers, has_static_graph
from job.training.distributed import build_accelerator
from job.training.optimizer import load_optimizer
from tests.support.networks import tiny_batch, tiny_config, tiny_method, tiny_network, with_batch_norm
from tests.support.preloaded import call_on_ranks, free_port
from tests.support.steps import learner_for, loaded


def test_the_graph_is_static_where_every_pass_differentiates_the_same_loss():
    static = {name for name in METHODS if has_static_graph(tiny_method(name), tiny_config(name))}
    assert static == METHODS.keys() - {"mcd"}
    assert not has_static_graph(tiny_method("dann"), tiny_config("dann", train={"accumulate": 2}))


@pytest.mark.parametrize(
    ("norm", "layers", "equal"),
    [
        ("mixed", None, True),  # a network without BatchNorm
        ("mixed", with_batch_norm, False),
        ("sync", with_batch_norm, True),
        ("frozen", with_batch_norm, True),
    ],
)
def test_buffers_are_sent_where_ranks_would_compute_different_ones(norm, layers, equal):
    method = tiny_method("fixmatch", network=tiny_network(layers=layers and layers()))
    assert has_equal_buffers(method, tiny_config("fixmatch", model={"batch_norm": norm})) == equal


def test_buffers_of_a_method_may_differ():
    assert not has_equal_buffers(tiny_method("shot"), tiny_config("shot"))


def join(rank: int, world: int, port: int, config):
    """Become one of `world` ranks on the CPU; returns its accelerator."""
    own = {"LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {key: str(value) for key, value in own.items()} | {"ACCELERATE_USE_CPU": "true"}
    return build_accelerator(config)


def steps_of_ranks(rank: int, name: str, compiled: bool, port: int, out: str) -> None:
    """Two updates as one of two ranks; save the state of the method and what DDP was told."""
    scope = {"compile": True, "compile_scope": "method"} if compiled else {}
    config = tiny_config(name, model={"batch_norm": "none", **scope})
    accelerator = join(rank, 2, port, config)
    method = tiny_method(name)
    compilation.BACKEND = "eager"  # which generates no code
    compile_method(method, config)
    made = learner_for(method, accelerator=accelerator)
    whole = tiny_batch(method)
    for step in range(2):
        made.update(loaded(whole.share(rank, 2), method, step))
    ddp = made._model
    torch.save((method.state_dict(), ddp.static_graph, ddp.broadcast_buffers), f"{out}-{rank}")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "compiled"), [("fixmatch", False), ("mcd", False), ("coral", True)])
def test_two_ranks_compute_what_one_computes_and_have_the_same_buffers(name, compiled, tmp_path):
    """Also if rows are exchanged within a compiled forward pass."""
    call_on_ranks(steps_of_ranks, name, compiled, free_port(), str(tmp_path / "state"))
    (one, static, sends), (other, *_) = (torch.load(tmp_path / f"state-{rank}") for rank in range(2))
    assert (static, sends) == (name != "mcd", False)
    alone = tiny_method(name)
    made = learner_for(alone)
    for step in range(2):
        made.update(loaded(tiny_batch(alone), alone, step))
    for key, value in alone.state_dict().items():
        assert torch.equal(one[key], other[key]), key
        torch.testing.assert_close(one[key], value, rtol=1e-9, atol=1e-9, msg=key)


def resume_on_ranks(rank: int, port: int, out: str) -> None:
    """As one of four ranks: three updates, and the last two again by a learner that resumes after the first one."""
    sections = {"train": {"deterministic": True}}
    accelerator = join(rank, 4, port, tiny_config("dann", **sections))
    whole, later = tiny_method("dann"), tiny_method("dann")
    batch = tiny_batch(whole, rows=8).share(rank, 4)
    made = learner_for(whole, accelerator=accelerator, **sections)
    for step in range(3):
        made.update(loaded(batch, whole, step))
        if step == 0:
            later.load_state_dict(whole.state_dict())
            state = copy.deepcopy(made.trainer_state()["optimizer"])
    resumed = learner_for(later, accelerator=accelerator, **sections)
    load_optimizer(resumed._optimizer, state)
    for step in (1, 2):
        resumed.update(loaded(batch, later, step))
    same = all(torch.equal(value, later.state_dict()[key]) for key, value in whole.state_dict().items())
    torch.save(same, f"{out}-{rank}")
    dist.destroy_process_group()


@pytest.mark.slow
def test_four_deterministic_ranks_resume_bit_for_bit(tmp_path):
    """DDP would lay out the gradients anew after the first pass, and four ranks then add them in another order."""
    call_on_ranks(resume_on_ranks, free_port(), str(tmp_path / "same"), ranks=4)
    assert all(torch.load(tmp_path / f"same-{rank}") for rank in range(4))
