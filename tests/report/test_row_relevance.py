"""Relevance on the rows of a report, and the caution where that of the fit is far above it."""

import warnings

import numpy as np
import pytest

from sklearn_mmfusion import (
    GAMClassifier,
    LateFusionClassifier,
    LinearEncoder,
    MNLClassifier,
    fusion_report,
    relevance_scores,
)
from sklearn_mmfusion.report._cautions import cautions
from sklearn_mmfusion.report._row_relevance import RowRelevance, row_relevance
from sklearn_mmfusion.report._subject import Subject


def make(n_train, n_test, width, seed=0):
    """Return rows whose text has many columns, of which few say something."""
    rng = np.random.default_rng(seed)
    n = n_train + n_test
    hidden = rng.normal(size=(n, 2))
    X = {"text": rng.normal(size=(n, width)), "audio": rng.normal(size=(n, 3))}
    X["text"][:, :4] += hidden[:, [0]]
    X["audio"] += hidden[:, [1]]
    y = np.where(0.6 * hidden[:, 0] + hidden[:, 1] + 0.5 * rng.normal(size=n) > 0, "b", "a")
    halves = slice(n_train), slice(n_train, None)
    return [({name: values[half] for name, values in X.items()}, y[half]) for half in halves]


def fit(cls, X, y, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cls(encoders=LinearEncoder(), random_state=0, **params).fit(X, y)


@pytest.fixture(scope="module")
def wide():
    """Return a model that holds much to the noise of a wide modality, and other rows."""
    (X, y), rows = make(150, 400, 600)
    est = fit(MNLClassifier, X, y, max_epochs=200, early_stopping=False, reg=1e-4, polish=False)
    return est, *rows


def test_scores_are_those_of_relevance_scores(wide):
    est, X, y = wide
    found = row_relevance(Subject.of(est, X, y))
    expected = relevance_scores(est, X, y)
    np.testing.assert_allclose(found.scores, list(expected.values()), rtol=1e-6)
    assert found.of_fit.tolist() == list(est.relevance_scores_.values())


def test_relevance_far_above_that_of_the_rows_is_warned_of_in_one_sentence(wide):
    est, X, y = wide
    subject = Subject.of(est, X, y)
    on_rows = row_relevance(subject)
    assert on_rows.of_fit[0] - on_rows.scores[0] > 0.25  # the example is one
    (found,) = [c for c in cautions(subject, [], None, on_rows) if "far above" in c.text]
    assert found.level == "warning"
    assert f"text ({on_rows.of_fit[0]:.2f} in training, {on_rows.scores[0]:.2f}" in found.text
    assert "ModalityTransformer" in found.text and "stronger penalty" in found.text
    assert "audio" not in found.text
    report = fusion_report(est, X, y, n_examples=0)
    assert found.text in report.html
    terms = report.data["relevance"]["terms"]
    at = terms["columns"].index("relevance on these rows")
    values = {row[0]: row[at] for row in terms["rows"]}
    assert values == pytest.approx(dict(zip(["text", "audio"], on_rows.scores, strict=True)))


def test_few_rows_are_no_ground_for_it(wide):
    est, X, y = wide
    few = {name: values[:49] for name, values in X.items()}, y[:49]
    found = row_relevance(Subject.of(est, *few))
    assert not found.is_sure
    assert found.far_above == []


def test_model_that_is_right_is_hardly_ever_warned_of():
    (X, y), (X_new, y_new) = make(1500, 4000, 6)
    est = fit(MNLClassifier, X, y, early_stopping=True)
    fired = 0
    for part in np.split(np.arange(4000), 40):  # reports on 100 rows each
        rows = {name: values[part] for name, values in X_new.items()}
        fired += bool(row_relevance(Subject.of(est, rows, y_new[part])).far_above)
    assert fired <= 1


def test_rows_that_predict_nothing_are_no_ground_for_it(wide):
    est, X, y = wide
    shuffled = np.random.default_rng(0).permutation(y)
    assert row_relevance(Subject.of(est, X, shuffled)).far_above == []


@pytest.mark.parametrize(("drop", "far"), [(0.19, []), (0.21, [1])])
def test_far_above_begins_at_a_fifth(drop, far):
    of_fit = np.array([0.3, 0.7])
    scores = of_fit + [drop, -drop]
    assert RowRelevance(scores, of_fit, True).far_above == far
    assert RowRelevance(scores, of_fit, False).far_above == []


@pytest.mark.parametrize("cls", [GAMClassifier, LateFusionClassifier])
def test_models_whose_relevance_is_no_share_of_contributions_have_none(cls):
    (X, y), rows = make(100, 60, 5)
    est = fit(cls, X, y, max_epochs=2)
    assert row_relevance(Subject.of(est, *rows)) is None


def test_rows_of_unseen_classes_and_without_weight_do_not_count(wide):
    est, X, y = wide
    odd = np.where(np.arange(len(y)) % 4 == 0, "new", y)
    weight = (np.arange(len(y)) % 4 != 1).astype(float)
    left = np.arange(len(y)) % 4 > 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = row_relevance(Subject.of(est, X, odd, weight))
        expected = relevance_scores(est, {k: v[left] for k, v in X.items()}, y[left])
    np.testing.assert_allclose(found.scores, list(expected.values()), rtol=1e-6)
