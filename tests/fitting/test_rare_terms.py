"""Effects of few rows: of rare classes, and of modalities that most rows lack.

The penalty of ``reg="auto"`` took them out, however strong they were.
"""

import numpy as np
import pytest

from sklearn_mmfusion import (
    InTenseClassifier,
    LinearEncoder,
    MNLClassifier,
    MNLRegressor,
    relevance_scores,
)
from sklearn_mmfusion._block_norm import auto_reg, fixed_strength, target_curvature

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion.RelevanceWarning"),
]


def draw(n, seed):
    rng = np.random.default_rng(seed)
    X = {"a": rng.normal(size=(n, 3)), "b": rng.normal(size=(n, 5)), "c": rng.normal(size=(n, 4))}
    return X, rng


def label(rng, logit):
    return (rng.random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(int)


def part(X, rows):
    return {name: values[rows] for name, values in X.items()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [100, 101])
def test_a_clear_effect_on_a_rare_class_is_kept_and_nothing_else(seed):
    X, rng = draw(2000, seed)
    y = label(rng, 1.5 * X["a"][:, 0] + 0.5 * X["b"][:, 0] - 4.2)
    assert 0.03 < y.mean() < 0.05
    est = MNLClassifier(encoders=LinearEncoder(), random_state=0).fit(X, y)
    scores = est.relevance_scores_
    assert 0.05 < scores["b"] < 0.4  # 0.25 in truth, 0 before
    assert scores["c"] < 0.05


def test_a_strong_modality_that_most_rows_lack_is_kept():
    X, rng = draw(3000, 0)
    absent = rng.random(3000) < 0.9
    y = label(rng, np.where(absent, 0.0, 4 * X["a"][:, 0]) + 1.5 * X["b"][:, 0])
    X["a"][absent] = np.nan
    train, test = np.arange(1000), np.arange(1000, 3000)
    est = MNLClassifier(encoders=LinearEncoder(), missing="mask", random_state=0)
    est.fit(part(X, train), y[train])
    assert 0.15 < est.relevance_scores_["a"] < 0.6  # of the deviation over all rows 0.46 in truth
    there = test[~absent[test]]
    assert est.score(part(X, there), y[there]) > 0.75  # 0.60 to 0.64 before


def test_relevance_counts_all_rows_as_the_held_out_one_does():
    X, rng = draw(1200, 1)
    absent = rng.random(1200) < 0.9
    effects = np.where(absent, 0.0, 4 * X["a"][:, 0]), 1.5 * X["b"][:, 0]
    y = sum(effects) + 0.3 * rng.normal(size=1200)
    X["a"][absent] = np.nan
    est = MNLRegressor(encoders=LinearEncoder(), missing="mask", random_state=0)
    est.fit(part(X, np.arange(600)), y[:600])
    truth = effects[0].std() / (effects[0].std() + effects[1].std())
    held = relevance_scores(est, part(X, np.arange(600, 1200)), y[600:])
    assert est.relevance_scores_["a"] == pytest.approx(truth, abs=0.1)
    assert held["a"] == pytest.approx(est.relevance_scores_["a"], abs=0.1)
    share = est.contribution_std_ / est.contribution_std_.sum()
    np.testing.assert_allclose(share[:, 0], list(est.relevance_scores_.values()), atol=0.02)


@pytest.mark.slow
def test_interactions_of_modalities_that_rows_lack_are_found():
    X, rng = draw(1500, 2)
    signs = np.sign(X["a"][:, :1]), np.sign(X["b"][:, :1])
    X = {"a": signs[0], "b": signs[1]}
    absent = rng.random(1500) < 0.6
    y = label(rng, np.where(absent, 0.0, 4 * (signs[0] * signs[1])[:, 0]))
    X["a"] = np.where(absent[:, None], np.nan, X["a"])
    est = InTenseClassifier(
        encoders=LinearEncoder(), missing="mask", interactions=2, random_state=0
    ).fit(X, y)
    assert est.relevance_scores_["a x b"] > 0.9


@pytest.mark.parametrize(
    ("kind", "target", "weight", "expected"),
    [
        ("regression", np.arange(4.0)[:, None], None, 1.0),
        ("binary", np.array([0, 1, 0, 1]), None, 1.0),
        ("binary", np.array([0, 0, 0, 1]), None, 0.75),
        ("binary", np.array([0, 0, 0, 1]), np.array([1.0, 1, 1, 3]), 1.0),
        ("binary", np.zeros(4), None, 1.0),
        ("multiclass", np.array([0, 1, 2]), None, 1.0),
        ("multiclass", np.array([0, 1, 2, 0]), None, (1 - 6 / 16) * 1.5),
        ("multiclass", np.array([2, 2]), None, 1.0),
        ("multilabel", np.array([[0, 1], [1, 1], [0, 0], [1, 1]]), None, (1 + 0.75) / 2),
    ],
)
def test_curvature_is_the_variance_of_the_target_where_classes_are_equal_1(
    kind, target, weight, expected
):
    assert target_curvature(kind, target, weight) == pytest.approx(expected)


def test_strength_follows_the_rarest_class_unless_weights_make_up_for_it():
    X, _ = draw(120, 3)
    y = (np.arange(120) % 10 == 0).astype(int)
    params = {"encoders": LinearEncoder(), "max_epochs": 1, "polish": False, "random_state": 0}
    params["early_stopping"] = True
    plain = MNLClassifier(**params).fit(X, y)
    even = MNLClassifier(class_weight="balanced", **params).fit(X, y)
    assert plain.reg_ == pytest.approx(auto_reg(1.0, 1, 0.36), rel=0.1)
    assert even.reg_ == pytest.approx(auto_reg(1.0, 1), rel=0.1)
    assert fixed_strength(plain, X, y)["reg"] == pytest.approx(auto_reg(1.0, 1, 0.36))
