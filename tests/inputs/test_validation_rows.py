"""Held-out rows that the user passes to fit, in place of rows held out of X."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from skorch.callbacks import EpochScoring

from sklearn_mmfusion import (
    EstimatorEncoder,
    InputError,
    InTenseClassifier,
    LateFusionClassifier,
    LateFusionRegressor,
    LinearEncoder,
    ModalityFrame,
    MROClassifier,
    RoutingClassifier,
    UnimodalRegressor,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 80
RNG = np.random.default_rng(0)
X = ModalityFrame({"a": RNG.normal(size=(N, 6)), "b": RNG.normal(size=(N, 3))})
SIGNAL = X["a"][:, 0] - X["b"][:, 1]
Y = np.where(SIGNAL + RNG.normal(size=N) > 0, "yes", "no")
TRAIN, VALID = np.arange(50), np.arange(50, N)
QUICK = {"encoders": LinearEncoder(), "lr": 0.1, "random_state": 0}


def fitted(cls=LateFusionClassifier, y=Y, **changes):
    est = cls(**QUICK | changes)
    return est.fit(X.iloc[TRAIN], y[TRAIN], X_val=X.iloc[VALID], y_val=y[VALID])


def held_loss(est):
    p = est.predict_proba(X.iloc[VALID])
    return -np.log(p[np.arange(len(VALID)), (Y[VALID] == "yes").astype(int)]).mean()


def test_best_epoch_is_that_of_the_rows_passed():
    est = fitted(max_epochs=40)
    losses = [epoch["valid_loss"] for epoch in est.history_]
    best = int(np.argmin(losses))
    assert 0 < best < 39
    assert held_loss(est) == pytest.approx(losses[best], rel=1e-5)
    # All rows of X are trained on: as many epochs without any held-out rows are the same model.
    plain = LateFusionClassifier(**QUICK, max_epochs=40, early_stopping=False)
    plain.fit(X.iloc[TRAIN], Y[TRAIN])
    assert held_loss(plain) > held_loss(est)
    share = {label: np.mean(Y[TRAIN] == label) for label in ("no", "yes")}
    constant = -np.mean([np.log(share[label]) for label in Y[VALID]])
    assert est.validation_gain_ == pytest.approx(1 - held_loss(est) / constant, rel=1e-6)


def test_without_early_stopping_the_rows_are_judged_but_choose_no_epoch():
    est = fitted(max_epochs=7, early_stopping=False)
    plain = LateFusionClassifier(**QUICK, max_epochs=7, early_stopping=False)
    plain.fit(X.iloc[TRAIN], Y[TRAIN])
    np.testing.assert_array_equal(est.decision_function(X), plain.decision_function(X))
    assert np.isfinite(est.validation_gain_)


SCORES = {
    "two classes": (LateFusionClassifier, Y, ["accuracy", "roc_auc", "neg_log_loss"]),
    "three classes": (
        LateFusionClassifier,
        np.array(list("cab"))[np.digitize(SIGNAL, [-0.5, 0.5])],
        ["balanced_accuracy", "roc_auc_ovr", "neg_log_loss"],
    ),
    "labels": (
        LateFusionClassifier,
        np.column_stack([SIGNAL > 0, SIGNAL < 0.5]).astype(int),
        ["accuracy", "f1_macro"],
    ),
    "orders of terms": (MROClassifier, Y, ["accuracy", "neg_log_loss"]),
    "numbers": (LateFusionRegressor, SIGNAL, ["r2"]),
}


@pytest.mark.parametrize(("cls", "y", "names"), SCORES.values(), ids=SCORES)
def test_scores_that_skorch_takes_are_those_of_the_estimator(cls, y, names):
    callbacks = [EpochScoring(name, lower_is_better=False, name=name) for name in names]
    est = fitted(cls, y, max_epochs=12, callbacks=callbacks)
    best = int(np.argmin([epoch["valid_loss"] for epoch in est.history_]))
    assert best > 0
    for name in names:
        score = get_scorer(name)(est, X.iloc[VALID], y[VALID])
        assert est.history_[best][name] == pytest.approx(score, rel=1e-5)
        assert est.history_[0][name] != est.history_[best][name]


def test_scores_are_refused_where_the_rows_are_only_judged_at_the_end():
    callbacks = [EpochScoring("accuracy", name="accuracy")]
    with pytest.raises(InputError, match="EpochScoring takes .* choose early_stopping"):
        fitted(max_epochs=3, early_stopping=False, callbacks=callbacks)


@pytest.mark.parametrize("cls", [InTenseClassifier, RoutingClassifier])
def test_every_method_takes_them(cls):
    est = fitted(cls, max_epochs=3)
    assert np.isfinite(est.validation_gain_)
    np.testing.assert_array_equal(
        fitted(cls, max_epochs=3).decision_function(X), est.decision_function(X)
    )


def test_estimators_as_encoders_represent_them_as_new_rows():
    encoder = EstimatorEncoder(LogisticRegression(), cv=2)
    est = fitted(encoders={"a": encoder, "b": LinearEncoder()}, max_epochs=5)
    losses = [epoch["valid_loss"] for epoch in est.history_]
    assert held_loss(est) == pytest.approx(min(losses), rel=1e-5)


def test_columns_of_a_frame_are_those_of_this_fit():
    frame = pd.DataFrame(np.hstack([X["a"], X["b"]]), columns=list("abcdefghi"))
    spec = {"a": list("abcdef"), "b": list("ghi")}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="X has feature names")
        est = LateFusionRegressor(**QUICK, max_epochs=3, modalities=spec)
        est.fit(frame.iloc[:50], SIGNAL[:50], X_val=frame.iloc[50:], y_val=SIGNAL[50:])
    with pytest.raises(InputError, match="yet now missing:\n- a"):
        est.fit(frame, SIGNAL, X_val=frame.iloc[:, 1:], y_val=SIGNAL)


def test_one_modality_reads_its_own_of_them():
    y = np.asarray(SIGNAL)
    est = UnimodalRegressor("a", lr=0.05, max_epochs=3, random_state=0)
    est.fit(X.iloc[TRAIN], y[TRAIN], X_val=dict(X.iloc[VALID]), y_val=y[VALID])
    assert np.isfinite(est.validation_gain_)


def test_half_of_the_pair_and_unknown_labels_raise():
    est = LateFusionClassifier(**QUICK, max_epochs=2)
    with pytest.raises(InputError, match="X_val and y_val go together"):
        est.fit(X, Y, X_val=X)
    with pytest.raises(InputError, match="X_val and y_val go together"):
        est.fit(X, Y, y_val=Y)
    with pytest.raises(InputError, match="maybe.*not in classes"):
        est.fit(X, Y, X_val=X, y_val=np.full(N, "maybe"))
    with pytest.raises(InputError, match="missing: .'b'."):
        est.fit(X, Y, X_val={"a": X["a"]}, y_val=Y)


def test_other_outputs_than_those_of_the_rows_to_train_on_raise():
    est, two = LateFusionRegressor(**QUICK, max_epochs=2), np.column_stack([SIGNAL, SIGNAL])
    with pytest.raises(InputError, match="y_val: expected 2 targets per row, .* got 1 target per"):
        est.fit(X, two, X_val=X, y_val=SIGNAL)
    with pytest.raises(InputError, match="y_val: expected 1 target per row, .* got 2 targets per"):
        est.fit(X, SIGNAL, X_val=X, y_val=two)
