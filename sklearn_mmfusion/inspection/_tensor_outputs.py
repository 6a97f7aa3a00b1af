"""The network on a tensor product of modalities, as a function of their rows.

The product itself is never made: the first layer is linear in the vector of each modality.

Letters: n row, d feature, h hidden unit, k output; shape: axes of a product of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

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
    first, *others = fusion.layers
    core = first.weight.T.reshape(*(factor.shape[1] for factor in factors), -1).clone()
    core[(0,) * len(factors)] += first.bias  # all the constants 1 together

    def function(rows: Product) -> Tensor:
        met = contracted(core, factors, rows)
        hidden = met.reshape(-1, met.shape[-1]).relu_()
        for layer in others:
            hidden = layer(hidden).relu_()
        outputs: Tensor = fusion.readout(hidden) + fusion.bias
        return outputs.reshape(*rows.shape, -1)

    widest = max(layer.out_features for layer in fusion.layers)
    return function, 2 * widest
