"""The targets and the sample weights: from what a user passes to encoded arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Number
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_array, get_tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from sklearn_mmfusion._errors import FusionError, InputError, InputTypeError, warn

__all__ = [
    "TargetSchema",
    "check_same_classes",
    "check_same_outputs",
    "check_sample_weight",
    "check_shown_target",
    "check_target",
    "check_target_names",
    "own_errors",
    "weighted_rows",
]

Array = npt.NDArray[Any]

_UNKNOWN = (
    "Unknown label type: y holds objects ({}); labels are strings or numbers of one dtype, as from "
    "y.astype(bool), y.astype(int) or y.astype(str); for several labels per row pass one column of "
    "0 and 1 per label, as MultiLabelBinarizer makes them"
)
_NO_NUMBERS = re.compile(r"could not convert|float\(\) argument|Complex data")


@dataclass(frozen=True, eq=False)
class TargetSchema:
    """What ``fit`` remembers of the target.

    Attributes
    ----------
    kind : {"binary", "multiclass", "multilabel", "regression"}
        Kind of the target.
    classes : ndarray or None
        Sorted labels of a classifier, for multilabel targets ``arange(n_labels)``; None for
        regression.
    n_outputs : int
        1 for binary, the number of classes, of labels or of regression targets otherwise.
    one_dimensional : bool
        Whether y came as (n_samples,).
    names : list of str or None
        Columns of y, where it was a DataFrame with several that all have names.
    """

    kind: str
    classes: Array | None
    n_outputs: int
    one_dimensional: bool
    names: list[str] | None = None

    @property
    def number_names(self) -> list[str]:
        """Names of the targets of a regressor: those of the columns of y, else y, or y0, y1, ..."""
        single = self.n_outputs == 1
        return self.names or (["y"] if single else [f"y{i}" for i in range(self.n_outputs)])

    @property
    def shown_outputs(self) -> str:
        """What one row of the target is, in words."""
        if self.kind in ("binary", "multiclass"):
            return "one label per row"
        what = "label" if self.kind == "multilabel" else "target"
        return f"{self.n_outputs} {what}{'s' * (self.n_outputs != 1)} per row"

    def shown_column(self, position: int) -> str:
        """Name of a column of y in quotes, or its number where it has none."""
        return str(position) if self.names is None else repr(self.names[position])


@contextmanager
def own_errors(argument: str | None = None, remedy: str = "") -> Iterator[None]:
    """Turn scikit-learn's errors into ours.

    The text stays as it is, but where values are no numbers: there scikit-learn does not say which
    argument it was, so that is put in front, and the remedy behind.
    """
    try:
        yield
    except FusionError:
        raise
    except (TypeError, ValueError) as error:
        # For object arrays scikit-learn leaves the name out, and only targets come as such here.
        text = str(error).replace("Input contains NaN", "Input y contains NaN")
        if argument is not None and _NO_NUMBERS.match(text):
            text = f"{argument}: expected numbers, {text}; {remedy}"
        raise (InputTypeError if isinstance(error, TypeError) else InputError)(text) from None


def check_sample_weight(sample_weight: Any, *, n_samples: int) -> npt.NDArray[np.float64] | None:
    """Return the sample weights as float64 of shape (n_samples,), or None.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,), float or None
        Non-negative weights, at least one of them positive. A number stands for equal weights.
    n_samples : int
        Number of rows of X.

    Raises
    ------
    InputError
        For another shape, NaN, infinite or negative weights, and when all are zero.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Number):
        sample_weight = np.full(n_samples, sample_weight)
    if isinstance(sample_weight, torch.Tensor):
        sample_weight = sample_weight.detach().cpu().numpy()
    with own_errors("sample_weight", "pass one non-negative number per row"):
        weights = check_array(
            sample_weight,
            ensure_2d=False,
            allow_nd=True,
            dtype=np.float64,
            ensure_min_samples=0,
            input_name="sample_weight",
        )
    if weights.ndim != 1:
        msg = f"Sample weights must be 1D array or scalar, got an array of shape {weights.shape}"
        raise InputError(msg)
    if weights.shape != (n_samples,):
        msg = f"sample_weight.shape == {weights.shape}, expected {(n_samples,)}!"
        raise InputError(msg)
    if (weights < 0).any():
        raise InputError(
            "Negative values in data passed to `sample_weight` "
            f"(first in row {int((weights < 0).argmax())})"
        )
    if not (weights > 0).any():
        raise InputError("Sample weights must contain at least one non-zero number.")
    return weights


def weighted_rows(sample_weight: Any) -> npt.NDArray[np.intp] | None:
    """Return the numbers of the rows of the user's X that ``fit`` does not leave out.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,), float or None
        Weights as the user passed them.

    Returns
    -------
    ndarray of int or None
        Of the rows with a weight above 0; None where they are all of X.
    """
    if sample_weight is None or isinstance(sample_weight, Number):
        return None
    if isinstance(sample_weight, torch.Tensor):
        sample_weight = sample_weight.detach().cpu().numpy()
    return np.flatnonzero(np.asarray(sample_weight, dtype=np.float64))


def check_target(
    y: Any,
    *,
    estimator: Any,
    classifier: bool,
    n_samples: int,
    sample_weight: npt.NDArray[np.float64] | None = None,
    classes: Any = None,
) -> tuple[TargetSchema, Array]:
    """Check the target and encode it.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels, a matrix of 0 and 1 (multilabel) or numbers (regression).
    estimator : object
        The estimator, for its name in messages and for its tags: whether it supports multilabel
        and multi-output targets.
    classifier : bool
        Whether y holds labels.
    n_samples : int
        Number of rows of X.
    sample_weight : ndarray of shape (n_samples,) or None
        Checked weights. Rows of weight zero are left out, of the classes too, so that they count
        as if they were not there.
    classes : array-like or None
        All labels, where they are known beforehand (``partial_fit``).

    Returns
    -------
    schema : TargetSchema
        What to remember.
    encoded : ndarray
        Binary and multiclass: int64 of shape (n,), positions in ``schema.classes``; multilabel
        and regression: float64 of shape (n, n_outputs); n is the number of rows with weight.

    Raises
    ------
    InputError, InputTypeError
        When y does not fit X, the kind of estimator, or ``classes``.
    """
    if y is None:
        raise InputError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target "
            "y is None."
        )
    array = _read(y, estimator, numeric=not classifier)
    if len(array) != n_samples:
        msg = f"X has {n_samples} samples, y has {len(array)}"
        raise InputError(msg)
    rows = slice(None) if sample_weight is None else sample_weight > 0
    tags = get_tags(estimator)
    if classifier:
        kind, array = _label_kind(array, estimator, tags)
        if kind == "multilabel":
            schema, encoded = _encode_labels(array[rows], classes)
            return replace(schema, names=_column_names(y)), encoded
        return _encode_classes(array[rows], classes)
    one_dimensional = array.ndim == 1
    if not one_dimensional and not tags.target_tags.multi_output:
        array, one_dimensional = _ravel_column(array), True
    encoded = array[rows, None] if one_dimensional else array[rows]
    schema = TargetSchema("regression", None, encoded.shape[1], one_dimensional, _column_names(y))
    return schema, encoded


def check_shown_target(y: Any, *, target: TargetSchema, n_samples: int) -> Array:
    """Return a target that is shown beside predictions, as an array.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True target.
    target : TargetSchema
        That of the fit.
    n_samples : int
        Number of rows that are explained.

    Returns
    -------
    ndarray of shape (n_samples,) or (n_samples, n_outputs)

    Raises
    ------
    InputError
        For another number of rows or outputs, and for labels that ``fit`` has not seen.
    """
    check_target_names(y, target)
    array = np.asarray(y.detach().cpu() if hasattr(y, "detach") else y)
    n = len(array) if array.ndim else 0
    if n != n_samples:
        raise InputError(f"y: expected {n_samples} labels, one per row of X, got {n}")
    is_multilabel = target.kind == "multilabel"
    n_outputs = target.n_outputs if is_multilabel or target.kind == "regression" else 1
    if array.ndim > 2 or array.size != n * n_outputs:
        shape = f"({n}, {n_outputs})" if n_outputs > 1 else f"({n},)"
        raise InputError(f"y: expected the shape {shape}, as in fit, got {array.shape}")
    if target.one_dimensional:
        array = array.reshape(n)
    if target.classes is None:
        return array
    known = [0, 1] if is_multilabel else target.classes.tolist()
    unknown = [label for label in dict.fromkeys(array.ravel().tolist()) if label not in known]
    if unknown:
        raise InputError(f"y: fit has seen no {unknown[:5]}; the labels are {known[:20]}")
    return array


def _column_names(y: Any) -> list[str] | None:
    names = list(getattr(y, "columns", []))
    are_names = len(names) > 1 and all(isinstance(name, str) for name in names)
    return [str(name) for name in names] if are_names else None


def check_target_names(y: Any, target: TargetSchema) -> None:
    """Refuse a DataFrame whose columns are others than those of the target in ``fit``.

    Raises
    ------
    InputError
        Where both have names that differ, or are in another order.
    """
    got = _column_names(y)
    if got is not None and target.names is not None and got != target.names:
        raise InputError(
            f"y: expected the columns {target.names} of fit in this order, got {got}; pass "
            f"y[{target.names}]"
        )


def check_same_classes(classes: Any, target: TargetSchema) -> None:
    """Refuse other ``classes`` than those of the first call of ``partial_fit``.

    Parameters
    ----------
    classes : array-like
        All labels, as passed by the user; of a multilabel target only their number counts.
    target : TargetSchema
        That of the first call.

    Raises
    ------
    InputError
        When they are not the same.
    """
    known = target.classes
    assert known is not None  # asked of classifiers alone
    given = np.unique(np.asarray(classes))
    if target.kind == "multilabel":
        same, detail = len(classes) == len(known), ""
    else:
        new, gone = np.setdiff1d(given, known), np.setdiff1d(known, given)
        same = not (len(new) or len(gone))
        detail = f" (new: {new[:10].tolist()}, missing: {gone[:10].tolist()})"
    if not same:
        raise InputError(
            f"classes: expected the {len(known)} labels that the model has, got {len(given)}"
            f"{detail}: `classes` is not the same as on last call to partial_fit. Leave it out, or "
            "start anew with clone(estimator)"
        )


def check_same_outputs(given: TargetSchema, known: TargetSchema, *, argument: str = "y") -> None:
    """Refuse a target of another kind, or with another number of columns, than that of the fit.

    Parameters
    ----------
    given, known : TargetSchema
        Of what the user passed, and of the fit.
    argument : str, default="y"
        Its name, for the message.

    Raises
    ------
    InputError
        When they differ. An array of other columns would be broadcast against the outputs.
    """
    if (given.kind, given.n_outputs) != (known.kind, known.n_outputs):
        named = "" if known.names is None else f", {known.names}"
        raise InputError(
            f"{argument}: expected {known.shown_outputs}, as in fit, got {given.shown_outputs}; "
            f"pass the columns of then{named}, or start anew with clone(estimator)"
        )


def _read(y: Any, estimator: Any, *, numeric: bool) -> Array:
    """Return y as a finite array of one or two axes."""
    if sparse.issparse(y):
        raise InputTypeError("Sparse data was passed for y, but dense data is required")
    if isinstance(y, torch.Tensor):
        y = y.detach().cpu().numpy()
    if isinstance(y, list | tuple):
        if not numeric:
            _refuse_label_sets(y)
        # numpy would turn the numbers of a mixed list into strings without a word.
        _refuse_mixed({type(item) for item in y})
    with own_errors("y" if numeric else None, "pass numbers, or use a classifier for labels"):
        array = check_array(
            y,
            ensure_2d=False,
            allow_nd=True,
            dtype=np.float64 if numeric else None,
            ensure_min_samples=0,
            input_name="y",
            estimator=estimator,
        )
    if array.ndim not in (1, 2):
        msg = f"y should be a 1d array, got an array of shape {array.shape} instead."
        raise InputError(msg)
    if array.dtype == object:
        _refuse_mixed({type(item) for item in array.flat})
    return array


def _refuse_label_sets(y: Sequence[Any]) -> None:
    """Refuse rows that hold the names of their labels."""
    rows = [row for row in y if isinstance(row, list | tuple | set | frozenset)]
    are_sets = any(isinstance(row, set | frozenset) for row in rows)
    if are_sets or len({len(row) for row in rows}) > 1:
        raise InputError(_UNKNOWN.format(_kinds(y)))


def _kinds(items: Iterable[Any]) -> str:
    return ", ".join(sorted({type(item).__name__ for item in items}))


def _refuse_mixed(types: set[type]) -> None:
    strings = {kind for kind in types if issubclass(kind, str)}
    others = {kind for kind in types if issubclass(kind, Number | np.generic | type(None))}
    if strings and others - strings:
        names = sorted(kind.__name__ for kind in types)
        msg = f"y has mixed types: {', '.join(names)}; labels are all strings or all numbers"
        raise InputTypeError(msg)


def _ravel_column(array: Array) -> Array:
    """Return a column as a vector, with scikit-learn's warning."""
    if array.shape[1] != 1:
        msg = f"y should be a 1d array, got an array of shape {array.shape} instead."
        raise InputError(msg)
    warn(
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y "
        "to (n_samples, ), for example using ravel().",
        DataConversionWarning,
    )
    return array.ravel()


def _label_kind(array: Array, estimator: Any, tags: Any) -> tuple[str, Array]:
    """Say whether y holds classes or a matrix of labels."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = _ravel_column(array)
    if array.dtype == object and not all(isinstance(item, str) for item in array.flat):
        raise InputError(_UNKNOWN.format(_kinds(array.flat)))
    with own_errors():
        check_classification_targets(array)
        target_type = type_of_target(array, input_name="y")
    if array.ndim == 1:
        return "classes", array
    if target_type != "multilabel-indicator":
        raise InputError(
            f"y of shape {array.shape} is a {target_type} target, which is not supported; for "
            "several labels per row pass one column of 0 and 1 per label"
        )
    if not np.isin(array, (0, 1)).all():
        msg = f"labels of a multilabel y are 0 or 1, got {np.unique(array).tolist()}"
        raise InputError(msg)
    if tags.classifier_tags is not None and not tags.classifier_tags.multi_label:
        name = type(estimator).__name__
        raise InputError(
            f"multilabel-indicator targets are not supported by {name}, got y of shape "
            f"{array.shape}; fit a model per label: MultiOutputClassifier({name}())"
        )
    return "multilabel", array


def _encode_labels(array: Array, classes: Any) -> tuple[TargetSchema, Array]:
    n_labels = array.shape[1]
    if classes is not None and len(classes) != n_labels:
        msg = f"y has {n_labels} labels (columns), but classes has {len(classes)}"
        raise InputError(msg)
    schema = TargetSchema("multilabel", np.arange(n_labels), n_labels, False)
    return schema, array.astype(np.float64)


def _encode_classes(array: Array, classes: Any) -> tuple[TargetSchema, Array]:
    found, codes = np.unique(array, return_inverse=True)
    if classes is None:
        classes = found
    else:
        classes = np.unique(np.asarray(classes))
        unknown = np.setdiff1d(found, classes)
        if len(unknown):
            raise InputError(
                f"y has labels {unknown[:10].tolist()} that are not in classes "
                f"{classes[:10].tolist()}"
            )
        codes = np.searchsorted(classes, found)[codes]
    if len(classes) < 2:
        msg = f"a classifier needs at least 2 classes, the data has 1 class: {classes.tolist()}"
        raise InputError(msg)
    kind = "binary" if len(classes) == 2 else "multiclass"
    n_outputs = 1 if kind == "binary" else len(classes)
    return TargetSchema(kind, classes, n_outputs, True), codes.astype(np.int64)
