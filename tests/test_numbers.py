"""Extreme numbers and sizes, through every public estimator: finite, and what they should be."""

import numpy as np
import pytest
from fleet import CLASSIFIERS, ESTIMATORS, REGRESSORS, family, small

from sklearn_mmfusion import (
    InTenseClassifier,
    LateFusionRegressor,
    MNLClassifier,
    MNLRegressor,
    NumericalWarning,
    RoutingClassifier,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 40
RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(N, 3)), "b": RNG.normal(size=(N, 2))}
SIGNAL = X["a"][:, 0] + X["b"][:, 0]


def target(cls, n=N):
    return (SIGNAL[:n] > 0).astype(int) if cls in CLASSIFIERS else SIGNAL[:n]


def values(model, data):
    """Return the numbers behind the predictions."""
    name = "decision_function" if hasattr(model, "decision_function") else "predict"
    return getattr(model, name)(data)


def by_class(classes=ESTIMATORS):
    return pytest.mark.parametrize("cls", classes, ids=lambda cls: cls.__name__)


# A fit with held-out rows, and of some one that chooses and one on all rows, as by default.
@pytest.mark.parametrize(
    ("cls", "early_stopping"),
    [
        *((cls, True) for cls in ESTIMATORS),
        *((cls, "auto") for cls in (InTenseClassifier, LateFusionRegressor, RoutingClassifier)),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_scale_of_each_modality_is_irrelevant(cls, early_stopping):
    def make():
        model = small(cls)
        known = "early_stopping" in model.get_params()
        return model.set_params(early_stopping=early_stopping) if known else model

    plain = make().fit(X, target(cls))
    for large, tiny in ((1e30, 1e-30), (1e300, 1e-300)):
        scaled = {"a": X["a"] * large, "b": X["b"] * tiny}
        model = make().fit(scaled, target(cls))
        np.testing.assert_allclose(values(model, scaled), values(plain, X), atol=1e-6)
        if hasattr(plain, "relevance_scores_"):
            assert model.relevance_scores_ == pytest.approx(plain.relevance_scores_, abs=1e-6)


@by_class(REGRESSORS)
def test_scale_of_the_target_is_irrelevant(cls):
    plain = small(cls).fit(X, SIGNAL).predict(X)
    for factor in (1e-200, 1e200):
        predicted = small(cls).fit(X, SIGNAL * factor).predict(X)
        np.testing.assert_allclose(predicted / factor, plain, atol=1e-6)


@by_class()
def test_what_does_not_vary_is_finite(cls):
    constant = np.column_stack([np.zeros(N), np.ones(N), np.full(N, 1e30)])
    for data in (X | {"b": np.zeros((N, 2))}, X | {"b": np.hstack([X["b"], constant])}):
        model = small(cls).fit(data, target(cls))
        assert np.isfinite(values(model, data)).all()
        scores = getattr(model, "relevance_scores_", {"": 0.0})
        assert np.isfinite(list(scores.values())).all()


def slow(cls):
    return pytest.param(cls, marks=pytest.mark.slow)


# Twelve modalities have 132 pairs, for each of which MulT has a transformer.
@by_class([slow(cls) if family(cls) == "MulT" else cls for cls in ESTIMATORS])
def test_few_rows_and_one_or_twelve_modalities_are_finite(cls):
    one = {"a": X["a"][:, :1]}
    twelve = {f"m{m}": np.random.default_rng(m).normal(size=(N, 2)) for m in range(12)}
    for data, n in ((X, 2), (X, 4), (one, N), (one, 2), (twelve, 8)):
        some = {name: rows[:n] for name, rows in data.items()}
        y = target(cls, n) if n > 4 else np.arange(n) % 2
        # A tensor of twelve modalities has (latent_dim + 1) ** 12 numbers in a row.
        model = small(cls, latent_dim=1, max_epochs=1).fit(some, y)
        assert np.isfinite(values(model, some)).all()


TRAINED = [cls for cls in ESTIMATORS if "batch_size" in cls().get_params()]


@by_class(TRAINED)
def test_last_batch_of_one_row_is_finite_and_leaves_finite_statistics(cls):
    data = {name: np.tile(rows, (4, 1))[:129] for name, rows in X.items()}
    y = np.tile(target(cls), 4)[:129]
    model = small(cls, batch_size=128, early_stopping=False).fit(data, y)
    assert np.isfinite(values(model, data)).all()
    assert all(bool(value.isfinite().all()) for value in model.module_.state_dict().values())


@by_class(CLASSIFIERS)
def test_rare_and_many_classes_have_probabilities(cls):
    rows = {name: np.tile(x, (25, 1)) for name, x in X.items()}  # 1000
    rare = (np.arange(1000) == 500).astype(int)
    many = np.arange(N) // 2
    for data, y in ((rows, rare), (X, many)):
        if family(cls) == "MKL" and y is rare:
            continue  # kernel matrices of 1000 rows take seconds
        model = small(cls, early_stopping=False).fit(data, y)
        assert np.isfinite(values(model, data)).all()
        if hasattr(model, "predict_proba"):
            proba = model.predict_proba(data)
            assert proba.shape == (len(y), len(set(y)))
            assert np.isfinite(proba).all() and (proba >= 0).all()
            np.testing.assert_allclose(proba.sum(axis=1), 1.0, atol=1e-12)


@by_class()
def test_the_same_seed_gives_the_same_bits(cls):
    first, second = (values(small(cls).fit(X, target(cls)), X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@by_class(TRAINED)
def test_digits_that_are_lost_are_said(cls):
    shifted = X | {"a": 1.0 + 1e-8 * X["a"]}
    with pytest.warns(NumericalWarning, match=r"modality 'a': 3 of 3 feature\(s\) vary so little"):
        model = small(cls, early_stopping=False).fit(shifted, target(cls))
    assert np.isfinite(values(model, shifted)).all()


# -- the penalty ------------------------------------------------------------------------------

GRID_OF_P = [1.0, 1 + 1e-12, 1 + 1e-6, 1.01, 1.5, 2.0, 4.0, 1e3, 1e6, float("inf")]


def test_relevance_is_continuous_in_p():
    settings = {"polish": True, "reg": 0.05, "max_epochs": 5, "early_stopping": False}
    scores = [
        np.array(
            list(small(MNLRegressor, p=p, **settings).fit(X, SIGNAL).relevance_scores_.values())
        )
        for p in GRID_OF_P
    ]
    assert all(np.isfinite(score).all() and (score >= 0).all() for score in scores)
    for p, score in zip(GRID_OF_P, scores, strict=True):
        total = score.max() if np.isinf(p) else (score**p).sum()
        assert total == pytest.approx(1.0, abs=1e-6), p
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-6)
    np.testing.assert_allclose(scores[2], scores[0], atol=1e-4)
    np.testing.assert_allclose(scores[-2], scores[-1], atol=1e-4)


@pytest.mark.parametrize("reg", [0.0, 1e-12, 1.0, 1e12, 1e30])
def test_any_penalty_is_finite_and_a_large_one_predicts_the_prior(reg):
    settings = {"polish": True, "reg": reg, "max_epochs": 5, "early_stopping": False}
    number = small(MNLRegressor, **settings).fit(X, SIGNAL)
    label = small(MNLClassifier, **settings).fit(X, SIGNAL > 0)
    assert np.isfinite(list(number.relevance_scores_.values())).all()
    assert np.isfinite(label.predict_proba(X)).all()
    if reg >= 1e12:
        np.testing.assert_allclose(number.predict(X), SIGNAL.mean(), atol=1e-9)
        np.testing.assert_allclose(label.predict_proba(X)[:, 1], (SIGNAL > 0).mean(), atol=1e-6)
