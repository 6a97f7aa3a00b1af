"""Bent effects that values follow: against a search over all candidates, written out."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from sklearn_mmfusion._fitting.stand_ins import (
    Products,
    leading_components,
    products_beside,
    stand_ins,
)

N = 60


def draw(n_features, seed=0, n=N):
    return np.random.default_rng(seed).normal(size=(n, n_features))


def intercepts(n_outputs, n=N):
    return np.broadcast_to(np.eye(n_outputs), (n, n_outputs, n_outputs))


def written_out(pair):
    """All candidates as columns."""
    return np.stack([f * g for f in pair.left.T for g in pair.right.T], axis=1)


def test_components_are_those_of_scikit_learn():
    values = draw(6) @ draw(6, seed=1, n=6)
    values[:, 2] = 3.0  # does not vary
    found = leading_components(values, 3)
    kept = np.delete(values, 2, axis=1)
    expected = PCA(3).fit_transform((kept - kept.mean(axis=0)) / kept.std(axis=0))
    expected /= expected.std(axis=0)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-6)
    assert leading_components(np.ones((N, 2)), 3).shape == (N, 0)


def test_candidates_are_effects_of_fewer_modalities():
    features = {"a": draw(2), "b": draw(3, seed=1), "c": draw(0), "d": draw(1, seed=2)}
    of_a = products_beside(("a",), features, 100)
    # Of b and of d: with ones, and three kinks of each feature.
    assert [pair.left.shape[1] for pair in of_a] == [4, 2, 9, 3]
    assert [pair.left.shape[1] for pair in products_beside("a", features, 99)] == [4, 2]
    of_pair = products_beside(("b", "a"), features, 100)
    assert len(of_pair) == 6
    spans = written_out(of_pair[0])
    for expected in (features["a"][:, 0], features["a"][:, 0] * features["a"][:, 1]):
        assert np.abs(spans - expected[:, None]).max(axis=0).min() < 1e-12
    of_three = products_beside(("a", "b", "d"), features, 100)
    assert len(of_three) == 9
    # Products of two, and of two with one of them again, lie in what a and b make together.
    a, b = leading_components(features["a"], 2), leading_components(features["b"], 3)
    spans = written_out(of_three[3])
    for expected in (a[:, 0] * b[:, 2], a[:, 1] ** 2 * b[:, 0], a[:, 0] * a[:, 1] * b[:, 1]):
        assert np.abs(spans - expected[:, None]).max(axis=0).min() < 1e-12


def test_what_is_bent_sharply_is_a_sum_of_few_candidates():
    z = draw(2, seed=3, n=400)
    candidates = written_out(products_beside(("a", "b"), {"a": z, "b": draw(0, n=400)}, 400)[-1])
    for bend in (np.abs(z[:, 1]), np.clip(z[:, 1], *np.quantile(z[:, 1], [0.25, 0.75]))):
        kinks = np.hstack([candidates, z])  # 0.98: the median is not quite 0
        assert LinearRegression().fit(kinks, bend).score(kinks, bend) > 0.98
        squares = np.column_stack([z, np.square(z)])
        assert LinearRegression().fit(squares, bend).score(squares, bend) < 0.95


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_columns_are_those_of_a_search_over_all_candidates(n_outputs):
    rng = np.random.default_rng(3)
    share = rng.uniform(0.2, 1, size=N)
    share /= share.sum()
    pairs = [Products(draw(3, seed=4), draw(2, seed=5)), Products(draw(2, seed=6), draw(2, seed=7))]
    every = np.hstack([written_out(pair) for pair in pairs])
    followed = every[:, [1, 7]] @ rng.normal(size=(2, n_outputs)) + draw(n_outputs, seed=8)
    found = stand_ins(followed, intercepts(n_outputs), pairs, share, 40, 0.0)
    assert found.shape == (N, n_outputs, 4)
    # By hand: the largest gain, again and again, with weighted regressions for what is left.
    centred = every - share @ every
    variance = share @ np.square(centred)
    weight = np.repeat(share, n_outputs)
    design = np.tile(np.eye(n_outputs), (N, 1))
    for step in range(4):
        fit = LinearRegression(fit_intercept=False).fit(design, followed.ravel(), weight)
        left = (followed.ravel() - fit.predict(design)).reshape(N, n_outputs)
        slopes = centred.T @ (share[:, None] * left)
        best = int((np.square(slopes).sum(axis=1) / variance).argmax())
        direction = slopes[best] / np.linalg.norm(slopes[best])
        expected = np.outer(centred[:, best] / np.sqrt(variance[best]), direction)
        np.testing.assert_allclose(found[:, :, step], expected, atol=1e-8)
        design = np.column_stack([design, expected.ravel()])


def test_noise_follows_nothing_and_few_columns_say_all_of_what_is_a_sum_of_few():
    z = np.hstack([np.ones((400, 1)), draw(4, n=400)])
    pairs, share = [Products(z, z)], np.full(400, 1 / 400)
    noise = draw(1, seed=9, n=400)
    assert stand_ins(noise, intercepts(1, 400), pairs, share, 400, 3.0).shape[2] == 0
    assert stand_ins(noise, intercepts(1, 400), pairs, share, 29, 0.0).shape[2] == 2
    bent = (z[:, 1] * z[:, 2] + z[:, 3] ** 2)[:, None]
    columns = stand_ins(bent, intercepts(1, 400), pairs, share, 400, 0.25)[:, 0]
    assert columns.shape[1] < 8
    assert LinearRegression().fit(columns, bent).score(columns, bent) > 0.999


@pytest.mark.parametrize("pairs", [[], [Products(np.ones((N, 1)), np.ones((N, 1)))]])
def test_without_candidates_that_vary_nothing_is_chosen(pairs):
    share = np.full(N, 1 / N)
    assert stand_ins(draw(2), intercepts(2), pairs, share, 50, 0.0).shape == (N, 2, 0)


@pytest.mark.parametrize("n_units", [0, 9])
def test_few_units_allow_no_column(n_units):
    pairs = [Products(draw(2), draw(2, seed=1))]
    assert stand_ins(draw(1), intercepts(1), pairs, np.full(N, 1 / N), n_units, 0.0).size == 0
