"""What of an estimator is inspected: its decision, probabilities or prediction, as 2-D outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.metrics import check_scoring
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._errors import InputError, InputTypeError

__all__ = [
    "Response",
    "check_own_score",
    "choose_response",
    "predict_outputs",
    "score_outputs",
]

Floats = npt.NDArray[np.float64]

_FLOOR = 1e-12  # smallest probability whose logarithm is taken
_RESPONSES = ("auto", "decision_function", "log_proba", "predict_proba", "predict")


@dataclass(frozen=True)
class Response:
    """How outputs are read off an estimator.

    Attributes
    ----------
    kind : {"decision_function", "log_proba", "predict_proba", "predict"}
        What they are.
    estimator : object
        The estimator.
    """

    kind: str
    estimator: Any

    def outputs(self, X: Any) -> Floats:
        """Return the outputs of rows, (n_samples, n_outputs)."""
        method = "predict_proba" if self.kind == "log_proba" else self.kind
        found = getattr(self.estimator, method)(X)
        if isinstance(found, list):  # one array per output of a multi-output classifier
            found = np.hstack(found)
        try:
            values = np.asarray(found, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputTypeError(
                f"{type(self.estimator).__name__}.{method} returns no numbers (labels?): "
                "inspection needs a decision_function, predict_proba, or a numeric prediction"
            ) from None
        values = values.reshape(len(values), -1)
        return self.transformed(values)

    def transformed(self, values: Floats) -> Floats:
        """Return what is inspected of what the method returns."""
        return np.log(np.maximum(values, _FLOOR)) if self.kind == "log_proba" else values

    def names(self, n_outputs: int) -> list[Any]:
        """Return a name for each output: that of the model, column of y, class, or number."""
        given = _target_names(self.estimator)
        if given is not None and len(given) == n_outputs:
            return list(given)
        classes = getattr(self.estimator, "classes_", None)
        if classes is None or self.kind == "predict" or isinstance(classes, list):
            return list(range(n_outputs))
        if _compares_pairs(self.estimator):
            return list(range(n_outputs))
        classes = np.asarray(classes).tolist()
        if n_outputs == 1 and len(classes) == 2:
            return classes[1:]
        return classes if len(classes) == n_outputs else list(range(n_outputs))


def _target_names(estimator: Any) -> list[str] | None:
    """Return the names that a model of ours has for its targets, in a Pipeline or a search too."""
    while not hasattr(estimator, "_target"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        else:
            return None
    target = estimator._target
    named: list[str] | None = target.number_names if target.kind == "regression" else target.names
    return named


def _compares_pairs(estimator: Any) -> bool:
    """Whether the outputs of a classifier, maybe of a Pipeline, are of pairs of classes."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return bool(getattr(estimator, "decision_function_shape", "ovr") == "ovo")


def choose_response(estimator: Any, response: str) -> Response:
    """Choose what is inspected of an estimator.

    Parameters
    ----------
    estimator : object
        A fitted estimator with predict_proba, decision_function or predict.
    response : {"auto", "decision_function", "log_proba", "predict_proba", "predict"}
        "auto" takes the decision function, else log-probabilities, else the prediction.

    Raises
    ------
    InputError
        For a response that is none of these.
    InputTypeError
        If the estimator has no such method.
    NotFittedError
        If it is not fitted.
    """
    if response not in _RESPONSES:
        raise InputError(f"response must be one of {list(_RESPONSES)}, got {response!r}")
    who = type(estimator).__name__
    if isinstance(estimator, type):
        raise InputTypeError(f"expected a fitted estimator, got the class {estimator.__name__}")
    methods = {
        "decision_function": "decision_function",
        "log_proba": "predict_proba",
        "predict_proba": "predict_proba",
        "predict": "predict",
    }
    if hasattr(estimator, "fit"):
        # First, since methods of meta-estimators appear with the fit.
        check_is_fitted(estimator)
    wanted = list(methods)
    if response == "auto":
        wanted.remove("predict_proba")
    else:
        wanted = [response]
    for kind in wanted:
        if hasattr(estimator, methods[kind]):
            return Response(kind, estimator)
    needed = " or ".join(dict.fromkeys(methods[kind] for kind in wanted))
    raise InputTypeError(f"inspection needs a fitted estimator with {needed}, got {who}")


def score_outputs(response: Response, scoring: Any) -> Callable[[Floats, Any, Any, Any], float]:
    """Return a function that scores outputs as if they were the estimator's.

    See :func:`check_own_score` for what may go wrong.

    Parameters
    ----------
    response : Response
        What the outputs are.
    scoring : str, callable or None
        As in :func:`sklearn.model_selection.cross_val_score`; None is the estimator's ``score``.

    Returns
    -------
    callable
        (outputs (n, k), X, y, sample_weight) -> score. X is handed on to the scorer.
    """
    estimator = response.estimator
    scorer = None if scoring is None else check_scoring(estimator, scoring=scoring)

    def score(outputs: Floats, X: Any, y: Any, sample_weight: Any) -> float:
        model = _stand_in(response, outputs, np.ndim(y) == 2 and np.shape(y)[1] > 1)
        weight = {} if sample_weight is None else {"sample_weight": sample_weight}
        if scorer is None:
            return float(model.score(X, y, **weight))
        return float(scorer(model, X, y, **weight))

    return score


def check_own_score(
    response: Response, scoring: Any, found: float, X: Any, y: Any, sample_weight: Any
) -> None:
    """Refuse scores of outputs that do not tell how the estimator predicts or is scored.

    Such are those of an estimator with a threshold, a loss or a rule of its own.

    Parameters
    ----------
    response : Response
        What the outputs are.
    scoring : str, callable or None
        As in :func:`score_outputs`.
    found : float
        What that says of the estimator's own outputs.
    X, y, sample_weight : object
        The rows.

    Raises
    ------
    InputError
        If the estimator itself has another score.
    """
    estimator = response.estimator
    if hasattr(estimator, "_raw_outputs") or (scoring is None and not hasattr(estimator, "score")):
        return
    weight = {} if sample_weight is None else {"sample_weight": sample_weight}
    own = float(check_scoring(estimator, scoring=scoring)(estimator, X, y, **weight))
    if not np.isclose(found, own, rtol=1e-6, atol=1e-9, equal_nan=True):
        what = "own score" if scoring is None else "score"
        raise InputError(
            f"the {what} of {type(estimator).__name__} on these rows is {own:.4g}, but its "
            f"{response.kind} alone would have {found:.4g}: they do not say how it predicts or "
            "scores, and so a projection of them cannot be scored. Leave y out, or pass a scoring "
            "or response that goes together"
        )


def predict_outputs(response: Response, outputs: Floats) -> Any:
    """Return what an estimator of ours predicts from its outputs, (n, k)."""
    return _stand_in(response, outputs, several=False).predict(None)


def _stand_in(response: Response, outputs: Floats, several: bool) -> Any:
    """Return an estimator that predicts from given outputs, whatever the X.

    ``several`` says whether there are several targets.
    """
    estimator = response.estimator
    if hasattr(estimator, "_raw_outputs") and response.kind in ("decision_function", "predict"):
        model = copy.copy(estimator)
        model._raw_outputs = lambda X: outputs
        return model
    if response.kind == "predict" and is_classifier(estimator):
        raise InputError(
            "a projection of predicted labels cannot be scored: use response='decision_function', "
            "'predict_proba' or 'log_proba'"
        )
    if response.kind == "predict":
        return _OutputRegressor(outputs)
    kind = _ScoredOutputs if response.kind == "decision_function" else _ProbableOutputs
    return kind(outputs, getattr(estimator, "classes_", None), response.kind, several)


class _OutputRegressor(RegressorMixin, BaseEstimator):
    """Predicts its outputs."""

    def __init__(self, outputs: Any) -> None:
        self.outputs = outputs

    def fit(self, X: Any, y: Any) -> Any:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: Any) -> Floats:
        return self.outputs[:, 0] if self.outputs.shape[1] == 1 else self.outputs


class _ScoredOutputs(ClassifierMixin, BaseEstimator):
    """Decides by its outputs: the sign of one, the largest of several, or label by label."""

    def __init__(self, outputs: Any, classes: Any, kind: str, several: bool) -> None:
        self.outputs = outputs
        self.classes = classes
        self.kind = kind
        self.several = several

    def fit(self, X: Any, y: Any) -> Any:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def classes_(self) -> Any:
        return self.classes

    def decision_function(self, X: Any) -> Floats:
        outputs = self.outputs
        if self.kind != "decision_function" and not self.several and outputs.shape[1] == 2:
            return outputs[:, 1] - outputs[:, 0]
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def predict(self, X: Any) -> Any:
        outputs, classes = self.outputs, self.classes
        n_classes = 0 if classes is None or isinstance(classes, list) else len(classes)
        if self.several and n_classes == outputs.shape[1]:
            half = {"decision_function": 0.0, "predict_proba": 0.5, "log_proba": np.log(0.5)}
            return (outputs > half[self.kind]).astype(np.int64)
        if self.several or n_classes != max(2, outputs.shape[1]):
            raise InputError(
                f"{outputs.shape[1]} outputs do not say how to predict {n_classes or 'such'} "
                "classes: leave y out, or inspect an estimator of one target"
            )
        if outputs.shape[1] == 1:
            return np.asarray(classes)[(outputs[:, 0] > 0).astype(np.intp)]
        return np.asarray(classes)[outputs.argmax(1)]


class _ProbableOutputs(_ScoredOutputs):
    """Has probabilities too: outputs are probabilities or their logarithms."""

    def predict_proba(self, X: Any) -> Floats:
        probabilities = np.exp(self.outputs) if self.kind == "log_proba" else self.outputs
        probabilities = np.clip(probabilities, 0.0, 1.0 if self.several else None)
        return probabilities if self.several else normalize(probabilities, "l1")
