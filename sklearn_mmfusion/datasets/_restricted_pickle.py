"""Pickles of numpy arrays and plain containers, read as data and never run.

A pickle is a program for a small stack machine, and the usual reader imports and calls what the
program names. The machine here knows the instructions that build numbers, text, bytes, lists,
tuples, dicts and numpy arrays, and no other: it imports nothing and calls nothing of the file's
choosing, so that there is nothing to forget in a list of forbidden names.

The file is mapped, not read. The bytes of an array that the file holds as such (protocols 3 to 5,
and those of Python 2) become an array over the mapped file, read from the disk where it is used.
"""

import codecs
import mmap
import os
import re
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.datasets._pickled_values import (
    PART_TYPES,
    Arguments,
    Known,
    Refused,
    Unfinished,
    call,
    find_known,
)

__all__ = ["read_pickle"]

# The largest file of the papers has 23,000 rows, with three names each, and a few large arrays.
MAX_INSTRUCTIONS = 500_000
# Text and bytes that are copied out of the file may take this many times its size, plus a little.
COPIES_OF_THE_FILE = 4
FREE_BYTES = 2**20
# Bytes from this size on stay in the file until it is clear that no array is made of them.
LARGE = 2**16
LONGEST_NUMBER = 40
TOO_LONG = "a whole number of more than 64 bits"
HIGHEST_PROTOCOL = 5

REMEDY = (
    "Only numpy arrays, numbers, text, lists, tuples and dicts are read from a pickle. If you "
    "trust the file, open it with the program it is meant for and save a dict of numpy arrays."
)
_PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, np.ndarray})
_BAD_ESCAPE = re.compile(rb"""\\(?![nrt'"]|x[0-9a-f]{2})""")
_SIGNATURES = {
    b"PK\x03\x04": "a zip archive, as torch.save and np.savez write it",
    b"\x93NUMPY": "an npy file",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "compressed with gzip",
}
_FOREIGN = {
    **dict.fromkeys([b"P", b"Q"], "an object stored elsewhere"),
    **dict.fromkeys([b"i", b"o", b"\x81", b"\x92"], "an object"),
    **dict.fromkeys([b"\x82", b"\x83", b"\x84"], "an object of a private registry"),
    **dict.fromkeys([b"\x8f", b"\x90"], "a set"),
    **dict.fromkeys([b"\x97", b"\x98"], "a buffer stored elsewhere"),
    b"\x91": "a frozenset",
    b"2": "a copy of the last value, which no pickle needs",
}


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """Return the content of a pickle that holds numpy arrays and plain containers only.

    Parameters
    ----------
    path : str or path-like
        A regular file. It must not be changed while arrays that came from it are in use.

    Returns
    -------
    content : object
        Arrays are read-only, and may be views of the mapped file. Text that Python 2 wrote comes
        as str if it is ASCII, else as bytes; a bytearray comes as bytes.

    Raises
    ------
    InputError
        If the file holds anything else, is damaged, asks for more than 500,000 instructions or
        for copies of several times its own size. The message names the file, what was refused
        and where.
    """
    file = Path(path)
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{file}: not a regular file. {REMEDY}")
    if status.st_size == 0:
        raise InputError(f"{file}: the file is empty. Download it again.")
    with file.open("rb") as opened:
        content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    for signature, what in _SIGNATURES.items():
        if content[: len(signature)] == signature:
            raise InputError(f"{file}: not a pickle but {what}. {REMEDY}")
    machine = _Machine(content)
    try:
        return machine.run()
    except Refused as error:
        raise InputError(f"{file}: refused at byte {machine.at}: {error}. {REMEDY}") from None
    except (ValueError, TypeError, LookupError, ArithmeticError, struct.error) as error:
        raise InputError(
            f"{file}: damaged, cut short or not a pickle, at byte {machine.at} "
            f"({type(error).__name__}). Download it again."
        ) from error


class _Machine:
    """The stack, the memo and the place in the file."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.view = memoryview(content)
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.instructions_left = MAX_INSTRUCTIONS
        self.bytes_left = COPIES_OF_THE_FILE * len(content) + FREE_BYTES

    def run(self) -> Any:
        """Follow the instructions up to STOP, and return the one value that is left."""
        stop, steps = ord("."), _STEPS
        while (code := self.view[self.at]) != stop:
            self.at += 1
            self.count(1)
            step = steps.get(code)
            if step is None:
                what = _FOREIGN.get(bytes([code]))
                raise Refused(what) if what else ValueError(f"no instruction {code:#04x}")
            step(self)
        (value,) = self.stack
        return self.plain(value)

    def count(self, number: int) -> None:
        """Take `number` instructions, or elements of an object array, from the budget."""
        self.instructions_left -= number
        if self.instructions_left < 0:
            raise Refused(f"more than {MAX_INSTRUCTIONS} instructions or elements")

    def spend(self, number: int) -> None:
        """Take `number` bytes to be copied from the budget."""
        self.bytes_left -= number
        if self.bytes_left < 0:
            raise Refused(f"copies of more than {COPIES_OF_THE_FILE} times the file's size")

    def take(self, number: int) -> memoryview:
        """Return the next bytes of the file, without copying them."""
        start, stop = self.at, self.at + number
        if number < 0 or stop > len(self.view):
            raise ValueError("the file ends in the middle of a value")
        self.at = stop
        return self.view[start:stop]

    def number(self, form: str) -> Any:
        """Return the next number of the file, in the notation of `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self, longest: int | None = None) -> bytes:
        """Return the bytes up to the next end of line."""
        end = self.content.find(b"\n", self.at)
        if end < 0 or (longest is not None and end - self.at > longest):
            raise ValueError("a line without end")
        self.spend(end - self.at)
        text = bytes(self.take(end - self.at))
        self.at += 1
        return text

    def plain(self, value: Any) -> Any:
        """Return a value that may stay in the result, or refuse it."""
        if type(value) in _PLAIN or isinstance(value, np.generic):
            return value
        if isinstance(value, memoryview):
            self.spend(len(value))
            return bytes(value)
        raise Refused("a type or an unfinished array in the place of a value")

    def text(self, value: str) -> str:
        """Return `value`, with its memory taken from the budget: one astral character makes 4n."""
        self.spend(sys.getsizeof(value) if len(value) > LARGE // 64 else 0)
        return value

    def raw(self, view: memoryview) -> memoryview | bytes:
        """Return bytes, or the view itself if it may be an array's."""
        return view if len(view) >= LARGE else bytes(view)

    def old_text(self, view: memoryview) -> memoryview | bytes | str:
        """Return a string of Python 2: text if it is ASCII, else bytes."""
        if len(view) >= LARGE:
            return view
        return str(view, "ascii") if bytes(view).isascii() else bytes(view)

    def since_mark(self) -> list[Any]:
        """Take all values above the last mark from the stack."""
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def push_tuple(self, values: list[Any]) -> None:
        """Push a tuple; one that holds a part of an array can only be an argument."""
        if _PLAIN.issuperset(map(type, values)):
            self.stack.append(tuple(values))
        elif any(isinstance(value, PART_TYPES) for value in values):
            self.stack.append(Arguments(values))
        else:
            self.stack.append(tuple(map(self.plain, values)))

    def extend_list(self, values: list[Any]) -> None:
        """Append to the list on top of the stack."""
        target = self.stack[-1]
        if type(target) is not list:
            raise TypeError("no list to append to")
        target.extend(map(self.plain, values))

    def update_dict(self, values: list[Any]) -> None:
        """Set items of the dict on top of the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(values) % 2:
            raise TypeError("no dict to set items of")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Other keys could be chosen to collide, which makes a dict slow.
            if type(key) not in (str, int, bytes):
                raise Refused(f"a key of a dict that is a {type(key).__name__}")
            target[key] = self.plain(value)

    def push_container(self, kind: type, fill: Callable[[list[Any]], None]) -> None:
        """Push a list or dict made of the values above the last mark."""
        values = self.since_mark()
        self.stack.append(kind())
        fill(values)

    def get(self, index: int) -> None:
        """Push a value from the memo."""
        value = self.memo[index]
        if isinstance(value, Unfinished):
            if value.value is None:
                raise Refused("an array that contains itself")
            value = value.value
        self.stack.append(value)

    def put(self, index: int) -> None:
        """Store the value on top of the stack in the memo."""
        self.memo[index] = self.stack[-1]

    def push_known(self, module: Any, name: Any) -> None:
        """Push one of the few names that arrays are made with."""
        self.stack.append(find_known(module, name))

    def reduce(self) -> None:
        """Do what one of the known names stands for."""
        arguments = self.stack.pop()
        function = self.stack.pop()
        if not isinstance(function, Known) or not isinstance(arguments, tuple):
            raise Refused("a call of something else than numpy's own constructors")
        self.stack.append(call(function, arguments, self.spend))

    def build(self) -> None:
        """Finish the array or dtype below the top of the stack with the state on top."""
        state = self.stack.pop()
        unfinished = self.stack[-1]
        if not isinstance(unfinished, Unfinished) or not isinstance(state, tuple):
            raise Refused("a state for something else than an array")
        self.stack[-1] = unfinished.finish(state, self.count)

    def pop(self) -> None:
        """Drop the top of the stack, or a mark that stands there."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def top(self, number: int) -> list[Any]:
        """Take a fixed number of values from the stack."""
        if len(self.stack) < number:
            raise ValueError("too few values on the stack")
        values = self.stack[len(self.stack) - number :]
        del self.stack[len(self.stack) - number :]
        return values

    def integer(self, width: int) -> int:
        """Return a whole number of `width` bytes."""
        if width > 9:  # 64 bits without a sign take nine bytes
            raise Refused(TOO_LONG)
        return _short(int.from_bytes(self.take(width), "little", signed=True))

    def protocol(self) -> None:
        """Check the version of the format."""
        version = self.number("<B")
        if version > HIGHEST_PROTOCOL:
            raise Refused(f"protocol {version}, newer than {HIGHEST_PROTOCOL}")


def _decimal(text: bytes) -> int | bool:
    """Return a whole number in decimals; 00 and 01 are how protocol 0 writes a boolean."""
    if text in (b"00", b"01"):
        return text == b"01"
    return _short(int(text.removesuffix(b"L")))


def _short(value: int) -> int:
    """Return a number of 64 bits; among longer ones, keys could be chosen to collide."""
    if not -(2**63) <= value < 2**64:
        raise Refused(TOO_LONG)
    return value


def _quoted(line: bytes) -> bytes | str:
    """Return a string of Python 2 that is written with quotes and escapes."""
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a string without quotes")
    # The decoder only warns of escapes that Python 2 never wrote.
    if _BAD_ESCAPE.search(line[1:-1].replace(b"\\\\", b"")):
        raise ValueError("an unknown escape")
    value = bytes(codecs.escape_decode(line[1:-1])[0])
    return value.decode("ascii") if value.isascii() else value


def _push(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value(machine))


def _sized(form: str, make: Callable[[_Machine, memoryview], Any]) -> Callable[[_Machine], None]:
    return _push(lambda machine: make(machine, machine.take(machine.number(form))))


def _as_text(machine: _Machine, view: memoryview) -> str:
    return machine.text(str(view, "utf-8", "surrogatepass"))


# The instructions of protocols 0 to 5, but for those of _FOREIGN and STOP.
_STEPS: dict[int, Callable[[_Machine], None]] = {
    code[0]: step
    for code, step in {
        b"\x80": _Machine.protocol,
        b"\x95": lambda machine: (machine.number("<Q"), None)[1],  # length of a frame
        b"(": lambda machine: machine.marks.append(len(machine.stack)),
        b"0": _Machine.pop,
        b"1": lambda machine: (machine.since_mark(), None)[1],
        b"N": _push(lambda machine: None),
        b"\x88": _push(lambda machine: True),
        b"\x89": _push(lambda machine: False),
        b"I": _push(lambda machine: _decimal(machine.line(LONGEST_NUMBER))),
        b"L": _push(lambda machine: _decimal(machine.line(LONGEST_NUMBER))),
        b"F": _push(lambda machine: float(machine.line(LONGEST_NUMBER))),
        b"J": _push(lambda machine: machine.number("<i")),
        b"K": _push(lambda machine: machine.number("<B")),
        b"M": _push(lambda machine: machine.number("<H")),
        b"G": _push(lambda machine: machine.number(">d")),
        b"\x8a": _push(lambda machine: machine.integer(machine.number("<B"))),
        b"\x8b": _push(lambda machine: machine.integer(machine.number("<i"))),
        b"S": _push(lambda machine: _quoted(machine.line())),
        b"V": _push(lambda machine: machine.text(machine.line().decode("raw-unicode-escape"))),
        b"T": _sized("<i", _Machine.old_text),
        b"U": _sized("<B", _Machine.old_text),
        b"B": _sized("<I", _Machine.raw),
        b"C": _sized("<B", _Machine.raw),
        b"\x8e": _sized("<Q", _Machine.raw),
        b"\x96": _sized("<Q", _Machine.raw),
        b"X": _sized("<I", _as_text),
        b"\x8c": _sized("<B", _as_text),
        b"\x8d": _sized("<Q", _as_text),
        b"]": _push(lambda machine: []),
        b"}": _push(lambda machine: {}),
        b")": _push(lambda machine: ()),
        b"l": lambda machine: machine.push_container(list, machine.extend_list),
        b"d": lambda machine: machine.push_container(dict, machine.update_dict),
        b"a": lambda machine: machine.extend_list(machine.top(1)),
        b"e": lambda machine: machine.extend_list(machine.since_mark()),
        b"s": lambda machine: machine.update_dict(machine.top(2)),
        b"u": lambda machine: machine.update_dict(machine.since_mark()),
        b"t": lambda machine: machine.push_tuple(machine.since_mark()),
        b"\x85": lambda machine: machine.push_tuple(machine.top(1)),
        b"\x86": lambda machine: machine.push_tuple(machine.top(2)),
        b"\x87": lambda machine: machine.push_tuple(machine.top(3)),
        b"g": lambda machine: machine.get(int(machine.line(LONGEST_NUMBER))),
        b"h": lambda machine: machine.get(machine.number("<B")),
        b"j": lambda machine: machine.get(machine.number("<I")),
        b"p": lambda machine: machine.put(int(machine.line(LONGEST_NUMBER))),
        b"q": lambda machine: machine.put(machine.number("<B")),
        b"r": lambda machine: machine.put(machine.number("<I")),
        b"\x94": lambda machine: machine.put(len(machine.memo)),
        b"c": lambda machine: machine.push_known(machine.line(), machine.line()),
        b"\x93": lambda machine: machine.push_known(*machine.top(2)),
        b"R": _Machine.reduce,
        b"b": _Machine.build,
    }.items()
}
