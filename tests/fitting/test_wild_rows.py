"""Tests of held-out rows with values far beyond those of the training rows."""

import numpy as np
import pytest

from sklearn_mmfusion import MLPEncoder, MNLClassifier, NumericalWarning
from sklearn_mmfusion._fitting.data import FitInput
from sklearn_mmfusion._fitting.wild_rows import without_wild_rows
from sklearn_mmfusion._inputs.lazy_blocks import VIEW_BYTES, LazyBlock
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData


def rows(values, weight=None, **kwargs):
    values = np.asarray(values)
    data = ModalityData([ModalityBlock("a", values, **kwargs)])
    return FitInput(data, np.arange(len(values), dtype=float), weight, "regression")


def left(kept, held):
    return without_wild_rows(kept, held).target.astype(int).tolist()


KEPT = rows(np.linspace(0.0, 1.0, 20)[:, None])


@pytest.mark.parametrize(
    ("value", "is_wild"),
    [(4.0, False), (4.01, True), (-3.0, False), (-3.01, True), (1e300, True), (-1.7e308, True)],
)
def test_three_widths_beyond_the_range_are_allowed(value, is_wild):
    expected = [0, 2, 3] if is_wild else [0, 1, 2, 3]
    assert left(KEPT, rows([[0.1], [value], [0.9], [0.5]])) == expected


def test_one_wild_value_among_many_columns_and_modalities():
    rng = np.random.default_rng(0)
    blocks = [ModalityBlock(name, rng.normal(size=(200, 3))) for name in "ab"]
    kept = FitInput(ModalityData(blocks), np.zeros(200), None, "regression")
    blocks = [ModalityBlock(name, rng.normal(size=(100, 3))) for name in "ab"]
    blocks[1].values[17, 2] = 1e4
    held = FitInput(ModalityData(blocks), np.arange(100.0), None, "regression")
    assert left(kept, held) == [i for i in range(100) if i != 17]


def test_rows_of_another_kind_stay():
    held = rows(np.linspace(100.0, 101.0, 50)[:, None])
    assert left(KEPT, held) == list(range(50))


def test_what_is_constant_in_training_rows_makes_nothing_wild():
    kept = rows(np.column_stack([np.linspace(0, 1, 20), np.ones(20)]))
    assert left(kept, rows([[0.5, 1e6], [0.2, 1.0], [0.1, 1.0]])) == [0, 1, 2]


def test_rows_without_weight_and_rows_that_are_missing_widen_no_range():
    values = np.linspace(0.0, 1.0, 20)[:, None]
    values[3] = 1000.0
    held = rows([[0.5], [900.0], [0.2]])
    assert left(rows(values), held) == [0, 1, 2]
    weight = np.ones(20)
    weight[3] = 0
    assert left(rows(values, weight), held) == [0, 2]
    present = np.arange(20) != 3
    assert left(rows(values, present=present), held) == [0, 2]
    missing = rows([[0.5], [900.0], [0.2]], present=np.array([True, False, True]))
    assert left(KEPT, missing) == [0, 1, 2]


def test_steps_of_sequences_count_and_padding_does_not():
    rng = np.random.default_rng(0)
    lengths = np.full(30, 2)
    seen, new = rng.normal(size=(2, 30, 4, 2))
    seen[:, 2:] = 1e6
    kept = rows(seen, lengths=lengths)
    new[4, 3] = 1e9
    assert left(kept, rows(new, lengths=lengths)) == list(range(30))
    new[4, 1, 0] = 1e3
    assert left(kept, rows(new, lengths=lengths)) == [i for i in range(30) if i != 4]


def test_codes_and_pixels_have_no_range():
    codes = rows(np.zeros((20, 3), np.int64), codes=True)
    assert left(codes, rows(np.full((3, 3), 40), codes=True)) == [0, 1, 2]
    dark = rows(np.zeros((20, 4, 4), np.uint8))
    assert left(dark, rows(np.full((3, 4, 4), 255, np.uint8))) == [0, 1, 2]


def small_fit(X, y, **fit_params):
    encoders = MLPEncoder(hidden_dim=16, n_quantiles=8)
    est = MNLClassifier(encoders=encoders, max_epochs=20, random_state=0)
    return est.set_params(early_stopping=True, validation_fraction=0.5).fit(X, y, **fit_params)


@pytest.mark.parametrize("is_given", [True, False])
def test_one_wild_cell_among_held_out_rows_spoils_no_fit(is_given):
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(300, 3)), "b": rng.normal(size=(300, 3))}
    y = (X["a"][:, 0] + X["b"][:, 0] + rng.logistic(size=300) / 2 > 0).astype(int)
    spoiled = {"a": X["a"].copy(), "b": X["b"]}
    if is_given:
        spoiled["a"][7, 0] = 1e6
        assert small_fit(X, y, X_val=spoiled, y_val=y).validation_gain_ > 0.3
        return
    for row in (3, 17, 40, 60):  # half of the rows are held out
        spoiled["a"][row, 0], kept = 1e6, spoiled["a"][row, 0]
        with pytest.warns(NumericalWarning, match=f"column 0, row {row}: 1e\\+06"):
            est = small_fit(spoiled, y)
        assert est.score(X, y) > 0.7
        spoiled["a"][row, 0] = kept


def test_a_large_modality_is_looked_at_in_parts_and_one_on_disk_is_not():
    values = np.random.default_rng(0).normal(size=(300, VIEW_BYTES // 2000))
    values[[7, 250], [2, 5]] = 1e6, -1e6
    small = ModalityBlock("b", values[:, :3] * (np.arange(300) != 7)[:, None])
    data = ModalityData([ModalityBlock("a", values), small])
    whole = FitInput(data, np.arange(300.0), np.ones(300), "regression")
    kept, held = whole.take(np.arange(100, 200)), whole.take(np.r_[0:100, 200:300])
    assert isinstance(held.data.blocks[0], LazyBlock)
    left = without_wild_rows(kept, held)
    assert left.target.tolist() == [i for i in range(300) if i not in (7, 250, *range(100, 200))]
    held.data.blocks[0].in_memory = False
    assert without_wild_rows(kept, held) is held
