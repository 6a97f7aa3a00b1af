"""The exact functional ANOVA against hand calculations and its defining properties."""

from itertools import chain, combinations

import numpy as np
import pytest

from sklearn_mmfusion.datasets._anova import finite_functional_anova

SIGNS = np.array([-1.0, 1.0])


def subsets(axes):
    return list(chain.from_iterable(combinations(axes, k) for k in range(len(axes) + 1)))


def random_table(shape, seed):
    rng = np.random.RandomState(seed)
    P = rng.uniform(0.05, 1, size=shape)
    return rng.normal(size=shape), P / P.sum()


def test_anova_product_of_independent_unbalanced_tokens_equals_hand_calculation():
    chance = {0: 0.7, 1: 0.2}
    mu = {m: 2 * p - 1 for m, p in chance.items()}
    P = np.outer([0.3, 0.7], [0.8, 0.2])
    parts = finite_functional_anova(np.outer(SIGNS, SIGNS), P)
    np.testing.assert_allclose(parts[()], mu[0] * mu[1])
    np.testing.assert_allclose(parts[0,][:, 0], mu[1] * (SIGNS - mu[0]), atol=1e-12)
    np.testing.assert_allclose(parts[1,][0, :], mu[0] * (SIGNS - mu[1]), atol=1e-12)
    np.testing.assert_allclose(parts[0, 1], np.outer(SIGNS - mu[0], SIGNS - mu[1]), atol=1e-12)


def test_anova_product_of_correlated_balanced_tokens_keeps_only_its_mean_and_the_pair():
    rho = 0.6
    P = np.array([[1 + rho, 1 - rho], [1 - rho, 1 + rho]]) / 4
    parts = finite_functional_anova(np.outer(SIGNS, SIGNS), P)
    np.testing.assert_allclose(parts[()], rho)
    np.testing.assert_allclose(parts[0,], 0, atol=1e-12)
    np.testing.assert_allclose(parts[1,], 0, atol=1e-12)
    assert np.sqrt((P * parts[0, 1] ** 2).sum()) == pytest.approx(np.sqrt(1 - rho**2))


def test_anova_function_of_one_variable_stays_there_whatever_the_dependence():
    _, P = random_table((2, 3), seed=1)
    values = np.array([0.5, -2.0, 3.0])
    parts = finite_functional_anova(np.tile(values, (2, 1)), P)
    mean = P.sum(axis=0) @ values
    np.testing.assert_allclose(parts[1,][0], values - mean, atol=1e-12)
    np.testing.assert_allclose(parts[0,], 0, atol=1e-12)
    np.testing.assert_allclose(parts[0, 1], 0, atol=1e-12)


def test_anova_independent_variables_equals_inclusion_and_exclusion_of_means():
    rng = np.random.RandomState(2)
    margins = [rng.dirichlet(np.ones(length)) for length in (2, 3, 4)]
    P = np.einsum("i,j,k->ijk", *margins)
    f = rng.normal(size=P.shape)

    def mean_given(S):
        out = f
        for axis, margin in enumerate(margins):
            if axis not in S:
                shape = [1] * 3
                shape[axis] = -1
                out = (out * margin.reshape(shape)).sum(axis=axis, keepdims=True)
        return out

    parts = finite_functional_anova(f, P)
    for S in subsets(range(3)):
        expected = sum((-1) ** (len(S) - len(T)) * mean_given(T) for T in subsets(S))
        np.testing.assert_allclose(parts[S], expected, atol=1e-10)


@pytest.mark.parametrize("shape", [(2, 2), (2, 3, 2), (3, 2, 2, 2)])
def test_anova_dependent_variables_has_hierarchically_orthogonal_parts_that_add_up(shape):
    f, P = random_table(shape, seed=3)
    parts = finite_functional_anova(f, P)
    assert list(parts) == sorted(parts, key=lambda S: (len(S), S))
    np.testing.assert_allclose(sum(parts.values()), f, atol=1e-10)
    for S, part in parts.items():
        expected_shape = tuple(n if axis in S else 1 for axis, n in enumerate(shape))
        assert part.shape == expected_shape
        for T in subsets(S):
            if T == S:
                continue
            # E[f_S | x_T] = 0 for every T is orthogonality to every function of x_T.
            others = tuple(axis for axis in range(len(shape)) if axis not in T)
            np.testing.assert_allclose((P * part).sum(axis=others), 0, atol=1e-10)


def test_anova_bad_tables_raise():
    with pytest.raises(ValueError, match="one shape"):
        finite_functional_anova(np.zeros((2, 2)), np.full((2, 1), 0.5))
    with pytest.raises(ValueError, match="positive"):
        finite_functional_anova(np.zeros(2), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="sum to one"):
        finite_functional_anova(np.zeros(2), np.array([0.5, 0.4]))
