"""Features of the terms of networks of equal shape, computed side by side.

A batch statistic is one of more groups, those of every network; the formulas are those of one
network, with n t terms in place of t.

Letters: n network, b batch row, m modality, t term, l layer, d feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_mmfusion import functional as F
from sklearn_mmfusion.modules.fused import interaction_batch_norm, vector_batch_norm
from sklearn_mmfusion.modules.fusion import TermFeatures, term_presence
from sklearn_mmfusion.modules.grouping import Group

__all__ = ["StackedTerms"]


class StackedTerms:
    """Features of the terms of all networks.

    Parameters
    ----------
    stack : Group
        Where the weights are joined.
    members : sequence of TermFeatures
        Features of each network, of the same terms.
    """

    def __init__(self, stack: Group, members: Sequence[TermFeatures]) -> None:
        first: Any = members[0]
        self.n, self.first = len(members), first
        self._maps = _Maps(stack, members)
        by_length: dict[int, list[int]] = {}
        for i, norm in enumerate(first.unimodal_norms):
            by_length.setdefault(len(norm.running_mean), []).append(i)
        self._unimodal = [
            (places, _Statistics([[f.unimodal_norms[i] for i in places] for f in members]))
            for places in by_length.values()
        ]
        self._pairs = None
        if first.pair_norm is not None:
            self._pairs = _Statistics([[f.pair_norm] for f in members])
        self._orders = {
            k: _Statistics([[f.interaction_norms[str(k)]] for f in members]) for k in first.orders
        }

    def buffers(self) -> list[Tensor]:
        """Return the running statistics, (n, l, ...)."""
        norms = [norm for _, norm in self._unimodal] + list(self._orders.values())
        norms += [] if self._pairs is None else [self._pairs]
        return [buffer for norm in norms for buffer in norm.buffers.values()]

    def forward(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None,
        training: bool,
    ) -> Tensor:
        """Return features (b, n, sum of block sizes).

        Parameters
        ----------
        encodings : sequence of Tensor of shape (n, b, d_m)
            Encodings of the modalities.
        present : sequence of bool Tensor of shape (n, b) or None
            Rows in which each modality is there; None: all.
        weight : Tensor of shape (n, b), optional
            Row weights for the batch statistics.
        training : bool
            Whether to take the statistics of the batch, and to move the running ones.
        """
        rows = _Rows(present, weight, encodings[self.first.terms[0][0]].dtype, training)
        inputs, latents = self._maps.forward(encodings)
        blocks = self._unimodal_blocks(inputs, rows)
        if latents is not None:
            blocks += self._interaction_blocks(latents, rows)
        _update(rows.updates)
        return torch.cat(blocks, 2)

    def _unimodal_blocks(self, inputs: Sequence[Tensor], rows: _Rows) -> list[Tensor]:
        """Features (b, n, d) of each unimodal term; those of equal length are one operation."""
        blocks = list(inputs)
        for places, norm in self._unimodal:
            h = torch.stack([inputs[i] for i in places], 1).permute(2, 0, 1, 3)  # (b, n, t, d)
            share, mask = rows.of_terms([(self.first.unimodal[i],) for i in places])
            z = _normalised(h, share, norm, rows)
            if mask is not None:
                z = z * mask.unsqueeze(-1)
            for i, block in zip(places, z.unbind(2), strict=True):
                blocks[i] = block
        return blocks

    def _interaction_blocks(self, latents: Tensor, rows: _Rows) -> list[Tensor]:
        """Features (b, n, t d ** k) of the terms of each order."""
        first, blocks = self.first, []
        assert self._pairs is not None  # there are latent vectors
        share, _ = rows.of_terms([term for term, _ in first.pairs])
        latent = _normalised(latents, share, self._pairs, rows)
        sizes = [k * len(first.groups[k]) for k in first.orders]
        parts = latent.index_select(2, first.places).split(sizes, 2)
        for k, part in zip(first.orders, parts, strict=True):
            us = part.unflatten(2, (k, -1)).movedim(2, 0).flatten(2, 3)  # (k, b, n t, d)
            share, mask = rows.of_terms(first.groups[k])
            z = self._interactions(k, us, None if share is None else share.flatten(1), rows)
            z = z.unflatten(1, (self.n, -1))
            if mask is not None:
                z = z * mask.unsqueeze(-1)
            blocks.append(z.flatten(2))
        return blocks

    def _interactions(self, k: int, us: Tensor, share: Tensor | None, rows: _Rows) -> Tensor:
        """Interaction features (b, n t, d ** k) of latent vectors (k, b, n t, d)."""
        norm, layer = self._orders[k], self.first.interaction_norms[str(k)]
        if not rows.training:
            kept = {name: buffer.flatten(0, 2) for name, buffer in norm.terms().items()}
            moments = {axes: kept[layer._buffer_name(axes)] for axes in layer._sets}
            return F.scale_to_unit(layer._centred(us, moments), kept["running_norm"], norm.eps)
        z, size, moments = interaction_batch_norm(us, share, norm.eps)
        found = {layer._buffer_name(axes): moment for axes, moment in moments.items()}
        found["running_norm"] = size
        shaped = {name: value.unflatten(0, (self.n, 1, -1)) for name, value in found.items()}
        rows.updates.append((norm, shaped))
        return z


@dataclass
class _Rows:
    """Presence (n, b) and weights (n, b) of the rows of a pass, and the statistics it finds."""

    present: Sequence[Tensor | None]
    weight: Tensor | None
    dtype: torch.dtype
    training: bool
    updates: list[tuple[_Statistics, dict[str, Tensor]]] = field(default_factory=list)

    def of_terms(self, terms: Sequence[Sequence[int]]) -> tuple[Tensor | None, Tensor | None]:
        """Return weights and presence of terms in the rows, (b, n, t), where they are not all 1."""
        masks = [term_presence(self.present, term) for term in terms]
        some = next((mask for mask in masks if mask is not None), None)
        by_row = None if self.weight is None else self.weight.T.unsqueeze(2)
        if some is None:
            return None if by_row is None else by_row.expand(-1, -1, len(terms)), None
        whole = torch.ones_like(some)
        mask = torch.stack([whole if m is None else m for m in masks], 2).transpose(0, 1)
        return mask.to(self.dtype) if by_row is None else mask * by_row, mask


class _Maps:
    """The linear maps before the normalisation: of modalities of one shape as one product."""

    def __init__(self, stack: Group, members: Sequence[Any]) -> None:
        first = self.first = members[0]
        self.n = len(members)
        maps = (first.unimodal_maps, first.pair_maps)
        names = [str(m) for m in first.unimodal]
        shapes = [{linear.weight.shape for linear in some.values()} for some in maps]
        self.joined: nn.Parameter | None = None
        self.unimodal: dict[int, nn.Parameter] = {}
        self.pairs: dict[int, nn.Parameter] = {}
        if all(list(some) == names for some in maps) and all(len(s) == 1 for s in shapes):
            self.size = shapes[0].pop()[0]
            parts = [(f.unimodal_maps[m], f.pair_maps[m]) for f in members for m in names]
            self.joined = stack.join([[a.weight, b.weight] for a, b in parts])
            return
        for m in first.unimodal_maps:
            self.unimodal[int(m)] = stack.join([[f.unimodal_maps[m].weight] for f in members])
        for m in first.pair_maps:
            self.pairs[int(m)] = stack.join([[f.pair_maps[m].weight] for f in members])

    def forward(self, encodings: Sequence[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """Return inputs (n, b, d) of the unimodal terms, and latent vectors (b, n, pairs, d)."""
        d = self.first.latent_dim
        if self.joined is not None:
            stacked = torch.stack([encodings[m] for m in self.first.unimodal], 1).flatten(0, 1)
            mapped = torch.bmm(stacked, self.joined.transpose(1, 2)).unflatten(0, (self.n, -1))
            unimodal, pairs = mapped[..., : self.size], mapped[..., self.size :]
            latents = pairs.permute(2, 0, 1, 3).flatten(2).unflatten(2, (-1, d))
            return list(unimodal.unbind(1)), latents
        inputs = [encodings[m] for m in self.first.unimodal]
        for i, m in enumerate(self.first.unimodal):
            if m in self.unimodal:
                inputs[i] = torch.bmm(inputs[i], self.unimodal[m].transpose(1, 2))
        if not self.pairs:
            return inputs, None
        parts = [torch.bmm(encodings[m], w.transpose(1, 2)) for m, w in self.pairs.items()]
        return inputs, torch.cat(parts, 2).transpose(0, 1).unflatten(2, (-1, d))


class _Statistics:
    """Running statistics of layers (n, l), in one tensor for each name."""

    def __init__(self, rows: Sequence[Sequence[Any]]) -> None:
        first = rows[0][0]
        self.eps, self.momentum = first.eps, first.momentum
        self.buffers: dict[str, Tensor] = {}
        for name, _ in first.named_buffers():
            whole = torch.stack([torch.stack([getattr(m, name) for m in row]) for row in rows])
            self.buffers[name] = whole
            for row, places in zip(rows, whole, strict=True):
                for layer, place in zip(row, places, strict=True):
                    setattr(layer, name, place)

    def terms(self) -> dict[str, Tensor]:
        """Return the statistics proper."""
        return {name: v for name, v in self.buffers.items() if name != "batches_seen"}


def _normalised(h: Tensor, share: Tensor | None, norm: _Statistics, rows: _Rows) -> Tensor:
    """VBN of vectors (b, n, t, d), by layers (n, t) of one vector or (n, 1) of t of them."""
    if not rows.training:
        mean, variance = norm.buffers["running_mean"], norm.buffers["running_variance"]
        mean, variance = mean.view(h.shape[1:]), variance.view(h.shape[1:3])
        return F.scale_to_unit(h - mean, variance, norm.eps)
    z, mean, variance = vector_batch_norm(h, share, norm.eps)
    found = {"running_mean": mean, "running_variance": variance}
    shaped = {name: value.view(norm.buffers[name].shape) for name, value in found.items()}
    rows.updates.append((norm, shaped))
    return z


@torch.no_grad()
def _update(updates: Sequence[tuple[_Statistics, dict[str, Tensor]]]) -> None:
    """Move running statistics, of layers that have seen equally many batches, towards a batch's."""
    if not updates:
        return
    counts = [norm.buffers["batches_seen"] for norm, _ in updates]
    torch._foreach_add_(counts, 1)
    newest = (1.0 / counts[0].flatten()[0]).clamp_min(updates[0][0].momentum)
    pairs = [(norm.buffers[name], v) for norm, named in updates for name, v in named.items()]
    buffers, values = [list(part) for part in zip(*pairs, strict=True)]
    torch._foreach_lerp_(buffers, values, [newest.to(buffers[0].dtype)] * len(buffers))
