"""The one rule for absence: NaN means missing.

Trailing all-NaN steps of a sequence are padding, an all-NaN row is a missing modality, any other
NaN is an error. Messages do not name the modality: the caller, who knows it, puts the name in
front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.data._blocks import ModalityBlock

__all__ = ["first_row", "make_block", "where"]

Array = npt.NDArray[Any]

_MOST_COLUMNS = 5  # that a message names


def make_block(
    name: str,
    values: Array,
    *,
    missing: str = "raise",
    dtype: str | None = None,
    rows: Sequence[int] | Array | None = None,
    columns: Sequence[Any] | None = None,
) -> ModalityBlock:
    """Read NaN as absence and check that all else is finite.

    Parameters
    ----------
    name : str
        Name of the modality, kept in the block.
    values : ndarray of shape (n_samples, ...)
        At least two axes. Three axes are a sequence, whose trailing all-NaN steps are padding.
    missing : {"raise", "mask"}, default="raise"
        Whether a row of NaN is an error or a row without the modality.
    dtype : {"float32"} or None, default=None
        float32 refuses values which that type cannot hold.
    rows : sequence of int or None, default=None
        Numbers of the rows in the user's X, for messages; None counts them from 0.
    columns : sequence or None, default=None
        Names of the features, for messages.

    Returns
    -------
    ModalityBlock
        ``lengths`` only where something is padded, ``present`` only where something is missing.
        A missing row counts one (zero) step, so that no encoder meets an empty sequence.

    Raises
    ------
    InputError
        For infinite values, and for NaN that is no absence; the text has the count and the first
        row.
    """
    # One layout in memory, or sums would differ in the last bit between equal inputs.
    values = np.ascontiguousarray(values)
    if values.dtype.kind != "f":
        return ModalityBlock(name, values)
    _check_range(values, dtype, rows, columns)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):  # one pass and no temporary array in the usual case
            return ModalityBlock(name, values)
    infinite = np.isinf(values)
    if infinite.any():
        raise InputError(
            f"contains infinity or a value too large for dtype('{values.dtype}') "
            f"({where(infinite, rows, columns)}); clip it, or write NaN and impute it"
        )
    nan = np.isnan(values)
    if not nan.any():
        return ModalityBlock(name, values)
    absent: npt.NDArray[np.bool_] = np.all(nan.reshape(len(nan), -1), axis=1)
    fault = nan & ~absent.reshape(-1, *[1] * (nan.ndim - 1))
    lengths = None
    if nan.ndim == 3:
        n_steps = nan.shape[1]
        valid_step: npt.NDArray[np.bool_] = ~np.all(nan, axis=2)
        lengths = n_steps - np.argmax(valid_step[:, ::-1], axis=1).astype(np.int64)
        lengths[absent] = 1
        padded = np.arange(n_steps) >= lengths[:, None]
        fault &= ~padded[:, :, None]
        if (lengths[~absent] == n_steps).all():
            lengths = None
    if fault.any():
        raise InputError(
            f"contains NaN ({where(fault, rows, columns)}); NaN may fill whole rows (a missing "
            "modality) or the last steps of a sequence (padding), but no single values: impute "
            "these first, for example by SimpleImputer in a ModalityTransformer"
        )
    if absent.any() and missing == "raise":
        first = first_row(absent, rows)
        raise InputError(
            f"contains NaN in all values of {int(absent.sum())} row(s), first in row "
            f"{first}: the modality is missing there; pass missing='mask' to "
            "train and predict without it in these rows, or fill it in, for example by "
            "SimpleImputer in a ModalityTransformer with absent='transform'"
        )
    filled = np.where(nan, np.zeros((), values.dtype), values)
    return ModalityBlock(name, filled, lengths, ~absent if absent.any() else None)


def where(
    mask: Array, rows: Sequence[int] | Array | None, columns: Sequence[Any] | None = None
) -> str:
    """Say how many values a mask marks, in which row the first one is, and in which columns."""
    per_row = np.any(mask.reshape(len(mask), -1), axis=1)
    text = f"{int(mask.sum())} value(s), first in row {first_row(per_row, rows)}"
    if columns is None or mask.ndim != 2:
        return text
    marked = [str(columns[j]) for j in np.flatnonzero(mask.any(axis=0)).tolist()]
    more = f" and {len(marked) - _MOST_COLUMNS} more" if len(marked) > _MOST_COLUMNS else ""
    named = ", ".join(map(repr, marked[:_MOST_COLUMNS]))
    return f"{text}, in column{'s' if len(marked) > 1 else ''} {named}{more}"


def first_row(mask: Array, rows: Sequence[int] | Array | None) -> int:
    """Return the number, in the user's X, of the first row that a mask marks."""
    row = int(mask.argmax())
    return row if rows is None else int(rows[row])


def _check_range(
    values: Array,
    dtype: str | None,
    rows: Sequence[int] | Array | None = None,
    columns: Sequence[Any] | None = None,
) -> None:
    if dtype != "float32" or values.dtype != np.float64:
        return
    limit = np.finfo(np.float32).max
    with np.errstate(invalid="ignore"):
        large = (np.abs(values) > limit) & ~np.isinf(values)
    if large.any():
        msg = f"contains a value too large for dtype('float32') ({where(large, rows, columns)})"
        raise InputError(msg)
