"""Multimodal routing as a function of the rows of its modalities.

Votes are linear in the hidden layer of a term, and those of a single modality are known for every
row, so that a listed combination costs one small product per interaction, and the routing itself.
Products of rows mostly do without votes, see :mod:`._routed_products`.

Letters: n row, r combination of rows, t term, h hidden unit, j concept, c its feature, k output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from sklearn_mmfusion.inspection._gathering import gathered_sum, hidden_inputs, together
from sklearn_mmfusion.inspection._products import Product, listed
from sklearn_mmfusion.inspection._routed_products import GapRouting, TermVotes
from sklearn_mmfusion.modules.routing import Routing
from sklearn_mmfusion.modules.term_vectors import TermVectors

__all__ = ["routed_function"]

_FORM_VALUES = 2**23  # numbers of the forms of all pairs of terms: 64 MB
_VALUES = 2**19  # numbers of a block of listed combinations: 4 MB; smaller ones cost more calls


@dataclass(frozen=True)
class _Term:
    """What a term needs to vote.

    Attributes
    ----------
    members : tuple of int
        Modalities.
    inputs : list of Tensor of shape (n, h)
        What each of them adds to the hidden layer.
    bias : Tensor of shape (h,)
        Bias of the hidden layer.
    weight, offset : Tensor of shape (h, 1 + j + j * c), (1 + j + j * c,)
        From hidden units to activation logit, votes as they are read out, and votes.
    masks : list of bool Tensor of shape (n,) or None
        Rows in which each member is there.
    """

    members: tuple[int, ...]
    inputs: list[Tensor]
    bias: Tensor
    weight: Tensor
    offset: Tensor
    masks: list[Tensor | None]

    def said(self, rows: Product) -> Tensor:
        """Return activations, votes as they are read out, and votes, 0 where absent."""
        hidden = gathered_sum(self.inputs, rows, self.bias).relu_()
        values = torch.addmm(self.offset, hidden, self.weight)
        values[:, 0].sigmoid_()
        there = together(self.masks, rows)
        return values if there is None else values.mul_(there[:, None])


def routed_function(
    features: TermVectors,
    fusion: Routing,
    encodings: Sequence[Tensor],
    present: Sequence[Tensor | None],
) -> tuple[Callable[[Product], Tensor], int]:
    """Return the outputs as a function of rows, and how many numbers a combination makes.

    Parameters
    ----------
    features, fusion : nn.Module
        Modules of a network of routing, in evaluation mode.
    encodings : sequence of Tensor of shape (n, d_m)
        Encodings of all rows.
    present : sequence of bool Tensor of shape (n,) or None
        Rows in which each modality is there.

    Returns
    -------
    function : callable
        Product of rows of the modalities -> (*shape, k).
    width : int
        Numbers per combination.
    """
    terms = [
        _make_term(features, fusion, encodings, present, t) for t in range(len(features.terms))
    ]
    by_votes = _by_votes(terms, fusion)
    by_gaps = cache(lambda: _gaps(terms, fusion))  # listed rows have no need of its forms

    def function(rows: Product) -> Tensor:
        summed = (by_gaps() if len(rows.shape) > 1 else None) or by_votes
        outputs: Tensor = fusion._contrasted(summed(rows)) + fusion.bias
        return outputs

    return function, fusion.n_concepts  # both ways pass combinations in blocks of their own


def _by_votes(terms: Sequence[_Term], fusion: Routing) -> Callable[[Product], Tensor]:
    """Return the sums of what is read out of all terms, by votes of every combination."""
    n_concepts, n_terms = fusion.n_concepts, len(terms)
    step = max(64, _VALUES // (n_terms * (terms[0].weight.shape[1] + n_concepts)))
    tables: dict[int, Tensor] = {}
    for t, term in enumerate(terms):
        if len(term.members) == 1:
            rows = np.arange(len(term.inputs[0]))[:, None]
            tables[t] = torch.cat([term.said(some) for _, some in listed(rows).blocks(4096)])

    def of_list(rows: Product) -> Tensor:
        p, read, votes = [], [], []
        for t, term in enumerate(terms):
            table = tables.get(t)
            mine = rows.of(term.members)
            said = term.said(mine) if table is None else table[torch.from_numpy(mine.rows[0])]
            p.append(said[:, :1])
            read.append(said[:, 1 : 1 + n_concepts])
            votes.append(said[:, 1 + n_concepts :].unflatten(1, (n_concepts, -1)))
        r = [p[0].new_full((len(p[0]), n_concepts), 1.0 / n_concepts)] * n_terms
        for _ in range(fusion.n_routing_iter):
            concepts = votes[0] * (p[0] * r[0])[..., None]
            for t in range(1, n_terms):
                concepts.addcmul_(votes[t], (p[t] * r[t])[..., None])
            r = [torch.softmax((v * concepts).sum(2) * fusion.scale, 1) for v in votes]
        sums = p[0] * r[0] * read[0]
        for t in range(1, n_terms):
            sums += p[t] * r[t] * read[t]
        return sums

    def function(product: Product) -> Tensor:
        blocks = listed(product.written_out()).blocks(step)
        found = torch.cat([of_list(block) for _, block in blocks])
        return found.reshape(*product.shape, -1)

    return function


def _gaps(terms: Sequence[_Term], fusion: Routing) -> GapRouting | None:
    """Return the way without votes, where the adjustment is one and forms of pairs are few."""
    n_hidden, n_concepts = len(terms[0].bias) + 1, fusion.n_concepts
    n_values = len(terms) ** 2 * (n_concepts - 1) * n_hidden**2
    if fusion.n_routing_iter != 1 or n_values > _FORM_VALUES:
        return None
    pad = torch.nn.functional.pad
    voters = []
    for term in terms:
        # The last hidden unit is 1, and has the offsets as its weights.
        weight = torch.cat([term.weight, term.offset[None]])
        voters.append(
            TermVotes(
                term.members,
                [pad(part, (0, 1)) for part in term.inputs],
                pad(term.bias, (0, 1), value=1.0),
                weight[:, : 1 + n_concepts].contiguous(),
                weight[:, 1 + n_concepts :].unflatten(1, (n_concepts, -1)),
                term.masks,
            )
        )
    return GapRouting(voters, fusion.scale)


def _make_term(
    features: TermVectors,
    fusion: Routing,
    encodings: Sequence[Tensor],
    present: Sequence[Tensor | None],
    t: int,
) -> _Term:
    members = features.terms[t]
    votes = fusion.weight[t]
    read = torch.einsum("djc,jc->dj", votes.unflatten(1, (fusion.n_concepts, -1)), fusion.readout)
    # From features to what is said of them; the activation logit comes before.
    said = torch.cat([read, votes], 1)
    weight = torch.cat([features.weight[t, :, -1:], features.weight[t, :, :-1] @ said], 1)
    offset = torch.cat([features.bias[t, -1:], features.bias[t, :-1] @ said])
    return _Term(
        members,
        hidden_inputs(features, encodings, t),
        features.hidden_bias[t],
        weight.contiguous(),
        offset,
        [present[m] for m in members],
    )
