"""Rows of one modality, whatever holds them.

A modality may come as a numpy array or memory map, a torch tensor, a DataFrame, a sparse matrix
or ragged sequences. The functions here are the only place that tells these apart; they look at
what an object can do instead of its class, so that neither pandas nor torch has to be imported.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from sklearn_mmfusion._errors import FusionError, InputError, InputTypeError

__all__ = [
    "Rows",
    "as_dense",
    "as_value",
    "copy_value",
    "describe",
    "equal_values",
    "is_ragged",
    "pad_ragged",
    "raise_faults",
    "row_shape",
    "sequences_in",
    "take_rows",
]

Rows = slice | npt.NDArray[np.intp]


def raise_faults(faults: Iterable[FusionError]) -> None:
    """Raise all faults as one error, so that a user can mend them in one go.

    Raises
    ------
    InputTypeError
        If every fault is one of type.
    InputError
        If at least one fault is one of value.
    """
    faults = list(faults)
    if not faults:
        return
    all_types = all(isinstance(fault, TypeError) for fault in faults)
    raise (InputTypeError if all_types else InputError)("\n".join(map(str, faults)))


def as_value(name: str, value: Any) -> Any:
    """Return the value as something with a shape and rows that can be taken.

    Lists become arrays: of numbers where all rows have one shape, of objects where they are
    ragged. Sparse matrices become CSR, the format whose rows can be taken; all else is kept.

    Raises
    ------
    InputTypeError
        If the value has no rows: a number, a string, None, a mapping, a generator.
    InputError
        If the value is an array without axes.
    """
    if issparse(value):
        return value.tocsr()
    if isinstance(value, list | tuple):
        return _from_list(value)
    rowless = isinstance(value, Mapping | str | bytes)
    if rowless or not (hasattr(value, "shape") and hasattr(value, "__getitem__")):
        raise InputTypeError(
            f"modality {name!r}: expected an array with one row per sample, got "
            f"{type(value).__name__}. Pass a numpy array, a torch tensor, a DataFrame or a list "
            "of rows."
        )
    if len(value.shape) == 0:
        raise InputError(
            f"modality {name!r}: expected an array with one row per sample, got an array of "
            "shape (). Expected 2D: reshape your data with .reshape(1, -1) if it is one sample."
        )
    return _fill_absent(value)


def _from_list(rows: list[Any] | tuple[Any, ...]) -> npt.NDArray[Any]:
    """Stack rows of one shape; keep ragged rows as an object array of arrays."""
    try:
        array: npt.NDArray[Any] = np.asarray(rows)
        if array.dtype.kind in "US":  # NaN and None among texts would become words
            entries = np.asarray(rows, dtype=object)
            are_texts = all(isinstance(entry, str | bytes) for entry in entries.flat)
            return array if are_texts else entries
        return array
    except ValueError:  # rows of different shapes
        ragged = np.empty(len(rows), dtype=object)
        for i, row in enumerate(rows):
            ragged[i] = None if row is None else np.asarray(row)
        filled: npt.NDArray[Any] = _fill_absent(ragged)
        return filled


def _fill_absent(value: Any) -> Any:
    """Put a sequence without steps where a ragged modality has None."""
    if not is_ragged(value) or not any(row is None for row in value):
        return value
    known = np.asarray(next(row for row in value if row is not None))
    filled = np.array(value)
    for i in np.flatnonzero([row is None for row in value]):
        filled[i] = np.empty((0, *known.shape[1:]), dtype=known.dtype)
    return filled


def is_ragged(value: Any) -> bool:
    """Tell whether the rows are arrays of their own, which may differ in length."""
    if not (isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1):
        return False
    first: Any = next((row for row in value if row is not None), None)
    return np.ndim(first) > 0


def sequences_in(value: Any) -> Any:
    """Return the ragged rows in a Series or in the only column of a frame; else the value."""
    if not hasattr(value, "iloc") or (hasattr(value, "columns") and value.shape[1] != 1):
        return value
    column = value.iloc[:, 0] if hasattr(value, "columns") else value
    rows = column.to_numpy() if column.dtype == object else None
    return value if rows is None or not is_ragged(rows) else _fill_absent(rows)


def take_rows(value: Any, rows: Rows) -> Any:
    """Return some rows: a view for a slice, a copy of these rows for an index array."""
    if hasattr(value, "iloc"):
        return value.iloc[rows]
    if hasattr(value, "detach"):
        # torch takes no negative steps, neither in a slice nor in the memory of an index, and
        # warns when it is handed a read-only index.
        backwards = isinstance(rows, slice) and (rows.step or 1) < 0
        if backwards or not isinstance(rows, slice):
            rows = np.arange(value.shape[0])[rows].copy()
    return value[rows]


def copy_value(value: Any) -> Any:
    """Return a copy that shares no memory with the value."""
    if hasattr(value, "detach"):
        return value.detach().clone()
    if (isinstance(value, np.ndarray) and value.dtype == object) or not hasattr(value, "copy"):
        return copy.deepcopy(value)
    return value.copy()


def equal_values(left: Any, right: Any) -> bool:
    """Compare shapes and entries; NaN equals NaN, dtypes may differ."""
    if issparse(left) or issparse(right):
        if not (issparse(left) and issparse(right)) or left.shape != right.shape:
            return False
        left, right = left.tocoo().tocsr(), right.tocoo().tocsr()  # copies, duplicates summed
        left.eliminate_zeros()
        right.eliminate_zeros()
        parts = ("indptr", "indices", "data")
        return all(equal_values(getattr(left, part), getattr(right, part)) for part in parts)
    left, right = (_detached(sequences_in(value)) for value in (left, right))
    if left.shape != right.shape:
        return False
    if left.dtype == object or right.dtype == object:
        pairs = zip(left.ravel().tolist(), right.ravel().tolist(), strict=True)
        return all(_equal_objects(a, b) for a, b in pairs)
    both_hold_nan = left.dtype.kind in "fc" and right.dtype.kind in "fc"
    return bool(np.array_equal(left, right, equal_nan=both_hold_nan))


def _equal_objects(left: Any, right: Any) -> bool:
    """Compare two entries of an object array: arrays (ragged rows) or plain objects."""
    if np.ndim(left) > 0 or np.ndim(right) > 0:
        return equal_values(left, right)
    both_nan = all(isinstance(entry, float) and math.isnan(entry) for entry in (left, right))
    try:
        return bool(left is right or both_nan or left == right)
    except TypeError:  # pandas.NA equals nothing, and refuses to say so
        return False


def _detached(value: Any) -> npt.NDArray[Any]:
    """Return a numpy view of the value, out of torch's graph if it was in one."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def row_shape(name: str, value: Any) -> tuple[int, ...]:
    """Return the shape of one row; for ragged rows that of the longest, (T, d).

    Raises
    ------
    InputError
        If ragged rows differ in more than their number of steps.
    """
    value = sequences_in(value)
    if not is_ragged(value):
        return tuple(int(size) for size in value.shape[1:])
    shapes = {np.shape(row) for row in value}
    trailing = sorted({shape[1:] for shape in shapes})
    if len(trailing) > 1 or () in shapes:
        raise InputError(
            f"modality {name!r}: expected sequences of shape (T, d) that differ in T only, got "
            f"rows of different length in their features, {sorted(shapes)[:4]}. Give every step "
            "the same features."
        )
    # At least one step, so that sequences without any are a row of NaN: missing.
    return (max(1, *(shape[0] for shape in shapes)), *trailing[0])


def pad_ragged(name: str, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return ragged sequences as one array of shape (n, T, d), NaN after the last step.

    The array is float32 if all sequences are, else float64: integers have no NaN.

    Raises
    ------
    InputError
        If ragged rows differ in more than their number of steps.
    """
    n_steps, *trailing = row_shape(name, value)
    arrays = [_detached(row) for row in value]
    dtypes = {array.dtype for array in arrays}
    dtype = np.float32 if dtypes == {np.dtype(np.float32)} else np.float64
    padded = np.full((len(arrays), n_steps, *trailing), np.nan, dtype=dtype)
    lengths = np.array([len(array) for array in arrays])
    padded[np.arange(n_steps) < lengths[:, None]] = np.concatenate(arrays)
    return padded


def as_dense(name: str, value: Any) -> npt.NDArray[Any]:
    """Return the modality as one numeric numpy array; ragged sequences are padded with NaN.

    No copy is made where the value already is such an array.

    Raises
    ------
    InputError
        If the entries are not real numbers, or some are masked.
    """
    array: npt.NDArray[Any]
    value = sequences_in(value)
    try:
        if issparse(value):
            array = value.toarray()
        elif is_ragged(value):
            array = pad_ragged(name, value)
        else:
            array = _detached(value)
        if array.dtype == object and hasattr(value, "to_numpy"):
            array = value.to_numpy(dtype=np.float64, na_value=np.nan)  # pandas' own missing value
        elif array.dtype == object:
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, FusionError):
            raise
        raise InputError(f"modality {name!r}: expected real numbers, {error}") from error
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"modality {name!r}: expected real numbers, got dtype {array.dtype}. Encode the "
            "values as numbers first, for instance with ModalityTransformer."
        )
    if np.ma.is_masked(value):
        raise InputError(
            f"modality {name!r}: expected an array without masked values, got "
            f"{int(np.ma.getmaskarray(value).sum())} masked. Use .filled(np.nan): NaN means "
            "missing."
        )
    return array


def describe(value: Any) -> tuple[str, str]:
    """Return shape and dtype in words, "(60, 2..9, 3)" and "float64" for ragged sequences."""
    value = sequences_in(value)
    if is_ragged(value):
        shapes = [np.shape(row) for row in value]
        steps = sorted(shape[0] for shape in shapes)
        sizes = [str(len(shapes)), f"{steps[0]}..{steps[-1]}", *map(str, shapes[0][1:])]
        return f"({', '.join(sizes)})", f"ragged {np.asarray(value[0]).dtype}"
    shape = str(tuple(int(size) for size in value.shape))
    if hasattr(value, "columns"):
        return shape, ", ".join(sorted({str(dtype) for dtype in value.dtypes}))
    prefix = "sparse " if issparse(value) else "lazy " * hasattr(value, "block_size")
    return shape, f"{prefix}{getattr(value, 'dtype', type(value).__name__)}"
