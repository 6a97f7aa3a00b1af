"""Multimodal routing as a function of the rows of its modalities.

Votes are linear in the hidden layer of a term, and those of a single modality are known for every
row, so that a listed combination costs one small product per interaction, and the routing itself.
Products of rows mostly do without votes, and so do lists under few interactions, see
:mod:`._routed_products`.

Letters: n row, r combination of rows, t term, h hidden unit, j concept, c its feature, k output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from sklearn_mmfusion.inspection._gathering import chosen
from sklearn_mmfusion.inspection._products import Product, listed
from sklearn_mmfusion.inspection._routed_products import GapRouting
from sklearn_mmfusion.inspection._routed_terms import RoutedTerm, routed_terms
from sklearn_mmfusion.modules.routing import Routing
from sklearn_mmfusion.modules.term_vectors import TermVectors

__all__ = ["routed_function"]

_FORM_VALUES = 2**23  # numbers of the forms of all pairs of terms: 64 MB
_VALUES = 2**19  # numbers of a block of listed combinations: 4 MB; smaller ones cost more calls


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
    terms = routed_terms(features, fusion, encodings, present)
    by_votes = cache(lambda: _by_votes(terms, fusion))
    by_gaps = _gaps(terms, fusion)
    n_spanning = sum(len(term.members) > 1 for term in terms)
    # A listed combination makes forms of all pairs of interactions, or votes of each of them.
    n_hidden, n_said = terms[0].weight.shape
    n_forms = n_spanning * (n_spanning + 1) // 2 * (fusion.n_concepts - 1)
    lists_by_gaps = n_forms * n_hidden <= n_spanning * n_said

    def function(rows: Product) -> Tensor:
        way = (by_gaps if len(rows.shape) > 1 or lists_by_gaps else None) or by_votes()
        return way(rows) + fusion.bias

    return function, fusion.n_concepts  # both ways pass combinations in blocks of their own


def _by_votes(terms: Sequence[RoutedTerm], fusion: Routing) -> Callable[[Product], Tensor]:
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
            said = term.said(mine) if table is None else chosen(table, mine, 0)
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
        outputs: Tensor = fusion._contrasted(found)
        return outputs.reshape(*product.shape, -1)

    return function


def _gaps(terms: Sequence[RoutedTerm], fusion: Routing) -> GapRouting | None:
    """Return the way without votes, where the adjustment is one and forms of pairs are few."""
    n_values = len(terms) ** 2 * (fusion.n_concepts - 1) * len(terms[0].bias) ** 2
    if fusion.n_routing_iter != 1 or n_values > _FORM_VALUES:
        return None
    return GapRouting(terms, fusion.scale, fusion.is_contrast)
