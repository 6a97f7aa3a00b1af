"""Tests of input and target statistics against numpy, and at the ends of the float range."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_mmfusion._errors import NumericalWarning
from sklearn_mmfusion._rows import scaling
from sklearn_mmfusion._rows.scaling import (
    LEFT_OUT,
    block_moments,
    column_moments,
    warn_of_lost_digits,
)
from sklearn_mmfusion.data._blocks import ModalityBlock
from sklearn_mmfusion.modules.network import InputScaler


def rng(seed=0):
    return np.random.default_rng(seed)


def weighted(values, weight):
    """Mean and standard deviation of the columns of (n, d) by np.average."""
    mean = np.average(values, axis=0, weights=weight)
    return mean, np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weight))


@pytest.mark.parametrize("use_weight", [False, True])
@pytest.mark.parametrize("some_missing", [False, True])
def test_flat_moments_equal_numpy(use_weight, some_missing):
    values = 3 + rng().normal(size=(20, 4))
    weight = rng(1).random(20) if use_weight else None
    present = np.arange(20) % 3 != 0 if some_missing else None
    w = np.ones(20) if weight is None else weight
    w = w if present is None else w * present
    mean, scale = block_moments(ModalityBlock("a", values, present=present), weight)
    expected = weighted(values, w)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-13)
    np.testing.assert_allclose(scale, expected[1], rtol=1e-13)


def test_sequence_moments_are_over_valid_steps_by_channel():
    values = rng().normal(size=(6, 5, 2))
    lengths = np.array([5, 1, 2, 5, 3, 1])
    present = np.array([True, True, True, False, True, True])
    weight = rng(1).random(6)
    steps = [(values[i, t], weight[i]) for i in range(6) for t in range(lengths[i]) if present[i]]
    expected = weighted(np.array([s for s, _ in steps]), np.array([w for _, w in steps]))
    mean, scale = block_moments(ModalityBlock("a", values, lengths, present), weight)
    assert mean.shape == scale.shape == (2,)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-12)
    np.testing.assert_allclose(scale, expected[1], rtol=1e-12)


@pytest.mark.parametrize("shape, dtype", [((8, 3, 4), "uint8"), ((8, 3, 4, 2), "float64")])
def test_image_moments_are_over_all_pixels(shape, dtype):
    values = rng().integers(0, 255, size=shape).astype(dtype)
    weight = rng(1).random(8)
    w = np.broadcast_to(weight.reshape(-1, *[1] * (len(shape) - 1)), shape)
    mean = np.average(values, weights=w)
    std = np.sqrt(np.average((values - mean) ** 2, weights=w))
    found = block_moments(ModalityBlock("a", values), weight)
    assert [part.shape for part in found] == [(), ()]
    np.testing.assert_allclose(found, [mean, std], rtol=1e-12)


def test_moments_do_not_depend_on_the_chunks(monkeypatch):
    values = rng().normal(size=(23, 3, 4))
    block = ModalityBlock("a", values, np.arange(23) % 3 + 1, np.arange(23) % 5 != 0)
    whole = block_moments(block, None)
    monkeypatch.setattr(scaling, "CHUNK_VALUES", 30)
    np.testing.assert_allclose(block_moments(block, None), whole, rtol=1e-12)


@pytest.mark.parametrize("factor", [1e300, 1e-300, 1e200, 1e-200])
def test_extreme_scales_neither_overflow_nor_vanish(factor):
    values = 1 + rng().random((20, 3))
    mean, scale = column_moments(values * factor, None)
    np.testing.assert_allclose(mean / factor, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(scale / factor, values.std(0), rtol=1e-12)


def test_mixed_scales_keep_their_digits():
    base = 1 + rng().random((20, 3))
    factors = np.array([1e-250, 1.0, 1e250])
    mean, scale = column_moments(base * factors, None)
    np.testing.assert_allclose(mean / factors, base.mean(0), rtol=1e-12)
    np.testing.assert_allclose(scale / factors, base.std(0), rtol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1, -7.3, 1e30, 1e300, 1e-300])
def test_what_does_not_vary_has_its_size_as_scale(constant):
    mean, scale = column_moments(np.full((37, 1), constant), rng().random(37))
    assert scale == (abs(constant) or 1.0)
    assert mean == pytest.approx(constant, rel=1e-14)


@pytest.mark.parametrize("n", [37, 72, 90])
@pytest.mark.parametrize("constant", [0.1, -7.3, 1e16, 1e30, 1e300])
def test_what_does_not_vary_is_standardised_to_zero(constant, n):
    # What rounding leaves of 1e30 - mean must not come through as 1e14.
    values = np.full((n, 1), constant)
    mean, scale = column_moments(values, None)
    np.testing.assert_allclose((values - mean) / scale, 0, atol=1e-6)


def test_what_does_not_vary_is_left_out_where_it_is_asked_for():
    values = np.column_stack([np.arange(5.0), np.full(5, 0.1), np.zeros(5)])
    mean, scale = block_moments(ModalityBlock("a", values), None, of_constants=LEFT_OUT)
    own, _ = block_moments(ModalityBlock("a", values), None)
    np.testing.assert_array_equal(mean, own)
    np.testing.assert_array_equal(scale == LEFT_OUT, [False, True, True])
    for dtype in (torch.float32, torch.float64):
        scaler = InputScaler(torch.tensor(mean), torch.tensor(scale))
        new = torch.full((1, 3), 7e9, dtype=dtype)
        scaled = scaler(new, None, None, dtype)
        assert scaled[0, 0] > 1e9 and scaled[0, 1:].tolist() == [0, 0]


@pytest.mark.parametrize("n", [300, 800, 5000, 100_000])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_does_not_vary_is_told_in_any_number_of_rows(n, weighted):
    # The rounding of a sum grows with its length.
    values = np.column_stack([np.full(n, 25.0), np.full(n, 0.1), rng().normal(size=n)])
    mean, scale = column_moments(values, rng().random(n) if weighted else None)
    np.testing.assert_array_equal(scale[:2], [25.0, 0.1])
    np.testing.assert_allclose(mean[:2], [25.0, 0.1], rtol=1e-15)


def test_small_spread_on_a_large_mean_is_found():
    values = 1e8 + 1e-3 * rng().normal(size=(50, 1))
    _, scale = column_moments(values, None)
    np.testing.assert_allclose(scale, values.std(0), rtol=1e-4)


@pytest.mark.parametrize("extreme", [1e100, 1e308, np.inf])
@pytest.mark.parametrize("factor", [1, 1e-200])
def test_rows_without_weight_do_not_count_however_extreme(extreme, factor):
    values = rng().normal(size=(10, 2)) * factor
    values[3] = extreme
    weight = np.ones(10)
    weight[3] = 0
    kept = np.arange(10) != 3
    expected = column_moments(values[kept], None)
    np.testing.assert_allclose(column_moments(values, weight), expected, rtol=1e-12)


def test_modality_without_any_row_that_counts_has_mean_0_and_scale_1():
    block = ModalityBlock("a", np.zeros((5, 3)), present=np.zeros(5, dtype=bool))
    mean, scale = block_moments(block, None)
    np.testing.assert_array_equal(mean, np.zeros(3))
    np.testing.assert_array_equal(scale, np.ones(3))


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_only_ratios_of_weights_count(factor):
    values, weight = rng().normal(size=(9, 2)), rng(1).random(9)
    expected = weighted(values, weight)
    np.testing.assert_allclose(column_moments(values, factor * weight), expected, rtol=1e-12)


def test_spread_of_less_than_eight_roundings_of_the_mean_is_noise():
    eps = np.finfo(np.float64).eps
    values = np.array([[1, 1], [1 - 15 * eps, 1 - 16 * eps]])  # 7.5 and 8 of them
    _, scale = column_moments(values, None)
    np.testing.assert_array_equal(scale, [1, 8 * eps])


def test_spread_below_the_smallest_number_is_no_divisor():
    _, scale = column_moments(np.array([[0.0], [5e-324]]), None)
    assert scale == 1


@pytest.mark.parametrize("shape, n_rows", [((23, 4), 7), ((23, 3, 4), 2), ((5, 31), 1)])
def test_chunks_are_as_many_rows_as_hold_the_limit_and_at_least_one(shape, n_rows, monkeypatch):
    taken = []

    class Recorded(ModalityBlock):
        def take(self, rows):
            taken.append(rows.stop - rows.start)
            return super().take(rows)

    monkeypatch.setattr(scaling, "CHUNK_VALUES", 30)
    block_moments(Recorded("a", rng().normal(size=shape)), None)
    assert set(taken) == {n_rows}


def test_bytes_and_booleans_are_computed_in_float64():
    codes = rng().integers(0, 255, size=(20, 2)).astype(np.uint8)
    mean, scale = block_moments(ModalityBlock("a", codes), None)
    np.testing.assert_allclose(mean, codes.astype(float).mean(0))
    np.testing.assert_allclose(scale, codes.astype(float).std(0))


@given(st.integers(0, 1000), st.floats(-250, 250))
def test_moments_are_equivariant_to_scale_and_whole_weights_are_repeats(seed, exponent):
    values, counts = rng(seed).normal(size=(6, 2)), rng(seed + 1).integers(1, 4, size=6)
    factor = 10.0**exponent
    mean, scale = column_moments(values * factor, counts.astype(float))
    repeated = np.repeat(values, counts, axis=0)
    np.testing.assert_allclose(mean / factor, repeated.mean(0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(scale / factor, repeated.std(0), rtol=1e-9)


@pytest.mark.parametrize("values", [np.ones((9, 2)), rng().normal(size=(9, 2)) * 1e-6 + 1.0])
def test_constants_and_values_of_nine_digits_are_no_reason_to_warn(values):
    warn_of_lost_digits("a", *block_moments(ModalityBlock("a", values), None))


def test_lost_digits_name_the_modality_and_the_worst_feature():
    values = np.column_stack([rng().normal(size=9), 1e8 + 0.1 * rng(1).normal(size=9)])
    moments = block_moments(ModalityBlock("clock", values), None)
    text = r"modality 'clock': 1 of 2 .*feature 1: .*1e\+08"
    with pytest.warns(NumericalWarning, match=text) as caught:
        warn_of_lost_digits("clock", *moments)
    assert caught[0].filename == __file__


def test_nine_digits_are_enough_and_less_are_not():
    mean, scale = np.ones(1), np.array([np.finfo(np.float64).eps / 1e-9])
    warn_of_lost_digits("a", mean, scale)
    with pytest.warns(NumericalWarning, match="1 of 1 feature"):
        warn_of_lost_digits("a", mean, scale * 0.999)


@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e20])
def test_digits_are_counted_against_the_spread_whatever_the_unit(unit):
    few = np.array([1.0, 1.0 + 1e-11]) * unit
    many = np.array([1.0, 1.5]) * unit
    warn_of_lost_digits("a", many[:1], np.array([0.5 * unit]))
    with pytest.warns(NumericalWarning, match="1 of 1 feature"):
        warn_of_lost_digits("a", few[:1], np.array([1e-11 * unit]))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_moments_leave_the_values_as_they_are(dtype):
    values = np.random.default_rng(0).normal(size=(30, 4)).astype(dtype)
    before = values.copy()
    block_moments(ModalityBlock("a", values), None)
    np.testing.assert_array_equal(values, before)
    targets = before.astype(np.float64)
    column_moments(targets, None)
    np.testing.assert_array_equal(targets, before)
