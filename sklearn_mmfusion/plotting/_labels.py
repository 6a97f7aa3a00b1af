"""Texts of labels: names broken into lines or cut, numbers, and what is not drawn."""

from __future__ import annotations

import math
import re
from unicodedata import east_asian_width

import numpy as np
from numpy.typing import NDArray

__all__ = ["columns", "folded", "hidden_terms", "number", "on_one_line", "shortened", "wrapped"]

LABEL_WIDTH = 26  # characters of a term's name on one line
LONGEST_NAME = 2 * LABEL_WIDTH - 2  # of a modality: two lines, and room for the × after it


def on_one_line(name: str) -> str:
    """Return a name with a space for each line break and tab, for which fonts have no picture."""
    return " ".join(str(name).split())


def number(value: float, decimals: int = 2) -> str:
    """Return a share as text, in which only a zero reads as one."""
    if value == 0:
        return "0"
    text = f"{value:.{decimals}f}"
    smallest = f"{10.0**-decimals:.{decimals}f}"
    return f"<{smallest}" if value > 0 and float(text) == 0 else text


def hidden_terms(hidden: NDArray[np.float64]) -> str:
    """Say how many terms are not drawn, and how much there may be to them."""
    words = f"{len(hidden)} more term{'s' * (len(hidden) > 1)}, {'each ' * (len(hidden) > 1)}"
    largest = float(hidden.max())
    if largest == 0:
        return f"{words}0"
    # Rounded up: a bound that is rounded down is none.
    return f"{words}at most {max(math.ceil(round(100 * largest, 6)), 1) / 100:.2f}"


def wrapped(name: str) -> str:
    """Break a long name of a term between its modalities, else as :func:`folded` does.

    What is in the middle of a very long name of a modality is left out.
    """
    first, *parts = map(shortened, name.split(" x "))
    lines, line = [], first
    for part in parts:
        if len(line) + len(part) + 3 > LABEL_WIDTH:
            lines.append(line)
            line = part
        else:
            line = f"{line} × {part}"
    lines.append(line)
    whole = [folded(line, LABEL_WIDTH - 2) for line in lines[:-1]]
    return "\n".join([*("\n".join(parts) + " ×" for parts in whole), *folded(line, LABEL_WIDTH)])


def folded(text: str, width: int) -> list[str]:
    """Break a text into lines between words and after underscores.

    Inside a word only where it is longer than a line.
    """
    lines = [""]
    for piece in re.findall(r"\s+|[^\s_]*_+|[^\s_]+", on_one_line(text)):
        if len((lines[-1] + piece).rstrip()) > width and lines[-1]:
            lines.append("")
        piece = piece if lines[-1] else piece.lstrip()
        while len(piece) > width:
            lines[-1:] = [piece[:width], ""]
            piece = piece[width:]
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def shortened(name: str, length: int = LONGEST_NAME) -> str:
    """Keep beginning and end of a name: names that begin alike often end differently."""
    name = on_one_line(name)
    if len(name) <= length:
        return name
    tail = length // 3
    return f"{name[: length - tail - 1]}…{name[-tail:]}"


def columns(line: str) -> int:
    """Return how many characters of usual width a line is as wide as."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in line)
