r"""Multimodal routing with one adjustment, without its votes.

The adjustment reads of the votes no more than how their inner products differ between concepts,

.. math:: g_{ti} = \langle v_{tj}, v_{ij} \rangle - \langle v_{t0}, v_{i0} \rangle
    = h_t^\top (U_{tj} U_{ij}^\top - U_{t0} U_{i0}^\top)\, h_i

which is a form in the hidden layers of two terms. A hidden layer has one value for each position
of the axes that its modalities lie on, so that most of these forms are small matrix products.

Letters: n row, t, q and i terms of levels, h hidden unit, j concept, g gap (a concept but the
first), u term of a level, k output; own: axes of a level, shape: all axes of the product.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property, reduce

import numpy as np
import torch
from torch import Tensor

from sklearn_mmfusion.inspection._buffers import Buffers
from sklearn_mmfusion.inspection._products import Product, grid, laid
from sklearn_mmfusion.inspection._routed_levels import Added, Level, Said, Where, taken
from sklearn_mmfusion.inspection._routed_terms import RoutedTerm

__all__ = ["GapRouting"]

# Numbers of a block of combinations, of one kind: 4 MB; smaller ones cost more calls.
_VALUES = 2**19
_MET_VALUES = 2**24  # numbers that all positions of an axis make to meet others: 128 MB

# A level, what is added to its hidden layers, and what it says everywhere, where that is kept.
_Ready = tuple[Level, Added, Said | None]


class GapRouting:
    """Routing with one adjustment as a function of a product of rows.

    Parameters
    ----------
    terms : sequence of RoutedTerm
        The terms.
    scale : float
        Factor in the softmax.
    is_contrast : bool
        Whether there are two concepts, of which the second minus the first is the output.
    """

    def __init__(self, terms: Sequence[RoutedTerm], scale: float, is_contrast: bool) -> None:
        self.terms = list(terms)
        self.is_contrast = is_contrast
        self._n_hidden, self._n_concepts, _ = terms[0].votes.shape
        self._factor = scale / self._n_concepts
        # Of the last product alone: each arrangement holds all forms once more.
        self._levels: dict[tuple[int, ...], list[Level]] = {}
        self._buffers = Buffers()

    def __call__(self, rows: Product) -> Tensor:
        """Return the sums of what is read out of all terms, (*shape, k)."""
        n_outputs = 1 if self.is_contrast else self._n_concepts
        sums = self.terms[0].bias.new_empty(n_outputs, *rows.shape)
        if len(rows.shape) == 1:
            parts = _lists(rows, self._step(self._every_row, 1))
            self._fill(sums, self._every_row, parts)
            return sums.T
        n_met = len(self.terms) ** 2 * (self._n_concepts - 1) * self._n_hidden
        for where, block in rows.blocks(sums[0].numel(), longest=max(64, _MET_VALUES // n_met)):
            ready = self._ready(block)
            step = self._step(ready, len(rows.shape))
            parts = ((part, part) for part, _ in block.blocks(step, keeps_rows=True))
            self._fill(sums[(slice(None), *where)], ready, parts)
        return sums.movedim(0, -1)

    def _fill(
        self,
        sums: Tensor,
        ready: Sequence[_Ready],
        parts: Iterable[tuple[Sequence[slice], Where]],
    ) -> None:
        """Set the sums of all parts: where they go, (k, *shape), and the positions."""
        for target, where in parts:
            said = [
                level.say(added, where, self._buffers) if alone is None else alone.at(where)
                for level, added, alone in ready
            ]
            part = sums[(slice(None), *target)]
            scores = _scores(said, part.shape[1:], self._buffers)
            part.copy_(_contrast(said, scores) if self.is_contrast else _sums(said, scores))

    def _ready(self, rows: Product) -> list[_Ready]:
        """Return the levels of a product: what depends on one axis is said for all of it."""
        everywhere = (slice(None),) * len(rows.shape)
        ready: list[_Ready] = []
        for level in self._arranged(rows.axes):
            added = level.added(rows)
            alone = level.say(added, everywhere, Buffers()) if len(level.axes) == 1 else None
            ready.append((level, added, alone))
        return ready

    @cached_property
    def _every_row(self) -> list[_Ready]:
        """Levels of the product of all rows of each modality, to take lists from."""
        n_modalities = 1 + max(m for term in self.terms for m in term.members)
        return self._ready(grid([np.arange(len(self.terms[0].inputs[0]))] * n_modalities))

    def _step(self, ready: Sequence[_Ready], n_axes: int) -> int:
        """Return the combinations of a block, by what levels with so many axes make of one."""
        spanning = sum(len(level.terms) for level, *_ in ready if len(level.axes) >= n_axes)
        n_gaps, n_hidden = self._n_concepts - 1, self._n_hidden
        return max(64, _VALUES // max(n_gaps * n_hidden * spanning, n_gaps * len(self.terms)))

    @cached_property
    def _forms(self) -> Tensor:
        """Forms of all pairs of terms, the second's units to what meets the first's.

        Shape: (t, i, g, h, h).
        """
        votes = torch.stack([term.votes.transpose(0, 1) for term in self.terms])  # (t, j, h, c)
        flat = votes.transpose(0, 1).flatten(1, 2)
        products = torch.bmm(flat, flat.transpose(1, 2)).unflatten(1, votes.shape[::2])
        products = products.unflatten(3, votes.shape[::2])
        return ((products[1:] - products[:1]) * self._factor).permute(1, 3, 0, 2, 4)

    @cached_property
    def _reads(self) -> list[Tensor]:
        """What makes activation logit and votes as they are read out of each term, (1 + j, h).

        For a contrast, these are what a share of the second concept adds, and what is there
        without any.
        """
        reads = [term.read.T for term in self.terms]
        if self.is_contrast:
            return [torch.stack([read[0], read[1] + read[2], -read[1]]) for read in reads]
        return reads

    def _arranged(self, axes: tuple[int, ...]) -> list[Level]:
        """Return the levels of a product with given axes, those with most axes first."""
        if axes not in self._levels:
            by_axes: dict[tuple[int, ...], list[int]] = {}
            for t, term in enumerate(self.terms):
                by_axes.setdefault(tuple(sorted({axes[m] for m in term.members})), []).append(t)
            levels: list[Level] = []
            before: list[int] = []
            for own in sorted(by_axes, key=len, reverse=True):
                levels.append(self._level(own, by_axes[own], before))
                before = before + by_axes[own]
            self._levels = {axes: levels}
        return self._levels[axes]

    def _level(self, axes: tuple[int, ...], terms: list[int], before: Sequence[int]) -> Level:
        inner = [
            torch.cat([self._reads[t], self._forms[terms[: i + 1], t].flatten(0, 2)])
            for i, t in enumerate(terms)
        ]
        outer = self._forms[before, :][:, terms].transpose(0, 1).flatten(1, 3)
        place = slice(len(before), len(before) + len(terms))
        return Level(axes, [self.terms[t] for t in terms], place, self._n_concepts, inner, outer)


def _lists(rows: Product, step: int) -> Iterable[tuple[Sequence[slice], Where]]:
    """Yield parts of a list of combinations, and the rows of each modality in them."""
    for where, block in rows.blocks(step):
        yield where, [torch.from_numpy(row) for row in block.rows]


def _scores(said: Sequence[Said], shape: Sequence[int], buffers: Buffers) -> Tensor:
    """Return how much better each concept agrees with the terms than the first, (t, g, *shape)."""
    scores = buffers.take("scores", said[-1].place.stop, said[0].within.shape[1], *shape)
    for i, level in enumerate(said):
        mine = scores[level.place]
        mine.copy_(level.within.expand_as(mine))
        for other in said[:i]:
            for t, hidden in enumerate(other.hidden.unbind(), other.place.start):
                hidden = hidden if other.listed is None else taken(hidden, other.listed)
                met = level.met[:, t]
                agreed = _agreement(hidden, other.axes, met, level, buffers)
                mine.addcmul_(agreed, other.p[t - other.place.start])
                theirs = scores[t]
                for found, p in zip(agreed.unbind(), level.p.unbind(), strict=True):
                    theirs.addcmul_(found, p)
    return scores


def _agreement(
    hidden: Tensor, axes: tuple[int, ...], met: Tensor, level: Said, buffers: Buffers
) -> Tensor:
    """Return the forms in a term and those of a level, (u, g, *shape).

    There is 1 in place of axes that neither has.
    """
    n_axes = level.p.ndim - 1
    if level.listed is None and not _spans(axes, level.axes):
        both = sorted({*axes, *level.axes})
        return laid(_products(hidden, axes, met, level.axes), both, n_axes, before=2)
    # Each position along what both have last meets another matrix: number by number.
    found = []
    for some in met.unbind():
        if level.listed is None:
            some = laid(some, [axes.index(axis) for axis in level.axes], len(axes), before=2)
        else:
            some = taken(some, level.listed)
        own = buffers.take("met", len(some), *hidden.shape)
        found.append(torch.mul(some, hidden, out=own).sum(1))
    summed = found[0][None] if len(found) == 1 else torch.stack(found)
    return laid(summed, axes, n_axes, before=2)


def _spans(axes: Sequence[int], some: Sequence[int]) -> bool:
    """Whether axes hold some others, and both have the same one last."""
    return set(some) < set(axes) and axes[-1] == some[-1]


def _products(hidden: Tensor, one: Sequence[int], met: Tensor, two: Sequence[int]) -> Tensor:
    """Return products of what lies on some axes and on others, (u, g, *union of both)."""
    shared = [axis for axis in one if axis in two]
    own = [axis for axis in one if axis not in two]
    others = [axis for axis in two if axis not in one]
    n_shared, width = len(shared), len(hidden)
    left = met.permute(
        *(3 + two.index(a) for a in shared), 0, 1, *(3 + two.index(a) for a in others), 2
    )
    right = hidden.permute(*(1 + one.index(a) for a in shared), 0, *(1 + one.index(a) for a in own))
    # A product of many matrices is slow where no axis of theirs lies side by side.
    rows = left.reshape(math.prod(left.shape[:n_shared]), -1, width).contiguous()
    columns = right.reshape(len(rows), width, -1)
    columns = columns if 1 in columns.stride()[1:] else columns.contiguous()
    found = torch.bmm(rows, columns).view(*left.shape[:-1], *right.shape[n_shared + 1 :])
    order = [*shared, None, None, *others, *own]
    return found.permute(n_shared, n_shared + 1, *(order.index(a) for a in sorted({*one, *two})))


def _contrast(said: Sequence[Said], scores: Tensor) -> Tensor:
    """Return the sum of what is read out of the second concept minus the first, (1, *shape)."""
    shares = scores[:, 0].sigmoid_()
    # Those with one axis first: they add up along it.
    total = reduce(torch.add, (level.read[:, 1].sum(0) for level in reversed(said)))
    for level in said:
        for share, read in zip(
            shares[level.place].unbind(), level.read[:, 0].unbind(), strict=True
        ):
            total.addcmul_(share, read)
    return total[None]


def _sums(said: Sequence[Said], scores: Tensor) -> Tensor:
    """Return the sums of what is read out of all terms, (j, *shape)."""
    coefficients = _coefficients(scores)
    total = scores.new_zeros(coefficients.shape[1:])
    for level in said:
        for own, read in zip(coefficients[level.place], level.read, strict=True):
            total.addcmul_(own, read)
    return total


def _coefficients(scores: Tensor) -> Tensor:
    """Return the routing coefficients, (t, g, ...) -> (t, j, ...)."""
    if scores.shape[1] == 1:
        second = torch.sigmoid(scores)
        return torch.cat([1.0 - second, second], 1)
    return torch.cat([torch.zeros_like(scores[:, :1]), scores], 1).softmax(1)
