"""What a method or a term computes for a batch."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor


class Losses(NamedTuple):
    """The losses of a rank's rows in one forward pass."""

    total: Tensor  # 0-dim, differentiated
    terms: dict[str, Tensor]  # 0-dim, logged under their metric names
    seen: Mapping[str, Tensor] = MappingProxyType({})  # rows that `measure` needs, such as class_logits [n, classes]
