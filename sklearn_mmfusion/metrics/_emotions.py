"""Metrics of emotions, labels that may be present together and are scored one by one."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import make_scorer
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils._param_validation import StrOptions, validate_params

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.metrics._f1 import ARRAYS, weighted_f1, weighted_rows

__all__ = ["emotion_accuracy", "emotion_f1", "emotion_scorers"]


@validate_params(
    {**ARRAYS, "average": [StrOptions({"macro"}), None]}, prefer_skip_nested_validation=True
)
def emotion_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: str | None = None,
    sample_weight: ArrayLike | None = None,
) -> float | NDArray[np.float64]:
    """Return, for each emotion, the share of rows in which it is rightly present or absent.

    Use it on IEMOCAP and on the emotions of MOSEI. Rare emotions have a high accuracy without any
    skill: report :func:`emotion_f1` beside it.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_emotions)
        1 where an emotion is present, else 0.
    y_pred : array-like of shape (n_samples, n_emotions)
        The predictions, 0 or 1.
    average : {"macro"}, default=None
        With ``"macro"`` return the mean over the emotions.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    accuracy : ndarray of shape (n_emotions,), or float
        From 0 to 1.

    Examples
    --------
    >>> from sklearn_mmfusion.metrics import emotion_accuracy
    >>> emotion_accuracy([[0, 1], [1, 1], [0, 0], [0, 1]], [[0, 1], [0, 1], [0, 0], [0, 0]])
    array([0.75, 0.75])
    """
    true, predicted, weights = _indicators(y_true, y_pred, sample_weight)
    scores: NDArray[np.float64] = np.average(true == predicted, axis=0, weights=weights)
    return float(scores.mean()) if average else scores


@validate_params(
    {**ARRAYS, "average": [StrOptions({"macro"}), None]}, prefer_skip_nested_validation=True
)
def emotion_f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: str | None = None,
    sample_weight: ArrayLike | None = None,
) -> float | NDArray[np.float64]:
    """Return the F1 score of each emotion, averaged over absent and present by their frequency.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_emotions)
        1 where an emotion is present, else 0.
    y_pred : array-like of shape (n_samples, n_emotions)
        The predictions, 0 or 1.
    average : {"macro"}, default=None
        With ``"macro"`` return the mean over the emotions.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    f1 : ndarray of shape (n_emotions,), or float
        From 0 to 1. This is scikit-learn's ``average="weighted"`` for each emotion, as the papers
        report it, not the F1 score of "present" alone.

    Examples
    --------
    >>> from sklearn_mmfusion.metrics import emotion_f1
    >>> emotion_f1([[0, 1], [1, 1], [0, 0], [0, 1]], [[0, 1], [0, 1], [0, 0], [0, 0]])
    array([0.64, 0.77])
    """
    true, predicted, weights = _indicators(y_true, y_pred, sample_weight)
    scores = np.array(
        [weighted_f1(*columns, weights) for columns in zip(true.T, predicted.T, strict=True)]
    )
    return float(scores.mean()) if average else scores


@validate_params({"emotions": [list, tuple]}, prefer_skip_nested_validation=True)
def emotion_scorers(emotions: Sequence[str]) -> dict[str, Callable[..., float]]:
    """Return the scorers that the papers report on IEMOCAP and the emotions of MOSEI.

    Parameters
    ----------
    emotions : list of str
        A name for each column of the target, as the `target_names` of
        :func:`~sklearn_mmfusion.datasets.load_iemocap`.

    Returns
    -------
    scorers : dict of str to scorer
        ``"accuracy"`` and ``"f1"``, means over the emotions, then ``"accuracy_<emotion>"`` and
        ``"f1_<emotion>"`` for each. Larger is better.

    Raises
    ------
    InputError
        If the names are no distinct text.

    Examples
    --------
    >>> from sklearn_mmfusion.metrics import emotion_scorers
    >>> list(emotion_scorers(["happy", "sad"]))
    ['accuracy', 'f1', 'accuracy_happy', 'f1_happy', 'accuracy_sad', 'f1_sad']
    """
    if not all(isinstance(name, str) for name in emotions) or len({*emotions}) < len(emotions):
        raise InputError(f"emotions: expected distinct names as text, got {list(emotions)!r}.")
    scorers = {
        "accuracy": make_scorer(emotion_accuracy, average="macro"),
        "f1": make_scorer(emotion_f1, average="macro"),
    }
    for index, name in enumerate(emotions):
        scorers[f"accuracy_{name}"] = make_scorer(_emotion_accuracy_of, index=index)
        scorers[f"f1_{name}"] = make_scorer(_emotion_f1_of, index=index)
    return scorers


def _emotion_accuracy_of(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    index: int,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Return the accuracy of one emotion, for a scorer: these have to be functions to pickle."""
    return float(emotion_accuracy(y_true, y_pred, sample_weight=sample_weight)[index])


def _emotion_f1_of(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    index: int,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Return the F1 score of one emotion, for a scorer."""
    return float(emotion_f1(y_true, y_pred, sample_weight=sample_weight)[index])


def _indicators(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return booleans (n, e) of targets and predictions, and weights (n,), of rows with one."""
    true, predicted = (
        check_array(values, dtype=np.float64, input_name=name)
        for name, values in (("y_true", y_true), ("y_pred", y_pred))
    )
    check_consistent_length(true, predicted)
    for name, values in (("y_true", true), ("y_pred", predicted)):
        if values.shape != true.shape or not np.isin(values, (0, 1)).all():
            raise InputError(
                f"{name}: expected 0 and 1 of shape {true.shape}, a column for each emotion, got "
                f"values from {values.min():g} to {values.max():g} of shape {values.shape}. "
                f"Predict labels, not probabilities."
            )
    return weighted_rows(true > 0, predicted > 0, sample_weight)
