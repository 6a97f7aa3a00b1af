"""Tests of quantile features against loops over numpy arrays."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_mmfusion.modules import quantiles
from sklearn_mmfusion.modules.quantiles import QuantileFeatures, weighted_knots

UNIT = np.sqrt(12)


def draw(n=200, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)) ** 3


def middles(column, weight):
    """Distinct values, and the share of the weight below each with half of its own."""
    distinct = np.unique(column)
    total = weight.sum()
    share = [(weight[column < v].sum() + weight[column == v].sum() / 2) / total for v in distinct]
    return distinct, np.array(share)


def knots_by_loop(values, weight, n_knots):
    """Smallest value at which the weighted distribution function reaches each target."""
    weight = np.ones(len(values)) if weight is None else weight
    values, weight = values[weight > 0], weight[weight > 0]
    positions, levels = [], []
    for column in values.T:
        distinct, middle = middles(column, weight)
        picked = list(range(len(distinct)))
        if len(distinct) > n_knots:
            picked = []
            for target in np.linspace(0, 1, n_knots):
                reached = [i for i, m in enumerate(middle) if m >= min(target, middle[-1]) - 1e-15]
                if reached[0] not in picked:
                    picked.append(reached[0])
        picked += picked[-1:] * (n_knots - len(picked))
        positions.append(distinct[picked])
        levels.append(middle[picked])
    return np.array(positions), np.array(levels)


def fitted(values, weight=None, n_knots=8):
    module = QuantileFeatures(values.shape[1], n_knots).double()
    weight = None if weight is None else torch.from_numpy(weight)
    module.fit_inputs(torch.from_numpy(values), weight)
    return module


def places(module, values):
    """Places alone, from 0 to 1."""
    result = module(torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(result[:, : values.shape[1]], values)
    return result[:, values.shape[1] :] / UNIT + 0.5


@pytest.mark.parametrize("n, n_knots", [(200, 8), (200, 32), (10, 8), (5, 8), (8, 8), (1, 2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_knots_equal_a_loop(n, n_knots, weighted):
    values = draw(n)
    weight = np.random.default_rng(1).random(n) if weighted else None
    found = weighted_knots(
        torch.from_numpy(values), None if weight is None else torch.from_numpy(weight), n_knots
    )
    for mine, expected in zip(found, knots_by_loop(values, weight, n_knots), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-12, atol=1e-14)


@given(st.integers(0, 10_000), st.sampled_from([2, 5, 16]))
def test_whole_weights_equal_repeated_rows(seed, n_knots):
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(size=(12, 2)), 1)  # with ties
    counts = rng.integers(0, 4, size=12)
    counts[0] = 1
    weighted = weighted_knots(
        torch.from_numpy(values), torch.from_numpy(counts.astype(float)), n_knots
    )
    repeated = weighted_knots(torch.from_numpy(np.repeat(values, counts, 0)), None, n_knots)
    for mine, expected in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-12)


@pytest.mark.parametrize("total", [309, 310, 311])
def test_whole_weights_by_their_mean_equal_repeated_rows(total):
    # With 32 knots places tie with targets where the weights add up to a multiple of 31.
    rng = np.random.default_rng(total)
    for _ in range(20):
        counts = 1 + rng.multinomial(total - 150, np.full(150, 1 / 150))
        values = torch.from_numpy(rng.normal(size=(150, 1)))
        weight = torch.from_numpy(counts / counts.mean())
        repeated = values.repeat_interleave(torch.from_numpy(counts), 0)
        for mine, expected in zip(
            weighted_knots(values, weight, 32), weighted_knots(repeated, None, 32), strict=True
        ):
            np.testing.assert_allclose(mine, expected, rtol=1e-12)


def test_rows_of_weight_zero_do_not_count():
    values = draw(50)
    values[7] = 1e6
    weight = np.ones(50)
    weight[7] = 0
    kept = np.arange(50) != 7
    one, other = fitted(values, weight), fitted(values[kept])
    assert torch.equal(one.positions, other.positions)
    assert torch.equal(one.levels, other.levels)


def test_order_of_rows_is_irrelevant():
    values = draw()
    one, other = fitted(values), fitted(values[::-1].copy())
    assert torch.equal(one.positions, other.positions)
    assert torch.equal(one.levels, other.levels)


def test_places_are_interpolated_between_the_knots():
    values, new = draw(), draw(seed=3)
    module = fitted(values)
    found = places(module, new)
    for j in range(3):
        positions, levels = module.positions[j].numpy(), module.levels[j].numpy()
        np.testing.assert_allclose(
            found[:, j], np.interp(new[:, j], positions, levels), rtol=1e-12, atol=1e-14
        )


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([2, 3, 16]))
def test_places_never_fall(seed, n, n_knots):
    rng = np.random.default_rng(seed)
    module = fitted(np.round(rng.normal(size=(n, 1)) ** 3, 1), n_knots=n_knots)
    grid = np.sort(rng.normal(scale=3, size=(50, 1)), axis=0)
    found = places(module, grid)
    assert (np.diff(found[:, 0]) >= -1e-12).all()
    assert (found >= 0).all()
    assert (found <= 1).all()


def test_places_of_many_rows_are_uniform():
    found = places(fitted(draw(5000), n_knots=32), draw(5000))
    # Between 32 knots the distribution function is a line, which is off by a little.
    np.testing.assert_allclose(found.mean(0), 0.5, atol=0.02)
    np.testing.assert_allclose(found.var(0), 1 / 12, rtol=0.05)


@pytest.mark.parametrize("n_knots", [2, 3, 32])
def test_few_distinct_values_get_the_middle_of_their_share(n_knots):
    column = np.repeat([-1.0, 0.0, 5.0], [10, 30, 60])[:, None]
    found = places(fitted(column, n_knots=n_knots), np.array([[-1.0], [0.0], [5.0]]))
    expected = np.array([[0.05], [0.25], [0.7]])
    if n_knots >= 3:
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    else:  # only the ends are knots
        np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], rtol=1e-12)


def test_constant_column_is_in_the_middle():
    module = fitted(np.full((20, 1), 3.0))
    new = np.array([[-1e9], [3.0], [1e9]])
    found = places(module, new)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, 0.5, rtol=1e-12)


def test_values_beyond_the_range_take_the_place_of_the_ends():
    values = draw()
    module = fitted(values)
    ends = np.stack([values.min(0), values.max(0)])
    np.testing.assert_allclose(
        places(module, ends + [[-1e6], [1e6]]), places(module, ends), rtol=1e-12
    )


def test_no_row_of_weight_leaves_finite_places():
    module = fitted(draw(5), np.zeros(5))
    assert module(torch.zeros(2, 3, dtype=torch.float64)).isfinite().all()


def test_knots_are_state_and_gradients_pass_through_the_features():
    module = fitted(draw())
    assert set(module.state_dict()) == {"positions", "levels"}
    assert not list(module.parameters())
    again = QuantileFeatures(3, 8).double()
    again.load_state_dict(module.state_dict())
    new = torch.from_numpy(draw(seed=2)).requires_grad_()
    assert torch.equal(again(new), module(new))
    module(new)[:, :3].sum().backward()
    assert (new.grad == 1).all()


def test_float32_gives_the_same_places_to_its_precision():
    values = draw().astype(np.float32)
    single = QuantileFeatures(3, 8)
    single.fit_inputs(torch.from_numpy(values))
    expected = fitted(values.astype(np.float64))(torch.from_numpy(values).double())
    found = single(torch.from_numpy(values))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_places_do_not_depend_on_the_pieces_in_which_rows_are_placed(monkeypatch):
    values = draw()
    module = fitted(values)
    whole = module(torch.from_numpy(values))
    for size in (1, 50, 599):
        monkeypatch.setattr(quantiles, "_PIECE_VALUES", size)
        assert torch.equal(module(torch.from_numpy(values)), whole)
