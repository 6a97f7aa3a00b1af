"""Classifiers of several labels, made of those that take one."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sklearn_mmfusion import EstimatorEncoder, InputError, LateVotingClassifier, MNLClassifier
from sklearn_mmfusion._stacking.label_classifiers import LabelsThatVary, PerLabel, fit_to_target

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 80
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
TWO = (X[:, :2] + 0.5 * RNG.normal(size=(N, 2)) > 0).astype(int)
CONSTANT = np.column_stack([TWO[:, 0], np.ones(N, int), TWO[:, 1], np.zeros(N, int)])
SINGLE = CONSTANT[:, [1, 2]]


def fitted_to(model, y):
    return fit_to_target(model, X, y, None, "multilabel", "auto")


def one_by_one(y):
    """Probabilities of logistic regressions of each label; of one that is constant, itself."""
    return np.column_stack(
        [
            column.astype(float)
            if (column == column[0]).all()
            else LogisticRegression().fit(X, column).predict_proba(X)[:, 1]
            for column in y.T
        ]
    )


MODELS = [
    LogisticRegression(),
    MultiOutputClassifier(LogisticRegression()),
    OneVsRestClassifier(LogisticRegression()),
    make_pipeline(MultiOutputClassifier(LogisticRegression())),
    GridSearchCV(MultiOutputClassifier(LogisticRegression()), {"estimator__C": [1.0]}, cv=2),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("y", [TWO, CONSTANT, SINGLE], ids=["two", "constant", "single"])
def test_probabilities_are_those_of_one_model_for_each_label(model, y):
    found = fitted_to(model, y).predict_proba(X)
    if isinstance(found, list):
        found = np.column_stack([part[:, 1] for part in found])
    np.testing.assert_allclose(found, one_by_one(y), rtol=1e-7)


@pytest.mark.parametrize("y", [TWO, CONSTANT], ids=["two", "constant"])
def test_chain_is_fitted_to_the_labels_that_vary(y):
    found = fitted_to(ClassifierChain(LogisticRegression(), order=[0, 1]), y)
    expected = ClassifierChain(LogisticRegression(), order=[0, 1]).fit(X, TWO)
    places = [0, 1] if y is TWO else [0, 2]
    np.testing.assert_array_equal(found.predict_proba(X)[:, places], expected.predict_proba(X))
    values = found.decision_function(X)
    np.testing.assert_array_equal(values[:, places], expected.decision_function(X))
    np.testing.assert_array_equal(found.predict(X)[:, places], expected.predict(X))
    if y is CONSTANT:
        assert (values[:, [1, 3]] == 0).all()
        np.testing.assert_array_equal(found.predict(X)[:, [1, 3]], y[:, [1, 3]])


def test_estimators_that_take_several_labels_stay_what_they_are():
    for model in (
        RandomForestClassifier(3, random_state=0),
        KNeighborsClassifier(),
        ClassifierChain(LinearSVC(random_state=0)),
    ):
        assert fitted_to(model, TWO) is model
    assert isinstance(fitted_to(LogisticRegression(), TWO), PerLabel)
    assert isinstance(
        fitted_to(ClassifierChain(LinearSVC(random_state=0)), CONSTANT), LabelsThatVary
    )


@pytest.mark.parametrize("wrapper", [PerLabel, LabelsThatVary])
def test_labels_none_of_which_varies_need_no_fit(wrapper):
    y = CONSTANT[:, [1, 3]]
    model = wrapper(MultiOutputClassifier(LogisticRegression())).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), y)
    assert not hasattr(model, "decision_function")


def test_classifier_without_probabilities_decides_on_each_label():
    found = fitted_to(LinearSVC(random_state=0), CONSTANT)
    assert not hasattr(found, "predict_proba")
    expected = LinearSVC(random_state=0).fit(X, CONSTANT[:, 2]).decision_function(X)
    np.testing.assert_allclose(found.decision_function(X)[:, 2], expected, rtol=1e-9)


@pytest.mark.parametrize(
    "model",
    [MultiOutputClassifier(LogisticRegression()), ClassifierChain(LogisticRegression())],
    ids=["multioutput", "chain"],
)
def test_late_voting_and_encoders_take_multioutput_classifiers(model):
    data = {"a": X[:, :1], "b": X[:, 1:]}
    late = LateVotingClassifier(model, random_state=0).fit(data, CONSTANT)
    assert ((late.predict(data) == CONSTANT).mean(0) > [0.7, 0.99, 0.7, 0.99]).all()
    fusion = MNLClassifier(
        encoders=EstimatorEncoder(model, cv=2), max_epochs=2, early_stopping=False, random_state=0
    ).fit(data, CONSTANT)
    assert ((fusion.predict(data) == CONSTANT).mean(0) > [0.7, 0.99, 0.7, 0.99]).all()


def test_errors_name_the_users_estimator():
    model = make_pipeline(StandardScaler(), LogisticRegression(C=-1.0))
    with pytest.raises(InputError, match="modality 'a': Pipeline refuses it: The 'C' parameter"):
        LateVotingClassifier(model, random_state=0).fit({"a": X}, TWO)
    with pytest.raises(InputError, match="modality 'a': LogisticRegression refuses it: The 'C'"):
        LateVotingClassifier(LogisticRegression(C=-1.0), random_state=0).fit({"a": X}, TWO)
