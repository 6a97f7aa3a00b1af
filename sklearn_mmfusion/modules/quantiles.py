"""Features by rank: where in its distribution a value lies, learned from the training rows.

Letters: b batch row, d feature, q knot.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["QuantileFeatures", "weighted_knots"]

_TIE = 1e-9  # of the whole weight
_PIECE_VALUES = 2**17  # placed at a time: a place takes ten numbers on its way
_UNIT_VARIANCE = 12.0**0.5  # of a uniform variable on an interval of length 1


def weighted_knots(values: Tensor, weight: Tensor | None, n_knots: int) -> tuple[Tensor, Tensor]:
    """Knots of the weighted distribution function of each feature.

    Parameters
    ----------
    values : Tensor of shape (n, d)
        Training rows.
    weight : Tensor of shape (n,) or None
        Row weights; rows of weight zero do not count. Whole numbers do what repeated rows do.
    n_knots : int
        Number of knots q.

    Returns
    -------
    positions, levels : Tensor of shape (d, q)
        Increasing values, and the share of the weight below each (half of its own included). A
        feature of few distinct values repeats its last knot.
    """
    device, values = values.device, values.cpu()  # distinct values are counted one by one
    if weight is None:
        weight = torch.ones(len(values), dtype=torch.float64)
    weight = weight.cpu().double()
    values, weight = values[weight > 0], weight[weight > 0]
    n, d = values.shape
    positions = torch.zeros(d, n_knots, dtype=torch.float64)
    levels = torch.zeros_like(positions)
    if n == 0:
        return positions.to(device), levels.to(device)
    # A place that is a target all but the last digits is one: weights come divided by their mean.
    targets = torch.linspace(0, 1, n_knots, dtype=torch.float64) - _TIE
    for j in range(d):
        distinct, inverse = values[:, j].double().unique(return_inverse=True)
        mass = torch.zeros(len(distinct), dtype=torch.float64).index_add(0, inverse, weight)
        middle = (mass.cumsum(0) - mass / 2) / mass.sum()
        if len(distinct) > n_knots:
            picked = torch.searchsorted(middle, targets.clamp(middle[0], middle[-1])).unique()
        else:
            picked = torch.arange(len(distinct))
        padded = torch.cat([picked, picked[-1:].expand(n_knots - len(picked))])
        positions[j], levels[j] = distinct[padded], middle[padded]
    return positions.to(device), levels.to(device)


class QuantileFeatures(nn.Module):
    """Append to each feature its place in the distribution of the training rows.

    Heavy tails and mixed scales, which a standardised linear feature handles badly, become even;
    trees have this for free.

    Parameters
    ----------
    input_dim : int
        Number of features d.
    n_knots : int
        Number of knots of each piecewise linear distribution function.

    Notes
    -----
    Shape: (b, d) -> (b, 2 d): the features, then their places with mean 0 and variance 1. Call
    :meth:`fit_inputs` before training; the knots are buffers and part of the state.
    """

    positions: Tensor
    levels: Tensor

    def __init__(self, input_dim: int, n_knots: int) -> None:
        super().__init__()
        self.n_knots = n_knots
        knots = torch.linspace(-1.0, 1.0, n_knots).repeat(input_dim, 1)
        self.register_buffer("positions", knots)
        self.register_buffer("levels", (knots + 1) / 2)

    @torch.no_grad()
    def fit_inputs(self, values: Tensor, weight: Tensor | None = None) -> None:
        """Learn the knots from training rows (n, d)."""
        positions, levels = weighted_knots(values, weight, self.n_knots)
        self.positions.copy_(positions)
        self.levels.copy_(levels)

    def forward(self, values: Tensor) -> Tensor:
        """Return features and places."""
        n_rows = max(1, _PIECE_VALUES // max(1, values.shape[1]))
        return torch.cat([values, torch.cat([*map(self._places, values.split(n_rows))])], 1)

    def _places(self, values: Tensor) -> Tensor:
        columns = values.T.contiguous()
        right = torch.searchsorted(self.positions, columns).clamp(1, self.n_knots - 1)
        left = right - 1
        x0, x1 = self.positions.gather(1, left), self.positions.gather(1, right)
        y0, y1 = self.levels.gather(1, left), self.levels.gather(1, right)
        width = x1 - x0
        share = torch.where(width > 0, (columns - x0) / width.clamp_min(1e-12), 1.0)
        places = y0 + (y1 - y0) * share.clamp(0, 1)
        return ((places - 0.5) * _UNIT_VARIANCE).T
