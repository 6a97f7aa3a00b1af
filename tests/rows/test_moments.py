"""Moments of contributions in chunks against NumPy over all rows at once."""

import numpy as np
import pytest

from sklearn_mmfusion._rows.moments import (
    contribution_moments,
    merge_moments,
    std_shares,
    weighted_std,
)


def _contributions(n=50, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3, 2)) * [[1.0], [0.1], [0.0]] + 0.3


@pytest.mark.parametrize("ends", [[], [20], [1, 2, 30]])
def test_merged_moments_are_those_of_all_rows(ends):
    values = _contributions()
    found = merge_moments(map(contribution_moments, np.split(values, ends)))
    assert found.n_rows == 50
    np.testing.assert_allclose(found.std, values.std(axis=0), rtol=1e-12, atol=1e-15)
    size = np.abs(values)
    np.testing.assert_allclose(found.mean_absolute, size.mean(axis=0), rtol=1e-12)
    half = 1.959963984540054 * size.std(axis=0, ddof=1) / np.sqrt(50)
    low, high = np.moveaxis(found.mean_absolute_intervals, -1, 0)
    np.testing.assert_allclose(low, size.mean(axis=0) - half, rtol=1e-12)
    np.testing.assert_allclose(high, size.mean(axis=0) + half, rtol=1e-12)


def test_spread_beside_a_large_mean_is_not_lost_in_chunks():
    values = _contributions() + 1e9
    found = merge_moments(map(contribution_moments, np.split(values, 5)))
    # Numbers of 1e9 are rounded to 1e-7.
    np.testing.assert_allclose(found.std, _contributions().std(axis=0), atol=2e-7)


def test_interval_of_one_row_is_nan():
    assert np.isnan(contribution_moments(_contributions(1)).mean_absolute_intervals).all()


def test_weighted_std_counts_rows_by_their_weight():
    values, weight = _contributions(6), np.array([1.0, 3.0, 0.0, 2.0, 1.0, 1.0])
    repeated = np.repeat(values, weight.astype(int), axis=0)
    np.testing.assert_allclose(weighted_std(values, weight), repeated.std(axis=0), atol=1e-15)
    np.testing.assert_allclose(weighted_std(values), values.std(axis=0), atol=1e-15)


def test_shares_do_not_depend_on_the_units_of_outputs():
    deviation, units = np.array([[3.0, 1.0, 0.0], [1.0, 1.0, 0.0]]), np.array([1.0, 1.0, 0.0])
    expected = np.sqrt([10.0, 2.0]) / np.sqrt([10.0, 2.0]).sum()
    np.testing.assert_allclose(std_shares(deviation, units), expected)
    other = np.array([1e200, 1e-200, 1.0])
    np.testing.assert_allclose(std_shares(deviation * other, units * other), expected)
    np.testing.assert_array_equal(std_shares(np.zeros((2, 1)), np.ones(1)), [0.0, 0.0])


def test_outputs_that_hardly_vary_hardly_count():
    deviation = np.array([[3.0, 0.01], [1.0, 0.01]])
    np.testing.assert_allclose(std_shares(deviation, np.ones(2)), [0.75, 0.25], atol=1e-4)
