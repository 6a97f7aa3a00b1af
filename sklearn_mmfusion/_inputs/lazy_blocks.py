"""Modalities that stay on disk: blocks whose rows are read and checked when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import FusionError
from sklearn_mmfusion._inputs.absence import make_block
from sklearn_mmfusion._inputs.codes import code_block
from sklearn_mmfusion._inputs.modality_values import as_numbers
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData
from sklearn_mmfusion.data._lazy import LazyArray

__all__ = [
    "LARGE_BYTES",
    "LazyBlock",
    "VIEW_BYTES",
    "in_parts",
    "is_lazy",
    "lazy_numbers",
    "scan",
    "some_columns",
    "take_rows",
    "used_width",
]

VIEW_BYTES = 8 * 2**20  # a modality larger than that is not copied for a split
LARGE_BYTES = 32 * 2**20  # one larger than that leaves little memory for anything else
_SCAN_BYTES = 32 * 2**20


def lazy_numbers(array: LazyArray) -> LazyArray:
    """Return the array in one of the dtypes that the package computes with.

    Raises
    ------
    InputError, InputTypeError
        Where the values are no numbers.
    """
    return array.astype(as_numbers(array.read(slice(0, 1))).dtype)


@dataclass
class LazyBlock(ModalityBlock):
    """The rows of a modality that are not in memory.

    ``values`` is a :class:`~sklearn_mmfusion.data.LazyArray`, in which absence still is NaN;
    ``lengths`` and ``present`` are known after :func:`scan`.

    Attributes
    ----------
    missing, dtype : str
        What :func:`~sklearn_mmfusion._inputs.absence.make_block` is told.
    rows : range or ndarray
        Rows of the user's X, for messages.
    scanned : bool
        Whether all rows were read once.
    in_memory : bool
        Whether these are rows of a block in memory, which has been checked.
    is_large : bool
        Whether what is computed from the rows should take little memory too.
    """

    missing: str = "raise"
    dtype: str | None = None
    rows: range | npt.NDArray[np.intp] = range(0)
    scanned: bool = False
    in_memory: bool = False
    is_large: bool = True

    @property
    def value_dtype(self) -> np.dtype[Any]:
        """Dtype of the values once they are read; codes may be whole numbers in floats."""
        dtype: np.dtype[Any] = self.values.dtype
        return np.dtype(np.int64) if self.codes and dtype.kind == "f" else dtype

    def take(self, rows: npt.NDArray[np.intp] | slice) -> LazyBlock:
        """Return the block of some rows, which reads nothing."""
        origin: Any = self.rows if isinstance(rows, slice) else np.asarray(self.rows)
        return replace(
            self,
            values=self.values[rows],
            lengths=None if self.lengths is None else self.lengths[rows],
            present=None if self.present is None else self.present[rows],
            rows=origin[rows],
        )

    def read(self) -> ModalityBlock:
        """Return the block in memory; its rows are checked."""
        array: Any = self.values
        if self.in_memory:
            return ModalityBlock(self.name, array.read(), self.lengths, self.present, self.codes)
        try:
            values, missing, rows = array.read(), self.missing, self.rows
            if self.codes:
                block = code_block(self.name, values, missing=missing, rows=rows)
            else:
                block = make_block(self.name, values, missing=missing, dtype=self.dtype, rows=rows)
        except FusionError as error:
            raise type(error)(f"modality {self.name!r}: {error}") from None
        if self.scanned:
            block = replace(block, lengths=self.lengths, present=self.present)
        return block


def is_lazy(data: ModalityData) -> bool:
    """Say whether a modality is on disk."""
    return any(isinstance(block, LazyBlock) for block in data.blocks)


def take_rows(data: ModalityData, rows: npt.NDArray[np.intp]) -> ModalityData:
    """Return some rows; of large modalities a view whose rows are gathered batch by batch."""
    blocks = []
    for block in data.blocks:
        if not isinstance(block, LazyBlock) and block.values.nbytes > VIEW_BYTES:
            values: Any = LazyArray(block.values, block_size=1)
            block = LazyBlock(
                block.name,
                values,
                block.lengths,
                block.present,
                block.codes,
                rows=range(len(values)),
                scanned=True,
                in_memory=True,
                is_large=block.values.nbytes > LARGE_BYTES,
            )
        blocks.append(block.take(rows))
    return ModalityData(blocks)


def in_parts(block: ModalityBlock) -> Iterator[ModalityBlock]:
    """Return consecutive rows in memory: all at once, or of what is on disk a chunk at a time."""
    if not isinstance(block, LazyBlock):
        return iter([block])
    return (block.take(rows).read() for rows in _chunks(block))


def some_columns(
    data: ModalityData, n_columns: int, *, spaced: bool = False
) -> list[npt.NDArray[Any]]:
    """Return values of each row, flattened, of every modality: (n_samples, up to n_columns).

    The first ones, or with ``spaced`` those at even distances over all of them. Steps that are
    padding in all rows are left out; NaN at those that are in some, and in rows without the
    modality.
    """
    found = []
    for block in data.blocks:
        width = used_width(block)
        taken: Any = slice(min(n_columns, width))
        if spaced:
            taken = np.linspace(0, width - 1, min(n_columns, width)).round().astype(np.intp)
        found.append(np.concatenate([_columns(part, taken) for part in in_parts(block)]))
    return found


def _columns(part: ModalityBlock, taken: Any) -> npt.NDArray[Any]:
    """Return some values of each row, flattened, with NaN for those that are not there."""
    n, *shape = part.values.shape
    # A copy, so that no chunk is kept for a few of its columns.
    flat = part.values.reshape(n, -1)[:, taken].copy()
    if part.codes or (part.lengths is None and part.present is None):
        return flat
    flat = flat.astype(np.float64)
    if part.lengths is not None:
        step = np.arange(prod(shape))[taken] // prod(shape[1:])
        flat[step >= part.lengths[:, None]] = np.nan
    if part.present is not None:
        flat[~part.present] = np.nan
    return flat


def used_width(block: ModalityBlock) -> int:
    """Return the number of values of a row, without the steps that are padding in all rows."""
    n_steps, *rest = block.values.shape[1:]
    if block.codes and not isinstance(block, LazyBlock):
        is_code = block.values.astype(np.int64, copy=False) >= 0
        n_steps = int(np.flatnonzero(is_code.any(0)).max(initial=0)) + 1
    elif block.lengths is not None:
        n_steps = max(1, int(block.lengths.max()))
    return int(n_steps * prod(rest))


def scan(data: ModalityData) -> ModalityData:
    """Read all rows of the modalities on disk once: check them, find lengths and missing rows.

    Raises
    ------
    InputError
        For the first chunk with a value that cannot be used.
    """
    return ModalityData(
        [_scanned(block) if isinstance(block, LazyBlock) else block for block in data.blocks]
    )


def _scanned(block: LazyBlock) -> LazyBlock:
    n = len(block.values)
    if block.values.dtype.kind != "f" and not block.codes:
        return replace(block, scanned=True)
    is_sequence = block.values.ndim == 3
    n_steps = block.values.shape[1]
    lengths = np.full(n, n_steps, dtype=np.int64)
    present = np.ones(n, dtype=np.bool_)
    for rows in _chunks(block):
        part = block.take(rows).read()
        if part.present is not None:
            present[rows] = part.present
        if part.lengths is not None:
            lengths[rows] = part.lengths
        elif part.present is not None:
            lengths[rows][~part.present] = 1
    is_padded = is_sequence and not (lengths[present] == n_steps).all()
    return replace(
        block,
        lengths=lengths if is_padded else None,
        present=None if present.all() else present,
        scanned=True,
    )


def _chunks(block: LazyBlock) -> Iterator[slice]:
    n = len(block.values)
    row_bytes = max(1, block.values.nbytes // max(1, n))
    step = max(1, _SCAN_BYTES // row_bytes)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
