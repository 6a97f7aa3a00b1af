"""Standardised features for scikit-learn's models, whatever their magnitude."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

from sklearn_mmfusion._rows.scaling import column_moments

__all__ = ["Standardizer"]

_LARGEST = 1e100  # scale units; a sum of squares of such numbers is finite


class Standardizer(TransformerMixin, BaseEstimator):
    """Give columns mean 0 and variance 1, by sums that neither 1e300 nor 1e-300 breaks.

    scikit-learn's ``StandardScaler`` squares the values as they are. This one agrees with it where
    squares are finite, and does not look at its input otherwise: it comes checked.

    Attributes
    ----------
    mean_, scale_ : ndarray of shape (n_features,)
        Weighted mean and standard deviation; the scale of what does not vary is its magnitude.
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Standardizer:
        """Compute means and scales.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Finite numbers.
        y : None
            Not used.
        sample_weight : ndarray of shape (n_samples,), default=None
            Row weights.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        self.mean_, self.scale_ = column_moments(np.asarray(X, dtype=np.float64), sample_weight)
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float64]:
        """Return standardised columns; rows very far away stay finite.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Finite numbers.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Values less the mean, in units of the scale, float64.
        """
        with np.errstate(over="ignore"):
            scaled = (np.asarray(X, dtype=np.float64) - self.mean_) / self.scale_
        return np.clip(scaled, -_LARGEST, _LARGEST)
