"""Rows that lack a modality, and whose target is another than the model says.

What is absent adds 0, as if it were at its mean. Where it is not absent at random, as a test that
only the ill are given, the rows without it are predicted wrongly, all to the same side.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit, softmax
from sklearn.ensemble import RandomForestRegressor

from sklearn_mmfusion._errors import warn
from sklearn_mmfusion._fitting.data import FitInput
from sklearn_mmfusion._inputs.lazy_blocks import is_lazy, some_columns, take_rows
from sklearn_mmfusion._rows.row_errors import RowErrors
from sklearn_mmfusion._rows.weights import n_counted
from sklearn_mmfusion.data._blocks import ModalityData

__all__ = ["warn_of_telling_gaps"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.intp]

_FEWEST = 10  # rows with, and rows without a modality
_CHANCE = 1e-3  # bound of that of a warning without a reason, over all modalities and outputs
_SMALLEST = 0.2  # standard deviations of what the model leaves over
_LEAST_EFFECT = 3.0  # standard errors of what is left beside the other modalities
_MOST_ROWS, _MOST_COLUMNS = 1000, 64  # that a forest reads of the others: a second or two
_N_TREES, _LEAF = 100, 5


def warn_of_telling_gaps(model: Any, rows: FitInput) -> None:
    """Warn of modalities whose absence says something of the target that the model does not.

    Compares what the model leaves over of the target in training rows with and without each
    modality. Bernstein's inequality bounds the chance of a difference; it holds for rare classes
    and long tails, too; where rows have groups, these are what chance draws. Numbers that are not
    fitted to their mean, and modalities on disk, are not looked at. Routing, and late fusion, whose
    encodings have no mean of 0, know what is absent.

    A model that is too plain, or a constant, leaves over what the other modalities say. Where these
    tell who lacks the modality, too, its absence says nothing of its own. So both, absence and what
    is left over, are predicted by a forest of the other modalities, and what they have in common
    beside that has to be clear.

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

    References
    ----------
    Shah & Peters (2020), "The hardness of conditional independence testing and the generalised
    covariance measure", Annals of Statistics 48.
    """
    gaps = {b.name: ~b.present for b in rows.data.blocks if b.present is not None}
    if not gaps or is_lazy(rows.data) or getattr(model, "loss", "squared_error") != "squared_error":
        return
    target, predicted, spread = _targets(rows, model._data_outputs(rows.data))
    weight = np.ones(len(target)) if rows.weight is None else rows.weight
    n_tests = len(gaps) * target.shape[1]
    for name, absent in gaps.items():
        k, chance = _least_chance(target, predicted, spread, weight, absent, rows.groups)
        left_over = target[:, k] - predicted[:, k]
        if chance * n_tests < _CHANCE and _says_more(rows, name, absent, left_over, weight):
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
    target: Floats,
    predicted: Floats,
    spread: Floats,
    weight: Floats,
    absent: Rows,
    groups: Codes | None = None,
) -> tuple[int, float]:
    """Return the output that tells rows with and without a modality apart, and the chance."""
    groups = np.arange(len(target)) if groups is None else groups
    sides = [absent & (weight > 0), ~absent & (weight > 0)]
    if min(len(np.unique(groups[side])) for side in sides) < _FEWEST:
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
        by_group = np.square(_sums(share * centred, groups[side])).sum(axis=0)
        variances.append(np.maximum(possible, by_group))
        largest = share * np.maximum(np.abs(centred), spread[side] > 0)
        steps.append(_sums(largest, groups[side]).max(axis=0))
    far = np.abs(means[0] - means[1])
    deviation = np.sqrt(np.average(left_over**2, axis=0, weights=weight))
    variance = variances[0] + variances[1]
    step = np.maximum(*steps)
    with np.errstate(invalid="ignore", divide="ignore"):
        exponent = far**2 / 2 / (variance + step * far / 3)
    exponent = np.where((far > _SMALLEST * deviation) & (variance > 0), exponent, 0.0)
    k = int(exponent.argmax())
    return k, float(2 * np.exp(-exponent[k]))


def _sums(values: Floats, groups: Codes) -> Floats:
    """Return sums over the rows of each group, (n_groups, k)."""
    names, codes = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, codes, values)
    return sums


def _says_more(rows: FitInput, name: str, absent: Rows, left_over: Floats, weight: Floats) -> bool:
    """Whether absence and what a model leaves over go together beside the other modalities."""
    others = [block for block in rows.data.blocks if block.name != name]
    if not others:
        return True
    some = np.flatnonzero(weight > 0)
    if len(some) > _MOST_ROWS:  # the few rows of a side are kept, which is no matter to this test
        drawn = np.random.default_rng(0).permutation(some)
        sides = [drawn[absent[drawn] == side][: _MOST_ROWS // 2] for side in (True, False)]
        some = np.sort(np.concatenate(sides))
    weight = weight[some]
    n_columns = max(1, _MOST_COLUMNS // len(others))
    columns = some_columns(take_rows(ModalityData(others), some), n_columns, spaced=True)
    both = np.column_stack([absent[some], left_over[some]]).astype(np.float64)
    both /= both.std(axis=0)
    forest = RandomForestRegressor(_N_TREES, min_samples_leaf=_LEAF, oob_score=True, random_state=0)
    # Places of values, which no size of numbers overflows.
    places = [np.unique(column, return_inverse=True)[1] for column in np.hstack(columns).T]
    forest.fit(np.column_stack(places), both, weight)
    common = torch.from_numpy((both - forest.oob_prediction_).prod(axis=1))
    group = None if rows.groups is None else torch.from_numpy(rows.groups[some])
    share = torch.from_numpy(weight / weight.sum())
    errors = RowErrors(share, n_counted(weight, len(some)), group=group)
    return abs(errors.mean(common)) > _LEAST_EFFECT * math.sqrt(errors.variance(common))


def _said_of(model: Any, rows: FitInput, k: int) -> str:
    """Name what a mean of a target is of."""
    if rows.kind in ("binary", "multiclass"):
        label = model.classes_[1 if rows.kind == "binary" else k]
        return f"the share of class {label!s}"
    if rows.kind == "multilabel":
        return f"the share of label {model._target.shown_column(k)}"
    if np.ndim(rows.target) == 1 or rows.target.shape[1] == 1:
        return "the mean of y"
    return f"the mean of column {model._target.shown_column(k)} of y"
