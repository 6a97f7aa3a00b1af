"""How many rows go through a network at a time, and what they take."""

from __future__ import annotations

import torch

from sklearn_mmfusion._training.dataset import FusionDataset
from sklearn_mmfusion.modules.network import FusionNetwork

__all__ = ["chunk_of", "chunk_rows", "feature_bytes"]

_CHUNK_ROWS = 4096
_CHUNK_VALUES = 2**22  # numbers within the network for a chunk of rows: 32 MB in float64


@torch.no_grad()
def feature_bytes(network: FusionNetwork, rows: FusionDataset) -> int:
    """Bytes of the encodings and features of a row in float64."""
    first, _ = rows[:2]
    encodings = network.encode(first, first.present)
    features = network.features(encodings, first.present, first.weight)
    return 8 * sum(part[0].numel() for part in (*encodings, features) if len(part))


def chunk_rows(network: FusionNetwork, rows: FusionDataset) -> int:
    """Rows that go through the network at a time."""
    return max(16, chunk_of(network.values_per_row(rows.batch)))


def chunk_of(values_per_row: int) -> int:
    """Return how many rows of so many numbers each are a chunk."""
    return max(1, min(_CHUNK_ROWS, _CHUNK_VALUES // max(1, values_per_row)))
