"""What a report is about: the model inside pipelines and searches, and what it says of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._inputs.validation import check_sample_weight, check_X
from sklearn_mmfusion._inputs.validation_targets import check_target_names
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.data._blocks import ModalityData
from sklearn_mmfusion.data._row_labels import row_labels

__all__ = ["Subject", "part", "parts", "spreads", "take_rows"]

Floats = npt.NDArray[np.float64]

_CHUNK = 2048  # rows whose contributions are computed at a time


@dataclass
class Subject:
    """A fitted estimator and the rows it is judged on.

    Attributes
    ----------
    estimator : object
        As given: the model, or a search or pipeline around it.
    model : object
        The estimator of this package inside.
    transformers : list of str
        Classes of the steps before the model.
    X, y : object, ndarray
        The rows as given, and their target of shape (n_samples,) or (n_samples, n_outputs).
    X_model : object
        The rows as the model gets them.
    weight : ndarray of shape (n_samples,) or None
        Sample weights.
    kind : {"binary", "multiclass", "multilabel", "regression"}
        Kind of the target.
    """

    estimator: Any
    model: Any
    transformers: list[str]
    X: Any
    X_model: Any
    y: npt.NDArray[Any]
    weight: Floats | None
    kind: str
    chunk: int = field(default=_CHUNK)

    @classmethod
    def of(cls, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> Subject:
        """Look into an estimator.

        Parameters
        ----------
        estimator : object
            Fitted estimator.
        X, y, sample_weight : object
            Rows, in any form that ``predict`` takes.

        Raises
        ------
        InputTypeError
            If there is no estimator of this package inside.
        InputError
            If X and y differ in length, or y is no target of this estimator.
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(estimator)
        model, X_model, transformers = estimator, X, []
        while not hasattr(model, "modality_names_"):
            if hasattr(model, "best_estimator_"):
                model = model.best_estimator_
            elif hasattr(model, "steps"):
                if len(model.steps) > 1:
                    transformers += [type(step).__name__ for _, step in model.steps[:-1]]
                    X_model = model[:-1].transform(X_model)
                model = model.steps[-1][1]
            else:
                raise InputTypeError(
                    f"{type(model).__name__} is no estimator of this package; expected a fitted "
                    "one, or a Pipeline or search that ends in one."
                )
        if y is None:
            raise InputError(
                f"y: expected {_words_for(model)}, got None; a report compares it with what is "
                "predicted"
            )
        check_target_names(y, model._target)
        array = _target(y)
        n = len(check_rows(model, X_model).blocks[0].values)
        if len(array) != n:
            raise InputError(f"y: expected {n} rows, one per row of X, got {len(array)}")
        weight = check_sample_weight(sample_weight, n_samples=n)
        kind = model._target.kind
        if kind == "multilabel" and array.ndim == 1:
            array = array[:, None]
        if kind == "regression":
            array = _numbers(array, model)
        n_columns = model._target.n_outputs if kind in ("multilabel", "regression") else 1
        if array.size != n * n_columns:
            shape = f"({n}, {n_columns})" if n_columns > 1 else f"({n},)"
            raise InputError(f"y: expected the shape {shape}, as in fit, got {array.shape}")
        return cls(estimator, model, transformers, X, X_model, array, weight, kind)

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return len(self.y)

    @cached_property
    def row_labels(self) -> list[str] | None:
        """Labels of the rows in the index of X; None where they are only numbered."""
        labels = row_labels(self.X)
        return None if labels is None else list(map(str, labels))

    @cached_property
    def share(self) -> Floats:
        """Weights of the rows that sum to 1."""
        weight = np.ones(self.n_samples) if self.weight is None else self.weight
        return weight / weight.sum()

    @cached_property
    def data(self) -> ModalityData:
        """Validated modalities, as the model sees them."""
        return check_rows(self.model, self.X_model)

    @property
    def is_classifier(self) -> bool:
        return self.kind != "regression"

    @property
    def classes(self) -> list[Any]:
        """Labels, in the order of the probabilities; of a multilabel target names or positions."""
        if self.kind == "regression":
            return []
        if self.kind == "multilabel":
            return self.target_names or list(range(self.y.shape[1]))
        return list(np.asarray(self.model.classes_).tolist())

    def predicted_class(self, row: int) -> int:
        """Return the place of the predicted class of a row among the classes."""
        (label,) = self.predicted[row : row + 1].tolist()  # of objects, too
        return self.classes.index(label)

    @property
    def target_names(self) -> list[str] | None:
        """Columns of the target in fit, where they had names."""
        names: list[str] | None = getattr(getattr(self.model, "_target", None), "names", None)
        return names

    @property
    def output_names(self) -> list[str]:
        """Names of the columns of contributions, as explanations have them."""
        if self.kind == "binary" and self.n_outputs == 1:
            return [str(self.classes[1])]
        if self.kind == "regression":
            names: list[str] = self.model._target.number_names
            return names
        return [str(label) for label in self.classes]

    @property
    def n_outputs(self) -> int:
        """Number of columns of contributions."""
        return int(np.size(self.model.intercept_))

    @cached_property
    def predicted(self) -> npt.NDArray[Any]:
        """Predictions, shaped as ``y``."""
        return np.asarray(self.estimator.predict(self.X)).reshape(self.y.shape)

    @cached_property
    def probabilities(self) -> Floats | None:
        """Probabilities (n_samples, n_classes); None where the estimator has none."""
        if not self.is_classifier or not hasattr(self.estimator, "predict_proba"):
            return None
        found = self.estimator.predict_proba(self.X)
        return np.asarray(found, dtype=np.float64)

    @cached_property
    def scores(self) -> Floats | None:
        """Scores of the classes by which rows can be ranked, (n_samples, n_classes)."""
        if self.probabilities is not None:
            return self.probabilities
        if not self.is_classifier or not hasattr(self.estimator, "decision_function"):
            return None
        scores = np.asarray(self.estimator.decision_function(self.X), dtype=np.float64)
        return np.column_stack([-scores, scores]) if scores.ndim == 1 else scores

    @property
    def is_additive(self) -> bool:
        """Whether contributions and the intercept add up to the output."""
        return hasattr(self.model, "contributions")

    @property
    def term_names(self) -> list[str]:
        return list(self.model.term_names_)

    @property
    def orders(self) -> list[int]:
        return [len(term) for term in self.model.term_modalities_]

    @cached_property
    def units(self) -> Floats:
        """By what each output is divided before outputs are added up, (n_outputs,).

        Of several targets of a regressor, which may be in different units, the standard deviation
        of each on these rows; infinite for one that does not vary beside others that do. 1 for
        all else.
        """
        if self.kind != "regression" or self.n_outputs == 1:
            return np.ones(self.n_outputs)
        y = self.y.reshape(self.n_samples, -1).astype(np.float64)
        spread = spreads(y, self.share)
        if not spread.any():
            return np.ones(self.n_outputs)
        return np.where(spread > 0, spread, np.inf)

    @cached_property
    def absolute_contributions(self) -> Floats:
        """Absolute contributions in ``units``, summed over outputs, (n_samples, n_terms)."""
        return np.concatenate(
            [np.abs(self.model.contributions(rows)) @ (1 / self.units) for rows in self._chunks()]
        )

    def contributions_of(self, rows: npt.NDArray[np.intp]) -> Floats:
        """Return the contributions of some rows, (n_rows, n_terms, n_outputs)."""
        return np.asarray(self.model.contributions(take_rows(self.X_model, rows)))

    def _chunks(self) -> Iterator[Any]:
        for start in range(0, self.n_samples, self.chunk):
            stop = min(start + self.chunk, self.n_samples)
            yield take_rows(self.X_model, np.arange(start, stop))


def check_rows(model: Any, X: Any) -> ModalityData:
    """Return validated modalities as a fitted model sees them."""
    return check_X(
        X,
        estimator=model,
        modalities=getattr(model, "modalities", None),
        missing=getattr(model, "missing", "raise"),
        schema=model._schema,
    )[1]


def parts(values: Any) -> Floats:
    """Return shares within 0 and 1: of all weights it is 1, which sums of rounded ones miss."""
    values = np.clip(values, 0.0, 1.0)
    return np.where(values > 1 - 1e-12, 1.0, values)


def part(value: float) -> float:
    """Return one of :func:`parts`."""
    return float(parts(value))


def spreads(columns: Floats, share: Floats) -> Floats:
    """Return the standard deviation of each column, 0 where there is nothing but round-off."""
    size = np.abs(columns).max(axis=0)
    size = np.where(size > 0, size, 1.0)  # squares of scaled numbers do not overflow
    spread = size * np.sqrt(share @ np.square((columns - share @ columns) / size))
    return np.where(spread > 1e-12 * size, spread, 0.0)


def take_rows(X: Any, rows: npt.NDArray[np.intp]) -> Any:
    """Return some rows of X, whatever its form."""
    if isinstance(X, Mapping):
        return ModalityFrame(X).iloc[rows]
    return _safe_indexing(X, rows)


def _words_for(model: Any) -> str:
    if model._target.kind == "regression":
        return "the target of the rows of X, numbers"
    return "the target of the rows of X, labels"


def _numbers(array: npt.NDArray[Any], model: Any) -> Floats:
    """Return the target of a regressor as finite numbers."""
    try:
        numbers = array.astype(np.float64)
    except (TypeError, ValueError):
        shown = list(dict.fromkeys(map(str, array.ravel())))[:3]
        raise InputError(
            f"y: expected numbers, for {type(model).__name__} is a regressor, got "
            f"{', '.join(map(repr, shown))}"
        ) from None
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers.reshape(len(numbers), -1)).all(axis=1))[0])
        raise InputError(
            f"y: expected finite numbers, got {numbers[row]} in row {row}; leave such rows out"
        )
    return numbers


def _target(y: Any) -> npt.NDArray[Any]:
    if hasattr(y, "detach"):
        y = y.detach().cpu()
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2):
        raise InputError(f"y: expected one or two axes, got shape {array.shape}")
    return array
