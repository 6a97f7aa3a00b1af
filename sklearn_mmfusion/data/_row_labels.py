"""Labels of rows: modalities are matched by position, so labels must not say otherwise.

pandas matches rows by their labels wherever two objects meet. We do not, as arrays have none; so
the same labels in another order are a fault, since either reading would surprise somebody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import InputError

__all__ = ["check_row_labels", "labelled_like", "row_labels", "without_labels"]


def check_row_labels(modalities: Iterable[tuple[str, Any]]) -> list[InputError]:
    """Return a fault for each modality whose labels come in another order than in one before.

    Indices that are equal cost a comparison; those that hold other labels, such as row numbers
    beside identifiers, say nothing about the order.

    Parameters
    ----------
    modalities : iterable of (str, array-like)
        Name and values of each modality; only those with the manners of a DataFrame or a Series
        have labels.

    Returns
    -------
    list of InputError
    """
    seen: list[tuple[str, Any, str | None]] = []
    faults = []
    for name, value in modalities:
        if not _is_labelled(value):
            continue
        same = [clash for _, index, clash in seen if _equal(index, value.index)]
        if same:
            clash = same[0]
        else:
            reordered = (other for other, index, _ in seen if _reordered(index, value.index))
            clash = next(reordered, None)
            seen.append((name, value.index, clash))
        if clash is not None:
            faults.append(
                InputError(
                    f"modality {name!r}: expected its rows in the order of modality {clash!r}, got "
                    "an index with the same labels in another order. Rows are matched by "
                    f"position: reindex it like {clash!r}, or drop the labels if the order is "
                    "meant, with .reset_index(drop=True) or .to_numpy()"
                )
            )
    return faults


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
