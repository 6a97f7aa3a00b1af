"""What a fitted estimator remembers of X, and the reading of one modality against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sklearn_mmfusion._errors import FusionError, InputError, InputTypeError
from sklearn_mmfusion._inputs.absence import make_block
from sklearn_mmfusion._inputs.codes import code_block
from sklearn_mmfusion._inputs.lazy_blocks import LazyBlock, lazy_numbers
from sklearn_mmfusion._inputs.modality_spec import ColumnGroup
from sklearn_mmfusion._inputs.modality_values import (
    as_numbers,
    feature_names,
    names_fault,
)
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityLayout
from sklearn_mmfusion.data._lazy import LazyArray

__all__ = ["InputSchema", "labelled", "read_modality"]


@dataclass(frozen=True, eq=False)
class InputSchema:
    """What ``fit`` remembers of X.

    Attributes
    ----------
    form : {"mapping", "array", "dataframe"}
        Mapping and DataFrame with MultiIndex columns are one form, the 2-D ones are told apart.
    layouts : tuple of ModalityLayout
        The modalities in the model's order.
    n_features_in : int
        Number of modalities for a mapping, of columns for 2-D input.
    feature_names_in : ndarray of object or None
        Names of the modalities, or of the columns of a DataFrame.
    column_spec : tuple of ColumnGroup or None
        Columns of each modality of 2-D input; None without ``modalities``.
    selected : bool
        Whether ``modalities`` chose from a mapping, so that others in it are ignored.
    """

    form: str
    layouts: tuple[ModalityLayout, ...]
    n_features_in: int
    feature_names_in: npt.NDArray[np.object_] | None = None
    column_spec: tuple[ColumnGroup, ...] | None = None
    selected: bool = False

    @property
    def names(self) -> list[str]:
        """Names of the modalities, in the model's order."""
        return [layout.name for layout in self.layouts]


def labelled(error: FusionError, label: str) -> FusionError:
    """Return the error with what it is about in front of its text."""
    return type(error)(f"{label} {error}")


def read_modality(
    name: str,
    value: Any,
    estimator: Any,
    missing: str,
    *,
    expected: ModalityLayout | None,
    shape: tuple[int, ...] | None = None,
    codes: bool = False,
    columns: Any = None,
) -> tuple[ModalityBlock, ModalityLayout]:
    """Read the values of one named modality; messages do not name it.

    ``codes`` says whether its encoder has a vocabulary, ``columns`` are names of the features for
    messages, where the values are no DataFrame themselves.
    """
    if value is None:
        raise InputTypeError(
            "expected an array with one row per sample, got NoneType; a modality that no row has "
            "is [None] * n_rows, or rows of NaN, with missing='mask'"
        )
    values: Any
    if isinstance(value, LazyArray):
        values = lazy_numbers(value)
    else:
        values = as_numbers(value, None if expected is None else expected.shape, codes=codes)
    if values.ndim < 2:
        what = "scalar array" if values.ndim == 0 else "1D array"
        raise InputError(
            f"Expected 2D array, got {what} instead: shape {values.shape}. Reshape your data "
            "either using array.reshape(-1, 1) if the modality has a single feature or "
            "array.reshape(1, -1) if it contains a single sample"
            f"{'; of a Series: .to_frame(), and .to_frame().T' * hasattr(value, 'to_frame')}"
        )
    if shape is not None:
        values = values.reshape(len(values), *shape)
    if len(values) == 0:
        raise InputError(
            f"Found array with 0 sample(s) (shape={values.shape}) while a minimum of 1 is required"
        )
    if 0 in values.shape:
        msg = f"0 feature(s) (shape={values.shape}) while a minimum of 1 is required"
        raise InputError(msg)
    called = list(value.columns) if hasattr(value, "columns") else columns
    columns = feature_names(value)
    codes = codes and values.ndim == 2
    if expected is not None:
        _match_layout(values, columns, expected, estimator)
    if isinstance(values, LazyArray):
        block: ModalityBlock = LazyBlock(
            name,
            values,  # type: ignore[arg-type]  # what makes arrays counts as one
            missing=missing,
            dtype=_dtype(estimator),
            rows=range(len(values)),
            codes=codes,
        )
    elif codes:
        block = code_block(name, values, missing=missing)
    else:
        block = make_block(name, values, missing=missing, dtype=_dtype(estimator), columns=called)
    dtype = "int64" if codes and values.dtype.kind == "f" else values.dtype.name
    layout = ModalityLayout(name, values.shape[1:], dtype, columns, codes)
    return block, layout


def _dtype(estimator: Any) -> str | None:
    dtype = getattr(estimator, "dtype", None)
    return "float32" if dtype in ("float32", np.float32, torch.float32) else None


def _match_layout(
    values: npt.NDArray[Any],
    columns: tuple[str, ...] | None,
    expected: ModalityLayout,
    estimator: Any,
) -> None:
    """Compare one modality with that of the fit."""
    who = type(estimator).__name__
    shape = values.shape[1:]
    names = expected.feature_names
    if (fault := names_fault(columns, names)) is not None:
        if expected.codes:
            fault += "; pass the codes as an array, whose number of steps may differ"
        raise InputError(fault)
    if len(shape) != len(expected.shape):
        one = "; one sample is array[None]" if len(shape) + 1 == len(expected.shape) else ""
        raise InputError(
            f"has {values.ndim} axes (shape {values.shape}), but {who} was fitted on rows of "
            f"shape {expected.shape}{one}"
        )
    if len(shape) > 2 and shape != expected.shape:
        msg = f"rows have the shape {shape}, but {who} is expecting {expected.shape}"
        raise InputError(msg)
    if shape[-1] != expected.shape[-1] and not expected.codes:
        step = " per step" if len(shape) == 2 else ""
        raise InputError(
            f"X has {shape[-1]} features{step}, but {who} is expecting {expected.shape[-1]} "
            f"features{step} as input"
        )
