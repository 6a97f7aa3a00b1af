"""Values as JSON and arrays; see ``_state.hints``."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from torch import nn

from sklearn_mmfusion._errors import InputTypeError
from sklearn_mmfusion._state.hints import (
    Mismatch,
    are_records,
    is_callable,
    is_choice,
    is_union,
    item_hints,
    meaning,
    path_of,
    want,
)
from sklearn_mmfusion._state.tensor_files import Arrays
from sklearn_mmfusion._state.types import CHOICES

__all__ = ["Encoder"]

_MANY = 64  # texts from this number on are stored as an array


class Encoder:
    """Turn values into JSON and arrays.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Arrays that the JSON refers to by name.
    """

    def __init__(self) -> None:
        self.arrays: Arrays = {}

    def encode(self, value: Any, hint: Any, where: str) -> Any:
        """Return the JSON of a value.

        Parameters
        ----------
        value : object
            The value.
        hint : type
            Its type, as an annotation.
        where : str
            Place of the value, for errors and for names of arrays.

        Raises
        ------
        InputTypeError
            If there is something that cannot be written as data.
        """
        if hint is Any or hint is object:
            return self._encode_any(value, where)
        hint = meaning(hint)
        origin, args = get_origin(hint), get_args(hint)
        if is_union(hint):
            return self._encode_union(value, args, where)
        if is_choice(hint) or are_records(hint):
            return self._encode_any(value, where)
        if origin is np.ndarray:
            return self._encode_array(value, where)
        if dataclasses.is_dataclass(hint):
            return self._encode_fields(value, hint, where)
        if origin in (dict, Mapping):
            want(isinstance(value, Mapping), value, where)
            return {
                key: self.encode(item, args[1], f"{where}.{key}") for key, item in value.items()
            }
        if origin in (tuple, list, Sequence):
            want(isinstance(value, (tuple, list)), value, where)
            if args[0] is str and len(value) >= _MANY:
                return self._encode_texts(value, where)
            hints = item_hints(origin, args, len(value))
            pairs = enumerate(zip(value, hints, strict=True))
            return [self.encode(item, kind, f"{where}.{i}") for i, (item, kind) in pairs]
        return self._encode_scalar(value, hint, where)

    def _encode_union(self, value: Any, members: Iterable[Any], where: str) -> Any:
        if value is None:
            return None
        for member in members:
            if member is not type(None):
                try:
                    return self.encode(value, member, where)
                except Mismatch:
                    continue
        raise Mismatch(f"{where}: {type(value).__name__}")

    def _encode_fields(self, value: Any, kind: Any, where: str) -> Any:
        want(isinstance(value, kind), value, where)
        hints = get_type_hints(kind)
        return {
            field.name: self.encode(
                getattr(value, field.name), hints[field.name], f"{where}.{field.name}"
            )
            for field in dataclasses.fields(kind)
        }

    def _encode_scalar(self, value: Any, hint: Any, where: str) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if is_callable(hint):
            want(callable(value), value, where)
            return self._encode_any(value, where)
        if hint is slice:
            want(isinstance(value, slice), value, where)
            return {"slice": [value.start, value.stop, value.step]}
        if hint is float and type(value) in (int, float):
            return self._encode_any(float(value), where)
        want(hint in (int, str, bool) and type(value) is hint, value, where)
        return value

    # -- values of any type --------------------------------------------------------------------

    def _encode_any(self, value: Any, where: str) -> Any:
        if isinstance(value, np.generic) and not isinstance(value, np.ndarray):
            value = value.item()
        if isinstance(value, str):
            value.encode()  # half a surrogate pair is no text; a UnicodeEncodeError is a ValueError
            return str(value)
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, slice):
            return {"slice": [self._encode_any(v, where) for v in _ends(value)]}
        if isinstance(value, np.ndarray):
            return {"array": self._encode_array(value, where)}
        if isinstance(value, np.random.RandomState):
            return {"random_state": self._encode_any(list(value.get_state()), where)}
        if isinstance(value, list) and (columns := _columns(value)) is not None:
            return {"records": self._encode_any(columns, where)}
        if isinstance(value, (list, tuple)):
            items = [self._encode_any(item, f"{where}.{i}") for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        if isinstance(value, Mapping):
            pairs = [
                [self._encode_any(k, where), self._encode_any(v, f"{where}.{k}")]
                for k, v in value.items()
            ]
            return {"dict": pairs}
        return self._encode_object(value, where)

    def _encode_object(self, value: Any, where: str) -> Any:
        kind = type(value)
        if CHOICES.get(kind.__name__) is kind:
            if dataclasses.is_dataclass(kind):
                content = self._encode_fields(value, kind, where)
            else:
                content = self._encode_params(value, where)
            return {"object": kind.__name__, "content": content}
        if isinstance(value, (type, types.FunctionType)):
            if "<" not in value.__qualname__:
                return {"trusted": path_of(value)}
            raise InputTypeError(
                f"{where}: {value.__qualname__} has no import path; save needs a function or class "
                "at the top of a module"
            )
        if isinstance(value, nn.Module):
            raise InputTypeError(
                f"{where}: a {kind.__name__} cannot be built again from its class; give the "
                "encoder as a function or class at the top of a module that takes the layout and "
                "returns the module"
            )
        is_own = hasattr(value, "build") and isinstance(value, BaseEstimator)
        if is_own and not kind.__module__.startswith("sklearn_mmfusion."):
            return {"trusted": path_of(kind), "content": self._encode_params(value, where)}
        raise InputTypeError(
            f"{where}: a {kind.__name__} cannot be saved as data. Estimators of scikit-learn's are "
            "saved with skops (skops.io.dump); callbacks and the like can be taken out first with "
            "set_params, which changes nothing about the fitted model"
        )

    def _encode_params(self, value: Any, where: str) -> dict[str, Any]:
        return {
            name: self._encode_any(item, f"{where}.{name}")
            for name, item in value.get_params(deep=False).items()
        }

    # -- arrays --------------------------------------------------------------------------------

    def _encode_array(self, value: Any, where: str) -> Any:
        want(isinstance(value, np.ndarray), value, where)
        if value.dtype.kind in "biuf":
            return self._put(where, value)
        items = value.tolist()
        if value.ndim == 1 and value.dtype.kind in "UO" and all(type(v) is str for v in items):
            kind = "str" if value.dtype.kind == "U" else "object"
            return {**self._encode_texts(items, where), "dtype": kind}
        if value.ndim == 1 and value.dtype.kind == "O":
            return {"objects": self._encode_any(items, where)}
        raise InputTypeError(f"{where}: an array of dtype {value.dtype} cannot be saved as data")

    def _encode_texts(self, values: Sequence[str], where: str) -> dict[str, str]:
        encoded = [value.encode() for value in values]
        joined = np.frombuffer(b"".join(encoded), np.uint8)
        lengths = np.array([len(part) for part in encoded], np.int64)
        return {"text": self._put(where, joined), "lengths": self._put(f"{where}#", lengths)}

    def _put(self, where: str, value: npt.NDArray[Any]) -> str:
        name = where
        while name in self.arrays:
            name += "'"
        self.arrays[name] = value
        return name


def _ends(value: slice) -> tuple[Any, Any, Any]:
    return value.start, value.stop, value.step


def _columns(rows: list[Any]) -> dict[str, npt.NDArray[Any]] | None:
    """Return rows of equal keys with numbers of equal type as columns; None for anything else."""
    if len(rows) < 4 or not all(isinstance(row, dict) for row in rows):
        return None
    if any(row.keys() != rows[0].keys() for row in rows):
        return None
    if not rows[0] or not all(isinstance(key, str) for key in rows[0]):
        return None
    columns: dict[str, npt.NDArray[Any]] = {}
    for key in rows[0]:
        kinds = {type(row[key]) for row in rows}
        if len(kinds) != 1 or not kinds <= {bool, int, float}:
            return None
        dtype = {bool: np.bool_, int: np.int64, float: np.float64}[kinds.pop()]
        try:
            columns[key] = np.array([row[key] for row in rows], dtype)
        except OverflowError:
            return None
    return columns
