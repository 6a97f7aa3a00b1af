"""Tests of the p-values of terms: level, power, splits."""

from itertools import product

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_mmfusion import (
    InputError,
    InputTypeError,
    InTenseClassifier,
    InTenseRegressor,
    LinearEncoder,
    MLPEncoder,
    MNLClassifier,
    RelevanceWarning,
    relevance_test,
)
from sklearn_mmfusion._block_norm import auto_reg
from sklearn_mmfusion._relevance.p_values import (
    _split,
    _without_selection,
    holm,
    scores_of_terms,
    sign_flip_test,
)
from sklearn_mmfusion._rows.effective_scores import EffectiveScores
from sklearn_mmfusion.datasets import make_recovery

TASK = make_recovery(
    300, {("a",): 1.0, ("b",): 0.5, ("a", "b"): 0.8}, n_features=3, n_noise_modalities=1,
    target_noise=0.3, random_state=0,
)  # fmt: skip
FAST = {
    "encoders": LinearEncoder(),
    "latent_dim": 3,
    "early_stopping": False,
    "max_epochs": 30,
    "lr": 0.03,
}


class Products(RegressorMixin, BaseEstimator):
    """Terms a, b and their product, without training: numpy alone, for many runs."""

    def fit(self, X, y, sample_weight=None):
        self.term_names_ = ["a", "b", "a x b"]
        self.term_modalities_ = [("a",), ("b",), ("a", "b")]
        self.intercept_ = np.zeros(1)
        self.n_fitted_ = len(y)
        return self

    def contributions(self, X):
        a, b = (np.asarray(X[name])[:, 0] for name in ("a", "b"))
        return np.stack([a, b, a * b], axis=1)[..., None]


def draw(rng, n=80, pair=0.0):
    X = {name: rng.normal(size=(n, 1)) for name in "ab"}
    noise = rng.standard_t(5, size=n) * (0.5 + np.abs(X["a"][:, 0]))  # neither normal nor even
    return X, X["a"][:, 0] + pair * X["a"][:, 0] * X["b"][:, 0] + noise


@pytest.mark.slow
def test_level_holds_for_uneven_noise_and_power_grows_with_the_pair():
    rng = np.random.default_rng(0)
    rates = {}
    for pair, runs in ((0.0, 400), (1.2, 60)):
        p = []
        for run in range(runs):
            X, y = draw(rng, pair=pair)
            result = relevance_test(Products(), X, y, n_null=99, random_state=run)
            p.append(result.p_value)
        rates[pair] = (np.array(p) <= 0.05).mean(axis=0)
    # Three standard errors of 0.05 at 400 runs are 0.033.
    assert 0.02 <= rates[0.0][1] <= 0.083
    assert 0.02 <= rates[0.0][2] <= 0.083
    assert rates[1.2][2] >= 0.8


def test_planted_pair_is_found_and_noise_is_not():
    result = relevance_test(InTenseRegressor(**FAST), TASK.data, TASK.target, random_state=0)
    p = dict(zip(result.term_names, result.p_value, strict=True))
    assert max(p["a"], p["b"], p["a x b"]) == 0.001
    assert min(p["noise1"], p["a x noise1"], p["b x noise1"]) > 0.02
    assert (result.adjusted >= result.p_value).all()
    assert result.n_train + result.n_test == 300
    again = relevance_test(InTenseRegressor(**FAST), TASK.data, TASK.target, random_state=0)
    np.testing.assert_array_equal(again.p_value, result.p_value)


def test_three_classes_and_some_terms_in_either_order():
    y = np.digitize(TASK.target, [-0.5, 0.8])
    labels = np.array(["low", "middle", "high"])[y]
    result = relevance_test(
        InTenseClassifier(**FAST), TASK.data, labels, terms=["b x a", ("noise1",)], random_state=0
    )
    assert result.term_names == ["a x b", "noise1"]
    assert result.p_value[0] <= 0.01 < result.p_value[1]
    np.testing.assert_allclose(result.adjusted, holm(result.p_value))


def test_sign_flips_converge_to_all_of_them():
    scores = np.random.default_rng(1).normal(0.3, 1, size=(10, 2))
    exact = np.mean(
        [np.array(signs) @ scores >= scores.sum(0) for signs in product((-1, 1), repeat=10)], axis=0
    )
    terms = [EffectiveScores(column) for column in scores.T]  # as of a model without other terms
    statistic, p = sign_flip_test(terms, 20000, np.random.RandomState(0))
    np.testing.assert_allclose(p, exact, atol=0.015)
    np.testing.assert_allclose(statistic, scores.sum(0) / np.sqrt((scores**2).sum(0)))


def test_term_without_contribution_has_p_of_one():
    terms = [EffectiveScores(np.zeros(20))]
    statistic, p = sign_flip_test(terms, 99, np.random.RandomState(0))
    assert p[0] == 1
    assert statistic[0] == 0


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.6])), [0.04, 0.09, 0.09, 0.6])


def test_several_splits_take_twice_the_median():
    X, y = draw(np.random.default_rng(3))
    together = relevance_test(Products(), X, y, n_splits=5, random_state=0)
    seeds = np.random.RandomState(0).randint(2**31 - 1, size=5)
    data = [sign_flip_p(X, y, int(seed)) for seed in seeds]
    expected = np.minimum(1, 2 * np.median(data, axis=0))
    np.testing.assert_allclose(together.p_value, expected)
    assert together.n_splits == 5


def sign_flip_p(X, y, seed):
    from sklearn_mmfusion._fitting.held_out import HeldOut

    _, test = _split(Products(), X, y, None, 0.5, seed)
    tested, fitted = {k: v[test] for k, v in X.items()}, Products().fit(X, y)
    scores = scores_of_terms(fitted, tested, HeldOut(fitted, tested, y[test]), None)
    return sign_flip_test(scores, 999, np.random.RandomState(seed))[1]


def test_groups_and_equal_rows_stay_on_one_side():
    X, y = draw(np.random.default_rng(4))
    groups = np.arange(80) % 13
    train, test = _split(Products(), X, y, groups, 0.4, 0)
    assert not set(groups[train]) & set(groups[test])
    twice = {name: np.concatenate([v, v]) for name, v in X.items()}
    train, test = _split(Products(), twice, np.concatenate([y, y]), None, 0.4, 0)
    assert not set(train % 80) & set(test % 80)
    assert len(test) == 64


def test_copies_of_rows_in_groups_do_not_make_evidence():
    # Ten copies of every row: as rows they would be tenfold evidence, as groups they are none.
    X, y = draw(np.random.default_rng(5), n=60, pair=0.3)
    many = {name: np.repeat(v, 10, axis=0) for name, v in X.items()}
    groups = np.repeat(np.arange(60), 10)
    result = relevance_test(Products(), many, np.repeat(y, 10), groups=groups, random_state=0)
    _, test = _split(Products(), many, np.repeat(y, 10), groups, 0.5, _first_seed())
    rows = np.unique(groups[test])
    from sklearn_mmfusion._fitting.held_out import HeldOut

    once, fitted = {k: v[rows] for k, v in X.items()}, Products().fit(X, y)
    scores = scores_of_terms(fitted, once, HeldOut(fitted, once, y[rows]), None)[2].values
    assert result.statistic[2] == pytest.approx(scores.sum() / np.linalg.norm(scores), rel=1e-6)


def _first_seed():
    return int(np.random.RandomState(0).randint(2**31 - 1, size=1)[0])


@pytest.mark.parametrize(
    ("n_groups", "settings", "n_test", "least"),
    [
        (6, {}, 3, (1 + 999 / 8) / 1000),
        (8, {}, 4, (1 + 999 / 16) / 1000),
        (9, {}, 5, None),  # 1/32
        (9, {"n_splits": 3}, 5, 2 * (1 + 999 / 32) / 1000),
        (12, {"n_splits": 3}, 6, None),
        (80, {"n_null": 15}, 40, (1 + 15 / 2**40) / 16),
        (80, {"n_null": 19}, 40, None),
    ],
)
def test_too_few_groups_or_draws_for_a_small_p_value_are_warned_of(
    n_groups, settings, n_test, least, recwarn
):
    # A pair so strong that the signs of the data give the largest of all sums.
    X, y = draw(np.random.default_rng(7), pair=20.0)
    groups = np.arange(80) % n_groups
    result = relevance_test(Products(), X, y, groups=groups, random_state=0, **settings)
    found = [str(w.message) for w in recwarn]
    if least is None:
        assert not found
        assert result.p_value[2] <= 0.05
        return
    assert len(found) == 1 and recwarn.list[0].category is RelevanceWarning
    assert f"with {n_test} test groups" in found[0] and f"about {least:.2g};" in found[0]
    # The share of 999 draws that are the signs of the data has a deviation of 0.01 at most.
    assert result.p_value[2] == pytest.approx(least, abs=0.05)
    assert result.p_value[2] > 0.05


def test_few_rows_are_warned_of_like_few_groups():
    X, y = draw(np.random.default_rng(8), n=10)
    with pytest.warns(RelevanceWarning, match=r"with 5 test rows.*smallest is about 0\.064"):
        relevance_test(Products(), X, y, n_splits=2, random_state=0)


def test_weights_count_in_the_statistic():
    X, y = draw(np.random.default_rng(6), pair=0.5)
    weight = np.where(np.arange(80) < 40, 1.0, 1e-6)
    result = relevance_test(Products(), X, y, sample_weight=weight, random_state=0)
    plain = relevance_test(Products(), X, y, random_state=0)
    assert (result.p_value != plain.p_value).any()


def test_fit_of_the_test_leaves_no_term_out():
    X = {"a": TASK.data["a"], "b": TASK.data["b"]}
    changes = _without_selection(InTenseRegressor(p=2), X, TASK.target)
    assert changes == {"polish": False, "reg": auto_reg(2.0, 1)}
    assert _without_selection(InTenseRegressor(reg=0.1, polish=True), X, TASK.target) == {
        "polish": False
    }
    assert _without_selection(Products(), X, TASK.target) == {}


def test_rows_of_an_array_are_split_too():
    X, y = load_iris(return_X_y=True)
    columns = {"sepal": slice(0, 2), "petal": slice(2, 4)}
    est = MNLClassifier(modalities=columns, max_epochs=20, lr=0.05, early_stopping=False)
    result = relevance_test(est, X, y, random_state=0)
    assert result.term_names == ["sepal", "petal"]
    assert result.p_value[1] == 0.001


def test_wrong_arguments_are_refused():
    X, y = draw(np.random.default_rng(0))
    with pytest.raises(InputError, match="n_null=0"):
        relevance_test(Products(), X, y, n_null=0)
    with pytest.raises(InputError, match=r"no such terms: \[\['c'\]\]"):
        relevance_test(Products(), X, y, terms=["c"], random_state=0)
    with pytest.raises(InputError, match="cannot be split"):
        relevance_test(Products(), {k: v[:8] for k, v in X.items()}, y[:8], random_state=0)
    with pytest.raises(InputTypeError, match="has no contributions"):
        relevance_test(LinearRegression(), X, y)
    with pytest.raises(InputTypeError, match=r"Pipeline has no contr.*pipeline\[:-1\]\.fit_transf"):
        relevance_test(make_pipeline(LinearRegression()), X, y)
    with pytest.raises(InputError, match=r"groups: expected one label .* shape \(3,\)"):
        relevance_test(Products(), X, y, groups=[0, 1, 2], random_state=0)


class Triples(Products):
    """All terms of three modalities, without training."""

    def fit(self, X, y, sample_weight=None):
        self.term_modalities_ = [*"abc", ("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]
        self.term_names_ = [" x ".join(term) for term in self.term_modalities_]
        self.intercept_ = np.zeros(1)
        return self

    def contributions(self, X):
        columns = {name: np.asarray(X[name])[:, 0] for name in "abc"}
        parts = [np.prod([columns[m] for m in term], axis=0) for term in self.term_modalities_]
        return np.stack(parts, axis=1)[..., None]


def correlated(rng, names, n, r=0.8):
    """Modalities whose first columns are correlated."""
    X = {name: rng.normal(size=(n, 3)) for name in names}
    for name in names[1:]:
        X[name][:, 0] = r * X[names[0]][:, 0] + np.sqrt(1 - r**2) * X[name][:, 0]
    return X


BENT = {
    "square": np.square,
    "steep": lambda z: np.exp(0.7 * z),
    "wave": lambda z: 2 * np.sin(2 * z),
}


@pytest.mark.parametrize("bend", ["square", "steep"])
@pytest.mark.parametrize("kind", ["regression", "binary", "three classes"])
@pytest.mark.slow
def test_bent_effects_of_correlated_modalities_are_no_interaction(bend, kind):
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = correlated(rng, "ab", 600)
        z = BENT[bend](X["a"][:, 0]) + BENT[bend](X["b"][:, 0])
        z = (z - z.mean()) / z.std()
        estimator, y = InTenseRegressor(**FAST), z + 0.5 * rng.normal(size=600)
        if kind != "regression":
            cuts = [0.0] if kind == "binary" else [-0.5, 0.5]
            estimator, y = InTenseClassifier(**FAST), np.digitize(y, cuts)
        result = relevance_test(estimator, X, y, terms=["a x b"], n_null=99, random_state=seed)
        found.append(result.p_value[0])
    assert sum(p <= 0.05 for p in found) <= 1


class Linear(Products):
    """Columns of two modalities and all products of them, by least squares on training rows."""

    def _blocks(self, X):
        a, b = (np.asarray(X[name]) for name in "ab")
        return [a, b, np.einsum("nf,ng->nfg", a, b).reshape(len(a), -1)]

    def _model(self):
        return LinearRegression()

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y)
        blocks = self._blocks(X)
        self.means_ = [block.mean(axis=0) for block in blocks]
        weights = self._model().fit(np.hstack(blocks), y).coef_.ravel()
        self.weights_ = np.split(weights, np.cumsum([block.shape[1] for block in blocks])[:-1])
        return self

    def contributions(self, X):
        parts = zip(self._blocks(X), self.means_, self.weights_, strict=True)
        return np.stack([(z - mean) @ w for z, mean, w in parts], axis=1)[..., None]


class LinearLogits(ClassifierMixin, Linear):
    def _model(self):
        return LogisticRegression(max_iter=500)

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        return super().fit(X, y)


ALL_BENT = [
    np.square,
    np.abs,
    lambda z: np.exp(0.7 * z),
    lambda z: np.tanh(2 * z),
    lambda z: np.where(z > 0.3, 1.0, -1.0),
    lambda z: np.sin(2 * z),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regression", "classification"])
@pytest.mark.parametrize(
    ("n", "correlation", "df"), [(200, 0, 99), (400, 0, 99), (400, 0, 3), (400, 0.8, 99)]
)
def test_level_holds_beside_bent_effects_with_data_of_its_own_in_every_run(
    kind, n, correlation, df
):
    found = []
    for run in range(90):
        rng = np.random.default_rng([run, n, df])
        X = correlated(rng, "ab", n, correlation)
        parts = [ALL_BENT[run % 6](X[name][:, 0]) for name in "ab"]
        z = sum((part - part.mean()) / part.std() for part in parts)
        noise = rng.standard_t(df, size=n)
        estimator, y = Linear(), z + noise / noise.std()
        if kind == "classification":
            estimator, y = LinearLogits(), rng.uniform(size=n) < 1 / (1 + np.exp(-1.5 * z))
        result = relevance_test(estimator, X, y, terms=["a x b"], n_null=199, random_state=run)
        found.append(result.p_value[0])
    assert len(found) == 90  # of which more than 11 are below 0.05 by chance in 0.2 %
    assert np.sum(np.array(found) <= 0.05) <= 11


@pytest.mark.slow
def test_sharp_bends_in_the_logits_of_related_modalities_are_no_interaction():
    # With squares alone to compare with, 0.45 of 40 runs had p of at most 0.05.
    found = []
    for run in range(40):
        rng = np.random.default_rng([run, 3])
        X = correlated(rng, "ab", 2000)
        z = np.abs(X["a"][:, 0]) + np.abs(X["b"][:, 0])
        y = rng.uniform(size=2000) < 1 / (1 + np.exp(-2.5 * (z - z.mean())))
        result = relevance_test(LinearLogits(), X, y, terms=["a x b"], n_null=199, random_state=run)
        found.append(result.p_value[0])
    assert np.sum(np.array(found) <= 0.05) <= 6  # 40 runs at 0.05 have more in 0.3 %


def test_bends_that_only_the_encodings_know_are_no_interaction():
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X = correlated(rng, "ab", 600)
        y = BENT["wave"](X["a"][:, 0]) + BENT["wave"](X["b"][:, 0]) + rng.normal(size=600)
        est = InTenseRegressor(max_epochs=40, encoders=MLPEncoder(), reg=0.01)
        result = relevance_test(est, X, y, terms=["a x b"], n_null=99, random_state=seed)
        found.append(result.p_value[0])
    assert sum(p <= 0.05 for p in found) <= 1


def test_bent_effect_of_a_pair_is_no_interaction_of_three():
    p = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = correlated(rng, "abc", 800)
        a, b, c = (X[name][:, 0] for name in "abc")
        y = a**2 * b + rng.normal(size=800)
        p.append(relevance_test(Triples(), X, y, n_null=99, random_state=seed).p_value[-1])
    assert sum(value <= 0.05 for value in p) <= 1
    y = y + a * b * c  # the last rows, with a term of three
    assert relevance_test(Triples(), X, y, random_state=0).p_value[-1] <= 0.01


def test_interaction_is_found_beside_bent_effects_of_correlated_modalities():
    X = correlated(np.random.default_rng(0), "ab", 600, r=0.6)
    bent = np.square(X["a"][:, 0]) + np.square(X["b"][:, 0])
    y = bent + X["a"][:, 0] * X["b"][:, 0] + np.random.default_rng(1).normal(size=600)
    assert relevance_test(Products(), X, y, random_state=0).p_value[2] == 0.001
