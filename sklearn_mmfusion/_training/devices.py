"""Where a fit trains and new rows are encoded, and with how many threads."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch

from sklearn_mmfusion._errors import InputError

__all__ = [
    "count_values",
    "intra_op_threads",
    "prediction_device",
    "training_device",
    "usual_device",
    "usual_torch",
    "whole_float32",
]

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
        No such device, or one that cannot be computed on in float64.
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
    if named.type not in ("cpu", "cuda"):
        _refuse_without_values(named)
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


def _refuse_without_values(device: torch.device) -> None:
    """Refuse a device on which no number can be put and read again.

    "meta" has shapes alone; torch knows the names of others for which it was not built.
    """
    try:
        torch.ones((), dtype=torch.float64, device=device).item()
    except Exception as error:  # of many types, by the device
        reason = str(error).strip().split("\n")[0][:200]
        raise InputError(
            f"device={str(device)!r}: expected one that holds numbers in float64, and this one "
            f"does not here ({reason}); use device='cpu', 'cuda' or 'auto'"
        ) from error


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


@contextmanager
def usual_device() -> Iterator[None]:
    """Make tensors on the CPU unless told otherwise, whatever torch's default device is."""
    if torch.get_default_device().type == "cpu":
        yield
        return
    with CPU:  # costs time in every operation
        yield


@contextmanager
def usual_torch() -> Iterator[None]:
    """Train as ever inside ``torch.no_grad``, ``inference_mode``, another default device or dtype.

    A fit is often called where the features were made, in such a block.
    """
    dtype = torch.get_default_dtype()
    if dtype != torch.float32:  # initial weights are drawn in it
        torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad(), usual_device():
            yield
    finally:
        if dtype != torch.float32:
            torch.set_default_dtype(dtype)


class _WholeFloat32:
    """Fits that want float32 from cuDNN at present; the first and the last of them set the flag."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_fits = 0
        self.before: bool | None = None

    def begin(self) -> None:
        with self.lock:
            self.n_fits += 1
            if self.n_fits == 1:
                self.before = None
                # Torch refuses to read it where its newer flags differ: then they are chosen.
                with suppress(RuntimeError):
                    self.before = torch.backends.cudnn.allow_tf32
                    torch.backends.cudnn.allow_tf32 = False

    def end(self) -> None:
        with self.lock:
            self.n_fits -= 1
            if self.n_fits == 0 and self.before is not None:
                torch.backends.cudnn.allow_tf32 = self.before


_WHOLE_FLOAT32 = _WholeFloat32()


@contextmanager
def whole_float32(device: str | torch.device) -> Iterator[None]:
    """Compute convolutions and recurrent layers on a CUDA device as products are computed there.

    Torch computes products in float32 unless TF32 is asked for, but lets cuDNN use TF32 unless
    that is forbidden: the same model then differs in the third digit between encoders of a CPU and
    of a GPU. Where products are to be in TF32 (``torch.set_float32_matmul_precision``), nothing is
    changed. The flag is one of the process, and put back when the last fit that changed it ends.
    """
    products = torch.backends.cuda.matmul.fp32_precision
    if torch.device(device).type != "cuda" or products == "tf32":
        yield
        return
    _WHOLE_FLOAT32.begin()
    try:
        yield
    finally:
        _WHOLE_FLOAT32.end()
