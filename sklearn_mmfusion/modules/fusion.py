"""From encodings to term features to outputs: the block-linear fusion of MNL and InTense.

Letters: b batch row, m modality, t term, d latent feature, k output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from sklearn_mmfusion import functional as F
from sklearn_mmfusion.modules.fused import block_norm_penalty
from sklearn_mmfusion.modules.grouping import MapGroup
from sklearn_mmfusion.modules.normalization import (
    IterBatchNorm,
    Updates,
    VectorBatchNorm,
    normalize_together,
    update_together,
)

__all__ = ["BlockLinear", "TermFeatures", "masked_weight", "term_presence"]

Terms = Sequence[tuple[int, ...]]


def term_presence(present: Sequence[Tensor | None], term: Sequence[int]) -> Tensor | None:
    """Rows in which every modality of a term is there, bool (b,); None when all rows are."""
    result: Tensor | None = None
    for m in term:
        mask = present[m]
        if mask is not None:
            result = mask if result is None else result & mask
    return result


class TermFeatures(nn.Module):
    """Normalised features of every term, side by side [IT, sections 3.2 and 3.3].

    A unimodal term is the VBN of the modality's encoding, after a linear map of its own where the
    encoding is trained and serves other terms too. An interaction is the IterBN of the
    VBN-normalised latent vectors of its members, each from a linear map that belongs to this
    (term, modality) pair alone: with one map for all terms, a modality that carries different
    signals for different terms is not told apart.

    Parameters
    ----------
    encoding_dims : sequence of int
        Length of the encoding of each modality.
    terms : sequence of tuple of int
        Terms as increasing positions of modalities, ordered by their number of members.
    latent_dim : int
        Length d of the latent vectors of interactions.
    unimodal_dims : sequence of int or None
        Output size of the map of each modality's unimodal term; None for no map.

    Attributes
    ----------
    block_sizes : list of int
        Number of features of each term.

    Notes
    -----
    NOTE[DIFF] Features have a mean squared norm of 1 over all training rows, 0 where the term is
    absent, and not over the rows that have it; :meth:`set_presence` says how many do. So a norm of
    the fusion weights is a standard deviation over all rows, and a term that few rows have is not
    shrunk more than its share of the loss asks for.
    """

    places: Tensor
    presence: Tensor
    column_scale: Tensor

    def __init__(
        self,
        encoding_dims: Sequence[int],
        terms: Terms,
        latent_dim: int,
        unimodal_dims: Sequence[int | None],
    ) -> None:
        super().__init__()
        self.terms = [tuple(term) for term in terms]
        self.latent_dim = latent_dim
        self.unimodal = [term[0] for term in self.terms if len(term) == 1]
        self.unimodal_maps = nn.ModuleDict()
        self.unimodal_norms = nn.ModuleList()
        self.block_sizes = []
        for m in self.unimodal:
            size = unimodal_dims[m]
            if size is not None:
                self.unimodal_maps[str(m)] = nn.Linear(encoding_dims[m], size, bias=False)
            self.block_sizes.append(encoding_dims[m] if size is None else size)
            self.unimodal_norms.append(VectorBatchNorm(self.block_sizes[-1]))

        self.orders = sorted({len(term) for term in self.terms if len(term) > 1})
        self.groups = {k: [t for t in self.terms if len(t) == k] for k in self.orders}
        interactions = [term for k in self.orders for term in self.groups[k]]
        # One map per modality computes the latent vectors of all its pairs at once.
        self.pairs = [
            (term, m) for m in range(len(encoding_dims)) for term in interactions if m in term
        ]
        self.pair_maps = nn.ModuleDict()
        for m, dim in enumerate(encoding_dims):
            count = sum(pair[1] == m for pair in self.pairs)
            if count:
                self.pair_maps[str(m)] = nn.Linear(dim, count * latent_dim, bias=False)
        self.pair_norm = VectorBatchNorm(len(self.pairs), latent_dim) if self.pairs else None
        self.interaction_norms = nn.ModuleDict()
        position = {pair: i for i, pair in enumerate(self.pairs)}
        places: list[int] = []  # of the pairs, by order, member and term
        for k in self.orders:
            terms_of_order = self.groups[k]
            places += [position[term, term[j]] for j in range(k) for term in terms_of_order]
            self.interaction_norms[str(k)] = IterBatchNorm(k, len(terms_of_order), latent_dim)
            self.block_sizes += [latent_dim**k] * len(terms_of_order)
        self.maps: MapGroup | None = None
        self.register_buffer("places", torch.tensor(places, dtype=torch.int64), persistent=False)
        # Share of the training rows that have each term; running statistics have it in them.
        self.register_buffer("presence", torch.ones(len(self.terms)), persistent=False)
        self.register_buffer("column_scale", torch.ones(sum(self.block_sizes)), persistent=False)
        self.is_partial = False

    @torch.no_grad()
    def set_presence(self, present: Sequence[Tensor | None], weight: Tensor | None = None) -> None:
        """Learn in which share of the training rows each term is there.

        Parameters
        ----------
        present : sequence of bool Tensor of shape (n,) or None
            Rows in which each modality is there; None: all.
        weight : Tensor of shape (n,), optional
            Row weights.
        """
        shares = [1.0] * len(self.terms)
        for t, term in enumerate(self.terms):
            mask = term_presence(present, term)
            if mask is not None:
                counted = mask.double() if weight is None else mask * weight.double()
                total = float(len(mask)) if weight is None else float(weight.double().sum())
                share = float(counted.sum()) / total if total > 0 else 0.0
                shares[t] = share if share > 0 else 1.0
        self.is_partial = any(share < 1.0 for share in shares)
        self.presence.copy_(torch.tensor(shares, dtype=torch.float64))
        scales = [share**-0.5 for share in shares]
        columns = torch.tensor(scales, dtype=torch.float64).repeat_interleave(
            torch.tensor(self.block_sizes)
        )
        self.column_scale.copy_(columns)

    def forward(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return term features of shape (b, sum of block_sizes), 0 where a term is absent.

        Parameters
        ----------
        encodings : sequence of Tensor of shape (b, d_m)
            Encodings of the modalities.
        present : sequence of bool Tensor of shape (b,) or None
            Rows in which each modality is there; None: all.
        weight : Tensor of shape (b,), optional
            Row weights for the batch statistics.
        """
        updates: Updates = []
        inputs, latents = self._mapped(encodings)
        blocks = self._unimodal_blocks(inputs, present, weight, updates)
        if self.pair_norm is not None:
            masks = None if all(mask is None for mask in present) else self._masks(present, weight)
            pair_weight = weight if masks is None else masks[0]
            latent = self.pair_norm(latents, pair_weight, updates)
            for k, us in zip(self.orders, self._members(latent), strict=True):
                if masks is None:
                    z = self.interaction_norms[str(k)](us, weight, updates)
                else:
                    group_weight, mask = masks[1][k]
                    z = self.interaction_norms[str(k)](us, group_weight, updates)
                    z = z * mask[..., None]
                blocks.append(z.flatten(1))
        features = torch.cat(blocks, 1)
        if self.training and self.is_partial:
            self._count_all_rows(updates)
            features = features * self.column_scale
        update_together(updates)
        return features

    def _count_all_rows(self, updates: Updates) -> None:
        """Make statistics of the rows that have a term those of all rows."""
        parts = self.presence.split(self._terms_of_blocks())
        shares = dict(zip(map(id, self._norms()), parts, strict=True))
        for layer, found in updates:
            for name in {"running_variance", "running_norm"} & found.keys():
                if id(layer) in shares:
                    found[name] = _of_all_rows(found[name], shares[id(layer)], layer)

    def _norms(self) -> list[nn.Module]:
        """Return what normalises each block of features: single terms, then orders."""
        return [*self.unimodal_norms, *(self.interaction_norms[str(k)] for k in self.orders)]

    def _terms_of_blocks(self) -> list[int]:
        return [1] * len(self.unimodal) + [len(self.groups[k]) for k in self.orders]

    @torch.no_grad()
    def set_exact(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> None:
        """Recompute every statistic over the encodings of the whole training set."""
        self.set_presence(present, weight)
        self._set_exact(encodings, present, weight)
        if not self.is_partial:
            return
        shares = self.presence.split(self._terms_of_blocks())
        for norm, share in zip(self._norms(), shares, strict=True):
            single = isinstance(norm, VectorBatchNorm)
            square: Any = norm.running_variance if single else norm.running_norm
            square.copy_(_of_all_rows(square, share, norm))

    def _set_exact(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None,
    ) -> None:
        for m, norm in zip(self.unimodal, self.unimodal_norms, strict=True):
            h = self._unimodal_input(m, encodings)
            cast(VectorBatchNorm, norm).set_exact(h, masked_weight(present[m], weight, h.dtype))
        if self.pair_norm is None:
            return
        masks = None if all(mask is None for mask in present) else self._masks(present, weight)
        raw = self._latent(encodings)
        self.pair_norm.set_exact(raw, weight if masks is None else masks[0])
        latent = F.scale_to_unit(
            raw - self.pair_norm.running_mean, self.pair_norm.running_variance, self.pair_norm.eps
        )
        for k, us in zip(self.orders, self._members(latent), strict=True):
            group_weight = weight if masks is None else masks[1][k][0]
            cast(IterBatchNorm, self.interaction_norms[str(k)]).set_exact(us, group_weight)

    def _unimodal_blocks(
        self,
        inputs: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None,
        updates: Updates,
    ) -> list[Tensor]:
        """Features of the unimodal terms; in training those of equal length are one operation."""
        weights = [
            masked_weight(present[m], weight, h.dtype)
            for m, h in zip(self.unimodal, inputs, strict=True)
        ]
        norms = cast(Sequence[VectorBatchNorm], list(self.unimodal_norms))
        if self.training and len(norms) > 1 and norms[0].is_alone:
            blocks = normalize_together(norms, inputs, weights, updates)
        else:
            triples = zip(norms, inputs, weights, strict=True)
            blocks = [norm(h, w, updates) for norm, h, w in triples]
        masks = [present[m] for m in self.unimodal]
        return [
            z if mask is None else z * mask[:, None] for z, mask in zip(blocks, masks, strict=True)
        ]

    def _members(self, latent: Tensor) -> list[Tensor]:
        """Latent vectors of the members of each order's terms, (k, b, t, d)."""
        sizes = [k * len(self.groups[k]) for k in self.orders]
        parts = latent.index_select(1, self.places).split(sizes, 1)
        return [
            part.unflatten(1, (k, -1)).movedim(1, 0)
            for k, part in zip(self.orders, parts, strict=True)
        ]

    def _mapped(self, encodings: Sequence[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """Return inputs of the unimodal terms, and the latent vectors (b, pairs, d) of others."""
        if self.maps is not None:
            unimodal, pairs = self.maps.forward(encodings)
            return list(unimodal.unbind(0)), pairs.unflatten(1, (-1, self.latent_dim))
        inputs = [self._unimodal_input(m, encodings) for m in self.unimodal]
        return inputs, self._latent(encodings) if self.pair_maps else None

    def group_maps(self) -> MapGroup | None:
        """Compute the maps of all modalities as one from now on, where they are of one shape."""
        names = [str(m) for m in self.unimodal]
        if len(names) < 2 or any(list(maps) != names for maps in self._all_maps()):
            return None
        groups = [[cast(nn.Linear, maps[m]) for m in names] for maps in self._all_maps()]
        if any(len({linear.weight.shape for linear in group}) > 1 for group in groups):
            return None
        self.maps = MapGroup([int(m) for m in names], *groups)
        return self.maps

    def _all_maps(self) -> tuple[nn.ModuleDict, nn.ModuleDict]:
        return self.unimodal_maps, self.pair_maps

    def _unimodal_input(self, m: int, encodings: Sequence[Tensor]) -> Tensor:
        key = str(m)
        if key not in self.unimodal_maps:
            return encodings[m]
        mapped: Tensor = self.unimodal_maps[key](encodings[m])
        return mapped

    def _latent(self, encodings: Sequence[Tensor]) -> Tensor:
        """Latent vectors of all (term, modality) pairs, (b, pairs, d)."""
        parts = [linear(encodings[int(m)]) for m, linear in self.pair_maps.items()]
        latent: Tensor = torch.cat(parts, 1).unflatten(1, (-1, self.latent_dim))
        return latent

    def latents(self, encodings: Sequence[Tensor]) -> Tensor:
        """Return the normalised latent vectors of ``pairs``, by running statistics, (b, p, d)."""
        norm = cast(VectorBatchNorm, self.pair_norm)
        return F.scale_to_unit(
            self._latent(encodings) - norm.running_mean, norm.running_variance, norm.eps
        )

    def _masks(
        self, present: Sequence[Tensor | None], weight: Tensor | None
    ) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor]]]:
        """Weights per pair (b, pairs), and per order weights and masks of terms (b, t)."""
        some = next(mask for mask in present if mask is not None)
        everywhere = torch.ones_like(some)
        by_term = {}
        for k in self.orders:
            for term in self.groups[k]:
                mask = term_presence(present, term)
                by_term[term] = everywhere if mask is None else mask
        ones = torch.ones_like(some, dtype=self.pair_norm.running_mean.dtype)  # type: ignore[union-attr]
        weight = ones if weight is None else weight
        pairs = torch.stack([by_term[term] for term, _ in self.pairs], 1) * weight[:, None]
        groups = {}
        for k in self.orders:
            mask = torch.stack([by_term[term] for term in self.groups[k]], 1)
            groups[k] = (mask * weight[:, None], mask)
        return pairs, groups


def _of_all_rows(square: Tensor, share: Tensor, norm: Any) -> Tensor:
    """Return a mean square over all rows, given that over the share of them that have the term.

    What is added to it stays in proportion, so that features differ by the one factor.
    """
    eps: float = norm.eps
    return (square + eps) * share.view_as(square).to(square.dtype) - eps


def masked_weight(mask: Tensor | None, weight: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Row weights for the statistics of a modality, 0 where it is absent; None: all count 1."""
    if mask is None:
        return weight
    return mask.to(dtype) if weight is None else weight * mask


class BlockLinear(nn.Module):
    """Linear layer over the features of all terms, with block norms and relevance.

    Parameters
    ----------
    block_sizes : sequence of int
        Number of features of each term.
    n_outputs : int
        Number of outputs.
    """

    term_of_column: Tensor
    decays_all = False  # the fusion weights have their penalty

    def __init__(self, block_sizes: Sequence[int], n_outputs: int) -> None:
        super().__init__()
        self.block_sizes = list(block_sizes)
        self.weight = nn.Parameter(torch.zeros(n_outputs, sum(block_sizes)))
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        columns = torch.repeat_interleave(torch.arange(len(block_sizes)), torch.tensor(block_sizes))
        self.register_buffer("term_of_column", columns, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return outputs of shape (b, k)."""
        return nn.functional.linear(features, self.weight, self.bias)

    def contributions(self, features: Tensor) -> Tensor:
        """Contribution of every term to every output, (b, t, k); they add up to forward - bias."""
        blocks = zip(
            features.split(self.block_sizes, 1), self.weight.split(self.block_sizes, 1), strict=True
        )
        return torch.stack([z @ w.T for z, w in blocks], 1)

    @property
    def values_per_row(self) -> int:
        """Numbers that a row takes on its way through the layer."""
        return self.weight.shape[1]

    def readings(self, features: Tensor, share: Tensor, n_counted: float) -> dict[str, Tensor]:
        """Return what the layer says of its terms, given the features of the training rows."""
        return {"norms": self.norms()}

    def norms(self) -> Tensor:
        """Frobenius norm of every term's block, float64 (t,)."""
        return F.block_norms(self.weight, self.term_of_column, len(self.block_sizes))

    def penalty(self, p: float) -> Tensor:
        """Block-norm penalty without its factor."""
        return block_norm_penalty(self.weight, self.term_of_column, len(self.block_sizes), p)
