r"""Multimodal routing with one adjustment, on a product of rows, without its votes.

The adjustment reads of the votes no more than how their inner products differ between concepts,

.. math:: g_{ti} = \langle v_{tj}, v_{ij} \rangle - \langle v_{t0}, v_{i0} \rangle
    = h_t^\top (U_{tj} U_{ij}^\top - U_{t0} U_{i0}^\top)\, h_i

which is a form in the hidden layers of two terms. A hidden layer has one value for each position
of the axes that its modalities lie on, so that most of these forms are small matrix products.
Terms on the same axes are a level.

Letters: n row, t, q and i terms of levels, h hidden unit, j concept, g gap (a concept but the
first); own: axes of a level, shape: all axes of the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase

import torch
from torch import Tensor

from sklearn_mmfusion.inspection._products import Product

__all__ = ["GapRouting", "TermVotes"]

_VALUES = 2**19  # numbers of a block of combinations: 4 MB; smaller ones cost more calls

_MET_VALUES = 2**24  # numbers that all positions of an axis make to meet others: 128 MB


@dataclass(frozen=True)
class TermVotes:
    """What a term needs to vote; its hidden layer ends in a unit that is 1.

    Attributes
    ----------
    members : tuple of int
        Modalities.
    inputs : list of Tensor of shape (n, h)
        What each of them adds to the hidden layer.
    bias : Tensor of shape (h,)
        Bias of the hidden layer.
    read : Tensor of shape (h, 1 + j)
        From hidden units to activation logit and votes as they are read out.
    votes : Tensor of shape (h, j, c)
        From hidden units to votes.
    masks : list of bool Tensor of shape (n,) or None
        Rows in which each member is there.
    """

    members: tuple[int, ...]
    inputs: list[Tensor]
    bias: Tensor
    read: Tensor
    votes: Tensor
    masks: list[Tensor | None]


@dataclass(frozen=True)
class _Level:
    """Terms that depend on the same axes, with their weights side by side.

    Attributes
    ----------
    axes : tuple of int
        The axes.
    terms : list of int
        The terms.
    read : Tensor of shape (t, h, 1 + j)
        From hidden units to activation logit and what is read out.
    principal : tuple of Tensor of shape (t, h, g * h), (t, g, h)
        Axes and values of the form of each term with itself.
    forms : Tensor of shape (t, h, q * g * h)
        From hidden units to what meets those of the terms of the levels before.
    """

    axes: tuple[int, ...]
    terms: list[int]
    read: Tensor
    principal: tuple[Tensor, Tensor]
    forms: Tensor


@dataclass(frozen=True)
class _Said:
    """What the terms of a level say on a product of rows.

    Attributes
    ----------
    axes : tuple of int
        The axes of the level.
    hidden : Tensor of shape (t, *own, h)
        Hidden layers.
    p : Tensor of shape (t, 1, *own)
        Activations.
    read : Tensor of shape (t, j, *own)
        Activation times votes as they are read out.
    within : Tensor of shape (t, g, *own)
        Scores of the terms by the terms of the level.
    met : Tensor of shape (t, *own, q, g, h)
        What is to meet the hidden layers of the levels before.
    """

    axes: tuple[int, ...]
    hidden: Tensor
    p: Tensor
    read: Tensor
    within: Tensor
    met: Tensor

    def at(self, where: Sequence[slice]) -> _Said:
        """Return what is said of a block of the product."""
        own = tuple(where[axis] for axis in self.axes)
        one, two = (slice(None), *own), (slice(None), slice(None), *own)
        return _Said(
            self.axes,
            self.hidden[one],
            self.p[two],
            self.read[two],
            self.within[two],
            self.met[one],
        )


class GapRouting:
    """Routing with one adjustment as a function of a product of rows.

    Parameters
    ----------
    terms : sequence of TermVotes
        The terms.
    scale : float
        Factor in the softmax.
    """

    def __init__(self, terms: Sequence[TermVotes], scale: float) -> None:
        self.terms = list(terms)
        self.n_concepts = terms[0].votes.shape[1]
        self._factor = scale / self.n_concepts
        self._forms: dict[tuple[int, int], Tensor] = {}
        self._principal: dict[int, tuple[Tensor, Tensor]] = {}
        # Of the last product alone: each arrangement holds all forms once more.
        self._levels: dict[tuple[int, ...], list[_Level]] = {}

    def __call__(self, rows: Product) -> Tensor:
        """Return the sums of what is read out of all terms, (*shape, j)."""
        n_met = len(self.terms) ** 2 * (self.n_concepts - 1) * len(self.terms[0].bias)
        sums = self.terms[0].bias.new_empty(self.n_concepts, *rows.shape)
        for where, block in rows.blocks(max(64, _MET_VALUES // n_met)):
            self._fill(sums[(slice(None), *where)], block)
        return sums.movedim(0, -1)

    def _fill(self, sums: Tensor, rows: Product) -> None:
        """Set the sums, (j, *shape): what depends on one axis for all of it, the rest in blocks."""
        levels = self._arranged(rows.axes)
        added = [self._added(level, rows) for level in levels]
        everywhere = (slice(None),) * len(rows.shape)
        alone = {
            place: self._say(level, added[place], everywhere)
            for place, level in enumerate(levels)
            if len(level.axes) == 1
        }
        for where, _ in rows.blocks(max(64, _VALUES // self._n_values(levels, rows))):
            said = [
                alone[place].at(where) if place in alone else self._say(level, added[place], where)
                for place, level in enumerate(levels)
            ]
            sums[(slice(None), *where)] = _read_out(said, len(rows.shape))

    def _form(self, t: int, i: int) -> Tensor:
        """Return the form of a pair, from the units of i to what meets those of t, (h, g * h)."""
        if (t, i) not in self._forms:
            products = torch.einsum("ijc,tjc->jit", self.terms[i].votes, self.terms[t].votes)
            gaps = (products[1:] - products[:1]) * self._factor
            self._forms[t, i] = gaps.transpose(0, 1).flatten(1)
        return self._forms[t, i]

    def _n_values(self, levels: Sequence[_Level], rows: Product) -> int:
        """Return how many numbers a combination makes, about."""
        spanning = sum(len(level.terms) for level in levels if len(level.axes) == len(rows.shape))
        n_hidden = len(self.terms[0].bias) * (self.n_concepts - 1)
        return 2 * len(self.terms) * self.n_concepts + n_hidden * spanning

    def _arranged(self, axes: tuple[int, ...]) -> list[_Level]:
        """Return the levels of a product with given axes, those with most axes first."""
        if axes not in self._levels:
            by_axes: dict[tuple[int, ...], list[int]] = {}
            for t, term in enumerate(self.terms):
                own = tuple(sorted({axes[m] for m in term.members}))
                by_axes.setdefault(own, []).append(t)
            levels: list[_Level] = []
            before: list[int] = []
            for own in sorted(by_axes, key=len, reverse=True):
                levels.append(self._level(own, by_axes[own], before))
                before = before + by_axes[own]
            self._levels = {axes: levels}
        return self._levels[axes]

    def _level(self, axes: tuple[int, ...], terms: list[int], before: Sequence[int]) -> _Level:
        read = torch.stack([self.terms[t].read for t in terms])
        for t in terms:
            if t not in self._principal:
                self._principal[t] = _principal(self._form(t, t))
        principal = (self._principal[t] for t in terms)
        forms = read.new_empty(len(terms), read.shape[1], 0)
        if before:
            forms = torch.stack([torch.cat([self._form(q, t) for q in before], 1) for t in terms])
        stacked = (torch.stack(part) for part in zip(*principal, strict=True))
        return _Level(axes, terms, read, tuple(stacked), forms)  # type: ignore[arg-type]

    def _added(self, level: _Level, rows: Product) -> list[tuple[Tensor, Tensor | None]]:
        """Return what each axis adds to the hidden layers, (t, n, h), and where it is there."""
        found = []
        for axis in level.axes:
            sums, masks = [], []
            for t in level.terms:
                term = self.terms[t]
                total = term.bias if axis == level.axes[0] else torch.zeros_like(term.bias)
                there = torch.ones(rows.shape[axis], dtype=torch.bool)
                for m, part, mask in zip(term.members, term.inputs, term.masks, strict=True):
                    if rows.axes[m] == axis:
                        row = torch.from_numpy(rows.rows[m])
                        total = total + part[row]
                        there = there if mask is None else there & mask[row]
                sums.append(total)
                masks.append(there)
            mask = torch.stack(masks)
            found.append((torch.stack(sums), None if bool(mask.all()) else mask[..., None]))
        return found

    def _say(
        self,
        level: _Level,
        added: Sequence[tuple[Tensor, Tensor | None]],
        where: Sequence[slice],
    ) -> _Said:
        hidden = _hidden(level.axes, added, where)
        flat = hidden.flatten(1, -2)
        own = hidden.shape[1:-1]
        read = torch.bmm(flat, level.read).mT.unflatten(-1, own)
        p = torch.sigmoid(read[:, :1])
        met = torch.bmm(flat, level.forms).unflatten(-1, (-1, self.n_concepts - 1, flat.shape[-1]))
        return _Said(
            level.axes,
            hidden,
            p,
            read[:, 1:] * p,
            self._within(level, flat, p.flatten(2)).unflatten(-1, own),
            met.unflatten(1, own),
        )

    def _within(self, level: _Level, hidden: Tensor, p: Tensor) -> Tensor:
        """Return scores of the terms of a level by themselves and each other, (t, g, n)."""
        axes, values = level.principal
        # The form of a term with itself is a sum of squares with weights.
        squares = torch.bmm(hidden, axes).square_().unflatten(-1, values.shape[1:])
        scores = torch.einsum("tngh,tgh->tgn", squares, values) * p
        for q, one in enumerate(level.terms):
            for i in range(q + 1, len(level.terms)):
                met = (hidden[i] @ self._form(one, level.terms[i])).unflatten(1, values.shape[1:])
                agreed = torch.einsum("nh,ngh->gn", hidden[q], met)
                scores[q] += p[i] * agreed
                scores[i] += p[q] * agreed
        return scores


def _hidden(
    axes: Sequence[int], added: Sequence[tuple[Tensor, Tensor | None]], where: Sequence[slice]
) -> Tensor:
    """Return hidden layers, (t, *own, h); 0 where a member is absent, as all that it says."""
    n_axes = len(axes)
    total: Tensor | None = None
    there: Tensor | None = None
    for place, (axis, (sums, mask)) in enumerate(zip(axes, added, strict=True)):
        part = _spread(sums[:, where[axis]].movedim(-1, 1), (place,), n_axes).movedim(1, -1)
        total = part if total is None else total + part
        if mask is not None:
            part = _spread(mask[:, where[axis], 0], (place,), n_axes)[..., None]
            there = part if there is None else there & part
    assert total is not None  # there is an axis
    total = total.relu_() if n_axes > 1 else total.relu()
    return total if there is None else total.mul_(there)


def _principal(form: Tensor) -> tuple[Tensor, Tensor]:
    """Return principal axes (h, g * h) and values (g, h) of a form of a term with itself."""
    h = len(form)
    values, vectors = torch.linalg.eigh(form.reshape(h, -1, h).transpose(0, 1))
    return vectors.transpose(0, 1).flatten(1), values


def _read_out(said: Sequence[_Said], n_axes: int) -> Tensor:
    """Return the sums of what is read out of all terms, (j, *shape)."""
    sums: Tensor | None = None
    for level, scores in zip(said, _scores(said, n_axes), strict=True):
        part = (_coefficients(scores) * _spread(level.read, level.axes, n_axes)).sum(0)
        sums = part if sums is None else sums + part
    assert sums is not None  # there is a term
    return sums


def _scores(said: Sequence[_Said], n_axes: int) -> list[Tensor]:
    """Return how much better each concept agrees with the terms of each level than the first.

    What a term agrees with another on is what that agrees with it on, so that both add it up,
    each times the activation of the other; (t, g, *shape), with 1 in place of other axes.
    """
    scores: list[Tensor] = []
    for place, level in enumerate(said):
        scores.append(_spread(level.within, level.axes, n_axes))
        p = _spread(level.p, level.axes, n_axes)
        start = 0
        for before, other in enumerate(said[:place]):
            stop = start + len(other.hidden)
            agreed = _agreement(other, level, start, stop, n_axes)
            start = stop
            p_other = _spread(other.p, other.axes, n_axes)
            scores[place] = scores[place] + (p_other[:, None] * agreed).sum(0)
            scores[before] = scores[before] + (p[None] * agreed).sum(1)
    return scores


def _agreement(other: _Said, level: _Said, start: int, stop: int, n_axes: int) -> Tensor:
    """Return the forms in the terms of two levels, (q, i, g, *shape), with 1 for other axes."""
    union = sorted({*other.axes, *level.axes})
    one, two, both = (
        "".join(ascii_lowercase[axis] for axis in axes) for axes in (other.axes, level.axes, union)
    )
    met = level.met[..., start:stop, :, :]
    found = torch.einsum(f"Q{one}H,I{two}QGH->QIG{both}", other.hidden, met)
    return _spread(found, union, n_axes)


def _coefficients(scores: Tensor) -> Tensor:
    """Return the routing coefficients, (t, g, ...) -> (t, j, ...)."""
    if scores.shape[1] == 1:
        second = torch.sigmoid(scores)
        return torch.cat([1.0 - second, second], 1)
    return torch.cat([torch.zeros_like(scores[:, :1]), scores], 1).softmax(1)


def _spread(values: Tensor, axes: Sequence[int], n_axes: int) -> Tensor:
    """Return values along some axes, (..., *axes), so that they broadcast along all."""
    lead = values.ndim - len(axes)
    lengths = dict(zip(axes, values.shape[lead:], strict=True))
    return values.reshape(*values.shape[:lead], *(lengths.get(a, 1) for a in range(n_axes)))
