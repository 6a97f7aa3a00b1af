"""Tests of MNL: targets, special cases with known solutions, weights and numbers."""

import numpy as np
import pytest
import torch
from mnl_data import BINARY, CASES, LABELS, NUMBERS, PAIR, THREE, N, X, params
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, QuantileRegressor, Ridge

from sklearn_mmfusion import (
    IdentityEncoder,
    InputError,
    LinearEncoder,
    MNLClassifier,
    MNLRegressor,
    RelevanceWarning,
)

# Few epochs and rows: only the tests of the warnings look at whether the model has learned.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]


def exact(**changes):
    """Features as they are, so that the polish is all there is to train."""
    return params(encoders=IdentityEncoder(), max_epochs=2, **changes) | {
        "early_stopping": False,
        "polish": True,
    }


def normalised(x):
    """Standardised features of unit mean squared norm, as VBN makes them."""
    z = (x - x.mean(0)) / x.std(0)
    return z / np.sqrt((z**2).sum(1).mean() + 1e-5)


def predictions(est, x):
    return est.decision_function(x) if hasattr(est, "decision_function") else est.predict(x)


@pytest.fixture(scope="module")
def fits():
    """Fits with the parameters above by the kind of target, which no test changes."""
    return {kind: cls(**params()).fit(X, y) for kind, (cls, y) in CASES.items()}


# -- targets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CASES)
def test_every_kind_of_target_is_learned_and_keeps_its_shape(kind, fits):
    est, y = fits[kind], CASES[kind][1]
    assert est.predict(X).shape == y.shape
    assert est.predict(X).dtype.kind == y.dtype.kind
    n_outputs = {"binary": 1, "multiclass": 3, "multilabel": 2, "regression": 1}.get(kind, 2)
    assert est.intercept_.shape == (n_outputs,)
    assert est.contribution_std_.shape == (3, n_outputs)
    assert est.score(X, y) > (0.5 if kind == "multilabel" else 0.65)


@pytest.mark.parametrize("kind", CASES)
def test_contributions_and_intercept_add_up_to_the_output(kind, fits):
    est = fits[kind]
    parts = est.contributions(X)
    assert parts.shape == (N, 3, len(est.intercept_))
    total = parts.sum(1) + est.intercept_
    np.testing.assert_allclose(total.squeeze(), predictions(est, X), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", CASES)
def test_contribution_std_is_that_of_the_contributions(kind):
    cls, y = CASES[kind]
    est = cls(**params(early_stopping=False)).fit(X, y)
    np.testing.assert_allclose(est.contribution_std_, est.contributions(X).std(0), rtol=1e-9)
    np.testing.assert_allclose(est.contributions(X).mean(0), 0, atol=1e-9)


@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize("kind", CASES)
def test_relevance_is_that_of_the_smallest_weights_with_the_same_contributions(kind, p):
    cls, y = CASES[kind]
    est = cls(**params(early_stopping=False, p=p)).fit(X, y)
    parts = est.contributions(X)
    if kind == "multiclass":
        parts = parts - parts.mean(2, keepdims=True)
    elif cls is MNLRegressor:
        parts = parts / y.reshape(N, -1).std(0)
    centred = parts - parts.mean(0)
    norms = np.array(
        [np.linalg.svd(centred[:, t], compute_uv=False).sum() / np.sqrt(N) for t in range(3)]
    )
    expected = norms ** (2 / (p + 1)) / (norms ** (2 * p / (p + 1))).sum() ** (1 / p)
    np.testing.assert_allclose(list(est.relevance_scores_.values()), expected, atol=1e-7)
    # Weights that features ask for, which hold what no output takes from them, are larger.
    assert norms.sum() <= est.fusion_norm_ * (1 + 1e-9)


def test_relevance_does_not_grow_with_the_width_of_an_encoding():
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 500, 1))
    x = {"narrow": one, "wide": np.hstack([two, rng.normal(size=(500, 30))])}
    est = MNLRegressor(encoders=IdentityEncoder(), reg=0.001, random_state=0)
    est.fit(x, one[:, 0] + two[:, 0])
    assert est.relevance_scores_["wide"] == pytest.approx(0.5, abs=0.03)


def test_relevance_of_a_stream_is_that_of_the_weights_as_they_are():
    est = MNLRegressor(encoders=LinearEncoder(), random_state=0)
    for start in range(0, N, 20):
        est.partial_fit({m: v[start : start + 20] for m, v in X.items()}, NUMBERS[start:][:20])
    norms = est.module_.fusion.norms().numpy()
    found = dict(zip(sorted(X), norms / norms.sum(), strict=True))
    assert est.relevance_scores_ == pytest.approx(found)


def test_probabilities_are_those_of_the_links(fits):
    binary, three, labels = fits["binary"], fits["multiclass"], fits["multilabel"]
    logit = binary.decision_function(X)
    np.testing.assert_allclose(binary.predict_proba(X)[:, 1], 1 / (1 + np.exp(-logit)))
    np.testing.assert_array_equal(binary.predict(X) == "yes", logit > 0)
    odds = np.exp(three.decision_function(X))
    np.testing.assert_allclose(three.predict_proba(X), odds / odds.sum(1, keepdims=True))
    assert list(three.classes_) == ["low", "mid", "top"]
    np.testing.assert_array_equal(labels.predict(X), labels.predict_proba(X) > 0.5)


def test_labels_may_be_numbers_or_booleans():
    for y in (BINARY == "yes", np.where(BINARY == "yes", 7, -2)):
        est = MNLClassifier(**params(max_epochs=3)).fit(X, y)
        assert set(est.predict(X)) <= set(y)
        assert est.predict(X).dtype == y.dtype


def test_one_row_is_predicted_as_among_others():
    est = MNLClassifier(**params()).fit(X, THREE)
    proba = est.predict_proba(X)
    for i in range(3):
        alone = est.predict_proba({name: values[i : i + 1] for name, values in X.items()})
        np.testing.assert_allclose(alone[0], proba[i], rtol=1e-10)


# -- special cases with known solutions -------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2, np.inf])
def test_one_modality_equals_logistic_regression(p):
    x, reg = X["text"], 0.01
    for y in (BINARY, THREE):
        est = MNLClassifier(**exact(p=p) | {"reg": reg}).fit({"text": x}, y)
        reference = LogisticRegression(C=1 / (2 * N * reg), tol=1e-10, max_iter=5000)
        reference.fit(normalised(x), y)
        expected = reference.decision_function(normalised(x))
        found = est.decision_function({"text": x})
        # softmax outputs are free up to a common shift
        centre = (lambda v: v) if y is BINARY else (lambda v: v - v.mean(1, keepdims=True))
        np.testing.assert_allclose(centre(found), centre(expected), atol=1e-4)
        assert est.polish_gap_ <= 1e-6


@pytest.mark.parametrize("p", [1, 2, np.inf])
def test_one_modality_equals_ridge(p):
    x, reg = X["audio"], 0.01
    est = MNLRegressor(**exact(p=p) | {"reg": reg}).fit({"audio": x}, PAIR)
    target = (PAIR - PAIR.mean(0)) / PAIR.std(0)
    ridge = Ridge(alpha=N * reg).fit(normalised(x), target)
    expected = ridge.predict(normalised(x)) * PAIR.std(0) + PAIR.mean(0)
    np.testing.assert_allclose(est.predict({"audio": x}), expected, atol=1e-3)


def test_infinite_p_equals_ridge_and_logistic_regression_on_all_features():
    z = np.hstack([normalised(X[name]) for name in X])
    target = (NUMBERS - NUMBERS.mean()) / NUMBERS.std()
    est = MNLRegressor(**exact(p=np.inf) | {"reg": 0.02}).fit(X, NUMBERS)
    expected = Ridge(alpha=N * 0.02).fit(z, target).predict(z) * NUMBERS.std() + NUMBERS.mean()
    np.testing.assert_allclose(est.predict(X), expected, atol=1e-3)
    assert est.relevance_scores_ == {"text": 1, "audio": 1, "noise": 1}
    classifier = MNLClassifier(**exact(p=np.inf) | {"reg": 0.02}).fit(X, BINARY)
    reference = LogisticRegression(C=1 / (2 * N * 0.02), tol=1e-10).fit(z, BINARY)
    np.testing.assert_allclose(
        classifier.decision_function(X), reference.decision_function(z), atol=1e-4
    )


def test_absolute_error_is_median_regression():
    est = MNLRegressor(**exact(loss="absolute_error") | {"reg": 1e-6}).fit(X, NUMBERS)
    z = np.hstack([normalised(X[name]) for name in X])
    reference = QuantileRegressor(quantile=0.5, alpha=0.0).fit(z, NUMBERS)
    best = np.abs(NUMBERS - reference.predict(z)).mean()
    assert np.abs(NUMBERS - est.predict(X)).mean() == pytest.approx(best, rel=5e-3)


def test_enormous_penalty_predicts_the_prior():
    # No rows are held out in the end: the prior is that of all of them.
    enormous = params(reg=1e30, polish=True, early_stopping=False)
    est = MNLClassifier(**enormous).fit(X, THREE)
    _, counts = np.unique(THREE, return_counts=True)
    np.testing.assert_allclose(est.predict_proba(X), np.tile(counts / N, (N, 1)), atol=1e-6)
    assert est.fusion_norm_ < 1e-6
    assert np.isfinite(list(est.relevance_scores_.values())).all()
    number = MNLRegressor(**enormous).fit(X, NUMBERS)
    np.testing.assert_allclose(number.predict(X), NUMBERS.mean(), rtol=1e-6)


def test_relevance_finds_the_informative_modalities():
    for cls, y in (CASES["multiclass"], CASES["regression"]):
        est = cls(**params(reg=0.03, polish=True)).fit(X, y)
        scores = est.relevance_scores_
        assert list(scores) == est.term_names_ == ["text", "audio", "noise"]
        assert sum(scores.values()) == pytest.approx(1, abs=1e-9)
        assert min(scores["text"], scores["audio"]) > 0.3
        assert scores["noise"] < 0.1


# -- weights ----------------------------------------------------------------------------------


def test_balanced_class_weight_equals_the_sample_weight_it_stands_for():
    counts = {c: np.count_nonzero(c == THREE) for c in np.unique(THREE)}
    weight = np.array([N / (3 * counts[c]) for c in THREE])
    balanced = MNLClassifier(**params(class_weight="balanced")).fit(X, THREE)
    by_hand = MNLClassifier(**params()).fit(X, THREE, sample_weight=weight)
    by_dict = MNLClassifier(**params(class_weight={c: N / (3 * k) for c, k in counts.items()}))
    expected = by_hand.decision_function(X)
    np.testing.assert_allclose(balanced.decision_function(X), expected, rtol=1e-6, atol=1e-8)
    by_dict.fit(X, THREE)
    np.testing.assert_allclose(by_dict.decision_function(X), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("factors", "text"),
    [
        ({"low": -1}, r"got \{'low': -1.0\}"),
        ({"low": np.nan, "mid": np.inf}, r"got \{'low': nan, 'mid': inf\}"),
        ({"low": 0, "mid": 0, "top": 0}, "0 for all classes"),
    ],
)
def test_class_weights_that_are_no_weights_are_refused(factors, text):
    with pytest.raises(InputError, match=f"class_weight: expected .*{text}"):
        MNLClassifier(**params(class_weight=factors)).fit(X, THREE)
    est = MNLClassifier(**params(class_weight={"low": 0}, max_epochs=2)).fit(X, THREE)
    assert np.isfinite(est.decision_function(X)).all()


def test_class_weight_is_refused_for_labels():
    with pytest.raises(InputError, match="multilabel"):
        MNLClassifier(**params(class_weight="balanced")).fit(X, LABELS)


@pytest.mark.parametrize("kind", ["multiclass", "multi-output"])
def test_rows_of_weight_zero_count_as_if_they_were_not_there(kind):
    cls, y = CASES[kind]
    weight = (np.arange(N) % 3 > 0).astype(float)
    kept = weight > 0
    weighted = cls(**params()).fit(X, y, sample_weight=weight)
    few = {name: values[kept] for name, values in X.items()}
    alone = cls(**params()).fit(few, y[kept], sample_weight=weight[kept])
    np.testing.assert_array_equal(predictions(weighted, X), predictions(alone, X))


# -- warnings ---------------------------------------------------------------------------------


def test_fit_on_noise_warns_that_relevance_means_nothing():
    y = np.random.default_rng(5).integers(0, 2, size=N)
    with pytest.warns(RelevanceWarning, match="not shown to predict .* than a constant"):
        est = MNLClassifier(**params(early_stopping=False)).fit(X, y)
    assert est.validation_gain_ < 0.1


@pytest.mark.filterwarnings("error::sklearn_mmfusion._errors.RelevanceWarning")
def test_fit_that_learns_does_not_warn_and_reports_its_gain():
    est = MNLRegressor(**params()).fit(X, NUMBERS)
    assert 0.5 < est.validation_gain_ <= 1


def test_too_few_epochs_warn():
    with pytest.warns(ConvergenceWarning, match="max_epochs=2"):
        MNLRegressor(**params(max_epochs=2)).fit(X, NUMBERS)


# -- device and dtype -------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda_is_refused():
    with pytest.raises(InputError, match="cuda.*not available"):
        MNLClassifier(**params(device="cuda")).fit(X, BINARY)


def test_unknown_device_is_refused():
    with pytest.raises(InputError, match="'gpuu' is not a torch device"):
        MNLClassifier(**params(device="gpuu")).fit(X, BINARY)


def test_float32_and_float64_fits_agree():
    proba = {}
    for dtype in ("float32", "float64"):
        est = MNLClassifier(**params(dtype=dtype, early_stopping=False, polish=True)).fit(X, THREE)
        proba[dtype] = est.predict_proba(X)
        assert proba[dtype].dtype == np.float64
    np.testing.assert_allclose(proba["float32"], proba["float64"], atol=1e-3)


# -- numbers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_units():
    """A polished fit in the units of X, which no test changes."""
    # Without early stopping the rows of the inner split must not depend on the units either.
    return MNLClassifier(**params(max_epochs=10, early_stopping=False, polish=True)).fit(X, THREE)


@pytest.mark.parametrize("factor", [1e-300, 1e-30, 1e30, 1e300])
def test_units_of_a_modality_do_not_matter(factor, in_units):
    scaled = {**X, "text": X["text"] * factor}
    est = clone(in_units).fit(scaled, THREE)
    np.testing.assert_allclose(est.predict_proba(scaled), in_units.predict_proba(X), atol=1e-6)
    for name, score in in_units.relevance_scores_.items():
        assert est.relevance_scores_[name] == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_units_of_the_target_do_not_matter(factor):
    expected = MNLRegressor(**params(max_epochs=10, polish=True)).fit(X, NUMBERS)
    est = MNLRegressor(**params(max_epochs=10, polish=True)).fit(X, NUMBERS * factor)
    np.testing.assert_allclose(est.predict(X) / factor, expected.predict(X), rtol=1e-6)
    assert est.relevance_scores_ == pytest.approx(expected.relevance_scores_, abs=1e-6)


@pytest.mark.parametrize("constant", [0.0, 1.0, 1e30])
def test_constant_features_are_finite_and_harmless(constant):
    x = {**X, "noise": np.full((N, 2), constant)}
    est = MNLRegressor(**params()).fit(x, NUMBERS)
    assert est.relevance_scores_["noise"] < 0.01
    assert est.score(x, NUMBERS) > 0.65
    np.testing.assert_allclose(est.contributions(x)[:, 2], 0, atol=1e-9 * NUMBERS.std())


def test_duplicated_modality_shares_the_relevance_of_the_single_one():
    single = {"text": X["text"], "audio": X["audio"]}
    double = {**single, "copy": X["text"]}
    one = MNLRegressor(**exact() | {"reg": 0.01}).fit(single, NUMBERS).relevance_scores_
    two = MNLRegressor(**exact() | {"reg": 0.01}).fit(double, NUMBERS).relevance_scores_
    assert two["text"] + two["copy"] == pytest.approx(one["text"], abs=1e-2)


@pytest.mark.parametrize("n, d", [(2, 1), (2, 5), (4, 20)])
def test_tiny_data_are_finite(n, d):
    x = {f"m{m}": np.random.default_rng(m).normal(size=(n, d)) for m in range(12)}
    few = params(max_epochs=3, polish=False, early_stopping="auto")
    number = MNLRegressor(**few).fit(x, np.arange(n, dtype=float))
    assert np.isfinite(number.predict(x)).all()
    label = MNLClassifier(**few).fit(x, np.arange(n) % 2)
    assert np.isfinite(label.predict_proba(x)).all()


def test_constant_target_is_predicted():
    est = MNLRegressor(**params(max_epochs=3)).fit(X, np.full(N, 3.5))
    np.testing.assert_allclose(est.predict(X), 3.5)
