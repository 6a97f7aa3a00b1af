"""Encoders of networks of equal shape, computed side by side.

Letters: n network, m modality, b batch row, d feature, k output.
"""

from __future__ import annotations

import math
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
        self.n = len(rows)
        # Inputs of equal width are dropped as one.
        same = len({_input_width(member) for member in rows[0]}) == 1
        heads = [0] if same else range(len(rows[0]))
        self._inputs = [_Dropouts([row[m].input_dropout for row in rows]) for m in heads]
        self._layers: list[Any] = []
        for i, layer in enumerate(rows[0][0].layers):
            if isinstance(layer, nn.Linear):
                self._layers.append(_Linears(stack, [[m.layers[i] for m in row] for row in rows]))
            elif isinstance(layer, Dropout):
                self._layers.append(_Dropouts([row[0].layers[i] for row in rows]))
            else:
                self._layers.append(layer)
        self._skip = None
        if rows[0][0].skip is not None:
            self._skip = _Linears(stack, [[m.skip for m in row] for row in rows])

    def forward(self, values: Sequence[Tensor], strength: float) -> Sequence[Tensor]:
        """Return the encodings (n, b, k) of prepared values (n, b, d) of each modality."""
        xs = list(values)
        if len(self._inputs) == 1:
            xs = [torch.stack(xs, 1).flatten(0, 1)]
        xs = [dropout(x, strength) for dropout, x in zip(self._inputs, xs, strict=True)]
        encoded: Any = xs
        for layer in self._layers:
            if isinstance(layer, _Linears):
                encoded = layer(encoded if isinstance(encoded, list) else [encoded])
            elif isinstance(layer, _Dropouts):
                encoded = layer(encoded, strength)
            else:
                encoded = layer(encoded)
        if self._skip is not None:
            encoded = encoded + self._skip(xs)
        return encoded.unflatten(0, (self.n, -1)).unbind(1)  # type: ignore[no-any-return]  # a tuple of Tensors


def _input_width(member: MLPModule) -> int:
    """Return the number of inputs of the first layer."""
    first: Any = member.layers[0]
    width: int = first.in_features
    return width


class StackedLinearMaps:
    """Linear encoders of one modality."""

    def __init__(self, stack: Group, rows: Sequence[Sequence[LinearModule]]) -> None:
        self._dropout = _Dropouts([row[0].dropout for row in rows])
        self._linears = _Linears(stack, [[row[0].linear] for row in rows])

    def forward(self, values: Sequence[Tensor], strength: float) -> Sequence[Tensor]:
        """Return the encodings (n, b, k) of values (n, b, d)."""
        return [self._linears([self._dropout(values[0], strength)])]


class _Dropouts:
    """Dropout at one place of each network: of all its modalities there one mask."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers: list[Dropout] = list(layers)
        # Masks are drawn into the same memory at each step: to get it anew takes as long.
        self._memory = torch.empty(0, dtype=torch.float32)

    def __call__(self, x: Tensor, strength: float) -> Tensor:
        """Drop from the rows (n m, b, d) of each network what it would alone, from (b, m, d)."""
        first, n = self.layers[0], len(self.layers)
        p = first.p * strength
        if p in (0.0, 1.0):  # nothing is drawn
            return x if p == 0.0 else torch.zeros_like(x)
        rows = x.unflatten(0, (n, -1))
        shape = (n, 1 if first.shared else x.shape[1], rows.shape[1], x.shape[2])
        size = math.prod(shape)
        if len(self._memory) < size:
            self._memory = torch.empty(size, dtype=torch.float32, device=x.device)
        masks = self._memory[:size].view(shape)
        for mask, layer in zip(masks, self.layers, strict=True):
            mask.uniform_(0, 1, generator=layer.generator)
        kept = masks.ge_(p).div_(1.0 - p).transpose(1, 2)
        dropped: Tensor = rows * kept.to(x.dtype)
        return dropped.flatten(0, 1)
