r"""What an estimator of the user's says of rows, as numbers that mean the same in all fits.

Of a class that an estimator has no training row of it knows nothing, and its probability says
nothing: the frequency of the class among all training rows stands for it,

.. math:: \tilde p(k \mid x) = \pi_k \;\; (k \notin S), \qquad
          \tilde p(j \mid x) = \Big(1 - \sum_{k \notin S} \pi_k\Big) \, p(j \mid x) \;\; (j \in S)

with the classes :math:`S` that it has seen: the odds of such a class against all others are those
without the estimator. Likewise for a label that all its training rows have, or none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import FusionError, InputError
from sklearn_mmfusion._stacking.label_classifiers import estimator_type, shown_name

__all__ = [
    "SeenTarget",
    "answers",
    "class_probabilities",
    "class_shares",
    "errors_of",
    "predictions",
]

Floats = npt.NDArray[np.float64]

_FLOOR = 1e-6  # smallest probability whose logarithm is taken


@dataclass(frozen=True, eq=False)
class SeenTarget:
    """What is known of the target, and what an estimator has seen of it.

    Attributes
    ----------
    kind : str
        Kind of the target.
    shares : ndarray of shape (n_classes,)
        Frequencies of the classes, or of the labels, among all training rows; none for regression.
    known : bool ndarray of shape (n_classes,)
        Classes of which the estimator has seen a row, or labels that vary among those rows.
    """

    kind: str
    shares: Floats
    known: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, kind: str, shares: Floats, y: npt.NDArray[Any]) -> SeenTarget:
        """Say what an estimator sees that is fitted to the encoded targets y."""
        if kind == "regression":
            known = np.zeros(0, dtype=bool)
        elif kind == "multilabel":
            known = (y != y[:1]).any(0)
        else:
            known = np.bincount(y, minlength=len(shares)) > 0
        return cls(kind, shares, known)


def class_shares(target: npt.NDArray[Any], weight: Floats | None, kind: str) -> Floats:
    """Return the weighted frequencies of classes or labels, (n_classes,); none for regression."""
    share: Floats = np.ones(len(target)) if weight is None else weight
    share = share / share.sum()
    if kind == "regression":
        return np.zeros(0)
    if kind == "multilabel":
        return share @ target
    n_classes = max(2, int(target.max()) + 1)
    shares: Floats = np.bincount(target, weights=share, minlength=n_classes).astype(float)
    return shares


@contextmanager
def errors_of(name: str, estimator: Any) -> Iterator[None]:
    """Say of which modality an estimator of the user's has refused the values.

    Parameters
    ----------
    name : str
        Name of the modality.
    estimator : estimator
        Whose errors these are.

    Raises
    ------
    InputError
        For a ValueError that is not ours already.
    """
    try:
        yield
    except FusionError:
        raise
    except ValueError as error:
        raise InputError(
            f"modality {name!r}: {shown_name(estimator)} refuses it: {error}"
        ) from error


def answers(name: str, estimator: Any, method: str, inputs: npt.NDArray[Any]) -> Any:
    """Return what a method says of rows: an array, or a list of one for each label.

    Raises
    ------
    InputError
        If the estimator refuses the rows, or what it says is not finite.
    """
    with errors_of(name, estimator):
        found = getattr(estimator, method)(inputs)
    if hasattr(found, "toarray"):
        found = found.toarray()
    for part in found if isinstance(found, list) else [found]:
        values = np.asarray(part, dtype=np.float64)
        bad = values[~np.isfinite(values)]
        if len(bad):
            raise InputError(
                f"modality {name!r}: {method} of {shown_name(estimator)} gave {bad[0]}; look for "
                "features that do not vary or are very large, or use another estimator"
            )
    return found


def predictions(
    name: str, estimator: Any, method: str, inputs: npt.NDArray[Any], seen: SeenTarget
) -> Floats:
    """Return what represents rows, float64 (n, r).

    Parameters
    ----------
    name : str
        Name of the modality.
    estimator : estimator
        Fitted.
    method : str
        Its method.
    inputs : ndarray of shape (n, features)
        Rows.
    seen : SeenTarget
        What it was fitted to.
    """
    found = answers(name, estimator, method, inputs)
    kind, n_classes = seen.kind, len(seen.shares)
    if method == "predict_proba":
        return _log_odds(class_probabilities(found, estimator, seen), kind)
    if kind == "multiclass" and method == "decision_function" and _names_classes(estimator):
        found = _all_classes(np.asarray(found), estimator, n_classes)
    elif kind in ("binary", "multiclass") and method == "predict" and _names_classes(estimator):
        found = np.asarray(found)[:, None] == np.arange(n_classes)
    values = np.asarray(found, dtype=np.float64)
    return values.reshape(len(inputs), -1)


def class_probabilities(found: Any, estimator: Any, seen: SeenTarget) -> Floats:
    """Return probabilities of all classes, (n, k); of the positive label for multilabel.

    Parameters
    ----------
    found : ndarray or list of ndarray
        What ``predict_proba`` says.
    estimator : classifier
        Who says it.
    seen : SeenTarget
        What it was fitted to.
    """
    shares, known = seen.shares, seen.known
    if seen.kind == "multilabel":
        if isinstance(found, list):
            # Of a label that varies there are two columns.
            found = np.column_stack([part[:, -1] for part in found])
        labels: Floats = np.where(known, np.asarray(found, dtype=np.float64), shares)
        return labels
    whole = np.tile(np.where(known, 0.0, shares), (len(found), 1))
    classes = np.asarray(estimator.classes_, dtype=np.intp)
    whole[:, classes] = np.asarray(found) * (1 - shares[~known].sum())
    return whole


def _names_classes(estimator: Any) -> bool:
    """Whether what an estimator predicts are classes: those of regressors are numbers."""
    return estimator_type(estimator) == "classifier" or hasattr(estimator, "classes_")


def _all_classes(found: npt.NDArray[Any], estimator: Any, n_classes: int) -> npt.NDArray[Any]:
    """Put decision values of the classes that a fold has in the columns of all."""
    classes = np.asarray(estimator.classes_, dtype=np.intp)
    if len(classes) == 1:
        return np.zeros((len(found), n_classes))
    if found.ndim == 1:
        found = np.column_stack([-found, found])
    if len(classes) == n_classes or found.shape[1] != len(classes):
        return found
    whole = np.full((len(found), n_classes), found.min())
    whole[:, classes] = found
    return whole


def _log_odds(probabilities: Floats, kind: str) -> Floats:
    clipped = np.clip(probabilities, _FLOOR, 1 - _FLOOR)
    if kind == "multilabel":
        return np.log(clipped) - np.log1p(-clipped)
    logs = np.log(clipped)
    if kind == "binary":
        return logs[:, 1:] - logs[:, :1]
    return logs - logs.mean(1, keepdims=True)
