"""Encoders of equal shape, computed side by side: one matrix product in place of one for each.

A group lends its members' weights a common place in memory. The group's own tensors, which the
optimiser trains, lie over it, so that each member's parameters are views of them and stay right
at every moment: state dictionaries, snapshots and checkpoints do not know of groups.

Letters: g member of a group, b batch row, d features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from sklearn_mmfusion.modules.encoders import MLPModule

__all__ = ["Group", "MLPGroup", "MapGroup", "alike_encoders", "group_encoders"]


class Group:
    """Tensors that are trained in place of several parameters, which are views of them.

    Attributes
    ----------
    leaves : list of Parameter
        The tensors.
    """

    def __init__(self) -> None:
        self.leaves: list[nn.Parameter] = []
        self._replaced: list[tuple[nn.Parameter, nn.Parameter | None]] = []

    def replacing(self, parameter: nn.Parameter) -> nn.Parameter | None:
        """Return what is trained in place of a parameter: itself where it stays apart.

        Of the parameters that have become one the first stands for all, and the others give None.
        """
        for member, leaf in self._replaced:
            if member is parameter:
                return leaf
        return parameter

    def join(self, rows: Sequence[Sequence[nn.Parameter]]) -> nn.Parameter:
        """Return a tensor that lies over the memory of some parameters, which move there.

        Parameters
        ----------
        rows : sequence of sequence of Parameter
            For each member one parameter, or several that follow each other along the first axis.
        """
        parts = [torch.cat([p.detach() for p in row]) for row in rows]
        leaf = nn.Parameter(torch.stack(parts))
        for place, row in zip(leaf.detach(), rows, strict=True):
            for parameter, part in zip(row, place.split([len(p) for p in row]), strict=True):
                parameter.data = part
                self._replaced.append((parameter, leaf if parameter is rows[0][0] else None))
        self.leaves.append(leaf)
        return leaf


class MLPGroup(Group):
    """Multilayer perceptrons of equal width, computed side by side.

    Parameters
    ----------
    positions : sequence of int
        Positions of the modalities.
    members : sequence of MLPModule
        Their encoders. First layers may differ in their number of inputs; these stay apart then.
    """

    def __init__(self, positions: Sequence[int], members: Sequence[MLPModule]) -> None:
        super().__init__()
        self.positions, self.members = list(positions), list(members)
        self._layers = [
            self._joined(layers) for layers in zip(*(m.layers for m in members), strict=True)
        ]
        skips = [member.skip for member in members]
        self._skip = None if skips[0] is None else self._joined(skips)

    def forward(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the encodings (b, k) of prepared values (b, d) of the members."""
        first = self.members[0]
        if len({value.shape[1] for value in values}) == 1:
            x: Any = _dropped(torch.stack(list(values)), first.input_dropout)
        else:
            x = [m.input_dropout(v) for m, v in zip(self.members, values, strict=True)]
        encoded = x
        for layer, joined in zip(first.layers, self._layers, strict=True):
            if joined is not None:
                encoded = joined(encoded)
            elif hasattr(layer, "draw"):
                encoded = _dropped(encoded, layer)
            else:
                encoded = layer(encoded)
        if self._skip is not None:
            encoded = encoded + self._skip(x)
        return list(encoded.unbind(0))

    def _joined(self, layers: Sequence[nn.Module | None]) -> _Linears | None:
        if not isinstance(layers[0], nn.Linear):
            return None
        linears = [cast(nn.Linear, layer) for layer in layers]
        if len({layer.in_features for layer in linears}) > 1:
            return _Linears(linears, None, None)
        weight = self.join([[_weight(layer)] for layer in linears])
        bias = None
        if linears[0].bias is not None:
            bias = self.join([[layer.bias] for layer in linears])
        return _Linears(linears, weight, bias)


class _Linears:
    """The linear layers of the members at one depth."""

    def __init__(
        self, layers: Sequence[nn.Linear], weight: nn.Parameter | None, bias: nn.Parameter | None
    ) -> None:
        self.layers, self.weight, self.bias = list(layers), weight, bias

    def __call__(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        if self.weight is None:
            return torch.stack([layer(v) for layer, v in zip(self.layers, x, strict=True)])
        assert isinstance(x, Tensor)  # layers of equal inputs follow what was stacked
        if self.bias is None:
            return torch.bmm(x, self.weight.transpose(1, 2))
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.transpose(1, 2))


class MapGroup(Group):
    """Linear maps without intercept of several modalities, two of each, as one product.

    Parameters
    ----------
    positions : sequence of int
        Positions of the modalities.
    first, second : sequence of nn.Linear
        Maps of each modality; each sequence of one shape.
    """

    def __init__(
        self, positions: Sequence[int], first: Sequence[nn.Linear], second: Sequence[nn.Linear]
    ) -> None:
        super().__init__()
        self.positions, self.size = list(positions), first[0].out_features
        pairs = zip(first, second, strict=True)
        self.weight = self.join([[_weight(a), _weight(b)] for a, b in pairs])

    def forward(self, encodings: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map encodings (b, d): to (g, b, k) by the first maps, to (b, g k) by the second."""
        stacked = torch.stack([encodings[m] for m in self.positions])
        mapped = torch.bmm(stacked, self.weight.transpose(1, 2))
        return mapped[:, :, : self.size], mapped[:, :, self.size :].transpose(0, 1).flatten(1)


def _weight(linear: nn.Linear) -> nn.Parameter:
    return cast(nn.Parameter, linear.weight)


def _dropped(x: Tensor, dropout: Any) -> Tensor:
    """Apply one mask to the rows of all members, (g, b, d) as (b, g, d)."""
    if not dropout.training or dropout.p == 0.0:
        return x
    kept: Tensor = dropout(x.transpose(0, 1)).transpose(0, 1)
    return kept


def group_encoders(encoders: Sequence[nn.Module], used: Sequence[int]) -> list[MLPGroup]:
    """Group the encoders that can be computed side by side.

    Parameters
    ----------
    encoders : sequence of nn.Module
        One per modality.
    used : sequence of int
        Modalities that a term has.

    Returns
    -------
    list of MLPGroup
        Groups of at least two perceptrons of equal widths, activation and dropout, all of whose
        weights are trained.
    """
    return [
        MLPGroup(members, [cast(MLPModule, encoders[m]) for m in members])
        for members in alike_encoders(encoders, used)
        if len(members) > 1
    ]


def alike_encoders(encoders: Sequence[nn.Module], used: Sequence[int]) -> list[list[int]]:
    """Return the positions of encoders in the order in which a network computes them.

    Those that can be computed side by side are together, and come first.
    """
    alike: dict[object, list[int]] = {}
    for m in used:
        encoder = encoders[m]
        key: object = m
        if type(encoder) is MLPModule and all(p.requires_grad for p in encoder.parameters()):
            key = tuple(_signature(encoder))
        alike.setdefault(key, []).append(m)
    return sorted(alike.values(), key=lambda members: len(members) == 1)


def _signature(encoder: MLPModule) -> Iterator[object]:
    """All that members of a group have in common; not the number of inputs."""
    yield encoder.input_dropout.p
    yield encoder.skip is not None
    for layer in encoder.layers:
        yield layer.out_features if isinstance(layer, nn.Linear) else repr(layer)
    yield next(encoder.parameters()).dtype
