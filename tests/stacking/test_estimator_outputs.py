"""What estimators say of rows: classes that they have not seen, numbers, clusters, NaN."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import ExtraTreesClassifier, IsolationForest, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_mmfusion import (
    EstimatorEncoder,
    InputError,
    InputTypeError,
    LateVotingClassifier,
    MNLClassifier,
    MNLRegressor,
)
from sklearn_mmfusion._inputs.validation import check_fit_inputs
from sklearn_mmfusion._stacking.estimator_encoder import fit_representations
from sklearn_mmfusion._stacking.estimator_outputs import (
    SeenTarget,
    class_probabilities,
    class_shares,
)
from sklearn_mmfusion.data._blocks import ModalityBlock

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 120
RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(N, 3)), "b": RNG.normal(size=(N, 2))}
SIGNAL = X["a"][:, 0] + 0.5 * X["b"][:, 0] + 0.5 * RNG.normal(size=N)
BINARY = (SIGNAL > 0).astype(int)
THREE = np.digitize(SIGNAL, [-0.5, 0.5])


def representation_of(estimator, y, cls=MNLClassifier, cv=5, weight=None, **settings):
    """Out-of-fold representation of `a`, and its fitted estimator."""
    est = cls(encoders=EstimatorEncoder(estimator, cv=cv, **settings), random_state=0)
    schema, data, target, encoded, weight = check_fit_inputs(
        est, {"a": X["a"]}, y, weight, classifier=cls is MNLClassifier
    )
    plan, _ = est._make_plan(schema, target, N, seed=3)
    _, data, found = fit_representations(plan, data, encoded, weight, target.kind)
    return data.blocks[0].values, found["a"]


def fusion(estimator, cls=MNLClassifier, **settings):
    encoder = EstimatorEncoder(estimator, cv=2, **settings)
    return cls(encoders=encoder, max_epochs=5, early_stopping=False, lr=0.05, random_state=0)


# -- classes and labels that a fit has not seen -----------------------------------------------


def test_probability_of_a_class_that_was_not_seen_is_its_frequency():
    y = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 3])
    shares = class_shares(y, None, "multiclass")
    np.testing.assert_allclose(shares, [0.2, 0.3, 0.4, 0.1])
    rows = np.isin(y, [0, 2])
    seen = SeenTarget.of("multiclass", shares, y[rows])
    model = KNeighborsClassifier(3).fit(np.arange(10)[rows, None], y[rows])
    found = model.predict_proba([[0], [4]])
    np.testing.assert_allclose(found, [[2 / 3, 1 / 3], [1 / 3, 2 / 3]])
    expected = [[0.4, 0.3, 0.2, 0.1], [0.2, 0.3, 0.4, 0.1]]
    np.testing.assert_allclose(class_probabilities(found, model, seen), expected)


def test_shares_are_weighted():
    weight = np.array([1.0, 2.0, 5.0])
    np.testing.assert_allclose(class_shares(np.array([0, 1, 0]), weight, "binary"), [0.75, 0.25])
    labels = np.array([[1, 0], [0, 1], [1, 1]])
    np.testing.assert_allclose(class_shares(labels, weight, "multilabel"), [0.75, 0.875])


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(2, random_state=0),
        ExtraTreesClassifier(2, random_state=0),
        DecisionTreeClassifier(random_state=0),
        KNeighborsClassifier(),
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        LogisticRegression(),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.slow
def test_label_that_all_rows_share_is_predicted_for_all(model, value):
    y = np.column_stack([BINARY, np.full(N, value)])
    late = LateVotingClassifier(model, random_state=0).fit(X, y)
    np.testing.assert_allclose(late.predict_proba(X)[:, 1], value, atol=1e-9)
    assert (late.contributions(X)[:, :, 1] == 0).all()
    assert (fusion(model).fit(X, y).predict(X)[:, 1] == value).all()
    values, _ = representation_of(model, y)
    np.testing.assert_allclose(values[:, 1], np.log(1e6 - 1) * (2 * value - 1), rtol=1e-6)


def test_label_that_does_not_vary_in_a_fold_has_its_frequency_there():
    y = np.column_stack([BINARY, np.arange(N) >= 40]).astype(int)
    # The rows of one part all have the label, those of the other all lack it.
    has = np.flatnonzero(y[:, 1])
    lacks = np.setdiff1d(np.arange(N), has)
    pairs = [(has, lacks), (lacks, has)]
    values, _ = representation_of(KNeighborsClassifier(), y, cv=pairs)
    np.testing.assert_allclose(values[:, 1], np.log(80 / 40), rtol=1e-12)


def test_class_that_a_fold_has_not_seen_has_its_frequency_there():
    order = np.argsort(THREE, kind="stable")
    pairs = [(order[60:], order[:60]), (order[:60], order[60:])]
    values, _ = representation_of(LogisticRegression(), THREE, cv=pairs)
    shares = np.bincount(THREE) / N
    for train, test in pairs:
        model = LogisticRegression().fit(X["a"][train], THREE[train])
        gone = np.setdiff1d(np.arange(3), model.classes_)
        assert len(gone) == 1
        p = np.empty((60, 3))
        p[:, gone] = shares[gone]
        p[:, model.classes_] = model.predict_proba(X["a"][test]) * (1 - shares[gone])
        logs = np.log(p)
        expected = logs - logs.mean(1, keepdims=True)
        np.testing.assert_allclose(values[test], expected, rtol=1e-7, atol=1e-9)


def test_fold_of_one_class_has_the_frequencies():
    order = np.argsort(BINARY, kind="stable")
    n_zero = int((BINARY == 0).sum())
    pairs = [(order[n_zero:], order[:n_zero]), (order[:n_zero], order[n_zero:])]
    values, fitted = representation_of(LogisticRegression(), BINARY, cv=pairs)
    np.testing.assert_allclose(values, np.log(BINARY.mean() / (1 - BINARY.mean())), rtol=1e-9)
    assert isinstance(fitted.estimator, LogisticRegression)


def test_modality_with_rows_of_one_class_adds_nothing_to_a_fusion():
    partial = X | {"b": np.where((BINARY == 0)[:, None], X["b"], np.nan)}
    est = fusion(LogisticRegression()).set_params(missing="mask")
    with pytest.warns(UserWarning, match="modality 'b': .* that it is absent says something"):
        est.fit(partial, BINARY)
    parts = est.contributions(X)
    assert np.ptp(parts[:, 1]) < 1e-9 < np.ptp(parts[:, 0])


def test_modality_that_has_not_seen_a_class_does_not_veto_it_in_a_sum_of_log_posteriors():
    partial = X | {"b": np.where((THREE != 2)[:, None], X["b"], np.nan)}
    est = fusion(LogisticRegression()).set_params(missing="mask")
    with pytest.warns(UserWarning, match="modality 'b': .* that it is absent says something"):
        est.fit(partial, THREE)
    late = LateVotingClassifier(LogisticRegression(), missing="mask", random_state=0)
    late.fit(partial, THREE)
    assert est._result.is_vote
    counts = np.bincount(est.predict(X), minlength=3)
    assert counts[2] > 0.5 * (THREE == 2).sum()
    assert (est.predict(X) == late.predict(X)).mean() > 0.9


# -- regressors, clusterers, detectors --------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [Ridge(), LinearRegression(), PLSRegression(2), make_pipeline(StandardScaler(), Ridge())],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("y", [BINARY, THREE], ids=["binary", "multiclass"])
def test_regressor_under_a_classifier_is_represented_by_its_numbers(model, y):
    folds = KFold(4)
    values, fitted = representation_of(model, y, cv=folds)
    expected = cross_val_predict(model, X["a"], y, cv=folds).reshape(N, 1)
    np.testing.assert_allclose(values, expected, rtol=1e-9)
    new = fitted(ModalityBlock("a", X["a"])).values
    np.testing.assert_allclose(new[:, 0], model.fit(X["a"], y).predict(X["a"]).ravel(), rtol=1e-9)
    assert fusion(model).fit(X, y).score(X, y) > 0.7


def test_regressor_takes_several_labels():
    y = np.column_stack([BINARY, X["a"][:, 1] > 0]).astype(int)
    values, _ = representation_of(Ridge(), y, cv=KFold(4))
    np.testing.assert_allclose(values, cross_val_predict(Ridge(), X["a"], y, cv=KFold(4)))


@pytest.mark.parametrize("cls", [MNLClassifier, MNLRegressor])
def test_clusterer_is_represented_by_distances(cls):
    y = BINARY if cls is MNLClassifier else SIGNAL
    for model in (KMeans(3, n_init=1), make_pipeline(StandardScaler(), KMeans(3, n_init=1))):
        values, fitted = representation_of(model, y, cls)
        assert fitted.method == "transform" and values.shape == (N, 3)
        np.testing.assert_allclose(values, fitted.estimator.transform(X["a"]), rtol=1e-9)


@pytest.mark.parametrize("cls", [MNLClassifier, MNLRegressor])
@pytest.mark.parametrize(
    ("model", "settings", "remedy"),
    [
        (KMeans(3, n_init=1), {"method": "predict"}, 'use method="transform"'),
        (GaussianMixture(2), {}, "use a transformer"),
        (GaussianMixture(2), {"method": "predict_proba"}, "use a transformer"),
        (DBSCAN(), {}, "use a transformer"),
        (AgglomerativeClustering(), {}, "use a transformer"),
    ],
)
def test_numbers_of_clusters_are_refused(cls, model, settings, remedy):
    y = BINARY if cls is MNLClassifier else SIGNAL
    mine = f"modality 'a': {type(model).__name__} numbers its clusters anew in each fit.*{remedy}"
    with pytest.raises(InputTypeError, match=mine):
        fusion(model, cls, **settings).fit(X, y)


def test_outlier_detector_is_represented_by_its_decision():
    values, _ = representation_of(
        IsolationForest(n_estimators=5, random_state=0), THREE, cv=KFold(3)
    )
    train, test = next(iter(KFold(3).split(X["a"])))
    fitted = IsolationForest(n_estimators=5, random_state=0).fit(X["a"][train])
    np.testing.assert_allclose(values[test, 0], fitted.decision_function(X["a"][test]))


class _Plain:
    """What scikit-learn asks of an estimator, and no more: not what it is."""

    def get_params(self, deep=True):
        return {}

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return self.classes_[(X[:, 0] > 0).astype(int)]


def test_predicted_classes_are_indicators():
    values, _ = representation_of(_Plain(), BINARY)
    np.testing.assert_array_equal(values, np.eye(2)[(X["a"][:, 0] > 0).astype(int)])


def test_classifier_under_a_regressor_is_refused():
    for y in (SIGNAL, THREE.astype(float)):
        with pytest.raises(InputTypeError, match="'a': DecisionTreeClassifier is a classifier"):
            fusion(DecisionTreeClassifier(), MNLRegressor).fit(X, y)


def test_class_in_place_of_an_estimator_is_refused():
    with pytest.raises(InputTypeError, match=r"'a': .* the class Ridge; write Ridge\(\)"):
        fusion(Ridge).fit(X, BINARY)


# -- values that are not finite ---------------------------------------------------------------


class _NaN(ClassifierMixin, BaseEstimator):
    """Says NaN of rows below zero."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.where(X[:, :1] < 0, np.nan, 0.5) * np.ones(2)


def test_estimator_that_says_nan_is_named():
    constant = {"a": X["a"], "b": np.ones((N, 1))}
    mine = "modality 'b': predict_proba of GaussianNB gave nan; look for features that do not vary"
    with np.errstate(all="ignore"):
        for est in (
            fusion(GaussianNB(var_smoothing=0)),
            LateVotingClassifier(GaussianNB(var_smoothing=0), random_state=0),
        ):
            with pytest.raises(InputError, match=mine):
                est.fit(constant, BINARY).predict(constant)
    with pytest.raises(InputError, match="modality 'a': predict_proba of _NaN gave nan"):
        fusion(_NaN()).fit(X, BINARY)
    labels = np.column_stack([BINARY, THREE > 1]).astype(int)
    with pytest.raises(InputError, match="modality 'a': predict_proba of _NaN gave nan"):
        LateVotingClassifier(_NaN(), random_state=0).fit(X, labels).predict(X)
