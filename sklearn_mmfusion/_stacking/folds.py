"""Folds of the rows of a fit, for estimators that represent a modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import KFold, StratifiedKFold, check_cv

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._inputs.lazy_blocks import take_rows
from sklearn_mmfusion._rows.groups import group_folds
from sklearn_mmfusion._rows.splitting import HASHED_ROWS, content_keys, folds_by_content
from sklearn_mmfusion.data._blocks import ModalityData

__all__ = ["folds", "row_keys"]

Keys = npt.NDArray[np.str_]
Rows = npt.NDArray[np.intp]


def row_keys(
    cvs: Sequence[Any], data: ModalityData, weight: npt.NDArray[np.float64] | None, seed: int
) -> Keys | None:
    """Name each row by what is in it, for folds that are made of that.

    All modalities are looked at, not only the one that an estimator reads: of a feature with few
    values every row of a value would be in one fold, and the others would know nothing of it.

    Parameters
    ----------
    cvs : sequence of int, splitter, iterable or None
        What the user asks for, of each estimator.
    data : ModalityData
        Rows.
    weight : ndarray of shape (n_samples,) or None
        Row weights.
    seed : int
        Seed.

    Returns
    -------
    ndarray of str of shape (n_samples,) or None
        "" for rows of weight zero, which do not count; None where rows are not told apart.
    """
    rows = np.arange(data.n_samples) if weight is None else np.flatnonzero(weight > 0)
    if len(rows) > HASHED_ROWS or not any(map(_n_folds, cvs)):
        return None
    keys = content_keys(take_rows(data, rows), seed)
    found = np.zeros(data.n_samples, dtype=keys.dtype)
    found[rows] = keys
    return found


def folds(
    cv: Any,
    inputs: npt.NDArray[Any],
    y: npt.NDArray[Any],
    kind: str,
    seed: int,
    keys: Keys | None,
    groups: Rows | None,
    name: str,
) -> list[tuple[Rows, Rows]]:
    """Return the rows of each fold, as (train, test).

    Parameters
    ----------
    cv : int, splitter, iterable or None
        What the user asks for.
    inputs, y : ndarray
        What the estimator reads, and the encoded target.
    kind : str
        Kind of the target.
    seed : int
        Seed, for rows that are not told apart.
    keys : ndarray of str of shape (n_samples,) or None
        What :func:`row_keys` says of these rows.
    groups : ndarray of int of shape (n_samples,) or None
        Number of the group of each of these rows.
    name : str
        Name of the modality.

    Raises
    ------
    InputError
        If folds of the user's cannot be made, leave rows out, or train on rows that they test.
    """
    n_folds = _n_folds(cv)
    if not n_folds:
        return _users_own(cv, inputs, y, kind, groups, name)
    fold_of = None if keys is None else folds_by_content(keys, y, kind, n_folds)
    if groups is not None and len(np.unique(groups)) > 1:
        fold_of = group_folds(groups, y, kind, n_folds, seed)
    if fold_of is None:
        return list(_shuffled(n_folds, y, kind, seed).split(inputs, y))
    parts = [
        (np.flatnonzero(fold_of != f), np.flatnonzero(fold_of == f)) for f in np.unique(fold_of)
    ]
    return [(_with_every_class(train, test, y, kind), test) for train, test in parts]


def _n_folds(cv: Any) -> int:
    """Return the number of folds that are for us to make; 0 if they are the user's."""
    if cv is None:
        return 5
    return int(cv) if isinstance(cv, int | np.integer) else 0


def _users_own(
    cv: Any, inputs: npt.NDArray[Any], y: npt.NDArray[Any], kind: str, groups: Any, name: str
) -> list[tuple[Rows, Rows]]:
    """Return the folds of a splitter or iterable, every row in a test part."""
    who, n = f"modality {name!r}: cv of EstimatorEncoder", len(y)
    try:
        splitter = check_cv(cv, y, classifier=kind in ("binary", "multiclass"))
        pairs = splitter.split(inputs, y, groups)
        found = [(np.asarray(train), np.asarray(test)) for train, test in pairs]
    except (TypeError, ValueError) as error:
        made = type(cv).__name__
        remedy = "give folds that these rows can be divided into"
        if "groups" in str(error):
            remedy = "pass groups to fit"
        raise InputError(
            f"{who}: {made} does not divide the {n} rows with the modality: "
            f"{str(error).rstrip('.')}; {remedy}"
        ) from error
    _check_folds(found, n, who)
    return found


def _check_folds(found: Sequence[tuple[Rows, Rows]], n: int, who: str) -> None:
    """Refuse rows that no estimator represents that has not seen them."""
    n_tests, n_seen = np.zeros(n, dtype=int), 0
    for train, test in found:
        for part in (train, test):
            if part.ndim != 1 or part.dtype.kind not in "iu":
                raise InputError(
                    f"{who}: expected pairs of arrays of row numbers, got {part.dtype} of shape "
                    f"{part.shape}; use numpy.flatnonzero for a mask"
                )
            if len(part) and not 0 <= part.min() <= part.max() < n:
                raise InputError(
                    f"{who}: expected numbers of the {n} rows that have the modality and a weight, "
                    f"from 0 to {n - 1}, got {part.min()} to {part.max()}; make the folds of these"
                )
        n_tests[np.unique(test)] += 1
        n_seen += len(np.intersect1d(train, test))
    n_left, n_several = int((n_tests == 0).sum()), int((n_tests > 1).sum())
    if n_left == n_seen == 0:
        return
    faults = [
        f"{n_left} in no test fold" if n_left else "",
        f"{n_seen} in a test fold and in what it trains on" if n_seen else "",
        f"{n_several} in several test folds" if n_several else "",
    ]
    got = ", ".join(filter(None, faults))
    raise InputError(
        f"{who}: expected folds that hold every one of the {n} rows with the modality in a test "
        f"fold, and not in what that one trains on, got {got}; use KFold or StratifiedKFold, or "
        "pairs of row numbers that do so"
    )


def _with_every_class(train: Rows, test: Rows, y: npt.NDArray[Any], kind: str) -> Rows:
    """Keep rows in training whose class would not be seen there: copies of a single one."""
    if kind not in ("binary", "multiclass"):
        return train
    return np.sort(np.concatenate([train, test[np.isin(y[test], y[train], invert=True)]]))


def _shuffled(n_folds: int, y: npt.NDArray[Any], kind: str, seed: int) -> Any:
    random = int(seed % 2**31)
    if kind in ("binary", "multiclass"):
        smallest = int(np.unique(y, return_counts=True)[1].min())
        if smallest > 1:
            n_folds = min(n_folds, smallest)
            return StratifiedKFold(n_folds, shuffle=True, random_state=random)
    # Of a class of one row, its fold is fitted without it.
    return KFold(min(n_folds, len(y)), shuffle=True, random_state=random)
