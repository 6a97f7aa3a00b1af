"""Names of modalities, and what ``modalities=`` means for the columns of 2-D input."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from sklearn_mmfusion._errors import FusionError, InputError, InputTypeError
from sklearn_mmfusion.data._frame import check_modality_name
from sklearn_mmfusion.data._values import raise_faults

__all__ = ["ColumnGroup", "check_names", "hint", "no_modality", "pick_name", "resolve_columns"]

_COLUMNS = "columns are a slice, a list of positions or of names, got {!r}{}"
_CALLED = "; call a selector of columns on the table, as in make_column_selector('^lab_')(X)"
_CHAINS = (
    ". ClassifierChain and RegressorChain append columns: for them leave the slice of the last "
    "modality open, slice(start, None)"
)


@dataclass(frozen=True)
class ColumnGroup:
    """Columns of 2-D input that make up one modality.

    Attributes
    ----------
    name : str
        Name of the modality.
    columns : slice or tuple of int
        A slice where the columns are next to each other, so that no copy is made.
    shape : tuple of int or None
        Shape of one row of the modality, None for flat features.
    """

    name: str
    columns: slice | tuple[int, ...]
    shape: tuple[int, ...] | None = None


def hint(unknown: Iterable[str], known: Sequence[str]) -> str:
    """Return "; did you mean ..." for names that are close to known ones, else an empty text."""
    pairs = [
        f"{close!r} instead of {str(name)!r}"
        for name in unknown
        for close in difflib.get_close_matches(str(name), list(known), n=1)
    ]
    return f"; did you mean {', '.join(pairs)}?" if pairs else ""


def no_modality(name: Any, known: Sequence[str]) -> str:
    """Return what is wrong with an encoder that is named as no modality is."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"encoders: there is no modality {name!r}; {meant}The modalities are {list(known)}"


def check_names(names: Iterable[Any]) -> list[str]:
    """Return modality names as plain strings.

    Raises
    ------
    InputTypeError
        When a name is not a string.
    InputError
        When there is no name, a name comes twice or is invalid.
    """
    names = list(names)
    if not names:
        raise InputError("X must hold at least one modality")
    faults: list[FusionError] = []
    for name in names:
        try:
            check_modality_name(name)
        except FusionError as error:
            faults.append(error)
    if not faults and len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        faults.append(InputError(f"modality names must differ, got twice: {twice}"))
    raise_faults(faults)
    return [str(name) for name in names]


def pick_name(only: str, known: Iterable[str]) -> list[str]:
    """Return the one name that is wanted, in a list.

    Raises
    ------
    InputError
        When it is none of the known names.
    """
    names = check_names(known)
    if only not in names:
        msg = f"modality {only!r}: there is none of this name, only {names}{hint([only], names)}"
        raise InputError(msg)
    return [only]


def resolve_columns(
    modalities: Any, n_columns: int, column_names: Iterable[str] | None
) -> tuple[ColumnGroup, ...]:
    """Resolve the ``modalities`` of 2-D input.

    Parameters
    ----------
    modalities : mapping
        Name to columns: a slice, a list of positions or of column names, or ``(columns, shape)``
        for a modality that is not flat.
    n_columns : int
        Number of columns of X.
    column_names : sequence of str or None
        Names of the columns, where X has some.

    Returns
    -------
    tuple of ColumnGroup
        In the order of ``modalities``.

    Raises
    ------
    InputError
        With all faults at once: unknown names, positions out of range, wrong shapes, columns
        used twice and columns left over.
    """
    if not isinstance(modalities, Mapping):
        raise InputTypeError(
            "for a 2D array or DataFrame modalities= maps each name to its columns, as "
            f"{{'audio': slice(0, 74), 'text': [74, 75]}}; got {type(modalities).__name__}"
        )
    names = check_names(modalities)
    groups, faults = [], []
    owners: dict[int, str] = {}
    overlaps: dict[int, list[str]] = {}
    for name in names:
        try:
            columns, shape = _split_shape(modalities[name])
            positions = _positions(columns, n_columns, column_names)
            _check_shape(shape, len(positions))
        except InputError as error:
            faults.append(f"modality {name!r}: {error}")
            continue
        for position in positions:
            if position in owners:
                overlaps.setdefault(position, [owners[position]]).append(name)
            owners.setdefault(position, name)
        groups.append(ColumnGroup(name, _as_slice(positions), shape))
    if overlaps:
        users = sorted({name for group in overlaps.values() for name in group})
        faults.append(f"modalities {users} overlap in the columns {_short(sorted(overlaps))}")
    unused = [] if faults else sorted(set(range(n_columns)) - owners.keys())
    if unused:
        faults.append(
            f"the columns {_short(unused)} of X belong to no modality: modalities= must cover "
            f"all {n_columns} columns{_CHAINS if unused[-1] == n_columns - 1 else ''}"
        )
    if faults:
        raise InputError("\n".join(faults))
    return tuple(groups)


def _split_shape(spec: Any) -> tuple[Any, tuple[int, ...] | None]:
    if (
        isinstance(spec, tuple)
        and len(spec) == 2
        and isinstance(spec[1], tuple | list)
        and not isinstance(spec[0], int | np.integer)
    ):
        return spec[0], tuple(spec[1])
    return spec, None


def _check_shape(shape: tuple[int, ...] | None, n_columns: int) -> None:
    if n_columns == 0:
        raise InputError("0 feature(s) while a minimum of 1 is required")
    if shape is None:
        return
    if any(not isinstance(s, int | np.integer) or s < 1 for s in shape) or prod(shape) != n_columns:
        msg = f"{n_columns} columns cannot take the shape {shape}"
        raise InputError(msg)


def _positions(columns: Any, n_columns: int, names: Iterable[str] | None) -> list[int]:
    """Resolve one modality's columns to positions."""
    if isinstance(columns, slice):
        return _slice_positions(columns, n_columns, names)
    if isinstance(columns, str | int | np.integer):
        columns = [columns]
    try:
        items = list(columns)
    except TypeError:
        raise InputError(_COLUMNS.format(columns, _CALLED * callable(columns))) from None
    if items and all(isinstance(item, str) for item in items):
        return _named_positions(items, names)
    if items and all(isinstance(item, bool | np.bool_) for item in items):
        if len(items) != n_columns:
            msg = f"a mask of {len(items)} columns does not fit X with {n_columns} columns"
            raise InputError(msg)
        return [int(i) for i in np.flatnonzero(items)]
    if not all(isinstance(item, int | np.integer) and not isinstance(item, bool) for item in items):
        raise InputError(_COLUMNS.format(columns, _CALLED * callable(columns)))
    outside = [int(item) for item in items if not -n_columns <= item < n_columns]
    if outside:
        msg = f"column(s) {_short(outside)} do not exist, X has {n_columns} columns"
        raise InputError(msg)
    return [int(item) % n_columns for item in items]


def _named_positions(items: list[str], names: Iterable[str] | None) -> list[int]:
    if names is None:
        raise InputError(
            f"X has no column names to look up {_short(items)}; use positions "
            "(some of scikit-learn's meta-estimators turn a DataFrame into an array)"
        )
    where = {str(name): i for i, name in enumerate(names)}
    unknown = [str(item) for item in items if item not in where]
    if unknown:
        msg = f"unknown columns {unknown}, X has {_short(list(where))}{hint(unknown, list(where))}"
        raise InputError(msg)
    return [where[item] for item in items]


def _slice_positions(columns: slice, n_columns: int, names: Iterable[str] | None) -> list[int]:
    start, stop = columns.start, columns.stop
    if isinstance(start, str) or isinstance(stop, str):
        # By name the end is part of the slice, as in pandas and in ColumnTransformer.
        start = None if start is None else _named_positions([start], names)[0]
        stop = None if stop is None else _named_positions([stop], names)[0] + 1
    try:
        positions = list(range(n_columns)[slice(start, stop, columns.step)])
    except (TypeError, ValueError) as error:
        msg = f"{columns} is no slice of columns: {error}"
        raise InputError(msg) from None
    # Python cuts a slice that is too long without a word; a meta-estimator that hands over some
    # of the columns only would then train on the wrong ones.
    if any(end is not None and abs(end) > n_columns for end in (start, stop)):
        msg = f"{columns} reaches beyond the {n_columns} columns of X"
        raise InputError(msg)
    return positions


def _as_slice(positions: list[int]) -> slice | tuple[int, ...]:
    if positions == list(range(positions[0], positions[0] + len(positions))):
        return slice(positions[0], positions[0] + len(positions))
    return tuple(positions)


def _short(items: Sequence[Any]) -> str:
    shown = ", ".join(repr(item) for item in items[:10])
    return f"[{shown}{', ...' if len(items) > 10 else ''}]"
