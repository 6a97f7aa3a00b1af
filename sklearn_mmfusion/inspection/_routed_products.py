r"""Multimodal routing with one adjustment, without its votes.

The adjustment reads of the votes no more than how their inner products differ between concepts,

.. math:: g_{ti} = \langle v_{tj}, v_{ij} \rangle - \langle v_{t0}, v_{i0} \rangle
    = h_t^\top (U_{tj} U_{ij}^\top - U_{t0} U_{i0}^\top)\, h_i

which is a form in the hidden layers of two terms. A hidden layer has one value for each position
of the axes that its modalities lie on, so that most of these forms are small matrix products.

Letters: n row, t, q and i terms of levels, h hidden unit, j concept, g gap (a concept but the
first); own: axes of a level, shape: all axes of the product.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from string import ascii_lowercase

import numpy as np
import torch
from torch import Tensor

from sklearn_mmfusion.inspection._buffers import Buffers
from sklearn_mmfusion.inspection._products import Product, grid, laid
from sklearn_mmfusion.inspection._routed_levels import Added, Level, Said, Where
from sklearn_mmfusion.inspection._routed_terms import RoutedTerm

__all__ = ["GapRouting"]

_VALUES = 2**20  # numbers of a block of combinations: 8 MB; smaller ones cost more calls
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
    """

    def __init__(self, terms: Sequence[RoutedTerm], scale: float) -> None:
        self.terms = list(terms)
        self.n_concepts = terms[0].n_concepts
        self._factor = scale / self.n_concepts
        self._forms: dict[tuple[int, int], Tensor] = {}
        # Of the last product alone: each arrangement holds all forms once more.
        self._levels: dict[tuple[int, ...], list[Level]] = {}
        self._buffers = Buffers()

    def __call__(self, rows: Product) -> Tensor:
        """Return the sums of what is read out of all terms, (*shape, j)."""
        sums = self.terms[0].bias.new_empty(self.n_concepts, *rows.shape)
        if len(rows.shape) == 1:
            parts = _lists(rows, self._step(self._every_row, 1))
            self._fill(sums, self._every_row, parts)
            return sums.T
        n_met = len(self.terms) ** 2 * (self.n_concepts - 1) * len(self.terms[0].bias)
        for where, block in rows.blocks(sums[0].numel(), longest=max(64, _MET_VALUES // n_met)):
            ready = self._ready(block)
            step = self._step(ready, len(rows.shape))
            parts = ((part, part) for part, _ in block.blocks(step))
            self._fill(sums[(slice(None), *where)], ready, parts)
        return sums.movedim(0, -1)

    def _fill(
        self,
        sums: Tensor,
        ready: Sequence[_Ready],
        parts: Iterable[tuple[Sequence[slice], Where]],
    ) -> None:
        """Set the sums of all parts: where they go, (j, *shape), and the positions."""
        for target, where in parts:
            said = [
                level.say(added, where, self._buffers) if alone is None else alone.at(where)
                for level, added, alone in ready
            ]
            part = sums[(slice(None), *target)]
            part.copy_(_read_out(said, part.shape[1:], self._buffers))

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
        """Return the combinations of a block, by hidden layers of levels with so many axes."""
        spanning = sum(len(level.terms) for level, *_ in ready if len(level.axes) >= n_axes)
        n_hidden = len(self.terms[0].bias) * self.n_concepts
        return max(64, _VALUES // (2 * len(self.terms) * self.n_concepts + n_hidden * spanning))

    def _form(self, t: int, i: int) -> Tensor:
        """Return the form of a pair, from the units of i to what meets those of t, (h, g * h)."""
        if (t, i) not in self._forms:
            products = torch.einsum("ijc,tjc->jit", self.terms[i].votes, self.terms[t].votes)
            gaps = (products[1:] - products[:1]) * self._factor
            self._forms[t, i] = gaps.transpose(0, 1).flatten(1)
        return self._forms[t, i]

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
            torch.cat([*(self._form(q, t) for q in terms[: i + 1]), self.terms[t].read], 1)
            for i, t in enumerate(terms)
        ]
        outer = inner[0].new_empty(len(terms), len(inner[0]), 0)
        if before:
            outer = torch.stack([torch.cat([self._form(q, t) for q in before], 1) for t in terms])
        place = slice(len(before), len(before) + len(terms))
        return Level(axes, [self.terms[t] for t in terms], place, self.n_concepts, inner, outer)


def _lists(rows: Product, step: int) -> Iterable[tuple[Sequence[slice], Where]]:
    """Yield parts of a list of combinations, and the rows of each modality in them."""
    for where, block in rows.blocks(step):
        yield where, [torch.from_numpy(row) for row in block.rows]


def _read_out(said: Sequence[Said], shape: Sequence[int], buffers: Buffers) -> Tensor:
    """Return the sums of what is read out of all terms, (j, *shape)."""
    n_terms, n_gaps = said[-1].place.stop, said[0].within.shape[2]
    forms = buffers.take("forms", n_terms, n_terms, n_gaps, *shape)
    for i, level in enumerate(said):
        forms[level.place, level.place] = level.within
        for other in said[:i]:
            _set_agreement(forms, other, level, buffers)
    p = torch.cat([level.p.expand(-1, *shape) for level in said])
    # How much better each concept agrees with the terms than the first, (t, g, *shape).
    forms *= p[None, :, None]
    coefficients = _coefficients(forms.sum(1))
    read = torch.cat([level.read.expand(-1, -1, *shape) for level in said])
    return (coefficients * read).sum(0)


def _set_agreement(forms: Tensor, other: Said, level: Said, buffers: Buffers) -> None:
    """Set the forms in the terms of two levels, (t, t, g, *shape), both ways round."""
    n_axes = forms.ndim - 3
    union = sorted({*other.axes, *level.axes})
    one, two, both = (
        "".join(ascii_lowercase[axis] for axis in axes) for axes in (other.axes, level.axes, union)
    )
    # Term by term: all at once would have to be copied into another order.
    for t, hidden in enumerate(other.hidden, other.place.start):
        met = level.met[..., t, :, :]
        if level.listed is None:
            found = torch.einsum(f"{one}H,I{two}GH->IG{both}", hidden, met)
        else:
            own = buffers.take("met", len(level.listed), *met.shape[2:])
            torch.index_select(met[0], 0, level.listed, out=own).mul_(hidden[:, None])
            found = own.sum(-1).T[None]
        forms[t, level.place] = laid(found, union, n_axes, before=2)
    forms[level.place, other.place] = forms[other.place, level.place].transpose(0, 1)


def _coefficients(scores: Tensor) -> Tensor:
    """Return the routing coefficients, (t, g, ...) -> (t, j, ...)."""
    if scores.shape[1] == 1:
        second = torch.sigmoid(scores)
        return torch.cat([1.0 - second, second], 1)
    return torch.cat([torch.zeros_like(scores[:, :1]), scores], 1).softmax(1)
