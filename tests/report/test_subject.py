"""The subject of a report: the model that is found inside, and its rows, in any form."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion import (
    InputError,
    LateVotingClassifier,
    MNLRegressor,
    ModalityConcatenator,
    ModalityFrame,
    ModalityTransformer,
)
from sklearn_mmfusion.report._subject import Subject, take_rows


@pytest.mark.parametrize("chunk", [1, 7, 40, 1000])
def test_absolute_contributions_in_chunks_are_those_of_all_rows(fits, chunk):
    est, X, y = fits["multiclass"]
    subject = Subject.of(est, X, y)
    subject.chunk = chunk
    expected = np.abs(est.contributions(X)).sum(axis=2)
    np.testing.assert_allclose(subject.absolute_contributions, expected, rtol=1e-12)


def test_contributions_of_rows_are_those_rows_of_all(fits):
    est, X, y = fits["multiclass"]
    rows = np.array([5, 0, 31])
    expected = est.contributions(X)[rows]
    np.testing.assert_allclose(Subject.of(est, X, y).contributions_of(rows), expected)


@pytest.mark.parametrize(
    "form",
    [dict, ModalityFrame, lambda X: np.hstack(list(X.values()))],
    ids=["dict", "frame", "matrix"],
)
def test_rows_are_taken_of_every_form(form):
    X = form({"a": np.arange(12.0).reshape(6, 2), "b": np.arange(6.0)[:, None]})
    taken = take_rows(X, np.array([4, 1]))
    first = taken[:, :2] if isinstance(taken, np.ndarray) else np.asarray(taken["a"])
    np.testing.assert_array_equal(first, [[8, 9], [2, 3]])


def test_model_is_found_in_a_search_over_a_pipeline_with_its_rows_transformed(fits):
    _, X, y = fits["binary"]
    pipeline = make_pipeline(
        ModalityTransformer([("text", StandardScaler())]), LateVotingClassifier(random_state=0)
    )
    search = GridSearchCV(pipeline, {"latevotingclassifier__missing": ["raise"]}, cv=2).fit(X, y)
    subject = Subject.of(search, X, y)
    assert subject.model is search.best_estimator_[-1]
    assert subject.transformers == ["ModalityTransformer"]
    np.testing.assert_allclose(np.asarray(subject.X_model["text"]).std(axis=0), 1)
    np.testing.assert_array_equal(subject.predicted, search.predict(X))


def test_model_on_concatenated_modalities_sees_columns(fits):
    _, X, y = fits["binary"]
    spec = {"t": slice(0, 4), "rest": slice(4, 9)}
    est = make_pipeline(
        ModalityConcatenator(), LateVotingClassifier(modalities=spec, random_state=0)
    )
    subject = Subject.of(est.fit(X, y), X, y)
    assert [block.values.shape for block in subject.data.blocks] == [(40, 4), (40, 5)]


@pytest.mark.parametrize(
    "form", [list, torch.tensor, lambda y: np.asarray(y)[:, None]], ids=["list", "tensor", "column"]
)
def test_target_comes_in_every_form(fits, form):
    est, X, y = fits["regression"]
    np.testing.assert_array_equal(Subject.of(est, X, form(y)).y, y)


def test_outputs_and_classes_have_names(subject_of):
    names = {
        "binary": ["yes"],
        "multiclass": ["high", "low", "middle"],
        "multilabel": ["0", "1"],
        "regression": ["y"],
        "multioutput": ["y0", "y1"],
    }
    assert {kind: subject_of(kind).output_names for kind in names} == names


@pytest.mark.parametrize(
    "kind", ["binary", "multiclass", "multilabel", "regression", "multioutput"]
)
def test_outputs_have_the_names_of_explanations(fits, subject_of, kind):
    est, X, _ = fits[kind]
    explained = est.explain_global(X).data["output_names"]
    assert subject_of(kind).output_names == list(map(str, explained))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
def test_outputs_have_the_names_of_the_columns_in_fit():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(50, 2))}
    y = pd.DataFrame(X["a"], columns=["valence", "arousal"])
    model = MNLRegressor(max_epochs=2, random_state=0).fit(X, y)
    assert Subject.of(model, X, y.to_numpy()).output_names == ["valence", "arousal"]


@pytest.mark.parametrize(
    ("kind", "y", "message"),
    [
        ("binary", None, "y: expected the target of the rows of X, labels, got None"),
        ("regression", None, "y: expected the target of the rows of X, numbers, got None"),
        ("regression", ["lo", "hi"] * 20, "InTenseRegressor is a regressor, got 'lo', 'hi'"),
        ("regression", [1.0, np.nan] * 20, "expected finite numbers, got nan in row 1"),
        ("regression", np.ones((40, 2)), r"expected the shape \(40,\), as in fit, got \(40, 2\)"),
        ("multioutput", np.ones(40), r"expected the shape \(40, 2\), as in fit, got \(40,\)"),
        ("multilabel", np.ones((40, 3)), r"expected the shape \(40, 2\), as in fit"),
        ("binary", np.ones((40, 3)), r"expected the shape \(40,\), as in fit"),
    ],
)
def test_targets_of_another_kind_are_refused_with_what_is_expected(fits, kind, y, message):
    est, X, _ = fits[kind]
    with pytest.raises(InputError, match=message):
        Subject.of(est, X, y)


def test_weights_become_shares(subject_of):
    weight = np.arange(1.0, 41)
    np.testing.assert_allclose(subject_of("binary", weight).share, weight / weight.sum())
    np.testing.assert_allclose(subject_of("binary").share, np.full(40, 1 / 40))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
def test_units_of_several_targets_are_their_standard_deviations():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(50, 2)), "b": rng.normal(size=(50, 2))}
    y = np.column_stack([X["a"][:, 0], 1000 * X["b"][:, 0]])
    weight = rng.integers(1, 4, size=50).astype(float)
    model = MNLRegressor(max_epochs=2, random_state=0).fit(X, y)
    subject = Subject.of(model, X, y, weight)
    units = np.std(np.repeat(y, weight.astype(int), axis=0), axis=0)
    np.testing.assert_allclose(subject.units, units, rtol=1e-12)
    expected = (np.abs(model.contributions(X)) / units).sum(axis=2)
    np.testing.assert_allclose(subject.absolute_contributions, expected, rtol=1e-12)
    # A target that is constant on these rows has no unit, and is left out beside others.
    flat = Subject.of(model, X, np.column_stack([y[:, 0], np.full(50, 0.1)]))
    expected = np.abs(model.contributions(X))[:, :, 0] / y[:, 0].std()
    np.testing.assert_allclose(flat.absolute_contributions, expected, rtol=1e-12)
    np.testing.assert_array_equal(Subject.of(model, X, np.zeros((50, 2))).units, 1)


def test_outputs_of_one_unit_are_added_up_as_they_are(subject_of):
    for kind in ("binary", "multiclass", "regression"):
        subject = subject_of(kind)
        assert (subject.units == 1).all() and len(subject.units) == subject.n_outputs
