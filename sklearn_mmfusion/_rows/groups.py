"""Groups of rows that belong together: their labels, held-out rows and folds of whole groups."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn import get_config
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.utils.validation import has_fit_parameter

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._rows.splitting import Split

__all__ = ["check_groups", "fit_parameter", "group_folds", "groups_for", "split_by_group"]

Codes = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]

_MIN_ROWS = 10  # of fewer none are held out, as without groups
_MOST_FOLDS = 20
_MANY_GROUPS = 1000


def check_groups(groups: Any, n_samples: int) -> Codes | None:
    """Return the number of the group of each row, from 0.

    Parameters
    ----------
    groups : array-like of shape (n_samples,) or None
        Labels.
    n_samples : int
        Number of rows of X.

    Returns
    -------
    ndarray of int of shape (n_samples,) or None
        None for None.

    Raises
    ------
    InputError
        If they are not one label for each row, or no labels.
    """
    if groups is None:
        return None
    labels = _labels(groups)
    if labels.shape != (n_samples,):
        raise InputError(
            f"groups: expected one label for each of the {n_samples} rows of X, got the shape "
            f"{labels.shape}; pass one column, of strings or integers"
        )
    is_object = labels.dtype == object
    missing = np.flatnonzero(list(map(_is_missing, labels)) if is_object else labels != labels)
    if len(missing):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"groups: expected a label for every row, got {labels[missing[0]]} in row {missing[0]}"
            f"{more}; give rows without a group a label of their own"
        )
    try:
        codes = np.unique(labels, return_inverse=True)[1]
    except (TypeError, ValueError) as error:
        kinds = sorted({type(label).__name__ for label in labels})
        raise InputError(
            f"groups: expected labels that can be sorted, got {' and '.join(kinds)}; use strings "
            "or integers throughout"
        ) from error
    return codes.astype(np.intp)


def _labels(groups: Any) -> npt.NDArray[Any]:
    """Return labels as an array; numpy would turn the numbers of a mixed list into strings."""
    if isinstance(groups, torch.Tensor):
        groups = groups.detach().cpu()
    try:
        labels = np.asarray(groups)
        is_mixed = isinstance(groups, list | tuple) and labels.dtype.kind in "US"
        return np.asarray(groups, dtype=object) if is_mixed else labels
    except ValueError as error:
        raise InputError(
            "groups: expected one label for each row of X, got sequences of several lengths; pass "
            "one column, of strings or integers"
        ) from error


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)
    except TypeError:  # NA of pandas does not say whether it is itself
        return True
    except ValueError:  # an array, which is no label
        return False


def group_folds(
    codes: Codes, target: npt.NDArray[np.generic], kind: str, n_folds: int, seed: int
) -> npt.NDArray[np.intp]:
    """Deal whole groups to folds of about as many rows, of each class and in all.

    Parameters
    ----------
    codes : ndarray of int of shape (n,)
        Group of each row, of at least two.
    target : ndarray
        Encoded target.
    kind : str
        Kind of the target.
    n_folds : int
        Number of folds; fewer where there are fewer groups, or fewer rows of every class.
    seed : int
        Seed.

    Returns
    -------
    ndarray of int of shape (n,)
        Fold of each row.
    """
    by_class = kind in ("binary", "multiclass")
    strata = target.astype(np.int64) if by_class else np.zeros(len(codes), dtype=np.int64)
    largest = int(np.bincount(strata).max())
    if largest < 2:  # classes of one row each are in no two folds
        strata, largest = np.zeros_like(strata), len(strata)
    n_groups = len(np.unique(codes))
    # Many groups are even by chance, and to deal them one after the other takes long.
    cls = StratifiedGroupKFold if n_groups <= _MANY_GROUPS else GroupKFold
    n_folds = max(min(n_folds, n_groups, largest), 2)
    splitter = cls(n_folds, shuffle=True, random_state=int(seed % 2**31))
    fold_of = np.zeros(len(codes), dtype=np.intp)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer rows than folds
        for fold, (_, test) in enumerate(splitter.split(strata, strata, codes)):
            fold_of[test] = fold
    return fold_of


def split_by_group(
    codes: Codes,
    target: npt.NDArray[np.generic],
    kind: str,
    fraction: float,
    seed: int,
    weight: Floats | None = None,
) -> Split | None:
    """Hold out whole groups.

    Parameters
    ----------
    codes : ndarray of int of shape (n_samples,)
        Group of each row.
    target : ndarray
        Encoded target.
    kind : str
        Kind of the target.
    fraction : float
        Share of the rows to hold out.
    seed : int
        Seed.
    weight : ndarray of shape (n_samples,), optional
        Row weights; rows of weight zero are not there.

    Returns
    -------
    Split or None
        Of the splits with the nearest share, one with all classes on both sides, where there is
        one. Rows of a class that training would not see are not held out. None where there are
        fewer than ten rows, or all are of one group.
    """
    n = len(codes)
    rows = np.arange(n) if weight is None else np.flatnonzero(weight > 0)
    n_groups = len(np.unique(codes[rows]))
    if len(rows) < _MIN_ROWS or n_groups < 2:
        return None
    most = min(n_groups, _MOST_FOLDS)
    nearest = Fraction(fraction).limit_denominator(most)
    nearest = min(max(nearest, Fraction(1, most)), 1 - Fraction(1, most))
    fold_of = group_folds(codes[rows], target[rows], kind, nearest.denominator, seed)
    by_class = kind in ("binary", "multiclass")
    labels = target[rows] if by_class else np.zeros(len(rows), dtype=np.int64)
    found = min(_unions(fold_of, nearest), key=lambda held: _n_unseen(labels, held))
    unseen = np.isin(labels, np.unique(labels[~found]), invert=True)
    is_held = np.zeros(n, dtype=bool)
    is_held[rows] = found & ~unseen
    kept, held = np.flatnonzero(~is_held), np.flatnonzero(is_held)
    if len(held) < 2 or len(rows) - len(held) < 2:
        return None
    return Split(kept, held)


def _unions(fold_of: npt.NDArray[np.intp], share: Fraction) -> Iterator[npt.NDArray[np.bool_]]:
    """Yield rows of as many neighbouring folds as make up the share."""
    n_folds = int(fold_of.max()) + 1
    n_held = min(max(round(share * n_folds), 1), n_folds - 1)
    for first in range(n_folds):
        yield (fold_of - first) % n_folds < n_held


def _n_unseen(labels: npt.NDArray[np.generic], held: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Classes that are not among the training rows, and not among those held out."""
    n = len(np.unique(labels))
    return n - len(np.unique(labels[~held])), n - len(np.unique(labels[held]))


def groups_for(estimator: Any, groups: Any) -> dict[str, Any]:
    """Return what ``fit`` of an estimator takes groups by: nothing where it wants none.

    Parameters
    ----------
    estimator : estimator
        One that takes ``groups`` itself, a Pipeline that ends in one, or any other.
    groups : array-like or None
        Labels of the rows.

    Returns
    -------
    dict
        Keyword arguments of ``fit``.
    """
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    if groups is None or not has_fit_parameter(last, "groups") or _declines(last):
        return {}
    return {fit_parameter(estimator, "groups"): groups}


def fit_parameter(estimator: Any, name: str) -> str:
    """Return what ``fit`` calls a parameter of the last step of a Pipeline, or its own."""
    if not hasattr(estimator, "steps") or get_config()["enable_metadata_routing"]:
        return name
    return f"{estimator.steps[-1][0]}__{name}"


def _declines(estimator: Any) -> bool:
    """Whether the user has set ``set_fit_request(groups=False)``, and it is in force."""
    if not get_config()["enable_metadata_routing"]:
        return False
    routing = getattr(estimator, "get_metadata_routing", lambda: None)()
    requests = getattr(getattr(routing, "fit", None), "requests", {})
    return requests.get("groups") is False
