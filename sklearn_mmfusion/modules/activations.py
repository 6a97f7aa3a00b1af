"""The activations that encoders offer by name."""

from __future__ import annotations

from torch import nn

__all__ = ["ACTIVATIONS", "is_monotone", "make_activation"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
"""Name to class. All of them map 0 to 0, so that a masked step stays zero."""


def make_activation(name: str) -> nn.Module:
    """Return a new activation module.

    Parameters
    ----------
    name : {"relu", "elu", "gelu", "silu", "tanh"}
        Name of the activation.
    """
    return ACTIVATIONS[name]()


def is_monotone(name: str) -> bool:
    """Return whether the activation never falls, so that it commutes with a maximum."""
    return name in ("relu", "elu", "tanh")
