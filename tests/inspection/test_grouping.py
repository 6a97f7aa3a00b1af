import numpy as np
import pytest
import torch

from sklearn_mmfusion.inspection import _grouping
from sklearn_mmfusion.inspection._grouping import grouped, grouped_contraction
from sklearn_mmfusion.inspection._products import listed

RNG = np.random.default_rng(0)
EVEN = np.concatenate([RNG.permutation(7) * 2 for _ in range(5)])
UNEVEN = RNG.permutation(np.repeat([3, 1, 8], [4, 5, 6]))


@pytest.mark.parametrize("column", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_places_of_each_row_are_all_of_its_places(column):
    rows, places = grouped(column)
    assert np.array_equal(rows, np.unique(column))
    for row, mine in zip(rows, places, strict=True):
        assert set(mine) == set(np.flatnonzero(column == row))


@pytest.mark.parametrize(
    "column", [np.arange(9), np.repeat([0, 1, 2], [50, 1, 1])], ids=["seldom", "one often"]
)
def test_rows_that_are_not_worth_it_are_not_grouped(column):
    assert grouped(column) is None


@pytest.mark.parametrize("column", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("values", [1, 2**16], ids=["row by row", "at once"])
@pytest.mark.parametrize("widths", [(4, 2), (2, 4), (3, 2, 3)])
def test_contraction_of_a_list_is_that_of_each_combination(column, values, widths, monkeypatch):
    monkeypatch.setattr(_grouping, "_VALUES", values)
    index = RNG.integers(0, 15, (len(column), len(widths)))
    index[:, int(np.argmax(widths))] = column
    core = RNG.normal(size=(*widths, 5))
    factors = [RNG.normal(size=(15, width)) for width in widths]
    readout = RNG.normal(size=(5, 2))
    found = grouped_contraction(
        torch.from_numpy(core),
        [torch.from_numpy(factor) for factor in factors],
        listed(index),
        lambda values: values.relu() @ torch.from_numpy(readout),
    )
    expected = []
    for combination in index:
        met = core
        for factor, row in zip(factors, combination, strict=True):
            met = np.tensordot(factor[row], met, 1)
        expected.append(np.maximum(met, 0) @ readout)
    assert np.abs(found.numpy() - expected).max() < 1e-12


def test_contraction_of_rows_that_come_once_is_left_to_others():
    factors = [torch.ones(6, 2), torch.ones(6, 2)]
    rows = listed(np.tile(np.arange(6)[:, None], 2))
    assert grouped_contraction(torch.ones(2, 2, 3), factors, rows, torch.relu) is None
