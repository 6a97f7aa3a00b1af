"""Latent vectors, row weights, and IterBN as its formulas are read."""

import torch

from sklearn_mmfusion import functional as F

EPS = 1e-5


def randn(*shape, seed=0, dtype=torch.float64):
    """Return the same normal numbers for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def weights(kind, n, n_terms):
    """Row weights, some of them zero."""
    if kind == "none":
        return None
    weight = randn(n, seed=7).abs() if kind == "rows" else randn(n, n_terms, seed=7).abs()
    weight[:2] = 0
    return weight


def latent(order, weight, n=9, n_terms=3, d=2):
    """Return latent vectors that depend on each other, as VBN leaves them."""
    us = [randn(n, n_terms, d, seed=m) + randn(n, n_terms, 1, seed=9).exp() for m in range(order)]
    return torch.stack([F.vector_batch_norm(u, weight)[0] for u in us])


def by_formula(us, weight):
    """Features as functional says them, with norms and moments."""
    moments = F.interaction_moments(list(us), weight, centred=True)
    constants = F.interaction_constants(moments, len(us))
    features = F.interaction_features(list(us), constants).flatten(2)
    norm = F.weighted_mean(features.square().sum(-1), weight)
    return F.scale_to_unit(features, norm, EPS), norm, moments
