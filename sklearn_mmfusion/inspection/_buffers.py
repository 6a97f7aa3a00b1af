"""Memory that is used again for every block.

Memory that is new costs as much as what is computed on it: the system clears its pages first.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

import torch
from torch import Tensor

__all__ = ["Buffers"]


class Buffers:
    """Memory in float64 for what one block leaves to the next one to overwrite."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Tensor] = {}

    def take(self, name: Hashable, *shape: int) -> Tensor:
        """Return memory of a shape, the same for one name; what it holds is arbitrary."""
        size = math.prod(shape)
        kept = self._kept.get(name)
        if kept is None or len(kept) < size:
            kept = self._kept[name] = torch.empty(size, dtype=torch.float64)
        return kept[:size].view(shape)
