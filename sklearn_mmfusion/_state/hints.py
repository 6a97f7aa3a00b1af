"""Fitted state as a JSON document and arrays, and back: what is read is told by type hints.

The document has no names of our data classes. Reading follows the annotations of the class that
is to come out (:class:`FitResult` has a ``plan: FusionPlan``, which has ``terms: tuple[tuple[int,
...], ...]``), and a value that does not match its hint is refused. Names of classes stand only
where there is a choice, that is for encoders, heads and optimisers, and are looked up in a table.
Nothing is imported and nothing is called that the tables, or the user's own ``trust``, do not hold.

Here is what writing (``_state.encoder``) and reading (``_state.decoder``) share.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any, Union, get_args, get_origin

from sklearn_mmfusion._encoders.choosing import BaseEncoder
from sklearn_mmfusion._model.plan import Head

__all__ = [
    "Mismatch",
    "are_records",
    "is_callable",
    "is_choice",
    "is_union",
    "item_hints",
    "meaning",
    "path_of",
    "want",
]


class Mismatch(Exception):
    """A value that is not of the type that is wanted there."""


def path_of(value: Any) -> str:
    """Return the import path of a class or function."""
    return f"{value.__module__}.{value.__qualname__}"


def want(holds: bool, value: Any, where: str) -> None:
    """Raise a Mismatch unless a condition holds."""
    if not holds:
        raise Mismatch(f"{where}: a value of the wrong type ({type(value).__name__})")


def meaning(hint: Any) -> Any:
    """Return what a hint stands for: ``npt.NDArray`` is the name of one from numpy 2.5 on."""
    origin = get_origin(hint)
    value = getattr(hint if origin is None else origin, "__value__", None)
    if value is None:
        return hint
    args = get_args(hint)
    return value[args] if args else value


def is_choice(hint: Any) -> bool:
    """Whether a hint stands for one class of several, which has to be named."""
    return hint in (Head, BaseEncoder)


def is_union(hint: Any) -> bool:
    """Whether a hint has alternatives."""
    return get_origin(hint) in (Union, types.UnionType)


def is_callable(hint: Any) -> bool:
    """Whether a hint is that of a function."""
    return get_origin(hint) is get_origin(Callable[..., Any])


def are_records(hint: Any) -> bool:
    """Whether a hint is that of a history: a list of dicts."""
    return get_origin(hint) is list and get_origin(get_args(hint)[0]) is dict


def item_hints(origin: Any, args: tuple[Any, ...], length: int) -> Sequence[Any]:
    """Return the hint of each item of a list or tuple."""
    if origin is tuple and not (len(args) == 2 and args[1] is ...):
        return args
    return [args[0]] * length
