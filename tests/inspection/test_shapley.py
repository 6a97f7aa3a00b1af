import sys
import warnings
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score

from sklearn_mmfusion import InputError, InTenseRegressor
from sklearn_mmfusion.inspection import modality_shapley

RNG = np.random.default_rng(0)
COLUMNS = {name: RNG.normal(size=5) for name in "abc"}


def tangled(a, b, c):
    return np.stack([a * b * c + a * c - b + 2, np.sin(a + b)], axis=-1)


def games(expectation, reference=None):
    """Value of every set in every row, (n, 8, 2), by loops."""
    columns = list(COLUMNS.values())
    reference = columns if reference is None else reference
    values = np.empty((5, 8, 2))
    for mask in range(8):
        fixed = [m for m in range(3) if mask >> m & 1]
        for row in range(5):
            values[row, mask] = expectation(lambda v: tangled(*v), columns, reference, fixed, row)
    return values


@pytest.mark.parametrize("is_own", [True, False])
def test_values_are_mean_marginal_contributions_over_all_orders(formula, expectation, is_own):
    reference = None if is_own else {name: values[:3] + 0.2 for name, values in COLUMNS.items()}
    found = modality_shapley(formula(tangled), COLUMNS, background=reference)
    game = games(expectation, None if is_own else list(reference.values()))
    for m in range(3):
        gains = []
        for order in permutations(range(3)):
            before = sum(1 << j for j in order[: order.index(m)])
            gains.append(game[:, before | 1 << m] - game[:, before])
        assert np.abs(found.shapley_values[:, m] - np.mean(gains, axis=0)).max() < 1e-12
    assert np.abs(found.base_value - game[0, 0]).max() < 1e-12
    assert np.abs(found.full_value - tangled(*COLUMNS.values())).max() < 1e-12
    assert found.mean_absolute == pytest.approx(np.abs(found.shapley_values).mean(0))


@pytest.mark.parametrize("method", ["exact", "sampled"])
def test_values_add_up_to_the_output(formula, method):
    found = modality_shapley(
        formula(tangled), COLUMNS, method=method, interactions="STII", random_state=0
    )
    total = found.base_value + found.shapley_values.sum(1)
    assert np.abs(total - found.full_value).max() < 1e-12
    # Those of modalities and pairs add up in the same way.
    total = found.base_value + found.interactions.sum(1)
    assert np.abs(total - found.full_value).max() < 1e-12
    assert found.method == method
    assert bool(found.standard_error.any()) is (method == "sampled")


@pytest.mark.parametrize("model", [LinearRegression, LogisticRegression])
def test_linear_model_has_the_closed_form(model):
    rng = np.random.default_rng(0)
    X, background = rng.normal(size=(20, 4)), rng.normal(size=(9, 4)) + 1
    target = X @ [1.0, -2.0, 0.5, 3.0]
    fitted = model().fit(X, target if model is LinearRegression else target > 0)
    groups = {"u": [0, 3], "v": [1, 2]}
    found = modality_shapley(
        fitted, X, modalities=groups, background=background, interactions="SII"
    )
    weights = fitted.coef_.ravel()
    for m, columns in enumerate(groups.values()):
        expected = (X - background.mean(0))[:, columns] @ weights[columns]
        assert np.abs(found.shapley_values[:, m, 0] - expected).max() < 1e-12
    # Interaction indices of single modalities are Shapley values, and there is no interaction.
    assert np.abs(found.interactions[:, :2] - found.shapley_values).max() < 1e-12
    assert np.abs(found.interactions[:, 2]).max() < 1e-12


def test_interactions_are_those_of_their_definitions(formula, expectation):
    game = games(expectation)
    names = ["a", "b", "c", "a x b", "a x c", "b x c"]
    for index in ("SII", "STII"):
        found = modality_shapley(formula(tangled), COLUMNS, interactions=index)
        assert found.interaction_names == names
        for t, (i, j) in enumerate(combinations(range(3), 2), start=3):
            both, k = 1 << i | 1 << j, 7 - (1 << i | 1 << j)
            without = game[:, both] - game[:, 1 << i] - game[:, 1 << j] + game[:, 0]
            with_k = game[:, 7] - game[:, 1 << i | k] - game[:, 1 << j | k] + game[:, k]
            # SII: each set of others alike by size; STII: 2/3 and 1/3.
            expected = (without + with_k) / 2
            if index == "STII":
                expected = 2 / 3 * without + with_k / 3
            assert np.abs(found.interactions[:, t] - expected).max() < 1e-12
    alone = game[:, 1] - game[:, 0]
    assert np.abs(found.interactions[:, 0] - alone).max() < 1e-12


def test_symmetric_modalities_share_an_interaction_alike(formula):
    X = {"a": np.array([-1.0, -1, 1, 1]), "b": np.array([-1.0, 1, -1, 1]), "c": np.arange(4.0)}
    found = modality_shapley(formula(lambda a, b, c: 6 * a * b), X)
    assert found.shapley_values[:, 0, 0] == pytest.approx([3, -3, -3, 3])
    assert found.shapley_values[:, 1, 0] == pytest.approx([3, -3, -3, 3])
    # A modality that is not used gets nothing.
    assert np.abs(found.shapley_values[:, 2]).max() < 1e-12


def test_score_is_shared_out_with_absent_modalities_permuted():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    y = X[:, 0] + 0.7 * X[:, 1] > 0
    weight = rng.uniform(size=80)
    model = LogisticRegression().fit(X, y)
    model.coef_[0, 2] = 0.0
    found = modality_shapley(
        model,
        X,
        y,
        modalities={"a": [0], "b": [1], "c": [2]},
        value="score",
        n_draws=30,
        sample_weight=weight,
        random_state=0,
    )
    assert found.full_value == pytest.approx(
        accuracy_score(y, model.predict(X), sample_weight=weight)
    )
    assert found.base_value + found.shapley_values.sum() == pytest.approx(found.full_value)
    assert found.shapley_values.shape == found.standard_error.shape == (3,)
    assert found.shapley_values[2] == 0.0
    assert found.shapley_values[0] > found.shapley_values[1] > 3 * found.standard_error[1] > 0
    # Base value: accuracy of predictions for rows whose modalities belong to different samples.
    chance = np.average(
        [accuracy_score(y, rng.permutation(model.predict(X)), sample_weight=weight)
         for _ in range(300)]
    )  # fmt: skip
    assert found.base_value == pytest.approx(chance, abs=0.06)


def test_our_estimators_give_the_same_score_values_as_scikit_learn_would():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(40, 2)), "b": rng.normal(size=(40, 2))}
    y = X["a"][:, 0] * 20 + X["b"][:, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three epochs neither converge nor learn
        model = InTenseRegressor(max_epochs=3, reg=1e-4, polish=False, random_state=0).fit(X, y)
    cached = modality_shapley(model, X, y, value="score", n_draws=5, random_state=1)

    def r2(estimator, X, y):
        return estimator.score(X, y)

    plain = modality_shapley(model, X, y, value="score", scoring=r2, n_draws=5, random_state=1)
    assert np.abs(cached.shapley_values - plain.shapley_values).max() < 1e-10
    assert cached.full_value == pytest.approx(model.score(X, y))


def test_arguments_for_shapiq_describe_one_row(formula):
    found = modality_shapley(formula(tangled), COLUMNS, interactions="STII")
    given = found._shapiq_arguments(2, 1)
    assert given["index"] == "STII"
    assert (given["n_players"], given["min_order"], given["max_order"]) == (3, 0, 2)
    assert given["interaction_lookup"][()] == 0
    assert given["values"][0] == given["baseline_value"] == found.base_value[1]
    for names, row in zip(found.interaction_sets, found.interactions[2, :, 1], strict=True):
        place = given["interaction_lookup"][tuple("abc".index(name) for name in names)]
        assert given["values"][place] == row
    assert given["values"].sum() == pytest.approx(found.full_value[2, 1])
    plain = modality_shapley(formula(tangled), COLUMNS)._shapiq_arguments(0, 0)
    assert (plain["index"], plain["max_order"]) == ("SV", 1)
    with pytest.raises(InputError, match="a row of X"):
        found.to_shapiq() if "shapiq" in sys.modules else found._shapiq_arguments(None, 0)


def test_to_shapiq_without_shapiq_names_what_to_install(formula, monkeypatch):
    monkeypatch.setitem(sys.modules, "shapiq", None)
    found = modality_shapley(formula(tangled), COLUMNS)
    with pytest.raises(ImportError, match="pip install shapiq"):
        found.to_shapiq(0)


def test_to_frame_is_long(formula):
    found = modality_shapley(formula(tangled), COLUMNS)
    frame = found.to_frame()
    assert list(frame) == ["sample", "modality", "output", "shapley", "standard_error"]
    assert len(frame) == 5 * 3 * 2
    row = frame[(frame["sample"] == 3) & (frame["modality"] == "b") & (frame["output"] == 1)]
    assert row["shapley"].item() == found.shapley_values[3, 1, 1]
    y = tangled(*COLUMNS.values())
    score = modality_shapley(formula(tangled), COLUMNS, y, value="score", n_draws=2, random_state=0)
    assert score.to_frame()["modality"].tolist() == ["a", "b", "c"]


def test_to_frame_has_the_labels_of_rows(formula):
    index = pd.Index(["p7", "p3", "p9", "p1", "p5"])
    labelled = {name: pd.DataFrame(values, index=index) for name, values in COLUMNS.items()}
    found, plain = (modality_shapley(formula(tangled), X) for X in (labelled, COLUMNS))
    assert found.to_frame()["sample"].unique().tolist() == index.tolist()
    assert plain.sample_labels is None
    np.testing.assert_array_equal(found.shapley_values, plain.shapley_values)


def test_modality_shapley_refuses(formula):
    model = formula(tangled)
    with pytest.raises(InputError, match="value must be"):
        modality_shapley(model, COLUMNS, value="loss")
    with pytest.raises(InputError, match="interactions must be"):
        modality_shapley(model, COLUMNS, interactions="pairs")
    with pytest.raises(InputError, match="needs y"):
        modality_shapley(model, COLUMNS, value="score")
    with pytest.raises(InputError, match="are for value='score'"):
        modality_shapley(model, COLUMNS, [1] * 5)
    many = {f"m{i}": np.zeros(2) for i in range(13)}
    with pytest.raises(InputError, match="13 modalities have 8_192 sets"):
        modality_shapley(formula(lambda *columns: columns[0]), many)
