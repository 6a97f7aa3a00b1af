"""scikit-learn baselines on one split of a data set, and the scores that all methods get."""

from __future__ import annotations

from typing import Any

import numpy as np
from _real_sets import RealSet, load_set, prepare, summarise
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    roc_auc_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = ["MODELS", "baseline_scores", "baseline_tasks", "model_of", "scores"]

MODELS = ("LR", "GB")
BOOSTING = {
    "max_iter": 100,
    "max_leaf_nodes": 8,
    "learning_rate": 0.08,
    "l2_regularization": 1.0,
    "min_samples_leaf": 10,
    "early_stopping": False,
    "random_state": 0,
}


def baseline_tasks(name: str, n_splits: int) -> list[dict[str, Any]]:
    """Return one task per split, with the settings that a result depends on."""
    settings = {"C": load_set(name).C, "boosting": BOOSTING}
    return [{"set": name, "split": split, **settings} for split in range(n_splits)]


def scores(y: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """Return accuracy, balanced accuracy, log-loss and, of two classes, the area under the ROC."""
    predicted = classes[probabilities.argmax(1)]
    found = {
        "accuracy": accuracy_score(y, predicted),
        "balanced_accuracy": balanced_accuracy_score(y, predicted),
        "log_loss": log_loss(y, probabilities, labels=classes),
    }
    if len(classes) == 2:
        found["auc"] = roc_auc_score(y, probabilities[:, 1])
    return {name: round(float(value), 5) for name, value in found.items()}


def baseline_scores(task: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of every baseline on one split.

    Logistic regression (LR) and gradient boosting of 100 trees with 8 leaves (GB): on each
    modality, on all of them side by side, and late: the sum of the log-posteriors of the models
    of single modalities, less the log-priors that it counts too often.
    """
    data = load_set(task["set"])
    train, test = data.splits[task["split"]]
    X_train, X_test = prepare(data, train, test)
    y_train, y_test = data.y[train], data.y[test]
    classes, counts = np.unique(y_train, return_counts=True)
    log_prior = np.log(counts / counts.sum())
    flat_train = {name: _flat(X_train[name], data) for name in X_train}
    flat_test = {name: _flat(X_test[name], data) for name in X_test}
    found = {}
    for kind in MODELS:
        late = -(len(flat_train) - 1) * log_prior
        for name, values in flat_train.items():
            model = model_of(kind, data).fit(values, y_train)
            probabilities = model.predict_proba(flat_test[name])
            found[f"{kind} {name}"] = scores(y_test, probabilities, classes)
            late = late + np.log(np.clip(probabilities, 1e-12, 1))
        posterior = np.exp(late - late.max(1, keepdims=True))
        posterior /= posterior.sum(1, keepdims=True)
        found[f"{kind} late"] = scores(y_test, posterior, classes)
        model = model_of(kind, data).fit(_joined(flat_train), y_train)
        found[f"{kind} joint"] = scores(y_test, model.predict_proba(_joined(flat_test)), classes)
    return {"scores": found}


def model_of(kind: str, data: RealSet) -> BaseEstimator:
    if kind == "LR":
        linear = LogisticRegression(C=data.C, max_iter=2000)
        return make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), linear)
    return HistGradientBoostingClassifier(**BOOSTING)


def _flat(values: np.ndarray, data: RealSet) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if data.sequences and values.ndim == 3:
        return summarise(values)
    return values.reshape(len(values), -1)


def _joined(flat: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate(list(flat.values()), axis=1)
