"""Scales, shares and best constants of the rows of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sklearn_mmfusion._dataset import FusionDataset
from sklearn_mmfusion._fit_data import FitInput, TargetScale
from sklearn_mmfusion._plan import FusionPlan
from sklearn_mmfusion._scaling import block_moments, column_moments, warn_of_lost_digits

__all__ = [
    "best_constant",
    "input_scalings",
    "row_shares",
    "scaled_target",
    "target_scale",
]

Floats = npt.NDArray[np.float64]


def row_shares(dataset: FusionDataset) -> Tensor:
    """Row weights that sum to 1, float64."""
    weight = dataset.batch.weight
    if weight is None:
        return torch.full((len(dataset),), 1.0 / len(dataset), dtype=torch.float64)
    weight = weight.double()
    return weight / weight.sum()


def best_constant(rows: FusionDataset, loss_name: str, n_outputs: int) -> Tensor:
    """Return the best constant outputs: log-odds, log-frequencies, means or medians."""
    share, target = row_shares(rows).to(rows.target.device), rows.target
    tiny = 1e-12
    if loss_name == "binary":
        rate = (share * target.double()).sum().clamp(tiny, 1 - tiny)
        return torch.logit(rate)[None]
    if loss_name == "multiclass":
        counts = torch.zeros(n_outputs, dtype=torch.float64, device=target.device)
        counts = counts.index_add(0, target, share)
        logs = counts.clamp_min(tiny).log()
        return logs - logs.mean()
    if loss_name == "multilabel":
        return torch.logit((share @ target.double()).clamp(tiny, 1 - tiny))
    if loss_name == "absolute_error":
        return _weighted_median(target.double(), share)
    return share @ target.double()


def _weighted_median(target: Tensor, share: Tensor) -> Tensor:
    order = target.argsort(0)
    cumulative = share[order].cumsum(0)
    first = (cumulative >= 0.5 - 1e-12).to(torch.int8).argmax(0)
    return target.gather(0, order).gather(0, first[None])[0]


def input_scalings(
    plan: FusionPlan, fit_input: FitInput
) -> tuple[tuple[Floats, Floats] | None, ...]:
    scalings: list[tuple[Floats, Floats] | None] = []
    for m, block in enumerate(fit_input.data.blocks):
        if plan.takes_codes(m):
            scalings.append(None)
            continue
        if not plan.standardizes(m):
            scalings.append((np.zeros(()), np.ones(())))
            continue
        mean, scale = block_moments(block, fit_input.weight)
        warn_of_lost_digits(block.name, mean, scale)
        scalings.append((mean, scale))
    return tuple(scalings)


def target_scale(fit_input: FitInput) -> TargetScale:
    if fit_input.kind == "regression":
        mean, scale = column_moments(fit_input.target.astype(np.float64), fit_input.weight)
        return TargetScale(mean, scale)
    return TargetScale(np.zeros(1), np.ones(1))


def scaled_target(fit_input: FitInput, scale: TargetScale) -> npt.NDArray[Any]:
    if fit_input.kind != "regression":
        return fit_input.target
    return (fit_input.target - scale.mean) / scale.scale
