"""What numpy writes into a pickle besides plain values: dtypes, arrays and scalars.

Each is made here from its description, with the size of the data checked against the shape, so
that no number in a file decides how much memory is allocated.
"""

import math
import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["PART_TYPES", "Arguments", "Known", "Refused", "Unfinished", "call", "find_known"]

# Booleans, numbers, bytes, text, and objects, of which only plain ones can be in such a file.
_DTYPE = re.compile(r"[<>|=]?([biufcSUO])([0-9]{1,6})", re.ASCII)
_MAX_DIMENSIONS = 32


class Refused(Exception):
    """Something in the file that is not read; the text says what."""


class Known(str):
    """One of the names that :func:`call` understands."""

    __slots__ = ()


class Arguments(tuple[Any, ...]):
    """A tuple with a part of an array in it, which must not stay in the result."""

    __slots__ = ()


PART_TYPES = (np.dtype, Known)

# numpy 1 and numpy 2 name the module differently; Python 2 and 3 the one of `bytes`.
_KNOWN = {
    **{
        (f"{core}.{module}", name): Known(name)
        for core in ("numpy.core", "numpy._core")
        for module, name in [
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        ]
    },
    ("numpy", "ndarray"): Known("ndarray"),
    ("numpy", "dtype"): Known("dtype"),
    ("_codecs", "encode"): Known("encode"),
    ("builtins", "bytes"): Known("bytes"),
    ("__builtin__", "bytes"): Known("bytes"),
}


def find_known(module: Any, name: Any) -> Known:
    """Return the marker of a name that arrays are made with; no module is imported for it."""
    module, name = _as_str(module), _as_str(name)
    if (module, name) not in _KNOWN:
        # Escaped and cut: the name is the file's, and ends up in a terminal.
        raise Refused(f"the name {ascii(f'{module}.{name}'[:120])}")
    return _KNOWN[module, name]


class Unfinished:
    """A dtype or an array that still waits for its state.

    `value` is None until then. The memo of the machine keeps this object, and so finds the value.
    """

    __slots__ = ("dtype", "value")

    def __init__(self, dtype: np.dtype[Any] | None = None) -> None:
        self.dtype = dtype  # None: an array
        self.value: Any = None

    def finish(self, state: tuple[Any, ...], count: Callable[[int], None]) -> Any:
        """Return the finished value; `count` is told the number of elements that are objects."""
        if self.dtype is None:
            self.value = _array(state, count)
        else:
            self.value = _ordered_dtype(self.dtype, state)
        return self.value


def call(function: Known, arguments: tuple[Any, ...], spend: Callable[[int], None]) -> Any:
    """Return what a known name makes of its arguments; `spend` is told the bytes it copies."""
    match function, arguments:
        case "_reconstruct", (Known("ndarray"), tuple(), "b" | b"b"):
            return Unfinished()  # the shape given here is overwritten by the state
        case "dtype", (code, *_):
            return Unfinished(_plain_dtype(_as_str(code)))
        case "scalar", (np.dtype() as dtype, data):
            data = _as_bytes(data)
            if dtype.hasobject or len(data) != dtype.itemsize:
                raise Refused("a scalar whose bytes do not fit its dtype")
            return np.frombuffer(data, dtype)[0]
        case "_frombuffer", (data, np.dtype() as dtype, shape, "C" | "F" as order):
            return _over_bytes(data, dtype, _shape(shape), order)
        case "encode", (str() as text, "latin1"):
            spend(len(text))
            return text.encode("latin-1")
        case "bytes", ():
            return b""
    raise Refused(f"a call of {str(function)} with arguments that numpy does not write")


def _plain_dtype(code: str) -> np.dtype[Any]:
    """Return the dtype of a code such as ``f8`` or ``U12``."""
    match = _DTYPE.fullmatch(code)
    if match is None:
        raise Refused(f"the dtype {ascii(code[:40])}")
    dtype = np.dtype(object if match[1] == "O" else code)
    if dtype.itemsize == 0:
        raise Refused("a dtype without size")
    return dtype


def _ordered_dtype(dtype: np.dtype[Any], state: tuple[Any, ...]) -> np.dtype[Any]:
    """Return the dtype with the byte order of its state; structured ones are refused."""
    _, order, *compound, size = state[:6]
    order = _as_str(order)
    if compound != [None, None, None] or len(state) != 8:
        raise Refused("a dtype with fields or metadata")
    if size not in (-1, dtype.itemsize):
        raise Refused("a dtype with two sizes")
    if order == ">":
        return dtype.newbyteorder(">")
    if order in ("<", "|", "="):
        return dtype.newbyteorder("<" if order == "<" else "|")
    raise Refused("a dtype with an unknown byte order")


def _array(state: tuple[Any, ...], count: Callable[[int], None]) -> NDArray[Any]:
    """Return the array that a state describes."""
    _, shape, dtype, is_fortran, data = state
    shape = _shape(shape)
    order: Literal["C", "F"] = "F" if is_fortran else "C"
    if not isinstance(dtype, np.dtype):
        raise Refused("an array without dtype")
    if not dtype.hasobject:
        return _over_bytes(data, dtype, shape, order)
    if type(data) is not list or len(data) != math.prod(shape):
        raise Refused("an array whose elements do not fill its shape")
    count(len(data))
    array = np.empty(len(data), dtype=object)
    for index, value in enumerate(data):
        array[index] = value
    array.flags.writeable = False
    return array.reshape(shape, order=order)


def _over_bytes(
    data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any
) -> NDArray[Any]:
    """Return an array over bytes, or over a part of the mapped file, without a copy."""
    data = _as_bytes(data)
    if dtype.hasobject or len(data) != math.prod(shape) * dtype.itemsize:
        raise Refused("an array whose bytes do not fill its shape")
    if not len(data):
        return np.empty(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _shape(shape: Any) -> tuple[int, ...]:
    if (
        type(shape) is not tuple
        or len(shape) > _MAX_DIMENSIONS
        or not all(type(size) is int and size >= 0 for size in shape)
    ):
        raise Refused("an array whose shape is no tuple of whole numbers")
    return shape


def _as_bytes(data: Any) -> bytes | memoryview:
    if isinstance(data, str):  # a string of Python 2 that happens to be ASCII
        return data.encode("ascii")
    if not isinstance(data, bytes | memoryview):
        raise Refused("an array without bytes")
    return data


def _as_str(name: Any) -> str:
    return str(name, "utf-8", "replace") if isinstance(name, bytes) else str(name)
