"""Corrected intervals and p-values against SciPy."""

import numpy as np
import pytest
from scipy import stats

from sklearn_mmfusion._rows.resampling import corrected_interval, corrected_p_value

VALUES = np.random.default_rng(0).normal(0.5, 1, size=(8, 3))


def test_interval_of_independent_fits_is_the_ordinary_one():
    found = corrected_interval(VALUES, 0.0, confidence=0.9)
    low, high = stats.t.interval(0.9, 7, loc=VALUES.mean(0), scale=stats.sem(VALUES))
    np.testing.assert_allclose(found, np.column_stack([low, high]), rtol=1e-12)


def test_interval_widens_by_the_ratio_of_the_parts():
    plain, corrected = (np.diff(corrected_interval(VALUES, r)) for r in (0.0, 0.25))
    np.testing.assert_allclose(corrected / plain, np.sqrt((1 / 8 + 0.25) * 8))


def test_p_value_is_that_of_the_t_test_with_a_smaller_statistic():
    for column in VALUES.T:
        test = stats.ttest_1samp(column, 0)
        assert corrected_p_value(column, 0.0) == pytest.approx(test.pvalue)
        smaller = test.statistic / np.sqrt(1 + 8 * 0.5)
        assert corrected_p_value(column, 0.5) == pytest.approx(2 * stats.t.sf(abs(smaller), 7))


def test_an_interval_that_ends_at_zero_has_a_p_value_of_five_percent():
    values = VALUES[:, 0] - corrected_interval(VALUES[:, 0], 0.25)[0]
    assert corrected_p_value(values, 0.25) == pytest.approx(0.05)


@pytest.mark.parametrize(("difference", "expected"), [(0.0, 1.0), (0.1, 0.0)])
def test_differences_that_do_not_vary_are_certain(difference, expected):
    assert corrected_p_value(np.full(5, difference), 0.25) == expected
