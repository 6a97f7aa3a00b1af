"""The joint distribution of tokens, and the ANOVA truth against formulas on paper."""

from itertools import combinations

import numpy as np
import pytest

from sklearn_mmfusion.datasets._tokens import (
    TokenBlock,
    anova_truth,
    draw_tokens,
    joint_distribution,
)


def moments(joint):
    """Mean of each token and the matrix of correlations, by looping over all states."""
    states = np.array(list(np.ndindex(joint.shape))) * 2 - 1
    mass = joint.reshape(-1)
    means = mass @ states
    covariance = (states - means).T @ np.diag(mass) @ (states - means)
    scale = np.sqrt(np.diag(covariance))
    return means, covariance / np.outer(scale, scale)


@pytest.mark.parametrize("chance", [0.5, 0.7])
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
def test_joint_distribution_equal_balance_has_the_asked_correlation(chance, correlation):
    joint = joint_distribution([chance] * 3, correlation)
    means, found = moments(joint)
    assert joint.shape == (2, 2, 2)
    assert (joint > 0).all()
    assert joint.sum() == pytest.approx(1)
    np.testing.assert_allclose(means, 2 * chance - 1, atol=1e-12)
    np.testing.assert_allclose(found[~np.eye(3, dtype=bool)], correlation, atol=1e-12)


def test_joint_distribution_unequal_balance_has_a_share_of_the_largest_covariance():
    chances, correlation = [0.2, 0.5, 0.9], 0.4
    means, found = moments(joint_distribution(chances, correlation))
    np.testing.assert_allclose(means, 2 * np.array(chances) - 1, atol=1e-12)
    for (i, p), (j, q) in combinations(enumerate(chances), 2):
        largest = (min(p, q) - p * q) / np.sqrt(p * (1 - p) * q * (1 - q))
        assert found[i, j] == pytest.approx(correlation * largest)


def test_draw_tokens_has_the_frequencies_of_the_joint_distribution():
    chances, n = {"a": 0.3, "b": 0.6, "c": 0.6}, 200_000
    tokens = draw_tokens(np.random.RandomState(0), list(chances), chances, 0.5, n)
    state = sum((tokens[name] > 0) * 2**k for k, name in enumerate("cba"))
    counts = np.bincount(state, minlength=8)
    expected = n * joint_distribution(list(chances.values()), 0.5).reshape(-1)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_anova_truth_shared_unbalanced_adds_coefficients_of_lower_orders():
    chances = {"a": 0.7, "b": 0.4, "c": 0.5}
    mu = {name: 2 * p - 1 for name, p in chances.items()}
    sd = {name: np.sqrt(1 - m**2) for name, m in mu.items()}
    terms = {("a",): 1.0, ("a", "b"): -0.8, ("a", "b", "c"): 0.5}
    stds, mean, std = anova_truth([TokenBlock("all", list("abc"), terms)], chances, 0.0)
    expected = {
        ("a",): abs(1.0 - 0.8 * mu["b"]) * sd["a"],
        ("b",): abs(-0.8 * mu["a"]) * sd["b"],
        ("c",): abs(0.5 * mu["a"] * mu["b"]) * sd["c"],
        ("a", "b"): 0.8 * sd["a"] * sd["b"],
        ("a", "c"): abs(0.5 * mu["b"]) * sd["a"] * sd["c"],
        ("b", "c"): abs(0.5 * mu["a"]) * sd["b"] * sd["c"],
        ("a", "b", "c"): 0.5 * sd["a"] * sd["b"] * sd["c"],
    }
    assert list(stds) == list(expected)
    for term, value in expected.items():
        assert stds[term] == pytest.approx(value), term
    assert mean == pytest.approx(mu["a"] - 0.8 * mu["a"] * mu["b"])
    assert std == pytest.approx(np.sqrt(sum(v**2 for v in expected.values())))


def test_anova_truth_separate_unbalanced_adds_variances_of_lower_orders():
    blocks = [
        TokenBlock("a", ["a"], {("a",): 1.0}),
        TokenBlock("a x b", ["a", "b"], {("a", "b"): 2}),
    ]
    stds, mean, _ = anova_truth(blocks, {"a": 0.7, "b": 0.7}, 0.0)
    mu = 0.4
    variance = 1 - mu**2
    assert stds["a",] == pytest.approx(np.sqrt((1 + (2 * mu) ** 2) * variance))
    assert stds["b",] == pytest.approx(2 * mu * np.sqrt(variance))
    assert stds["a", "b"] == pytest.approx(2 * variance)
    assert mean == pytest.approx(mu + 2 * mu**2)


def test_anova_truth_keeps_a_term_whose_part_vanishes():
    # a's own coefficient is cancelled by what the product leaves to it.
    terms = {("a",): -0.4, ("a", "b"): 1.0}
    stds, _, _ = anova_truth([TokenBlock("all", ["a", "b"], terms)], {"a": 0.5, "b": 0.7}, 0.0)
    assert stds["a",] == 0.0
    assert list(stds) == [("a",), ("a", "b")]
