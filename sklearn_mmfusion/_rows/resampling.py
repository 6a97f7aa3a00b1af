"""Means over the parts of a cross-validation, whose training sets overlap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["corrected_interval", "corrected_p_value"]

Floats = npt.NDArray[np.float64]


def _corrected_error(values: Floats, test_ratio: float) -> Floats:
    error: Floats = values.std(axis=0, ddof=1) * np.sqrt(1 / len(values) + test_ratio)
    return error


def corrected_interval(values: Floats, test_ratio: float, confidence: float = 0.95) -> Floats:
    r"""Return the interval of a mean by the corrected resampled t test.

    .. math:: \bar x \pm t_{J-1}\, s \sqrt{1/J + n_\text{test} / n_\text{train}}

    Parameters
    ----------
    values : ndarray of shape (n_fits, ...)
        One value per fit, at least two.
    test_ratio : float
        Rows of a test part divided by rows of its training part; 0 for independent fits.
    confidence : float, default=0.95
        Probability.

    Returns
    -------
    ndarray of shape (..., 2)
        Lower and upper end.

    References
    ----------
    Nadeau & Bengio (2003), "Inference for the Generalization Error", Machine Learning 52.
    """
    quantile = stats.t.ppf((1 + confidence) / 2, len(values) - 1)
    half = quantile * _corrected_error(values, test_ratio)
    mean = values.mean(axis=0)
    return np.stack([mean - half, mean + half], axis=-1)


def corrected_p_value(differences: Floats, test_ratio: float) -> float:
    """Return the two-sided p-value of a mean difference of 0; see :func:`corrected_interval`.

    Of differences that are all the same it is 1 if they are 0, else 0.
    """
    mean, error = float(differences.mean()), float(_corrected_error(differences, test_ratio))
    if error <= 1e-12 * max(1.0, abs(mean)):
        return 1.0 if abs(mean) <= 1e-12 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, len(differences) - 1))
