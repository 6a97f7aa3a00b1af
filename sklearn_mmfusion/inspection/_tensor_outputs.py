"""The network on a tensor product of modalities, as a function of their rows.

The product itself is never made: the first layer is linear in the vector of each modality.

Letters: n row, d feature, h hidden unit, k output; shape: axes of a product of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from sklearn_mmfusion.inspection._buffers import Buffers
from sklearn_mmfusion.inspection._gathering import contracted
from sklearn_mmfusion.inspection._products import Product
from sklearn_mmfusion.modules.concatenation import PerceptronFusion, TensorFeatures

__all__ = ["tensor_function"]


def tensor_function(
    features: TensorFeatures,
    fusion: PerceptronFusion,
    encodings: Sequence[Tensor],
    present: Sequence[Tensor | None],
) -> tuple[Callable[[Product], Tensor], int]:
    """Return the outputs as a function of rows, and how many numbers a combination makes.

    Parameters
    ----------
    features, fusion : nn.Module
        Modules of a network without a residual connection, in evaluation mode.
    encodings : sequence of Tensor of shape (n, d_m)
        Encodings of all rows.
    present : sequence of bool Tensor of shape (n,) or None
        Rows in which each modality is there.
    """
    factors = features.vectors(encodings, present)
    first: Any = fusion.layers[0]
    core = first.weight.T.reshape(*(factor.shape[1] for factor in factors), -1).clone()
    core[(0,) * len(factors)] += first.bias  # all the constants 1 together
    hidden_layers, readout, bias = _shifted(fusion)

    buffers = Buffers()

    def outputs(values: Tensor) -> Tensor:
        hidden = values.relu_()
        for i, (weight, floor) in enumerate(hidden_layers):
            # Two layers at a time are held.
            hidden = torch.mm(hidden, weight, out=buffers.take(i % 2, len(hidden), len(floor)))
            torch.maximum(hidden, floor, out=hidden)
        return torch.addmm(bias, hidden, readout)

    # Few numbers per combination: blocks in which they are held are made within.
    return lambda rows: contracted(core, factors, rows, outputs), max(1, len(first.weight) // 8)


def _shifted(fusion: PerceptronFusion) -> tuple[list[tuple[Tensor, Tensor]], Tensor, Tensor]:
    r"""Return the later layers without their biases, which cost as much as the activation.

    .. math:: W\, \mathrm{relu}(y + b) + c = W \max(y, -b) + (W b + c)

    so that a bias is a floor of its own layer, and moves on with the weights of the next one.

    Returns
    -------
    hidden_layers : list of tuple of Tensor
        Transposed weights and floors.
    readout, bias : Tensor
        Transposed weights of the outputs, and all the biases together.
    """
    layers = []
    carried: Tensor | None = None
    for layer in cast(Any, fusion.layers[1:]):
        bias = layer.bias if carried is None else layer.bias + layer.weight @ carried
        layers.append((layer.weight.T.contiguous(), -bias))
        carried = bias
    weight = fusion.readout.weight
    bias = fusion.bias if carried is None else fusion.bias + weight @ carried
    return layers, weight.T.contiguous(), bias
