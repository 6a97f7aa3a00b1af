"""Modalities of integer codes, which an encoder with a vocabulary reads step by step.

Codes below 0 are padding, and NaN is in arrays of floats: a row of nothing else is a missing
modality. Only the encoder tells codes from numbers, among which -1 is one like any other.

Messages do not name the modality: the caller, who knows it, puts the name in front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._inputs.absence import first_row, where
from sklearn_mmfusion._inputs.modality_spec import no_modality
from sklearn_mmfusion.data._blocks import ModalityBlock

__all__ = ["code_block", "reads_codes", "unknown_encoders"]

Array = npt.NDArray[Any]

_LARGEST = 2.0**53  # up to here float64 holds every whole number


def reads_codes(estimator: Any, name: str) -> bool:
    """Say whether the encoder that an estimator has for a modality has a vocabulary.

    What is no encoder counts as one without: the estimator refuses it later.
    """
    encoder: Any = getattr(estimator, "encoders", None)
    if isinstance(encoder, list | tuple):
        pairs = [item for item in encoder if isinstance(item, list | tuple) and len(item) == 2]
        encoder = next((value for key, value in pairs if key == name), None)
    elif isinstance(encoder, Mapping):
        encoder = encoder.get(name)
    if isinstance(encoder, type):
        return False
    if hasattr(encoder, "takes_codes_of"):
        return bool(encoder.takes_codes_of(name))
    return hasattr(encoder, "build") and getattr(encoder, "vocabulary_size", None) is not None


def unknown_encoders(estimator: Any, names: Sequence[str]) -> list[InputError]:
    """Return a fault for each encoder that is named as no modality is.

    A modality whose encoder has a slip in its name is read without it, as numbers or texts, and
    what is wrong with it then is not what the user did wrong.
    """
    encoders: Any = getattr(estimator, "encoders", None)
    if isinstance(encoders, list | tuple):
        encoders = [item[0] for item in encoders if isinstance(item, list | tuple) and item]
    elif not isinstance(encoders, Mapping):
        return []
    return [InputError(no_modality(name, names)) for name in encoders if name not in names]


def code_block(
    name: str,
    values: Array,
    *,
    missing: str = "raise",
    rows: Sequence[int] | Array | None = None,
) -> ModalityBlock:
    """Read codes, whole numbers of any dtype, and find the rows that have none.

    Parameters
    ----------
    name : str
        Name of the modality, kept in the block.
    values : ndarray of shape (n_samples, n_steps)
        Codes; below 0, and NaN in floats, is padding.
    missing : {"raise", "mask"}, default="raise"
        Whether a row of padding alone is an error or a row without the modality.
    rows : sequence of int or None, default=None
        Numbers of the rows in the user's X, for messages; None counts them from 0.

    Returns
    -------
    ModalityBlock
        Codes as integers, -1 where there was NaN; ``present`` only where something is missing. It
        has no ``lengths``: the encoder finds them.

    Raises
    ------
    InputError
        For numbers that are not whole, for NaN between codes, and for rows without a code.
    """
    values = np.ascontiguousarray(values)
    if values.dtype.kind == "f":
        values = _whole(values, rows)
    if values.dtype.kind in ("b", "u") or not (values[:, 0] < 0).any():
        return ModalityBlock(name, values, codes=True)
    absent = np.all(values < 0, axis=1)
    if not absent.any():
        return ModalityBlock(name, values, codes=True)
    if missing == "raise":
        raise InputError(
            f"contains {int(absent.sum())} row(s) of padding (codes below 0, or NaN) alone, first "
            f"in row {first_row(absent, rows)}: the modality is missing there; pass missing='mask' "
            "to train and predict without it in these rows, or give them a code of their own, for "
            "example that of an empty text"
        )
    return ModalityBlock(name, values, None, ~absent, codes=True)


def _whole(values: Array, rows: Sequence[int] | Array | None) -> npt.NDArray[np.int64]:
    """Return floats that hold codes as integers, NaN as -1."""
    nan = np.isnan(values)
    fault = ~nan & ((values != np.floor(values)) | (np.abs(values) > _LARGEST))
    if fault.any():
        raise InputError(
            f"expected integer codes, as its encoder has a vocabulary_size, got {values[fault][0]} "
            f"({values.dtype}, {where(fault, rows)}); pass whole numbers, with NaN or a code below "
            "0 for padding, and leave codes out of what scales or imputes; for numbers name an "
            "encoder without vocabulary_size"
        )
    if nan.any():
        # NaN before a code: in a row with codes, any step with a code somewhere behind it.
        has_later = np.logical_or.accumulate(~nan[:, ::-1], axis=1)[:, ::-1]
        gap = nan & has_later
        if gap.any():
            raise InputError(
                f"contains NaN between codes ({where(gap, rows)}); NaN may fill whole rows (a "
                "missing modality) or the last steps (padding); for a symbol that is not known "
                "write a code of vocabulary_size or above"
            )
    return np.where(nan, -1, values).astype(np.int64)
