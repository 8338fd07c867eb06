"""Import what every rank of `train` and `evaluate` needs: the launcher does this before it forks the ranks of a node.

An import here must not start a thread or use a GPU: neither would work in a rank after the fork.
"""

import torch._dynamo  # torch's optimisers import it in their first update
import torch.nn.parallel.distributed  # noqa: F401

import job.evaluation.command
import job.train  # noqa: F401
