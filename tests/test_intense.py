"""Tests of InTense: interactions, their names and scores, missing modalities."""

import pickle

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from sklearn_mmfusion import (
    IdentityEncoder,
    InputError,
    InTenseClassifier,
    InTenseRegressor,
    LinearEncoder,
    MNLRegressor,
    RelevanceWarning,
)

# Few epochs and rows: only the tests of the warnings look at whether the model has learned.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 150
RNG = np.random.default_rng(0)
X = {name: RNG.normal(size=(N, d)) for name, d in [("text", 3), ("audio", 2), ("video", 2)]}
PRODUCT = X["text"][:, 0] * X["audio"][:, 0]
NOISY = PRODUCT + 0.4 * RNG.normal(size=N)
CASES = {
    "binary": (InTenseClassifier, np.where(NOISY > 0, "same", "other")),
    "multiclass": (InTenseClassifier, np.digitize(NOISY, [-0.5, 0.5])),
    "multilabel": (
        InTenseClassifier,
        np.column_stack([NOISY > 0, X["video"][:, 0] + 0.5 * RNG.normal(size=N) > 0]).astype(int),
    ),
    "regression": (InTenseRegressor, 10 + NOISY),
    "multi-output": (InTenseRegressor, np.column_stack([10 + NOISY, X["video"][:, 0]])),
}
BINARY, NUMBERS = CASES["binary"][1], CASES["regression"][1]


def params(**changes):
    return {
        "encoders": LinearEncoder(),
        "latent_dim": 2,
        "reg": 0.01,
        "max_epochs": 40,
        "lr": 0.05,
        "early_stopping": True,  # one fit, with held-out rows
        "polish": False,  # which takes most of the time on few rows
        "random_state": 0,
    } | changes


def outputs(est, x):
    return est.decision_function(x) if hasattr(est, "decision_function") else est.predict(x)


# -- targets and contributions ----------------------------------------------------------------


@pytest.mark.parametrize("kind", CASES)
def test_contributions_and_intercept_add_up_to_the_output(kind):
    cls, y = CASES[kind]
    est = cls(**params(interactions="all", max_epochs=10)).fit(X, y)
    parts = est.contributions(X)
    assert parts.shape == (N, 7, len(est.intercept_))
    total = (parts.sum(1) + est.intercept_).squeeze()
    np.testing.assert_allclose(total, outputs(est, X), rtol=1e-10, atol=1e-10)
    assert est.predict(X).shape == y.shape
    assert est.contribution_std_.shape == parts.shape[1:]


@pytest.mark.parametrize("kind", CASES)
def test_relevance_finds_the_planted_pair(kind):
    cls, y = CASES[kind]
    est = cls(**params(polish=True)).fit(X, y)
    scores = dict(est.relevance_scores_)
    if y.ndim == 2:
        assert scores.pop("video") > 0.2
    assert max(scores, key=scores.get) == "text x audio"
    assert scores["text x audio"] > 3 * max(v for k, v in scores.items() if k != "text x audio")
    assert est.fusion_norm_ == pytest.approx(est.module_.fusion.norms().sum().item(), rel=1e-9)
    assert est.validation_gain_ > 0.1


def test_interaction_cannot_be_had_without_its_term():
    additive = MNLRegressor(encoders=LinearEncoder(), reg=0.01, max_epochs=40, random_state=0)
    assert additive.fit(X, NUMBERS).score(X, NUMBERS) < 0.3
    assert InTenseRegressor(**params()).fit(X, NUMBERS).score(X, NUMBERS) > 0.7


def test_interactions_of_order_one_are_mnl():
    intense = InTenseRegressor(**params(interactions=1, max_epochs=5)).fit(X, NUMBERS)
    settings = params(max_epochs=5)
    del settings["latent_dim"]
    mnl = MNLRegressor(**settings).fit(X, NUMBERS)
    np.testing.assert_allclose(intense.predict(X), mnl.predict(X), rtol=1e-10)
    assert intense.relevance_scores_ == pytest.approx(mnl.relevance_scores_)


def test_fit_on_noise_warns():
    y = np.random.default_rng(5).normal(size=N)
    with pytest.warns(RelevanceWarning, match="mean nothing"):
        InTenseRegressor(**params(max_epochs=10, early_stopping=False)).fit(X, y)


# -- terms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "interactions, expected",
    [
        (1, []),
        (2, ["text x audio", "text x video", "audio x video"]),
        (3, ["text x audio", "text x video", "audio x video", "text x audio x video"]),
        ("all", ["text x audio", "text x video", "audio x video", "text x audio x video"]),
        ([("audio", "text")], ["text x audio"]),
        ([("video", "audio", "text"), ("text", "video")], ["text x video", "text x audio x video"]),
    ],
)
def test_terms_are_named_in_the_order_of_the_modalities(interactions, expected):
    est = InTenseRegressor(**params(interactions=interactions, max_epochs=2))
    est.fit(X, NUMBERS)
    assert est.term_names_ == ["text", "audio", "video", *expected]
    assert est.term_modalities_ == [tuple(name.split(" x ")) for name in est.term_names_]
    assert list(est.relevance_scores_) == est.term_names_
    assert est.contributions(X).shape == (N, len(est.term_names_), 1)


def test_order_of_names_in_an_interaction_is_irrelevant():
    few = params(max_epochs=3)
    one = InTenseRegressor(**few | {"interactions": [("text", "audio")]}).fit(X, NUMBERS)
    two = InTenseRegressor(**few | {"interactions": [("audio", "text")]}).fit(X, NUMBERS)
    np.testing.assert_array_equal(one.predict(X), two.predict(X))


def test_order_of_modalities_in_the_mapping_is_irrelevant():
    few = params(interactions="all", max_epochs=5)
    turned = {name: X[name] for name in reversed(X)}
    est = InTenseClassifier(**few).fit(X, BINARY)
    other = InTenseClassifier(**few).fit(turned, BINARY)
    np.testing.assert_array_equal(other.predict_proba(turned), est.predict_proba(X))
    assert other.term_names_[-1] == "video x audio x text"
    by_set = [
        {frozenset(name.split(" x ")): score for name, score in fitted.relevance_scores_.items()}
        for fitted in (est, other)
    ]
    assert by_set[0] == pytest.approx(by_set[1], rel=1e-12)
    rows = [other.term_names_.index("audio x text"), est.term_names_.index("text x audio")]
    np.testing.assert_array_equal(
        other.contributions(turned)[:, rows[0]], est.contributions(X)[:, rows[1]]
    )


def test_too_large_terms_are_refused_before_memory_is_taken():
    est = InTenseRegressor(**params(interactions=3, latent_dim=1000))
    with pytest.raises(InputError, match="'text x audio x video' needs 1_000_000_000 features"):
        est.fit(X, NUMBERS)
    with pytest.raises(NotFittedError):
        est.predict(X)


@pytest.mark.parametrize(
    "interactions, message",
    [(4, "more than the 3 modalities"), ([("text", "tekst")], "tekst"), (0, "at least 1")],
)
def test_impossible_interactions_are_refused(interactions, message):
    with pytest.raises(InputError, match=message):
        InTenseRegressor(**params(interactions=interactions)).fit(X, NUMBERS)


def test_remove_terms_takes_names_in_either_order_and_tuples():
    est = InTenseRegressor(**params(interactions="all", max_epochs=10)).fit(X, NUMBERS)
    before = est.contributions(X)
    kept = [i for i, name in enumerate(est.term_names_) if "video" not in name]
    names = ["video", "video x text", ("video", "audio"), ("audio", "video", "text")]
    est.remove_terms(names)
    assert est.term_names_ == ["text", "audio", "text x audio"]
    np.testing.assert_allclose(est.contributions(X), before[:, kept], rtol=1e-12)
    np.testing.assert_allclose(est.predict(X), before[:, kept].sum((1, 2)) + est.intercept_[0])
    assert sum(est.relevance_scores_.values()) == pytest.approx(1)
    again = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(again.predict(X), est.predict(X))
    assert again.term_names_ == est.term_names_
    # A string is one term, not its letters.
    assert est.remove_terms("audio x text").term_names_ == ["text", "audio"]
    with pytest.raises(InputError, match="no such terms: 'audio x smell'; there are"):
        est.remove_terms("audio x smell")


# -- missing modalities -----------------------------------------------------------------------


def with_missing():
    x = {name: values.copy() for name, values in X.items()}
    x["text"][:10] = np.nan
    x["video"][5:25] = np.nan
    return x


@pytest.mark.parametrize("modality_dropout", [0.0, 0.3])
def test_missing_modalities_contribute_exactly_zero(modality_dropout):
    x = with_missing()
    est = InTenseRegressor(
        **params(interactions="all", missing="mask", modality_dropout=modality_dropout)
    )
    parts = est.fit(x, NUMBERS).contributions(x)
    gone = {"text": np.arange(N) < 10, "video": (np.arange(N) >= 5) & (np.arange(N) < 25)}
    for i, term in enumerate(est.term_modalities_):
        absent = np.any([gone.get(name, np.zeros(N, bool)) for name in term], axis=0)
        assert (parts[absent, i] == 0).all()
    total = parts.sum((1, 2)) + est.intercept_[0]
    np.testing.assert_allclose(est.predict(x), total, rtol=1e-10)
    assert max(est.relevance_scores_, key=est.relevance_scores_.get) == "text x audio"


def test_missing_is_refused_unless_asked_for():
    with pytest.raises(InputError, match="missing='mask'"):
        InTenseRegressor(**params()).fit(with_missing(), NUMBERS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
def test_missing_modalities_of_either_precision_train_in_either(dtype, weighted):
    x = {name: values.astype("float32") for name, values in with_missing().items()}
    weight = np.linspace(0.5, 1.5, N) if weighted else None
    few = params(missing="mask", modality_dropout=0.2, dtype=dtype, max_epochs=5)
    est = InTenseRegressor(**few).fit(x, NUMBERS, sample_weight=weight)
    assert np.isfinite(est.predict(x)).all()
    assert (est.contributions(x)[:10, est.term_names_.index("text x audio")] == 0).all()


def test_mask_without_missing_rows_changes_nothing():
    few = params(max_epochs=5)
    plain = InTenseRegressor(**few).fit(X, NUMBERS)
    masked = InTenseRegressor(**few | {"missing": "mask"}).fit(X, NUMBERS)
    np.testing.assert_array_equal(masked.predict(X), plain.predict(X))


def test_row_without_any_modality_is_predicted_by_the_intercept():
    est = InTenseRegressor(**params(missing="mask", max_epochs=5)).fit(with_missing(), NUMBERS)
    nothing = {name: np.full((1, values.shape[1]), np.nan) for name, values in X.items()}
    np.testing.assert_allclose(est.predict(nothing), est.intercept_)


# -- weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [pytest.param(False, marks=pytest.mark.slow), "auto"])
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_whole_weights_equal_repeated_rows(kind, early_stopping):
    cls, y = CASES[kind]
    x = {name: X[name][:40] for name in ("text", "audio")}
    counts = np.random.default_rng(1).integers(1, 4, size=40)
    rows = np.repeat(np.arange(40), counts)
    settings = params(early_stopping=early_stopping, max_epochs=15, lr=0.01, polish=True)
    weighted = cls(**settings).fit(x, y[:40], sample_weight=counts.astype(float))
    repeated = cls(**settings).fit({k: v[rows] for k, v in x.items()}, y[:40][rows])
    spread = np.std(outputs(weighted, x))
    np.testing.assert_allclose(outputs(weighted, x), outputs(repeated, x), atol=1e-6 * spread)
    scores = repeated.relevance_scores_
    assert weighted.relevance_scores_ == pytest.approx(scores, abs=1e-6)


# -- independence of fits ---------------------------------------------------------------------


def flags(n_values, seed=0, n=600):
    """Return two modalities of one category each, and which of its values each row has."""
    first, second = np.random.default_rng(seed).integers(0, n_values, (2, n))
    return {"a": np.eye(n_values)[first], "b": np.eye(n_values)[second]}, first, second


def test_categories_are_learned_though_few_rows_differ():
    x, first, second = flags(3)
    noise = np.random.default_rng(1).normal(size=600)
    y = (first == 0) + 1.0 * (second == 0) + noise > 0.7
    est = InTenseClassifier(encoders=LinearEncoder(), random_state=0).fit(x, y)
    rule = (first == 0) | (second == 0)  # the best that can be told of a row
    assert est.score(x, y) == pytest.approx(np.mean(rule == y), abs=0.01)
    assert est.validation_gain_ > 2.5 * est.validation_gain_error_ > 0
    assert est.relevance_scores_["a x b"] < 0.1


@pytest.mark.parametrize("weighted", [False, True])
def test_random_labels_of_flags_are_not_an_interaction(weighted):
    x, first, second = flags(2)
    y = np.random.default_rng(1).integers(0, 2, 600)
    weight = None
    if weighted:  # eight rows of weights that count repetitions
        _, rows, counts = np.unique(
            4 * first + 2 * second + y, return_index=True, return_counts=True
        )
        x, y, weight = {name: v[rows] for name, v in x.items()}, y[rows], counts.astype(float)
    est = InTenseClassifier(encoders=LinearEncoder(), random_state=0)
    with pytest.warns(RelevanceWarning, match="not shown to predict"):
        est.fit(x, y, sample_weight=weight)
    assert est.relevance_scores_["a x b"] == 0


def test_features_given_as_they_are_keep_their_own_axes():
    # Fixed features have no map before the unimodal norm: the additive part is a ridge there.
    est = InTenseRegressor(**params(encoders=IdentityEncoder(), max_epochs=3)).fit(X, NUMBERS)
    assert est.module_.features.block_sizes == [2, 3, 2, 4, 4, 4]  # audio, text, video, pairs


def test_prediction_in_chunks_equals_that_in_one(monkeypatch):
    est = InTenseRegressor(**params(max_epochs=3)).fit(X, NUMBERS)
    whole = est.predict(X)
    monkeypatch.setattr("sklearn_mmfusion._fitted._PREDICT_VALUES", 1)
    np.testing.assert_allclose(est.predict(X), whole, rtol=1e-12)


@pytest.mark.filterwarnings("error::sklearn_mmfusion._errors.RelevanceWarning")  # it has learned
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.slow
def test_product_alone_is_found_in_few_rows(seed):
    # Squares of a product have long tails: 40 held-out rows are unsure of what it gains.
    rng = np.random.default_rng(seed)
    X = {name: rng.normal(size=(200, 2)) for name in "abc"}
    y = X["a"][:, 0] * X["b"][:, 0] + 0.3 * rng.normal(size=200)
    est = InTenseRegressor(encoders=LinearEncoder(), random_state=0).fit(X, y)
    assert est.relevance_scores_["a x b"] > 0.7
