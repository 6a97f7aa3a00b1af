import warnings

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from sklearn_mmfusion import (
    GAMClassifier,
    InputError,
    InTenseClassifier,
    MNLRegressor,
    MRORegressor,
)
from sklearn_mmfusion.inspection import interaction_decomposition

RNG = np.random.default_rng(0)
COLUMNS = {name: RNG.normal(size=5) for name in "abc"}


def tangled(a, b, c):
    return np.stack([a * b * c + a * c - b + 2, np.sin(a + b)], axis=-1)


@pytest.mark.parametrize("background", [None, 4])
def test_components_are_those_of_loops_and_add_up(formula, component_oracle, background):
    reference = None if background is None else {k: v[:4] + 0.1 for k, v in COLUMNS.items()}
    found = interaction_decomposition(formula(tangled), COLUMNS, background=reference)
    assert found.term_names == ["a", "b", "c", "a x b", "a x c", "b x c", "a x b x c"]
    assert found.term_modalities[3] == ("a", "b")
    columns = list(COLUMNS.values())
    rows = columns if reference is None else list(reference.values())
    sets = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    for t, members in enumerate(sets):
        for row in range(5):
            expected = component_oracle(lambda v: tangled(*v), columns, rows, members, row)
            assert found.components[row, t] == pytest.approx(expected, abs=1e-12)
    total = found.intercept + found.components.sum(1) + found.residual
    assert np.abs(total - found.outputs).max() < 1e-12
    assert np.abs(found.outputs - tangled(*columns)).max() < 1e-12
    assert found.std == pytest.approx(found.components.std(0))


@pytest.mark.parametrize("model", [LinearRegression, LogisticRegression])
def test_linear_model_has_the_closed_form_without_interactions(model):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 5))
    target = X @ [1.0, -2.0, 0.5, 3.0, 0.0] + 1
    fitted = model().fit(X, target if model is LinearRegression else target > 0)
    groups = {"u": [0, 4], "v": [1], "w": [2, 3]}
    found = interaction_decomposition(fitted, X, modalities=groups)
    weights = fitted.coef_.ravel()
    for t, columns in enumerate(groups.values()):
        expected = (X - X.mean(0))[:, columns] @ weights[columns]
        assert np.abs(found.components[:, t, 0] - expected).max() < 1e-12
    assert np.abs(found.components[:, 3:]).max() < 1e-12
    assert found.intercept == pytest.approx(X.mean(0) @ weights + fitted.intercept_)
    variances = found.components[:, :3, 0].var(0)
    assert found.variance_share[:3] == pytest.approx(variances / variances.sum())
    assert found.order_share == pytest.approx({1: 1.0, 2: 0.0, 3: 0.0})


def test_pure_product_of_centred_modalities_is_all_interaction(formula):
    X = {"a": np.array([-1.0, -1.0, 1.0, 1.0]), "b": np.array([-1.0, 1.0, -1.0, 1.0])}
    found = interaction_decomposition(formula(lambda a, b: 3 * a * b), X)
    assert np.abs(found.components[:, :2]).max() < 1e-12
    assert found.components[:, 2, 0] == pytest.approx([3, -3, -3, 3])
    assert found.order_share == pytest.approx({1: 0.0, 2: 1.0})


def test_mean_over_any_member_of_a_component_is_zero(formula):
    # Over the whole grid, in the second modality at every value of the first.
    a, b = COLUMNS["a"], COLUMNS["b"]
    grid = {"a": np.repeat(a, 5), "b": np.tile(b, 5)}
    model = formula(lambda a, b: np.exp(a * b) + a)
    found = interaction_decomposition(model, grid, background={"a": a, "b": b})
    pair = found.components[:, 2, 0].reshape(5, 5)
    assert np.abs(pair.mean(0)).max() < 1e-12
    assert np.abs(pair.mean(1)).max() < 1e-12
    assert np.abs(pair).max() > 0.1
    # Orthogonal components: their variances add up to that of the output.
    assert found.std[:, 0] @ found.std[:, 0] == pytest.approx(found.outputs.var())


def test_higher_orders_are_left_in_the_residual(formula):
    found = interaction_decomposition(formula(tangled), COLUMNS, max_order=1)
    whole = interaction_decomposition(formula(tangled), COLUMNS)
    assert found.term_names == ["a", "b", "c"]
    assert np.abs(found.residual - whole.components[:, 3:].sum(1)).max() < 1e-12
    shares = found.variance_share.sum() + found.residual_share
    assert shares == pytest.approx(1.0)
    assert found.residual_share > 0.01
    for order in (0, 4, 1.5):
        with pytest.raises(InputError, match="max_order"):
            interaction_decomposition(formula(tangled), COLUMNS, max_order=order)


def test_sampled_components_add_up_and_state_their_errors(formula):
    X = {name: np.random.default_rng(1).normal(size=20) for name in "abc"}
    exact = interaction_decomposition(formula(tangled), X)
    found = interaction_decomposition(
        formula(tangled), X, method="sampled", n_draws=400, random_state=0
    )
    assert (exact.method, found.method) == ("exact", "sampled")
    total = found.intercept + found.components.sum(1)
    assert np.abs(total - found.outputs).max() < 1e-12
    used = found.standard_error > 1e-9
    scores = (found.components - exact.components)[used] / found.standard_error[used]
    assert np.abs(scores).max() < 5
    assert scores.std() > 0.3
    assert not exact.standard_error.any()


def test_constant_model_has_no_shares(formula):
    found = interaction_decomposition(formula(lambda a, b: 0 * a + 7), {"a": [1, 2], "b": [3, 4]})
    assert found.intercept == pytest.approx([7.0])
    assert not found.components.any()
    assert not found.variance_share.any()
    assert found.residual_share == 0.0


def make_data():
    rng = np.random.default_rng(0)
    X = {
        "b": rng.normal(size=(30, 3)),
        "a": rng.normal(size=(30, 2)),
        "c": rng.normal(size=(30, 2)),
    }
    X["a"][:4] = np.nan
    return X, np.nan_to_num(X["a"][:, 0]) * X["b"][:, 0] + X["c"][:, 0]


@pytest.mark.parametrize(
    ("estimator", "left_out"),
    [
        (MNLRegressor(), ["b x a", "b x c", "a x c", "b x a x c"]),
        (GAMClassifier(interactions=[("a", "b")]), ["b x c", "a x c", "b x a x c"]),
        (MRORegressor(interactions=2), ["b x a x c"]),
    ],
    ids=["MNL", "GAM", "MRO"],
)
def test_model_without_a_term_has_no_component_of_it(estimator, left_out):
    X, y = make_data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three epochs neither converge nor learn
        estimator.set_params(max_epochs=3, missing="mask", random_state=0)
        estimator.fit(X, y if "Regressor" in type(estimator).__name__ else y > 0)
    found = interaction_decomposition(estimator, X)
    zero = [t for t, name in enumerate(found.term_names) if name in left_out]
    assert len(zero) == len(left_out)
    assert not found.components[:, zero].any()
    total = found.intercept + found.components.sum(1)
    assert np.abs(total - found.outputs).max() < 1e-10
    assert all(found.std[t].sum() > 0 for t in range(7) if t not in zero)


def test_our_own_terms_are_decomposed_as_their_own_loops_say(component_oracle):
    X, y = make_data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three epochs neither converge nor learn
        model = InTenseClassifier(
            interactions="all", reg=1e-4, polish=False, max_epochs=3, missing="mask", random_state=0
        ).fit(X, y > 0)
    rows = {name: values[:4] for name, values in X.items()}
    rows["a"] = X["a"][2:6]
    found = interaction_decomposition(model, rows)
    # The decision of every combination of rows, looked up by the loops.
    cells = np.stack(np.unravel_index(np.arange(64), (4, 4, 4)))
    recombined = {n: v[cell] for (n, v), cell in zip(rows.items(), cells, strict=True)}
    cube = model.decision_function(recombined).reshape(4, 4, 4)
    columns = [range(4)] * 3

    def predict(values):
        return cube[tuple(values)]

    for row in range(4):
        for t, members in enumerate([(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]):
            expected = component_oracle(predict, columns, columns, members, row)
            assert found.components[row, t, 0] == pytest.approx(expected, abs=1e-10)


def test_to_frame_has_a_row_per_term_and_output(formula):
    frame = interaction_decomposition(formula(tangled), COLUMNS).to_frame()
    assert list(frame) == ["term", "output", "std", "variance_share"]
    assert len(frame) == 14
    assert frame["variance_share"].iloc[::2].sum() == pytest.approx(1.0)
