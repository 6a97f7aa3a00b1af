"""Encoders of networks of equal shape, computed side by side.

Letters: n network, m modality, b batch row, d feature, k output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_mmfusion.modules.dropout import Dropout
from sklearn_mmfusion.modules.encoders import LinearModule, MLPModule
from sklearn_mmfusion.modules.grouping import Group

__all__ = ["StackedLinearMaps", "StackedPerceptrons"]


class _Linears:
    """Linear layers at one depth: of each network one for each of some modalities."""

    def __init__(self, stack: Group, rows: Sequence[Sequence[Any]]) -> None:
        self.n = len(rows)
        parts = [rows]  # one product for all, or where inputs differ one for each modality
        if len({layer.in_features for layer in rows[0]}) > 1:
            parts = [[[row[m]] for row in rows] for m in range(len(rows[0]))]
        layers = [[layer for row in part for layer in row] for part in parts]
        self.weights = [stack.join([[layer.weight] for layer in part]) for part in layers]
        self.biases: list[nn.Parameter] = []
        if rows[0][0].bias is not None:
            self.biases = [stack.join([[layer.bias] for layer in part]) for part in layers]

    def __call__(self, xs: Sequence[Tensor]) -> Tensor:
        """Map inputs (n m, b, d), or (n, b, d) of each modality, to (n m, b, k)."""
        mapped = []
        for i, (x, weight) in enumerate(zip(xs, self.weights, strict=True)):
            if self.biases:
                bias = self.biases[i].unsqueeze(1)
                mapped.append(torch.baddbmm(bias, x, weight.transpose(1, 2)))
            else:
                mapped.append(torch.bmm(x, weight.transpose(1, 2)))
        return mapped[0] if len(mapped) == 1 else torch.stack(mapped, 1).flatten(0, 1)


class StackedPerceptrons:
    """Perceptrons of equal width: of each network one for each of some modalities."""

    def __init__(self, stack: Group, rows: Sequence[Sequence[MLPModule]]) -> None:
        self.n, self.rows = len(rows), rows
        self._layers: list[Any] = []
        for i, layer in enumerate(rows[0][0].layers):
            if isinstance(layer, nn.Linear):
                self._layers.append(_Linears(stack, [[m.layers[i] for m in row] for row in rows]))
            elif isinstance(layer, Dropout):
                self._layers.append([row[0].layers[i] for row in rows])
            else:
                self._layers.append(layer)
        self._skip = None
        if rows[0][0].skip is not None:
            self._skip = _Linears(stack, [[m.skip for m in row] for row in rows])

    def forward(self, values: Sequence[Tensor], strength: float) -> Sequence[Tensor]:
        """Return the encodings (n, b, k) of prepared values (n, b, d) of each modality."""
        if len({value.shape[2] for value in values}) == 1:
            dropouts = [row[0].input_dropout for row in self.rows]
            xs = [_dropped(torch.stack(list(values), 1).flatten(0, 1), dropouts, strength)]
        else:
            xs = [
                _dropped(value, [row[m].input_dropout for row in self.rows], strength)
                for m, value in enumerate(values)
            ]
        encoded: Any = xs
        for layer in self._layers:
            if isinstance(layer, _Linears):
                encoded = layer(encoded if isinstance(encoded, list) else [encoded])
            elif isinstance(layer, list):
                encoded = _dropped(encoded, layer, strength)
            else:
                encoded = layer(encoded)
        if self._skip is not None:
            encoded = encoded + self._skip(xs)
        return encoded.unflatten(0, (self.n, -1)).unbind(1)  # type: ignore[no-any-return]


class StackedLinearMaps:
    """Linear encoders of one modality."""

    def __init__(self, stack: Group, rows: Sequence[Sequence[LinearModule]]) -> None:
        self._dropouts = [row[0].dropout for row in rows]
        self._linears = _Linears(stack, [[row[0].linear] for row in rows])

    def forward(self, values: Sequence[Tensor], strength: float) -> Sequence[Tensor]:
        """Return the encodings (n, b, k) of values (n, b, d)."""
        return [self._linears([_dropped(values[0], self._dropouts, strength)])]


def _dropped(x: Tensor, dropouts: Sequence[Dropout], strength: float) -> Tensor:
    """Apply to the rows (n m, b, d) of each network what it would draw alone, (b, m, d)."""
    first = dropouts[0]
    p = first.p * strength
    if p in (0.0, 1.0):  # nothing is drawn
        return x if p == 0.0 else torch.zeros_like(x)
    n, rows = len(dropouts), x.unflatten(0, (len(dropouts), -1))
    shape = (1 if first.shared else x.shape[1], rows.shape[1], x.shape[2])
    mask = torch.empty(n, *shape, dtype=torch.float32)
    for part, dropout in zip(mask, dropouts, strict=True):
        part.uniform_(0, 1, generator=dropout.generator)
    kept = mask.ge_(p).div_(1.0 - p).transpose(1, 2).to(x.dtype)
    dropped: Tensor = rows * kept
    return dropped.flatten(0, 1)
