"""The values of one modality: from whatever a user holds to one real numpy array.

Arrays, tensors, frames and lists of sequences come in; NaN comes out where something is missing
(see ``_inputs.absence``).

Messages do not name the modality: the caller, who knows it, puts the name in front.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from sklearn_mmfusion._errors import InputError, InputTypeError

__all__ = [
    "as_numbers",
    "check_columns_differ",
    "column_names",
    "feature_names",
    "is_frame",
    "names_fault",
    "split_levels",
]

Array = npt.NDArray[Any]

_SPARSE = "Sparse data was passed, but dense data is required; convert it with '.toarray()'"
_STRINGS = (
    "could not convert string to float: {!r}{} (strings are not numbers; encode them first, "
    "categories by OneHotEncoder, texts by TfidfVectorizer, in a ModalityTransformer; numbers "
    "that were read as text by .astype(float))"
)
_DATETIME = "datetime values{} are not numbers; convert them first, for example to seconds"
_DATES = (datetime.date, datetime.timedelta, np.datetime64, np.timedelta64)


def is_frame(value: Any) -> bool:
    """Say whether ``value`` has the manners of a pandas DataFrame (pandas is optional)."""
    return hasattr(value, "iloc") and hasattr(value, "dtypes") and hasattr(value, "columns")


def feature_names(value: Any) -> tuple[str, ...] | None:
    """Return the column names of a frame when all of them are strings, else None."""
    columns = getattr(value, "columns", None)
    if columns is None or isinstance(value, Mapping):
        return None
    names = list(columns)
    return tuple(map(str, names)) if names and all(isinstance(n, str) for n in names) else None


def names_fault(got: tuple[str, ...] | None, expected: tuple[str, ...] | None) -> str | None:
    """Return what is wrong with the names of columns beside those of fit; None if nothing is.

    As in scikit-learn, columns without names are not compared.
    """
    if got is None or expected is None or got == expected:
        return None
    unseen = sorted(set(got) - set(expected))
    gone = sorted(set(expected) - set(got))
    detail = (
        f"unseen: {unseen[:5]}, missing: {gone[:5]}"
        if unseen or gone
        else f"they must be in the same order, {list(expected[:5])}{', ...' * (len(expected) > 5)}"
    )
    return f"The feature names should match those that were passed during fit: {detail}"


def split_levels(X: Any) -> Any:
    """Return a DataFrame with the columns (modality, feature) as a dict of DataFrames."""
    n_levels = getattr(X.columns, "nlevels", 1) if is_frame(X) else 1
    if n_levels == 1:
        return X
    if n_levels != 2:
        raise InputError(f"MultiIndex columns are (modality, feature), got {n_levels} levels")
    owner = X.columns.get_level_values(0)
    features = X.columns.get_level_values(1)
    groups = {}
    for name in dict.fromkeys(owner):
        positions = np.flatnonzero(owner == name)
        groups[name] = X.iloc[:, positions].set_axis(features[positions], axis=1)
    return groups


def column_names(X: Any) -> npt.NDArray[np.object_] | None:
    """Return the column names of a DataFrame, as scikit-learn's ``feature_names_in_``."""
    names = feature_names(X)
    if names is not None:
        return np.array(names, dtype=object)
    kinds = sorted({type(column).__name__ for column in getattr(X, "columns", ())})
    if "str" in kinds:
        raise InputTypeError(
            "Feature names are only supported if all input features have string names, but your "
            f"input has {kinds} as feature name / column name types."
        )
    return None


def check_columns_differ(frame: Any) -> None:
    """Refuse a frame that has a column name twice."""
    counts = Counter(frame.columns)
    twice = sorted(str(name) for name, count in counts.items() if count > 1)
    if twice:
        msg = f"duplicate columns {twice}"
        raise InputError(msg)


def as_numbers(
    value: Any, row_shape: tuple[int, ...] | None = None, *, codes: bool = False
) -> Array:
    """Turn the values of a modality into a real numpy array.

    Parameters
    ----------
    value : array-like
        numpy array, CPU tensor, DataFrame, Series, memmap, anything with ``__array__``, nested
        lists, or a list or object array of sequences of shape (T_i, d) where None is a missing one.
    row_shape : tuple of int or None, default=None
        Shape of one row where it is known, used when every sequence is missing.
    codes : bool, default=False
        Whether rows of shape (T_i,) are sequences of codes, which may differ in length.

    Returns
    -------
    ndarray
        Of dtype bool, integer, float32 or float64. Where a dtype need not change it is a view.

    Raises
    ------
    InputError, InputTypeError
        Where the values are no numbers or have no common shape.
    """
    if isinstance(value, Mapping):
        msg = f"expected an array, got a mapping ({type(value).__name__})"
        raise InputTypeError(msg)
    if sparse.issparse(value):
        raise InputTypeError(_SPARSE)
    if isinstance(value, torch.Tensor):
        value = _tensor_values(value)
    columns = tuple(getattr(value, "columns", ()))  # of polars, too
    if is_frame(value):
        value = _frame_values(value)
    if isinstance(value, np.matrix):
        raise InputTypeError("np.matrix is not supported; convert it with np.asarray")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        msg = "masked arrays are not supported, as NaN marks what is missing: use .filled(np.nan)"
        raise InputError(msg)
    if isinstance(value, list | tuple):
        array = _list_values(value, row_shape, codes)
    else:
        try:
            array = np.asarray(value)
        except (TypeError, ValueError) as error:
            raise (InputTypeError if isinstance(error, TypeError) else InputError)(
                str(error)
            ) from None
    if array.dtype == object and array.ndim == 2 and array.size:
        array = _one_column(array, columns)
    if array.dtype == object and array.ndim == 1 and array.size:
        array = _stack_rows(list(array), row_shape, codes)
    return _real(array, columns)


def _tensor_values(tensor: torch.Tensor) -> Any:
    """Return the memory of a CPU tensor as a numpy array, or a list for a nested tensor."""
    if tensor.is_nested:
        return [_tensor_values(row) for row in tensor.unbind()]
    if tensor.layout is not torch.strided:
        raise InputTypeError(_SPARSE.replace("toarray", "to_dense"))
    if tensor.device.type != "cpu":
        msg = f"tensor on device '{tensor.device}'; pass tensor.cpu().float() or a numpy array"
        raise InputTypeError(msg)
    try:
        return tensor.detach().resolve_conj().resolve_neg().numpy()
    except TypeError:
        msg = f"tensor of {tensor.dtype} has no numpy dtype; pass tensor.cpu().float()"
        raise InputTypeError(msg) from None


def _frame_values(frame: Any) -> Array:
    """Return a DataFrame as one array in the smallest dtype that holds its columns."""
    check_columns_differ(frame)
    dtypes = list(dict.fromkeys(frame.dtypes))
    if any(type(dtype).__name__ == "SparseDtype" for dtype in dtypes):
        msg = "Sparse data was passed, but dense data is required; use .sparse.to_dense()"
        raise InputTypeError(msg)
    kinds = {getattr(dtype, "kind", "O") for dtype in dtypes}
    if kinds & set("mM"):
        kind_of = zip(frame.columns, frame.dtypes, strict=True)
        names = [name for name, dtype in kind_of if getattr(dtype, "kind", "O") in "mM"]
        raise InputTypeError(_DATETIME.format(_in_columns(names)))
    if kinds <= set("biuf") and dtypes:
        plain = [dtype for dtype in dtypes if isinstance(dtype, np.dtype)]
        if len(plain) == len(dtypes):
            return np.asarray(frame.to_numpy(dtype=np.result_type(*plain)))
        # Extension dtypes (Int64, boolean, pyarrow's) hold pd.NA, for which only floats have a
        # place.
        if bool(frame.isna().to_numpy().any()):
            return np.asarray(frame.to_numpy(dtype=np.float64, na_value=np.nan))
        numpy_dtypes = [np.dtype(getattr(dtype, "numpy_dtype", dtype)) for dtype in dtypes]
        return np.asarray(frame.to_numpy(dtype=np.result_type(*numpy_dtypes)))
    return np.asarray(frame.to_numpy(dtype=object))


def _list_values(rows: Any, row_shape: tuple[int, ...] | None, codes: bool) -> Array:
    """Return a list of rows, of sequences or of images as one array."""
    first = next((row for row in rows if row is not None), None)
    if not hasattr(first, "ndim"):
        try:
            return np.asarray(rows)
        except ValueError:  # ragged: numpy says "inhomogeneous", we say where
            pass
    return _stack_rows(rows, row_shape, codes)


def _one_column(table: Array, columns: tuple[Any, ...]) -> Array:
    """Return a column whose cells are sequences as their list; any other table as it is."""
    held = [
        j
        for j, column in enumerate(table.T)
        if any(isinstance(cell, list | tuple) or getattr(cell, "ndim", 0) > 0 for cell in column)
    ]
    if not held:
        return table
    if table.shape[1] > 1:
        where = _in_columns([columns[j] for j in held]) if columns else ""
        raise InputError(
            f"the cells{where} hold sequences, beside other columns; pass every column of "
            "sequences as a modality of its own, such as frame['name']"
        )
    column: Array = table[:, 0]
    return column


def _is_absent(row: Any) -> bool:
    """Say whether a row is None, NaN or pd.NA in the place of a sequence."""
    return (
        row is None or type(row).__name__ == "NAType" or (isinstance(row, float) and np.isnan(row))
    )


def _stack_rows(rows: Any, row_shape: tuple[int, ...] | None, codes: bool) -> Array:
    """Stack the rows of a list; sequences of unequal length are padded with NaN."""
    if all(np.isscalar(row) for row in rows):
        return np.asarray(rows)
    arrays = [None if _is_absent(row) else as_numbers(row) for row in rows]
    if codes or any(a is not None and a.ndim > 1 for a in arrays):
        # An empty list is a sequence without steps, and that is a missing one.
        arrays = [None if a is None or a.shape[:1] == (0,) else a for a in arrays]
    known = [a for a in arrays if a is not None]
    if not known:
        if row_shape is None:
            raise InputError("no row has a value, so that its shape is unknown")
        step = (1, *row_shape[1:]) if len(row_shape) == 2 else row_shape
        return np.full((len(rows), *step), np.nan)
    shapes = {a.shape for a in known}
    if len(shapes) == 1 and len(known) == len(arrays):
        return np.stack(known)
    here = np.array([a is not None for a in arrays])
    dtype = np.float32 if {a.dtype for a in known} == {np.dtype(np.float32)} else np.float64
    if len(shapes) == 1:
        filled = np.full((len(arrays), *known[0].shape), np.nan, dtype=dtype)
        filled[here] = np.stack(known)
        return filled
    axes = {a.ndim for a in known}
    if axes != {2} and not (codes and axes == {1}):
        sizes = sorted({a.shape[0] if a.ndim else 0 for a in known})
        raise InputError(
            f"rows of different length ({sizes[0]} to {sizes[-1]}) or number of axes: an "
            "inhomogeneous list; sequences are passed as arrays of shape (length, n_features), one "
            "feature as (length, 1), integer codes as (length,) with an encoder that has "
            "vocabulary_size, as encoders={'<modality>': GRUEncoder(vocabulary_size=...)}"
        )
    widths = sorted({a.shape[1:] for a in known})
    if len(widths) > 1:
        found = [width for (width,) in widths]
        first = known[0].shape
        row, got = next(
            (i, a.shape) for i, a in enumerate(arrays) if a is not None and a.shape[1] != first[1]
        )
        raise InputError(
            f"sequences have different numbers of features: {found}; expected {first[1]} in every "
            f"row, as in the first, got {got[1]} in row {row} (shape {got})"
        )
    lengths = np.zeros(len(arrays), dtype=np.int64)
    lengths[here] = [len(a) for a in known]
    steps = np.arange(lengths.max()) < lengths[:, None]
    padded = np.full((*steps.shape, *widths[0]), np.nan, dtype=dtype)
    padded[steps] = np.concatenate(known)
    return padded


def _real(array: Array, columns: tuple[Any, ...] = ()) -> Array:
    """Return an array of numbers in one of the dtypes that the package computes with.

    ``columns`` are the names of a frame's columns, for messages.
    """
    array = np.asarray(array)  # a memmap or a masked array without mask becomes a plain array
    kind = array.dtype.kind
    if kind == "V":
        msg = "Expected 2D array of numbers, got a structured array; pass its fields as columns"
        raise InputError(msg)
    if kind == "c":
        raise InputError("Complex data not supported")
    if kind in "mM":
        raise InputTypeError(_DATETIME.format(""))
    if kind in "USaT":
        raise InputError(_STRINGS.format(_first(array.flat), ""))
    if kind == "O":
        return _object_numbers(array, columns)
    if kind == "f" and array.dtype.itemsize not in (4, 8):
        with np.errstate(over="ignore"):
            return array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _first(items: Iterable[Any]) -> Any:
    item = next(iter(items), "")
    return item.item() if isinstance(item, np.generic) else item


def _object_numbers(array: Array, columns: tuple[Any, ...]) -> Array:
    """Turn numeric objects into float64; pd.NA becomes NaN."""
    types = {type(item) for item in array.flat}
    for kind in types:
        if issubclass(kind, str | bytes):
            text = _first(item for item in array.flat if isinstance(item, kind))
            raise InputError(_STRINGS.format(text, _where(array, columns, (str, bytes))))
        if issubclass(kind, complex | np.complexfloating):
            raise InputError("Complex data not supported")
        if issubclass(kind, _DATES):
            raise InputTypeError(_DATETIME.format(_where(array, columns, _DATES)))
    if type(None) in types:  # numpy would take it for NaN
        raise InputTypeError(
            "argument must be a string or a real number, not 'NoneType'; write NaN for what is "
            "missing"
        )
    flat = [np.nan if type(item).__name__ == "NAType" else item for item in array.flat]
    try:
        return np.array(flat, dtype=object).astype(np.float64).reshape(array.shape)
    except OverflowError:
        msg = "contains infinity or a value too large for dtype('float64')"
        raise InputError(msg) from None
    except TypeError as error:
        raise InputTypeError(str(error)) from None
    except ValueError as error:
        raise InputError(str(error)) from None


def _where(array: Array, columns: tuple[Any, ...], types: tuple[type, ...]) -> str:
    """Name the columns of a frame that hold values of some types."""
    pairs = zip(columns, array.T, strict=False)
    return _in_columns([n for n, column in pairs if any(isinstance(v, types) for v in column)])


def _in_columns(names: list[Any]) -> str:
    if not names:
        return ""
    return f" in column{'s' if len(names) > 1 else ''} {', '.join(repr(str(n)) for n in names)}"
