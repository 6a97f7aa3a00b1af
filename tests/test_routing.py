"""Tests of multimodal routing and its ablations: outputs, interpretation, missing modalities."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression

from sklearn_mmfusion import (
    GAMClassifier,
    InputError,
    InTenseClassifier,
    LinearEncoder,
    MLPEncoder,
    RelevanceWarning,
    RoutingClassifier,
)
from sklearn_mmfusion._routing import auto_width

# Few epochs and rows: only some tests look at whether the model has learned.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 150
RNG = np.random.default_rng(0)
X = {name: RNG.normal(size=(N, d)) for name, d in [("text", 3), ("audio", 2), ("video", 2)]}
SIGNAL = X["text"][:, 0] + X["audio"][:, 0]
CASES = {
    "binary": np.where(SIGNAL > 0, "positive", "negative"),
    "multiclass": np.digitize(SIGNAL, [-0.7, 0.7]),
    "multilabel": np.column_stack([X["text"][:, 0] > 0, X["audio"][:, 0] > 0, SIGNAL > 0]) * 1,
}
SEEN = np.arange(900) < 600  # rows to train on where there are many classes
ESTIMATORS = [RoutingClassifier, GAMClassifier]
TERMS = ["text", "audio", "video", "text x audio", "text x video", "audio x video"]


def params(**changes):
    return {
        "encoders": LinearEncoder(),
        "feature_dim": 8,
        "dropout": 0.2,
        "max_epochs": 8,
        "lr": 0.02,
        "early_stopping": True,  # one fit, with held-out rows
        "random_state": 0,
    } | changes


def concepts(kind):
    return 2 if kind == "binary" else 3


# -- outputs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("kind", CASES)
def test_contributions_and_intercept_add_up_to_the_decision_function(cls, kind):
    y = CASES[kind]
    est = cls(**params(interactions="all", max_epochs=5)).fit(X, y)
    parts = est.contributions(X)
    assert parts.shape == (N, 7, len(est.intercept_))
    total = (parts.sum(1) + est.intercept_).squeeze()
    assert np.abs(total - est.decision_function(X)).max() < 1e-10
    assert est.predict(X).shape == y.shape
    assert est.predict_proba(X).shape == (N, concepts(kind))
    assert est.contribution_std_.shape == parts.shape[1:]
    np.testing.assert_allclose(parts.std(0) > 0, est.contribution_std_ > 0)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_it_learns_and_finds_the_terms_that_speak(kind):
    y = CASES[kind]
    settings = params(interactions=1, max_epochs=40, lr=0.05, feature_dim=16)
    fits = [RoutingClassifier(**settings | {"random_state": i}).fit(X, y) for i in range(3)]
    assert np.mean([(est.predict(X) == y).mean() for est in fits]) > 0.88
    assert min(est.validation_gain_ for est in fits) > 0.3
    shares = {t: np.mean([est.contribution_shares_[t] for est in fits]) for t in X}
    assert 1.5 * shares["video"] < min(shares["text"], shares["audio"])


def test_binary_output_is_concept_one_minus_concept_zero():
    est = RoutingClassifier(**params()).fit(X, CASES["binary"])
    fusion = est.module_.fusion
    assert fusion.n_concepts == 2 and est.intercept_.shape == (1,)
    assert est.routing_coefficients_.shape == (len(TERMS), 2)
    assert est.decision_function(X).shape == (N,)
    positive = est.decision_function(X) > 0
    assert (est.predict(X)[positive] == "positive").all()
    assert (est.predict(X)[~positive] == "negative").all()


def test_zero_iterations_are_uniform_routing():
    est = RoutingClassifier(**params(n_routing_iter=0)).fit(X, CASES["multiclass"])
    assert (est.routing_coefficients(X) == 1 / 3).all()
    np.testing.assert_allclose(est.routing_intervals_, 1 / 3, rtol=1e-12)
    adjusted = RoutingClassifier(**params(n_routing_iter=2)).fit(X, CASES["multiclass"])
    assert adjusted.routing_coefficients(X).std(0).min() > 1e-4


def test_parameters_reach_the_module():
    est = RoutingClassifier(
        **params(n_routing_iter=3, concept_dim=5, routing_scale=1.0, dropout=0.3, max_epochs=1)
    ).fit(X, CASES["binary"])
    fusion = est.module_.fusion
    assert (fusion.n_routing_iter, fusion.concept_dim, fusion.scale) == (3, 5, 1.0)
    assert fusion.dropout.p == est.module_.features.dropout.p == 0.3
    assert fusion.weight.shape == (6, 8, 10)
    default = clone(est).set_params(routing_scale=None).fit(X, CASES["binary"])
    assert default.module_.fusion.scale == pytest.approx(5**-0.5)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_order_of_modalities_changes_names_and_nothing_else(cls):
    y = CASES["multiclass"]
    one = cls(**params(max_epochs=4)).fit(X, y)
    other = cls(**params(max_epochs=4)).fit({name: X[name] for name in reversed(X)}, y)
    assert one.term_names_ == TERMS
    assert other.term_names_[:3] == ["video", "audio", "text"]
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    same = {frozenset(term): i for i, term in enumerate(other.term_modalities_)}
    index = [same[frozenset(term)] for term in one.term_modalities_]
    np.testing.assert_array_equal(one.activations_, other.activations_[index])
    np.testing.assert_array_equal(one.activations(X), other.activations(X)[:, index])


def test_same_seed_gives_the_same_bits_and_another_seed_other_ones():
    y = CASES["binary"]
    settings = params(encoders=MLPEncoder(dropout=0.5), dropout=0.5, max_epochs=3)
    one, two = (RoutingClassifier(**settings).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.decision_function(X), two.decision_function(X))
    other = RoutingClassifier(**{**settings, "random_state": 1}).fit(X, y)
    assert (one.decision_function(X) != other.decision_function(X)).any()


# -- interpretation ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_fitted_summaries_are_those_of_the_training_rows(kind):
    est = RoutingClassifier(**params(early_stopping=False)).fit(X, CASES[kind])
    r, p = est.routing_coefficients(X), est.activations(X)
    j = concepts(kind)
    assert r.shape == (N, 6, j) and p.shape == (N, 6)
    np.testing.assert_allclose(r.sum(2), 1, rtol=1e-12)
    assert ((p > 0) & (p < 1)).all()

    def check(values, mean, interval):
        np.testing.assert_allclose(mean, values.mean(0), rtol=1e-10)
        half = 1.959963984540054 * values.std(0, ddof=1) / np.sqrt(N)
        expected = np.stack([values.mean(0) - half, values.mean(0) + half], -1)
        np.testing.assert_allclose(interval, expected, rtol=1e-9)

    check(r, est.routing_coefficients_, est.routing_intervals_)
    check(p, est.activations_, est.activation_intervals_)
    routed = p[..., None] * r
    check(routed, est.routed_activations_, est.routed_activation_intervals_)

    logits = est.decision_function(X).reshape(N, -1)
    if kind == "binary":
        chosen = np.eye(2)[(logits[:, 0] > 0).astype(int)]
    elif kind == "multiclass":
        chosen = np.eye(3)[logits.argmax(1)]
    else:
        chosen = np.where((logits > 0).any(1)[:, None], logits > 0, np.eye(3)[logits.argmax(1)])
        chosen = chosen / chosen.sum(1, keepdims=True)
    relevance = np.einsum("ntj,nj->t", routed, chosen)
    expected = dict(zip(TERMS, relevance / relevance.sum(), strict=True))
    assert est.relevance_scores_ == pytest.approx(expected)
    sizes = np.abs(est.contributions(X)).sum((0, 2))
    assert est.contribution_shares_ == pytest.approx(
        dict(zip(TERMS, sizes / sizes.sum(), strict=True))
    )


def test_sample_weights_count_in_the_summaries():
    y, weight = CASES["binary"], np.arange(N) % 3
    est = RoutingClassifier(**params(early_stopping=False)).fit(X, y, sample_weight=weight)
    r = est.routing_coefficients(X)
    np.testing.assert_allclose(
        est.routing_coefficients_, np.average(r, axis=0, weights=weight), rtol=1e-10
    )


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_global_explanation_is_that_of_the_training_set_or_of_any_rows(cls):
    est = cls(**params(early_stopping=False)).fit(X, CASES["multiclass"])
    trained, given = est.explain_global(), est.explain_global(X)
    for name, value in trained.data.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(given.data[name], value, rtol=1e-9, err_msg=name)
        else:
            assert given.data[name] == value
    assert trained.data["n_samples"] == N
    np.testing.assert_array_equal(trained.data["activations"], est.activations_)
    half = {name: values[:40] for name, values in X.items()}
    some = est.explain_global(half)
    assert some.data["n_samples"] == 40
    np.testing.assert_allclose(some.data["activations"], est.activations(half).mean(0))
    if cls is RoutingClassifier:
        assert trained.data["uniform"] == pytest.approx(1 / 3)
        np.testing.assert_allclose(
            some.data["routing_coefficients"], est.routing_coefficients(half).mean(0)
        )
    else:
        assert trained.data["routing_coefficients"] is None


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_local_explanation_holds_what_the_methods_return(cls, kind):
    y = CASES[kind]
    est = cls(**params(max_epochs=5)).fit(X, y)
    rows = {name: values[5:9] for name, values in X.items()}
    data = est.explain_local(rows, y[5:9]).data
    np.testing.assert_allclose(data["contributions"], est.contributions(rows), rtol=1e-12)
    np.testing.assert_allclose(data["activations"], est.activations(rows), rtol=1e-12)
    np.testing.assert_allclose(data["decision"].squeeze(), est.decision_function(rows))
    np.testing.assert_allclose(data["probabilities"], est.predict_proba(rows))
    np.testing.assert_array_equal(data["predicted"], est.predict(rows))
    np.testing.assert_array_equal(data["y"], y[5:9])
    total = data["contributions"].sum(1) + data["intercept"]
    np.testing.assert_allclose(total, data["decision"], rtol=0, atol=1e-10)
    if cls is RoutingClassifier:
        r = est.routing_coefficients(rows)
        np.testing.assert_allclose(data["routing_coefficients"], r, rtol=1e-12)
        routed = data["activations"][..., None] * r
        np.testing.assert_allclose(data["routed_activations"], routed, rtol=1e-12)
    else:
        assert data["routing_coefficients"] is None


def test_local_explanation_refuses_labels_of_other_rows():
    est = RoutingClassifier(**params(max_epochs=2)).fit(X, CASES["binary"])
    with pytest.raises(InputError, match="expected 150 labels, one per row of X, got 3"):
        est.explain_local(X, CASES["binary"][:3])


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_nothing_is_explained_before_fit(cls):
    est = cls()
    for call in (est.activations, est.contributions, est.explain_global, est.explain_local):
        with pytest.raises(NotFittedError):
            call(X)
    with pytest.raises(NotFittedError):
        RoutingClassifier().routing_coefficients(X)


def test_chunks_change_nothing(monkeypatch):
    est = RoutingClassifier(**params(max_epochs=3)).fit(X, CASES["multiclass"])
    whole = est.explain_local(X).data
    monkeypatch.setattr("sklearn_mmfusion._fitted._PREDICT_VALUES", 1)
    parts = est.explain_local(X).data
    for name in ("routing_coefficients", "activations", "contributions"):
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-10, atol=1e-12)


# -- missing modalities, other ways to train --------------------------------------------------


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_terms_of_a_missing_modality_contribute_exactly_zero(cls):
    partial = {name: values.copy() for name, values in X.items()}
    gone = np.arange(N) % 4 == 1
    partial["audio"][gone] = np.nan
    est = cls(**params(missing="mask", max_epochs=8, early_stopping=False)).fit(
        partial, CASES["binary"]
    )
    holds = np.array(["audio" in term for term in est.term_modalities_])
    parts, p = est.contributions(partial), est.activations(partial)
    assert (parts[gone][:, holds] == 0).all() and (p[gone][:, holds] == 0).all()
    assert (parts[~gone] != 0).all() and (p[~gone] > 0).all()
    # The means are over the rows that have the term.
    np.testing.assert_allclose(est.activations_[holds], p[~gone][:, holds].mean(0), rtol=1e-10)
    if cls is RoutingClassifier:
        assert np.abs(est.routing_coefficients(partial)[gone][:, holds] - 0.5).max() < 1e-15
    elsewhere = {name: values[~gone] for name, values in partial.items()}
    np.testing.assert_allclose(est.contributions(elsewhere), parts[~gone], rtol=1e-10)


@pytest.mark.parametrize(
    ("n", "expected"), [(1, 16), (1100, 16), (1132, 32), (2262, 32), (2263, 64), (10**6, 64)]
)
def test_width_follows_the_rows(n, expected):
    assert auto_width(n) == expected


@pytest.mark.parametrize(
    ("n_outputs", "expected"), [(1, 16), (16, 16), (17, 32), (32, 32), (33, 64), (500, 64)]
)
def test_features_are_no_fewer_than_classes_up_to_the_width_of_the_paper(n_outputs, expected):
    assert auto_width(200, n_outputs) == expected
    assert auto_width(10**6, n_outputs) == 64


@pytest.mark.slow
def test_many_classes_are_learned_and_explained():
    rng = np.random.default_rng(1)
    centres = 2 * rng.normal(size=(30, 16))
    y = np.arange(900) % 30
    values = centres[y] + rng.normal(size=(900, 16))
    rows = {"text": values[:, :8], "audio": values[:, 8:]}
    train, test = ({name: part[i] for name, part in rows.items()} for i in (SEEN, ~SEEN))
    reference = LogisticRegression().fit(values[SEEN], y[SEEN]).score(values[~SEEN], y[~SEEN])
    est = RoutingClassifier(max_epochs=60, early_stopping=True, dtype="float32", random_state=0)
    est.fit(train, y[SEEN])
    fusion = est.module_.fusion
    assert (fusion.weight.shape[1], fusion.concept_dim) == (32, 16)
    assert reference > 0.98 and est.score(test, y[~SEEN]) > 0.9
    total = est.contributions(test).sum(1) + est.intercept_
    np.testing.assert_allclose(total, est.decision_function(test), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(est.routing_coefficients(test).sum(2), 1, rtol=1e-9)


def test_width_that_is_given_is_kept():
    for given, expected in (
        ({}, (16, 16)),
        ({"feature_dim": 3}, (3, 16)),
        ({"concept_dim": 5}, (16, 5)),
    ):
        settings = params(max_epochs=1) | {"feature_dim": "auto", "concept_dim": "auto"} | given
        est = RoutingClassifier(**settings).fit(X, CASES["binary"])
        fusion = est.module_.fusion
        assert (fusion.weight.shape[1], fusion.concept_dim) == expected


@pytest.mark.slow
def test_partial_fit_learns_and_keeps_the_classes():
    y = CASES["multiclass"]
    est = RoutingClassifier(**params(feature_dim=16, concept_dim=64, lr=0.05))
    for _ in range(50):
        est.partial_fit(X, y, classes=[0, 1, 2])
    assert est.n_iter_ == 50
    assert est.score(X, y) > 0.85
    assert est.routing_coefficients_.shape == (6, 3)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_pickles_and_warm_starts(cls):
    y = CASES["multiclass"]
    est = cls(**params(max_epochs=4, early_stopping=False)).fit(X, y)
    again = pickle.loads(pickle.dumps(est))  # noqa: S301 our own bytes
    np.testing.assert_array_equal(again.predict_proba(X), est.predict_proba(X))
    np.testing.assert_array_equal(again.explain_global().data["activations"], est.activations_)
    first = est.history_[0]["train_loss"]
    est.set_params(warm_start=True).fit(X, y)
    assert est.history_[0]["train_loss"] < first


def test_class_weights_move_the_decision():
    y = (SIGNAL > 1.2).astype(int)
    plain = RoutingClassifier(**params()).fit(X, y)
    balanced = RoutingClassifier(**params(class_weight="balanced")).fit(X, y)
    assert balanced.predict(X).sum() > plain.predict(X).sum()


def test_noise_warns():
    y = np.random.default_rng(5).integers(0, 2, N)
    with pytest.warns(RelevanceWarning, match="mean nothing"):
        RoutingClassifier(**params(early_stopping=False)).fit(X, y)


# -- terms and parameters ---------------------------------------------------------------------


def test_interactions_are_those_of_intense():
    y = CASES["binary"]
    given = [("video", "text")]
    routing = RoutingClassifier(**params(max_epochs=1, interactions=given)).fit(X, y)
    intense = InTenseClassifier(
        encoders=LinearEncoder(), max_epochs=1, interactions=given, random_state=0
    ).fit(X, y)
    assert routing.term_names_ == intense.term_names_ == ["text", "audio", "video", "text x video"]
    with pytest.raises(InputError, match="more than the 3 modalities"):
        RoutingClassifier(interactions=4, random_state=0).fit(X, y)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_routing_iter", -1),
        ("feature_dim", 0),
        ("concept_dim", 0),
        ("dropout", 1.0),
        ("routing_scale", -1.0),
    ],
)
def test_bad_parameters_are_named(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        RoutingClassifier(**{name: value, "random_state": 0}).fit(X, CASES["binary"])


def test_many_concepts_and_one_modality():
    y = np.arange(N) % 7
    est = RoutingClassifier(**params(max_epochs=2)).fit({"text": X["text"]}, y)
    assert est.routing_coefficients({"text": X["text"]}).shape == (N, 1, 7)
    assert est.term_names_ == ["text"]


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_single_label_in_a_column_has_two_concepts_as_a_vector_has(cls):
    column = (SIGNAL > 0).astype(int)[:, None]
    with pytest.warns(DataConversionWarning, match="column-vector"):
        est = cls(max_epochs=3, random_state=0).fit(X, column)
    vector = cls(max_epochs=3, random_state=0).fit(X, column[:, 0])
    np.testing.assert_array_equal(est.decision_function(X), vector.decision_function(X))
    assert est.decision_function(X).shape == (N,)
    assert est.predict_proba(X).shape == (N, 2)
    if cls is RoutingClassifier:
        coefficients = est.routing_coefficients(X)
        assert coefficients.shape == (N, len(TERMS), 2)
        np.testing.assert_allclose(coefficients.sum(2), 1, rtol=1e-9)
    total = est.contributions(X).sum(1)[:, 0] + est.intercept_[0]
    np.testing.assert_allclose(total, est.decision_function(X), rtol=1e-9, atol=1e-10)
