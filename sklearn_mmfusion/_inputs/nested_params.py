"""Parameters ``<parameter>__<modality>__<name>`` of what an estimator holds by modality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["by_modality", "nested_params", "take_nested"]


def nested_params(parameter: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return what ``get_params(deep=True)`` says of the parts of a parameter.

    Parameters
    ----------
    parameter : str
        Name of the parameter, such as "encoders".
    pairs : iterable of (str, object)
        Modalities and what they have.
    """
    found: dict[str, Any] = {}
    for name, part in pairs:
        found[f"{parameter}__{name}"] = part
        if hasattr(part, "get_params") and not isinstance(part, type):
            nested = part.get_params(deep=True)
            found.update((f"{parameter}__{name}__{key}", nested[key]) for key in nested)
    return found


def take_nested(parameter: str, params: dict[str, Any]) -> dict[str, Any]:
    """Take the parameters of the parts of a parameter out of others, without its name."""
    prefix = f"{parameter}__"
    return {key[len(prefix) :]: params.pop(key) for key in list(params) if key.startswith(prefix)}


def by_modality(nested: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Divide nested parameters into parts to replace and parameters to set, by modality."""
    replaced: dict[str, Any] = {}
    changed: dict[str, dict[str, Any]] = {}
    for key, value in nested.items():
        name, separator, parameter = key.partition("__")
        if separator:
            changed.setdefault(name, {})[parameter] = value
        else:
            replaced[name] = value
    return replaced, changed
