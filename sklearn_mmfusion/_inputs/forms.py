"""The two forms of X: a mapping of modalities, and a 2-D array or DataFrame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from sklearn_mmfusion._errors import FusionError, InputError, InputTypeError, warn
from sklearn_mmfusion._inputs.codes import reads_codes, unknown_encoders
from sklearn_mmfusion._inputs.modality_spec import (
    ColumnGroup,
    check_names,
    hint,
    pick_name,
    resolve_columns,
)
from sklearn_mmfusion._inputs.modality_values import (
    as_numbers,
    check_columns_differ,
    column_names,
    is_frame,
    split_levels,
)
from sklearn_mmfusion._inputs.schema import InputSchema, labelled, read_modality
from sklearn_mmfusion._inputs.validation_targets import own_errors
from sklearn_mmfusion.data._blocks import ModalityData, ModalityLayout
from sklearn_mmfusion.data._row_labels import check_row_labels
from sklearn_mmfusion.data._values import raise_faults

__all__ = ["as_known_form", "check_2d", "check_mapping"]

# Name of the one modality of 2-D input without modalities=.
_SINGLE = "X"
_ABSENT = ". Rows of NaN stand for a modality that is missing"


def as_known_form(X: Any) -> Any:
    """Return X, a DataFrame with MultiIndex columns as a dict; refuse what is no form of X."""
    # First of all, since scipy's dok_array is a dict.
    if sparse.issparse(X):
        raise InputTypeError(
            "Sparse data was passed for X, but dense data is required. Use '.toarray()' to "
            "convert to a dense numpy array."
        )
    if X is None:
        raise InputError("X is None; expected a mapping of modalities or 2D array")
    if isinstance(X, Mapping):
        return X
    X = split_levels(X)
    if isinstance(X, dict):
        return X
    if isinstance(X, list | tuple):
        if any(hasattr(row, "ndim") and row.ndim > 1 for row in X):
            raise InputTypeError(
                "X is a list of arrays: name the modalities, as in {'text': X[0], 'audio': X[1]}"
            )
        return X
    is_array = isinstance(X, torch.Tensor) or any(
        hasattr(X, name) for name in ("__array__", "__array_interface__", "shape", "__dataframe__")
    )
    if isinstance(X, str | bytes | np.generic) or not is_array:
        msg = f"X must be a mapping of modalities or 2D array, got {type(X).__name__}"
        raise InputTypeError(msg)
    return X


def check_mapping(
    X: Mapping[str, Any],
    estimator: Any,
    modalities: Any,
    missing: str,
    schema: InputSchema | None,
    only: str | None = None,
) -> tuple[InputSchema, ModalityData]:
    """Check a mapping of modalities; ``only`` is the one to read in ``fit``."""
    names = check_names(X)
    chosen = modalities is not None or only is not None
    selected = chosen if schema is None else schema.selected
    if schema is not None:
        if schema.form != "mapping":
            raise InputError(
                f"{type(estimator).__name__} was fitted on a 2D array with "
                f"{schema.n_features_in} columns, but got a mapping with the modalities {names}"
            )
        order = schema.names
    else:
        order = names if modalities is None else _selection(modalities)
        order = order if only is None else pick_name(only, order)
    gone = [name for name in order if name not in names]
    extra = [] if selected else [name for name in names if name not in order]
    if gone or extra:
        parts = ([f"missing: {gone}"] if gone else []) + ([f"unexpected: {extra}"] if extra else [])
        known = names if gone else order
        raise InputError(
            f"the modalities of X do not match: {', '.join(parts)}; expected {order}"
            f"{hint(gone or extra, known)}{_ABSENT if gone and missing == 'mask' else ''}"
        )
    layouts: dict[str, ModalityLayout] = (
        {} if schema is None else {layout.name: layout for layout in schema.layouts}
    )
    faults: list[FusionError] = []
    blocks, found = [], []
    for name in order:
        try:
            expected = layouts.get(name)
            codes = reads_codes(estimator, name) if expected is None else expected.codes
            block, layout = read_modality(
                name, X[name], estimator, missing, expected=expected, codes=codes
            )
        except FusionError as error:
            faults.append(labelled(error, f"modality {name!r}:"))
            continue
        blocks.append(block)
        found.append(layout)
    counts = {block.name: len(block.values) for block in blocks}
    if len(set(counts.values())) > 1:
        text = ", ".join(f"{name}: {n}" for name, n in counts.items())
        faults.append(InputError(f"modalities have different numbers of samples: {text}"))
    faults += check_row_labels((name, X[name]) for name in order)
    if faults and schema is None and only is None:
        faults = [*unknown_encoders(estimator, order), *faults]
    raise_faults(faults)
    if schema is None:
        schema = InputSchema(
            "mapping",
            tuple(found),
            len(found),
            np.array(order, dtype=object),
            selected=selected,
        )
    return schema, ModalityData(blocks)


def _selection(modalities: Any) -> list[str]:
    if not isinstance(modalities, list | tuple):
        raise InputTypeError(
            "for a mapping of modalities, modalities= is a list of their names (columns are for "
            f"2D input), got {type(modalities).__name__}"
        )
    return check_names(modalities)


def check_2d(
    X: Any,
    estimator: Any,
    modalities: Any,
    missing: str,
    schema: InputSchema | None,
    only: str | None = None,
) -> tuple[InputSchema, ModalityData]:
    """Check a 2-D array or DataFrame; ``only`` is the one modality to read in ``fit``."""
    if schema is not None and schema.form == "mapping":
        raise InputError(
            f"{type(estimator).__name__} was fitted on modalities {schema.names}, but got "
            f"{'a DataFrame' if is_frame(X) else 'an array'} ({type(X).__name__})"
        )
    spec = modalities if schema is None else schema.column_spec
    frame = is_frame(X)
    columns = column_names(X)
    if frame and spec is not None:
        # Per modality, so that each keeps its own dtype.
        check_columns_differ(X)
        table, n_columns = X, X.shape[1]
    else:
        table = _read_table(X, estimator)
        n_columns = table.shape[1]
    if schema is not None:
        _check_steps(n_columns, schema, estimator)
        with own_errors():
            validate_data(
                estimator, X if columns is not None else table, reset=False, skip_check_array=True
            )
        if n_columns != schema.n_features_in:
            msg = f"X has {n_columns} features, but {schema.n_features_in} are expected as input"
            raise InputError(msg)
        groups = schema.column_spec
    else:
        groups = None if modalities is None else resolve_columns(modalities, n_columns, columns)
        if only is not None:
            wanted = pick_name(only, [_SINGLE] if groups is None else [g.name for g in groups])
            groups = groups and tuple(group for group in groups if group.name in wanted)
        if groups is None:
            warn(
                f"X is a 2D array and modalities=None: its {n_columns} columns are ONE modality; "
                "pass a mapping, or modalities={'name': columns, ...}",
                UserWarning,
            )
    faults: list[FusionError] = []
    known = None if schema is None else {part.name: part.codes for part in schema.layouts}
    blocks, layouts = [], []
    for group in groups or (ColumnGroup(_SINGLE, slice(None)),):
        selector = group.columns if isinstance(group.columns, slice) else list(group.columns)
        value = table.iloc[:, selector] if table is X and frame else table[:, selector]
        try:
            codes = reads_codes(estimator, group.name) if known is None else known[group.name]
            block, layout = read_modality(
                group.name,
                value,
                estimator,
                missing,
                expected=None,
                shape=group.shape,
                codes=codes,
                columns=list(X.columns) if frame and groups is None else None,
            )
        except FusionError as error:
            # scikit-learn writes "Input X contains NaN".
            label = "Input X" if groups is None else f"modality {group.name!r}:"
            faults.append(labelled(error, label))
            continue
        blocks.append(block)
        layouts.append(layout)
    raise_faults(faults)
    if schema is None:
        schema = InputSchema(
            "array" if columns is None else "dataframe",
            tuple(layouts),
            int(n_columns),
            columns,
            groups,
        )
    return schema, ModalityData(blocks)


def _check_steps(n_columns: int, schema: InputSchema, estimator: Any) -> None:
    """Refuse another number of codes where they are all of a 2-D array."""
    is_one = schema.column_spec is None and schema.layouts[0].codes
    if is_one and n_columns != schema.n_features_in:
        raise InputError(
            f"X has {n_columns} steps, but {type(estimator).__name__} is expecting "
            f"{schema.n_features_in} steps as input, as a 2D array keeps its width; fill up with "
            f"-1 or cut, or fit on a mapping, {{'codes': X}}, which takes any number of steps"
        )


def _read_table(X: Any, estimator: Any) -> npt.NDArray[Any]:
    """Return 2-D input as one array, with scikit-learn's messages about its shape."""
    try:
        table = as_numbers(X)
    except FusionError as error:
        raise labelled(error, "Input X:") from None
    if table.ndim > 2 and is_frame(X):
        raise InputError(
            f"Input X: its column {X.columns[0]!r} holds sequences; pass a mapping of modalities, "
            f"such as {{{str(X.columns[0])!r}: X.iloc[:, 0]}}"
        )
    with own_errors():
        return check_array(
            table, dtype=None, ensure_all_finite=False, estimator=estimator, input_name="X"
        )
