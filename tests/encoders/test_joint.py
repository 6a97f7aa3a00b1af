"""Tests of estimators with MulT features: one encoder for all modalities."""

import pickle

import numpy as np
import pytest
from skorch.callbacks import Callback

from sklearn_mmfusion import (
    DivergedError,
    GAMClassifier,
    InputError,
    InTenseClassifier,
    MulTEncoder,
    RoutingClassifier,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 90
RNG = np.random.default_rng(0)
X = {
    "words": RNG.integers(0, 5, size=(N, 7)),
    "audio": RNG.normal(size=(N, 4, 3)),
    "clinical": RNG.normal(size=(N, 2)),
}
X["words"][20:40, 5:] = -1
X["audio"][:30, 2:] = np.nan
Y = (X["clinical"][:, 0] + np.nan_to_num(X["audio"])[:, 0, 0] > 0).astype(int)
ENCODER = MulTEncoder(
    hidden_dim=8, n_heads=2, n_layers=1, vocabulary_size={"words": 5}, embedding_dim={"words": 4}
)


def params(**changes):
    return {
        "encoders": ENCODER,
        "interactions": 3,
        "feature_dim": 8,
        "max_epochs": 10,
        "lr": 0.01,
        "early_stopping": False,
        "random_state": 0,
    } | changes


@pytest.mark.parametrize("cls", [RoutingClassifier, GAMClassifier])
def test_contributions_of_joint_features_add_up(cls):
    est = cls(**params()).fit(X, Y)
    parts = est.contributions(X)
    assert parts.shape == (N, 7, 1)
    total = parts.sum(1)[:, 0] + est.intercept_[0]
    assert np.abs(total - est.decision_function(X)).max() < 1e-10
    assert set(est.encoders_) == set(X)
    again = pickle.loads(pickle.dumps(est))  # noqa: S301 our own bytes
    np.testing.assert_array_equal(again.predict_proba(X), est.predict_proba(X))


def test_no_modality_is_blamed_where_one_encoder_reads_them_all():
    class Poison(Callback):
        def on_batch_end(self, net, training, **kwargs):
            next(net.module_.encoders.parameters()).data.fill_(np.inf)

    with pytest.raises(DivergedError, match="diverged in epoch 1") as raised:
        RoutingClassifier(**params(callbacks=[Poison()])).fit(X, Y)
    assert "modalit" not in str(raised.value)


def test_joint_features_learn():
    est = RoutingClassifier(**params(max_epochs=30, lr=0.03)).fit(X, Y)
    assert est.score(X, Y) > 0.9


def test_order_of_modalities_and_padding_change_nothing():
    one = RoutingClassifier(**params(max_epochs=3)).fit(X, Y)
    other = RoutingClassifier(**params(max_epochs=3)).fit({k: X[k] for k in reversed(X)}, Y)
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    # Rows that are short do not see how long the others are.
    short = {name: values[20:30] for name, values in X.items()}
    whole = one.contributions(X)[20:30]
    np.testing.assert_allclose(one.contributions(short), whole, rtol=1e-9, atol=1e-12)


def test_terms_of_a_missing_modality_contribute_exactly_zero():
    partial = {name: values.copy() for name, values in X.items()}
    gone = np.arange(N) % 3 == 0
    partial["audio"][gone] = np.nan
    est = RoutingClassifier(**params(missing="mask", max_epochs=4)).fit(partial, Y)
    holds = np.array(["audio" in term for term in est.term_modalities_])
    parts = est.contributions(partial)
    assert (parts[gone][:, holds] == 0).all()
    assert (parts[~gone] != 0).all()


def test_parameters_of_the_joint_encoder_are_searchable():
    est = RoutingClassifier(**params(encoders=MulTEncoder(vocabulary_size={"words": 5})))
    est.set_params(encoders__hidden_dim=16, encoders__n_heads=4)
    assert est.get_params()["encoders__hidden_dim"] == 16
    est.set_params(max_epochs=1).fit(X, Y)
    assert est.module_.encoders[0].hidden_dim == 16


def test_small_chunks_change_nothing(monkeypatch):
    whole = RoutingClassifier(**params(max_epochs=3)).fit(X, Y)
    expected = whole.explain_local(X).data["contributions"]
    monkeypatch.setattr("sklearn_mmfusion._fitted._PREDICT_VALUES", 1)
    monkeypatch.setattr("sklearn_mmfusion._training.network_rows._CHUNK_VALUES", 1)
    again = RoutingClassifier(**params(max_epochs=3)).fit(X, Y)
    found = again.explain_local(X).data["contributions"]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(again.activations_, whole.activations_, rtol=1e-9)


def test_estimators_of_single_encodings_refuse_it():
    with pytest.raises(InputError, match="InTenseClassifier needs an encoder for each modality"):
        InTenseClassifier(encoders=MulTEncoder(), random_state=0).fit(X, Y)
