"""The papers' metrics, against sums written out by hand and scikit-learn on the same classes."""

import pickle

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.multioutput import MultiOutputClassifier

from sklearn_mmfusion import InputError
from sklearn_mmfusion.metrics import (
    emotion_accuracy,
    emotion_f1,
    emotion_scorers,
    pearson_correlation,
    sentiment_accuracy,
    sentiment_f1,
    sentiment_scorers,
    seven_class_accuracy,
)


@pytest.fixture
def sentiments():
    """Targets with many zeros, predictions with some, and whole weights."""
    rng = np.random.default_rng(0)
    true = rng.choice([-3.0, -1.4, -0.5, 0.0, 0.0, 0.2, 1.5, 2.6], size=200)
    predicted = np.round(true + rng.normal(scale=1.5, size=200), 1)
    predicted[:10] = 0
    return true, predicted, rng.integers(0, 4, size=200)


@pytest.fixture
def emotions():
    rng = np.random.default_rng(1)
    true = (rng.uniform(size=(150, 3)) < [0.5, 0.1, 0.9]).astype(int)
    predicted = np.where(rng.uniform(size=true.shape) < 0.8, true, 1 - true)
    return true, predicted, rng.integers(0, 4, size=150)


def _classes(true, predicted, neutral):
    """Return text classes of the rows that count, row by row."""
    pairs = []
    for target, prediction in zip(true, predicted, strict=True):
        if neutral == "drop" and target == 0:
            continue
        if neutral == "positive":
            pairs.append(("-" if target < 0 else "+", "-" if prediction < 0 else "+"))
        else:
            pairs.append(("+" if target > 0 else "-", "+" if prediction > 0 else "-"))
    return tuple(zip(*pairs, strict=True))


@pytest.mark.parametrize("neutral", ["drop", "negative", "positive"])
def test_sentiment_metrics_equal_scikit_learn_on_the_signs(sentiments, neutral):
    true, predicted, _ = sentiments
    classes = _classes(true, predicted, neutral)
    accuracy = sentiment_accuracy(true, predicted, neutral=neutral)
    assert accuracy == pytest.approx(accuracy_score(*classes), abs=1e-14)
    f1 = sentiment_f1(true, predicted, neutral=neutral)
    assert f1 == pytest.approx(f1_score(*classes, average="weighted"), abs=1e-14)


def test_sentiment_metrics_treat_neutral_rows_as_told():
    true, predicted = [-1.0, 0.0, 0.0, 2.0], [-0.1, -0.1, 0.1, 0.0]
    # Without neutral rows: right, wrong (0 is not above 0).
    assert sentiment_accuracy(true, predicted) == 0.5
    assert sentiment_accuracy(true, predicted, neutral="negative") == 0.5  # the first two
    assert sentiment_accuracy(true, predicted, neutral="positive") == 0.75  # all but the second
    # Negative: one of two found rows is right, and it is all there is; positive: none.
    assert sentiment_f1(true, predicted) == pytest.approx((2 / 3 + 0) / 2)


def test_seven_class_accuracy_rounds_halves_to_even_and_clips():
    true = [-4.0, -3.0, -0.5, 0.5, 1.5, 2.5, 2.51]
    expected = [-3, -3, 0, 0, 2, 2, 3]
    for other in range(-3, 4):
        share = np.mean(np.equal(expected, other))
        assert seven_class_accuracy(true, np.full(7, float(other))) == share
        # Predictions are treated alike.
        assert seven_class_accuracy(np.full(7, float(other)), true) == share
    assert seven_class_accuracy([3.0, -3.0], [17.0, -3.4]) == 1


def test_pearson_correlation_equals_numpy(sentiments):
    true, predicted, _ = sentiments
    expected = np.corrcoef(true, predicted)[0, 1]
    assert pearson_correlation(true, predicted) == pytest.approx(expected, rel=1e-12)
    assert pearson_correlation(true, -3 * true + 5) == pytest.approx(-1, abs=1e-14)
    for scale in (1e-200, 1e200):
        scaled = pearson_correlation(true * scale, predicted)
        assert scaled == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9])
def test_pearson_correlation_of_a_constant_is_0_and_warns(sentiments, value):
    true, _, _ = sentiments
    constant = np.full(len(true), value)
    for pair in ((true, constant), (constant, true)):
        with pytest.warns(UndefinedMetricWarning, match="constant"):
            assert pearson_correlation(*pair) == 0


@pytest.mark.parametrize(
    "metric", [sentiment_accuracy, sentiment_f1, seven_class_accuracy, pearson_correlation]
)
def test_sentiment_metric_whole_weights_equal_repeated_rows(sentiments, metric):
    true, predicted, weights = sentiments
    weighted = metric(true, predicted, sample_weight=weights)
    repeated = metric(np.repeat(true, weights), np.repeat(predicted, weights))
    assert weighted == pytest.approx(repeated, rel=1e-12)
    assert weighted != pytest.approx(metric(true, predicted), rel=1e-3)


@pytest.mark.parametrize(
    "metric", [sentiment_accuracy, sentiment_f1, seven_class_accuracy, pearson_correlation]
)
def test_sentiment_metric_takes_columns_and_refuses_the_rest(sentiments, metric):
    true, predicted, _ = sentiments
    value = metric(true[:, np.newaxis], predicted.tolist())
    assert value == metric(true, predicted)
    assert type(value) is float
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        metric(true, predicted[:-1])
    with pytest.raises(ValueError, match="y_pred contains NaN"):
        metric(true, np.full(len(true), np.nan))
    with pytest.raises(ValueError, match="1d array"):
        metric(true, np.ones((len(true), 2)))


def test_sentiment_metric_without_rows_or_with_bad_neutral_raises():
    for metric in (sentiment_accuracy, sentiment_f1):
        with pytest.raises(InputError, match="no row is left"):
            metric([0.0, 0.0], [1.0, 2.0])
        with pytest.raises(ValueError, match="'neutral' parameter"):
            metric([0.0, 0.0], [1.0, 2.0], neutral="keep")
    with pytest.raises(ValueError, match="'neutral' parameter"):
        sentiment_scorers(neutral="keep")


@pytest.mark.parametrize(
    "metric", [sentiment_accuracy, sentiment_f1, seven_class_accuracy, pearson_correlation]
)
def test_sentiment_metric_rows_of_weight_0_do_not_matter(sentiments, metric):
    true, predicted, weights = sentiments
    kept = weights > 0
    expected = metric(true[kept], predicted[kept], sample_weight=weights[kept])
    true, predicted = np.where(kept, true, 1e16), np.where(kept, predicted, -1e200)
    assert metric(true, predicted, sample_weight=weights) == expected
    with pytest.raises(InputError, match="sample_weight: all weights are 0"):
        metric(true, predicted, sample_weight=np.zeros(200))


def test_sentiment_metric_with_neutral_rows_alone_that_have_a_weight_is_refused():
    for metric in (sentiment_accuracy, sentiment_f1):
        with pytest.raises(InputError, match="no row is left without the neutral ones"):
            metric([0.0, 1.0], [1.0, 2.0], sample_weight=[1.0, 0.0])


@pytest.mark.parametrize("metric", [emotion_accuracy, emotion_f1])
def test_emotion_metric_without_any_weight_is_refused(emotions, metric):
    true, predicted, weights = emotions
    kept = weights > 0
    expected = metric(true[kept], predicted[kept], sample_weight=weights[kept])
    np.testing.assert_allclose(metric(true, predicted, sample_weight=weights), expected)
    with pytest.raises(InputError, match="sample_weight: all weights are 0"):
        metric(true, predicted, sample_weight=np.zeros(150))


def test_emotion_metrics_equal_scikit_learn_emotion_by_emotion(emotions):
    true, predicted, weights = emotions
    for weight in (None, weights):
        columns = list(zip(true.T, predicted.T, strict=True))
        accuracy = [accuracy_score(*column, sample_weight=weight) for column in columns]
        np.testing.assert_allclose(
            emotion_accuracy(true, predicted, sample_weight=weight), accuracy, rtol=1e-14
        )
        f1 = [f1_score(*column, sample_weight=weight, average="weighted") for column in columns]
        np.testing.assert_allclose(
            emotion_f1(true, predicted, sample_weight=weight), f1, rtol=1e-14
        )
    macro = emotion_accuracy(true, predicted, average="macro")
    assert macro == pytest.approx(np.mean(true == predicted))
    assert emotion_f1(true, predicted, average="macro") == pytest.approx(
        np.mean(emotion_f1(true, predicted))
    )


def test_emotion_f1_by_hand():
    # Present: 2 of 3 found, one false; absent: 1 of 2 found, one false.
    true, predicted = [[1], [1], [1], [0], [0]], [[True], [True], [False], [True], [False]]
    present, absent = 2 * 2 / (3 + 3), 2 * 1 / (2 + 2)
    assert emotion_f1(true, predicted) == pytest.approx([(3 * present + 2 * absent) / 5])
    # An emotion that is absent from both: all right. One that is never found: 0 for present.
    assert emotion_f1([[0], [0]], [[0], [0]]) == [1]
    assert emotion_f1([[1], [1]], [[0], [0]]) == [0]


@pytest.mark.parametrize("metric", [emotion_accuracy, emotion_f1])
def test_emotion_metric_of_something_else_than_labels_raises(emotions, metric):
    true, predicted, _ = emotions
    with pytest.raises(InputError, match="y_pred: expected 0 and 1 .*not probabilities"):
        metric(true, predicted * 0.5)
    with pytest.raises(InputError, match=r"y_pred: expected .* of shape \(150, 2\)"):
        metric(true, predicted[:, :2])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        metric(true, predicted[1:])
    with pytest.raises(ValueError, match="Expected 2D array"):
        metric(true[:, 0], predicted[:, 0])
    with pytest.raises(ValueError, match="'average' parameter"):
        metric(true, predicted, average="micro")


@pytest.mark.parametrize("neutral", ["drop", "positive"])
def test_sentiment_scorers_score_in_cross_validation_and_search(neutral):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 4))
    y = np.clip(np.round(X @ [1, 1, 0, 0] + rng.normal(size=90)), -3, 3)
    scorers = sentiment_scorers(neutral=neutral)
    scores = cross_validate(Ridge(), X, y, cv=3, scoring=scorers, return_estimator=True)
    for fold, test in enumerate(np.split(np.arange(90), 3)):
        predicted = scores["estimator"][fold].predict(X[test])
        expected = {
            "neg_mean_absolute_error": -np.mean(np.abs(predicted - y[test])),
            "correlation": np.corrcoef(predicted, y[test])[0, 1],
            "accuracy": sentiment_accuracy(y[test], predicted, neutral=neutral),
            "f1": sentiment_f1(y[test], predicted, neutral=neutral),
            "seven_class_accuracy": np.mean(np.clip(np.round(predicted), -3, 3) == y[test]),
        }
        assert set(expected) == set(scorers)
        for name, value in expected.items():
            assert scores[f"test_{name}"][fold] == pytest.approx(value)
    search = GridSearchCV(
        Ridge(), {"alpha": [1, 1e6]}, scoring=scorers, refit="neg_mean_absolute_error"
    ).fit(X, y)
    assert search.best_params_ == {"alpha": 1}


def test_sentiment_scorers_better_model_scores_higher():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 2))
    y = X @ [1.0, 1.0]
    good, bad = Ridge(alpha=1e-6).fit(X, y), DummyRegressor().fit(X, y)
    for name, scorer in sentiment_scorers().items():
        if name == "correlation":
            assert scorer(good, X, y) > 0.99
            with pytest.warns(UndefinedMetricWarning):
                assert scorer(bad, X, y) == 0
        else:
            assert scorer(good, X, y) > scorer(bad, X, y)


def test_emotion_scorers_score_each_emotion_and_the_mean(emotions):
    true, _, _ = emotions
    X = np.random.default_rng(2).normal(size=(150, 3)) + true
    scorers = emotion_scorers(["happy", "sad", "angry"])
    model = MultiOutputClassifier(LogisticRegression()).fit(X, true)
    predicted = model.predict(X)
    scores = {name: scorer(model, X, true) for name, scorer in scorers.items()}
    assert list(scores)[:4] == ["accuracy", "f1", "accuracy_happy", "f1_happy"]
    for index, name in enumerate(["happy", "sad", "angry"]):
        columns = true[:, index], predicted[:, index]
        assert scores[f"accuracy_{name}"] == pytest.approx(accuracy_score(*columns))
        expected = f1_score(*columns, average="weighted")
        assert scores[f"f1_{name}"] == pytest.approx(expected)
    assert scores["accuracy"] == pytest.approx(np.mean(predicted == true))
    crossed = cross_validate(model, X, true, cv=3, scoring=scorers)
    assert all(np.isfinite(crossed[f"test_{name}"]).all() for name in scorers)


def test_scorers_can_be_pickled(emotions):
    true, predicted, _ = emotions
    for scorers in (sentiment_scorers(), emotion_scorers(["a", "b", "c"])):
        assert list(pickle.loads(pickle.dumps(scorers))) == list(scorers)


def test_emotion_scorers_bad_names_raise():
    for names in (["a", "a"], ["a", 1]):
        with pytest.raises(InputError, match="distinct names"):
            emotion_scorers(names)
    with pytest.raises(ValueError, match="'emotions' parameter"):
        emotion_scorers("happy")
