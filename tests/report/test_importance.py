"""Shares of contributions against NumPy and against a bootstrap over rows."""

import numpy as np
import pytest

from sklearn_mmfusion.report._importance import (
    contribution_shares,
    pair_matrix,
    shares_by_order,
)

TERMS = [("a",), ("b",), ("c",), ("a", "b"), ("b", "c"), ("a", "b", "c")]


@pytest.fixture(scope="module")
def absolute():
    rng = np.random.default_rng(0)
    return np.abs(rng.normal(size=(400, 6)) * [4, 2, 1, 1, 0.2, 0]) * rng.gamma(2, size=(400, 1))


def test_shares_are_means_over_the_sum_of_means(absolute):
    found = contribution_shares(absolute, np.full(400, 1 / 400))
    np.testing.assert_allclose(found.share, absolute.mean(0) / absolute.mean(0).sum())
    assert found.share.sum() == pytest.approx(1)
    assert found.share[5] == found.low[5] == found.high[5] == 0


def test_interval_of_shares_agrees_with_a_bootstrap_over_rows(absolute):
    rng = np.random.default_rng(1)
    draws = []
    for _ in range(4000):
        means = absolute[rng.integers(0, 400, size=400)].mean(axis=0)
        draws.append(means / means.sum())
    spread = np.std(draws, axis=0)
    found = contribution_shares(absolute, np.full(400, 1 / 400))
    np.testing.assert_allclose((found.high - found.low) / 2, 1.96 * spread, rtol=0.08, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_the_only_term_and_all_orders_together_have_a_share_of_1(absolute, seed):
    weight = np.random.default_rng(seed).uniform(0.1, 3, size=400)
    weight = weight / weight.sum()
    assert contribution_shares(absolute[:, :1], weight).share.tolist() == [1]
    share = contribution_shares(absolute, weight).share
    assert shares_by_order(share, [1] * 6) == {1: 1}


def test_whole_weights_count_rows_in_shares(absolute):
    repeats = np.random.default_rng(2).integers(0, 3, size=400)
    weighted = contribution_shares(absolute, repeats / repeats.sum())
    repeated = np.repeat(absolute, repeats, axis=0)
    np.testing.assert_allclose(weighted.share, repeated.mean(0) / repeated.mean(0).sum())


def test_contributions_of_zero_have_shares_of_zero():
    found = contribution_shares(np.zeros((5, 2)), np.full(5, 0.2))
    assert not found.share.any()
    assert not found.high.any()


def test_shares_by_order_add_up():
    share = np.array([0.3, 0.2, 0.1, 0.25, 0.05, 0.1])
    found = shares_by_order(share, [len(term) for term in TERMS])
    assert found == pytest.approx({1: 0.6, 2: 0.3, 3: 0.1})


def test_pair_matrix_has_modalities_on_the_diagonal_and_pairs_on_both_sides():
    share = np.array([0.3, 0.2, 0.1, 0.25, 0.05, 0.1])
    expected = [[0.3, 0.25, np.nan], [0.25, 0.2, 0.05], [np.nan, 0.05, 0.1]]
    np.testing.assert_array_equal(pair_matrix(share, TERMS, ["a", "b", "c"]), expected)
