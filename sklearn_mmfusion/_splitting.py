"""Rows to hold out, for early stopping and for judging a fit."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from sklearn_mmfusion._lazy_blocks import first_columns
from sklearn_mmfusion.data._blocks import ModalityData

__all__ = ["SPARE_ROWS", "Rows", "split_by_content", "split_rows"]

Rows = npt.NDArray[np.intp]

# Above, rows are spared: validation_fraction="auto" holds out 0.1 of them in place of 0.2, and no
# second fit takes them all.
SPARE_ROWS = 5000
_MIN_DISTINCT = 10  # fewer different rows are not split
_HASHED_COLUMNS = 64  # per modality; enough to tell rows apart


def split_rows(
    target: npt.NDArray[np.generic], kind: str, fraction: float, seed: int
) -> tuple[Rows, Rows] | None:
    """Split rows into (training, held out) at random, by class where that is possible.

    Parameters
    ----------
    target : ndarray
        Encoded target.
    kind : str
        Kind of the target.
    fraction : float
        Share of the rows to hold out.
    seed : int
        Seed.

    Returns
    -------
    tuple of two ndarrays or None
        Sorted row numbers; None where there are too few rows.
    """
    n = len(target)
    n_held = round(fraction * n)
    if n_held < 2 or n - n_held < 2:
        return None
    stratify = None
    if kind in ("binary", "multiclass"):
        counts = np.bincount(target.astype(np.int64))
        counts = counts[counts > 0]
        if counts.min() >= 2 and n_held >= len(counts) and n - n_held >= len(counts):
            stratify = target
    rows = np.arange(n)
    kept, held = train_test_split(rows, test_size=n_held, random_state=seed, stratify=stratify)
    return _keep_every_class(target, kind, kept, held)


def split_by_content(
    data: ModalityData,
    target: npt.NDArray[np.generic],
    kind: str,
    fraction: float,
    seed: int,
) -> tuple[Rows, Rows] | None:
    """Split rows by what is in them: equal rows stay together, and no order matters.

    With it a row that comes twice has the same effect as one of weight two, also on everything
    that is chosen on held-out rows. Each row is hashed by the ranks of its values within their
    columns, which no change of units alters, offsets among them.

    Parameters
    ----------
    data : ModalityData
        Rows.
    target : ndarray
        Encoded target.
    kind : str
        Kind of the target.
    fraction : float
        Share of the different rows, of each class, to hold out.
    seed : int
        Seed of the hash.

    Returns
    -------
    tuple of two ndarrays or None
        Sorted row numbers; None where there are fewer than ten different rows.
    """
    columns = first_columns(data, _HASHED_COLUMNS)
    ranks = np.column_stack([*map(_ranks, columns), _target_ranks(target)])
    key = seed.to_bytes(8, "little", signed=False)
    digests = np.array(
        [hashlib.blake2b(row.tobytes(), digest_size=16, key=key).hexdigest() for row in ranks]
    )
    if len(np.unique(digests)) < _MIN_DISTINCT:
        return None
    groups = target if kind in ("binary", "multiclass") else np.zeros(len(target), dtype=np.int64)
    held_parts = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        distinct = np.unique(digests[members])
        n_held = round(fraction * len(distinct))
        held_parts.append(members[np.isin(digests[members], distinct[:n_held])])
    held = np.concatenate(held_parts)
    kept = np.setdiff1d(np.arange(len(target)), held)
    kept, held = _keep_every_class(target, kind, kept, held)
    if len(kept) < 2 or len(np.unique(digests[held])) < 2:
        return None
    return kept, held


def _ranks(flat: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Rank the values of each column by their place between the least and the largest one."""
    values = flat.astype(np.float64)
    largest = np.abs(values).max(0)
    values = np.ldexp(values, -np.frexp(np.where(largest > 0, largest, 1.0))[1])
    values -= values.min(0)
    span = values.max(0)
    values /= np.where(span > 0, span, 1.0)
    # Rounded, so that what another unit or offset does to the last digits makes no difference.
    return _dense_ranks(values.astype(np.float32))


def _target_ranks(target: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    return _dense_ranks(target.reshape(len(target), -1))


def _dense_ranks(columns: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    ranks = [np.unique(column, return_inverse=True)[1] for column in columns.T]
    return np.column_stack(ranks).astype(np.int64)


def _keep_every_class(
    target: npt.NDArray[np.generic], kind: str, kept: Rows, held: Rows
) -> tuple[Rows, Rows]:
    """Move held-out rows back whose class would not be seen in training."""
    if kind in ("binary", "multiclass"):
        unseen = np.isin(target[held], np.unique(target[kept]), invert=True)
        kept, held = np.concatenate([kept, held[unseen]]), held[~unseen]
    return np.sort(kept), np.sort(held)
