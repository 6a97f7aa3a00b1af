import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import GammaRegressor, LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from sklearn_mmfusion import InputError, InputTypeError, InTenseClassifier, LateFusionRegressor
from sklearn_mmfusion.inspection import emap

MATRIX = np.array([[-1.3, 0.3, -0.2], [0.8, 3.0, 1.1], [1.1, -0.1, 0.7]])
PAIRS = np.array([[0, 0], [1, 1], [2, 2]])
COLUMNS = {"first": [0], "second": [1]}


def look_up(a, b):
    return MATRIX[np.asarray(a).astype(int), np.asarray(b).astype(int)]


@pytest.fixture
def table(formula):
    return formula(look_up)


@pytest.mark.parametrize("as_mapping", [True, False])
def test_golden_matrix_has_the_published_diagonal(table, as_mapping):
    X = {"first": PAIRS[:, 0], "second": PAIRS[:, 1]} if as_mapping else PAIRS
    found = emap(table, X, modalities=None if as_mapping else COLUMNS)
    assert np.abs(found.projection[:, 0] - [-0.8, 2.1, 0.5]).max() < 1e-12
    assert np.array_equal(found.outputs[:, 0], np.diag(MATRIX))
    assert not found.standard_error.any()
    assert (found.method, found.n_evaluations) == ("exact", 9)


def test_background_of_the_same_rows_gives_the_same(table):
    found = emap(table, PAIRS, modalities=COLUMNS, background=PAIRS)
    assert np.abs(found.projection[:, 0] - [-0.8, 2.1, 0.5]).max() < 1e-12
    # One row on its own against all of them.
    found = emap(table, PAIRS[1:2], modalities=COLUMNS, background=PAIRS)
    assert found.projection == pytest.approx(2.1, abs=1e-12)


def test_sampled_projection_lies_within_its_error(table):
    found = emap(table, PAIRS, modalities=COLUMNS, method="sampled", n_draws=4000, random_state=3)
    assert found.method == "sampled"
    assert (
        np.abs(found.projection[:, 0] - [-0.8, 2.1, 0.5]) < 4 * found.standard_error[:, 0]
    ).all()
    assert found.standard_error.max() < 0.03
    again = emap(table, PAIRS, modalities=COLUMNS, method="sampled", n_draws=4000, random_state=3)
    assert np.array_equal(found.projection, again.projection)


def test_three_modalities_follow_the_formula(formula, expectation):
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=6) for name in "abc"}
    found = emap(formula(lambda a, b, c: a * b * c + np.exp(a) * c), X)
    columns = list(X.values())

    def predict(values):
        a, b, c = values
        return a * b * c + np.exp(a) * c

    for row in range(6):
        expected = sum(expectation(predict, columns, columns, [m], row) for m in range(3))
        expected -= 2 * expectation(predict, columns, columns, [], row)
        assert found.projection[row, 0] == pytest.approx(expected, abs=1e-12)


def test_projection_is_the_additive_function_next_in_squares_over_the_grid(table):
    # Ordinary least squares on indicators of rows and columns, over all nine cells.
    cells = np.array([[i, j] for i in range(3) for j in range(3)])
    design = np.c_[np.eye(3)[cells[:, 0]], np.eye(3)[cells[:, 1]]]
    fitted = design @ np.linalg.pinv(design) @ MATRIX.ravel()
    found = emap(table, PAIRS, modalities=COLUMNS)
    assert np.abs(found.projection[:, 0] - fitted[[0, 4, 8]]).max() < 1e-12


@pytest.mark.parametrize("n_classes", [2, 3])
def test_linear_classifier_is_its_own_projection(n_classes):
    X = np.random.default_rng(0).normal(size=(50, 4))
    y = np.digitize(X[:, 0] + X[:, 2], [0.0, 1.0][: n_classes - 1])
    model = LogisticRegression().fit(X, y)
    found = emap(model, X, y, modalities={"a": [0, 3], "b": [1, 2]})
    assert found.response == "decision_function"
    decision = model.decision_function(X).reshape(50, -1)
    assert np.abs(found.projection - decision).max() < 1e-12
    assert found.score == found.projection_score == pytest.approx(model.score(X, y))
    assert found.output_names == ([1] if n_classes == 2 else [0, 1, 2])


def test_score_of_a_product_falls_to_chance_in_the_projection():
    rng = np.random.default_rng(0)
    X = rng.choice([-1.0, 1.0], size=(80, 2)) + 0.1 * rng.normal(size=(80, 2))
    y = X[:, 0] * X[:, 1] > 0
    model = SVC(random_state=0).fit(X, y)
    weight = rng.uniform(size=80)
    found = emap(model, X, y, modalities=COLUMNS, scoring="accuracy", sample_weight=weight)
    expected = accuracy_score(y, model.predict(X), sample_weight=weight)
    assert found.score == pytest.approx(expected)
    projected = found.projection[:, 0] > 0
    expected = accuracy_score(y, projected, sample_weight=weight)
    assert found.projection_score == pytest.approx(expected)
    assert found.score > 0.95
    assert found.projection_score < 0.75


def test_forest_is_projected_in_log_probabilities():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), np.arange(20) % 3
    model = RandomForestClassifier(10, random_state=0).fit(X, y)
    found = emap(model, X, y, modalities={"a": [0], "b": [1, 2]})
    assert found.response == "log_proba"
    grid = np.empty((20, 20, 3))
    for i in range(20):
        for j in range(20):
            row = np.r_[X[i, :1], X[j, 1:]]
            grid[i, j] = np.log(np.maximum(model.predict_proba(row[None])[0], 1e-12))
    expected = grid.mean(1) + grid.mean(0) - grid.mean((0, 1))
    assert np.abs(found.projection - expected).max() < 1e-10
    labels = model.classes_[found.projection.argmax(1)]
    assert found.projection_score == pytest.approx(accuracy_score(y, labels))


def test_outputs_of_several_targets_are_in_units_of_y_and_scored_together():
    X = np.random.default_rng(0).normal(size=(30, 3))
    y = np.c_[1000 * X[:, 0], X[:, 1] + 5]
    model = LinearRegression().fit(X, y)
    found = emap(model, X, y, modalities={"a": [0], "b": [1, 2]}, scoring="r2")
    assert np.abs(found.projection - model.predict(X)).max() < 1e-9
    assert found.projection_score == pytest.approx(r2_score(y, model.predict(X)))


def test_our_estimators_know_their_modalities_and_score():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(60, 3)), "b": rng.normal(size=(60, 2))}
    y = 50 * X["a"][:, 0] + X["b"][:, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few epochs do not converge
        additive = LateFusionRegressor(max_epochs=5, random_state=0).fit(X, y)
        other = InTenseClassifier(max_epochs=5, reg=1e-4, polish=False, random_state=0)
        other.fit(X, y > 0)
    found = emap(additive, X, y)
    assert np.abs(found.projection[:, 0] - additive.predict(X)).max() < 1e-10
    assert found.score == pytest.approx(additive.score(X, y))
    assert found.projection_score == pytest.approx(additive.score(X, y))
    assert found.modality_names == ["a", "b"]
    found = emap(other, X)
    expected = other.contributions(X)[:, :2, 0].sum(1) + other.intercept_
    # InTense's own interaction is centred over the training rows that all go together, so that
    # its projection is near, and not the same.
    spread = other.decision_function(X).std()
    assert np.corrcoef(found.projection[:, 0], expected)[0, 1] > 0.95
    assert np.abs(found.projection[:, 0] - other.decision_function(X)).max() > 1e-3 * spread


def test_to_frame_has_a_row_per_sample_and_output(table):
    frame = emap(table, PAIRS, modalities=COLUMNS).to_frame()
    assert list(frame) == ["sample", "output", "projection", "standard_error", "output_value"]
    assert isinstance(frame, pd.DataFrame)
    assert frame["projection"].to_numpy() == pytest.approx([-0.8, 2.1, 0.5])
    assert frame["sample"].tolist() == [0, 1, 2]


def test_emap_refuses_with_the_remedy(table):
    X = np.zeros((30, 2), dtype=int)
    with pytest.raises(InputError, match=r"need 900 evaluations.*method='sampled'"):
        emap(table, X, modalities=COLUMNS, method="exact", max_evaluations=899)
    with pytest.raises(InputError, match="y: expected 30 values"):
        emap(table, X, [1, 2], modalities=COLUMNS)
    with pytest.raises(InputError, match="y is None"):
        emap(table, X, modalities=COLUMNS, scoring="r2")
    with pytest.raises(InputError, match="n_draws: expected an integer"):
        emap(table, X, modalities=COLUMNS, n_draws=0)
    with pytest.raises(InputError, match="say which of them"):
        emap(table, X)
    with pytest.raises(NotFittedError):
        emap(LogisticRegression(), X, modalities=COLUMNS)
    with pytest.raises(InputTypeError, match="needs a fitted estimator"):
        emap(object(), X, modalities=COLUMNS)


HALVES = {"a": [0, 1], "b": [2, 3]}


def _three_classes():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    return X, np.array(["lo", "mid", "hi"])[np.digitize(X[:, 0] + X[:, 2], [-0.5, 0.5])]


def _with_a_threshold():
    X, y = _three_classes()
    model = FixedThresholdClassifier(
        LogisticRegression(), threshold=0.8, response_method="predict_proba"
    )
    return model, X, y == "hi"


def _with_a_loss():
    X, _ = _three_classes()
    y = np.exp(X[:, 0] + 0.3 * np.random.default_rng(1).normal(size=200))
    return GammaRegressor(), X, y


def _of_pairs():
    return make_pipeline(SVC(decision_function_shape="ovo")), *_three_classes()


@pytest.mark.draws_from_numpy  # libsvm's seed
@pytest.mark.parametrize("make", [_of_pairs, _with_a_threshold, _with_a_loss])
def test_outputs_that_do_not_say_how_the_estimator_scores_are_not_scored(make):
    model, X, y = make()
    model.fit(X, y)
    with pytest.raises(InputError, match=r"the own score of .* alone would have .*Leave y out"):
        emap(model, X[:40], y[:40], modalities=HALVES)
    found = emap(model, X[:40], modalities=HALVES)
    assert found.score is None
    assert found.output_names == list(range(found.outputs.shape[1])) or len(found.output_names) == 1


def test_scoring_that_goes_with_the_outputs_is_taken():
    model, X, y = _with_a_loss()
    model.fit(X, y)
    found = emap(model, X[:40], y[:40], modalities=HALVES, scoring="r2")
    assert found.score == pytest.approx(r2_score(y[:40], model.predict(X[:40])))
    model, X, y = _with_a_threshold()
    model.fit(X, y)
    found = emap(model, X[:40], y[:40], modalities=HALVES, scoring="roc_auc")
    assert found.score == pytest.approx(roc_auc_score(y[:40], model.predict_proba(X[:40])[:, 1]))
    with pytest.raises(InputError, match="the score of FixedThresholdClassifier"):
        emap(model, X[:40], y[:40], modalities=HALVES, scoring="accuracy")
