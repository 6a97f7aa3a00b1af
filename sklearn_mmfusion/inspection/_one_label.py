"""A hint where a score of labels can tell nothing, since a model predicts one label throughout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from sklearn_mmfusion.inspection._many_scores import score_name

__all__ = ["one_label_hint"]


def one_label_hint(
    estimator: Any,
    scoring: Any,
    score: float,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    response: str = "predict_proba",
    predict: Callable[[], Any] | None = None,
) -> str:
    """Say what to do where a model is scored by its labels and predicts one in every row.

    A model of a rare class often does, however well its probabilities tell rows apart: it seems to
    need no modality then.

    Parameters
    ----------
    estimator : object
        The fitted estimator.
    scoring : str, callable or None
        What the user asked for; None is the estimator's ``score``.
    score : float
        Score of the rows as they are.
    X, y, sample_weight : object
        The rows.
    response : str, default="predict_proba"
        What the score is computed from, where that is not the estimator itself.
    predict : callable, default=None
        Returns the labels of the rows, where they are known; None calls the estimator.

    Returns
    -------
    str
        What to warn of; "" where there is nothing.
    """
    name = score_name(estimator, scoring)
    if name not in ("accuracy", "balanced_accuracy") or not is_classifier(estimator):
        return ""
    target = np.asarray(y)
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    axis = None if target.ndim == 1 else 0
    labels, which = np.unique(target, axis=axis, return_inverse=True)
    weight = np.ones(len(target)) if sample_weight is None else np.asarray(sample_weight, float)
    share = np.bincount(which.ravel(), weight)
    share = share[share > 0] / share.sum()
    if len(share) < 2:
        return ""  # y has one label, which no score tells from another
    # One label throughout has one of these scores. Few others have: to predict takes time.
    of_one = share if name == "accuracy" else np.array([1 / len(share)])
    if not np.isclose([*of_one, 0.0], score, rtol=1e-6, atol=1e-9).any():
        return ""
    predicted = np.asarray(estimator.predict(X) if predict is None else predict())
    if (predicted != predicted[:1]).any():
        return ""
    n_labels = len(getattr(estimator, "classes_", labels))
    what = "labels" if target.ndim == 2 else "label"
    remedy = _remedy(estimator, target, n_labels, response)
    return (
        f"{type(estimator).__name__} predicts the same {what} for all {len(target)} rows, "
        f"{predicted[0].tolist()!r}: scoring by {name} can't tell which modalities it uses, and a "
        f"score of 0 does not say that it uses none; {remedy}"
    )


def _remedy(estimator: Any, target: Any, n_labels: int, response: str) -> str:
    """Return which scores tell rows of one predicted label apart."""
    if target.ndim == 2:
        return "pass scoring='roc_auc', which reads how sure the model is"
    has_proba = hasattr(estimator, "predict_proba")
    # Ours make probabilities of any outputs.
    from_proba = hasattr(estimator, "_raw_outputs") or response in ("predict_proba", "log_proba")
    names = []
    if n_labels == 2 and (has_proba or hasattr(estimator, "decision_function")):
        names.append("scoring='roc_auc'")
    elif has_proba and from_proba:
        names.append("scoring='roc_auc_ovr'")
    if has_proba:
        beside = "" if from_proba else "response='log_proba' and "
        names.append(f"{beside}scoring='neg_log_loss'")
    if not names:
        return "use a classifier with predict_proba, and scoring='neg_log_loss'"
    read = "read" if len(names) > 1 else "reads"
    return f"pass {' or '.join(names)}, which {read} how sure the model is"
