"""Rows that lack a modality, and whose target is another than the model says.

What is absent adds 0, as if it were at its mean. Where it is not absent at random, as a test that
only the ill are given, the rows without it are predicted wrongly, all to the same side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from sklearn_mmfusion._errors import warn
from sklearn_mmfusion._fit_data import FitInput
from sklearn_mmfusion._lazy_blocks import is_lazy

__all__ = ["warn_of_telling_gaps"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.bool_]

_FEWEST = 10  # rows with, and rows without a modality
_CHANCE = 1e-3  # bound of that of a warning without a reason, over all modalities and outputs
_SMALLEST = 0.2  # standard deviations of what the model leaves over


def warn_of_telling_gaps(model: Any, rows: FitInput) -> None:
    """Warn of modalities whose absence says something of the target that the model does not.

    Compares what the model leaves over of the target in training rows with and without each
    modality. Bernstein's inequality bounds the chance of a difference; it holds for rare classes
    and long tails, too. Numbers that are not fitted to their mean, and modalities on disk, are not
    looked at. Routing, and late fusion, whose encodings have no mean of 0, know what is absent.

    Parameters
    ----------
    model : estimator
        The fitted estimator.
    rows : FitInput
        Its training rows.

    Warns
    -----
    UserWarning
        Names the modality, its absent rows, their mean target, what the model says, and the remedy.
    """
    gaps = {b.name: ~b.present for b in rows.data.blocks if b.present is not None}
    if not gaps or is_lazy(rows.data) or getattr(model, "loss", "squared_error") != "squared_error":
        return
    target, predicted, spread = _targets(rows, model._data_outputs(rows.data))
    weight = np.ones(len(target)) if rows.weight is None else rows.weight
    n_tests = len(gaps) * target.shape[1]
    for name, absent in gaps.items():
        k, chance = _least_chance(target, predicted, spread, weight, absent)
        if chance * n_tests < _CHANCE:
            there = absent & (weight > 0)
            found, said = (
                float(np.average(values[there, k], weights=weight[there]))
                for values in (target, predicted)
            )
            warn(
                f"modality {name!r}: in the {there.sum()} training rows that lack it, "
                f"{_said_of(model, rows, k)} is {found:.3g}, and {said:.3g} by the model: that it "
                "is absent says something of the target. Pass whether it is there as a modality of "
                "its own, 1 or 0 in one column",
                UserWarning,
            )


def _targets(rows: FitInput, outputs: Floats) -> tuple[Floats, Floats, Floats]:
    """Targets, their means by the model, and the variances that go with these; (n, k) each."""
    target = np.asarray(rows.target)
    if rows.kind == "regression":
        target = target.reshape(outputs.shape).astype(np.float64)
        return target, outputs, np.zeros_like(outputs)
    if rows.kind == "multiclass":
        predicted = softmax(outputs, axis=1)
        target = np.eye(predicted.shape[1])[target]
    else:
        predicted = expit(outputs)
        target = target.reshape(predicted.shape).astype(np.float64)
    return target, predicted, predicted * (1 - predicted)


def _least_chance(
    target: Floats, predicted: Floats, spread: Floats, weight: Floats, absent: Rows
) -> tuple[int, float]:
    """Return the output that tells rows with and without a modality apart, and the chance."""
    sides = [absent & (weight > 0), ~absent & (weight > 0)]
    if min(side.sum() for side in sides) < _FEWEST:
        return 0, 1.0
    left_over = target - predicted
    means, variances, steps = [], [], []
    # The effect of a modality has the mean 0 in rows that have it, as it were absent; in few rows
    # that is not the mean of the effect, and the target's own variance is what chance can do.
    for side, varying in zip(sides, (left_over, target), strict=True):
        share = (weight[side] / weight[side].sum())[:, None]
        centred = varying[side] - (share * varying[side]).sum(axis=0)
        means.append((share * left_over[side]).sum(axis=0))
        # Ten rows without a case of a rare class do not vary, but could have.
        possible = np.maximum((share**2 * centred**2).sum(0), (share**2 * spread[side]).sum(0))
        variances.append(possible)
        steps.append((share * np.maximum(np.abs(centred), spread[side] > 0)).max(axis=0))
    far = np.abs(means[0] - means[1])
    deviation = np.sqrt(np.average(left_over**2, axis=0, weights=weight))
    variance = variances[0] + variances[1]
    step = np.maximum(*steps)
    with np.errstate(invalid="ignore", divide="ignore"):
        exponent = far**2 / 2 / (variance + step * far / 3)
    exponent = np.where((far > _SMALLEST * deviation) & (variance > 0), exponent, 0.0)
    k = int(exponent.argmax())
    return k, float(2 * np.exp(-exponent[k]))


def _said_of(model: Any, rows: FitInput, k: int) -> str:
    """Name what a mean of a target is of."""
    if rows.kind in ("binary", "multiclass"):
        label = model.classes_[1 if rows.kind == "binary" else k]
        return f"the share of class {label!s}"
    if rows.kind == "multilabel":
        return f"the share of label {k}"
    if np.ndim(rows.target) == 1 or rows.target.shape[1] == 1:
        return "the mean of y"
    return f"the mean of column {k} of y"
