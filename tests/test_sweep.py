"""Refits without the terms of low relevance."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from sklearn_mmfusion import (
    EstimatorEncoder,
    GAMClassifier,
    InTenseClassifier,
    InTenseRegressor,
    LateVotingClassifier,
    LinearEncoder,
    MNLClassifier,
    ModalityFrame,
    RoutingClassifier,
)
from sklearn_mmfusion._errors import InputError, InputTypeError

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 120
RNG = np.random.default_rng(0)
X = {name: RNG.normal(size=(N, 3)) for name in ("text", "audio", "video")}
Y = (X["text"][:, 0] + X["audio"][:, 0] > 0).astype(int)
SETTINGS = {
    "encoders": LinearEncoder(),
    "max_epochs": 8,
    "early_stopping": False,
    "lr": 0.05,
    "polish": False,
}


def quick(cls, **changes):
    known = cls().get_params()
    wanted = SETTINGS | {"random_state": 0, "feature_dim": 8, "concept_dim": 8} | changes
    return cls(**{name: value for name, value in wanted.items() if name in known})


@pytest.mark.parametrize(
    "cls", [InTenseClassifier, MNLClassifier, RoutingClassifier, GAMClassifier]
)
def test_swept_model_has_the_terms_above_the_threshold_and_adds_up(cls):
    est = quick(cls, reg=0.01, interactions=2).fit(X, Y)
    scores = est.relevance_scores_
    threshold = np.median(list(scores.values()))
    swept = est.sweep(X, Y, threshold=threshold)
    assert swept.term_names_ == [name for name in scores if scores[name] >= threshold]
    assert est.relevance_scores_ == scores
    total = swept.contributions(X).sum(1)[:, 0] + swept.intercept_[0]
    np.testing.assert_allclose(total, swept.decision_function(X), atol=1e-10)
    assert swept.get_params() == est.get_params() or str(swept) == str(est)


def test_a_pair_may_stay_without_its_modalities():
    est = quick(InTenseRegressor, reg=0.001)
    y = X["text"][:, 0] * X["audio"][:, 0]
    est.fit(X, y)
    est.relevance_scores_ = dict.fromkeys(est.term_names_, 0.0) | {"text x audio": 1.0}
    swept = est.sweep(X, y)
    assert swept.term_names_ == ["text x audio"]
    assert swept.relevance_scores_ == {"text x audio": 1.0}
    assert swept.contributions(X).shape == (N, 1, 1)


def test_swept_model_of_terms_that_can_be_asked_for_is_the_one_that_is_asked_for():
    # By the constructor: the modalities alone and one pair.
    est = quick(InTenseClassifier, reg=0.001).fit(X, Y)
    wanted = ["text", "audio", "video", "text x audio"]
    est.relevance_scores_ = {name: float(name in wanted) for name in est.term_names_}
    swept = est.sweep(X, Y, threshold=0.5)
    asked = quick(InTenseClassifier, reg=0.001, interactions=[("text", "audio")]).fit(X, Y)
    assert swept.term_names_ == asked.term_names_ == wanted
    np.testing.assert_allclose(swept.predict_proba(X), asked.predict_proba(X), rtol=1e-9)


def test_a_new_fit_brings_the_terms_back():
    est = quick(MNLClassifier, reg=0.01).fit(X, Y)
    swept = est.sweep(X, Y, threshold=max(est.relevance_scores_.values()))
    assert len(swept.term_names_) == 1
    assert swept.fit(X, Y).term_names_ == est.term_names_


def test_threshold_of_zero_keeps_the_model():
    est = quick(InTenseClassifier, reg=0.01).fit(X, Y)
    swept = est.sweep(X, Y, threshold=0)
    np.testing.assert_array_equal(swept.predict_proba(X), est.predict_proba(X))


def test_weights_reach_the_refit():
    weight = np.arange(N, dtype=float) % 3
    est = quick(MNLClassifier, reg=0.01).fit(X, Y, sample_weight=weight)
    swept = est.sweep(X, Y, threshold=0, sample_weight=weight)
    np.testing.assert_array_equal(swept.predict_proba(X), est.predict_proba(X))


def test_unusable_thresholds_are_refused():
    est = quick(MNLClassifier).fit(X, Y)
    with pytest.raises(InputError, match="no term would be left"):
        est.sweep(X, Y, threshold=1.5)
    for threshold in (-0.1, "much", True, float("nan")):
        with pytest.raises(InputError, match="expected a number of at least 0"):
            est.sweep(X, Y, threshold=threshold)
    with pytest.raises(NotFittedError):
        MNLClassifier().sweep(X, Y)


@pytest.mark.parametrize("cls", [MNLClassifier, InTenseClassifier])
def test_swept_sum_of_log_posteriors_is_that_of_the_modalities_that_are_left(cls, tmp_path):
    encoder = EstimatorEncoder(LogisticRegression())
    est = cls(encoders=encoder, max_epochs=5, random_state=0).fit(X, Y)
    est.relevance_scores_ = {name: float(name in ("text", "video")) for name in est.term_names_}
    swept = est.sweep(X, Y, threshold=0.5)
    assert swept._result.is_vote and swept.term_names_ == ["text", "video"]
    late = LateVotingClassifier(LogisticRegression(), modalities=["text", "video"], random_state=0)
    ours, theirs = swept.decision_function(X), late.fit(X, Y).decision_function(X)
    factor = (ours * theirs).sum() / (theirs**2).sum()
    np.testing.assert_allclose(ours, factor * theirs, rtol=1e-6, atol=1e-8)
    parts = swept.contributions(X)
    assert parts.shape == (N, 2, 1)
    np.testing.assert_allclose(parts.sum(1)[:, 0] + swept.intercept_[0], ours, rtol=1e-9)
    shown = swept.explain_local(ModalityFrame(X).iloc[:3]).data
    np.testing.assert_allclose(shown["contributions"], parts[:3])
    assert swept.explain_global(X).data["term_names"] == ["text", "video"]
    with pytest.raises(InputTypeError, match="EstimatorEncoder cannot be saved"):
        swept.save(tmp_path / "model.safetensors")  # as before it is swept
    # Without the modalities alone there is no sum of them.
    if cls is InTenseClassifier:
        est.relevance_scores_ = {name: float(" x " in name) for name in est.term_names_}
        pairs = est.sweep(X, Y, threshold=0.5)
        assert not pairs._result.is_vote
        assert pairs.term_names_ == ["text x audio", "text x video", "audio x video"]
