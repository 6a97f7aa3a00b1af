"""Cached encodings say the same as the estimator on recombined rows."""

import warnings
from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion import (
    EarlyFusionClassifier,
    EstimatorEncoder,
    GAMClassifier,
    InputError,
    InTenseClassifier,
    InTenseRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
    LateVotingClassifier,
    MKLClassifier,
    MKLRegressor,
    MNLClassifier,
    MNLRegressor,
    ModalityFrame,
    ModalityTransformer,
    MROClassifier,
    MRORegressor,
    MulTClassifier,
    RoutingClassifier,
    TensorFusionClassifier,
    TensorFusionRegressor,
)
from sklearn_mmfusion.inspection import (
    _encoded,
    _gathering,
    _routed_outputs,
    _routed_products,
)
from sklearn_mmfusion.inspection._evaluator import make_evaluator
from sklearn_mmfusion.inspection._expectations import estimate
from sklearn_mmfusion.inspection._products import Product, grid, listed

N = 40
ALL = {"interactions": "all"}
KEPT = {"reg": 1e-4, "polish": False}  # so that no interaction is left out


def make_data(seed=0):
    """Flat features, flat features and sequences; some are missing, some steps are padded."""
    rng = np.random.default_rng(seed)
    X = {
        "b": rng.normal(size=(N, 4)),
        "a": rng.normal(size=(N, 3)),
        "c": rng.normal(size=(N, 5, 2)),
    }
    target = np.c_[X["a"][:, 0] * X["b"][:, 0], X["b"][:, 1]] * 10 + 3
    X["a"][:5] = np.nan
    X["c"][3:9] = np.nan
    X["c"][20:30, 3:] = np.nan
    return X, target


X, TARGET = make_data()
TARGETS = {
    "binary": np.where(TARGET[:, 0] > 3, "yes", "no"),
    "multiclass": np.digitize(TARGET[:, 1], [-3, 8]),
    "multilabel": (TARGET > 3).astype(int),
    "one": TARGET[:, 0],
    "two": TARGET,
}
NET = {"max_epochs": 3, "early_stopping": True, "random_state": 0, "missing": "mask"}


def fit(estimator, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three epochs neither converge nor learn
        return estimator.fit(X, y)


@pytest.fixture(scope="module")
def intense():
    return fit(InTenseClassifier(**KEPT, **NET), X, TARGETS["binary"])


# Estimator, kind of the target, whether encodings are cached, highest order of a part.
CASES = [
    (MNLClassifier(**NET), "binary", True, 1),
    (MNLRegressor(**NET), "two", True, 1),
    (InTenseClassifier(latent_dim=3, **KEPT, **ALL, **NET), "multiclass", True, 3),
    (InTenseRegressor(latent_dim=3, reg=1e-4, **ALL, **NET), "two", True, 3),
    (InTenseRegressor(interactions=[("b", "c")], **KEPT, **NET), "one", True, 2),
    (MNLRegressor(n_bags=2, **NET), "one", True, 1),
    (InTenseRegressor(n_bags=3, latent_dim=2, **KEPT, **NET), "two", True, 2),
    (RoutingClassifier(**NET), "multiclass", True, 3),
    (RoutingClassifier(**NET), "binary", True, 3),
    (RoutingClassifier(n_routing_iter=2, **ALL, **NET), "multilabel", True, 3),
    (RoutingClassifier(n_routing_iter=0, **NET), "binary", True, 2),
    (RoutingClassifier(n_routing_iter=0, **ALL, **NET), "multilabel", True, 3),
    (GAMClassifier(**NET), "multiclass", True, 2),
    (MROClassifier(**ALL, **NET), "binary", True, 3),
    (MRORegressor(**NET), "two", True, 2),
    (TensorFusionClassifier(latent_dim=3, **NET), "multilabel", True, 3),
    (TensorFusionRegressor(latent_dim=3, **NET), "one", True, 3),
    (LateFusionClassifier(**NET), "multiclass", True, 1),
    (LateFusionRegressor(**NET), "two", True, 1),
    (LateVotingClassifier(missing="mask", random_state=0), "multiclass", True, 1),
    (MKLClassifier(missing="mask"), "binary", True, 1),
    (MKLRegressor(missing="mask", interactions=2), "one", False, 3),
    (MulTClassifier(**NET), "binary", False, 3),
]


NAMES = [f"{type(case[0]).__name__}-{case[1]}-{i}" for i, case in enumerate(CASES)]
# Axes of the three modalities.
ARRANGEMENTS = [(0, 1, 2), (2, 0, 1), (0, 0, 1), (1, 0, 0), (0, 1, 0)]


# Routing with adjustments, which is no sum of terms.
ROUTED = [
    i
    for i, case in enumerate(CASES)
    if isinstance(case[0], RoutingClassifier) and case[0].n_routing_iter
]


def first_case(kind):
    return next(i for i, case in enumerate(CASES) if isinstance(case[0], kind))


@pytest.fixture(scope="module")
def fitted():
    return cache(lambda i: fit(CASES[i][0], X, TARGETS[CASES[i][1]]))


@pytest.mark.parametrize("i", range(len(CASES)), ids=NAMES)
def test_cached_outputs_of_recombined_rows_are_those_of_the_estimator(fitted, i):
    estimator, (_, _, is_cached, order) = fitted(i), CASES[i]
    rng = np.random.default_rng(1)
    index = rng.integers(0, N, (200, 3))
    new_rows = ModalityFrame(make_data(1)[0])[:7]
    evaluator = make_evaluator(estimator, X, background=new_rows)
    assert evaluator.names == ["b", "a", "c"]
    assert evaluator.is_cached is is_cached
    assert max(len(part.members) for part in evaluator.parts) == order
    recombined = {name: X[name][index[:, m]] for m, name in enumerate(evaluator.names)}
    method = "decision_function" if hasattr(estimator, "classes_") else "predict"
    expected = getattr(estimator, method)(recombined).reshape(200, -1)
    found = evaluator.evaluate(index)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-10 * max(1.0, np.ptp(expected))
    assert np.ptp(expected) > 1e-3
    # Rows of the background come after those of X.
    assert np.array_equal(evaluator.background, np.arange(N, N + 7))
    behind = evaluator.evaluate(np.repeat(evaluator.background[:, None], 3, axis=1))
    own = getattr(estimator, method)(new_rows).reshape(7, -1)
    assert np.abs(behind - own).max() < 1e-10 * max(1.0, np.ptp(expected))


@pytest.mark.parametrize("i", range(len(CASES)), ids=NAMES)
@pytest.mark.parametrize("small", [False, True], ids=["whole", "blocks"])
def test_products_of_rows_give_what_their_combinations_give(fitted, i, small, monkeypatch):
    if small:
        for module in (_encoded, _gathering, _routed_outputs, _routed_products):
            monkeypatch.setattr(module, "_VALUES", 2**9)
        monkeypatch.setattr(_gathering, "_BLOCK_VALUES", 2**6)
        monkeypatch.setattr(_routed_products, "_MET_VALUES", 2**9)
    estimator = fitted(i)
    evaluator = make_evaluator(estimator, X)
    method = "decision_function" if hasattr(estimator, "classes_") else "predict"
    rng = np.random.default_rng(2)
    lengths = (6, 7, 5)
    for axes in ARRANGEMENTS:
        rows = tuple(rng.integers(0, N, lengths[axis]) for axis in axes)
        product = Product(lengths[: max(axes) + 1], axes, rows)
        index = product.written_out()
        recombined = {name: X[name][index[:, m]] for m, name in enumerate(evaluator.names)}
        expected = getattr(estimator, method)(recombined).reshape(*product.shape, -1)
        found = np.tile(evaluator.constant, (*product.shape, 1))
        for part in evaluator.parts:
            values = part.evaluate_product(product.of(part.members))
            found += product.spread(part.members, values)
        assert np.abs(found - expected).max() < 1e-10 * max(1.0, np.ptp(expected))
        assert np.ptp(expected) > 1e-3


@pytest.mark.parametrize("kind", ["grid", "list"])
def test_routing_by_votes_gives_the_same(fitted, kind, monkeypatch):
    estimator = fitted(next(i for i in ROUTED if CASES[i][1] == "binary"))
    index = np.random.default_rng(0).integers(0, N, (50, 3))
    rows = [np.arange(3), np.arange(20, 24), np.arange(5)]
    product = grid(rows) if kind == "grid" else listed(index)
    (part,) = make_evaluator(estimator, X).parts
    found = part.evaluate_product(product)
    monkeypatch.setattr(_routed_outputs, "_FORM_VALUES", 0)  # too few for any form
    (part,) = make_evaluator(estimator, X).parts
    by_votes = part.evaluate_product(product)
    assert np.abs(found - by_votes).max() < 1e-12
    assert not np.array_equal(found, by_votes)  # they are two ways


@pytest.mark.parametrize("i", ROUTED)
def test_lists_under_routing_in_any_chunks_are_the_same(fitted, i, monkeypatch):
    (part,) = make_evaluator(fitted(i), X).parts
    index = np.random.default_rng(0).integers(0, N, (300, 3))
    expected = part.evaluate(index)
    for module in (_routed_outputs, _routed_products):
        monkeypatch.setattr(module, "_VALUES", 1)  # 64 combinations at a time
    (part,) = make_evaluator(fitted(i), X).parts
    assert np.abs(part.evaluate(index) - expected).max() < 1e-12
    # A block leaves nothing for the next one.
    assert np.abs(part.evaluate(index[::-1])[::-1] - expected).max() < 1e-12


def test_network_of_other_features_is_called_on_encodings(fitted, monkeypatch):
    estimator = fitted(first_case(TensorFusionRegressor))
    expected = make_evaluator(estimator, X)
    monkeypatch.setattr(_encoded, "TensorFeatures", LinearRegression)  # so that none is known
    evaluator = make_evaluator(estimator, X)
    assert evaluator.is_cached
    index = np.random.default_rng(1).integers(0, N, (30, 3))
    product = grid([np.arange(3), np.arange(20, 24), np.arange(5)])
    assert np.abs(evaluator.evaluate(index) - expected.evaluate(index)).max() < 1e-12
    (one,), (other,) = evaluator.parts, expected.parts
    found = one.evaluate_product(product)
    assert np.abs(found - other.evaluate_product(product)).max() < 1e-12


@pytest.mark.parametrize("method", ["exact", "sampled"])
@pytest.mark.parametrize("n", [1, 6])
def test_projection_by_cached_encodings_is_that_by_calls(fitted, method, n):
    for i in range(len(CASES)):
        if CASES[i][2]:
            few = {name: values[:n] for name, values in X.items()}
            new = ModalityFrame(make_data(1)[0])[:4]
            found = [
                estimate(
                    make_evaluator(fitted(i), few, background=new, cached=cached),
                    [{0: -2.0, 1: 1.0, 2: 1.0, 4: 1.0}],
                    method=method,
                    n_draws=5,
                    max_evaluations=10**6,
                    rng=lambda: np.random.default_rng(0),
                )
                for cached in (True, False)
            ]
            scale = 1e-10 * max(1.0, np.abs(found[1].values).max())
            assert np.abs(found[0].values - found[1].values).max() < scale
            assert np.abs(found[0].errors - found[1].errors).max() < scale


@pytest.mark.parametrize("response", ["predict_proba", "log_proba"])
def test_cached_probabilities_are_those_of_the_estimator(intense, response):
    estimator = intense
    evaluator = make_evaluator(estimator, X, response=response)
    assert evaluator.is_cached
    assert evaluator.output_names == ["no", "yes"]
    index = np.random.default_rng(1).integers(0, N, (50, 3))
    recombined = {name: X[name][index[:, m]] for m, name in enumerate(evaluator.names)}
    expected = estimator.predict_proba(recombined)
    expected = np.log(expected) if response == "log_proba" else expected
    assert np.abs(evaluator.evaluate(index) - expected).max() < 1e-12
    (part,) = evaluator.parts
    product = Product((7, 5), (0, 1, 0), (np.arange(7), np.arange(5), np.arange(20, 27)))
    found = part.evaluate_product(product)
    expected = part.evaluate(product.written_out()).reshape(7, 5, 2)
    assert np.abs(found - expected).max() < 1e-12


def test_order_of_modalities_is_that_of_the_user(intense):
    estimator = intense
    evaluator = make_evaluator(estimator, X, modalities=["c", "a", "b"])
    index = np.random.default_rng(1).integers(0, N, (50, 3))
    recombined = {name: X[name][index[:, m]] for m, name in enumerate(["c", "a", "b"])}
    expected = estimator.decision_function(recombined)
    assert np.abs(evaluator.evaluate(index)[:, 0] - expected).max() < 1e-12


def test_two_dimensional_input_takes_the_columns_of_the_estimator():
    table = np.random.default_rng(0).normal(size=(N, 5))
    y = table[:, 0] > 0
    spec = {"u": [0, 4], "v": slice(1, 4)}
    estimator = fit(InTenseClassifier(modalities=spec, **KEPT, **NET), table, y)
    own = make_evaluator(estimator, table)
    assert own.names == ["u", "v"]
    turned = make_evaluator(estimator, table, modalities={"v": slice(1, 4), "u": [0, 4]})
    other = make_evaluator(estimator, table, modalities={"p": [0, 1], "q": [2, 3, 4]})
    assert (own.is_cached, turned.is_cached, other.is_cached) == (True, True, False)
    index = np.random.default_rng(1).integers(0, N, (30, 2))
    for evaluator, first in ((own, [0, 4]), (turned, [1, 2, 3]), (other, [0, 1])):
        second = [j for j in range(5) if j not in first]
        recombined = np.empty((30, 5))
        recombined[:, first] = table[index[:, 0]][:, first]
        recombined[:, second] = table[index[:, 1]][:, second]
        expected = estimator.decision_function(recombined)
        assert np.abs(evaluator.evaluate(index)[:, 0] - expected).max() < 1e-12


def test_estimator_encoder_is_cached_too():
    flat = {name: X[name] for name in ("a", "b")}
    estimator = InTenseClassifier(
        encoders={"a": EstimatorEncoder(LogisticRegression(), cv=2), "b": "auto"}, **KEPT, **NET
    )
    estimator = fit(estimator, flat, TARGETS["binary"])
    evaluator = make_evaluator(estimator, flat)
    assert evaluator.is_cached
    index = np.random.default_rng(1).integers(0, N, (50, 2))
    recombined = {name: flat[name][index[:, m]] for m, name in enumerate(evaluator.names)}
    expected = estimator.decision_function(recombined)
    assert np.abs(evaluator.evaluate(index)[:, 0] - expected).max() < 1e-12


def test_search_is_cached_and_pipeline_is_called():
    flat = ModalityFrame({name: X[name][9:] for name in ("a", "b")})
    y = TARGETS["binary"][9:]
    net = {"max_epochs": 2, "random_state": 0}
    search = GridSearchCV(MNLClassifier(**net), {"reg": [0.01]}, cv=2)
    pipeline = make_pipeline(
        ModalityTransformer([("a", StandardScaler()), ("b", StandardScaler())]),
        MNLClassifier(**net),
    )
    index = np.random.default_rng(1).integers(0, len(flat), (30, 2))
    for model, is_cached in ((search, True), (pipeline, False)):
        model = fit(model, flat, y)
        evaluator = make_evaluator(model, flat)
        assert evaluator.is_cached is is_cached
        recombined = ModalityFrame(
            {name: flat[name][index[:, m]] for m, name in enumerate(("a", "b"))}
        )
        expected = model.decision_function(recombined)
        assert np.abs(evaluator.evaluate(index)[:, 0] - expected).max() < 1e-12


def test_joint_encoder_takes_the_plain_way():
    flat = {name: X[name][9:] for name in ("a", "b")}
    net = {"max_epochs": 2, "random_state": 0}
    estimator = fit(EarlyFusionClassifier(**net), flat, TARGETS["binary"][9:])
    evaluator = make_evaluator(estimator, flat)
    assert not evaluator.is_cached
    index = np.random.default_rng(1).integers(0, N - 9, (30, 2))
    recombined = {name: flat[name][index[:, m]] for m, name in enumerate(("a", "b"))}
    expected = estimator.decision_function(recombined)
    assert np.abs(evaluator.evaluate(index)[:, 0] - expected).max() < 1e-12


def test_chunks_of_combinations_change_nothing(formula):
    evaluator = make_evaluator(formula(lambda a, b: a * b), {"a": np.arange(6), "b": np.arange(6)})
    index = np.random.default_rng(0).integers(0, 6, (50, 2))
    (part,) = evaluator.parts
    object.__setattr__(part, "chunk_rows", 7)
    assert np.array_equal(evaluator.evaluate(index)[:, 0], index[:, 0] * index[:, 1])


def test_background_of_some_rows_is_drawn_without_replacement(formula):
    values = {"a": np.arange(6), "b": np.arange(6)}
    evaluator = make_evaluator(
        formula(lambda a, b: a * b), values, background=4, rng=lambda: np.random.default_rng(0)
    )
    assert len(set(evaluator.background.tolist())) == 4
    for wrong in (0, 7):
        with pytest.raises(InputError, match="expected 1 to 6"):
            make_evaluator(formula(lambda a, b: a * b), values, background=wrong)
    with pytest.raises(InputError, match="X has no rows"):
        make_evaluator(formula(lambda a, b: a * b), {"a": np.arange(0), "b": np.arange(0)})
    with pytest.raises(InputError, match="background has no rows"):
        empty = {"a": np.arange(0), "b": np.arange(0)}
        make_evaluator(formula(lambda a, b: a * b), values, background=empty)
