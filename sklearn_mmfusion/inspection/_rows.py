"""Rows of any X put together anew: each modality from a row of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._inputs.forms import as_known_form
from sklearn_mmfusion._inputs.modality_spec import ColumnGroup, check_names, hint, resolve_columns
from sklearn_mmfusion._inputs.modality_values import column_names, is_frame
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.data._row_labels import check_row_labels, without_labels
from sklearn_mmfusion.data._values import as_dense, as_value, is_ragged, raise_faults, take_rows

__all__ = ["ModalityRows", "read_rows"]

Index = npt.NDArray[np.intp]


@dataclass
class ModalityRows:
    """The modalities of X, and the way back from some of their rows to the form of X.

    Attributes
    ----------
    values : dict of str to array-like
        Rows of each modality.
    form : {"dict", "frame", "multiindex", "array", "dataframe"}
        Form of X; ``frame`` is a ModalityFrame.
    groups : tuple of ColumnGroup
        Columns of each modality of 2-D input; empty for mappings.
    columns : object or None
        Columns of a DataFrame.
    """

    values: dict[str, Any]
    form: str
    groups: tuple[ColumnGroup, ...] = ()
    columns: Any = None

    @property
    def names(self) -> list[str]:
        """Names of the modalities."""
        return list(self.values)

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(next(iter(self.values.values())).shape[0])

    @property
    def values_per_row(self) -> int:
        """Numbers that a row holds, about: for chunks."""
        total = 0
        for value in self.values.values():
            shape = max((np.shape(v) for v in value), key=math.prod) if is_ragged(value) else None
            total += math.prod(value.shape[1:] if shape is None else shape)
        return max(1, total)

    def take(self, index: Index) -> Any:
        """Return rows in the form of X, (n_rows, n_modalities) positions -> n_rows rows."""
        parts = {
            name: take_rows(value, index[:, m])
            for m, (name, value) in enumerate(self.values.items())
        }
        if self.form in ("dict", "frame"):
            # Rows of different samples meet here, so that labels would contradict each other.
            plain = {name: without_labels(part) for name, part in parts.items()}
            return ModalityFrame(plain) if self.form == "frame" else plain
        if self.form == "array":
            n_columns = sum(part.shape[1] for part in parts.values())
            table = np.empty((len(index), n_columns), np.result_type(*parts.values()))
            for group in self.groups:
                columns = group.columns
                table[:, columns if isinstance(columns, slice) else list(columns)] = parts[
                    group.name
                ]
            return table
        import pandas as pd

        frames = [without_labels(part) for part in parts.values()]
        return pd.concat(frames, axis=1)[self.columns]

    def joined(self, other: ModalityRows) -> ModalityRows:
        """Return the rows of both, these first."""
        values = {
            name: _stack(name, value, other.values[name]) for name, value in self.values.items()
        }
        return ModalityRows(values, self.form, self.groups, self.columns)


def read_rows(
    X: Any, modalities: Any, fitted_names: list[str] | None, fitted_groups: Any
) -> ModalityRows:
    """Split X into modalities.

    Parameters
    ----------
    X : mapping, ModalityFrame, DataFrame or array-like
        Rows.
    modalities : mapping, list of str or None
        Columns of each modality of 2-D input, or the order of those of a mapping.
    fitted_names : list of str or None
        Modalities that the estimator uses, where it says so.
    fitted_groups : tuple of ColumnGroup or None
        Columns of each, where it was fitted on 2-D input.

    Returns
    -------
    ModalityRows

    Raises
    ------
    InputError, InputTypeError
        For names that are not there or left out, and columns that do not fit.
    """
    multiindex = is_frame(X) and getattr(X.columns, "nlevels", 1) > 1
    known = as_known_form(X)
    if isinstance(known, Mapping):
        names = _mapping_names(known, modalities, fitted_names)
        if multiindex:
            blocks = {name: X.loc[:, X.columns.get_level_values(0) == name] for name in names}
            kept = X.columns[X.columns.get_level_values(0).isin(names)]
            return ModalityRows(blocks, "multiindex", columns=kept)
        form = "frame" if isinstance(X, ModalityFrame) else "dict"
        values = {name: as_value(name, known[name]) for name in names}
        counts = {name: int(value.shape[0]) for name, value in values.items()}
        if len(set(counts.values())) > 1:
            text = ", ".join(f"{name}: {count}" for name, count in counts.items())
            raise InputError(f"modalities have different numbers of samples: {text}")
        raise_faults(check_row_labels(values.items()))
        return ModalityRows(values, form)
    frame = is_frame(known)
    table: Any = known if frame else np.asarray(known)
    if table.ndim != 2:
        raise InputError(f"X: expected a mapping of modalities or a 2D array, got {table.ndim}D")
    if modalities is None and fitted_groups is not None:
        groups = tuple(fitted_groups)
    elif modalities is None:
        raise InputError(
            f"X is a 2D array with {table.shape[1]} columns: say which of them make up each "
            "modality, as in modalities={'audio': slice(0, 74), 'text': [74, 75]}"
        )
    else:
        groups = resolve_columns(modalities, table.shape[1], column_names(known))
    values = {}
    for group in groups:
        columns = group.columns if isinstance(group.columns, slice) else list(group.columns)
        values[group.name] = table.iloc[:, columns] if frame else table[:, columns]
    form = "dataframe" if frame else "array"
    return ModalityRows(values, form, groups, table.columns if frame else None)


def _mapping_names(
    X: Mapping[str, Any], modalities: Any, fitted_names: list[str] | None
) -> list[str]:
    there = check_names(X)
    needed = there if fitted_names is None else list(fitted_names)
    gone = [name for name in needed if name not in there]
    if gone:
        raise InputError(f"modality {gone[0]!r}: X has no such modality, it has {there}")
    if modalities is None:
        return needed
    if isinstance(modalities, str | Mapping) or not isinstance(modalities, list | tuple):
        raise InputTypeError(
            "for a mapping of modalities, modalities= is a list of their names (columns are for "
            f"2D input), got {type(modalities).__name__}"
        )
    names = check_names(modalities)
    unknown = [name for name in names if name not in needed]
    left = [name for name in needed if name not in names]
    if unknown or left:
        parts = [f"unknown: {unknown}"] * bool(unknown) + [f"left out: {left}"] * bool(left)
        raise InputError(
            f"modalities= must name all modalities that the estimator reads, {needed}: "
            f"{', '.join(parts)}{hint(unknown, needed)}"
        )
    return names


def _stack(name: str, first: Any, second: Any) -> Any:
    """Return the rows of two arrays of one modality, one below the other."""
    if hasattr(first, "iloc") and hasattr(second, "iloc"):
        import pandas as pd

        return pd.concat([first, second], ignore_index=True)
    if sparse.issparse(first) and sparse.issparse(second):
        return sparse.vstack([first, second]).tocsr()
    if is_ragged(first) or is_ragged(second):
        return _stack_sequences(first, second)
    first, second = as_dense(name, first), as_dense(name, second)
    if first.shape[1:] == second.shape[1:]:
        return np.concatenate([first, second])
    if first.ndim == 3 == second.ndim and first.shape[2] == second.shape[2]:
        return _stack_sequences(first, second)
    raise InputError(
        f"modality {name!r}: rows of X have the shape {first.shape[1:]}, those of background "
        f"{second.shape[1:]}; both need the same features"
    )


def _stack_sequences(first: Any, second: Any) -> npt.NDArray[np.object_]:
    """Return sequences of any number of steps as ragged rows."""
    rows = [np.asarray(row) for part in (first, second) for row in part]
    stacked = np.empty(len(rows), dtype=object)
    for i, row in enumerate(rows):
        stacked[i] = row
    return stacked
