"""Terms of multimodal routing that depend on the same axes of a product of rows: a level.

Letters: n position along an axis, t, q and i terms of levels, h hidden unit, j concept, g gap (a
concept but the first); own: axes of a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from sklearn_mmfusion.inspection._buffers import Buffers
from sklearn_mmfusion.inspection._gathering import axis_masks, axis_sums
from sklearn_mmfusion.inspection._products import Product, laid
from sklearn_mmfusion.inspection._routed_terms import RoutedTerm

__all__ = ["Added", "Level", "Said", "Where", "taken"]

# What each axis adds to the hidden layers, (t, h, n), and where it is there, (t, n).
Added = Sequence[tuple[Tensor, Tensor | None]]
# Positions along each axis of the product: slices make a block, tensors a list of combinations.
Where = Sequence[slice] | Sequence[Tensor]


@dataclass(frozen=True)
class Said:
    """What the terms of a level say.

    Attributes
    ----------
    axes : tuple of int
        The axes of the level; of a list of combinations the only one.
    place : slice
        Where the terms are among those of all levels.
    hidden : Tensor of shape (t, h, *own)
        Hidden layers; 0 where a member is absent, as all that it says.
    p : Tensor of shape (t, *shape)
        Activations, with 1 in place of other axes, like the next two.
    read : Tensor of shape (t, j, *shape)
        Activation times votes as they are read out.
    within : Tensor of shape (t, g, *shape)
        How much the activated terms of the level agree with each of them.
    met : Tensor of shape (t, q, g, h, *own)
        What is to meet the hidden layers of the levels before.
    listed : Tensor of int or None
        Of a list of combinations: which positions of ``hidden`` and ``met`` belong to them. These
        are the largest, and never needed at once.
    """

    axes: tuple[int, ...]
    place: slice
    hidden: Tensor
    p: Tensor
    read: Tensor
    within: Tensor
    met: Tensor
    listed: Tensor | None = None

    def at(self, where: Where) -> Said:
        """Return what is said at some positions, of a level with one axis."""
        (axis,) = self.axes
        mine = where[axis]
        if isinstance(mine, Tensor):
            return Said(
                (0,),
                self.place,
                self.hidden,
                taken(self.p.flatten(1), mine),
                taken(self.read.flatten(2), mine),
                taken(self.within.flatten(2), mine),
                self.met,
                mine,
            )
        every = slice(None)
        along = (*[every] * axis, mine)
        return Said(
            self.axes,
            self.place,
            self.hidden[..., mine],
            self.p[(every, *along)],
            self.read[(every, every, *along)],
            self.within[(every, every, *along)],
            self.met[..., mine],
        )


@dataclass(frozen=True)
class Level:
    """Terms that depend on the same axes, with their weights side by side.

    Attributes
    ----------
    axes : tuple of int
        The axes.
    terms : list of RoutedTerm
        The terms.
    place : slice
        Where they are among those of all levels.
    n_read : int
        Number of votes as they are read out, j.
    inner : list of Tensor of shape (1 + j + q * g * h, h)
        For each term, from its hidden units to its activation logit, to what is read out, and to
        what meets those of the terms up to it.
    outer : Tensor of shape (t, q * g * h, h)
        From hidden units to what meets those of the terms of the levels before.
    """

    axes: tuple[int, ...]
    terms: list[RoutedTerm]
    place: slice
    n_read: int
    inner: list[Tensor]
    outer: Tensor

    def added(self, rows: Product) -> Added:
        """Return what each axis of the level adds to the hidden layers."""
        own = [rows.of(term.members) for term in self.terms]
        pairs = list(zip(self.terms, own, strict=True))
        sums = zip(*(axis_sums(term.inputs, some, term.bias) for term, some in pairs), strict=True)
        masks = zip(*(axis_masks(term.masks, some) for term, some in pairs), strict=True)
        return [
            (torch.stack(s).transpose(1, 2).contiguous(), _stacked(m, len(s[0])))
            for s, m in zip(sums, masks, strict=True)
        ]

    def say(self, added: Added, where: Where, buffers: Buffers) -> Said:
        """Return what is said at some positions; the hidden layers lie in the buffers."""
        hidden = self._hidden(added, where, buffers)
        flat, own = hidden.flatten(2), hidden.shape[2:]
        axes, n_axes = _laid_on(self.axes, where)
        p, read, within = self._within(flat, buffers)
        met = torch.bmm(self.outer, flat)
        return Said(
            axes,
            self.place,
            hidden,
            laid(p.unflatten(1, own), axes, n_axes, before=1),
            laid(read.unflatten(2, own), axes, n_axes, before=2),
            laid(within.unflatten(2, own), axes, n_axes, before=2),
            met.view(len(met), -1, within.shape[1], flat.shape[1], *own),
        )

    def _hidden(self, added: Added, where: Where, buffers: Buffers) -> Tensor:
        n_own = len(_laid_on(self.axes, where)[0])
        parts, masks = [], []
        for place, (axis, (sums, mask)) in enumerate(zip(self.axes, added, strict=True)):
            own = (place % n_own,)
            parts.append(laid(_chosen(sums, where[axis]), own, n_own, before=2))
            if mask is not None:
                masks.append(laid(_chosen(mask, where[axis]), own, n_own, before=1))
        if len(parts) == 1:
            total = parts[0].relu()
        else:
            shape = (max(sides) for sides in zip(*(part.shape for part in parts), strict=True))
            total = buffers.take((self.axes, "hidden"), *shape)
            torch.add(parts[0], parts[1], out=total)
            for part in parts[2:]:
                total += part
            total.relu_()
        return total.mul_(reduce(torch.logical_and, masks)[:, None]) if masks else total

    def _within(self, hidden: Tensor, buffers: Buffers) -> tuple[Tensor, Tensor, Tensor]:
        """Return activations, what is read out, and how much the terms agree with each of them.

        Shape: hidden (t, h, n) -> (t, n), (t, j, n), (t, g, n).
        """
        n_terms, width, n = hidden.shape
        p, read = hidden.new_empty(n_terms, n), hidden.new_empty(n_terms, self.n_read, n)
        agreed = []
        for i, weight in enumerate(self.inner):
            both = torch.mm(weight, hidden[i], out=buffers.take("inner", len(weight), n))
            torch.sigmoid(both[0], out=p[i])
            torch.mul(both[1 : 1 + self.n_read], p[i], out=read[i])
            met = both[1 + self.n_read :].view(i + 1, -1, width, n)
            agreed.append(met.mul_(hidden[: i + 1, None]).sum(2))
        # What a term agrees with another on is what that agrees with it on.
        found = torch.stack([some[-1] * own for some, own in zip(agreed, p, strict=True)])
        for i, some in enumerate(agreed):
            for q in range(i):
                found[i].addcmul_(some[q], p[q])
                found[q].addcmul_(some[q], p[i])
        return p, read, found


def taken(values: Tensor, where: Tensor) -> Tensor:
    """Return values at any positions of the last axis, (..., n)."""
    # Faster than by index_select, which is for axes before the last.
    return values.gather(-1, where.expand(*values.shape[:-1], -1))


def _laid_on(axes: tuple[int, ...], where: Where) -> tuple[tuple[int, ...], int]:
    """Return the axes of a level, and how many there are; a list of combinations has only one."""
    return (axes, len(where)) if isinstance(where[0], slice) else ((0,), 1)


def _chosen(values: Tensor, where: slice | Tensor) -> Tensor:
    """Return values at positions of an axis, (..., n)."""
    return values[..., where] if isinstance(where, slice) else taken(values, where)


def _stacked(masks: Sequence[Tensor | None], n: int) -> Tensor | None:
    """Return masks of terms, (n,) each, in one, (t, n); None: all of them are there."""
    if all(mask is None for mask in masks):
        return None
    everywhere = torch.ones(n, dtype=torch.bool)
    return torch.stack([everywhere if mask is None else mask for mask in masks])
