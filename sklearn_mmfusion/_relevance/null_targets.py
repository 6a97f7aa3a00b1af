"""Targets in which there is no interaction: additive predictions, bent effects, and chance."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import logit
from sklearn.base import is_classifier

from sklearn_mmfusion._fitting.recombination import Recombination
from sklearn_mmfusion._fitting.stand_ins import products_beside
from sklearn_mmfusion._relevance.modality_features import modality_features
from sklearn_mmfusion._relevance.refits import Refit, refit

__all__ = ["Additive", "additive_fits", "draw_target", "without_interactions"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

# Least gain of a bent effect: small, since one that is missed passes for an interaction, while one
# that is not there adds its chance to that of the residuals, one tenth of it for all together.
_LEAST_GAIN = 0.25
_LEAST = 1e-6  # of a probability whose logit is taken


class Additive(NamedTuple):
    """What a fit without interactions says of rows.

    Attributes
    ----------
    predicted : ndarray of shape (n_held,) or (n_held, n_outputs)
        Predictions, or probabilities, of the rows that it did not learn from.
    features : dict of str to ndarray of shape (n_samples, n_features)
        Features of each modality in all rows, as the fit reads it.
    """

    predicted: Floats
    features: dict[str, Floats]


def additive_fits(jobs: list[Refit], held: list[Any], X: Any, y: Any) -> list[Additive]:
    """Fit models without interactions, and read the rows."""
    return [
        Additive(_prediction(fitted, rows, y), modality_features(fitted, X))
        for (fitted, _), rows in zip(refit(jobs), held, strict=True)
    ]


def without_interactions(
    estimator: Any,
    y: Any,
    fits: list[Additive],
    folds: list[tuple[Rows, Rows]],
    weight: Floats | None,
    groups: Any,
) -> Floats:
    r"""Predict each row from others by terms of one modality, and by what is bent in them.

    Let :math:`\eta` be the outputs that the additive fits predict for rows that they have not seen.
    With the bent effects :math:`\phi_q` of single modalities that the residuals of the rows follow
    which trained a fit, its other rows are predicted by
    :math:`b + \gamma \eta + \sum_q \theta_q \phi_q`, on the scale of logits for classes, with the
    coefficients that fit the former best.

    Parameters
    ----------
    estimator : estimator
        Classifier or regressor.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Target.
    fits : list of Additive
        One for each fold.
    folds : list of (ndarray, ndarray)
        Rows that trained the fit, and those that did not.
    weight : ndarray of shape (n_samples,) or None
        Row weights.
    groups : ndarray of int of shape (n_samples,) or None
        Groups of the rows.

    Returns
    -------
    ndarray of shape (n_samples,), (n_samples, n_outputs) or (n_samples, n_classes)
        Predictions, or probabilities.
    """
    n = len(y)
    plain = np.zeros((n, *fits[0].predicted.shape[1:]))
    for (_, test), fit in zip(folds, fits, strict=True):
        plain[test] = fit.predicted
    kind, outputs, response, unit = _on_scale(estimator, y, plain)
    found = plain.copy()
    for (train, test), fit in zip(folds, fits, strict=True):
        share = np.zeros(n)  # rows without weight are predicted, and nothing more
        share[train] = 1.0 if weight is None else weight[train]
        share /= share.sum()
        zero = np.zeros(outputs.shape[1])
        rows = Recombination(kind, outputs[:, None], response, zero, share, len(train))
        n_units = rows.n_informative
        if groups is not None:
            n_units = min(n_units, len(np.unique(groups[train])))
        products = products_beside((), fit.features, n_units)
        means = rows.beside_bent_effects(products, n_units, threshold=_LEAST_GAIN)
        if means is not None:
            values = means[test] * unit
            both = np.hstack([1 - values, values]) if kind == "binary" else values
            found[test] = both.reshape(found[test].shape)
    return found


def _on_scale(estimator: Any, y: Any, predicted: Floats) -> tuple[str, Floats, Floats, Floats]:
    """Return the kind of target, additive outputs, the response, and its unit."""
    array = np.asarray(y)
    if not is_classifier(estimator):
        array = array.astype(np.float64).reshape(len(array), -1)
        unit = np.where(array.std(axis=0) > 0, array.std(axis=0), 1.0)
        return "regression", predicted.reshape(array.shape) / unit, array / unit, unit
    chance = np.clip(predicted, _LEAST, 1 - _LEAST)
    one = np.ones(1)
    if array.ndim == 2 and array.shape[1] > 1:
        return "multilabel", logit(chance), array.astype(np.float64), one
    classes, index = np.unique(array, return_inverse=True)
    indicators = np.eye(len(classes))[index.reshape(-1)]
    if len(classes) == 2:
        return "binary", logit(chance[:, 1:]), indicators[:, 1:], one
    logits = np.log(chance)
    return "multiclass", logits - logits.mean(axis=1, keepdims=True), indicators, one


def _prediction(fitted: Any, rows: Any, y: Any) -> Floats:
    """Return predictions, or the probabilities of all classes of y."""
    if not is_classifier(fitted):
        return np.asarray(fitted.predict(rows), dtype=np.float64)
    found = np.asarray(fitted.predict_proba(rows), dtype=np.float64)
    if np.ndim(y) == 2 and np.shape(y)[1] > 1:
        return found
    classes = np.unique(np.asarray(y))
    whole = np.zeros((len(found), len(classes)))
    whole[:, np.searchsorted(classes, fitted.classes_)] = found
    return whole


def draw_target(
    estimator: Any, y: Any, predicted: Floats, rng: np.random.RandomState
) -> npt.NDArray[Any]:
    """Draw a target from predictions and permuted residuals, or from probabilities."""
    array = np.asarray(y)
    if not is_classifier(estimator):
        array = array.astype(np.float64).reshape(predicted.shape)
        residual = array - predicted
        return predicted + residual[rng.permutation(len(residual))]
    if array.ndim == 2 and array.shape[1] > 1:
        return (rng.uniform(size=predicted.shape) < predicted).astype(np.int64)
    classes = np.unique(array)
    thresholds = np.cumsum(predicted, axis=1)
    drawn = (rng.uniform(size=(len(predicted), 1)) > thresholds).sum(axis=1)
    drawn = np.minimum(drawn, len(classes) - 1)
    # A class that was not drawn goes to the rows that come nearest to it: fits need two of each.
    for k in range(len(classes)):
        short = 2 - int((drawn == k).sum())
        if short > 0:
            drawn[np.argsort(-predicted[:, k], kind="stable")[:short]] = k
    return classes[drawn]
