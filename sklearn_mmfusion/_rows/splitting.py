"""Rows to hold out, for early stopping and for judging a fit, and folds of rows."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from sklearn_mmfusion._inputs.lazy_blocks import some_columns, used_width
from sklearn_mmfusion._rows.weights import is_whole, n_counted
from sklearn_mmfusion.data._blocks import ModalityData

__all__ = [
    "HASHED_ROWS",
    "SPARE_ROWS",
    "Rows",
    "Split",
    "content_keys",
    "folds_by_content",
    "split_by_content",
    "split_rows",
]

Rows = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]

# Above, rows are spared: validation_fraction="auto" holds out 0.1 of them in place of 0.2, and no
# second fit takes them all.
SPARE_ROWS = 5000
HASHED_ROWS = 50_000  # above, rows are not told apart by what is in them
_MIN_DISTINCT = 10  # fewer different rows are no folds, and are split by their number
# Of each modality those that tell rows apart; the others where these are equal.
_FIRST_COLUMNS, _MORE_COLUMNS = 64, 256


class Split(NamedTuple):
    """Rows for training, and rows held out.

    Attributes
    ----------
    kept, held : ndarray of int
        Sorted row numbers. A row whose weight counts repetitions may be in both.
    kept_weight, held_weight : ndarray of float or None
        Weights of these rows; None where rows have no weights.
    """

    kept: Rows
    held: Rows
    kept_weight: Floats | None = None
    held_weight: Floats | None = None


def split_rows(
    target: npt.NDArray[np.generic], kind: str, fraction: float, seed: int
) -> Split | None:
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
    Split or None
        Row numbers; None where there are too few rows.
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
    if kind in ("binary", "multiclass"):  # held-out rows of no other class than training sees
        unseen = np.isin(target[held], np.unique(target[kept]), invert=True)
        kept, held = np.concatenate([kept, held[unseen]]), held[~unseen]
    return Split(np.sort(kept), np.sort(held))


def split_by_content(
    data: ModalityData,
    target: npt.NDArray[np.generic],
    kind: str,
    fraction: float,
    seed: int,
    weight: Floats | None = None,
) -> Split | None:
    """Split rows by what is in them: equal rows stay together, and no order matters.

    With it a row that comes twice has the same effect as one of weight two, also on everything
    that is chosen on held-out rows. Each row is hashed by the ranks of its values within their
    columns, which no change of units alters, offsets among them.

    Rows that are equal in all but their label are no copies of each other: flags, say, of which
    there are a few combinations. To hold out all of one label would teach the opposite. Of these,
    and of fewer than ten different rows in all, a share of each is held out, drawn by number.

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
    weight : ndarray of shape (n_samples,), optional
        Row weights. Whole numbers count repetitions; with others a row is one row.

    Returns
    -------
    Split or None
        None where there are fewer than ten rows.
    """
    n = len(target)
    # Rows without their target too, where equal ones can be no copies.
    targets = [_target_ranks(target)] if kind == "regression" else [_target_ranks(target), None]
    digests, *rows = _digests(data, seed, *targets)
    if len(np.unique(digests)) < _MIN_DISTINCT:
        if n_counted(weight, n) < _MIN_DISTINCT:
            return None
        drawn = np.ones(n, dtype=bool)
    else:
        drawn = _have_company(rows[0], digests) if rows else np.zeros(n, dtype=bool)
    classes = kind in ("binary", "multiclass")
    groups = target if classes else np.zeros(n, dtype=np.int64)
    share = np.zeros(n)
    for group in np.unique(groups[~drawn]):
        members = np.flatnonzero((groups == group) & ~drawn)
        distinct = np.unique(digests[members])
        n_held = round(fraction * len(distinct))
        share[members[np.isin(digests[members], distinct[:n_held])]] = 1.0
    share[drawn] = _drawn_shares(
        digests[drawn], None if weight is None else weight[drawn], fraction, seed
    )
    if classes:
        share[np.isin(target, np.unique(target[share < 1.0]), invert=True)] = 0.0
    kept, held = np.flatnonzero(share < 1.0), np.flatnonzero(share > 0.0)
    if len(kept) < 2 or len(np.unique(digests[held])) < 2:
        return None
    if weight is None:
        return Split(kept, held)
    apart = np.round(weight * share) if is_whole(weight) else weight * share
    return Split(kept, held, (weight - apart)[kept], apart[held])


def _have_company(
    rows: npt.NDArray[np.str_], digests: npt.NDArray[np.str_]
) -> npt.NDArray[np.bool_]:
    """Whether there is a row that agrees with this one in all but the target."""
    _, row = np.unique(rows, return_inverse=True)
    _, content = np.unique(digests, return_inverse=True)
    pairs = np.unique(np.column_stack([row, content]), axis=0)
    return np.bincount(pairs[:, 0])[row] > 1


def _drawn_shares(
    digests: npt.NDArray[np.str_], weight: Floats | None, fraction: float, seed: int
) -> Floats:
    """Return which share of each row is held out: as many of equal rows as a coin tells."""
    counts = np.ones(len(digests)) if weight is None or not is_whole(weight) else weight
    # Rows of unlike weights are taken in a random order that is not that of the rows.
    order = np.argsort(digests, kind="stable") if weight is None else np.lexsort((weight, digests))
    shares = np.zeros(len(digests))
    starts = np.flatnonzero(np.r_[True, digests[order][1:] != digests[order][:-1]])
    for members in np.split(order, starts[1:]) if len(order) else ():
        rng = np.random.default_rng([seed, int(digests[members[0]][:16], 16)])
        left = rng.binomial(int(counts[members].sum()), fraction)
        members = rng.permutation(members)
        before = np.cumsum(counts[members]) - counts[members]
        apart = np.clip(left - before, 0.0, counts[members])
        shares[members] = apart / np.maximum(counts[members], 1.0)
    return shares


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
    return _digests(data, seed, None)[0]


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
    data: ModalityData, seed: int, *targets: npt.NDArray[np.int64] | None
) -> list[npt.NDArray[np.str_]]:
    """Hash the ranks of the values of each row, together with each of the targets."""
    first = [_ranks(flat) for flat in some_columns(data, _FIRST_COLUMNS)]
    found = [_hashed(first if t is None else [*first, t], seed).astype(object) for t in targets]
    alike = np.zeros(data.n_samples, dtype=bool)
    for digests in found:
        _, which, counts = np.unique(digests, return_inverse=True, return_counts=True)
        alike |= counts[which] > 1
    widest = max(map(used_width, data.blocks))
    if alike.any() and widest > _FIRST_COLUMNS:
        # The first columns tell most data apart, but not images with a margin. Ranked among all
        # rows, so that copies of a row change nothing.
        more = [_ranks(flat)[alike] for flat in some_columns(data, _MORE_COLUMNS, spaced=True)]
        for digests in found:
            digests[alike] += _hashed(more, seed).astype(object)
    return [digests.astype(np.str_) for digests in found]


def _hashed(ranks: list[npt.NDArray[np.int64]], seed: int) -> npt.NDArray[np.str_]:
    key = seed.to_bytes(8, "little", signed=False)
    return np.array(
        [
            hashlib.blake2b(row.tobytes(), digest_size=16, key=key).hexdigest()
            for row in np.column_stack(ranks)
        ]
    )


def _ranks(flat: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Rank the values of each column by their place between the least and the largest one.

    Those that are not there, NaN, have a rank of their own.
    """
    values = flat.astype(np.float64)
    largest = np.fmax.reduce(np.abs(values), axis=0)
    values = np.ldexp(values, -np.frexp(np.where(largest > 0, largest, 1.0))[1])
    values -= np.fmin.reduce(values, axis=0)
    span = np.fmax.reduce(values, axis=0)
    values /= np.where(span > 0, span, 1.0)
    # Rounded, so that what another unit or offset does to the last digits makes no difference.
    return _dense_ranks(values.astype(np.float32))


def _target_ranks(target: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    return _dense_ranks(target.reshape(len(target), -1))


def _dense_ranks(columns: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    ranks = [np.unique(column, return_inverse=True)[1] for column in columns.T]
    return np.column_stack(ranks).astype(np.int64)
