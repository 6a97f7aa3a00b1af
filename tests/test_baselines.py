"""Tests of the baselines: late, early and tensor fusion, MulT, RAVEN, residual optimisation."""

import pickle
import warnings

import numpy as np
import pytest
from fleet import ALL_ESTIMATORS, small
from sklearn.base import is_classifier
from sklearn.metrics import r2_score

from sklearn_mmfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    InputError,
    InputTypeError,
    LateFusionClassifier,
    LateFusionRegressor,
    LinearEncoder,
    MLPEncoder,
    MROClassifier,
    MRORegressor,
    MulTClassifier,
    MulTEncoder,
    MulTRegressor,
    RAVENClassifier,
    RAVENEncoder,
    RAVENRegressor,
    RelevanceWarning,
    SummaryEncoder,
    TensorFusionClassifier,
    TensorFusionRegressor,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 60
RNG = np.random.default_rng(0)
X = {
    "text": RNG.normal(size=(N, 5, 3)),
    "audio": RNG.normal(size=(N, 5, 2)),
    "age": RNG.normal(size=(N, 2)),
}
X["text"][:20, 3:] = np.nan
X["audio"][:20, 3:] = np.nan
SIGNAL = X["text"][:, 0, 0] + np.nanmean(X["audio"], 1)[:, 0] * 2 + X["age"][:, 0]
SMALL = MulTEncoder(hidden_dim=4, n_heads=2, n_layers=1)
CASES = {
    "late": (LateFusionClassifier, LateFusionRegressor, {}),
    "early": (EarlyFusionClassifier, EarlyFusionRegressor, {}),
    "tensor": (TensorFusionClassifier, TensorFusionRegressor, {"latent_dim": 3, "hidden_dim": 16}),
    "MulT": (MulTClassifier, MulTRegressor, {"encoders": SMALL}),
    "RAVEN": (RAVENClassifier, RAVENRegressor, {"encoders": RAVENEncoder(hidden_dim=8)}),
    "MRO": (MROClassifier, MRORegressor, {"hidden_dim": 16}),
    "MRO, sequential": (
        MROClassifier,
        MRORegressor,
        {"hidden_dim": 16, "schedule": "sequential"},
    ),
}
ADDITIVE = [name for name in CASES if name == "late" or name.startswith("MRO")]


def make(name, kind="classifier", **changes):
    cls = CASES[name][kind == "regressor"]
    settings = {"max_epochs": 2, "lr": 0.02, "early_stopping": False, "random_state": 0}
    return cls(**settings | CASES[name][2] | changes)


def quick(name, kind="classifier", **changes):
    """Return an estimator that fits once: none of its fits is there to choose or to judge."""
    return make(name, kind, **{"max_epochs": 1, "early_stopping": True} | changes)


def target(kind):
    return (SIGNAL > 0).astype(int) if kind == "classifier" else 20 + 5 * SIGNAL


def outputs(est, x):
    return est.decision_function(x) if is_classifier(est) else est.predict(x)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "regressor"])
@pytest.mark.parametrize("name", CASES)
def test_it_learns(name, kind):
    y = target(kind)
    est = make(name, kind, max_epochs=60, lr=0.01).fit(X, y)
    score = est.score(X, y)
    assert score > (0.85 if kind == "classifier" else 0.5)
    assert est.history_[-1]["train_loss"] < est.history_[0]["train_loss"]


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_target(name):
    several = np.column_stack([SIGNAL > 0, X["age"][:, 1] > 0]).astype(int)
    for y, columns in ((np.digitize(SIGNAL, [-1, 1]), 3), (several, 2)):
        est = quick(name).fit(X, y)
        assert est.predict_proba(X).shape == (N, columns)
        assert est.predict(X).shape == y.shape
        assert est.intercept_.shape == (columns,)
    numbers = np.column_stack([SIGNAL, -SIGNAL])
    assert quick(name, "regressor").fit(X, numbers).predict(X).shape == (N, 2)
    labels = np.where(SIGNAL > 0, "yes", "no")
    assert set(quick(name).fit(X, labels).predict(X)) <= {"yes", "no"}


@pytest.mark.parametrize("name", CASES)
def test_rows_pickles_seeds_and_orders_of_modalities(name):
    y = target("classifier")
    est = quick(name).fit(X, y)
    whole = est.decision_function(X)
    again = pickle.loads(pickle.dumps(est))  # noqa: S301 our own bytes
    np.testing.assert_array_equal(again.decision_function(X), whole)
    # One row alone, and short rows without the padding of others.
    some = {key: values[15:30] for key, values in X.items()}
    np.testing.assert_allclose(est.decision_function(some), whole[15:30], rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(quick(name).fit(X, y).decision_function(X), whole)
    backwards = {key: X[key] for key in reversed(X)}
    np.testing.assert_array_equal(quick(name).fit(backwards, y).decision_function(X), whole)
    other = quick(name, random_state=1).fit(X, y)
    assert (other.decision_function(X) != whole).any()


@pytest.mark.parametrize("name", CASES)
def test_missing_modalities_are_taken_and_leave_no_trace_of_their_values(name):
    partial = {key: values.copy() for key, values in X.items()}
    partial["audio"][::4] = np.nan
    partial["age"][1::4] = np.nan
    est = make(name, missing="mask").fit(partial, target("classifier"))
    found = est.decision_function(partial)
    assert np.isfinite(found).all()
    with pytest.raises(InputError, match="'audio'"):
        make(name).fit(partial, target("classifier"))


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
@pytest.mark.parametrize("name", ADDITIVE)
def test_contributions_add_up_and_are_zero_where_a_modality_is_missing(name, kind):
    partial = {key: values.copy() for key, values in X.items()}
    gone = np.arange(N) % 4 == 0
    partial["audio"][gone] = np.nan
    est = make(name, kind, missing="mask").fit(partial, target(kind))
    parts = est.contributions(partial)
    total = parts.sum(1)[:, 0] + est.intercept_[0]
    np.testing.assert_allclose(total, outputs(est, partial), rtol=1e-10, atol=1e-10)
    holds = np.array(["audio" in term for term in est.term_modalities_])
    assert (parts[gone][:, holds] == 0).all()
    np.testing.assert_allclose(parts.std(0), est.contribution_std_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in CASES if name not in ADDITIVE])
def test_models_that_are_no_sums_say_nothing_of_terms(name):
    est = make(name, max_epochs=1).fit(X, target("classifier"))
    for attribute in ("contributions", "relevance_scores_", "term_names_", "contribution_std_"):
        assert not hasattr(est, attribute)


# -- late and early fusion --------------------------------------------------------------------


def test_late_fusion_of_one_modality_is_the_unimodal_model():
    y = target("regressor")
    one = LateFusionRegressor(modalities=["age"], random_state=0, max_epochs=5).fit(X, y)
    alone = LateFusionRegressor(random_state=0, max_epochs=5).fit({"age": X["age"]}, y)
    assert one.modality_names_ == ["age"]
    np.testing.assert_array_equal(one.predict(X), alone.predict({"age": X["age"]}))


def test_early_fusion_of_flat_modalities_is_a_model_of_their_concatenation():
    flat = {"a": X["age"], "b": X["text"][:, 0]}
    y = target("regressor")
    settings = {"encoders": LinearEncoder(output_dim=4), "max_epochs": 80, "lr": 0.05}
    est = EarlyFusionRegressor(random_state=0, early_stopping=False, **settings).fit(flat, y)
    design = np.column_stack([np.ones(N), flat["a"], flat["b"]])
    best = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    assert r2_score(best, est.predict(flat)) > 0.99


def test_early_fusion_reads_the_steps_of_all_modalities_together():
    # The product of two modalities in the same step: late fusion cannot have it.
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 400, 1, 1))
    y = (a * b)[:, 0, 0]
    mlp = SummaryEncoder(head=MLPEncoder())
    settings = {"max_epochs": 50, "lr": 0.03, "random_state": 0, "early_stopping": False}
    early = EarlyFusionRegressor(encoders=mlp, **settings).fit({"a": a, "b": b}, y)
    late = LateFusionRegressor(encoders=mlp, **settings).fit({"a": a, "b": b}, y)
    assert early.score({"a": a, "b": b}, y) > 0.5 > 0.3 > late.score({"a": a, "b": b}, y)


def test_early_fusion_needs_the_same_steps_and_one_encoder():
    unequal = X | {"audio": X["audio"][:, :4]}
    with pytest.raises(InputError, match="'audio' has 4, 'text' has 5; align them"):
        EarlyFusionClassifier(random_state=0).fit(unequal, target("classifier"))
    with pytest.raises(InputTypeError, match="one encoder for all modalities together"):
        EarlyFusionClassifier(encoders={"text": LinearEncoder()}, random_state=0).fit(
            X, target("classifier")
        )
    images = {"image": RNG.normal(size=(N, 1, 4, 4)), "age": X["age"]}
    with pytest.raises(InputError, match="'image': early fusion takes 3-D"):
        EarlyFusionClassifier(random_state=0).fit(images, target("classifier"))


# -- tensor fusion ----------------------------------------------------------------------------


def test_tensor_fusion_learns_a_product():
    rng = np.random.default_rng(2)
    flat = {"a": rng.normal(size=(300, 2)), "b": rng.normal(size=(300, 2))}
    y = flat["a"][:, 0] * flat["b"][:, 1]
    settings = {"encoders": LinearEncoder(), "max_epochs": 75, "lr": 0.02, "dropout": 0.0}
    est = TensorFusionRegressor(**settings, early_stopping=False, random_state=0).fit(flat, y)
    assert est.score(flat, y) > 0.9


def test_tensor_fusion_refuses_products_beyond_its_limit():
    many = {f"m{i}": X["age"] for i in range(9)}
    with pytest.raises(InputError, match="product of 9 modalities has 387_420_489 elements"):
        TensorFusionClassifier(random_state=0).fit(many, target("classifier"))


# -- MulT and RAVEN ---------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [MulTClassifier, RAVENClassifier])
def test_other_encoders_are_refused(cls):
    with pytest.raises(InputTypeError, match=f"{cls.__name__} takes encoders='auto' or a "):
        cls(encoders=LinearEncoder(), random_state=0).fit(X, target("classifier"))


def test_mult_takes_codes_and_steps_of_any_number():
    mixed = {"words": RNG.integers(0, 4, size=(N, 7)), "audio": X["audio"], "age": X["age"]}
    encoder = MulTEncoder(hidden_dim=8, n_heads=2, n_layers=1, vocabulary_size={"words": 4})
    est = MulTClassifier(encoders=encoder, max_epochs=1, random_state=0)
    assert est.fit(mixed, target("classifier")).predict_proba(mixed).shape == (N, 2)


def test_raven_names_its_main_modality():
    est = make("RAVEN", max_epochs=1).fit(X, target("classifier"))
    assert est.module_.encoders[0].main == sorted(X).index("text")
    with pytest.raises(InputError, match="main='age' is not a sequence among"):
        make("RAVEN", encoders=RAVENEncoder(main="age")).fit(X, target("classifier"))
    flat = {"a": X["age"], "b": X["text"][:, 0]}
    assert make("RAVEN", max_epochs=1).fit(flat, target("classifier")).predict(flat).shape == (N,)


# -- residual optimisation --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["joint", "sequential"])
def test_orders_of_residual_optimisation_carry_what_is_theirs(schedule):
    rng = np.random.default_rng(3)
    flat = {name: rng.normal(size=(600, 2)) for name in ("a", "b", "c")}
    additive = flat["a"][:, 0] + flat["b"][:, 0]
    settings = {"schedule": schedule, "dropout": 0.0, "random_state": 0, "lr": 0.01}
    est = MRORegressor(**settings).fit(flat, additive)
    parts = est.contributions(flat)[..., 0]
    single = np.array([len(term) == 1 for term in est.term_modalities_])
    first, second = parts[:, single].sum(1).std(), parts[:, ~single].sum(1).std()
    assert first**2 / (first**2 + second**2) > 0.95
    assert est.order_importances_ == pytest.approx(
        {1: first / (first + second), 2: second / (first + second)}
    )
    assert list(est.order_importances_) == [1, 2]
    assert sum(est.order_importances_.values()) == pytest.approx(1)
    product = additive + 2 * flat["a"][:, 1] * flat["b"][:, 1]
    est = MRORegressor(**settings).fit(flat, product)
    assert est.score(flat, product) > 0.8
    assert est.order_importances_[2] > 0.4


def test_sequential_orders_are_trained_one_after_the_other():
    est = make("MRO, sequential", "regressor", max_epochs=4, interactions=3)
    est.fit(X, target("regressor"))
    assert [epoch["phase"] for epoch in est.history_] == [1] * 4 + [2] * 4 + [3] * 4
    assert [epoch["epoch"] for epoch in est.history_] == list(range(1, 13))
    # The first order is the model that ends with it.
    first = make("MRO, sequential", "regressor", max_epochs=4, interactions=1)
    first.fit(X, target("regressor"))
    assert len(first.history_) == 4


def test_encoders_of_residual_optimisation_are_shown_as_given():
    est = make("MRO", max_epochs=1, encoders={"age": LinearEncoder(output_dim=3)})
    est.fit(X, target("classifier"))
    assert repr(est.encoders_["age"]) == "LinearEncoder(output_dim=3)"
    assert len(est.module_.encoders[0].orders) == 2


# -- models that have not learned --------------------------------------------------------------

TRAINED = [cls for cls in ALL_ESTIMATORS if "max_epochs" in cls().get_params()]


@pytest.mark.parametrize("cls", TRAINED, ids=lambda cls: cls.__name__)
def test_warning_of_an_unlearned_model_speaks_of_what_it_explains(cls):
    # On few rows an untrained model is lucky now and then.
    rng = np.random.default_rng(9)
    many = {name: rng.normal(size=(8 * N, *values.shape[1:])) for name, values in X.items()}
    noise = rng.normal(size=8 * N)
    one = {"modality": "audio"} if "modality" in cls().get_params() else {}
    est = small(cls, lr=1e-9, **one)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est.fit(many, noise > 0 if is_classifier(est) else noise)
    assert est.validation_gain_ < 0.05
    found = [str(w.message) for w in caught if issubclass(w.category, RelevanceWarning)]
    said = [name for name in ("relevance", "contributions", "importances") if name in str(found)]
    expected = {
        "relevance": hasattr(est, "relevance_scores_"),
        "contributions": hasattr(est, "contributions") and not hasattr(est, "relevance_scores_"),
        "importances": hasattr(est, "order_importances_"),
    }
    assert said == [name for name, is_there in expected.items() if is_there]
    assert len(found) == bool(said)
