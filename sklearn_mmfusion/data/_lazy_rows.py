"""Where the rows of a LazyArray are: in a file, in a chunked store, in memory."""

from __future__ import annotations

import math
import mmap
import os
from io import FileIO
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import InputError, InputTypeError

__all__ = ["StoredRows", "open_rows"]

_GAP_BYTES = 16 * 1024  # between two rows, up to which both are read in one go
_PIECE_BYTES = 4 * 2**20  # read in one go at most
_RESIDENT_BYTES = 32 * 2**20  # pages of a file that stay mapped at most
_FAULT_BYTES = 64 * 1024  # what the system maps around one page that is touched
_NPY = b"\x93NUMPY"  # what files of NumPy's format begin with
_HEAD_BYTES = 64 * 1024  # of such a file are read at most, before its values

Rows = slice | npt.NDArray[np.intp]


class StoredRows:
    """Something whose rows can be read, by a slice or by increasing positions.

    Where ``in_memory``, positions may be in any order, more than once too.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk_rows = 1
    in_memory = False
    origin = ""

    def read(self, rows: Rows) -> npt.NDArray[Any]:
        """Return the rows."""
        raise NotImplementedError  # pragma: no cover - abstract


def open_rows(array: Any) -> StoredRows:
    """Return the rows of an array, of a memory map those of its file.

    Raises
    ------
    InputTypeError
        If the array lacks a shape, a dtype of numpy's or rows.
    InputError
        If it has no axes or masked entries, or is a memory map whose changes are not in the file.
    """
    if not all(hasattr(array, name) for name in ("shape", "dtype", "__getitem__")):
        raise InputTypeError(
            "LazyArray: expected an array with shape, dtype and rows, got "
            f"{type(array).__name__}. Open the file with np.load(path, mmap_mode='r'), "
            "np.memmap or zarr."
        )
    try:
        np.dtype(array.dtype)
    except TypeError:
        raise InputTypeError(
            f"LazyArray: expected an array with a numpy dtype, got {type(array).__name__} of "
            f"{array.dtype}. A tensor is in memory: pass it as the modality itself, or "
            "tensor.numpy()."
        ) from None
    if len(array.shape) == 0:
        raise InputError("LazyArray: expected one row per sample, got an array of shape ()")
    if np.ma.isMaskedArray(array):
        if np.ma.getmaskarray(array).any():
            raise InputError(
                "LazyArray: expected no masked entries, whose values would be read; fill them, "
                "array.filled(np.nan)"
            )
        array = array.data
    if isinstance(array, np.memmap) and array.filename is not None:
        place = _Place(array)
        return _FileRows(place) if place.has_whole_rows else _MappedRows(place)
    return _MemoryRows(array) if type(array) is np.ndarray else _StoreRows(array)


class _MemoryRows(StoredRows):
    """Rows of an array in memory."""

    in_memory = True

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype

    def read(self, rows: Rows) -> npt.NDArray[Any]:
        """Return the rows."""
        if isinstance(rows, slice):
            return self._array[rows].copy()
        # The faster of the two, which would copy an array of another layout as a whole.
        if self._array.flags.c_contiguous:
            return self._array.take(rows, axis=0)
        return self._array[rows]


class _StoreRows(StoredRows):
    """Rows of whatever can be indexed: zarr, HDF5."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape = tuple(int(size) for size in array.shape)
        self.dtype = np.dtype(array.dtype)
        chunks = getattr(array, "chunks", None)
        self.chunk_rows = int(chunks[0]) if chunks else 1

    def read(self, rows: Rows) -> npt.NDArray[Any]:
        """Return the rows."""
        if isinstance(rows, slice):
            return np.array(self._array[rows])
        if len(rows) == 0:
            return np.empty((0, *self.shape[1:]), self.dtype)
        return np.array(getattr(self._array, "oindex", self._array)[rows])


class _Place:
    """Where in its file the array of a memory map is.

    Attributes
    ----------
    low, n_bytes : int
        First byte of the file that belongs to the array, and how many there are up to its last.
    first : int
        Byte of the first element, counted from ``low``.
    """

    def __init__(self, array: np.memmap[Any, Any]) -> None:
        if array.mode == "c":
            raise InputError(
                f"LazyArray: the memory map of {os.fspath(str(array.filename))!r} was opened with "
                "mode 'c', whose changes are not in the file; open it with mode 'r'"
            )
        self.shape, self.dtype, self.strides = array.shape, array.dtype, array.strides
        self.path = os.path.abspath(str(array.filename))
        low, high = np.lib.array_utils.byte_bounds(array)
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        map_start = np.frombuffer(base, np.uint8, count=1).__array_interface__["data"][0]
        granularity = mmap.ALLOCATIONGRANULARITY
        self.low = array.offset - array.offset % granularity + low - map_start
        self.n_bytes = high - low
        self.first = array.__array_interface__["data"][0] - low
        with open(self.path, "rb") as file:
            head = file.read(min(array.offset, _HEAD_BYTES))
        self.head = head if head.startswith(_NPY) else b""
        self.seen: tuple[int, ...] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "seen": None}

    def check(self, file: IO[bytes]) -> None:
        """Refuse a file in whose place another array was saved: its bytes would be read as rows.

        A file in NumPy's format says in front what it holds; of others only the length is known.
        """
        if not self.head:
            return
        status = os.fstat(file.fileno())
        now = (status.st_ino, status.st_size, status.st_mtime_ns)
        if now == self.seen:
            return
        file.seek(0)
        if file.read(len(self.head)) != self.head:
            raise self.error("another array was saved in its place")
        self.seen = now

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return int(math.prod(self.shape[1:]) * self.dtype.itemsize)

    @property
    def has_whole_rows(self) -> bool:
        """Whether each row is one piece of the file, and the next row is behind it."""
        plain = np.empty((1, *self.shape[1:]), self.dtype).strides[1:]
        return self.strides[1:] == plain and self.strides[0] >= self.row_bytes

    def error(self, reason: object) -> InputError:
        """Return what to raise where the file is not what it was."""
        return InputError(f"LazyArray: the file {self.path!r} cannot be read any more: {reason}")


class _FileRows(StoredRows):
    """Rows that are read from the file behind a memory map.

    Pages that are read through a map count as memory of the process while they are mapped, and how
    many the system maps around a page is its own affair. What is read lies in the buffer alone.
    """

    def __init__(self, place: _Place) -> None:
        self._place = place
        self.shape, self.dtype = place.shape, place.dtype
        self.origin = f", {os.path.basename(place.path)}"

    def read(self, rows: Rows) -> npt.NDArray[Any]:
        """Return the rows."""
        if isinstance(rows, slice):
            rows = np.arange(rows.start, max(rows.start, rows.stop), dtype=np.intp)
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if out.size == 0:
            return out
        place = self._place
        stride, size = place.strides[0], place.row_bytes
        starts = rows * stride
        apart = np.diff(starts) - size > _GAP_BYTES
        apart |= np.diff(starts // _PIECE_BYTES) > 0
        cuts = np.flatnonzero(apart) + 1
        first, last = np.append(0, cuts), np.append(cuts, len(rows))
        begins = (place.low + place.first + starts[first]).tolist()
        lengths = (starts[last - 1] - starts[first] + size).tolist()
        parts = out.reshape(-1).view(np.uint8)
        memory = parts.data
        pieces = zip(begins, lengths, first.tolist(), last.tolist(), strict=True)
        try:
            with open(place.path, "rb", buffering=0) as file:
                place.check(file)
                for begin, length, i, j in pieces:
                    file.seek(begin)
                    if length == (j - i) * size:
                        self._fill(file, memory[i * size : j * size])
                        continue
                    buffer = np.empty(length, np.uint8)
                    self._fill(file, buffer.data)
                    n_rows = (length - size) // stride + 1
                    found = np.ndarray((n_rows, size), np.uint8, buffer, 0, (stride, 1))
                    wanted = parts[i * size : j * size].reshape(j - i, size)
                    wanted[:] = found[rows[i:j] - rows[i]]
        except OSError as error:
            raise place.error(error) from error
        return out

    def _fill(self, file: FileIO, memory: memoryview) -> None:
        n_bytes = file.readinto(memory)
        while n_bytes != len(memory):  # the system may read less than it is asked for
            if not n_bytes:
                raise self._place.error("it is shorter than it was")
            memory = memory[n_bytes:]
            n_bytes = file.readinto(memory)


class _MappedRows(StoredRows):
    """Rows of a memory map in another order than that of C, through a read-only map of its own.

    A page that was read stays in resident memory while it is mapped, so that a pass over a file
    would make all of it resident: pages are given back.
    """

    def __init__(self, place: _Place) -> None:
        self._place = place
        self.shape, self.dtype = place.shape, place.dtype
        self.origin = f", {os.path.basename(place.path)}"
        self._map: mmap.mmap | None = None
        self._values: npt.NDArray[Any] | None = None
        self._mapped = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None, "_values": None, "_mapped": 0}

    def _opened(self) -> npt.NDArray[Any]:
        if self._values is None:
            place = self._place
            start = place.low - place.low % mmap.ALLOCATIONGRANULARITY
            shift = place.low - start
            try:
                with open(place.path, "rb") as file:
                    place.check(file)
                    self._map = mmap.mmap(
                        file.fileno(), shift + place.n_bytes, access=mmap.ACCESS_READ, offset=start
                    )
            except InputError:
                raise
            except (OSError, ValueError) as error:
                raise place.error(error) from error
            if hasattr(mmap, "MADV_NOHUGEPAGE"):
                # Else one row may map 2 MB.
                self._map.madvise(mmap.MADV_NOHUGEPAGE)
            self._values = np.ndarray(
                self.shape, self.dtype, self._map, shift + place.first, place.strides
            )
        return self._values

    def read(self, rows: Rows) -> npt.NDArray[Any]:
        """Return the rows."""
        if isinstance(rows, slice):
            rows = np.arange(rows.start, max(rows.start, rows.stop), dtype=np.intp)
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if out.size == 0:
            return out
        values = self._opened()
        per_row = max(self._place.row_bytes, _FAULT_BYTES)
        step = max(1, _RESIDENT_BYTES // per_row)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            out[start : start + step] = values[part]
            self._mapped += len(part) * per_row
            if self._mapped >= _RESIDENT_BYTES:
                self._release()
        return out

    def _release(self) -> None:
        self._mapped = 0
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
