"""The error of a user's own module, with the modality whose values it got."""

from __future__ import annotations

from torch import Tensor, nn

from sklearn_mmfusion._errors import FusionError, InputError, InputTypeError, ModuleError
from sklearn_mmfusion.modules.out_of_memory import is_of_memory

__all__ = ["failure_of"]


def failure_of(
    error: Exception, module: nn.Module, label: str, values: Tensor, **extra: Tensor | None
) -> FusionError | None:
    """Return the error to raise in place of one from within a user's module.

    Parameters
    ----------
    error : Exception
        What the module raised.
    module : nn.Module
        The module.
    label : str
        What messages call it, such as "modality 'audio'".
    values : Tensor
        What went in.
    **extra : Tensor or None
        What went in besides, by name.

    Returns
    -------
    FusionError or None
        A ValueError or a TypeError for one of these, else a RuntimeError. None where the error
        says enough: ours, one that there is no memory left, and those of classes of the user's,
        which somebody waits for.
    """
    of_python_or_torch = type(error).__module__.partition(".")[0] in ("builtins", "torch")
    if isinstance(error, FusionError) or is_of_memory(error) or not of_python_or_torch:
        return None
    got = [_text("values", values)]
    got += [_text(name, tensor) for name, tensor in extra.items() if tensor is not None]
    message = (
        f"{label}: the encoder module {type(module).__name__} failed in "
        f"{'training' if module.training else 'evaluation'} mode on {' and '.join(got)}: "
        f"{type(error).__name__}: {error}; correct its forward"
    )
    kinds: dict[type[Exception], type[FusionError]] = {
        ValueError: InputError,
        TypeError: InputTypeError,
    }
    kind = next((ours for base, ours in kinds.items() if isinstance(error, base)), ModuleError)
    return kind(message)


def _text(name: str, tensor: Tensor) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    where = "" if tensor.device.type == "cpu" else f" on {tensor.device}"
    return f"{name} of shape {tuple(tensor.shape)}, {dtype}{where}"
