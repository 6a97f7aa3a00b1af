"""Scores, confusion and calibration against scikit-learn's metrics and loops over rows."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.dummy import DummyClassifier, DummyRegressor

from sklearn_mmfusion import MKLClassifier
from sklearn_mmfusion.report._scores import (
    brier_score,
    calibration,
    confusion,
    per_class,
    per_output,
    score_rows,
)
from sklearn_mmfusion.report._subject import Subject

WEIGHT = np.random.default_rng(1).uniform(0.2, 3, size=40)


def _scores(subject):
    return {name: score for name, score, _ in score_rows(subject)}


def _constants(subject):
    return {name: constant for name, _, constant in score_rows(subject)}


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_scores_of_classes_equal_those_of_scikit_learn(fits, subject_of, kind, weight):
    est, X, y = fits[kind]
    predicted, probabilities = est.predict(X), est.predict_proba(X)
    area = (
        metrics.roc_auc_score(y, probabilities[:, 1], sample_weight=weight)
        if kind == "binary"
        else metrics.roc_auc_score(y, probabilities, multi_class="ovr", sample_weight=weight)
    )
    expected = {
        "accuracy": metrics.accuracy_score(y, predicted, sample_weight=weight),
        "balanced accuracy": metrics.balanced_accuracy_score(y, predicted, sample_weight=weight),
        "F1, mean over classes": metrics.f1_score(
            y, predicted, average="macro", sample_weight=weight
        ),
        "log loss": metrics.log_loss(y, probabilities, sample_weight=weight),
        "ROC AUC": area,
    }
    assert _scores(subject_of(kind, weight)) == pytest.approx(expected)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_constant_of_classes_is_the_dummy_classifier(fits, subject_of, kind, weight):
    _, _, y = fits[kind]
    nothing = np.zeros((len(y), 1))
    dummy = DummyClassifier(strategy="prior").fit(nothing, y, sample_weight=weight)
    predicted, probabilities = dummy.predict(nothing), dummy.predict_proba(nothing)
    expected = {
        "accuracy": metrics.accuracy_score(y, predicted, sample_weight=weight),
        "balanced accuracy": metrics.balanced_accuracy_score(y, predicted, sample_weight=weight),
        "F1, mean over classes": metrics.f1_score(
            y, predicted, average="macro", sample_weight=weight
        ),
        "log loss": metrics.log_loss(y, probabilities, sample_weight=weight),
        "ROC AUC": 0.5,
    }
    assert _constants(subject_of(kind, weight)) == pytest.approx(expected)


def _numbers_of(y, predicted, weight):
    """Return the scores of one output, and those of the best constant."""
    covariance = np.cov(y, predicted, aweights=weight, ddof=0)
    scores = {
        "R²": metrics.r2_score(y, predicted, sample_weight=weight),
        "mean absolute error": metrics.mean_absolute_error(y, predicted, sample_weight=weight),
        "root mean squared error": metrics.root_mean_squared_error(
            y, predicted, sample_weight=weight
        ),
        "correlation": covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]),
    }
    nothing = np.zeros((len(y), 1))
    mean = DummyRegressor().fit(nothing, y, sample_weight=weight).predict(nothing)
    constants = {
        "R²": 0,
        "mean absolute error": min(np.average(np.abs(y - v), weights=weight) for v in y),
        "root mean squared error": metrics.root_mean_squared_error(y, mean, sample_weight=weight),
        "correlation": None,
    }
    return scores, constants


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_scores_of_numbers_equal_those_of_scikit_learn(fits, subject_of, weight):
    est, X, y = fits["regression"]
    subject = subject_of("regression", weight)
    scores, constants = _numbers_of(y, est.predict(X), weight)
    assert _scores(subject) == pytest.approx(scores)
    assert _constants(subject) == pytest.approx(constants)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_several_outputs_have_scores_each_and_share_those_without_units(fits, weight):
    est, X, y = fits["multioutput"]
    predicted = est.predict(X)
    subject = Subject.of(est, X, y, weight)
    columns, rows = per_output(subject)
    for k, row in enumerate(rows):
        found = dict(zip(columns, row, strict=True))
        assert found.pop("output") == f"y{k}"
        scores, constants = _numbers_of(y[:, k], predicted[:, k], weight)
        errors = {f"{name} of a constant": v for name, v in constants.items() if "error" in name}
        assert found == pytest.approx(scores | errors)
    each = [_numbers_of(y[:, k], predicted[:, k], weight)[0] for k in range(2)]
    over_all = {
        "R², mean over outputs": est.score(X, y, sample_weight=weight),
        "correlation, mean over outputs": np.mean([scores["correlation"] for scores in each]),
    }
    assert _scores(subject) == pytest.approx(over_all)
    assert _constants(subject)["R², mean over outputs"] == 0


@pytest.mark.parametrize("kind", ["regression", "multioutput"])
def test_constant_targets_have_no_correlation_and_no_spread(fits, kind):
    est, X, y = fits[kind]
    subject = Subject.of(est, X, np.full(y.shape, 0.1), WEIGHT)
    columns, rows = per_output(subject)
    for row in rows:
        found = dict(zip(columns, row, strict=True))
        assert found["correlation"] is None
        assert found["mean absolute error of a constant"] == 0
        assert found["root mean squared error of a constant"] == 0
    name = "correlation" if kind == "regression" else "correlation, mean over outputs"
    assert _scores(subject)[name] is None


def test_one_row_has_errors_but_neither_r2_nor_correlation(fits):
    est, X, y = fits["regression"]
    scores = _scores(Subject.of(est, X.iloc[:1], y[:1]))
    assert scores["R²"] is scores["correlation"] is None
    assert scores["mean absolute error"] == pytest.approx(abs(est.predict(X.iloc[:1])[0] - y[0]))


@pytest.mark.parametrize("seed", range(20))
def test_shares_of_weights_are_never_above_1_and_losses_have_no_minus(fits, seed):
    weight = np.random.default_rng(seed).uniform(0.1, 3, size=40)
    est, X, y = fits["binary"]
    # All rows of one class, and predicted right: every share is 1, up to the rounding of sums.
    rows = np.flatnonzero((est.predict(X) == y) & (y == "yes"))
    subject = Subject.of(est, X.iloc[rows], y[rows], weight[rows])
    scores = {name: (score, constant) for name, score, constant in score_rows(subject)}
    assert scores["accuracy"] == scores["balanced accuracy"] == (1, 1)
    assert scores["F1, mean over classes"] == (1, 1)
    assert np.copysign(1, scores["log loss"][1]) == 1
    assert per_class(subject)[1][1][2:4] == [1, 1]
    found = calibration(subject)
    filled = found.counts > 0
    assert found.observed[filled].max() <= 1
    labels, X, y = fits["multilabel"]
    subject = Subject.of(labels, X, labels.predict(X), weight)
    assert _scores(subject)["labels right"] <= 1


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_scores_of_labels_equal_those_of_scikit_learn(fits, subject_of, weight):
    est, X, y = fits["multilabel"]
    predicted, probabilities = est.predict(X), est.predict_proba(X)
    columns = range(y.shape[1])

    def mean(metric, guess):
        return np.mean([metric(y[:, k], guess[:, k], sample_weight=weight) for k in columns])

    expected = {
        "all labels right": metrics.accuracy_score(y, predicted, sample_weight=weight),
        "labels right": 1 - metrics.hamming_loss(y, predicted, sample_weight=weight),
        "F1, mean over labels": mean(metrics.f1_score, predicted),
        "log loss, mean over labels": mean(metrics.log_loss, probabilities),
        "ROC AUC, mean over labels": mean(metrics.roc_auc_score, probabilities),
    }
    assert _scores(subject_of("multilabel", weight)) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_confusion_and_table_of_classes_equal_those_of_scikit_learn(fits, subject_of, kind):
    est, X, y = fits[kind]
    labels, counts = confusion(subject_of(kind))
    assert labels == est.classes_.tolist()
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(y, est.predict(X)))
    precision, recall, _, support = metrics.precision_recall_fscore_support(y, est.predict(X))
    _, rows = per_class(subject_of(kind))
    assert [row[1] for row in rows] == support.tolist()
    assert [row[2] for row in rows] == pytest.approx(precision.tolist())
    assert [row[3] for row in rows] == pytest.approx(recall.tolist())


def test_class_that_the_model_never_saw_has_a_row_and_leaves_out_the_log_loss(fits):
    est, X, y = fits["binary"]
    y = y.astype(object)
    y[:5] = "maybe"
    subject = Subject.of(est, X, y)
    labels, counts = confusion(subject)
    assert labels == ["no", "yes", "maybe"]
    assert counts[2].sum() == 5
    assert counts[:, 2].sum() == 0
    assert _scores(subject)["log loss"] is None
    assert per_class(subject)[1][2] == ["maybe", 5, None, 0.0, None]


def test_rows_of_one_class_alone_have_no_area(fits):
    est, X, y = fits["binary"]
    rows = np.flatnonzero(y == "yes")
    subject = Subject.of(est, X.iloc[rows], y[rows])
    scores = {name: (score, constant) for name, score, constant in score_rows(subject)}
    assert scores["ROC AUC"] == (None, None)
    assert scores["log loss"][1] == 0


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_class_that_is_predicted_but_not_there_counts_as_in_scikit_learn(fits, weight):
    est, X, y = fits["multiclass"]
    rows = np.flatnonzero(y != "middle")
    X, y = X.iloc[rows], y[rows]
    weight = None if weight is None else weight[rows]
    predicted = est.predict(X)
    assert "middle" in predicted
    scores = _scores(Subject.of(est, X, y, weight))
    weighted = {"sample_weight": weight}
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(y, predicted, **weighted))
    assert scores["F1, mean over classes"] == pytest.approx(
        metrics.f1_score(y, predicted, average="macro", zero_division=0, **weighted)
    )
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = metrics.balanced_accuracy_score(y, predicted, **weighted)
    assert scores["balanced accuracy"] == pytest.approx(expected)


def test_calibration_of_two_classes_is_the_curve_of_scikit_learn(fits, subject_of):
    est, X, y = fits["binary"]
    found = calibration(subject_of("binary"))
    observed, stated = calibration_curve(y == "yes", est.predict_proba(X)[:, 1], n_bins=10)
    filled = found.counts > 0
    np.testing.assert_allclose(found.stated[filled], stated)
    np.testing.assert_allclose(found.observed[filled], observed)
    weights = found.counts[filled] / len(y)
    assert found.error == pytest.approx(weights @ np.abs(stated - observed))
    assert found.counts.sum() == len(y)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_calibration_of_more_classes_is_that_of_the_predicted_one(fits, subject_of, weight):
    est, X, y = fits["multiclass"]
    found = calibration(subject_of("multiclass", weight))
    confidence, right = est.predict_proba(X).max(axis=1), est.predict(X) == y
    weights = np.ones(len(y)) if weight is None else weight
    error = 0.0
    for low, high in zip(found.edges[:-1], found.edges[1:], strict=True):
        rows = (confidence >= low) & ((confidence < high) | (high == 1))
        if rows.any():
            gap = np.average(confidence[rows] - right[rows], weights=weights[rows])
            error += weights[rows].sum() / weights.sum() * abs(gap)
    assert found.error == pytest.approx(error)


def test_brier_scores_are_mean_squares(fits, subject_of):
    est, X, y = fits["binary"]
    expected = metrics.brier_score_loss(y == "yes", est.predict_proba(X)[:, 1])
    assert brier_score(subject_of("binary")) == pytest.approx(expected)
    est, X, y = fits["multiclass"]
    truth = (y[:, None] == est.classes_).astype(float)
    expected = np.square(est.predict_proba(X) - truth).sum(axis=1).mean()
    assert brier_score(subject_of("multiclass")) == pytest.approx(expected)
    est, X, y = fits["multilabel"]
    expected = np.square(est.predict_proba(X) - y).mean()
    assert brier_score(subject_of("multilabel")) == pytest.approx(expected)


def test_estimator_without_probabilities_has_areas_but_no_log_loss_and_calibration(fits):
    _, X, y = fits["binary"]
    est = MKLClassifier().fit(X, y)
    subject = Subject.of(est, X, y)
    scores = _scores(subject)
    assert scores["log loss"] is None
    assert scores["ROC AUC"] == pytest.approx(
        metrics.roc_auc_score(y == "yes", est.decision_function(X))
    )
    assert calibration(subject) is None
    assert brier_score(subject) is None
