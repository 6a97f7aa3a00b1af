"""A row view of an array that stays on disk: rows are read when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.data._indexing import as_rows
from sklearn_mmfusion.data._lazy_rows import StoredRows, open_rows

__all__ = ["LazyArray"]

_ARRAY_BYTES = 2**30  # above, np.asarray is refused

Positions = range | npt.NDArray[np.intp]


class LazyArray:
    """Rows of an array on disk, read batch by batch.

    Use it as a modality where the data do not fit in memory: an estimator then reads no more
    than the rows of a few batches at a time. Slices, masks and index arrays, scikit-learn's
    splitters among them, give another view of the same file and read nothing.

    Parameters
    ----------
    array : memmap, zarr array or array-like of shape (n_samples, ...)
        Anything with ``shape``, ``dtype`` and rows: ``array[start:stop]``, and ``array[rows]`` (or
        ``array.oindex[rows]``) with increasing positions. Of a memory map the file is opened
        again, read-only, so that a pickle holds its name instead of its contents.
    index : slice, mask or array of int, default=None
        Rows of the view, in their order; None takes all.
    block_size : int, default=None
        Rows that are shuffled together in training, so that a chunk is read once. None is the
        number of rows in a chunk where the array has ``chunks``, else 1: every row on its own.

    Attributes
    ----------
    shape : tuple of int
        Shape of the view.
    dtype : dtype
        Dtype of the rows.
    ndim : int
        Number of axes.
    block_size : int
        Rows that are shuffled together.

    Raises
    ------
    InputTypeError
        If the array lacks a shape, a dtype of numpy's (a tensor has its own) or rows.
    InputError
        If the memory map was opened copy-on-write: a file does not have its changes. Later, where
        rows are read, if the file is gone, shorter, or holds another array (of a ``.npy`` file).
        If entries of an array are masked.

    Notes
    -----
    ``np.asarray(view)`` reads everything, and is refused above 1 GiB; :meth:`read` is not.
    Missing values are found when rows are read. ``fit`` reads all rows once before it trains.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import LazyArray
    >>> view = LazyArray(np.arange(12.0).reshape(6, 2))[::2]
    >>> view
    LazyArray of shape (3, 2), float64
    >>> view[[2, 0]].read()
    array([[8., 9.],
           [0., 1.]])
    """

    dtype: np.dtype[Any]
    block_size: int

    def __init__(self, array: Any, index: Any = None, *, block_size: int | None = None) -> None:
        if isinstance(array, LazyArray):
            self._source: StoredRows = array._source
            self._index: Positions = array._index
            self.dtype = array.dtype
            own = array.block_size
        else:
            self._source = open_rows(array)
            self._index = range(self._source.shape[0])
            self.dtype = self._source.dtype
            own = self._source.chunk_rows
        self.block_size = own if block_size is None else int(block_size)
        if index is not None:
            self._index = _compose(self._index, as_rows(index, len(self._index)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the view."""
        return (len(self._index), *self._source.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._source.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows once they are read."""
        return math.prod(self.shape) * int(self.dtype.itemsize)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._index)

    def __getitem__(self, key: Any) -> Any:
        """Return a view of some rows, which reads nothing; one integer reads the row."""
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]
        if isinstance(key, tuple):
            raise IndexError(
                f"a LazyArray takes rows alone, got {key!r}; read them first: view[rows].read()"
            )
        if not isinstance(key, slice) and np.ndim(key) == 0:
            return self.read(as_rows(key, len(self)))[0]
        return LazyArray(self, key)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        """Iterate over the rows, one at a time."""
        return (self[i] for i in range(len(self)))

    def read(self, rows: Any = None) -> npt.NDArray[Any]:
        """Read rows into memory.

        Parameters
        ----------
        rows : slice, mask or array of int, default=None
            Rows of the view, in their order; None reads all.

        Returns
        -------
        ndarray of shape (n_rows, ...)
            A copy of the rows.
        """
        index = self._index
        if rows is not None:
            index = _compose(index, as_rows(rows, len(index)))
        if isinstance(index, range) and (index.step == 1 or not index):
            values = self._source.read(slice(index.start, index.start + len(index)))
        else:
            positions = np.asarray(index, dtype=np.intp)
            # Increasing positions go through a file, or a chunk, once.
            if self._source.in_memory or (np.diff(positions) > 0).all():
                values = self._source.read(positions)
            else:
                positions, inverse = np.unique(positions, return_inverse=True)
                values = self._source.read(positions)[inverse]
        return values.astype(self.dtype, copy=False)

    def astype(self, dtype: npt.DTypeLike) -> LazyArray:
        """Return a view whose rows are converted when they are read."""
        view = LazyArray(self)
        view.dtype = np.dtype(dtype)
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Read all rows, unless there are too many of them."""
        if self.nbytes > _ARRAY_BYTES:
            raise InputError(
                f"{self!r}: expected at most {_ARRAY_BYTES} bytes to read at once, got "
                f"{self.nbytes}. Take rows first, view[:1000], or use view.read() if all of it "
                "fits in memory."
            )
        values = self.read()
        return values if dtype is None else values.astype(dtype, copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a reference to the file, and the rows of the view."""
        return _rebuild, (self._source, self._index, self.dtype, self.block_size)

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyArray:
        """Return a view of the same file: nothing is ever written to it."""
        return _rebuild(self._source, self._index, self.dtype, self.block_size)

    def __repr__(self) -> str:
        """Return shape, dtype and file."""
        return f"LazyArray of shape {self.shape}, {self.dtype}{self._source.origin}"


def _rebuild(
    source: StoredRows, index: Positions, dtype: np.dtype[Any], block_size: int
) -> LazyArray:
    view = LazyArray.__new__(LazyArray)
    view._source, view._index, view.dtype, view.block_size = source, index, dtype, block_size
    return view


def _compose(index: Positions, rows: slice | npt.NDArray[np.intp]) -> Positions:
    """Positions of rows of a view; a slice of a slice stays a range, which takes no memory."""
    if isinstance(rows, slice):
        return index[rows]
    rows = np.where(rows < 0, rows + len(index), rows)
    if isinstance(index, range):
        return np.asarray(index.start + index.step * rows, dtype=np.intp)
    return index[rows]
