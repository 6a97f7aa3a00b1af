"""Tests of training rows whose values alone set the scale of a column."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor

from sklearn_mmfusion import (
    ContributionTransformer,
    EstimatorEncoder,
    LazyArray,
    LinearEncoder,
    MKLRegressor,
    MLPEncoder,
    MNLClassifier,
    MNLRegressor,
    ModalityFrame,
    NumericalWarning,
    RelevanceWarning,
    compare_models,
    relevance_intervals,
    relevance_test,
)
from sklearn_mmfusion._fitting.wild_cells import warn_of_wild_cells
from sklearn_mmfusion._inputs.kept_warnings import kept_numerical
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityLayout

RNG = np.random.default_rng(0)


def warned(values, weight=None, sample_weight=None, names=None, **kwargs):
    """Text of the warning of a modality with these values, or None."""
    block = ModalityBlock("a", np.asarray(values), **kwargs)
    layout = ModalityLayout("a", block.values.shape[1:], str(block.values.dtype), names)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_wild_cells(block, layout, weight, sample_weight)
    assert len(caught) <= 1
    assert all(warning.category is NumericalWarning for warning in caught)
    return str(caught[0].message) if caught else None


def with_cell(value=1e6, n=300, d=6, row=7, column=2, dtype=np.float64):
    values = np.random.default_rng(1).normal(size=(n, d)).astype(dtype)
    values[row, column] = value
    return values


HONEST = {
    "normal": lambda rng, size: rng.normal(size=size),
    "lognormal": lambda rng, size: np.exp(1.5 * rng.normal(size=size)),
    "Student's t": lambda rng, size: rng.standard_t(3, size=size),
    "sparse counts": lambda rng, size: rng.poisson(0.01, size=size),
    "overdispersed counts": lambda rng, size: rng.poisson(rng.gamma(0.1, 30, size=size)),
    "rare category": lambda rng, size: rng.random(size) < 0.005,
    "flag": lambda rng, size: rng.random(size) < 0.4,
    "few that are above zero": lambda rng, size: (
        (rng.random(size) < 0.05) * rng.lognormal(sigma=2, size=size)
    ),
    "a twentieth of other kind": lambda rng, size: (
        np.where(rng.random(size) < 0.05, 30.0, 1.0) * rng.normal(size=size)
    ),
}


@pytest.mark.parametrize("n", [20, 150, 1500])
@pytest.mark.parametrize("name", HONEST)
def test_heavy_tails_and_rare_flags_are_not_warned_of(name, n):
    rng = np.random.default_rng(2)
    for _ in range(3):
        values = HONEST[name](rng, (n, 600_000 // n)).astype(float)
        assert warned(values) is None
        for column in range(0, values.shape[1], 97):  # alone, it is the more easily far
            assert warned(values[:, [column]]) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [1e6, -1e6, 1e8])
@pytest.mark.parametrize("n", [30, 300, 1500])
def test_one_wild_cell_is_named(n, value, dtype):
    text = warned(with_cell(value, n, dtype=dtype))
    assert text.startswith("modality 'a': a few values are so far out")
    assert f"column 2, row 7: {value:.6g}, " in text
    assert "columns" not in text.split("column 2")[1]
    assert "QuantileTransformer" in text


def test_columns_with_names_have_them_and_the_ratio_is_that_to_the_next():
    values = np.linspace(-1, 1, 201)[:, None].repeat(2, axis=1)
    values[40, 1] = 500.0
    text = warned(values, names=("age", "CRP"))
    assert "column 'CRP', row 40: 500, 5e+02 times as far from the median as any other" in text


def test_a_code_for_missing_in_a_few_rows():
    values = np.round(np.random.default_rng(3).normal(60, 12, size=(500, 1)))
    values[[3, 99, 140, 200, 201, 333, 480]] = 99999
    assert "column 0, row 3 and 6 more: 99999" in warned(values)
    values[:50] = 99999  # a tenth of the rows are no accident
    assert warned(values) is None


def test_several_columns_are_counted():
    values = with_cell()
    values[9] = 1e6
    text = warned(values)
    assert "column 0, row 9" in text
    assert "column 2, row 7 and 1 more" in text
    assert "; and 3 more columns" in text


@pytest.mark.parametrize("factor", [1e-300, 1e-9, 1e9, 1e300])
@pytest.mark.parametrize("cell", [None, 20.0, 300.0, 1e6])
def test_units_change_nothing(cell, factor):
    values = with_cell(0.1 if cell is None else cell)
    assert (warned(values) is None) == (cell in (None, 20.0))
    text, changed = warned(values), warned(values * factor + 3 * factor)
    assert (changed is None) == (text is None)
    if changed is not None:
        assert changed.split(", ")[3] == text.split(", ")[3]  # how far beyond the others


def test_rows_that_do_not_count_are_not_looked_at():
    values = with_cell()
    weight = np.ones(300)
    weight[7] = 0
    assert warned(values, weight) is None
    assert warned(values, present=weight > 0) is None
    weight[[7, 8]] = 1, 0
    assert "row 7:" in warned(values, weight)


def test_rows_are_those_of_the_user():
    values, given = with_cell(), np.ones(301)
    given[2] = 0  # and was left out
    assert "row 8:" in warned(values, np.ones(300), given)
    assert "row 7:" in warned(values, np.ones(300), 2.0)


def test_steps_of_sequences_and_pixels_of_images():
    steps = np.random.default_rng(4).normal(size=(100, 8, 2))
    lengths = np.full(100, 5)
    steps[3, 6, 1] = 1e6
    assert warned(steps, lengths=lengths) is None
    assert "column 1, row 3: 1e+06" in warned(steps)
    steps[3, 4, 0] = -1e7
    assert "column 0, row 3: -1e+07" in warned(steps, lengths=lengths)
    images = np.random.default_rng(5).random(size=(60, 1, 5, 5))
    assert warned(images) is None
    images[9, 0, 2, 2] = 1e6
    assert "equal: row 9: 1e+06" in warned(images)


def test_codes_and_bytes_have_no_scale():
    codes = np.random.default_rng(6).integers(0, 5, size=(100, 3))
    codes[4, 1] = 10**9
    assert warned(codes, codes=True) is None
    dark = np.zeros((100, 4, 4), np.uint8)
    dark[5] = 255
    assert warned(dark) is None


def data(n=100):
    rng = np.random.default_rng(7)
    X = {"a": rng.normal(size=(n, 3)), "b": rng.normal(size=(n, 2))}
    y = X["a"][:, 0] + X["b"][:, 0] + 0.3 * rng.normal(size=n)
    spoiled = {"a": pd.DataFrame(X["a"], columns=["x", "y", "z"]), "b": X["b"]}
    spoiled["a"].loc[11, "x"] = 1e6
    return X, spoiled, y


FAST = {"encoders": LinearEncoder(), "max_epochs": 40, "lr": 0.05, "random_state": 0}
MATCH = "modality 'a': a few values .* column 'x', row 11: 1e\\+06"


@pytest.mark.parametrize(
    "fit",
    [
        lambda X, y: MNLRegressor(**FAST).fit(X, y),
        lambda X, y: MNLClassifier(**FAST).fit(X, y > 0),
        lambda X, y: MNLRegressor(**FAST).partial_fit(X, y),
        lambda X, y: MKLRegressor().fit(X, y),
    ],
    ids=["regressor", "classifier", "partial_fit", "kernels"],
)
def test_a_fit_warns_once(fit):
    _, spoiled, y = data()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(spoiled, y)
    found = [str(w.message) for w in caught if w.category is NumericalWarning]
    assert len(found) == 1
    assert "column 'x', row 11: 1e+06" in found[0]
    assert all(w.filename == __file__ for w in caught)


def test_a_wild_target_is_warned_of_where_the_loss_goes_by_it():
    X, _, y = data()
    spoiled = y.copy()
    spoiled[[4, 60]] = -1e5, 1e6
    text = r"y: a few values .* row 60 and 1 more: 1e\+06, .* use loss='huber' or"
    with pytest.warns(RelevanceWarning), pytest.warns(NumericalWarning, match=text):
        MNLRegressor(**FAST).fit(X, spoiled)
    for loss in ("absolute_error", "huber"):
        assert MNLRegressor(loss=loss, **FAST).fit(X, spoiled).score(X, y) > 0.8
    assert warned(np.exp(3 + 1.2 * y)[:, None]) is None  # skewed as costs and times are
    with pytest.warns(NumericalWarning, match=r"equal beside them: column 1, row 60"):
        MNLRegressor(**FAST).partial_fit(X, np.column_stack([y, spoiled]))
    named = pd.DataFrame({"mood": y, "pain": spoiled})
    for fit in ("fit", "partial_fit"):
        with pytest.warns(NumericalWarning, match=r"equal beside them: column 'pain', row 60"):
            getattr(MNLRegressor(**FAST), fit)(X, named)


def test_a_weight_of_zero_takes_the_row_out():
    _, spoiled, y = data()
    weight = np.ones(len(y))
    weight[11] = 0
    MNLRegressor(**FAST).fit(spoiled, y, weight)
    MKLRegressor().fit(spoiled, y, weight)
    weight[[11, 2]] = 1, 0
    with pytest.warns(NumericalWarning, match=MATCH):
        MNLRegressor(**FAST).fit(spoiled, y, weight)


def test_a_warning_that_is_an_error_leaves_the_last_fit():
    X, spoiled, y = data()
    est = MNLRegressor(**FAST).fit(X, y)
    before = est.predict(X)
    with pytest.raises(NumericalWarning):
        est.fit(spoiled, y)
    np.testing.assert_array_equal(est.predict(X), before)


def test_what_is_not_standardised_is_not_warned_of():
    _, spoiled, y = data()
    trees = EstimatorEncoder(DecisionTreeRegressor(max_depth=2, random_state=0))
    MNLRegressor(**FAST | {"encoders": {"a": trees, "b": LinearEncoder()}}).fit(spoiled, y)
    positive = {name: np.abs(np.asarray(values)) for name, values in spoiled.items()}
    MKLRegressor(kernel="chi2").fit(positive, y)


@pytest.mark.parametrize("estimator", [PCA(1), Ridge()])
def test_columns_of_representations_are_not_taken_for_those_of_the_user(estimator):
    _, spoiled, y = data()
    est = MNLRegressor(**FAST | {"encoders": {"a": EstimatorEncoder(estimator)}})
    with pytest.warns(NumericalWarning, match="'a', as its estimator represents it: .* row 11: "):
        est.fit(spoiled, y)


def test_modalities_on_disk_are_not_read_once_more():
    _, spoiled, y = data()
    on_disk = {"a": LazyArray(spoiled["a"].to_numpy()), "b": spoiled["b"]}
    MNLRegressor(**FAST | {"encoders": MLPEncoder(hidden_dim=4)}).fit(on_disk, y)


# -- many fits -------------------------------------------------------------------------------------


def of_many(use):
    """What a function that fits many times says of the numbers of X: once."""
    X = {name: RNG.normal(size=(200, 3)) for name in "ab"}
    y = X["a"][:, 0] + 0.1 * RNG.normal(size=200)
    X["a"][60, 1] = 1e6
    est = MNLRegressor(encoders=LinearEncoder(), max_epochs=30, reg=0.01, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        use(est, ModalityFrame(X), y)
    (text,) = [str(w.message) for w in caught if w.category is NumericalWarning]
    return text


@pytest.mark.parametrize("method", ["seeds", "bootstrap", "cv"])
def test_intervals_say_it_once_with_the_rows_of_the_user(method):
    options = {"method": method, "n_refits": 3, "cv": 3, "random_state": 0}
    text = of_many(lambda *given: relevance_intervals(*given, **options))
    assert text.startswith("modality 'a': a few values") and "row 60: 1e+06" in text


def test_tests_and_comparisons_say_it_once_of_all_their_fits():
    text = of_many(lambda *given: relevance_test(*given, n_splits=4, n_null=99, random_state=0))
    assert re.match(r"[1-4] of 4 fits warn of their numbers, the first: modality 'a'", text)
    assert "rows by their number among those of this fit" in text
    text = of_many(lambda est, X, y: compare_models([est, Ridge()], X.to_2d(), y, cv=3))
    assert text.startswith("2 of 6 fits warn of their numbers")


def test_folds_of_a_transformer_say_nothing_that_its_fit_has_said():
    text = of_many(lambda est, X, y: ContributionTransformer(est, cv=3).fit_transform(X, y))
    assert text.startswith("modality 'a': a few values") and "row 60: 1e+06" in text


def test_what_else_many_fits_warn_of_is_shown_as_before():
    with pytest.warns(ConvergenceWarning), kept_numerical() as said:
        warnings.warn("slow", ConvergenceWarning, stacklevel=1)
        warnings.warn("wild", NumericalWarning, stacklevel=1)
    assert said == ["wild"]
