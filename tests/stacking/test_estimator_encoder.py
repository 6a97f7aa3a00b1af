"""Tests of scikit-learn estimators as encoders, and of late voting."""

import pickle

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_predict,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sklearn_mmfusion import (
    EarlyFusionClassifier,
    EstimatorEncoder,
    InputError,
    InputTypeError,
    InTenseClassifier,
    LateVotingClassifier,
    MNLClassifier,
    MNLRegressor,
    ModalityFrame,
    MROClassifier,
    RoutingClassifier,
)
from sklearn_mmfusion._stacking import folds as folds_module
from sklearn_mmfusion._stacking.estimator_encoder import fit_representations, flat_inputs
from sklearn_mmfusion.data._blocks import ModalityBlock

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 160
RNG = np.random.default_rng(0)
X = {"clinical": RNG.normal(size=(N, 3)), "signal": RNG.normal(size=(N, 5, 2))}
SIGNAL = X["clinical"][:, 0] ** 2 - 1 + 2 * X["signal"][:, :, 0].mean(1)
BINARY = (SIGNAL > 0).astype(int)
THREE = np.digitize(SIGNAL, [-0.6, 0.6])


def params(**changes):
    return {"max_epochs": 10, "lr": 0.05, "early_stopping": False, "random_state": 0} | changes


def both(estimator, **settings):
    return {name: EstimatorEncoder(estimator, **settings) for name in X}


# -- representations --------------------------------------------------------------------------


def representation_of(estimator, y, weight=None, values=X["clinical"], **settings):
    """Out-of-fold representation of `clinical`, and the fitted estimator."""
    est = MNLClassifier(encoders=EstimatorEncoder(estimator, **settings), random_state=0)
    from sklearn_mmfusion._inputs.validation import check_fit_inputs

    schema, data, target, encoded, weight = check_fit_inputs(
        est, {"clinical": values}, y, weight, classifier=True
    )
    plan, _ = est._make_plan(schema, target, len(values), seed=3)
    plan, data, found = fit_representations(plan, data, encoded, weight, target.kind)
    return data.blocks[0].values, found["clinical"], plan


@pytest.mark.parametrize("y", [BINARY, THREE], ids=["binary", "multiclass"])
def test_representation_is_the_out_of_fold_log_posterior(y):
    folds = StratifiedKFold(4)
    model = LogisticRegression()
    values, fitted, plan = representation_of(model, y, cv=folds)
    p = cross_val_predict(model, X["clinical"], y, cv=folds, method="predict_proba")
    logs = np.log(np.clip(p, 1e-6, 1 - 1e-6))
    if y is BINARY:
        expected = logs[:, 1:] - logs[:, :1]
    else:
        expected = logs - logs.mean(1, keepdims=True)
    np.testing.assert_allclose(values, expected, rtol=1e-9)
    assert plan.layouts[0].shape == (expected.shape[1],)
    # New rows are represented by the estimator of all rows.
    whole = np.log(LogisticRegression().fit(X["clinical"], y).predict_proba(X["clinical"]))
    new = fitted(ModalityBlock("clinical", X["clinical"])).values
    shown = whole[:, 1:] - whole[:, :1] if y is BINARY else whole - whole.mean(1, keepdims=True)
    np.testing.assert_allclose(new, shown, rtol=1e-7)


def test_no_training_row_sees_its_own_label():
    # A model that remembers every row would be right on all of them in sample.
    y = RNG.integers(0, 2, N)
    values, fitted, _ = representation_of(RandomForestClassifier(20), y)
    assert ((values[:, 0] > 0) == y).mean() < 0.65
    assert ((fitted(ModalityBlock("clinical", X["clinical"])).values[:, 0] > 0) == y).mean() > 0.95


def test_copies_of_a_row_do_not_tell_an_estimator_its_label():
    y = RNG.integers(0, 2, N)
    four = np.tile(np.arange(N), 4)
    once, _, _ = representation_of(KNeighborsClassifier(1), y)
    values, _, _ = representation_of(KNeighborsClassifier(1), y[four], values=X["clinical"][four])
    np.testing.assert_array_equal(values, once[four])
    assert ((values[:, 0] > 0) == y[four]).mean() < 0.65
    # Nor do they with the other label, from which a fusion would learn to turn it round.
    other = np.concatenate([y, 1 - y])
    twice = np.tile(np.arange(N), 2)
    values, _, _ = representation_of(KNeighborsClassifier(1), other, values=X["clinical"][twice])
    np.testing.assert_array_equal(values[:N], values[N:])


@pytest.mark.parametrize("y", [BINARY, THREE], ids=["binary", "multiclass"])
def test_order_of_the_rows_does_not_matter(y):
    order = RNG.permutation(N)
    values, _, _ = representation_of(LogisticRegression(tol=1e-10), y)
    turned, _, _ = representation_of(
        LogisticRegression(tol=1e-10), y[order], values=X["clinical"][order]
    )
    np.testing.assert_allclose(turned, values[order], rtol=1e-5, atol=1e-6)


def test_whole_weights_are_repetitions():
    weight = np.random.default_rng(1).integers(1, 4, N)
    rows = np.repeat(np.arange(N), weight)
    model = LogisticRegression(tol=1e-10)
    weighted, _, _ = representation_of(model, BINARY, weight.astype(float))
    repeated, _, _ = representation_of(model, BINARY[rows], values=X["clinical"][rows])
    np.testing.assert_allclose(weighted[rows], repeated, rtol=1e-5, atol=1e-6)


def test_many_rows_are_not_told_apart(monkeypatch):
    monkeypatch.setattr(folds_module, "HASHED_ROWS", N - 1)
    rows = np.tile(np.arange(N // 4), 4)
    y = RNG.integers(0, 2, N // 4)[rows]
    values, _, _ = representation_of(KNeighborsClassifier(1), y, values=X["clinical"][rows])
    assert ((values[:, 0] > 0) == y).mean() > 0.9  # copies of nearly all rows are in other folds


def test_a_class_of_copies_of_one_row_is_in_every_training_part():
    values, y = X["clinical"].copy(), np.zeros(N, dtype=int)
    values[:4], y[:4] = values[0], 1
    # A logistic regression refuses a single class.
    found, _, _ = representation_of(LogisticRegression(), y, values=values)
    assert found.shape == (N, 1) and np.isfinite(found).all()
    assert np.ptp(found[:4]) == 0


def test_weights_reach_the_fits_and_rows_of_weight_zero_do_not_count():
    weight = np.where(np.arange(N) < 120, 1.0, 0.0)
    _, fitted, _ = representation_of(LogisticRegression(), BINARY, weight)
    direct = LogisticRegression().fit(X["clinical"][:120], BINARY[:120])
    np.testing.assert_allclose(fitted.estimator.coef_, direct.coef_, rtol=1e-4)
    piped = make_pipeline(StandardScaler(), LogisticRegression())
    _, fitted, _ = representation_of(piped, BINARY, weight)
    np.testing.assert_allclose(
        fitted.estimator[0].mean_, X["clinical"][:120].mean(0), rtol=1e-9, atol=1e-12
    )


def test_sequences_are_described_by_moments_of_their_valid_steps():
    values = X["signal"].copy()
    values[:, 3:] = 0
    block = ModalityBlock("signal", values, np.full(N, 3))
    found = flat_inputs(block)
    steps = X["signal"][:, :3]
    expected = [steps.mean(1), steps.std(1), steps.min(1), steps.max(1), steps[:, 2] - steps[:, 0]]
    np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=1e-9, atol=1e-12)
    image = ModalityBlock("image", np.zeros((4, 3, 3), np.uint8))
    assert flat_inputs(image).shape == (4, 9)


@pytest.mark.parametrize(
    ("model", "y", "method", "size"),
    [
        (RidgeClassifier(), BINARY, "decision_function", 1),
        (RidgeClassifier(), THREE, "decision_function", 3),
        (SVC(), THREE, "decision_function", 3),
        (PCA(2), BINARY, "transform", 2),
        (LogisticRegression(), BINARY, "predict", 2),
        (Ridge(), BINARY, "predict", 1),
    ],
)
def test_methods_and_their_sizes(model, y, method, size):
    settings = {"method": method} if isinstance(model, LogisticRegression) else {}
    if isinstance(model, Ridge):
        values, fitted, _ = representation_of(model, y)
        assert fitted.method == "predict"
        return
    values, fitted, _ = representation_of(model, y, **settings)
    assert fitted.method == method and values.shape == (N, size)


def test_a_class_of_one_row_is_taken():
    y = BINARY.copy()
    y[0] = 7
    values, _, _ = representation_of(LogisticRegression(), y)
    assert values.shape == (N, 3) and np.isfinite(values).all()


# -- folds of the user's --------------------------------------------------------------------------


EVERY = np.arange(N)


@pytest.mark.parametrize(
    ("cv", "fault"),
    [
        (TimeSeriesSplit(3), "40 in no test fold"),
        ([(EVERY[:80], EVERY[80:])], "80 in no test fold"),
        ([(EVERY, EVERY)], "160 in a test fold and in what it trains on"),
        (
            [(EVERY[80:], EVERY[:90]), (EVERY[:80], EVERY[80:])],
            "10 in a test fold and in what it trains on, 10 in several test folds",
        ),
        (ShuffleSplit(2, test_size=0.25, random_state=0), r"in no test fold, \d+ in several"),
    ],
)
def test_folds_that_leave_rows_out_or_train_on_what_they_test_are_refused(cv, fault):
    mine = "'clinical': cv of EstimatorEncoder: expected folds that hold every one of the 160 rows"
    with pytest.raises(InputError, match=f"{mine} .* got .*{fault}.*; use KFold"):
        representation_of(KNeighborsClassifier(1), BINARY, cv=cv)


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (
            GroupKFold(3),
            "GroupKFold does not divide the 160 rows .*; pass groups to fit",
        ),
        (KFold(500), "KFold does not divide the 160 rows with the modality: Cannot have number"),
        ([(EVERY[:80], EVERY[80:] + 1)], "from 0 to 159, got 81 to 160"),
        ([(EVERY < 80, EVERY >= 80)], "expected pairs of arrays of row numbers, got bool"),
        ([3], "list does not divide the 160 rows"),
    ],
)
def test_folds_that_cannot_be_made_are_named_with_modality_and_remedy(cv, message):
    with pytest.raises(InputError, match=f"'clinical': cv of EstimatorEncoder: .*{message}"):
        representation_of(LogisticRegression(), BINARY, cv=cv)


def test_row_in_several_test_folds_is_represented_by_the_mean():
    cv = RepeatedStratifiedKFold(n_splits=4, n_repeats=2, random_state=3)
    values, _, _ = representation_of(LogisticRegression(), BINARY, cv=cv)
    total = np.zeros(N)
    for train, test in cv.split(BINARY, BINARY):
        fitted = LogisticRegression().fit(X["clinical"][train], BINARY[train])
        total[test] += fitted.decision_function(X["clinical"][test])
    np.testing.assert_allclose(values[:, 0], total / 2, rtol=1e-7, atol=1e-9)


def test_pairs_of_groups_are_folds():
    groups = np.arange(N) // 8
    cv = list(GroupKFold(4).split(BINARY, BINARY, groups))
    values, _, _ = representation_of(LogisticRegression(), BINARY, cv=cv)
    train, test = cv[0]
    fitted = LogisticRegression().fit(X["clinical"][train], BINARY[train])
    expected = fitted.decision_function(X["clinical"][test])
    np.testing.assert_allclose(values[test, 0], expected, rtol=1e-7, atol=1e-9)


# -- in estimators ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "y"),
    [
        (MNLClassifier, BINARY),
        (InTenseClassifier, THREE),
        (RoutingClassifier, BINARY),
        (MNLClassifier, np.column_stack([BINARY, SIGNAL > 1]).astype(int)),
        (MNLRegressor, SIGNAL),
    ],
)
def test_estimators_take_them_beside_other_encoders(cls, y):
    model = Ridge() if cls is MNLRegressor else LogisticRegression()
    est = cls(encoders={"clinical": EstimatorEncoder(model)}, **params()).fit(X, y)
    assert set(est.representations_) == {"clinical"}
    assert isinstance(est.encoders_["clinical"], EstimatorEncoder)
    parts = est.contributions(X)
    output = est.predict(X) if cls is MNLRegressor else est.decision_function(X)
    np.testing.assert_allclose((parts.sum(1) + est.intercept_).squeeze(), output, rtol=1e-9)
    again = pickle.loads(pickle.dumps(est))  # noqa: S301 our own bytes
    np.testing.assert_array_equal(again.predict(X), est.predict(X))


def test_trees_find_what_a_linear_model_cannot():
    rng = np.random.default_rng(1)
    many = {"square": rng.normal(size=(600, 2)), "line": rng.normal(size=(600, 2))}
    y = many["square"][:, 0] ** 2 - 1 + many["line"][:, 0] > 0
    train, test = (
        {k: v[rows] for k, v in many.items()} for rows in np.split(np.arange(600), [400])
    )
    scores, relevance = [], []
    for model in (HistGradientBoostingClassifier(max_iter=30), LogisticRegression()):
        est = MNLClassifier(encoders=EstimatorEncoder(model), **params())
        scores.append(est.fit(train, y[:400]).score(test, y[400:]))
        relevance.append(est.relevance_scores_["square"])
    assert scores[0] > scores[1] + 0.05
    assert relevance[0] > 0.3 > 0.15 > relevance[1]


def test_missing_rows_are_left_out_and_contribute_zero():
    partial = {name: values.copy() for name, values in X.items()}
    gone = np.arange(N) % 3 == 0
    partial["clinical"][gone] = np.nan
    est = MNLClassifier(encoders=both(LogisticRegression()), missing="mask", **params())
    est.fit(partial, BINARY)
    assert (est.contributions(partial)[gone, 0] == 0).all()
    direct = LogisticRegression().fit(X["clinical"][~gone], BINARY[~gone])
    fitted = est.representations_["clinical"].estimator
    np.testing.assert_allclose(fitted.coef_, direct.coef_, rtol=1e-6)


def test_same_seed_gives_the_same_fit():
    encoders = both(RandomForestClassifier(5))
    one, two = (MNLClassifier(encoders=encoders, **params()).fit(X, BINARY) for _ in range(2))
    np.testing.assert_array_equal(one.decision_function(X), two.decision_function(X))
    assert encoders["clinical"].estimator.random_state is None


def test_parameters_of_the_estimator_are_searchable():
    est = MNLClassifier(encoders=both(LogisticRegression()), **params(max_epochs=3))
    grid = {"encoders__clinical__estimator__C": [0.01, 1.0]}
    search = GridSearchCV(est, grid, cv=2).fit(ModalityFrame(X), BINARY)
    chosen = search.best_params_["encoders__clinical__estimator__C"]
    best = search.best_estimator_.representations_["clinical"].estimator
    assert chosen == best.C


def test_what_it_cannot_take_is_said():
    with pytest.raises(InputError, match="'clinical': EstimatorEncoder needs all rows at once"):
        MNLClassifier(encoders=both(LogisticRegression()), random_state=0).partial_fit(X, BINARY)
    fitted = MNLClassifier(encoders=both(LogisticRegression()), **params(max_epochs=1))
    with pytest.raises(InputError, match="'clinical': EstimatorEncoder needs all rows at once"):
        fitted.fit(X, BINARY).partial_fit(X, BINARY)
    # Where an encoder is not one of a modality, it would be left out without a word.
    flat = {"clinical": X["clinical"]}
    for cls, encoders in (
        (EarlyFusionClassifier, EstimatorEncoder(LogisticRegression())),
        (MROClassifier, {"clinical": EstimatorEncoder(LogisticRegression())}),
    ):
        with pytest.raises(InputError, match="EstimatorEncoder is fitted before the network"):
            cls(encoders=encoders, random_state=0).fit(flat, BINARY)
    with pytest.raises(InputError, match="'clinical': The 'estimator' parameter"):
        MNLClassifier(encoders=both(3), random_state=0).fit(X, BINARY)
    with pytest.raises(InputTypeError, match="needs an estimator with predict_proba, got SVC"):
        MNLClassifier(encoders=both(SVC(), method="predict_proba"), random_state=0).fit(X, BINARY)


# -- late voting ------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [BINARY, THREE], ids=["binary", "multiclass"])
def test_late_voting_adds_log_posteriors(y):
    flat = {"a": X["clinical"], "b": X["signal"][:, 0]}
    est = LateVotingClassifier(LogisticRegression(), random_state=0).fit(flat, y)
    prior = np.log(np.bincount(y) / N)
    total = prior.copy()
    for values in flat.values():
        total = total + np.log(LogisticRegression().fit(values, y).predict_proba(values)) - prior
    p = np.exp(total - total.max(1, keepdims=True))
    np.testing.assert_allclose(est.predict_proba(flat), p / p.sum(1, keepdims=True), rtol=1e-6)
    parts = est.contributions(flat)
    output = est.decision_function(flat)
    np.testing.assert_allclose((parts.sum(1) + est.intercept_).squeeze(), output, rtol=1e-9)
    np.testing.assert_array_equal(est.predict(flat), est.classes_[p.argmax(1)])


def test_late_voting_takes_labels_weights_and_missing_modalities():
    several = np.column_stack([BINARY, SIGNAL > 1, np.ones(N)]).astype(int)
    est = LateVotingClassifier(random_state=0).fit(X, several)
    assert est.predict_proba(X).shape == (N, 3) and (est.predict(X)[:, 2] == 1).all()
    trees = LateVotingClassifier(RandomForestClassifier(5), random_state=0).fit(X, several)
    assert trees.predict(X).shape == (N, 3)
    partial = {name: values.copy() for name, values in X.items()}
    partial["signal"][:50] = np.nan
    est = LateVotingClassifier(missing="mask", random_state=0).fit(
        partial, BINARY, np.arange(N) % 2
    )
    assert (est.contributions(partial)[:50, 1] == 0).all()


def test_late_voting_names_what_is_wrong():
    with pytest.raises(InputError, match=r"no modalities \['x'\]"):
        LateVotingClassifier({"x": LogisticRegression()}, random_state=0).fit(X, BINARY)
    with pytest.raises(InputTypeError, match="'signal': expected a classifier with fit and pred"):
        LateVotingClassifier({"signal": SVC()}, random_state=0).fit(X, BINARY)


@pytest.mark.parametrize("factor", [1e300, 1e-300])
@pytest.mark.parametrize("name", ["clinical", "signal"])
def test_scale_of_flat_features_and_sequences_is_irrelevant_to_late_voting(name, factor):
    plain = LateVotingClassifier(random_state=0).fit(X, THREE)
    scaled = X | {name: X[name] * factor}
    found = LateVotingClassifier(random_state=0).fit(scaled, THREE)
    expected = plain.decision_function(X)
    np.testing.assert_allclose(found.decision_function(scaled), expected, atol=1e-6)
    # Others that were fitted to small numbers meet large ones.
    far = {"clinical": X["clinical"] * 1e300, "signal": X["signal"] * 1e300}
    assert np.isfinite(found.predict_proba(far)).all()


def test_default_of_late_voting_is_logistic_regression_on_standardised_features():
    flat = {"a": X["clinical"] * [1.0, 30.0, 0.1]}
    weight = np.arange(N) % 3
    est = LateVotingClassifier(random_state=0).fit(flat, BINARY, weight)
    scaler = StandardScaler().fit(flat["a"], sample_weight=weight)
    direct = LogisticRegression(max_iter=1000, tol=1e-8)
    direct.fit(scaler.transform(flat["a"]), BINARY, weight)
    expected = direct.decision_function(scaler.transform(flat["a"]))
    np.testing.assert_allclose(est.decision_function(flat), expected, rtol=1e-6)


def test_what_an_estimator_refuses_is_reported_with_its_modality():
    piped = make_pipeline(StandardScaler(), LogisticRegression())
    large = X | {"clinical": X["clinical"] * 1e300}
    mine = r"modality 'clinical': Pipeline refuses it: Input X contains"
    with np.errstate(over="ignore", invalid="ignore"):
        with pytest.raises(InputError, match=mine):
            LateVotingClassifier(piped, random_state=0).fit(large, BINARY)
        fitted = LateVotingClassifier(_Refusing(), random_state=0).fit(X, BINARY)
        with pytest.raises(InputError, match=r"modality 'clinical': _Refusing refuses it: no"):
            fitted.predict(X)
        encoders = {"clinical": EstimatorEncoder(piped)}
        with pytest.raises(InputError, match=mine):
            MNLClassifier(**params(encoders=encoders)).fit(large, BINARY)
        encoders = {"clinical": EstimatorEncoder(_Refusing())}
        with pytest.raises(InputError, match=r"modality 'clinical': _Refusing refuses it: no"):
            MNLClassifier(**params(encoders=encoders)).fit(X, BINARY)


class _Refusing(ClassifierMixin, BaseEstimator):
    """Says no to all rows it is to predict."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        raise ValueError("no")


class _Counting(ClassifierMixin, BaseEstimator):
    """Says how many rows it was fitted to."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_ = len(X)
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_estimators_without_weights_are_fitted_without():
    weight = np.ones(N)
    est = LateVotingClassifier(_Counting(), random_state=0).fit(X, BINARY, weight)
    assert est.estimators_["clinical"].n_ == N
