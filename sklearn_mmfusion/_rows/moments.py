"""Mean and variance of contributions over rows that come in chunks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "ContributionMoments",
    "contribution_moments",
    "merge_moments",
    "std_shares",
    "weighted_std",
]

Floats = npt.NDArray[np.float64]

_NORMAL_QUANTILE = 1.959963984540054  # of 0.975


@dataclass
class ContributionMoments:
    """Moments of contributions over some rows.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    values : ndarray of shape (4, n_terms, n_outputs)
        Mean and sum of squared deviations of the contributions, then of their absolute values.
    """

    n_rows: int
    values: Floats

    @property
    def std(self) -> Floats:
        """Standard deviation of each contribution, (n_terms, n_outputs)."""
        deviation: Floats = np.sqrt(self.values[1] / self.n_rows)
        return deviation

    @property
    def mean_absolute(self) -> Floats:
        """Mean absolute contribution, (n_terms, n_outputs)."""
        return self.values[2]

    @property
    def mean_absolute_intervals(self) -> Floats:
        """95 % intervals of the mean absolute contribution; NaN with a single row."""
        n = self.n_rows
        if n < 2:
            return np.full((*self.values.shape[1:], 2), np.nan)
        half = _NORMAL_QUANTILE * np.sqrt(self.values[3] / (n - 1) / n)
        return np.stack([self.mean_absolute - half, self.mean_absolute + half], axis=-1)


def contribution_moments(contributions: Floats) -> ContributionMoments:
    """Return the moments of contributions of shape (n_samples, n_terms, n_outputs)."""
    parts = []
    for values in (contributions, np.abs(contributions)):
        mean = values.mean(axis=0)
        parts += [mean, np.square(values - mean).sum(axis=0)]
    return ContributionMoments(len(contributions), np.stack(parts))


def merge_moments(chunks: Iterable[ContributionMoments]) -> ContributionMoments:
    """Return the moments of all rows.

    Means are updated by their differences, not from sums of squares: nothing cancels where the
    spread is small beside the mean.

    References
    ----------
    Chan, Golub & LeVeque (1983), "Algorithms for Computing the Sample Variance".
    """
    # One after the other: small arrays that wait between the large ones of their chunks would keep
    # the memory of these from being used again.
    others = iter(chunks)
    merged = next(others)
    for chunk in others:
        n = merged.n_rows + chunk.n_rows
        values = merged.values.copy()
        for mean, squares in ((0, 1), (2, 3)):
            difference = chunk.values[mean] - merged.values[mean]
            values[mean] += difference * (chunk.n_rows / n)
            between = np.square(difference) * (merged.n_rows * chunk.n_rows / n)
            values[squares] += chunk.values[squares] + between
        merged = ContributionMoments(n, values)
    return merged


def weighted_std(contributions: Floats, weight: Floats | None = None) -> Floats:
    """Return the weighted standard deviation over the rows, (n_terms, n_outputs)."""
    share = np.ones(len(contributions)) if weight is None else weight
    share = share / share.sum()
    centred = contributions - np.einsum("b,btk->tk", share, contributions)
    # Squares of scaled numbers: those of 1e200 would overflow.
    size = np.abs(centred).max(axis=0)
    size = np.where(size > 0, size, 1.0)
    deviation: Floats = size * np.sqrt(np.einsum("b,btk->tk", share, np.square(centred / size)))
    return deviation


def std_shares(deviation: Floats, units: Floats) -> Floats:
    """Return the share of each term in the standard deviations, all outputs together.

    An output counts by how much it varies in units that all have in common: of a target that
    nothing predicts, terms share out next to nothing. It is the root of the sum of squares over
    outputs that is shared, as in relevance.

    Parameters
    ----------
    deviation : ndarray of shape (n_terms, n_outputs)
        Standard deviations of contributions.
    units : ndarray of shape (n_outputs,)
        What they are divided by: the scale of each target, 1 for log-odds; 0 is that of a constant.

    Returns
    -------
    ndarray of shape (n_terms,)
        All 0 where nothing varies.
    """
    scaled = deviation / np.where(units > 0, units, 1.0)
    largest = scaled.max(initial=0.0)
    if not largest > 0:
        return np.zeros(len(deviation))
    size: Floats = np.sqrt(np.square(scaled / largest).sum(axis=1))
    return size / size.sum()
