"""Settings of DistributedDataParallel that depend on the method."""

import warnings

from accelerate import Accelerator
from torch import nn

from job.config.schema import Config
from job.methods.base import Method


def set_up_data_parallel(accelerator: Accelerator, method: Method, config: Config) -> None:
    """Choose what DDP may leave out for this method. Call it before Accelerate wraps the method.

    After its first pass DDP lays out its buckets anew, in the order in which the gradients came, unless it looks for
    unused parameters. The place of a gradient in a bucket decides in which order its parts are added, so the first pass
    after a resume would differ in the last bits from the same pass of a run that was not stopped, on three ranks or
    more. With train.deterministic the layout therefore stays the first one.
    """
    handler = accelerator.ddp_handler
    if handler is not None:
        # torch 2.14 renamed it, and Accelerate does not know the new name
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        handler.find_unused_parameters = config.train.deterministic
        handler.static_graph = has_static_graph(method, config)
        handler.broadcast_buffers = not has_equal_buffers(method, config)


def has_static_graph(method: Method, config: Config) -> bool:
    """Return whether every backward pass gives the same parameters a gradient, once each, and exchanges it.

    DDP then need not look for unused parameters, and may rely on the order of the first pass. A method with several
    phases differentiates another loss in each, and with train.accumulate only the last share of a batch is exchanged.
    With train.deterministic the buckets must not follow the order of the first pass.
    """
    return len(method.phases) == 1 and config.train.accumulate == 1 and not config.train.deterministic


def has_equal_buffers(method: Method, config: Config) -> bool:
    """Return whether all ranks compute the same buffers, so that the main rank need not send its own at every pass.

    Statistics of BatchNorm differ between the ranks unless they are those of all ranks' batches (sync) or fixed
    (frozen). What methods add is the same on all ranks, except where `equal_buffers` of a method or term is false.
    """
    norms = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in method.modules())
    shared = not norms or config.model.batch_norm in ("sync", "frozen")
    return shared and all(part.equal_buffers for part in (method, *method.terms))
