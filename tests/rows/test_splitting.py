"""Tests of the rows that are held out: what may and what may not decide which they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_mmfusion import LazyArray
from sklearn_mmfusion._inputs import lazy_blocks as lazy_blocks_module
from sklearn_mmfusion._inputs.absence import make_block
from sklearn_mmfusion._inputs.lazy_blocks import LazyBlock
from sklearn_mmfusion._rows import splitting as splitting
from sklearn_mmfusion._rows.splitting import (
    content_keys,
    folds_by_content,
    split_by_content,
    split_rows,
)
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData

N = 60


def values(seed=0, n=N):
    rng = np.random.default_rng(seed)
    return {"a": rng.normal(size=(n, 3)), "b": rng.normal(size=(n, 4, 2))}


def data(arrays):
    return ModalityData([ModalityBlock(name, array) for name, array in arrays.items()])


def classes(n=N):
    return np.arange(n) % 3


def by_content(arrays, target=None, kind="multiclass", fraction=0.2, seed=0):
    target = classes(len(arrays["a"])) if target is None else target
    split = split_by_content(data(arrays), target, kind, fraction, seed)
    return None if split is None else split[:2]


def held_mask(split, n=N):
    mask = np.zeros(n, dtype=bool)
    mask[split[1]] = True
    return mask


def assert_partition(split, n):
    kept, held = split
    np.testing.assert_array_equal(np.sort(np.concatenate(split)), np.arange(n))
    for part in (kept, held):
        assert (np.diff(part) > 0).all()


# -- by content -------------------------------------------------------------------------------


def test_rows_on_disk_are_split_as_those_in_memory(monkeypatch):
    arrays = values()
    arrays["a"][[3, 5]], arrays["b"][7, 2:] = np.nan, np.nan
    here = [make_block(name, array, missing="mask") for name, array in arrays.items()]
    blocks = [
        LazyBlock(name, LazyArray(array), missing="mask", rows=range(N))
        for name, array in arrays.items()
    ]
    monkeypatch.setattr(lazy_blocks_module, "_SCAN_BYTES", 500)  # a few rows at a time
    expected = split_by_content(ModalityData(here), classes(), "multiclass", 0.2, 0)
    found = split_by_content(ModalityData(blocks), classes(), "multiclass", 0.2, 0)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_every_row_is_on_one_side_and_the_share_is_as_asked(kind):
    split = by_content(values(), kind=kind)
    assert_partition(split, N)
    assert len(split[1]) == 12


def test_rows_of_each_class_are_held_out_in_proportion():
    target = np.repeat([0, 1, 2], [30, 20, 10])
    _, held = by_content(values(), target)
    np.testing.assert_array_equal(np.bincount(target[held]), [6, 4, 2])


def test_another_seed_holds_out_other_rows():
    first, other = by_content(values()), by_content(values(), seed=1)
    assert not np.array_equal(first[1], other[1])
    np.testing.assert_array_equal(first[1], by_content(values())[1])


@settings(max_examples=50)
@given(st.integers(0, 1000))
def test_equal_rows_stay_together_and_count_once(seed):
    counts = np.random.default_rng(seed).integers(1, 4, size=N)
    rows = np.repeat(np.arange(N), counts)
    once = held_mask(by_content(values()))
    repeated = by_content({k: v[rows] for k, v in values().items()}, classes()[rows])
    np.testing.assert_array_equal(held_mask(repeated, len(rows)), once[rows])


@pytest.mark.parametrize("kind", ["multiclass", "regression", "multilabel"])
def test_order_of_rows_is_irrelevant(kind):
    target = classes() if kind == "multiclass" else np.random.default_rng(4).normal(size=(N, 2))
    order = np.random.default_rng(5).permutation(N)
    expected = held_mask(by_content(values(), target, kind))
    turned = by_content({k: v[order] for k, v in values().items()}, target[order], kind)
    np.testing.assert_array_equal(held_mask(turned), expected[order])


@pytest.mark.parametrize("factor", [1e-300, 1e-7, 3.0, 1e7, 1e300])
def test_units_are_irrelevant(factor):
    arrays = values()
    expected = by_content(arrays)[1]
    np.testing.assert_array_equal(by_content(arrays | {"a": arrays["a"] * factor})[1], expected)
    target = np.random.default_rng(4).normal(size=N)
    number = by_content(arrays, target, "regression")[1]
    found = by_content(arrays, target * factor, "regression")[1]
    np.testing.assert_array_equal(found, number)


@pytest.mark.parametrize("kind", ["numbers", "codes"])
def test_steps_that_all_rows_pad_are_irrelevant(kind, monkeypatch):
    monkeypatch.setattr(splitting, "_FIRST_COLUMNS", 5)
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 7, N)
    padding = np.arange(6) >= lengths[:, None]
    if kind == "codes":
        steps = np.where(padding, -1, rng.integers(0, 3, (N, 6)))
        blocks = [
            ModalityBlock("c", np.pad(steps, ((0, 0), (0, more)), constant_values=-1), codes=True)
            for more in (0, 300)
        ]
    else:
        steps = np.where(padding[:, :, None], 0.0, rng.integers(0, 2, (N, 6, 2)))
        blocks = [
            ModalityBlock("s", np.pad(steps, ((0, 0), (0, more), (0, 0))), lengths)
            for more in (0, 300)
        ]
    expected, found = (
        split_by_content(ModalityData([block]), classes(), "multiclass", 0.2, 0) for block in blocks
    )
    np.testing.assert_array_equal(found.held, expected.held)


@pytest.mark.parametrize("offset", [273.15, -1e5, 1e8])
def test_offsets_are_irrelevant(offset):
    arrays = values()
    found = by_content({name: array + offset for name, array in arrays.items()})
    np.testing.assert_array_equal(found[1], by_content(arrays)[1])


@pytest.mark.parametrize("change", [lambda x: x + 273.15, lambda x: 1000 * x + 5, lambda x: x - 37])
def test_units_are_irrelevant_where_rows_lack_a_modality_or_steps(change):
    arrays, rng = values(), np.random.default_rng(3)
    present, lengths = rng.random(N) < 0.6, rng.integers(1, 5, N)
    absent, padding = ~present, np.arange(4) >= lengths[:, None]

    def held(flat, steps):
        blocks = [
            ModalityBlock("a", np.where(absent[:, None], 0.0, flat), present=present),
            ModalityBlock("b", np.where(padding[:, :, None], 0.0, steps), lengths),
        ]
        return split_by_content(ModalityData(blocks), classes(), "multiclass", 0.2, 0).held

    found = held(change(arrays["a"]), change(arrays["b"]))
    np.testing.assert_array_equal(found, held(arrays["a"], arrays["b"]))


def test_what_is_not_there_is_not_zero():
    flat = np.where(np.arange(N)[:, None] % 2, 0.0, np.arange(N)[:, None])
    present = np.arange(N) % 4 != 1
    keys = content_keys(ModalityData([ModalityBlock("a", flat, present=present)]), 0)
    assert len(set(keys[1::4]) | set(keys[3::4])) == 2


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.float32])
def test_whole_numbers_are_the_same_in_every_type(dtype):
    whole = {name: np.round(20 * array) for name, array in values().items()}
    found = by_content({name: array.astype(dtype) for name, array in whole.items()})
    np.testing.assert_array_equal(found[1], by_content(whole)[1])


def test_precision_of_the_values_is_irrelevant():
    single = {name: array.astype(np.float32) for name, array in values().items()}
    double = {name: array.astype(np.float64) for name, array in single.items()}
    np.testing.assert_array_equal(by_content(single)[1], by_content(double)[1])


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_fewer_than_ten_rows_are_not_split(kind):
    ten = {name: array[:10] for name, array in values().items()}
    assert by_content(ten, np.arange(10) % 2, kind) is not None
    nine = {name: array[:9] for name, array in values().items()}
    target = np.arange(9) % 3
    assert by_content(nine, target, kind) is None
    parts = data(nine), target, kind, 0.2, 0
    assert split_by_content(*parts, np.ones(9)) is None
    assert split_by_content(*parts, np.full(9, 0.5)) is None
    # A weight of two is a row that comes twice.
    assert split_by_content(*parts, np.full(9, 2.0)) is not None


def flags(n=400, seed=0):
    """Two flags, labels that do not follow from them, and which combination each row is."""
    rng = np.random.default_rng(seed)
    a, b, target = rng.integers(0, 2, (3, n))
    return {"a": a[:, None] + 0.0, "b": b[:, None] + 0.0}, target, 4 * a + 2 * b + target


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_rows_that_differ_in_their_label_alone_are_held_out_by_number(kind):
    arrays, target, content = flags()
    arrays["a"] = np.hstack([arrays["a"], np.random.default_rng(1).integers(0, 3, (400, 1))])
    both = np.column_stack([arrays["a"], content])
    combined = np.unique(both, axis=0, return_inverse=True)[1].ravel()
    y = target if kind == "binary" else np.column_stack([target, 1 - target])
    shares = []
    for seed in range(40):
        held = held_mask(by_content(arrays, y, kind, 0.3, seed), 400)
        counts = np.bincount(combined)
        shares.append(np.bincount(combined, held) / counts)
    shares = np.array(shares)
    # A binomial share of each combination with each label, not all of one or none.
    assert shares.mean() == pytest.approx(0.3, abs=0.02)
    expected = np.sqrt(0.3 * 0.7 / counts)
    np.testing.assert_allclose(shares.std(0) / expected, 1.0, atol=0.5)


def test_number_that_is_held_out_depends_on_nothing_but_the_rows():
    arrays, target, content = flags()
    counted = np.bincount(content[held_mask(by_content(arrays, target, "binary"), 400)])
    order = np.random.default_rng(5).permutation(400)
    turned = {name: 7.0 * array[order] - 3 for name, array in arrays.items()}
    held = held_mask(by_content(turned, target[order], "binary"), 400)
    np.testing.assert_array_equal(np.bincount(content[order][held]), counted)


def test_whole_weights_are_held_out_as_repeated_rows_are():
    arrays, target, content = flags()
    weight = np.random.default_rng(3).integers(0, 4, 400)
    rows = np.repeat(np.arange(400), weight)
    parts = target, "binary", 0.2, 0
    split = split_by_content(data(arrays), *parts, weight.astype(float))
    repeated = {name: array[rows] for name, array in arrays.items()}
    held = split_by_content(data(repeated), target[rows], *parts[1:]).held
    expected = np.bincount(content[rows][held], minlength=8)
    np.testing.assert_array_equal(np.bincount(content[split.held], split.held_weight), expected)
    both = np.zeros(400)
    for some, weights in zip(split[:2], split[2:], strict=True):
        assert (weights == np.round(weights)).all()
        both[some] += weights
    np.testing.assert_array_equal(both, weight)


def test_other_weights_leave_rows_whole():
    arrays, target, _ = flags()
    weight = np.random.default_rng(3).random(400)
    split = split_by_content(data(arrays), target, "binary", 0.2, 0, weight)
    assert_partition(split[:2], 400)
    np.testing.assert_array_equal(split.kept_weight, weight[split.kept])
    np.testing.assert_array_equal(split.held_weight, weight[split.held])
    order = np.random.default_rng(5).permutation(400)
    turned = {name: array[order] for name, array in arrays.items()}
    found = split_by_content(data(turned), target[order], "binary", 0.2, 0, weight[order])
    np.testing.assert_array_equal(np.sort(found.held_weight), np.sort(split.held_weight))


def test_flags_with_a_number_as_target_are_rows_of_their_own():
    arrays, _, _ = flags()
    target = np.random.default_rng(1).normal(size=400)
    assert_partition(by_content(arrays, target, "regression"), 400)
    assert len(by_content(arrays, target, "regression")[1]) == 80


def test_share_that_holds_out_a_single_row_is_not_used():
    assert by_content(values(), fraction=0.01) is None
    assert by_content(values(), np.zeros(N), "regression", fraction=1 / N) is None


@pytest.mark.parametrize("split", ["content", "rows"])
def test_training_sees_every_class(split):
    target = np.zeros(N, dtype=np.int64)
    target[7] = 1  # of which there is one row
    for seed in range(20):
        if split == "content":
            kept, held = by_content(values(), target, fraction=0.5, seed=seed)
        else:
            kept, held = split_rows(target, "binary", 0.5, seed)[:2]
        assert 7 in kept
        assert 7 not in held


# -- folds ------------------------------------------------------------------------------------


def folds(arrays, target=None, kind="multiclass", n_folds=4, seed=0):
    target = classes(len(arrays["a"])) if target is None else target
    return folds_by_content(content_keys(data(arrays), seed), target, kind, n_folds)


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_folds_are_balanced_by_class_and_differ_between_seeds(kind):
    target = np.repeat([0, 1, 2], [30, 20, 10])
    found = folds(values(), target, kind)
    assert np.ptp(np.bincount(found, minlength=4)) <= 1
    if kind == "multiclass":
        table = np.stack([np.bincount(found[target == c], minlength=4) for c in range(3)])
        assert (np.ptp(table, axis=1) <= 1).all()
    assert not np.array_equal(found, folds(values(), target, kind, seed=1))


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_folds_keep_equal_rows_together_in_any_order(seed):
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.repeat(np.arange(N), rng.integers(1, 4, size=N)))
    repeated = {name: array[rows] for name, array in values().items()}
    np.testing.assert_array_equal(folds(repeated, classes()[rows]), folds(values())[rows])


def test_folds_keep_rows_together_that_differ_in_the_target_only():
    twice = {name: np.concatenate([array, array]) for name, array in values().items()}
    found = folds(twice, np.concatenate([classes(), (classes() + 1) % 3]))
    np.testing.assert_array_equal(found[:N], found[N:])


@pytest.mark.parametrize("factor", [1e-300, 3.0, 1e300])
def test_folds_do_not_depend_on_units(factor):
    arrays = values()
    np.testing.assert_array_equal(folds(arrays | {"a": arrays["a"] * factor}), folds(arrays))


def test_rows_that_differ_far_behind_only_have_keys_of_their_own(monkeypatch):
    # Images with a dark margin: the first 64 pixels are 0 in all of them.
    images = np.zeros((N, 16, 16), dtype=np.float32)
    images[:, 8, 8] = np.arange(N) // 2
    arrays = {"image": images}
    keys = content_keys(data(arrays), 0)
    expected = np.arange(N)[:, None] // 2 == np.arange(N) // 2
    np.testing.assert_array_equal(keys[:, None] == keys, expected)
    double = {"image": np.where(images == 0, -0.0, images).astype(np.float64)}
    np.testing.assert_array_equal(content_keys(data(double), 0), keys)
    monkeypatch.setattr(lazy_blocks_module, "_SCAN_BYTES", 5000)  # a few rows at a time
    lazy = ModalityData([LazyBlock("image", LazyArray(images), rows=range(N))])
    np.testing.assert_array_equal(content_keys(lazy, 0), keys)


def test_images_with_a_margin_are_split_in_any_unit_and_with_copies():
    images = np.zeros((N, 28, 28), dtype=np.uint8)
    images[:, 8:20, 8:20] = np.random.default_rng(0).integers(0, 255, size=(N, 12, 12))
    once = held_mask(by_content({"a": images}))
    assert once.sum() == N // 5
    np.testing.assert_array_equal(held_mask(by_content({"a": images / 255 - 0.5})), once)
    rows = np.repeat(np.arange(N), np.arange(N) % 3 + 1)
    repeated = by_content({"a": images[rows]}, classes()[rows])
    np.testing.assert_array_equal(held_mask(repeated, len(rows)), once[rows])


def test_fewer_than_ten_different_rows_make_no_folds():
    rows = np.repeat(np.arange(9), 20)
    assert folds({name: array[rows] for name, array in values().items()}) is None
    assert folds({name: array[:10] for name, array in values().items()}) is not None


def test_every_class_with_two_different_rows_is_in_two_folds():
    # Rows 0 and 1 are equal, and of two classes with one more row each.
    arrays = {name: array.copy() for name, array in values().items()}
    for array in arrays.values():
        array[1] = array[0]
    target = np.zeros(N, dtype=np.int64)
    target[[1, 2]], target[[0, 3]] = 1, 2
    for seed in range(20):
        for n_folds in (2, 5):
            found = folds(arrays, target, n_folds=n_folds, seed=seed)
            assert found[0] == found[1]
            assert found[2] != found[1] and found[3] != found[0]


# -- at random --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression", "multilabel"])
@pytest.mark.parametrize("n, fraction, n_held", [(60, 0.2, 12), (61, 0.1, 6), (10, 0.3, 3)])
def test_share_of_rows_is_held_out_at_random(kind, n, fraction, n_held):
    target = {
        "binary": np.arange(n) % 2,
        "multiclass": classes(n),
        "multilabel": np.eye(3)[classes(n)],
    }.get(kind, np.linspace(0, 1, n))
    split = split_rows(target, kind, fraction, 0)[:2]
    assert_partition(split, n)
    assert len(split[1]) == n_held
    np.testing.assert_array_equal(split[1], split_rows(target, kind, fraction, 0)[1])
    assert any((split_rows(target, kind, fraction, seed)[1] != split[1]).any() for seed in (1, 2))


def test_random_rows_are_stratified():
    target = np.repeat([0, 1, 2], [300, 200, 100])
    held = split_rows(target, "multiclass", 0.1, 3).held
    np.testing.assert_array_equal(np.bincount(target[held]), [30, 20, 10])


@pytest.mark.parametrize("n, fraction", [(2, 0.2), (7, 0.2), (10, 0.1), (10, 0.95)])
def test_random_split_of_too_few_rows_is_none(n, fraction):
    assert split_rows(np.arange(n) % 2, "binary", fraction, 0) is None


def test_more_classes_than_held_out_rows_are_not_stratified():
    kept, held = split_rows(np.arange(40) // 2, "multiclass", 0.2, 0)[:2]
    assert set(np.unique(np.arange(40)[kept] // 2)) == set(range(20))
    assert len(held) <= 8
