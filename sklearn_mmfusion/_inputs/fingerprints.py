"""Short texts that are the same for the same parameters and data, in every process."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sklearn_mmfusion._inputs.lazy_blocks import is_lazy
from sklearn_mmfusion._version import __version__
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData

__all__ = ["fingerprint"]

_LONG = 60
_PIECE = 4096  # rows
# Parameters on which the result of a fit does not depend.
_IRRELEVANT = ("checkpoint", "verbose", "random_state")


def fingerprint(
    estimator: Any,
    data: ModalityData,
    target: npt.NDArray[Any],
    weight: npt.NDArray[Any] | None,
    start: Sequence[npt.NDArray[Any]] = (),
    validation: tuple[ModalityData, npt.NDArray[Any]] | None = None,
    groups: npt.NDArray[Any] | None = None,
) -> dict[str, str]:
    """Describe a fit.

    Parameters
    ----------
    estimator : estimator
        Parameters.
    data : ModalityData
        Training rows.
    target : ndarray
        Encoded target.
    weight : ndarray or None
        Row weights.
    start : sequence of ndarray, default=()
        Weights that the fit starts from.
    validation : tuple of ModalityData and ndarray or None, default=None
        Held-out rows that the user passes, and their encoded target.
    groups : ndarray or None, default=None
        Number of the group of each row.

    Returns
    -------
    dict of str to str
        By names for error messages.
    """
    found = {
        "estimator": type(estimator).__name__,
        "version of sklearn-mmfusion": __version__,
        "version of torch": str(torch.__version__),
        "version of numpy": np.__version__,
    }
    for name, value in estimator.get_params(deep=False).items():
        if name not in _IRRELEVANT:
            found[f"parameter {name}"] = _short(_describe(value))
    for block in data.blocks:
        found[f"modality {block.name!r}"] = _sum_of(_arrays_of(block))
    found["target"] = _sum_of([target])
    found["sample_weight"] = _sum_of([weight])
    if groups is not None:
        found["groups"] = _sum_of([groups])
    found["weights to start from"] = _sum_of(start)
    if validation is not None:
        rows, held_target = validation
        for block in rows.blocks:
            found[f"modality {block.name!r} of X_val"] = _sum_of(_arrays_of(block))
        found["y_val"] = _sum_of([held_target])
    return found


def _arrays_of(block: ModalityBlock) -> Iterator[npt.NDArray[Any] | None]:
    """Yield what makes up a modality, in pieces where it is on disk."""
    if not is_lazy(ModalityData([block])):
        yield block.values
    else:
        for start in range(0, block.values.shape[0], _PIECE):
            yield block.take(slice(start, start + _PIECE)).read().values
    yield block.lengths
    yield block.present


def _short(text: str) -> str:
    if len(text) <= _LONG:
        return text
    return f"{text[: _LONG - 20]}... {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _sum_of(arrays: Iterable[npt.NDArray[Any] | None]) -> str:
    digest, shape = hashlib.sha256(), ""
    for array in arrays:
        label = f"{None if array is None else (array.dtype.str, array.shape)}"
        shape = shape or ("none" if array is None else f"shape {array.shape}")
        digest.update(label.encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return f"{shape or 'none'}, sum {digest.hexdigest()[:16]}" if shape != "none" else shape


def _describe(value: Any) -> str:
    """Describe a parameter without addresses, and without what changes from process to process."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return f"array of {_sum_of([value])}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_describe(k)}: {_describe(v)}' for k, v in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(_describe, value))})"
    if isinstance(value, types.FunctionType):
        code = value.__code__
        constants = [item for item in code.co_consts if isinstance(item, (int, float, str))]
        content = code.co_code + repr((code.co_names, constants)).encode()
        digest = hashlib.sha256(content).hexdigest()[:8]
        return f"{value.__module__}.{value.__qualname__} {digest}"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, nn.Module):
        arrays = [tensor.detach().cpu().numpy() for tensor in value.state_dict().values()]
        return f"{kind} {_sum_of(arrays)}"
    if hasattr(value, "get_params"):
        return f"{kind} {_describe(value.get_params(deep=False))}"
    if value is None or isinstance(value, (bool, int, float, str, slice)):
        return repr(value)
    return kind
