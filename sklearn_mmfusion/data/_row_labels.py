"""Labels of rows: modalities are matched by position, so labels must not say otherwise.

pandas matches rows by their labels wherever two objects meet. We do not, as arrays have none; so
labels that differ are a fault, since either reading would surprise somebody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.data._values import Rows, take_rows

__all__ = ["check_row_labels", "labelled_like", "row_labels", "take_all", "without_labels"]


def check_row_labels(modalities: Iterable[tuple[str, Any]]) -> list[InputError]:
    """Return a fault for each modality whose labels are not those of one before, row by row.

    Indices that are equal cost a comparison. Tables that are only numbered from 0, as by default,
    have no labels, unless others have the same numbers in another order. Numbers and labels of
    another kind say nothing about each other: a table that was numbered may have been cut.

    Parameters
    ----------
    modalities : iterable of (str, array-like)
        Name and values of each modality; only those with the manners of a DataFrame or a Series
        have labels.

    Returns
    -------
    list of InputError
    """
    # Name, index, and the modality before that it contradicts with its index.
    seen: list[tuple[str, Any, tuple[str, Any] | None]] = []
    faults = []
    for name, value in modalities:
        if not _is_labelled(value):
            continue
        index = value.index
        same = [clash for _, other, clash in seen if _equal(other, index)]
        if same:
            clash = same[0]
        else:
            clash = next((old[:2] for old in seen if _contradict(old[1], index)), None)
            seen.append((name, index, clash))
        if clash is not None:
            faults.append(_fault(name, index, *clash))
    return faults


def _contradict(left: Any, right: Any) -> bool:
    """Say whether two indices that differ cannot be of the same rows."""
    if len(left) != len(right):
        return False  # a fault of its own
    if _is_numbered(left) or _is_numbered(right):
        return _reordered(left, right)
    if (_kind(left) in "iuf") != (_kind(right) in "iuf"):
        return False  # such as names, and numbers that were left when rows were drawn
    return _first_difference(left, right) is not None


def _first_difference(left: Any, right: Any) -> int | None:
    """Return the first row with two labels; None for equal ones of another type."""
    pairs = enumerate(zip(left, right, strict=True))
    return next((i for i, (x, y) in pairs if _differ(x, y)), None)


def _differ(x: Any, y: Any) -> bool:
    if x is y:
        return False
    try:
        return bool(x != y) and not (bool(x != x) and bool(y != y))  # NaN is NaN
    except TypeError:  # pd.NA, which is not itself either
        return True


def _fault(name: str, index: Any, other: str, expected: Any) -> InputError:
    row = _first_difference(index, expected) or 0
    first = f"first {_shown(index[row])} in row {row}, where {other!r} has {_shown(expected[row])}"
    if _reordered(expected, index):
        wanted = f"its rows in the order of modality {other!r}"
        got = f"an index with the same labels in another order ({first})"
    else:
        wanted = f"the rows of modality {other!r}"
        got = f"an index with other labels ({first})"
    return InputError(
        f"modality {name!r}: expected {wanted}, got {got}. Rows are matched by position: reindex "
        f"it like {other!r}, as with .loc[...] of its labels, or drop the labels if the order is "
        "meant, with .reset_index(drop=True) or .to_numpy()"
    )


def _shown(label: Any) -> str:
    """Return a label as a user writes it, numbers of numpy as plain ones."""
    if isinstance(label, tuple):
        return f"({', '.join(map(_shown, label))})"
    return repr(label.item() if isinstance(label, np.generic) else label)


def take_all(modalities: Mapping[str, Any], names: Iterable[str], rows: Rows) -> dict[str, Any]:
    """Return some rows of modalities.

    Where others have labels, a table that is numbered from 0 is numbered anew: row numbers of the
    whole would be labels of the part, which contradict theirs.
    """
    parts = {name: take_rows(modalities[name], rows) for name in names}
    plain = {name: _is_numbered(v.index) for name in parts if _is_labelled(v := modalities[name])}
    if len(set(plain.values())) > 1:
        parts |= {name: renumbered(parts[name]) for name, numbered in plain.items() if numbered}
    return parts


def renumbered(value: Any) -> Any:
    """Return a table or Series with the rows of another, numbered from 0; no values are copied."""
    view = value.copy(deep=False)
    view.index = range(len(view))
    return view


def labelled_like(value: Any, other: Any) -> Any:
    """Return the value with the labels of the other, where both have some, one per row."""
    both = _is_labelled(value) and _is_labelled(other)
    return value.set_axis(other.index, axis=0) if both and len(value) == len(other) else value


def without_labels(value: Any) -> Any:
    """Return the value with its rows numbered, where they had labels."""
    return value.reset_index(drop=True) if _is_labelled(value) else value


def row_labels(X: Any, names: Iterable[str] | None = None) -> npt.NDArray[Any] | None:
    """Return the labels of the rows, where X has some and its modalities agree on them.

    Parameters
    ----------
    X : mapping, ModalityFrame, DataFrame or array-like
        Rows; those numbered from 0, as by default, have no labels.
    names : iterable of str, default=None
        Modalities of a mapping to look at; None looks at all.

    Returns
    -------
    ndarray of shape (n_samples,) or None
        Numbers, or objects: tuples for an index of several levels.
    """
    values = [X]
    if isinstance(X, Mapping):
        values = [X[name] for name in (X if names is None else names)]
    indices = [
        value.index for value in values if _is_labelled(value) and not _is_numbered(value.index)
    ]
    if not indices or not all(_equal(indices[0], other) for other in indices[1:]):
        return None
    if _kind(indices[0]) in "iuf":
        return np.asarray(indices[0])
    labels = np.empty(len(indices[0]), dtype=object)
    for i, label in enumerate(indices[0]):  # numpy would spread tuples over a second axis
        labels[i] = label
    return labels


def _is_labelled(value: Any) -> bool:
    return hasattr(value, "iloc") and hasattr(getattr(value, "index", None), "equals")


def _is_numbered(index: Any) -> bool:
    """Say whether rows are numbered from 0, which pandas does where nobody gives labels."""
    return _kind(index) in "iu" and np.array_equal(np.asarray(index), np.arange(len(index)))


def _kind(index: Any) -> str:
    """Return the letter of the type of labels, "O" for those of several levels."""
    return str(getattr(index.dtype, "kind", "O"))


def _equal(left: Any, right: Any) -> bool:
    return left is right or bool(left.equals(right))


def _reordered(left: Any, right: Any) -> bool:
    """Say whether two indices that differ hold the same labels, each as often."""
    if len(left) != len(right) or left.nlevels != right.nlevels:
        return False
    # Labels of another kind are told apart by the first of them, without a look at each in Python.
    return bool(left.isin(right[:1]).any()) and Counter(left) == Counter(right)
