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

__all__ = ["Added", "Level", "Said", "Where"]

# What each axis adds to the hidden layers, (t, n, h), and where it is there, (t, n).
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
    hidden : Tensor of shape (t, *own, h)
        Hidden layers; 0 where a member is absent, as all that it says.
    p : Tensor of shape (t, *shape)
        Activations, with 1 in place of other axes, like the next two.
    read : Tensor of shape (t, j, *shape)
        Activation times votes as they are read out.
    within : Tensor of shape (t, t, g, *shape)
        How the terms agree with each other.
    met : Tensor of shape (t, *own, q, g, h)
        What is to meet the hidden layers of the levels before.
    listed : Tensor of int or None
        Of a list of combinations: which rows of ``met`` belong to them. It is the largest of all
        these, and never needed at once.
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
                self.hidden.index_select(1, mine),
                self.p.flatten(1).index_select(1, mine),
                self.read.flatten(2).index_select(2, mine),
                self.within.flatten(3).index_select(3, mine),
                self.met,
                mine,
            )
        every = slice(None)
        along = (*[every] * axis, mine)
        return Said(
            self.axes,
            self.place,
            self.hidden[:, mine],
            self.p[(every, *along)],
            self.read[(every, every, *along)],
            self.within[(every, every, every, *along)],
            self.met[:, mine],
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
    n_concepts : int
        Number of concepts.
    inner : list of Tensor of shape (h, q * g * h + 1 + j)
        For each term, from its hidden units to what meets those of the terms up to it, and to its
        activation logit and what is read out.
    outer : Tensor of shape (t, h, q * g * h)
        From hidden units to what meets those of the terms of the levels before.
    """

    axes: tuple[int, ...]
    terms: list[RoutedTerm]
    place: slice
    n_concepts: int
    inner: list[Tensor]
    outer: Tensor

    def added(self, rows: Product) -> Added:
        """Return what each axis of the level adds to the hidden layers."""
        own = [rows.of(term.members) for term in self.terms]
        pairs = list(zip(self.terms, own, strict=True))
        sums = zip(*(axis_sums(term.inputs, some, term.bias) for term, some in pairs), strict=True)
        masks = zip(*(axis_masks(term.masks, some) for term, some in pairs), strict=True)
        return [(torch.stack(s), _stacked(m, len(s[0]))) for s, m in zip(sums, masks, strict=True)]

    def say(self, added: Added, where: Where, buffers: Buffers) -> Said:
        """Return what is said at some positions; the hidden layers lie in the buffers."""
        hidden = self._hidden(added, where, buffers)
        flat = hidden.flatten(1, -2)
        (axes, n_axes), (_, *own, width) = _laid_on(self.axes, where), hidden.shape
        within, said = self._within(flat, buffers)
        said = laid(said.unflatten(-1, own), axes, n_axes, before=2)
        p = torch.sigmoid(said[:, 0])
        met = torch.bmm(flat, self.outer).view(*hidden.shape[:-1], -1, *within.shape[2:3], width)
        return Said(
            axes,
            self.place,
            hidden,
            p,
            said[:, 1:] * p[:, None],
            laid(within.unflatten(-1, own), axes, n_axes, before=3),
            met,
        )

    def _hidden(self, added: Added, where: Where, buffers: Buffers) -> Tensor:
        n_own = len(_laid_on(self.axes, where)[0])
        parts, masks = [], []
        for place, (axis, (sums, mask)) in enumerate(zip(self.axes, added, strict=True)):
            own = (place % n_own,)
            parts.append(laid(_chosen(sums, where[axis]), own, n_own, before=1))
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
        return total.mul_(reduce(torch.logical_and, masks)[..., None]) if masks else total

    def _within(self, hidden: Tensor, buffers: Buffers) -> tuple[Tensor, Tensor]:
        """Return how the terms agree with each other, (t, t, g, n), and what they say.

        That is activation logits and votes as they are read out, (t, 1 + j, n).
        """
        n_terms, n, width = hidden.shape
        n_gaps, n_said = self.n_concepts - 1, self.n_concepts + 1
        found = hidden.new_empty(n_terms, n_terms, n_gaps, n)
        said = hidden.new_empty(n_terms, n_said, n)
        for i, weight in enumerate(self.inner):
            both = buffers.take((self.axes, "inner"), n, weight.shape[1])
            torch.mm(hidden[i], weight, out=both)
            said[i] = both[:, -n_said:].T
            met = both[:, :-n_said].unflatten(1, (i + 1, n_gaps, width))
            for q in range(i + 1):
                # What a term agrees with another on is what that agrees with it on.
                found[i, q] = found[q, i] = torch.bmm(met[:, q], hidden[q][..., None])[..., 0].T
        return found, said


def _laid_on(axes: tuple[int, ...], where: Where) -> tuple[tuple[int, ...], int]:
    """Return the axes of a level, and how many there are; a list of combinations has only one."""
    return (axes, len(where)) if isinstance(where[0], slice) else ((0,), 1)


def _chosen(values: Tensor, where: slice | Tensor) -> Tensor:
    """Return values at positions of an axis, (t, n, ...)."""
    return values[:, where] if isinstance(where, slice) else values.index_select(1, where)


def _stacked(masks: Sequence[Tensor | None], n: int) -> Tensor | None:
    """Return masks of terms, (n,) each, in one, (t, n); None: all of them are there."""
    if all(mask is None for mask in masks):
        return None
    everywhere = torch.ones(n, dtype=torch.bool)
    return torch.stack([everywhere if mask is None else mask for mask in masks])
