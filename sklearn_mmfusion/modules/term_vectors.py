"""Features of terms for multimodal routing: a vector and an activation logit for each.

Letters: b batch row, m modality, t term, d feature (d_f in the paper).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from sklearn_mmfusion.modules.dropout import Dropout
from sklearn_mmfusion.modules.fusion import masked_weight, term_presence
from sklearn_mmfusion.modules.normalization import VectorBatchNorm

__all__ = ["JointTermVectors", "TermVectors"]


class _Terms(nn.Module):
    """Base of the features of routing: presence of terms."""

    def __init__(self, terms: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.terms = [tuple(term) for term in terms]

    def _mask(self, features: Tensor, present: Sequence[Tensor | None]) -> Tensor:
        """Give absent terms the feature 0 and the activation logit -inf, which is p = 0."""
        if all(mask is None for mask in present):
            return features
        some = next(mask for mask in present if mask is not None)
        everywhere = torch.ones_like(some)
        masks = [term_presence(present, term) for term in self.terms]
        absent = ~torch.stack([everywhere if mask is None else mask for mask in masks], 1)
        features = features.masked_fill(absent[..., None], 0.0)
        n = features.shape[2]
        last = torch.arange(n, device=features.device) == n - 1
        return features.masked_fill(absent[..., None] & last, -math.inf)


class TermVectors(_Terms):
    r"""Feature and activation logit of every term, from the encodings of its members.

    .. math:: [f_t, a_t] = V_t\, \mathrm{relu}\Big(\sum_{m \in t} U_{tm} h_m + u_t\Big) + v_t

    which is a network with one hidden layer on the concatenated encodings of the members, each
    normalised over the batch to elements of mean square 1 (VBN). All maps of one modality are one
    matrix product.

    Parameters
    ----------
    encoding_dims : sequence of int
        Length of the encoding of each modality.
    terms : sequence of tuple of int
        Terms as positions of modalities.
    feature_dim : int
        Length d_f of the features.
    hidden_dim : int
        Width of the hidden layer.
    dropout : float, default=0
        Probability of dropping a hidden unit in training.
    """

    term_of_pair: Tensor

    def __init__(
        self,
        encoding_dims: Sequence[int],
        terms: Sequence[tuple[int, ...]],
        feature_dim: int,
        hidden_dim: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(terms)
        self.hidden_dim = hidden_dim
        self.norms = nn.ModuleList()
        self.maps = nn.ModuleDict()
        term_of_pair = []
        for m, dim in enumerate(encoding_dims):
            mine = [t for t, term in enumerate(self.terms) if m in term]
            self.norms.append(VectorBatchNorm(dim))
            term_of_pair += mine
            if mine:
                self.maps[str(m)] = nn.Linear(dim, len(mine) * hidden_dim, bias=False)
        self.register_buffer("term_of_pair", torch.tensor(term_of_pair), persistent=False)
        n_terms = len(self.terms)
        self.hidden_bias = nn.Parameter(torch.zeros(n_terms, hidden_dim))
        self.weight = nn.Parameter(torch.empty(n_terms, hidden_dim, feature_dim + 1))
        self.bias = nn.Parameter(torch.zeros(n_terms, feature_dim + 1))
        self.dropout = Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights of the output layer."""
        nn.init.normal_(self.weight, std=math.sqrt(1.0 / self.hidden_dim))
        with torch.no_grad():
            # All terms begin half active, whatever their features.
            self.weight[..., -1].mul_(0.1)

    def forward(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return features and activation logits.

        Shape: encodings (b, d_m) -> (b, t, d + 1), the logit last; 0 and -inf where a term is
        absent.
        """
        parts = []
        for key, linear in self.maps.items():
            m, h = int(key), encodings[int(key)]
            h = self.norms[m](h, masked_weight(present[m], weight, h.dtype))
            mapped = linear(h * math.sqrt(h.shape[1]))
            parts.append(mapped.unflatten(1, (-1, self.hidden_dim)))
        pairs = torch.cat(parts, 1)
        summed = self.hidden_bias.expand(len(pairs), -1, -1).index_add(1, self.term_of_pair, pairs)
        hidden = self.dropout(torch.relu(summed))
        features = torch.einsum("bth,thd->btd", hidden, self.weight) + self.bias
        return self._mask(features, present)

    @torch.no_grad()
    def set_exact(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> None:
        """Recompute every statistic over the encodings of the whole training set."""
        for key in self.maps:
            h = encodings[int(key)]
            mine = masked_weight(present[int(key)], weight, h.dtype)
            cast(VectorBatchNorm, self.norms[int(key)]).set_exact(h, mine)


class JointTermVectors(_Terms):
    """Feature and activation logit of every term, linear in what a joint encoder returns for it.

    Parameters
    ----------
    encoding_dims : sequence of int
        Length of the encoding of each term.
    terms : sequence of tuple of int
        Terms as positions of modalities.
    feature_dim : int
        Length d_f of the features.
    dropout : float, default=0
        Probability of dropping an element of an encoding in training.
    """

    def __init__(
        self,
        encoding_dims: Sequence[int],
        terms: Sequence[tuple[int, ...]],
        feature_dim: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(terms)
        self.maps = nn.ModuleList(nn.Linear(dim, feature_dim + 1) for dim in encoding_dims)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return features and activation logits; see :class:`TermVectors`.

        Shape: encodings (b, d_t), one per term -> (b, t, d + 1).
        """
        mapped = [linear(self.dropout(h)) for linear, h in zip(self.maps, encodings, strict=True)]
        return self._mask(torch.stack(mapped, 1), present)

    def set_exact(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> None:
        """Do nothing: there are no batch statistics."""
