"""Multimodal routing: terms to concepts, and its ablation GAM.

Features of the terms are in :mod:`sklearn_mmfusion.modules.term_vectors`.

Letters: b batch row, m modality, t term, d feature (d_f in the paper), j concept, c concept
feature (d_c), k output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sklearn_mmfusion.modules.dropout import Dropout
from sklearn_mmfusion.modules.summaries import activation_summary, routing_summary

_CHUNK_VALUES = 2**24  # numbers among the votes of a chunk of rows
_CACHED_VALUES = 2**18  # numbers among the votes of a group of terms on a CPU
FEW_CONCEPTS = 10  # up to which training makes up for small first logits by itself

__all__ = ["FEW_CONCEPTS", "AdditiveActivation", "Routed", "Routing"]


class Routed(NamedTuple):
    """What routing computes on its way.

    Attributes
    ----------
    coefficients : Tensor of shape (b, t, j)
        Routing coefficients r_ij; they sum to 1 over the concepts.
    activations : Tensor of shape (b, t)
        Activations p_i.
    concepts : Tensor of shape (b, j, c)
        Concepts c_j.
    """

    coefficients: Tensor
    activations: Tensor
    concepts: Tensor


class _ActivatedFusion(nn.Module):
    """Base of the fusions whose features carry an activation logit in the last place."""

    bias: nn.Parameter
    decays_all = True
    values_per_row: int

    def contributions(self, features: Tensor) -> Tensor:
        raise NotImplementedError  # pragma: no cover - abstract

    def _split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (b, t, d) and activations p (b, t)."""
        return features[..., :-1], torch.sigmoid(features[..., -1])

    def forward(self, features: Tensor) -> Tensor:
        """Return outputs of shape (b, k)."""
        raise NotImplementedError  # pragma: no cover - abstract

    def activations(self, features: Tensor) -> Tensor:
        """Return the activation p of every term, (b, t)."""
        return self._split(features)[1]


class _Procedure(torch.autograd.Function):
    """Procedure 1 with its gradient, which never holds the votes of all terms if they are many.

    The votes, (b, t, j, c), are by far the largest tensor of routing. Given the concepts, terms
    are independent of each other: one term's votes give its coefficients, and with them its part
    of the next concepts. So they are computed for a few terms at a time, in every pass and again
    in its gradient; the product costs less than to write all votes and read them back. The
    gradient of the votes is the sum over the passes of outer products, made likewise. Votes that
    fit a cache all together are kept.

    Terms come first here: f (t, b, d), p (t, b, 1), r and gradients like it (t, b, j).
    """

    @staticmethod
    def forward(
        ctx: Any,
        f: Tensor,
        p: Tensor,
        weight: Tensor,
        masks: Sequence[Tensor | None],
        n_concepts: int,
        scale: float,
    ) -> tuple[Tensor, Tensor]:
        """Return coefficients (t, b, j) and concepts (b, j, c); one mask for every pass."""
        groups = _groups(f, weight)
        kept = [_votes(f, weight, n_concepts)] if len(groups) == 1 else []
        r = f.new_full((*f.shape[:2], n_concepts), 1.0 / n_concepts)
        coefficients = [r]
        concepts: list[Tensor] = []
        for k, mask in enumerate(masks):
            c = f.new_zeros(f.shape[1], n_concepts, weight.shape[2] // n_concepts)
            if k:
                r = torch.empty_like(r)
                coefficients.append(r)
            for some in groups:
                votes = kept[0] if kept else _votes(f[some], weight[some], n_concepts)
                if k:
                    r[some] = torch.softmax((votes * concepts[-1]).sum(3) * scale, 2)
                _add_products(c, votes, p[some] * r[some])
            concepts.append(c if mask is None else c * mask)
        ctx.save_for_backward(f, p, weight, *coefficients, *concepts[:-1], *kept)
        ctx.masks, ctx.scale = masks, scale
        return r, concepts[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_r: Tensor, grad_c: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of f, p and weight."""
        f, p, weight, *saved = ctx.saved_tensors
        n, n_concepts, groups = len(ctx.masks), grad_r.shape[2], _groups(f, weight)
        coefficients, concepts, kept = saved[:n], saved[n : 2 * n - 1], saved[2 * n - 1 :]
        grad_p = torch.zeros_like(p)
        outer = []  # factors of the gradient of the votes
        for k in reversed(range(n)):
            r, mask = coefficients[k], ctx.masks[k]
            g = grad_c if mask is None else grad_c * mask
            grad_c, grad_s = torch.zeros_like(g), torch.empty_like(r)
            for some in groups:
                votes = kept[0] if kept else _votes(f[some], weight[some], n_concepts)
                grad_pr = (votes * g).sum(3)
                grad_p[some] += (grad_pr * r[some]).sum(2, keepdim=True)
                if k:
                    grad = (grad_pr * p[some] + grad_r[some]) * r[some]
                    grad = (grad - grad.sum(2, keepdim=True) * r[some]) * ctx.scale
                    _add_products(grad_c, votes, grad)
                    grad_s[some] = grad
            outer += [(p * r, g)]
            if k:
                outer += [(grad_s, concepts[k - 1])]
            grad_r = torch.zeros_like(grad_r)  # it was that of the last pass
        grad_f, grad_weight = torch.empty_like(f), torch.empty_like(weight)
        for some in groups:
            first, *others = [(a[some][..., None], b) for a, b in outer]
            grad_votes = first[0] * first[1]
            for a, b in others:
                grad_votes.addcmul_(a, b)
            grad_votes = grad_votes.flatten(2)
            grad_weight[some] = torch.bmm(f[some].transpose(1, 2), grad_votes)
            grad_f[some] = torch.bmm(grad_votes, weight[some].transpose(1, 2))
        return grad_f, grad_p, grad_weight, None, None, None


def _groups(f: Tensor, weight: Tensor) -> list[slice]:
    """Return slices of terms: as many as have votes that fit a cache, at least one."""
    limit = _CACHED_VALUES if f.device.type == "cpu" else _CHUNK_VALUES
    step = max(1, limit // max(1, f.shape[1] * weight.shape[2]))
    return [slice(first, first + step) for first in range(0, len(f), step)]


def _votes(f: Tensor, weight: Tensor, n_concepts: int) -> Tensor:
    """Return votes: (t, b, d), (t, d, jc) -> (t, b, j, c)."""
    votes = torch.bmm(f, weight)
    return votes.view(*votes.shape[:2], n_concepts, -1)


def _add_products(c: Tensor, votes: Tensor, factors: Tensor) -> None:
    """Add the votes of some terms, times their factors, to c in place."""
    for vote, factor in zip(votes, factors, strict=True):
        c.addcmul_(vote, factor[..., None])


class Routing(_ActivatedFusion):
    r"""Route the features of all terms to concepts, and read one logit off each.

    .. math::

        v_{ij} = f_i W_{ij}, \quad r_{ij} = 1/J, \quad c_j = \sum_i p_i r_{ij} v_{ij};
        \quad \text{repeat:}\quad
        r_{ij} = \mathrm{softmax}_j (\langle v_{ij}, c_j\rangle \cdot \mathrm{scale}), \quad
        c_j = \sum_i p_i r_{ij} v_{ij}; \quad
        \mathrm{logit}_j = \langle o_j, c_j\rangle + b_j

    Parameters
    ----------
    n_terms, feature_dim : int
        Number of terms, and length d_f of their features.
    n_concepts, concept_dim : int
        Number of concepts J, and their length d_c.
    n_routing_iter : int, default=1
        Adjustments of r after the uniform pass; 0 leaves it uniform (Routing*).
    scale : float, optional
        Factor in the softmax; None is 1/sqrt(concept_dim).
    dropout : float, default=0
        Probability of dropping an element of a concept in training, in every pass.
    is_contrast : bool, default=False
        Two concepts, one output: concept 1 minus concept 0.
    is_multilabel : bool, default=False
        Whether a row may have several labels; matters for :meth:`readings` alone.

    References
    ----------
    Tsai et al. (2020), *Multimodal Routing*, section 3.1 and Procedure 1.

    Notes
    -----
    Training and prediction hold the votes, (b, t, j, c), of a few terms at a time, and of all
    terms only where these fit a cache. Every pass computes them once, by one product per term;
    the forms with three operands, ``f W c`` and ``p r f W``, do so twice.

    The uniform pass gives each concept 1/J of every vote. With more than ten concepts ``readout``
    begins J/10 times as large as with few, so that the first logits are as large as those of ten.
    """

    def __init__(
        self,
        n_terms: int,
        feature_dim: int,
        n_concepts: int,
        concept_dim: int,
        *,
        n_routing_iter: int = 1,
        scale: float | None = None,
        dropout: float = 0.0,
        is_contrast: bool = False,
        is_multilabel: bool = False,
    ) -> None:
        super().__init__()
        if is_contrast and n_concepts != 2:
            raise ValueError(f"a contrast needs two concepts, got {n_concepts}")
        self.n_concepts, self.concept_dim = n_concepts, concept_dim
        self.n_routing_iter = n_routing_iter
        self.scale = concept_dim**-0.5 if scale is None else scale
        self.is_contrast, self.is_multilabel = is_contrast, is_multilabel
        self.weight = nn.Parameter(torch.empty(n_terms, feature_dim, n_concepts * concept_dim))
        self.readout = nn.Parameter(torch.empty(n_concepts, concept_dim))
        self.bias = nn.Parameter(torch.zeros(1 if is_contrast else n_concepts))
        self.dropout = Dropout(dropout)
        self.values_per_row = n_terms * n_concepts * concept_dim
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights."""
        nn.init.normal_(self.weight, std=self.weight.shape[1] ** -0.5)
        # NOTE[DIFF] With many concepts the first logits, and what a step changes in them, would be
        # next to nothing. Twice as large and more they would be learned before routing is: its
        # coefficients stay near 1/J then.
        gain = max(1.0, self.n_concepts / FEW_CONCEPTS)
        nn.init.normal_(self.readout, std=gain * self.concept_dim**-0.5)

    def route(self, features: Tensor) -> Routed:
        """Return coefficients, activations and concepts.

        Shape: features (b, t, d + 1), the activation logit last.
        """
        f, p = self._split(features)
        ones = f.new_ones(len(f), self.n_concepts, self.concept_dim)
        dropped = [self.dropout(ones) for _ in range(self.n_routing_iter + 1)]
        masks = [None if mask is ones else mask for mask in dropped]
        r, c = _Procedure.apply(  # type: ignore[no-untyped-call]
            f.transpose(0, 1), p.T[..., None], self.weight, masks, self.n_concepts, self.scale
        )
        return Routed(r.transpose(0, 1), p, c)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of shape (b, k)."""
        logits = torch.einsum("bjc,jc->bj", self.route(features).concepts, self.readout)
        return self._contrasted(logits) + self.bias

    def _contrasted(self, values: Tensor) -> Tensor:
        return values[..., 1:] - values[..., :1] if self.is_contrast else values

    def contributions(self, features: Tensor) -> Tensor:
        r"""Return :math:`p_i r_{ij} \langle o_j, v_{ij}\rangle`, (b, t, k)."""
        return self.explain(features)[2]

    def coefficients(self, features: Tensor) -> Tensor:
        """Return the routing coefficients r, (b, t, j)."""
        return self.route(features).coefficients

    def readings(self, features: Tensor, share: Tensor, n_counted: float) -> dict[str, Tensor]:
        """Return what :func:`~sklearn_mmfusion.modules.summaries.routing_summary` says."""
        step = max(1, _CHUNK_VALUES // self.values_per_row)
        parts = [self.explain(part) for part in features.split(step)]
        r, p, contributions = (torch.cat(part) for part in zip(*parts, strict=True))
        return routing_summary(
            r,
            p,
            contributions,
            contributions.sum(1) + self.bias,
            share,
            n_counted,
            is_multilabel=self.is_multilabel,
        )

    def explain(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return routing coefficients (b, t, j), activations (b, t), contributions (b, t, k)."""
        r, p, _ = self.route(features)
        # What a readout sees of the votes is linear in the features: (t, d, j).
        weight = self.weight.unflatten(2, (self.n_concepts, -1))
        seen = torch.einsum("tdjc,jc->tdj", weight, self.readout)
        read = torch.bmm(features[..., :-1].transpose(0, 1), seen).transpose(0, 1)
        return r, p, self._contrasted(p[..., None] * r * read)


class AdditiveActivation(_ActivatedFusion):
    r"""The ablation without routing: a generalised additive model of activated features.

    .. math:: \mathrm{logit}_j = \Big\langle o_j, \sum_i p_i f_i \Big\rangle + b_j

    Parameters
    ----------
    n_terms, feature_dim : int
        Number of terms, and length d_f of their features.
    n_outputs : int
        Number of outputs.

    References
    ----------
    Tsai et al. (2020), *Multimodal Routing*, section 4.2 (GAM).
    """

    def __init__(self, n_terms: int, feature_dim: int, n_outputs: int) -> None:
        super().__init__()
        self.readout = nn.Parameter(torch.empty(n_outputs, feature_dim))
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        self.values_per_row = n_terms * (feature_dim + n_outputs)
        nn.init.normal_(self.readout, std=feature_dim**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of shape (b, k)."""
        f, p = self._split(features)
        return torch.einsum("bt,btd->bd", p, f) @ self.readout.T + self.bias

    def contributions(self, features: Tensor) -> Tensor:
        r"""Return :math:`p_i \langle o_j, f_i\rangle`, (b, t, k)."""
        f, p = self._split(features)
        return p[..., None] * (f @ self.readout.T)

    def readings(self, features: Tensor, share: Tensor, n_counted: float) -> dict[str, Tensor]:
        """Return what :func:`~sklearn_mmfusion.modules.summaries.activation_summary` says."""
        return activation_summary(*self.explain(features), share, n_counted)

    def explain(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return activations (b, t) and contributions (b, t, k)."""
        return self.activations(features), self.contributions(features)
