"""Optimisers as parameter objects, so that clone and grid searches reach their settings."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any

import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

__all__ = ["SGD", "AdamW"]


class AdamW(BaseEstimator):
    """AdamW, the default optimiser.

    Parameters
    ----------
    betas : tuple of two floats, default=(0.9, 0.999)
        Decay of the running averages of the gradient and of its square.
    eps : float, default=1e-8
        Added to the root of the average square.

    Notes
    -----
    Learning rate and weight decay are parameters of the estimator (``lr``, ``weight_decay``); the
    decay reaches encoder weights only. Uses torch's fused step.

    References
    ----------
    Loshchilov & Hutter (2019), *Decoupled weight decay regularization*.

    Examples
    --------
    >>> from sklearn_mmfusion import AdamW, MNLClassifier
    >>> est = MNLClassifier(optimizer=AdamW(betas=(0.9, 0.95)))
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "betas": [tuple, list],
        "eps": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        self.betas = betas
        self.eps = eps

    def build(self, groups: Iterable[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
        """Return the torch optimiser for parameter groups."""
        self._validate_params()
        first, second = self.betas
        return torch.optim.AdamW(groups, lr=lr, betas=(first, second), eps=self.eps, fused=True)


class SGD(BaseEstimator):
    """Stochastic gradient descent with momentum.

    Parameters
    ----------
    momentum : float, default=0.9
        Share of the last step that is kept, in [0, 1).
    nesterov : bool, default=True
        Look ahead along the momentum.

    Examples
    --------
    >>> from sklearn_mmfusion import MNLClassifier, SGD
    >>> est = MNLClassifier(optimizer=SGD(momentum=0.95), lr=0.05)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterov": ["boolean"],
    }

    def __init__(self, *, momentum: float = 0.9, nesterov: bool = True) -> None:
        self.momentum = momentum
        self.nesterov = nesterov

    def build(self, groups: Iterable[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
        """Return the torch optimiser for parameter groups."""
        self._validate_params()
        nesterov = self.nesterov and self.momentum > 0
        return torch.optim.SGD(groups, lr=lr, momentum=self.momentum, nesterov=nesterov)
