"""Rows to hold out, for early stopping and for judging a fit, and folds of rows."""

from __future__ import annotations

import hashlib
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from sklearn_mmfusion._lazy_blocks import some_columns
from sklearn_mmfusion.data._blocks import ModalityData

__all__ = [
    "HASHED_ROWS",
    "SPARE_ROWS",
    "Rows",
    "content_keys",
    "folds_by_content",
    "split_by_content",
    "split_rows",
]

Rows = npt.NDArray[np.intp]

# Above, rows are spared: validation_fraction="auto" holds out 0.1 of them in place of 0.2, and no
# second fit takes them all.
SPARE_ROWS = 5000
HASHED_ROWS = 50_000  # above, rows are not told apart by what is in them
_MIN_DISTINCT = 10  # fewer different rows are not split
# Of each modality those that tell rows apart; the others where these are equal.
_FIRST_COLUMNS, _MORE_COLUMNS = 64, 256


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
    digests = _digests(data, seed, _target_ranks(target))
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


def content_keys(data: ModalityData, seed: int) -> npt.NDArray[np.str_]:
    """Name each row by what is in it, in an order that is random but that of no one.

    As for :func:`split_by_content`, the order is that of a hash of ranks. Here the target does not
    count: rows that differ in nothing else belong together too. With one of them in training
    and one left out, an estimator is led to the label of the former, which is not that of the
    latter, and in the predictions the true label can be read off again.

    Parameters
    ----------
    data : ModalityData
        Rows.
    seed : int
        Seed of the hash.

    Returns
    -------
    ndarray of str of shape (n_samples,)
        The same for equal rows, and another for every other one.
    """
    return _digests(data, seed)


def folds_by_content(
    keys: npt.NDArray[np.str_], target: npt.NDArray[np.generic], kind: str, n_folds: int
) -> npt.NDArray[np.intp] | None:
    """Deal rows to folds by what is in them: equal rows to one, and no order matters.

    Parameters
    ----------
    keys : ndarray of str of shape (n_samples,)
        What :func:`content_keys` says of the rows.
    target : ndarray
        Encoded target.
    kind : str
        Kind of the target.
    n_folds : int
        Number of folds; fewer where there are fewer different rows.

    Returns
    -------
    ndarray of int of shape (n_samples,) or None
        Fold of each row; different rows are dealt out evenly, of each class and in all. None where
        there are fewer than ten different rows.
    """
    _, which = np.unique(keys, return_inverse=True)
    n_distinct = int(which.max(initial=-1)) + 1
    if n_distinct < _MIN_DISTINCT:
        return None
    groups = target if kind in ("binary", "multiclass") else np.zeros(len(target), dtype=np.int64)
    pairs = np.unique(np.column_stack([which, groups]), axis=0)
    n_of_class = np.bincount(pairs[:, 1])
    members: list[list[int]] = [[] for _ in range(n_distinct)]
    for row, group in pairs.tolist():
        members[row].append(group)
    for classes in members:
        classes.sort(key=lambda group: (n_of_class[group], group))
    # Those of rare classes first, while there is a choice.
    order = sorted(range(n_distinct), key=lambda i: (n_of_class[members[i][0]], members[i][0], i))
    sizes = [0] * n_folds
    counts = [[0] * n_folds for _ in n_of_class]
    fold_of = np.empty(n_distinct, dtype=np.intp)
    for i in order:
        own = counts[members[i][0]]
        fold = min(range(n_folds), key=lambda f: (own[f], sizes[f], f))
        fold_of[i] = fold
        sizes[fold] += 1
        for group in members[i]:
            counts[group][fold] += 1
    return fold_of[which]


def _digests(
    data: ModalityData, seed: int, target: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.str_]:
    """Hash the ranks of the values of each row."""
    ranks = [_ranks(flat) for flat in some_columns(data, _FIRST_COLUMNS)]
    digests = _hashed(ranks if target is None else [*ranks, target], seed)
    _, which, counts = np.unique(digests, return_inverse=True, return_counts=True)
    alike = counts[which] > 1
    widest = max(prod(block.values.shape[1:]) for block in data.blocks)
    if not alike.any() or widest <= _FIRST_COLUMNS:
        return digests
    # The first columns tell most data apart, but not images with a margin. Ranked among all rows,
    # so that copies of a row change nothing.
    ranks = [_ranks(flat)[alike] for flat in some_columns(data, _MORE_COLUMNS, spaced=True)]
    more = digests.astype(object)
    more[alike] += _hashed(ranks, seed).astype(object)
    return more.astype(np.str_)


def _hashed(ranks: list[npt.NDArray[np.int64]], seed: int) -> npt.NDArray[np.str_]:
    key = seed.to_bytes(8, "little", signed=False)
    return np.array(
        [
            hashlib.blake2b(row.tobytes(), digest_size=16, key=key).hexdigest()
            for row in np.column_stack(ranks)
        ]
    )


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
