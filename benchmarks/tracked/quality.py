"""The quality of fits, to stand beside each change of speed. Less is better everywhere."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
from sklearn.model_selection import train_test_split

from sklearn_mmfusion import InTenseRegressor, MNLClassifier, RoutingClassifier
from sklearn_mmfusion.datasets import load_multiple_features, make_recovery

METHODS = {"MNL": MNLClassifier, "Routing": RoutingClassifier}
N_ROWS = 2000


class Accuracy:
    """Errors on held-out rows of three views of handwritten digits, with default settings."""

    timeout = 600
    unit = "share of errors"
    params: ClassVar[Any] = [list(METHODS)]
    param_names: ClassVar[Any] = ["method"]

    def track_errors(self, method: str) -> float:
        views, y = load_multiple_features(return_X_y=True)
        X = {name: views[name] for name in ("fou", "mor", "zer")}
        rows = np.random.default_rng(0).permutation(len(y))[:N_ROWS]
        train, test = train_test_split(rows, stratify=y[rows], random_state=0)
        est = METHODS[method](random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            est.fit({name: values[train] for name, values in X.items()}, y[train])
        return 1.0 - est.score({name: values[test] for name, values in X.items()}, y[test])


class Recovery:
    """Relevance against the known shares of standard deviation, orders 1 to 3."""

    timeout = 600
    unit = "mean absolute error"

    def track_relevance(self) -> float:
        terms = {("a",): 1.0, ("a", "b"): 0.75, ("a", "b", "c"): 0.75, ("c",): 0.5}
        data = make_recovery(N_ROWS, terms, random_state=0)
        est = InTenseRegressor(interactions=3, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            est.fit(data.data, data.target)
        truth = {frozenset(term.split(" x ")): share for term, share in data.relevance.items()}
        scores = est.relevance_scores_
        found = {frozenset(term.split(" x ")): score for term, score in scores.items()}
        return float(np.mean([abs(found[term] - truth.get(term, 0.0)) for term in found]))
