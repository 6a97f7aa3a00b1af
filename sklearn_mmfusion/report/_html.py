"""HTML from Python values: everything is text, and escaped, unless it is a Markup."""

from __future__ import annotations

import base64
import math
import numbers
from collections.abc import Sequence
from html import escape
from typing import Any

__all__ = ["Markup", "breakable", "counted", "data_uri", "join", "number", "plain", "tag"]

_VOID = {"img", "meta", "br"}
_SPACES = {*range(0x09, 0x0E), 0x85, 0x2028, 0x2029}  # tabs and ends of lines and pages
# What XML lacks, and what turns the direction of the text after it: a name must not
# reorder a page.
_UNFIT = {0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFFFE, 0xFFFF}
_LONG_WORD, _BREAK_AFTER = 24, 16
_DELETE, _LAST_CONTROL = 0x7F, 0x9F


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def plain(value: Any) -> str:
    """Return a value as text of one line that HTML, SVG and UTF-8 can hold.

    Parameters
    ----------
    value : object
        A name or label, from whoever made the data.

    Returns
    -------
    str
        Tabs and line ends as spaces, other control characters as their pictures (an escape is
        ␛), what can't be shown as �.
    """
    shown = []
    for character in str(value):
        code = ord(character)
        if code in _SPACES:
            shown.append(" ")
        elif code < 0x20:
            shown.append(chr(0x2400 + code))
        elif code == _DELETE:
            shown.append("\u2421")
        elif _DELETE < code <= _LAST_CONTROL or 0xD800 <= code < 0xE000 or code in _UNFIT:
            shown.append("\ufffd")
        else:
            shown.append(character)
    return "".join(shown)


def number(value: Any) -> str:
    """Return a number as it stands in a table: four significant digits, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return plain(value)
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}".replace(",", "\u202f")
    real = float(value) + 0.0  # no minus before a zero
    if math.isnan(real):
        return "–"
    size = abs(real)
    if size == 0 or 1e-3 <= size < 1e5:
        text = f"{real:.4g}"
    else:
        text = f"{real:.2e}"
    return text.replace("-", "\u2212")


def counted(n: int, word: str) -> str:
    """Return a number and its noun, in the plural unless it is one."""
    return f"{number(n)} {word}{'' if n == 1 else 's'}"


def breakable(text: str) -> Markup:
    """Return text in which words that are too long for a column may be broken."""
    words = []
    for word in plain(text).split(" "):
        size = _BREAK_AFTER if len(word) > _LONG_WORD else max(len(word), 1)
        pieces = [escape(word[i : i + size]) for i in range(0, len(word), size)]
        words.append("<wbr>".join(pieces))
    return Markup(" ".join(words))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """Return an element.

    Parameters
    ----------
    name : str
        Name of the element.
    *children : str, Markup or None
        Content; text is escaped, None left out.
    **attributes : str or None
        Attributes, None left out; ``class_`` is ``class``, and ``_`` in a name is ``-``.

    Returns
    -------
    Markup
        The element.
    """
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    opening = f"<{name}{''.join(parts)}>"
    if name in _VOID:
        return Markup(opening)
    return Markup(f"{opening}{join(children)}</{name}>")


def join(children: Sequence[Any]) -> Markup:
    """Return pieces one after the other, each escaped unless it is HTML already."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escape(plain(child))
            for child in children
            if child is not None
        )
    )


def data_uri(content: bytes, media_type: str) -> str:
    """Return content as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
