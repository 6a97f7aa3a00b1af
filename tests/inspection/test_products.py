from itertools import product as all_of

import numpy as np
import pytest
import torch

from sklearn_mmfusion.inspection._products import Product, grid, laid, listed, products_of

ROWS = (np.array([5, 6, 7]), np.array([1, 2]), np.array([8, 9, 4]))
PRODUCT = Product((3, 2), (0, 1, 0), ROWS)


def combinations(product):
    """Rows of every combination by loops."""
    return [
        [rows[position[axis]] for axis, rows in zip(product.axes, product.rows, strict=True)]
        for position in all_of(*map(range, product.shape))
    ]


def test_written_out_index_is_that_of_loops_the_last_axis_fastest():
    index = PRODUCT.written_out()
    assert index.tolist() == combinations(PRODUCT)
    assert index.tolist()[:3] == [[5, 1, 8], [5, 2, 8], [6, 1, 9]]
    assert grid(ROWS).written_out().tolist() == [list(rows) for rows in all_of(*ROWS)]
    rows = np.arange(6).reshape(3, 2)
    assert np.array_equal(listed(rows).written_out(), rows)
    assert listed(rows).shape == (3,)


def test_some_modalities_keep_the_axes_that_they_have():
    assert PRODUCT.members(0) == [0, 2]
    some = PRODUCT.of([1])
    assert (some.shape, some.axes) == ((2,), (0,))
    assert some.written_out().tolist() == [[1], [2]]
    turned = PRODUCT.of([2, 1])
    assert turned.written_out().tolist() == PRODUCT.written_out()[:, [2, 1]].tolist()


def test_values_of_some_modalities_broadcast_to_all_combinations():
    values = PRODUCT.of([1]).written_out() * 1.0
    spread = np.broadcast_to(PRODUCT.spread([1], values), (3, 2, 1))
    assert spread.ravel().tolist() == PRODUCT.written_out()[:, 1].tolist()


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 12, 100])
def test_blocks_cover_every_combination_once_and_stay_below_the_limit(limit):
    product = grid([np.arange(5), np.arange(10, 13), np.arange(20, 22)])
    found = np.full((5, 3, 2, 3), -1)
    for where, block in product.blocks(limit):
        assert np.prod(block.shape) <= limit
        assert (found[where] == -1).all()
        found[where] = block.written_out().reshape(*block.shape, 3)
    assert np.array_equal(found.reshape(-1, 3), product.written_out())


def test_sides_of_blocks_are_even():
    shapes = {block.shape for _, block in grid([np.arange(64), np.arange(64)]).blocks(256)}
    assert shapes == {(16, 16)}


@pytest.mark.parametrize("limit", [4, 1000])
def test_sides_of_blocks_are_no_longer_than_asked_for(limit):
    product = grid([np.arange(3), np.arange(100)])
    found = np.zeros(product.shape, dtype=int)
    for where, block in product.blocks(limit, longest=7):
        assert max(block.shape) <= 7
        assert np.prod(block.shape) <= limit
        found[where] += 1
    assert (found == 1).all()


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_values_are_laid_along_their_axes_before_and_after_others(kind):
    values = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    found = np.asarray(laid(kind(values), (0, 2), 3, before=1))
    assert found.shape == (2, 3, 1, 4, 5)
    everywhere = np.broadcast_to(found, (2, 3, 6, 4, 5))
    for j in range(6):
        assert np.array_equal(everywhere[:, :, j], values)
    own = kind(values)
    assert laid(own, (0, 1), 2, before=1) is own


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((100, 50), {(4, 50)}), ((9, 50), {(3, 50)}), ((3, 50), {(3, 50)}), ((2, 201), {(2, 51)})],
)
def test_blocks_that_keep_rows_have_all_of_the_last_axis_if_they_can(shape, expected):
    product = grid([np.arange(length) for length in shape])
    found = np.zeros(product.shape, dtype=int)
    shapes = set()
    for where, block in product.blocks(200, keeps_rows=True):
        assert np.prod(block.shape) <= 200
        shapes.add(block.shape)
        found[where] += 1
    assert (found == 1).all()
    assert expected <= shapes


def test_products_of_vectors_are_those_of_loops():
    vectors = [torch.arange(6.0).view(2, 3) + 1, torch.tensor([[2.0, 5.0], [7.0, 3.0]])]
    found = products_of(vectors)
    expected = [[a * b for a in one for b in two] for one, two in zip(*vectors, strict=True)]
    assert torch.equal(found, torch.tensor(expected))
