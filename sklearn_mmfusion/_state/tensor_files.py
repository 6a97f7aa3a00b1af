"""One file of arrays and a JSON document, and a reader that believes nothing it is told.

The file is in the safetensors format, so that other programs read its arrays: eight bytes with the
length of a JSON header, the header, the bytes of the arrays end to end. Its ``__metadata__`` has
three lines of ours: what the file is, a SHA-256, and the document, over which the sum is taken
together with the arrays. The sum finds damage; whoever writes a file also writes its sum, so that
the content is checked as well.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from sklearn_mmfusion._errors import FileError, UnsafeFileError
from sklearn_mmfusion._state.atomic_files import open_regular, write_atomically

__all__ = ["MAX_HEADER", "Arrays", "parse_json", "read_file", "write_file"]

Arrays = dict[str, npt.NDArray[Any]]

MAX_HEADER = 2**20
_MAX_DEPTH = 64
_MAX_DIGITS = 400  # of a number; Python's own are at most 20 or so
_DTYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)  # a text without end is one, too
_BRACKETS = re.compile(r"[\[\]{}]")
_KEY = "sklearn_mmfusion"  # one entry: the library writes several in any order


def write_file(
    path: str | os.PathLike[str],
    kind: str,
    document: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
    error: type[FileError] = FileError,
) -> None:
    """Write a document and arrays in one step.

    Parameters
    ----------
    path : str or path-like
        Where to write; see :func:`~sklearn_mmfusion._state.atomic_files.write_atomically`.
    kind : str
        What the file is.
    document : mapping
        What JSON can hold, without NaN.
    arrays : mapping of str to ndarray
        Booleans, integers and floats.
    error : type, default=FileError
        What to raise.

    Raises
    ------
    FileError
        If it cannot be written, or the header would be longer than a reader accepts.
    """
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    plain = {name: _little(value) for name, value in arrays.items()}
    lines = "\n".join((kind, _digest(kind, text, plain), text))
    content = safetensors.numpy.save(plain, metadata={_KEY: lines})
    if int.from_bytes(content[:8], "little") > MAX_HEADER:
        raise error(
            f"cannot write {os.fspath(path)!r}: its header would take over {MAX_HEADER} bytes; "
            "there are too many terms, encoders or parameters"
        )
    write_atomically(path, [content], error)


def read_file(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], Arrays]:
    """Read a file of :func:`write_file`.

    Parameters
    ----------
    path : str or path-like
        A regular file.
    kind : str
        What it must be.

    Returns
    -------
    document : dict
    arrays : dict of str to ndarray
        Read-only.

    Raises
    ------
    UnsafeFileError
        If it is anything but a whole and unchanged file of that kind.
    """
    with open_regular(path) as file:
        try:
            return _read(file, kind)
        except _Fault as fault:
            raise UnsafeFileError(f"{os.fspath(path)!r} {fault}") from fault.__cause__


class _Fault(Exception):
    """What is wrong with a file, without its name."""


def _read(file: BinaryIO, kind: str) -> tuple[dict[str, Any], Arrays]:
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= MAX_HEADER or 8 + length > size:
        raise _Fault(f"is not a {kind} file, or cut short")
    try:
        header = parse_json(file.read(length))
    except ValueError as error:
        raise _Fault(f"is not a {kind} file: its header is no valid JSON ({error})") from error
    metadata = header.pop("__metadata__", None)
    lines = metadata.get(_KEY) if isinstance(metadata, dict) and len(metadata) == 1 else None
    if not isinstance(lines, str) or lines.count("\n") < 2:
        raise _Fault(f"is not a {kind} file: it lacks the entry of one")
    found, digest, text = lines.split("\n", 2)
    if found != kind:
        raise _Fault(f"is not a {kind} file but says it is {found[:40]!r}")
    n_bytes = size - 8 - length
    places = _places(header, n_bytes)
    payload = file.read(n_bytes)
    arrays = {
        name: np.ndarray(shape, dtype, payload, offset)
        for name, (dtype, shape, offset) in places.items()
    }
    if _digest(kind, text, arrays) != digest:
        raise _Fault("is damaged: its content does not have its SHA-256")
    try:
        document = parse_json(text.encode())
    except ValueError as error:
        raise _Fault(f"has a document that is no valid JSON ({error})") from error
    return document, arrays


def _places(header: dict[str, Any], size: int) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Return dtype, shape and offset of every array; together they cover the bytes exactly."""
    found: dict[str, tuple[str, tuple[int, ...], int]] = {}
    spans = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise _Fault(f"is damaged: array {name[:80]!r} is not described as one")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise _Fault(f"is damaged: array {name[:80]!r} has the dtype {str(dtype)[:20]!r}")
        if not (_are_sizes(shape) and _are_sizes(offsets) and len(offsets) == 2):
            raise _Fault(f"is damaged: array {name[:80]!r} has no valid shape or place")
        width = np.dtype(_DTYPES[dtype]).itemsize
        if len(shape) > 32 or offsets[1] - offsets[0] != math.prod(shape) * width:
            raise _Fault(f"is damaged: the bytes of array {name[:80]!r} are not those of its shape")
        spans.append((offsets[0], offsets[1]))
        found[name] = _DTYPES[dtype], tuple(shape), offsets[0]
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise _Fault("is damaged: its arrays overlap or leave gaps")
        at = end
    if at != size:
        raise _Fault("is damaged: it is longer or shorter than its arrays")
    return found


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 2**62 for value in values
    )


def parse_json(content: bytes) -> dict[str, Any]:
    """Return a JSON object: no key twice, no NaN, not deep, and text that is valid Unicode.

    Raises
    ------
    ValueError
        Otherwise.
    """
    text = content.decode("utf-8")
    if text.startswith("\ufeff"):
        raise ValueError("a byte order mark")
    _check_depth(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
    except RecursionError:  # pragma: no cover - the depth is checked before
        raise ValueError("too deep") from None
    if not isinstance(value, dict):
        raise ValueError("no object")
    _check_text(value)
    return value


def _check_depth(text: str) -> None:
    depth = 0
    for bracket in _BRACKETS.findall(_QUOTED.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > _MAX_DEPTH:
            raise ValueError("too deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key that comes twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"the number {name}")


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number that is too long")
    return int(text)


def _finite(text: str) -> float:
    value = float(text) if len(text) <= _MAX_DIGITS else math.inf
    if not math.isfinite(value):
        raise ValueError("a number that is too large")
    return value


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        value.encode("utf-8")  # half a surrogate pair raises a UnicodeEncodeError, a ValueError
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_text(item)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)


def _little(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(value, value.dtype.newbyteorder("<")).reshape(value.shape)


def _digest(kind: str, document: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Sum over the document, and over name, dtype, shape and bytes of every array."""
    digest = hashlib.sha256()
    for text in (kind, document):
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(struct.pack("<Q", len(encoded)) + encoded)
    for name in sorted(arrays):
        value = arrays[name]
        label = json.dumps([name, value.dtype.str, list(value.shape)]).encode()
        digest.update(struct.pack("<Q", len(label)) + label)
        digest.update(np.ascontiguousarray(value).ravel().view(np.uint8).data)
    return digest.hexdigest()
