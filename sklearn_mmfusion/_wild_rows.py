"""Held-out rows with a value so far beyond those of the training rows that they judge nothing.

One such row can have a loss of hundreds where the others have less than one: early stopping, the
choice of a model and the size of its weights would all be its doing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._fit_data import FitInput
from sklearn_mmfusion._lazy_blocks import is_lazy
from sklearn_mmfusion.data._blocks import ModalityBlock

__all__ = ["without_wild_rows"]

Rows = npt.NDArray[np.bool_]

_FAR = 3.0  # widths of the range of the training rows
_MOST = 0.02  # of the rows: more are no accidents, but rows of another kind


def without_wild_rows(kept: FitInput, held: FitInput) -> FitInput:
    """Return held-out rows without those that have a wild value.

    A value is wild if it lies beyond the range of the training rows by more than three times the
    width of that range. Where more than two per cent of the rows have one, they all stay.

    Parameters
    ----------
    kept, held : FitInput
        Training and held-out rows.

    Returns
    -------
    FitInput
        The held-out rows, or most of them.
    """
    if is_lazy(kept.data) or is_lazy(held.data):
        return held
    wild = np.zeros(held.data.n_samples, bool)
    for seen, new in zip(kept.data.blocks, held.data.blocks, strict=True):
        is_image = new.values.ndim > 3 or (new.values.ndim == 3 and new.values.dtype == np.uint8)
        if not (is_image or new.codes):
            wild |= _wild(seen, new, kept.weight)
    if not wild.any() or wild.sum() > max(1, _MOST * len(wild)) or len(wild) - wild.sum() < 2:
        return held
    return held.take(np.flatnonzero(~wild))


def _wild(seen: ModalityBlock, new: ModalityBlock, weight: npt.NDArray[np.float64] | None) -> Rows:
    """Tell which rows of a modality have a wild value."""
    counts = _is_there(seen)
    if weight is not None:
        counts = counts & (weight > 0).reshape(-1, *(1,) * (counts.ndim - 1))
    if not counts.any():
        return np.zeros(len(new.values), bool)
    values = seen.values.reshape(-1, seen.values.shape[-1])
    if not counts.all():
        values = values[counts.ravel()]
    low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
    with np.errstate(over="ignore"):  # infinity is far, or allows everything
        # Halves, since the width of a range can overflow where its ends do not.
        middle, half = low / 2 + high / 2, high / 2 - low / 2
        # What is constant in training is left out, whatever it is in other rows.
        allowed = np.where(half > 0, (1 + 2 * _FAR) * half, np.inf)
        far = (np.abs(new.values - middle) > allowed).any(axis=-1) & _is_there(new)
    return far if far.ndim == 1 else far.any(axis=1)


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
