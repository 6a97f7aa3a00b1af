"""Tests of MNL: targets, special cases with known solutions, and what all estimators share."""

import copy
import pickle
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, QuantileRegressor, Ridge
from sklearn.model_selection import GridSearchCV
from torch import nn

from sklearn_mmfusion import (
    IdentityEncoder,
    InputError,
    LinearEncoder,
    MLPEncoder,
    MNLClassifier,
    MNLRegressor,
    ModalityFrame,
    ModuleEncoder,
    RelevanceWarning,
)

# Few epochs and rows: only the tests of the warnings look at whether the model has learned.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 90
RNG = np.random.default_rng(0)
X = {
    "text": RNG.normal(size=(N, 4)),
    "audio": 100 + 10 * RNG.normal(size=(N, 3)),
    "noise": RNG.normal(size=(N, 3)),
}
SIGNAL = X["text"][:, 0] + (X["audio"][:, 1] - 100) / 10
# With noise, so that no classes are separable and their weights are finite.
NOISY = SIGNAL + 0.5 * RNG.normal(size=N)
NUMBERS = 50 + 7 * NOISY
BINARY = np.where(NOISY > 0, "yes", "no")
THREE = np.array(["low", "mid", "top"])[np.digitize(NOISY, [-0.8, 0.8])]
LABELS = np.column_stack([NOISY > 0, X["text"][:, 1] + 0.5 * RNG.normal(size=N) > 0]).astype(int)
PAIR = np.column_stack([NUMBERS, -3 * X["text"][:, 2]])


def params(**changes):
    return {
        "encoders": LinearEncoder(),
        "reg": 0.001,
        "max_epochs": 30,
        "early_stopping": True,  # one fit, with held-out rows
        "polish": False,  # which takes most of the time on few rows
        "lr": 0.02,
        "random_state": 0,
    } | changes


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


CASES = {
    "binary": (MNLClassifier, BINARY),
    "multiclass": (MNLClassifier, THREE),
    "multilabel": (MNLClassifier, LABELS),
    "regression": (MNLRegressor, NUMBERS),
    "multi-output": (MNLRegressor, PAIR),
}


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


# -- state ------------------------------------------------------------------------------------


def test_order_of_modalities_in_the_mapping_is_irrelevant():
    est = MNLClassifier(**params()).fit(X, THREE)
    turned = {name: X[name] for name in reversed(X)}
    other = MNLClassifier(**params()).fit(turned, THREE)
    np.testing.assert_array_equal(est.predict_proba(X), other.predict_proba(turned))
    np.testing.assert_array_equal(est.predict_proba(turned), est.predict_proba(X))
    assert other.relevance_scores_ == est.relevance_scores_
    assert other.modality_names_ == list(turned)
    assert est.modality_names_ == list(X)


def test_parameter_modalities_selects_and_orders():
    est = MNLClassifier(**params(modalities=["audio", "text"])).fit(X, THREE)
    assert est.modality_names_ == est.term_names_ == ["audio", "text"]


def test_pickle_has_no_torch_and_no_training_data():
    sizes = []
    for n in (N, 10 * N):
        x = {name: np.resize(values, (n, values.shape[1])) for name, values in X.items()}
        est = MNLRegressor(**params(max_epochs=3, early_stopping=False)).fit(
            x, np.resize(NUMBERS, n)
        )
        est.predict(x)  # the rebuilt module must not get into the pickle
        data = pickle.dumps(est)
        assert b"torch" not in data
        sizes.append(len(data))
        again = pickle.loads(data)
        np.testing.assert_array_equal(again.predict(x), est.predict(x))
        np.testing.assert_array_equal(copy.deepcopy(est).predict(x), est.predict(x))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


def test_set_params_on_a_fitted_model_changes_nothing_before_the_next_fit():
    est = MNLClassifier(**params()).fit(X, THREE)
    proba, scores = est.predict_proba(X), dict(est.relevance_scores_)
    est.set_params(
        p=2, reg=10.0, encoders=MLPEncoder(), missing="mask", random_state=3, dtype="float32"
    )
    np.testing.assert_array_equal(est.predict_proba(X), proba)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(est)).predict_proba(X), proba)
    assert est.relevance_scores_ == scores
    est.remove_terms(["noise"])
    assert sum(est.relevance_scores_.values()) == pytest.approx(1)  # still of p = 1


def test_fit_twice_equals_fit_once():
    est = MNLClassifier(**params()).fit(X, THREE)
    proba = est.predict_proba(X)
    np.testing.assert_array_equal(est.fit(X, THREE).predict_proba(X), proba)


def test_warm_start_goes_on_from_the_last_fit():
    cold = MNLRegressor(**params(max_epochs=40, early_stopping=False, polish=True)).fit(X, NUMBERS)
    est = clone(cold).set_params(max_epochs=1, warm_start=True, polish=False, reg=0.0)
    est._results, est._schema = cold._results, cold._schema
    est.fit(X, NUMBERS)
    fresh = clone(cold).set_params(max_epochs=1, polish=False, reg=0.0).fit(X, NUMBERS)
    assert est.history_[0]["train_loss"] < 0.5 * fresh.history_[0]["train_loss"]


def test_warm_start_with_another_shape_is_refused():
    est = MNLRegressor(**params(max_epochs=2, warm_start=True)).fit(X, NUMBERS)
    before = est.predict(X)
    with pytest.raises(InputError, match="warm_start"):
        est.fit({"text": X["text"]}, NUMBERS)
    np.testing.assert_array_equal(est.predict(X), before)


def test_remove_terms_leaves_the_rest_of_the_model():
    est = MNLRegressor(**params()).fit(X, NUMBERS)
    before, names = est.contributions(X), list(est.term_names_)
    assert est.remove_terms(["noise"]) is est
    assert est.term_names_ == ["text", "audio"]
    np.testing.assert_allclose(est.contributions(X), before[:, :2], rtol=1e-12)
    np.testing.assert_allclose(est.predict(X), before[:, :2].sum((1, 2)) + est.intercept_[0])
    assert sum(est.relevance_scores_.values()) == pytest.approx(1)
    with pytest.raises(InputError, match="no such terms"):
        est.remove_terms(["noise"])
    with pytest.raises(InputError, match="at least one"):
        est.remove_terms(["text", "audio"])
    assert est.fit(X, NUMBERS).term_names_ == names


def test_remove_terms_keeps_the_norm_parameter_of_the_fit():
    est = MNLRegressor(**params(p=2)).fit(X, NUMBERS)
    norms = np.array(list(est.relevance_scores_.values()))[:2]
    est.set_params(p=1).remove_terms(["noise"])
    expected = norms / np.sqrt(np.sum(norms**2))
    np.testing.assert_allclose(list(est.relevance_scores_.values()), expected, rtol=1e-9)


def test_warm_start_with_other_names_of_the_same_shape_is_refused():
    est = MNLRegressor(**params(max_epochs=2, warm_start=True)).fit(X, NUMBERS)
    renamed = {"text": X["text"], "sound": X["audio"], "noise": X["noise"]}
    with pytest.raises(InputError, match="modalities, encoders or outputs differ"):
        est.fit(renamed, NUMBERS)


# -- partial_fit ------------------------------------------------------------------------------


def test_partial_fit_learns_over_many_calls():
    est = MNLClassifier(**params(lr=0.02))
    for call in range(60):
        rows = np.arange(N)[call % 3 :: 3]
        batch = {name: values[rows] for name, values in X.items()}
        est.partial_fit(batch, THREE[rows], classes=["low", "mid", "top"])
    assert est.n_iter_ == len(est.history_) == 60
    assert [epoch["epoch"] for epoch in est.history_] == list(range(1, 61))
    assert {epoch["lr"] for epoch in est.history_} == {0.02}  # a stream has no end to decay to
    assert est.score(X, THREE) > 0.65
    assert np.isnan(est.validation_gain_)


def test_partial_fit_knows_classes_that_the_first_batch_lacks():
    rows = THREE != "top"
    est = MNLClassifier(**params())
    est.partial_fit({k: v[rows] for k, v in X.items()}, THREE[rows], classes=np.unique(THREE))
    assert est.predict_proba(X).shape == (N, 3)
    est.partial_fit(X, THREE)
    est.partial_fit(X, THREE, classes=["top", "mid", "low"])
    assert est.n_iter_ == 3


@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_partial_fit_refuses_other_classes_than_before_and_keeps_the_fit(first):
    est = getattr(MNLClassifier(**params(max_epochs=2)), first)(X, BINARY)
    before = est.predict_proba(X)
    with pytest.raises(InputError, match=r"^classes: .* \(new: \['maybe'\], missing: \[\]\)"):
        est.partial_fit(X, BINARY, classes=["maybe", "no", "yes"])
    np.testing.assert_array_equal(est.predict_proba(X), before)
    # A regressor has no classes.
    assert (
        MNLRegressor(**params()).partial_fit(X, NUMBERS).partial_fit(X, NUMBERS, [0]).n_iter_ == 2
    )


def test_partial_fit_goes_on_after_fit_and_pickle():
    est = MNLRegressor(**params()).fit(X, NUMBERS)
    score, n = est.score(X, NUMBERS), est.n_iter_
    est = pickle.loads(pickle.dumps(est)).partial_fit(X, NUMBERS)
    assert est.n_iter_ == n + 1
    assert est.score(X, NUMBERS) > score - 0.05


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


# -- encoders ---------------------------------------------------------------------------------


def linear_of_the_user():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Linear(4, 3)


@pytest.mark.parametrize("trainable", [False, True])
def test_module_of_the_user_is_copied_and_trained_or_frozen(trainable):
    module = linear_of_the_user()
    weight = module.weight.detach().clone()
    encoders = {"text": ModuleEncoder(module=module, trainable=trainable), "audio": LinearEncoder()}
    est = MNLClassifier(**params(encoders=encoders, modalities=["text", "audio"])).fit(X, BINARY)
    assert torch.equal(module.weight, weight)
    fitted = est.module_.encoders[est._result.plan.names.index("text")].module.weight
    assert torch.equal(fitted, weight.double()) is not trainable
    assert est.score(X, BINARY) > 0.7


class Remembers(nn.Module):
    """Returns two numbers a row, and remembers what it was given."""

    given: ClassVar[list] = []

    def __init__(self, layout):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(layout.shape[-1], 2))

    def forward(self, values):
        Remembers.given.append(values.detach())
        return (values @ self.weight).reshape(len(values), -1, 2).mean(1)


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("standardize", ["auto", False, True])
def test_module_of_the_user_gets_standardised_values_where_it_is_to(trainable, standardize):
    far = {"text": 1000 + X["text"], "audio": X["audio"]}
    encoder = ModuleEncoder(
        module=Remembers, output_dim=2, trainable=trainable, standardize=standardize
    )
    est = MNLClassifier(**params(encoders={"text": encoder}, modalities=["text"]))
    Remembers.given.clear()
    est.fit({"text": far["text"]}, BINARY).predict({"text": far["text"]})
    standardised = trainable if standardize == "auto" else standardize
    for values in Remembers.given[1:]:  # the first are zeros, to see that it works
        mean = float(values.mean())
        assert abs(mean) < 5 if standardised else abs(mean - 1000) < 5
    np.testing.assert_allclose(
        Remembers.given[-1], est.module_.scalers[0](torch.tensor(far["text"]), None, None,
        torch.float64) if standardised else far["text"],
    )  # fmt: skip


def test_values_that_are_not_standardised_are_zero_where_they_are_missing():
    values = np.where(np.arange(len(X["text"]))[:, None] % 5 == 0, np.nan, 1000 + X["text"])
    encoder = ModuleEncoder(module=Remembers, output_dim=2, trainable=False)
    est = MNLClassifier(**params(encoders={"text": encoder}, missing="mask"))
    Remembers.given.clear()
    data = {"text": values, "audio": X["audio"]}
    found = est.fit(data, BINARY).predict_proba(data)
    assert not any(torch.isnan(given).any() for given in Remembers.given)
    np.testing.assert_array_equal(Remembers.given[-1], np.nan_to_num(values))
    loaded = pickle.loads(pickle.dumps(est)).predict_proba(data)
    np.testing.assert_array_equal(loaded, found)


def test_plain_module_is_an_encoder():
    encoders = {"text": linear_of_the_user()}
    est = MNLClassifier(**params(encoders=encoders, modalities=["text"])).fit(X, BINARY)
    assert isinstance(est.encoders_["text"], ModuleEncoder)


def test_grid_reaches_encoders_that_were_chosen_by_shape():
    search = GridSearchCV(
        MNLClassifier(**params(encoders="auto", max_epochs=3, modalities=["text", "audio"])),
        {"encoders__text__hidden_dim": [3, 9]},
        cv=2,
        error_score="raise",
    )
    search.fit(ModalityFrame(X), BINARY)
    chosen = search.best_params_["encoders__text__hidden_dim"]
    assert search.best_estimator_.encoders_["text"].hidden_dim == chosen
    assert chosen in (3, 9)


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
