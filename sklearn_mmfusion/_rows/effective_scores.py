"""Effective scores of rows for one term, and how much they spread when their signs are flipped.

Letters in einsum: n row or group, s draw of signs, q coefficient of the other terms.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

__all__ = ["EffectiveScores"]

Floats = npt.NDArray[np.float64]

_LEAST = 1e-8  # of the variance; where flips leave no more than that, nothing can be told


@dataclass(frozen=True)
class EffectiveScores:
    r"""Scores of rows, or of groups of rows, for one term beside all others.

    With weights W, the design D of the others and the variances V of the response, the residuals
    of a fit of the others are :math:`I - V D (D^\top W V D)^{-1} D^\top W` times the errors. So a
    sum of scores with flipped signs F is :math:`u^\top` times the errors, where
    :math:`u = v - W D (D^\top W V D)^{-1} D^\top V v` and :math:`v = W F \tilde c`. It varies less
    than the sum as it is: the others were fitted to the signs as they are [1]_.

    Attributes
    ----------
    values : ndarray of shape (n,)
        The scores.
    variance : float
        Of their sum, up to a factor.
    loadings, weighted_loadings : ndarray of shape (n, q)
        :math:`w D^\top V \tilde c` of each row, and w times that.
    inverse, inner : ndarray of shape (q, q)
        :math:`(D^\top W V D)^{-1}` and :math:`D^\top W V W D`.

    References
    ----------
    .. [1] De Santis, Goeman, Hemerik, Davenport and Finos (2022), *Inference in generalized linear
       models with robustness to misspecified variances*.
    """

    values: Floats
    variance: float = 0.0
    loadings: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    weighted_loadings: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    inverse: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    inner: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    def of_groups(self, label: npt.NDArray[np.intp]) -> EffectiveScores:
        """Return the scores of groups, whose rows change their signs together.

        ``label`` is the group of each row, from 0.
        """
        order = np.argsort(label, kind="stable")
        starts = np.flatnonzero(np.diff(label[order], prepend=-1))

        def summed(rows: Floats) -> Floats:
            sums: Floats = np.add.reduceat(rows[order], starts, axis=0) if len(rows) else rows
            return sums

        return replace(
            self,
            values=summed(self.values),
            loadings=summed(self.loadings),
            weighted_loadings=summed(self.weighted_loadings),
        )

    def relative_std(self, signs: Floats) -> Floats:
        """Return the standard deviations of the sum with flipped signs (s, n), unflipped 1; (s,).

        0 where the flips leave nothing.
        """
        if self.variance <= 0:
            return np.ones(len(signs))
        first = signs @ self.loadings
        second = signs @ self.weighted_loadings
        found = first @ self.inverse
        variance = (
            self.variance
            - 2 * np.einsum("sq,sq->s", second, found)
            + np.einsum("sq,qr,sr->s", found, self.inner, found)
        )
        share = variance / self.variance
        std: Floats = np.sqrt(np.where(share > _LEAST, share, 0.0))
        return std
