"""Fusion by concatenation, and by the tensor product of all modalities.

Letters: b batch row, m modality, d feature, k output.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sklearn_mmfusion.modules.dropout import Dropout
from sklearn_mmfusion.modules.fusion import BlockLinear

__all__ = ["ConcatFeatures", "LinearFusion", "PerceptronFusion", "TensorFeatures"]


class ConcatFeatures(nn.Module):
    """Encodings side by side, 0 where a modality is absent.

    Parameters
    ----------
    encoding_dims : sequence of int
        Length of each encoding.
    terms : sequence of tuple of int
        One modality each; of a joint encoder, the modalities of each encoding.
    masks_absent : bool, default=True
        Whether rows that lack a modality of a term get zeros; a joint encoder sees to it itself.
    """

    def __init__(
        self,
        encoding_dims: Sequence[int],
        terms: Sequence[tuple[int, ...]],
        *,
        masks_absent: bool = True,
    ) -> None:
        super().__init__()
        self.terms = [tuple(term) for term in terms]
        self.block_sizes = list(encoding_dims)
        self.masks_absent = masks_absent

    def forward(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return the encodings of a row in one vector.

        Shape: encodings (b, d_m) -> (b, sum of d_m).
        """
        parts = list(encodings)
        if self.masks_absent:
            for i, (m,) in enumerate(self.terms):
                mask = present[m]
                if mask is not None:
                    parts[i] = torch.where(mask[:, None], parts[i], 0.0)
        return torch.cat(parts, 1)

    def set_exact(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> None:
        """Do nothing: there are no batch statistics."""


class TensorFeatures(ConcatFeatures):
    r"""Tensor product of all modalities, each with a constant 1 before it (TFN).

    .. math:: z = \bigotimes_m [1;\, U_m h_m]

    so that it holds every interaction of every order. An absent modality counts by its 1 alone.

    Parameters
    ----------
    encoding_dims : sequence of int
        Length of each encoding.
    latent_dim : int
        Length d of :math:`U_m h_m`; the result has ``(1 + d) ** n_modalities`` elements.

    References
    ----------
    Zadeh et al. (2017), "Tensor Fusion Network for Multimodal Sentiment Analysis", section 4.2.
    """

    def __init__(self, encoding_dims: Sequence[int], latent_dim: int) -> None:
        super().__init__(encoding_dims, [(m,) for m in range(len(encoding_dims))])
        self.maps = nn.ModuleList(nn.Linear(dim, latent_dim) for dim in encoding_dims)
        self.n_features = (1 + latent_dim) ** len(encoding_dims)

    def forward(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return the flattened product.

        Shape: encodings (b, d_m) -> (b, (1 + d) ** n_modalities).
        """
        product = encodings[0].new_ones(len(encodings[0]), 1)
        for u in self.vectors(encodings, present):
            product = (product[:, :, None] * u[:, None, :]).flatten(1)
        return product

    def vectors(
        self, encodings: Sequence[Tensor], present: Sequence[Tensor | None]
    ) -> list[Tensor]:
        """Return the factors of the product, (b, 1 + d) per modality."""
        found = []
        for linear, h, mask in zip(self.maps, encodings, present, strict=True):
            u = linear(h)
            if mask is not None:
                u = torch.where(mask[:, None], u, 0.0)
            found.append(nn.functional.pad(u, (1, 0), value=1.0))
        return found


class LinearFusion(BlockLinear):
    """A linear layer on concatenated encodings, without a penalty of its own."""

    decays_all = True

    def readings(self, features: Tensor, share: Tensor, n_counted: float) -> dict[str, Tensor]:
        """Return nothing: weights on encodings of any scale compare nothing."""
        return {}


class PerceptronFusion(nn.Module):
    """Outputs by a network with hidden layers, and an optional residual connection round them.

    Parameters
    ----------
    input_dim : int
        Length of the features.
    hidden_dim : int
        Width of the hidden layers; with ``residual`` it is ``input_dim``.
    n_outputs : int
        Number of outputs.
    n_layers : int, default=2
        Number of hidden layers.
    dropout : float, default=0
        Probability of dropping a hidden unit in training.
    residual : bool, default=False
        Whether the features are added to the last hidden layer (MulT).
    """

    decays_all = True

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        n_outputs: int,
        *,
        n_layers: int = 2,
        dropout: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.residual = residual
        width = input_dim if residual else hidden_dim
        widths = [input_dim] + [width] * n_layers
        self.layers = nn.ModuleList(
            nn.Linear(before, after) for before, after in zip(widths, widths[1:], strict=False)
        )
        self.dropout = Dropout(dropout)
        self.readout = nn.Linear(widths[-1], n_outputs, bias=False)
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        self.values_per_row = sum(widths)

    def forward(self, features: Tensor) -> Tensor:
        """Return outputs of shape (b, k)."""
        hidden = features
        for i, layer in enumerate(self.layers):
            is_last = i == len(self.layers) - 1
            hidden = layer(hidden)
            # The paper's residual block ends linearly before the sum.
            hidden = hidden if self.residual and is_last else self.dropout(torch.relu(hidden))
        if self.residual:
            hidden = hidden + features
        outputs: Tensor = self.readout(hidden) + self.bias
        return outputs

    def readings(self, features: Tensor, share: Tensor, n_counted: float) -> dict[str, Tensor]:
        """Return nothing: there are no terms to read."""
        return {}
