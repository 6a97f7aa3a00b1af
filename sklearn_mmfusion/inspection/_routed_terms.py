"""What a term of multimodal routing says, as a function of its hidden layer.

Activation logits and votes are linear in the hidden layer of a term, and so are votes as they are
read out.

Letters: n row, r combination of rows, t term, h hidden unit, j concept, c its feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_mmfusion.inspection._gathering import all_hidden_inputs, gathered_sum, together
from sklearn_mmfusion.inspection._products import Product
from sklearn_mmfusion.modules.routing import Routing
from sklearn_mmfusion.modules.term_vectors import TermVectors

__all__ = ["RoutedTerm", "routed_terms"]


@dataclass(frozen=True)
class RoutedTerm:
    """What a term needs to vote; its hidden layer ends in a unit that is 1.

    Attributes
    ----------
    members : tuple of int
        Modalities.
    inputs : list of Tensor of shape (n, h)
        What each of them adds to the hidden layer.
    bias : Tensor of shape (h,)
        Bias of the hidden layer.
    weight : Tensor of shape (h, 1 + j + j * c)
        From hidden units to activation logit, votes as they are read out, and votes.
    masks : list of bool Tensor of shape (n,) or None
        Rows in which each member is there.
    n_concepts : int
        Number of concepts.
    """

    members: tuple[int, ...]
    inputs: list[Tensor]
    bias: Tensor
    weight: Tensor
    masks: list[Tensor | None]
    n_concepts: int

    @property
    def read(self) -> Tensor:
        """From hidden units to activation logit and votes as they are read out, (h, 1 + j)."""
        return self.weight[:, : 1 + self.n_concepts]

    @property
    def votes(self) -> Tensor:
        """From hidden units to votes, (h, j, c)."""
        return self.weight[:, 1 + self.n_concepts :].unflatten(1, (self.n_concepts, -1))

    def said(self, rows: Product) -> Tensor:
        """Return activations, votes as they are read out, and votes of listed rows of the members.

        Shape: (r, 1 + j + j * c); the votes are 0 where a member is absent.
        """
        values = gathered_sum(self.inputs, rows, self.bias).relu_() @ self.weight
        values[:, 0].sigmoid_()
        there = together(self.masks, rows)
        return values if there is None else values.mul_(there[:, None])


def routed_terms(
    features: TermVectors,
    fusion: Routing,
    encodings: Sequence[Tensor],
    present: Sequence[Tensor | None],
) -> list[RoutedTerm]:
    """Return all terms.

    Parameters
    ----------
    features, fusion : nn.Module
        Modules of a network of routing, in evaluation mode.
    encodings : sequence of Tensor of shape (n, d_m)
        Encodings of all rows.
    present : sequence of bool Tensor of shape (n,) or None
        Rows in which each modality is there.
    """
    pad = torch.nn.functional.pad
    terms = []
    inputs = all_hidden_inputs(features, encodings)
    for t, members in enumerate(features.terms):
        votes = fusion.weight[t]
        by_concept = votes.unflatten(1, (fusion.n_concepts, -1))
        read = torch.einsum("djc,jc->dj", by_concept, fusion.readout)
        # From features to what is said of them; the activation logit comes before.
        said = torch.cat([read, votes], 1)
        # The last hidden unit has the offsets as its weights.
        own = torch.cat([features.weight[t], features.bias[t, None]])
        terms.append(
            RoutedTerm(
                members,
                inputs[t],
                pad(features.hidden_bias[t], (0, 1), value=1.0),
                torch.cat([own[:, -1:], own[:, :-1] @ said], 1),
                [present[m] for m in members],
                fusion.n_concepts,
            )
        )
    return terms
