"""predict_log_proba: the logarithm of predict_proba, and finite where that has underflown."""

import numpy as np
import pytest
from scipy.special import log_expit, log_softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_mmfusion import (
    InTenseClassifier,
    LateVotingClassifier,
    LinearEncoder,
    MKLClassifier,
    MNLClassifier,
    MNLRegressor,
    ModalityFrame,
    MROClassifier,
    RoutingClassifier,
    UnimodalClassifier,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 60
RNG = np.random.default_rng(0)
X = {"text": RNG.normal(size=(N, 4)), "audio": RNG.normal(size=(N, 3))}
SIGNAL = X["text"][:, 0]
Y = {
    "binary": np.where(SIGNAL > 0, "yes", "no"),
    "multiclass": np.digitize(SIGNAL, [-0.5, 0.5]),
    "multilabel": np.column_stack([SIGNAL > 0, X["audio"][:, 0] > 0, SIGNAL > 1]).astype(int),
}


def quick(cls, **changes):
    settings = {
        "random_state": 0,
        "max_epochs": 3,
        "encoders": LinearEncoder(),
        "early_stopping": False,
        "feature_dim": 8,
        "concept_dim": 8,
    }
    if cls is UnimodalClassifier:
        settings["modality"] = "text"
    return cls(**{k: v for k, v in settings.items() if k in cls().get_params()}, **changes)


MODELS = {
    "MNL": quick(MNLClassifier),
    "bags": quick(MNLClassifier, n_bags=3),
    "InTense": quick(InTenseClassifier),
    "MRO": quick(MROClassifier),
    "Routing": quick(RoutingClassifier),
    "voting": quick(LateVotingClassifier),
    "unimodal": quick(UnimodalClassifier),
}


def expected(decision, kind):
    if kind == "binary":
        return np.column_stack([log_expit(-decision), log_expit(decision)])
    return log_softmax(decision, axis=1) if kind == "multiclass" else log_expit(decision)


@pytest.mark.parametrize("kind", Y)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_log_probabilities_are_the_logarithms(model, kind):
    model.fit(X, Y[kind])
    found = model.predict_log_proba(X)
    np.testing.assert_allclose(np.exp(found), model.predict_proba(X), rtol=1e-12)
    np.testing.assert_allclose(found, expected(model.decision_function(X), kind), rtol=1e-12)


@pytest.mark.parametrize("kind", Y)
def test_large_decisions_have_finite_logarithms(kind):
    model = quick(MNLClassifier, polish=False).fit(X, Y[kind])
    far = {name: 1e6 * values for name, values in X.items()}
    assert (model.predict_proba(far) == 0).any()  # the example is one
    found = model.predict_log_proba(far)
    assert np.isfinite(found).all() and found.min() < -1000
    np.testing.assert_allclose(found, expected(model.decision_function(far), kind), rtol=1e-12)


def test_it_is_there_exactly_where_probabilities_are():
    assert not hasattr(MNLRegressor(), "predict_log_proba")
    est = MKLClassifier().fit(X, Y["binary"])
    assert not hasattr(est, "predict_proba") and not hasattr(est, "predict_log_proba")
    with pytest.raises(AttributeError) as caught:
        _ = est.predict_log_proba
    assert "CalibratedClassifierCV" in str(caught.value.__cause__)


def test_pipelines_and_searches_hand_it_on():
    rows = ModalityFrame(X)
    model = quick(MNLClassifier)
    plain = model.fit(rows, Y["binary"]).predict_log_proba(rows)
    piped = make_pipeline("passthrough", model).fit(rows, Y["binary"])
    search = GridSearchCV(model, {"lr": [model.lr]}, cv=2).fit(rows, Y["binary"])
    for other in (piped, search):
        np.testing.assert_array_equal(other.predict_log_proba(rows), plain)
    calibrated = CalibratedClassifierCV(model, cv=2).fit(rows, Y["binary"])
    assert calibrated.predict_proba(rows).shape == (N, 2)
