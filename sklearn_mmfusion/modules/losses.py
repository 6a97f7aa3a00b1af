"""Losses per row, by name: classification on logits, regression on standardised targets.

Letters: b batch row, k output.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as nnf

__all__ = ["LOSSES", "link", "log_link", "smooth_loss"]

_HUBER_DELTA = 1.0


def _binary(logits: Tensor, target: Tensor) -> Tensor:
    """Log-loss of one logit (b, 1) against classes 0 and 1 (b,)."""
    logits = logits[:, 0]
    return nnf.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")


def _multiclass(logits: Tensor, target: Tensor) -> Tensor:
    """Log-loss of logits (b, k) against class indices (b,)."""
    return nnf.cross_entropy(logits, target, reduction="none")


def _multilabel(logits: Tensor, target: Tensor) -> Tensor:
    """Log-loss summed over labels, logits and indicators (b, k)."""
    return nnf.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1)


def _squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error summed over outputs."""
    return (prediction - target).square().sum(1)


def _absolute_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Absolute error summed over outputs."""
    return (prediction - target).abs().sum(1)


def _huber(prediction: Tensor, target: Tensor) -> Tensor:
    """Huber loss summed over outputs; the bend is at one unit of the scaled target."""
    return nnf.huber_loss(prediction, target, reduction="none", delta=_HUBER_DELTA).sum(1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "binary": _binary,
    "multiclass": _multiclass,
    "multilabel": _multilabel,
    "squared_error": _squared_error,
    "absolute_error": _absolute_error,
    "huber": _huber,
}


def link(kind: str, logits: Tensor) -> Tensor:
    """Turn logits into probabilities: (b, 2) for binary, else (b, k)."""
    if kind == "binary":
        positive = torch.sigmoid(logits[:, 0])
        return torch.stack([torch.sigmoid(-logits[:, 0]), positive], 1)
    if kind == "multiclass":
        return torch.softmax(logits, 1)
    return torch.sigmoid(logits)


def log_link(kind: str, logits: Tensor) -> Tensor:
    """Return the logarithms of what :func:`link` does, without underflow."""
    if kind == "binary":
        return nnf.logsigmoid(torch.stack([-logits[:, 0], logits[:, 0]], 1))
    return nnf.log_softmax(logits, 1) if kind == "multiclass" else nnf.logsigmoid(logits)


_SMOOTHING = 1e-3


def smooth_loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Loss of that name with a continuous gradient.

    The absolute error becomes a Huber loss whose bend lies at 1e-3 standard deviations of the
    target, which differs from it by at most 5e-4; every other loss is smooth as it is.
    """
    if name != "absolute_error":
        return LOSSES[name]

    def smoothed(prediction: Tensor, target: Tensor) -> Tensor:
        losses = nnf.huber_loss(prediction, target, reduction="none", delta=_SMOOTHING)
        return (losses / _SMOOTHING).sum(1)

    return smoothed
