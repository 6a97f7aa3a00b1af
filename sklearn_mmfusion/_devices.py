"""Where a fit trains and new rows are encoded, and with how many threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from sklearn_mmfusion._errors import InputError

__all__ = ["count_values", "intra_op_threads", "prediction_device", "training_device"]

_AUTO_VALUES = 20_000_000  # below this many input values "auto" stays on the CPU

CPU = torch.device("cpu")


def count_values(n_rows: int, shapes: Iterable[tuple[int, ...]]) -> int:
    """Return how many input values rows have whose modalities are of these shapes."""
    return n_rows * sum(int(np.prod(shape)) for shape in shapes)


def training_device(device: str, n_values: int) -> str:
    """Return the device that a parameter names for this many input values.

    Raises
    ------
    InputError
        No such device, or one without float64.
    """
    if device == "auto":
        return "cuda" if n_values >= _AUTO_VALUES and torch.cuda.is_available() else "cpu"
    named = _named(device)
    if named.type == "cuda" and not _is_here(named):
        raise InputError(
            f"device={device!r}: cuda is not available here, or has only "
            f"{torch.cuda.device_count()} device(s); use device='cpu' or 'auto'"
        )
    if named.type == "mps":
        raise InputError(
            "device='mps' has no float64, in which inputs are scaled and penalties computed; use "
            "device='cpu' or 'auto'"
        )
    return str(named)


def prediction_device(device: str, n_values: int = 0) -> torch.device:
    """Return where rows are encoded after training.

    That is in float64: on a CUDA device, or on the CPU where the parameter names none, or one that
    is not here (the model may have been fitted elsewhere) or that has no float64.
    """
    if device == "auto":
        return torch.device(training_device(device, n_values))
    named = _named(device)
    return named if named.type == "cuda" and _is_here(named) else CPU


def _named(device: str) -> torch.device:
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device={device!r} is not a torch device: {error}") from None


def _is_here(device: torch.device) -> bool:
    return (device.index or 0) < torch.cuda.device_count()


@contextmanager
def intra_op_threads(n_threads: int | None) -> Iterator[None]:
    """Limit torch's threads within one operation for a while; None leaves them."""
    before = torch.get_num_threads()
    if n_threads is None or n_threads == before:
        yield
        return
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
