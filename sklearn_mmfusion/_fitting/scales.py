"""Scales, shares and best constants of the rows of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sklearn_mmfusion._fitting.data import FitInput, TargetScale
from sklearn_mmfusion._model.plan import FusionPlan
from sklearn_mmfusion._rows.scaling import (
    LEFT_OUT,
    block_moments,
    column_moments,
    warn_of_lost_digits,
)
from sklearn_mmfusion._training.dataset import FusionDataset

__all__ = [
    "best_constant",
    "input_scalings",
    "row_shares",
    "scaled_target",
    "target_scale",
]

Floats = npt.NDArray[np.float64]

_RAREST = 0.1  # share of a label in the rows of a stream, to begin with


def row_shares(dataset: FusionDataset) -> Tensor:
    """Row weights that sum to 1, float64."""
    weight = dataset.batch.weight
    if weight is None:
        return torch.full((len(dataset),), 1.0 / len(dataset), dtype=torch.float64)
    weight = weight.double()
    return weight / weight.sum()


def best_constant(
    rows: FusionDataset, loss_name: str, n_outputs: int, *, more_to_come: bool = False
) -> Tensor:
    """Return the best constant outputs: log-odds, log-frequencies, means or medians.

    With ``more_to_come`` a batch that lacks a class says nothing of the frequencies, and all are
    taken to be equal; no label is rarer than one row in ten. What a first batch makes impossible
    hundreds of steps would not undo.
    """
    share, target = row_shares(rows).to(rows.target.device), rows.target
    tiny = _RAREST if more_to_come and loss_name == "multilabel" else 1e-12
    if loss_name in ("binary", "multilabel"):
        rates = torch.atleast_1d(share @ target.double())
        if more_to_come and loss_name == "binary" and not 0 < float(rates) < 1:
            rates = torch.full_like(rates, 0.5)
        return torch.logit(rates.clamp(tiny, 1 - tiny))
    if loss_name == "multiclass":
        counts = torch.zeros(n_outputs, dtype=torch.float64, device=target.device)
        counts = counts.index_add(0, target, share)
        if more_to_come and not bool((counts > 0).all()):
            counts = torch.ones_like(counts)
        logs = counts.clamp_min(tiny).log()
        return logs - logs.mean()
    if loss_name in ("absolute_error", "huber"):
        return _weighted_median(target.double(), share)
    return share @ target.double()


def _weighted_median(target: Tensor, share: Tensor) -> Tensor:
    order = target.argsort(0)
    cumulative = share[order].cumsum(0)
    first = (cumulative >= 0.5 - 1e-12).to(torch.int8).argmax(0)
    return target.gather(0, order).gather(0, first[None])[0]


def input_scalings(
    plan: FusionPlan, fit_input: FitInput, *, more_to_come: bool = False
) -> tuple[tuple[Floats, Floats] | None, ...]:
    """Return mean and scale of each modality.

    What is constant is left out, unless there are ``more_to_come``, where it need not be.
    """
    scalings: list[tuple[Floats, Floats] | None] = []
    for m, block in enumerate(fit_input.data.blocks):
        if plan.takes_codes(m):
            scalings.append(None)
            continue
        if not plan.standardizes(m):
            scalings.append((np.zeros(()), np.ones(())))
            continue
        left_out = None if more_to_come else LEFT_OUT
        mean, scale = block_moments(block, fit_input.weight, of_constants=left_out)
        warn_of_lost_digits(block.name, mean, scale)
        scalings.append((mean, scale))
    return tuple(scalings)


def target_scale(fit_input: FitInput, loss_name: str, *, more_to_come: bool = False) -> TargetScale:
    """Return the units of the outputs: mean and deviation, or median and spread.

    The latter for losses that outliers do little to, which the units then should not be ruled by.

    Those of a constant target are 0, so that it is predicted whatever the network says; unless
    there are ``more_to_come``, of which it need not be true.
    """
    if fit_input.kind != "regression":
        return TargetScale(np.zeros(1), np.ones(1))
    target, of_constants = fit_input.target.astype(np.float64), None if more_to_come else 0.0
    mean, scale = column_moments(target, fit_input.weight, of_constants=of_constants)
    if loss_name in ("absolute_error", "huber"):
        mean, scale = _robust_moments(target, fit_input.weight, mean, scale)
    return TargetScale(mean, scale)


def _robust_moments(
    target: Floats, weight: Floats | None, mean: Floats, scale: Floats
) -> tuple[Floats, Floats]:
    """Return median and spread of each column, those that were given where it has no spread.

    The spread is 1.4826 times the median absolute deviation, 1.2533 times the mean one where more
    than half of the values are equal; both are the standard deviation of a normal distribution.
    """
    share = torch.ones(len(target)) if weight is None else torch.from_numpy(np.asarray(weight))
    share = share.double() / share.double().sum()
    values = torch.from_numpy(target)
    median = _weighted_median(values, share)
    deviation = (values - median).abs()
    spread = 1.4826 * _weighted_median(deviation, share)
    spread = torch.where(spread > 0, spread, 1.2533 * (share @ deviation))
    varies = (spread.numpy() > 0) & (scale > 0)
    return np.where(varies, median.numpy(), mean), np.where(varies, spread.numpy(), scale)


def scaled_target(fit_input: FitInput, scale: TargetScale) -> npt.NDArray[Any]:
    if fit_input.kind != "regression":
        return fit_input.target
    known = scale.scale > 0
    return np.where(known, fit_input.target - scale.mean, 0.0) / np.where(known, scale.scale, 1.0)
