"""torch.compile of the network or of the method's whole forward pass, before DDP wraps it."""

import torch

from job.config.schema import Config
from job.methods.base import Method
from job.methods.losses import Losses

BACKEND = "inductor"
GRAPH_MODES = ("reduce-overhead", "max-autotune")  # those that use CUDA graphs


def compile_method(method: Method, config: Config) -> None:
    """Compile what model.compile and model.compile_scope name, in place; the first pass takes minutes.

    With the scope `method`, forward passes of training are compiled as a whole: network, heads, losses and their
    weights. Evaluations call `predict`, so the feature extractor is compiled for them too, as it is with `features`.
    What torch.compile cannot trace, such as the exchange of rows between ranks, runs between compiled parts. Modules
    are compiled in place: their names, checkpoints and copies for `train.ema` stay the same.
    """
    if not config.model.compile:
        return
    settings = {"backend": BACKEND}
    if config.model.compile_mode != "default":
        settings["mode"] = config.model.compile_mode
    method.network.feature_extractor.compile(**settings)
    if config.model.compile_scope == "method":
        method.compile(**settings)


def uses_cuda_graphs(config: Config, device: torch.device) -> bool:
    """Return whether compiled parts are replayed as CUDA graphs, whose outputs the next replay overwrites."""
    return config.model.compile and config.model.compile_mode in GRAPH_MODES and device.type == "cuda"


def start_pass() -> None:
    """Tell CUDA graphs that a new forward pass begins, so that they may reuse the memory of the pass before."""
    torch.compiler.cudagraph_mark_step_begin()


def copied(losses: Losses) -> Losses:
    """Copy what the meter keeps of a pass, outside the memory of CUDA graphs."""
    terms = {name: value.detach().clone() for name, value in losses.terms.items()}
    seen = {name: value.detach().clone() for name, value in losses.seen.items()}
    return Losses(losses.total.detach().clone(), terms, seen)
