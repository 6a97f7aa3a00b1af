"""Tests of MKLClassifier and MKLRegressor: special cases, contributions, targets, warnings."""

import math
import pickle

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC, SVR

from sklearn_mmfusion import FusionMemoryError, InputError, ModalityFrame, RelevanceWarning
from sklearn_mmfusion._mkl import kernels as kernels_module
from sklearn_mmfusion._mkl.estimators import MKLClassifier, MKLRegressor

BOTH = [MKLClassifier, MKLRegressor]


def rng(seed=0):
    return np.random.default_rng(seed)


def modalities(n=80, seed=0):
    """Return text and audio, which carry the signal, and noise; and the signal."""
    widths = {"text": 4, "audio": 3, "noise": 3}
    X = {name: rng(seed + i).normal(size=(n, w)) for i, (name, w) in enumerate(widths.items())}
    return X, X["text"][:, 0] + 0.6 * X["audio"][:, 1] + 0.1 * rng(seed + 9).normal(size=n)


def target(cls, signal):
    return signal if cls is MKLRegressor else np.where(signal > np.median(signal), "yes", "no")


def fitted(cls, **params):
    X, signal = modalities()
    return cls(**params).fit(X, target(cls, signal)), X, target(cls, signal)


def scaled(values):
    return (values - values.mean(0)) / values.std(0)


def unit_variance(kernel):
    return kernel / (np.diag(kernel).mean() - kernel.mean())


# -- special cases ----------------------------------------------------------------------------


@pytest.mark.draws_from_numpy  # libsvm's seed
@pytest.mark.parametrize("C", [0.3, 5.0])
def test_one_modality_is_scikit_learns_svc(C):
    X, signal = modalities()
    y = target(MKLClassifier, signal)
    est = MKLClassifier(C=C).fit({"text": X["text"]}, y)
    kernel = unit_variance(rbf_kernel(scaled(X["text"])))
    expected = SVC(kernel="precomputed", C=C, tol=1e-8).fit(kernel, y)
    got = est.decision_function({"text": X["text"]})
    np.testing.assert_allclose(got, expected.decision_function(kernel), atol=1e-5)
    np.testing.assert_array_equal(est.support_, np.sort(expected.support_))
    assert est.relevance_scores_ == {"text": pytest.approx(1.0)}


@pytest.mark.draws_from_numpy
def test_one_modality_is_scikit_learns_svr_on_the_standardised_target():
    X, signal = modalities()
    y = 1000 + 50 * signal
    est = MKLRegressor(C=2.0, epsilon=0.05).fit({"text": X["text"]}, y)
    kernel = unit_variance(rbf_kernel(scaled(X["text"])))
    machine = SVR(kernel="precomputed", C=2.0, epsilon=0.05, tol=1e-8)
    expected = machine.fit(kernel, scaled(y)).predict(kernel) * y.std() + y.mean()
    np.testing.assert_allclose(est.predict({"text": X["text"]}), expected, rtol=1e-5)


@pytest.mark.draws_from_numpy
def test_infinite_p_and_many_classes_are_one_svc_against_the_rest_each():
    X, signal = modalities()
    y = np.digitize(signal, np.quantile(signal, [0.3, 0.6]))
    est = MKLClassifier(p=math.inf).fit(X, y)
    kernel = sum(unit_variance(rbf_kernel(scaled(values))) for values in X.values())
    rest = OneVsRestClassifier(SVC(kernel="precomputed", tol=1e-8)).fit(kernel, y)
    expected = np.column_stack([m.decision_function(kernel) for m in rest.estimators_])
    np.testing.assert_allclose(est.decision_function(X), expected, atol=1e-5)
    np.testing.assert_array_equal(est.kernel_weights_, 1)
    assert set(est.relevance_scores_.values()) == {1.0}


def test_several_targets_share_the_weights_of_their_columns():
    X, signal = modalities()
    # The same column twice is the problem of one column with half the kernel weights' scale.
    double = MKLRegressor(C=1.0).fit(X, np.column_stack([signal, signal]))
    single = MKLRegressor(C=1.0).fit(X, signal)
    assert double.objective_ == pytest.approx(2 * single.objective_, rel=1e-5)
    np.testing.assert_allclose(double.kernel_weights_, single.kernel_weights_, atol=1e-3)
    np.testing.assert_allclose(double.predict(X)[:, 1], single.predict(X), atol=1e-3)


def test_several_labels_are_refused_with_a_word():
    X, signal = modalities()
    labels = np.column_stack([signal > 0, signal > 1]).astype(int)
    with pytest.raises(InputError, match="multilabel-indicator targets are not supported"):
        MKLClassifier().fit(X, labels)


# -- relevance --------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", BOTH)
def test_noise_is_left_out_exactly_at_p_1_and_kept_at_2(cls):
    sparse, _, _ = fitted(cls, kernel="linear", C=0.1)
    assert sparse.relevance_scores_["noise"] == 0 == sparse.kernel_weights_[2]
    assert sparse.relevance_scores_["text"] > sparse.relevance_scores_["audio"] > 0
    dense, _, _ = fitted(cls, kernel="linear", C=0.1, p=2)
    assert 0 < dense.relevance_scores_["noise"] < dense.relevance_scores_["audio"]


@pytest.mark.parametrize("p", [1, 1.5, 4])
@pytest.mark.parametrize("cls", BOTH)
def test_relevance_is_the_formula_of_mnl_on_the_norms_of_the_weight_vectors(cls, p):
    est, X, _ = fitted(cls, p=p)
    scores = np.array(list(est.relevance_scores_.values()))
    assert np.linalg.norm(scores, p) == pytest.approx(1)
    np.testing.assert_allclose(scores, est.kernel_weights_, atol=3e-3)
    # |w|^2 = sum_ij a_i a_j b^2 k(x_i, x_j), where the contributions are b sum_j a_j k(x, x_j).
    coefficients = np.zeros((80, 1))
    coefficients[est.support_] = est.dual_coef_.T
    inner = np.einsum("ik,itk->t", coefficients, est.contributions(X))
    norms = np.sqrt(est.kernel_weights_ * inner)
    expected = norms ** (2 / (p + 1)) / (norms ** (2 * p / (p + 1))).sum() ** (1 / p)
    np.testing.assert_allclose(scores, expected, atol=1e-9)


def test_interaction_is_found_where_no_modality_helps_alone():
    a, b = rng(0).choice([-1.0, 1.0], size=(2, 120, 1))
    X = {"a": a + 0.1 * rng(1).normal(size=a.shape), "b": b + 0.1 * rng(2).normal(size=b.shape)}
    est = MKLClassifier(kernel="linear", interactions=2).fit(X, (a * b)[:, 0])
    assert est.term_names_ == ["a", "b", "a x b"]
    assert est.term_modalities_ == [("a",), ("b",), ("a", "b")]
    assert est.relevance_scores_["a x b"] > 0.99
    assert est.score(X, (a * b)[:, 0]) == 1


# -- contributions and attributes -------------------------------------------------------------


@pytest.mark.parametrize("interactions", [1, "all", [("noise", "text")]])
@pytest.mark.parametrize("cls", BOTH)
def test_contributions_and_intercept_add_up(cls, interactions):
    est, X, _ = fitted(cls, interactions=interactions)
    parts = est.contributions(X)
    assert parts.shape == (80, len(est.term_names_), 1)
    output = est.predict(X) if cls is MKLRegressor else est.decision_function(X)
    np.testing.assert_array_equal((parts.sum(1) + est.intercept_)[:, 0], output)
    np.testing.assert_allclose(parts.mean(0), 0, atol=1e-10)


@pytest.mark.parametrize("cls", BOTH)
def test_absent_modalities_contribute_exactly_zero(cls):
    X, signal = modalities()
    X["audio"][::4] = np.nan
    X["text"][1::4] = np.nan
    y = target(cls, signal)
    with pytest.raises(InputError, match="modality 'audio'"):
        cls().fit(X, y)
    est = cls(missing="mask", interactions=2, p=2).fit(X, y)
    parts = dict(zip(est.term_names_, est.contributions(X)[:, :, 0].T, strict=True))
    assert not parts["audio"][::4].any() and parts["audio"][1::4].all()
    assert not parts["text"][1::4].any() and parts["text"][::4].all()
    for gone in (slice(0, None, 4), slice(1, None, 4)):
        assert not parts["text x audio"][gone].any()
    assert est.duality_gap_ <= 1e-6
    nothing = {name: np.full_like(values[:1], np.nan) for name, values in X.items()}
    assert not est.contributions(nothing).any()


@pytest.mark.parametrize("cls", BOTH)
def test_fitted_attributes(cls):
    est, X, _ = fitted(cls)
    assert est.modality_names_ == ["text", "audio", "noise"] == list(est.feature_names_in_)
    assert est.n_features_in_ == 3 and est.intercept_.shape == (1,)
    assert est.dual_coef_.shape == (1, len(est.support_))
    assert 0 <= est.duality_gap_ <= est.tol and est.n_iter_ >= 1 and est.objective_ > 0
    np.testing.assert_allclose(est.dual_coef_.sum(), 0, atol=1e-8)
    again = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(again.contributions(X), est.contributions(X))


@pytest.mark.parametrize("cls", BOTH)
def test_weights_are_repeated_rows_and_zeros_are_no_rows(cls):
    X, signal = modalities(40)
    y = target(cls, signal)
    weight = rng(3).integers(0, 4, size=40)
    rows = np.repeat(np.arange(40), weight)
    weighted = cls(p=1.5).fit(X, y, sample_weight=weight)
    repeated = cls(p=1.5).fit(ModalityFrame(X)[rows], y[rows])
    np.testing.assert_allclose(
        weighted.contributions(X), repeated.contributions(X), rtol=1e-6, atol=1e-8
    )
    # Rows are counted in the X that was passed.
    assert set(weighted.support_) == set(rows[repeated.support_])


def test_class_weight_is_a_factor_of_the_sample_weight():
    X, signal = modalities()
    y = signal > 0.8
    by_class = MKLClassifier(class_weight="balanced").fit(X, y)
    by_row = MKLClassifier().fit(X, y, sample_weight=np.where(y, 40 / y.sum(), 40 / (~y).sum()))
    np.testing.assert_allclose(by_class.decision_function(X), by_row.decision_function(X))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_class_of_weight_0_leaves_its_rows_out(n_classes):
    X, signal = modalities()
    y = np.digitize(signal, np.quantile(signal, [0.3, 0.6])[: n_classes - 1])
    est = MKLClassifier(class_weight={k: float(k > 0) for k in range(n_classes)})
    if n_classes == 2:  # one class is left
        with pytest.warns(RelevanceWarning, match="the model is a constant"):
            est.fit(X, y)
    else:
        est.fit(X, y)
    assert est.classes_.tolist() == list(range(n_classes))
    assert (est.predict(X) > 0).all()
    assert (y[est.support_] > 0).all()
    if n_classes == 3:
        rest = MKLClassifier().fit(ModalityFrame(X)[y > 0], y[y > 0])
        margins = est.decision_function(X)
        np.testing.assert_allclose(
            margins[:, 2] - margins[:, 1], 2 * rest.decision_function(X), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("cls", BOTH)
def test_sequences_of_any_length_and_images_are_taken(cls):
    X, signal = modalities()
    steps = [X["audio"][i] + 0.3 * rng(i).normal(size=(2 + i % 3, 3)) for i in range(80)]
    pixels = rng(1).integers(0, 255, size=(80, 4, 4)).astype(np.uint8)
    X = {"flat": X["text"], "steps": steps, "pixels": pixels}
    est = cls(kernel="linear", C=0.1).fit(X, target(cls, signal))
    scores = est.relevance_scores_
    assert min(scores["flat"], scores["steps"]) > scores["pixels"]
    padded = X | {"steps": [np.vstack([s, np.full((3, 3), np.nan)]) for s in steps]}
    np.testing.assert_allclose(est.contributions(padded), est.contributions(X), atol=1e-12)


# -- errors and warnings ----------------------------------------------------------------------


@pytest.mark.parametrize("cls", BOTH)
def test_gap_above_tol_warns(cls):
    with pytest.warns(ConvergenceWarning, match="duality gap is .* after 2 of at most 2"):
        est, _, _ = fitted(cls, max_iter=2, tol=1e-12)
    assert est.duality_gap_ > 1e-12


@pytest.mark.parametrize("cls", BOTH)
def test_modalities_that_do_not_vary_warn_and_give_a_constant(cls):
    X, signal = {"a": np.ones((30, 2)), "b": np.zeros((30, 1))}, rng().normal(size=30)
    with pytest.warns(RelevanceWarning, match="the model is a constant"):
        est = cls().fit(X, target(cls, signal))
    assert est.relevance_scores_ == {"a": 0, "b": 0}
    assert len(np.unique(est.predict(X))) == 1


def test_there_are_no_probabilities_but_calibration_gives_some():
    est, X, y = fitted(MKLClassifier)
    assert not hasattr(est, "predict_proba")
    with pytest.raises(AttributeError) as caught:
        _ = est.predict_proba
    assert "CalibratedClassifierCV" in f"{caught.value} {caught.value.__cause__}"
    frame = ModalityFrame(X)
    probabilities = CalibratedClassifierCV(est, cv=3).fit(frame, y).predict_proba(frame)
    assert (probabilities.argmax(1) == (y == "yes")).mean() > 0.8


def test_failed_fit_for_memory_keeps_the_old_model(monkeypatch):
    est, X, y = fitted(MKLClassifier)
    before = est.decision_function(X)
    monkeypatch.setattr(kernels_module, "_MAX_BYTES", 1000)
    with pytest.raises(FusionMemoryError, match="3 kernel matrices of 80 x 80"):
        est.fit(X, y)
    np.testing.assert_array_equal(est.decision_function(X), before)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(
    "params, words",
    [
        ({"p": 0.5}, "'p' parameter"),
        ({"C": 0}, "'C' parameter"),
        ({"kernel": {"text": "rbf"}}, "the modalities of kernel do not match"),
        ({"interactions": 4}, "more than the 3 modalities"),
    ],
)
def test_bad_parameters_are_refused_at_fit(cls, params, words):
    with pytest.raises(ValueError, match=words):
        fitted(cls, **params)


@pytest.mark.parametrize("cls", BOTH)
def test_unfitted_is_said(cls):
    with pytest.raises(NotFittedError):
        cls().contributions({"a": np.zeros((2, 1))})
