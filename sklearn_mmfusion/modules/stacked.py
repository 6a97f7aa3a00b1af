"""Networks of equal shape, computed side by side: members of a bag, refits with other seeds.

A step of a small network costs more to call than to compute, and so do the steps of several one
after another. Here each operation is done once for all: a stack lends the members' weights and
running statistics a common place in memory, as :class:`~sklearn_mmfusion.modules.grouping.Group`
does for encoders. Each member has rows of its own, and draws its dropout from its own generator in
the order in which it would alone: it is trained as it would be alone, to round-off.

Letters: n network, b batch row, m modality, t term, d feature, k output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_mmfusion import functional as F
from sklearn_mmfusion.modules.dropout import Dropout
from sklearn_mmfusion.modules.encoders import IdentityModule, LinearModule, MLPModule
from sklearn_mmfusion.modules.fused import (
    FUSED_ORDERS,
    block_norm_penalty,
    interaction_batch_norm,
    vector_batch_norm,
)
from sklearn_mmfusion.modules.fusion import BlockLinear, TermFeatures, term_presence
from sklearn_mmfusion.modules.grouping import Group, alike_encoders
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork

__all__ = ["NetworkStack", "can_be_stacked"]


def can_be_stacked(network: FusionNetwork) -> bool:
    """Whether all of a network is made of layers that a stack computes side by side."""
    if network.is_joint or type(network.features) is not TermFeatures:
        return False
    if type(network.fusion) is not BlockLinear or network.modality_dropout:
        return False
    encoders = [network.encoders[m] for m in network.used]
    return all(
        type(encoder) in (MLPModule, LinearModule, IdentityModule)
        and all(parameter.requires_grad for parameter in encoder.parameters())
        for encoder in encoders
    )


class NetworkStack(Group):
    """Networks of one plan, but for seeds and scalings, computed side by side.

    Parameters
    ----------
    networks : sequence of FusionNetwork
        Networks for which :func:`can_be_stacked` holds, with the same layers and dtype.
    """

    def __init__(self, networks: Sequence[FusionNetwork]) -> None:
        super().__init__()
        self.networks = list(networks)
        self.dropout_strength = 1.0
        first = self.networks[0]
        self.term_of_column, self.n_terms = first.fusion.term_of_column, len(first.features.terms)
        self._units: list[tuple[list[int], _Perceptrons | _LinearMaps]] = []
        for positions in alike_encoders(list(first.encoders), first.used):
            rows: Any = [[net.encoders[m] for m in positions] for net in self.networks]
            if type(rows[0][0]) is MLPModule:
                self._units.append((positions, _Perceptrons(self, rows)))
            elif type(rows[0][0]) is LinearModule:
                self._units.append((positions, _LinearMaps(self, rows)))
        self._terms = _Terms(self, [net.features for net in self.networks])
        self.weight = self.join([[net.fusion.weight] for net in self.networks])
        self.bias = self.join([[net.fusion.bias] for net in self.networks])
        places = [leaf.detach() for leaf in self.leaves] + self._terms.buffers()
        # All that training moves, (n, ...), as views.
        self.arrays = [place.view(len(self.networks), -1) for place in places]

    def trained_parameters(self) -> Iterator[tuple[str, nn.Parameter, bool]]:
        """Name each tensor that training moves, and say whether it holds matrices."""
        for name, parameter in self.networks[0].named_parameters():
            leaf = self.replacing(parameter)
            if parameter.requires_grad and leaf is not None and leaf is not parameter:
                yield name, leaf, parameter.ndim > 1

    def forward(self, batch: FusionBatch, *, training: bool) -> Tensor:
        """Return outputs (n, b, k) of prepared values (n, b, d) per modality."""
        strength = self.dropout_strength if training else 0.0
        encodings = list(batch.values)
        for positions, unit in self._units:
            encoded = unit.forward([batch.values[m] for m in positions], strength)
            for m, part in zip(positions, encoded, strict=True):
                encodings[m] = part
        features = self._terms.forward(encodings, batch.present, batch.weight, training)
        weight = self.weight.transpose(1, 2)
        return torch.baddbmm(self.bias.unsqueeze(1), features.transpose(0, 1), weight)

    def penalties(self, p: float) -> Tensor:
        """Return the block-norm penalty of each network, (n,)."""
        return block_norm_penalty(self.weight, self.term_of_column, self.n_terms, p)


# -- encoders ---------------------------------------------------------------------------------


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


class _Perceptrons:
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


class _LinearMaps:
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
    if p == 0.0:
        return x
    n, rows = len(dropouts), x.unflatten(0, (len(dropouts), -1))
    shape = (1 if first.shared else x.shape[1], rows.shape[1], x.shape[2])
    mask = torch.empty(n, *shape)
    for part, dropout in zip(mask, dropouts, strict=True):
        part.uniform_(0, 1, generator=dropout.generator)
    kept = mask.ge_(p).div_(1.0 - p).transpose(1, 2).to(x.dtype)
    return (rows * kept).flatten(0, 1)


# -- features of terms ------------------------------------------------------------------------


class _Terms:
    """Features of the terms of all networks."""

    def __init__(self, stack: Group, members: Sequence[TermFeatures]) -> None:
        first = self.first = members[0]
        self.n = len(members)
        self.names = [str(m) for m in first.unimodal]
        whole = [list(maps) == self.names for maps in (first.unimodal_maps, first.pair_maps)]
        self.joined: nn.Parameter | None = None
        self.unimodal: dict[int, nn.Parameter] = {}
        self.pairs: dict[int, nn.Parameter] = {}
        shapes = [
            {linear.weight.shape for linear in maps.values()}
            for maps in (first.unimodal_maps, first.pair_maps)
        ]
        if all(whole) and all(len(s) == 1 for s in shapes):
            self.joined = stack.join(
                [
                    [f.unimodal_maps[m].weight, f.pair_maps[m].weight]
                    for f in members
                    for m in self.names
                ]
            )
            self.size = next(iter(shapes[0]))[0]
        else:
            for place, attribute in ((self.unimodal, "unimodal_maps"), (self.pairs, "pair_maps")):
                for m in getattr(first, attribute):
                    place[int(m)] = stack.join([[getattr(f, attribute)[m].weight] for f in members])
        # Running statistics: unimodal norms by length, the pairs, and each order.
        by_length: dict[int, list[int]] = {}
        for i, norm in enumerate(first.unimodal_norms):
            by_length.setdefault(len(norm.running_mean), []).append(i)
        self.lengths = list(by_length.values())
        self.unimodal_norms = [
            _Statistics([[f.unimodal_norms[i] for i in places] for f in members])
            for places in self.lengths
        ]
        self.pair_norm = None
        self.order_norms: dict[int, _Statistics] = {}
        if first.pair_norm is not None:
            self.pair_norm = _Statistics([[f.pair_norm] for f in members])
            self.order_norms = {
                k: _Statistics([[f.interaction_norms[str(k)]] for f in members])
                for k in first.orders
            }

    def forward(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None,
        training: bool,
    ) -> Tensor:
        """Return features (b, n, sum of block sizes), from encodings (n, b, d) per modality."""
        first = self.first
        updates: list[tuple[_Statistics, dict[str, Tensor]]] = []
        inputs, latents = self._mapped(encodings)
        blocks = self._unimodal_blocks(inputs, present, weight, training, updates)
        by_row = None if weight is None else weight.T
        if latents is not None:
            masked = any(mask is not None for mask in present)
            pairs = by_row
            if masked:
                pairs = self._weights([t for t, _ in first.pairs], present, weight)[0]
            latent = self._pair_features(latents, pairs, training, updates)
            sizes = [k * len(first.groups[k]) for k in first.orders]
            parts = latent.index_select(2, first.places).split(sizes, 2)
            for k, part in zip(first.orders, parts, strict=True):
                us = part.unflatten(2, (k, -1)).movedim(2, 0).flatten(2, 3)  # (k, b, n t, d)
                n_terms = len(first.groups[k])
                share, mask = None, None
                if masked:
                    share, mask = self._weights(first.groups[k], present, weight)
                    share = share.flatten(1)
                elif by_row is not None:
                    share = by_row.repeat_interleave(n_terms, 1)
                z = self._interactions(k, us, share, training, updates)
                z = z.unflatten(1, (self.n, n_terms))
                if mask is not None:
                    z = z * mask.unsqueeze(-1)
                blocks.append(z.flatten(2))
        _update(updates)
        return torch.cat(blocks, 2)

    def buffers(self) -> list[Tensor]:
        """Return the running statistics, networks first."""
        norms = [*self.unimodal_norms, *self.order_norms.values()]
        norms += [] if self.pair_norm is None else [self.pair_norm]
        return [buffer for norm in norms for buffer in norm.buffers.values()]

    def _mapped(self, encodings: Sequence[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """Return inputs (n, b, d) of the unimodal terms, and latent vectors (b, n, pairs, d)."""
        d = self.first.latent_dim
        if self.joined is not None:
            stacked = torch.stack([encodings[m] for m in self.first.unimodal], 1).flatten(0, 1)
            mapped = torch.bmm(stacked, self.joined.transpose(1, 2)).unflatten(0, (self.n, -1))
            unimodal, pairs = mapped[..., : self.size], mapped[..., self.size :]
            latent = pairs.permute(2, 0, 1, 3).flatten(2).unflatten(2, (-1, d))
            return list(unimodal.unbind(1)), latent
        inputs = [
            torch.bmm(encodings[m], self.unimodal[m].transpose(1, 2))
            if m in self.unimodal
            else encodings[m]
            for m in self.first.unimodal
        ]
        if not self.pairs:
            return inputs, None
        parts = [torch.bmm(encodings[m], w.transpose(1, 2)) for m, w in self.pairs.items()]
        return inputs, torch.cat(parts, 2).transpose(0, 1).unflatten(2, (-1, d))

    def _unimodal_blocks(
        self,
        inputs: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None,
        training: bool,
        updates: list[Any],
    ) -> list[Tensor]:
        blocks: dict[int, Tensor] = {}
        for places, norm in zip(self.lengths, self.unimodal_norms, strict=True):
            h = torch.stack([inputs[i] for i in places], 1).permute(2, 0, 1, 3)  # (b, n, m, d)
            terms = [(self.first.unimodal[i],) for i in places]
            masked = any(present[m] is not None for (m,) in terms)
            share, mask = None if weight is None else weight.T, None
            if masked:
                share, mask = self._weights(terms, present, weight)
            if training:
                z, mean, variance = vector_batch_norm(h, share, norm.eps)
                found = {"running_mean": mean, "running_variance": variance}
                updates.append((norm, found))
            else:
                mean, variance = norm.buffers["running_mean"], norm.buffers["running_variance"]
                z = F.scale_to_unit(h - mean, variance, norm.eps)
            if mask is not None:
                z = z * mask.unsqueeze(-1)
            blocks.update(zip(places, z.unbind(2), strict=True))
        return [blocks[i] for i in range(len(inputs))]

    def _pair_features(
        self, h: Tensor, share: Tensor | None, training: bool, updates: list[Any]
    ) -> Tensor:
        norm = self.pair_norm
        assert norm is not None
        if training:
            z, mean, variance = vector_batch_norm(h, share, norm.eps)
            found = {"running_mean": mean.unsqueeze(1), "running_variance": variance.unsqueeze(1)}
            updates.append((norm, found))
            return z
        mean, variance = norm.buffers["running_mean"], norm.buffers["running_variance"]
        return F.scale_to_unit(h - mean.squeeze(1), variance.squeeze(1), norm.eps)

    def _interactions(
        self, k: int, us: Tensor, share: Tensor | None, training: bool, updates: list[Any]
    ) -> Tensor:
        """Return interaction features (b, n t, d ** k) of latent vectors (k, b, n t, d)."""
        norm = self.order_norms[k]
        layer: Any = self.first.interaction_norms[str(k)]
        name = layer._buffer_name
        if not training:
            moments = {a: norm.buffers[name(a)].flatten(0, 2) for a in layer._sets}
            features = layer._centred(us, moments)
            return F.scale_to_unit(features, norm.buffers["running_norm"].flatten(), norm.eps)
        if k in FUSED_ORDERS:
            z, size, moments = interaction_batch_norm(us, share, norm.eps)
        else:
            moments = F.interaction_moments(list(us), share, centred=True)
            features = layer._centred(us, moments)
            size = F.weighted_mean(features.square().sum(-1), share)
            z = F.scale_to_unit(features, size, norm.eps)
        found = {"running_norm": size, **{name(axes): m for axes, m in moments.items()}}
        updates.append((norm, {key: v.unflatten(0, (self.n, 1, -1)) for key, v in found.items()}))
        return z

    def _weights(
        self,
        terms: Sequence[Sequence[int]],
        present: Sequence[Tensor | None],
        weight: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return weights and presence of terms in the rows of each network, (b, n, t)."""
        some = next(mask for mask in present if mask is not None)
        masks = [term_presence(present, term) for term in terms]
        mask = torch.stack([torch.ones_like(some) if m is None else m for m in masks], 2)
        mask = mask.transpose(0, 1)
        if weight is None:
            return mask.to(self.first.unimodal_norms[0].running_mean.dtype), mask
        return mask * weight.T.unsqueeze(2), mask


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


@torch.no_grad()
def _update(updates: Sequence[tuple[_Statistics, dict[str, Tensor]]]) -> None:
    if not updates:
        return
    counts = [norm.buffers["batches_seen"] for norm, _ in updates]
    torch._foreach_add_(counts, 1)
    newest = (1.0 / counts[0].reshape(-1)[0]).clamp_min(updates[0][0].momentum)
    pairs = [(norm.buffers[k], v) for norm, named in updates for k, v in named.items()]
    buffers, values = [list(part) for part in zip(*pairs, strict=True)]
    torch._foreach_lerp_(buffers, values, [newest.to(buffers[0].dtype)] * len(buffers))
