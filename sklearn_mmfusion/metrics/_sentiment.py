"""Metrics of a sentiment, a number from -3 to 3 that a regressor predicts."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import get_scorer, make_scorer
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils._param_validation import StrOptions, validate_params

from sklearn_mmfusion._errors import InputError, warn
from sklearn_mmfusion.metrics._correlation import weighted_correlation
from sklearn_mmfusion.metrics._f1 import ARRAYS, weighted_f1, weighted_rows

__all__ = [
    "pearson_correlation",
    "sentiment_accuracy",
    "sentiment_f1",
    "sentiment_scorers",
    "seven_class_accuracy",
]

_NEUTRAL = StrOptions({"drop", "negative", "positive"})


@validate_params({**ARRAYS, "neutral": [_NEUTRAL]}, prefer_skip_nested_validation=True)
def sentiment_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    neutral: str = "drop",
    sample_weight: ArrayLike | None = None,
) -> float:
    """Return the share of rows whose sentiment is predicted with the right sign.

    Use it beside the mean absolute error. The papers differ in what they do with a sentiment of
    exactly 0, so compare numbers with the same `neutral` only.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The sentiment, negative, 0 or positive.
    y_pred : array-like of shape (n_samples,)
        The predictions.
    neutral : {"drop", "negative", "positive"}, default="drop"
        What a sentiment of 0 is. ``"drop"`` leaves those rows out ("accuracy without neutral");
        ``"negative"`` tells positive ones from all others, ``"positive"`` negative ones from all
        others. A prediction of 0 counts as positive with ``"positive"``, else as negative.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    accuracy : float
        From 0 to 1.

    Raises
    ------
    InputError
        If ``neutral="drop"`` leaves no row with a weight, or all weights are 0.

    References
    ----------
    .. [1] Tsai et al. (2019), "Multimodal Transformer for unaligned multimodal language
       sequences", ACL, section 4.

    Examples
    --------
    >>> from sklearn_mmfusion.metrics import sentiment_accuracy
    >>> sentiment_accuracy([-2.0, -0.4, 0.0, 1.2], [-1.0, 0.3, 0.2, 2.0])
    0.6666666666666666
    >>> sentiment_accuracy([-2.0, -0.4, 0.0, 1.2], [-1.0, 0.3, 0.2, 2.0], neutral="positive")
    0.75
    """
    true, predicted, weights = _signs(y_true, y_pred, neutral, sample_weight)
    return float(np.average(true == predicted, weights=weights))


@validate_params({**ARRAYS, "neutral": [_NEUTRAL]}, prefer_skip_nested_validation=True)
def sentiment_f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    neutral: str = "drop",
    sample_weight: ArrayLike | None = None,
) -> float:
    """Return the F1 score of the sentiment's sign, averaged over both signs by their frequency.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The sentiment, negative, 0 or positive.
    y_pred : array-like of shape (n_samples,)
        The predictions.
    neutral : {"drop", "negative", "positive"}, default="drop"
        What a sentiment of 0 is, see :func:`sentiment_accuracy`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    f1 : float
        From 0 to 1.

    Raises
    ------
    InputError
        If ``neutral="drop"`` leaves no row with a weight, or all weights are 0.

    Notes
    -----
    The two F1 scores are weighted by the frequency of the signs in `y_true`, as scikit-learn does
    with ``average="weighted"``. The code of MulT hands its function the predictions first, and so
    weights by the frequency in the predictions; its numbers differ a little.

    Examples
    --------
    >>> from sklearn_mmfusion.metrics import sentiment_f1
    >>> sentiment_f1([-2.0, -0.4, 0.0, 1.2], [-1.0, 0.3, 0.2, 2.0])
    0.6666666666666666
    """
    true, predicted, weights = _signs(y_true, y_pred, neutral, sample_weight)
    return weighted_f1(true, predicted, weights)


@validate_params(ARRAYS, prefer_skip_nested_validation=True)
def seven_class_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Return the share of rows whose sentiment, rounded to -3, ..., 3, is predicted.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The sentiment. Values beyond -3 and 3 count as these.
    y_pred : array-like of shape (n_samples,)
        The predictions.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    accuracy : float
        From 0 to 1. Halves are rounded to the even number, as numpy and the papers' code do.

    Raises
    ------
    InputError
        If all weights are 0.

    Examples
    --------
    >>> from sklearn_mmfusion.metrics import seven_class_accuracy
    >>> seven_class_accuracy([-3.0, 0.4, 1.6, 2.0], [-3.7, 0.0, 2.2, 1.0])
    0.75
    """
    true, predicted, weights = _columns(y_true, y_pred, sample_weight)
    classes = [np.round(np.clip(values, -3, 3)) for values in (true, predicted)]
    return float(np.average(classes[0] == classes[1], weights=weights))


@validate_params(ARRAYS, prefer_skip_nested_validation=True)
def pearson_correlation(
    y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    r"""Return Pearson's correlation of targets and predictions.

    .. math:: r = \frac{\sum_i w_i (y_i - \bar y)(\hat y_i - \bar{\hat y})}
              {\sqrt{\sum_i w_i (y_i - \bar y)^2 \sum_i w_i (\hat y_i - \bar{\hat y})^2}}

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The targets.
    y_pred : array-like of shape (n_samples,)
        The predictions. A correlation does not see their scale and offset.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    r : float
        From -1 to 1. It is 0, with an UndefinedMetricWarning, if one of both is constant.

    Raises
    ------
    InputError
        If all weights are 0.

    Examples
    --------
    >>> from sklearn_mmfusion.metrics import pearson_correlation
    >>> pearson_correlation([-1.0, 0.0, 1.0, 2.0], [-0.5, 0.0, 0.5, 1.0])
    1.0
    """
    r = weighted_correlation(*_columns(y_true, y_pred, sample_weight))
    if r is None:
        warn(
            "pearson_correlation: targets or predictions are constant, the correlation is "
            "undefined and set to 0.",
            UndefinedMetricWarning,
        )
        return 0.0
    return r


@validate_params({"neutral": [_NEUTRAL]}, prefer_skip_nested_validation=True)
def sentiment_scorers(*, neutral: str = "drop") -> dict[str, Callable[..., float]]:
    """Return the scorers that the papers report on MOSI and MOSEI.

    Parameters
    ----------
    neutral : {"drop", "negative", "positive"}, default="drop"
        What a sentiment of 0 is for accuracy and F1, see :func:`sentiment_accuracy`.

    Returns
    -------
    scorers : dict of str to scorer
        ``"neg_mean_absolute_error"``, ``"correlation"``, ``"accuracy"``, ``"f1"`` and
        ``"seven_class_accuracy"``, for the `scoring` of :func:`~sklearn.model_selection.\
cross_validate` and of searches (with ``refit="neg_mean_absolute_error"``). Larger is better.

    Examples
    --------
    >>> from sklearn_mmfusion.metrics import sentiment_scorers
    >>> list(sentiment_scorers())
    ['neg_mean_absolute_error', 'correlation', 'accuracy', 'f1', 'seven_class_accuracy']
    """
    return {
        "neg_mean_absolute_error": get_scorer("neg_mean_absolute_error"),
        "correlation": make_scorer(pearson_correlation),
        "accuracy": make_scorer(sentiment_accuracy, neutral=neutral),
        "f1": make_scorer(sentiment_f1, neutral=neutral),
        "seven_class_accuracy": make_scorer(seven_class_accuracy),
    }


def _columns(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return finite float targets, predictions and weights, each (n,), of rows with a weight."""
    true, predicted = (
        column_or_1d(check_array(values, ensure_2d=False, dtype=np.float64, input_name=name))
        for name, values in (("y_true", y_true), ("y_pred", y_pred))
    )
    check_consistent_length(true, predicted)
    return weighted_rows(true, predicted, sample_weight)


def _signs(
    y_true: ArrayLike, y_pred: ArrayLike, neutral: str, sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return booleans, True for positive, of the rows that count, and their weights."""
    true, predicted, weights = _columns(y_true, y_pred, sample_weight)
    if neutral == "positive":
        return true >= 0, predicted >= 0, weights
    if neutral == "drop":
        kept = true != 0
        if not kept.any():
            raise InputError(
                "y_true: no row is left without the neutral ones, all sentiments (of rows with a "
                "weight) are 0. Use neutral='negative' or 'positive'."
            )
        true, predicted, weights = true[kept], predicted[kept], weights[kept]
    return true > 0, predicted > 0, weights
