"""What each term adds on these rows, alone and together with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion.report._subject import part, parts

__all__ = ["Shares", "contribution_shares", "pair_matrix", "shares_by_order"]

Floats = npt.NDArray[np.float64]

_QUANTILE = 1.959963984540054  # of the normal distribution, for 95 % on both sides


@dataclass
class Shares:
    """Shares of the mean absolute contribution.

    Attributes
    ----------
    share : ndarray of shape (n_terms,)
        They sum to 1; all 0 where every contribution is 0.
    low, high : ndarray of shape (n_terms,)
        Ends of the 95 % interval over rows, within 0 and 1.
    """

    share: Floats
    low: Floats
    high: Floats


def contribution_shares(absolute: Floats, weight: Floats) -> Shares:
    r"""Return the share of each term in the mean absolute contribution, with its interval.

    Parameters
    ----------
    absolute : ndarray of shape (n_samples, n_terms)
        Absolute contributions, summed over outputs.
    weight : ndarray of shape (n_samples,)
        Weights of the rows that sum to 1.

    Returns
    -------
    Shares
        With the interval of a ratio of means, by linearisation: for :math:`s_t = \bar a_t / \bar
        a` the rows deviate by :math:`d_{it} = (a_{it} - s_t a_i) / \bar a`, and the standard
        error is :math:`\sqrt{\sum_i w_i^2 d_{it}^2}`.
    """
    total = absolute.sum(axis=1)
    mean = float(weight @ total)
    if mean == 0:
        zero = np.zeros(absolute.shape[1])
        return Shares(zero, zero, zero)
    share = parts(weight @ absolute / mean)
    deviation = (absolute - share * total[:, None]) / mean
    error = np.sqrt(np.square(weight) @ np.square(deviation))
    low = np.clip(share - _QUANTILE * error, 0, 1)
    high = np.clip(share + _QUANTILE * error, 0, 1)
    return Shares(share, low, high)


def shares_by_order(share: Floats, orders: Sequence[int]) -> dict[int, float]:
    """Return the share of all terms of each order."""
    return {
        order: part(sum(s for s, o in zip(share, orders, strict=True) if o == order))
        for order in sorted(set(orders))
    }


def pair_matrix(share: Floats, terms: Sequence[tuple[str, ...]], names: Sequence[str]) -> Floats:
    """Return shares as a matrix of modalities: single ones on the diagonal, pairs on both sides.

    Terms of three and more modalities have no place in it; NaN where there is no term.
    """
    place = {name: i for i, name in enumerate(names)}
    matrix = np.full((len(names), len(names)), np.nan)
    for value, term in zip(share, terms, strict=True):
        if len(term) <= 2:
            i, j = place[term[0]], place[term[-1]]
            matrix[i, j] = matrix[j, i] = value
    return matrix
