"""Held-out rows with a value so far beyond those of the training rows that they judge nothing.

One such row can have a loss of hundreds where the others have less than one: early stopping, the
choice of a model and the size of its weights would all be its doing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._fitting.data import FitInput
from sklearn_mmfusion._inputs.lazy_blocks import LazyBlock, in_parts
from sklearn_mmfusion.data._blocks import ModalityBlock

__all__ = ["without_wild_rows"]

Rows = npt.NDArray[np.bool_]

_FAR = 3.0  # widths of the range of the training rows
_MOST = 0.02  # of the rows: more are no accidents, but rows of another kind


def without_wild_rows(kept: FitInput, held: FitInput) -> FitInput:
    """Return held-out rows without those that have a wild value.

    A value is wild if it lies beyond the range of the training rows by more than three times the
    width of that range. Where more than two per cent of the rows have one, they all stay.
    Modalities on disk are not looked at: that would be another pass.

    Parameters
    ----------
    kept, held : FitInput
        Training and held-out rows.

    Returns
    -------
    FitInput
        The held-out rows, or most of them.
    """
    wild = np.zeros(held.data.n_samples, bool)
    for seen, new in zip(kept.data.blocks, held.data.blocks, strict=True):
        is_image = new.values.ndim > 3 or (new.values.ndim == 3 and new.values.dtype == np.uint8)
        if not (is_image or new.codes or _on_disk(seen) or _on_disk(new)):
            wild |= _wild(seen, new, kept.weight)
    if not wild.any() or wild.sum() > max(1, _MOST * len(wild)) or len(wild) - wild.sum() < 2:
        return held
    return held.take(np.flatnonzero(~wild))


def _on_disk(block: ModalityBlock) -> bool:
    return isinstance(block, LazyBlock) and not block.in_memory


def _wild(seen: ModalityBlock, new: ModalityBlock, weight: npt.NDArray[np.float64] | None) -> Rows:
    """Tell which rows of a modality have a wild value."""
    low, high = _range(seen, weight)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity is far, or allows everything
        # Halves, since the width of a range can overflow where its ends do not.
        middle, half = low / 2 + high / 2, high / 2 - low / 2
        # What is constant in training is left out, whatever it is in other rows.
        allowed = np.where(half > 0, (1 + 2 * _FAR) * half, np.inf)
        far = []
        for part in in_parts(new):
            values: npt.NDArray[Any] = part.values
            beyond = (np.abs(values - middle) > allowed).any(axis=-1) & _is_there(part)
            far.append(beyond if beyond.ndim == 1 else beyond.any(axis=1))
    return np.concatenate(far)


def _range(
    block: ModalityBlock, weight: npt.NDArray[np.float64] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Least and largest value of each column, of rows that count; of none infinite ones."""
    n_columns = block.values.shape[-1]
    low, high = np.full(n_columns, np.inf), np.full(n_columns, -np.inf)
    start = 0
    for part in in_parts(block):
        rows = slice(start, start + len(part.values))
        start = rows.stop
        counts = _is_there(part)
        if weight is not None:
            counts = counts & (weight[rows] > 0).reshape(-1, *(1,) * (counts.ndim - 1))
        values = part.values.reshape(-1, n_columns)
        if not counts.all():
            values = values[counts.ravel()]
        if len(values):
            low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
    return low, high


def _is_there(block: ModalityBlock) -> Rows:
    """Tell which rows are there, and of a sequence which steps."""
    n = len(block.values)
    there = np.ones(n, bool) if block.present is None else block.present
    if block.values.ndim < 3:
        return there
    steps = np.arange(block.values.shape[1])
    valid = np.ones((n, len(steps)), bool)
    if block.lengths is not None:
        valid = steps < block.lengths[:, None]
    return valid & there[:, None]
