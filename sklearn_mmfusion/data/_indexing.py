"""Rows and modalities by position, mask or name: the indexers of a ModalityFrame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion.data._row_labels import take_all
from sklearn_mmfusion.data._values import Rows, take_rows

__all__ = ["Column", "Indexer", "as_names", "as_rows"]


class Column:
    """Some rows of one modality, on their way back into a frame.

    ``permutation_importance`` takes ``X.iloc[rows, j]``, sets ``index`` on what it gets and
    assigns it to a name. An array has no such attribute, hence this class.

    Attributes
    ----------
    values : array-like
        The rows.
    name : str
        Name of the modality.
    index : ndarray of shape (n_samples,)
        Labels of the rows; may be set, and means nothing to a frame.
    """

    def __init__(self, values: Any, name: str) -> None:
        self.values = values
        self.name = name
        self.index = np.arange(values.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the rows."""
        return tuple(self.values.shape)

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.values.shape[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Return the rows as a numpy array."""
        array = np.asarray(self.values, dtype=dtype)
        return array.copy() if copy else array


class Indexer:
    """What ``X.iloc`` and ``X.loc`` return.

    Parameters
    ----------
    modalities : mapping of str to array-like
        The modalities to take from.
    build : callable
        Makes a frame of a mapping.
    by_name : bool
        Whether modalities are named and slices of rows include their end, as in ``loc``;
        otherwise both are positions, as in ``iloc``.
    """

    def __init__(
        self,
        modalities: Mapping[str, Any],
        build: Callable[[Mapping[str, Any]], Any],
        by_name: bool,
    ) -> None:
        self._modalities = modalities
        self._build = build
        self._by_name = by_name

    def __getitem__(self, key: Any) -> Any:
        """Return a frame, or a :class:`Column` where one single modality is asked for."""
        rows, columns = key if isinstance(key, tuple) and len(key) == 2 else (key, slice(None))
        n_rows = next((int(value.shape[0]) for value in self._modalities.values()), 0)
        rows = _labelled_rows(rows, n_rows) if self._by_name else as_rows(rows, n_rows)
        names = self._names(columns)
        if isinstance(names, str):
            return Column(take_rows(self._modalities[names], rows), names)
        return self._build(take_all(self._modalities, names, rows))

    def _names(self, key: Any) -> str | list[str]:
        """Return the names that a column key stands for; a string for a single one."""
        known = list(self._modalities)
        if key is Ellipsis or (isinstance(key, slice) and key == slice(None)):
            return known
        if self._by_name and isinstance(key, str):
            return key
        if self._by_name and (names := as_names(key)) is not None:
            return names
        if self._by_name and (isinstance(key, slice) or np.asarray(key).dtype != bool):
            raise KeyError(
                f"loc takes modality names of {known} or a boolean mask, got {key!r}. For "
                "positions use iloc."
            )
        if np.ndim(key) == 0 and not isinstance(key, slice):
            return str(np.asarray(known, dtype=object)[_as_integer(key)])
        return [str(name) for name in np.asarray(known, dtype=object)[as_rows(key, len(known))]]


def as_names(key: Any) -> list[str] | None:
    """Return the key as a list of names if it is a non-empty sequence of strings."""
    if isinstance(key, slice) or np.ndim(key) != 1:
        return None
    entries = np.asarray(key, dtype=object).tolist()
    return entries if entries and all(isinstance(entry, str) for entry in entries) else None


def _labelled_rows(key: Any, n_rows: int) -> Rows:
    """Return rows by their labels 0 to n - 1, as pandas does: slices include both their ends."""
    if isinstance(key, slice):
        step = 1 if key.step is None else int(key.step)
        first, last = (0, n_rows - 1) if step > 0 else (n_rows - 1, 0)
        first = first if key.start is None else int(key.start)
        last = last if key.stop is None else int(key.stop)
        if step > 0:
            first, stop = max(first, 0), min(last, n_rows - 1) + 1
        else:
            first, stop = min(first, n_rows - 1), max(last, 0) - 1
        if len(range(first, stop, step)) == 0:
            return slice(0, 0)
        return slice(first, stop if stop >= 0 else None, step)
    rows = as_rows(key, n_rows)
    if not isinstance(rows, slice) and len(rows) and rows.min() < 0:
        raise KeyError(f"no row {int(rows.min())}: labels are 0 to {n_rows - 1}; iloc counts back")
    return rows


def as_rows(key: Any, n_rows: int) -> Rows:
    """Return a row key as a slice or an array of positions.

    Parameters
    ----------
    key : slice, int, mask of shape (n_rows,) or integers of shape (n,)
        What the user asked for; one integer gives one row.
    n_rows : int
        Number of rows there are.

    Raises
    ------
    IndexError
        If the key is of another kind or length, or a position does not exist.
    """
    if isinstance(key, slice):
        return key
    index = np.asarray(key)
    if index.size == 0 and index.ndim == 1 and index.dtype != bool:
        return np.empty(0, dtype=np.intp)
    if index.ndim == 1 and index.dtype == bool:
        if len(index) != n_rows:
            raise IndexError(f"mask of {len(index)} rows for {n_rows} rows")
        return np.flatnonzero(index)
    if index.ndim > 1 or index.dtype.kind not in "iu":
        raise IndexError(
            f"rows must be a slice, a boolean mask or integers, got {key!r}; of labels in the "
            "index of a DataFrame take the positions, X[name].index.get_indexer(labels)"
        )
    index = np.atleast_1d(index).astype(np.intp)
    if index.min() < -n_rows or index.max() >= n_rows:
        raise IndexError(f"row {int(index[np.abs(index).argmax()])} of {n_rows} rows")
    return index


def _as_integer(key: Any) -> int:
    array = np.asarray(key)
    if array.dtype.kind not in "iu":
        raise IndexError(f"iloc takes positions of modalities, got {key!r}. For names use loc.")
    return int(array)
