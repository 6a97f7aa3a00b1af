import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss, r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from sklearn_mmfusion import InputError, InputTypeError, LinearEncoder, MNLClassifier, MNLRegressor
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.inspection import modality_shapley
from sklearn_mmfusion.inspection._response import choose_response, score_outputs

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y2 = np.where(X[:, 0] > 0, "yes", "no")
Y3 = np.digitize(X[:, 1], [-0.5, 0.5])
LABELS = (X[:, :2] > 0).astype(int)


def score(model, response, scoring, y, weight=None):
    chosen = choose_response(model, response)
    return score_outputs(chosen, scoring)(chosen.outputs(X), X, y, weight)


def test_auto_takes_logits_then_log_probabilities_then_the_prediction():
    logistic = LogisticRegression().fit(X, Y2)
    forest = RandomForestClassifier(5, random_state=0).fit(X, Y3)
    linear = LinearRegression().fit(X, X[:, :2])
    found = choose_response(logistic, "auto")
    assert found.kind == "decision_function"
    assert np.array_equal(found.outputs(X)[:, 0], logistic.decision_function(X))
    assert found.names(1) == ["yes"]
    found = choose_response(forest, "auto")
    assert found.kind == "log_proba"
    expected = np.log(np.maximum(forest.predict_proba(X), 1e-12))
    assert np.array_equal(found.outputs(X), expected)
    assert found.names(3) == [0, 1, 2]
    found = choose_response(linear, "auto")
    assert found.kind == "predict"
    assert np.array_equal(found.outputs(X), linear.predict(X))
    assert found.names(2) == [0, 1]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
@pytest.mark.parametrize(
    ("y", "names"),
    [
        (X[:, 0], ["y"]),
        (X[:, :2], ["y0", "y1"]),
        (pd.DataFrame(X[:, :2], columns=["valence", "arousal"]), ["valence", "arousal"]),
    ],
    ids=["one", "two", "named"],
)
@pytest.mark.parametrize("wrap", ["none", "pipeline", "search"])
def test_outputs_are_named_as_the_model_names_them(y, names, wrap):
    rows = {"a": X, "b": X[:, :2]}
    model = MNLRegressor(max_epochs=2, random_state=0, encoders=LinearEncoder())
    if wrap == "pipeline":
        model = make_pipeline("passthrough", model)
    elif wrap == "search":
        model, rows = GridSearchCV(model, {"lr": [0.01]}, cv=2), ModalityFrame(rows)
    model.fit(rows, y)
    assert modality_shapley(model, rows).output_names == names
    assert choose_response(model, "predict").names(len(names)) == names


def test_probabilities_of_several_targets_are_side_by_side():
    forest = RandomForestClassifier(5, random_state=0).fit(X, LABELS)
    found = choose_response(forest, "predict_proba")
    assert np.array_equal(found.outputs(X), np.hstack(forest.predict_proba(X)))
    assert found.names(4) == [0, 1, 2, 3]


@pytest.mark.parametrize("y", [Y2, Y3], ids=["binary", "multiclass"])
@pytest.mark.parametrize("response", ["decision_function", "predict_proba", "log_proba"])
def test_score_of_the_outputs_is_that_of_the_estimator(y, response):
    model = LogisticRegression().fit(X[:30], y[:30])
    weight = RNG.uniform(size=60)
    assert score(model, response, None, y, weight) == pytest.approx(model.score(X, y, weight))
    expected = accuracy_score(y, model.predict(X))
    assert score(model, response, "accuracy", y) == pytest.approx(expected)


@pytest.mark.parametrize("response", ["predict_proba", "log_proba"])
def test_scores_of_probabilities_need_probabilities(response):
    model = LogisticRegression().fit(X[:30], Y3[:30])
    expected = -log_loss(Y3, model.predict_proba(X))
    assert score(model, response, "neg_log_loss", Y3) == pytest.approx(expected)
    binary = LogisticRegression().fit(X[:30], Y2[:30])
    expected = roc_auc_score(Y2, binary.decision_function(X))
    assert score(binary, response, "roc_auc", Y2) == pytest.approx(expected)
    assert score(binary, "auto", "roc_auc", Y2) == pytest.approx(expected)


@pytest.mark.parametrize("response", ["predict_proba", "log_proba"])
def test_labels_of_multilabel_outputs_are_decided_one_by_one(response):
    model = MLPClassifier((4,), solver="lbfgs", alpha=1.0, max_iter=2000, random_state=0).fit(
        X, LABELS
    )
    expected = f1_score(LABELS, model.predict(X), average="macro")
    assert score(model, response, "f1_macro", LABELS) == pytest.approx(expected)


def test_regression_outputs_are_scored_as_predictions():
    one, two = LinearRegression().fit(X, X[:, 0] ** 2), LinearRegression().fit(X, LABELS)
    assert score(one, "auto", None, X[:, 0] ** 2) == pytest.approx(one.score(X, X[:, 0] ** 2))
    expected = r2_score(LABELS, two.predict(X))
    assert score(two, "auto", "r2", LABELS) == pytest.approx(expected)


def test_outputs_that_no_prediction_follows_from_are_not_scored():
    forest = RandomForestClassifier(5, random_state=0).fit(X, LABELS)
    with pytest.raises(InputError, match="do not say how to predict"):
        score(forest, "predict_proba", None, LABELS)
    machine = SVC(decision_function_shape="ovo", random_state=0).fit(X, np.arange(60) % 4)
    with pytest.raises(InputError, match="6 outputs do not say how to predict 4 classes"):
        score(machine, "auto", None, np.arange(60) % 4)
    numbers = DummyClassifier().fit(X, Y3)
    with pytest.raises(InputError, match="predicted labels cannot be scored"):
        score(numbers, "predict", None, Y3)


class NoMethods(BaseEstimator):
    def fit(self, X, y):
        return self

    def __sklearn_is_fitted__(self):
        return True


def test_choose_response_refuses_what_cannot_be_inspected():
    with pytest.raises(InputTypeError, match="predict, got NoMethods"):
        choose_response(NoMethods(), "auto")
    with pytest.raises(InputTypeError, match="the class MNLClassifier"):
        choose_response(MNLClassifier, "auto")
    with pytest.raises(InputTypeError, match="needs a fitted estimator with decision_function"):
        choose_response(LinearRegression().fit(X, Y3), "decision_function")
    with pytest.raises(InputError, match="response must be one of"):
        choose_response(LinearRegression().fit(X, Y3), "logits")
    for estimator in (LogisticRegression(), MNLClassifier()):
        with pytest.raises(NotFittedError):
            choose_response(estimator, "auto")
    strings = choose_response(DummyClassifier().fit(X, Y2), "predict")
    with pytest.raises(InputTypeError, match="returns no numbers"):
        strings.outputs(X)
