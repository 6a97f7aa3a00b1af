"""Small fits that the tests of the report share."""

import warnings

import numpy as np
import pytest

from sklearn_mmfusion import (
    GAMClassifier,
    InTenseClassifier,
    InTenseRegressor,
    LinearEncoder,
    ModalityFrame,
    RoutingClassifier,
    fusion_report,
)
from sklearn_mmfusion.report._subject import Subject

QUICK = {
    "encoders": LinearEncoder(),
    "max_epochs": 25,
    "early_stopping": True,
    "lr": 0.05,
    "random_state": 0,
}


def make_rows(kind, n=120, seed=0):
    """Return modalities and a target of a kind."""
    rng = np.random.default_rng(seed)
    X = {
        "text": rng.normal(size=(n, 4)),
        "audio": rng.normal(size=(n, 3)),
        "video": rng.normal(size=(n, 2)),
    }
    signal = 2 * X["text"][:, 0] + X["audio"][:, 0] + 0.7 * rng.normal(size=n)
    target = {
        "binary": np.where(signal > 0, "yes", "no"),
        "multiclass": np.array(["low", "middle", "high"])[np.digitize(signal, [-1, 1])],
        "multilabel": np.column_stack([signal > 0, X["video"][:, 0] > 0.5]).astype(int),
        "regression": 10 + 3 * signal,
        "multioutput": np.column_stack([signal, X["video"][:, 0]]),
    }[kind]
    return ModalityFrame(X), target


def fitted(kind, cls=None, **params):
    """Return an estimator fitted on 80 rows, and the other 40."""
    regression = kind in ("regression", "multioutput")
    cls = cls or (InTenseRegressor if regression else InTenseClassifier)
    X, y = make_rows(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est = cls(**{**QUICK, **params}).fit(X.iloc[:80], y[:80])
    return est, X.iloc[80:], y[80:]


@pytest.fixture(scope="session")
def fits():
    """Fits by the kind of target; and of routing and its ablation. Made where first asked for."""

    class Fits(dict):
        def __missing__(self, kind):
            if kind == "routing":
                made = fitted("multiclass", RoutingClassifier, feature_dim=8, concept_dim=8)
            elif kind == "gam":
                made = fitted("binary", GAMClassifier, feature_dim=8)
            else:
                made = fitted(kind)
            self[kind] = made
            return made

    return Fits()


@pytest.fixture(scope="session")
def report_of(fits):
    """Return the report on a kind, made once."""
    made = {}

    def report(kind):
        if kind not in made:
            made[kind] = fusion_report(*fits[kind], n_examples=2)
        return made[kind]

    return report


@pytest.fixture
def subject_of(fits):
    """Return the subject of a kind, with weights or without."""

    def make(kind, weight=None):
        return Subject.of(*fits[kind], weight)

    return make
