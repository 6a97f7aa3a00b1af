"""Horizontal bars of values per term: colours, spread over fits, labels, notes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sklearn_mmfusion._errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours of Okabe and Ito, told apart with every kind of colour blindness; by order of the term,
# the last one for all orders from there on.
ORDER_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
ORDER_LABELS = (
    "one modality",
    "two modalities",
    "three modalities",
    "four modalities",
    "five or more",
)
INK = "#222222"
QUIET_INK = "#555555"
FAINT = "#8A8A8A"
# A dollar in a name, a label or a number is a dollar. Said to each text, it holds when the user
# saves the figure, too.
PLAIN: dict[str, Any] = {"parse_math": False}
LABEL_WIDTH = 26  # characters of a term's name on one line
LONGEST_NAME = 2 * LABEL_WIDTH - 2  # of a modality: two lines, and room for the × after it
MORE_LINES = 0.6  # height of each further line of a label, in rows of one line


def new_axes(n_lines: float) -> Axes:
    """Return the axes of a new figure with room for `n_lines` lines of labels."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Displays need matplotlib; install the extra 'plots' of sklearn-mmfusion."
        ) from error
    return plt.subplots(figsize=(6.4, 1.4 + 0.3 * n_lines), layout="constrained")[1]


def refuse_drawn(ax: Axes) -> None:
    """Refuse axes that hold bars, dots or cells: theirs would stand under the labels of others.

    Raises
    ------
    InputError
        If there are some.
    """
    if ax.containers or ax.collections:
        raise InputError(
            "ax holds a drawing already, and its rows would get the labels of this one; expected "
            "axes without bars, dots and cells. Give each display its own, or call ax.clear() "
            "before."
        )


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
    """Break a long name of a term between its modalities, else between words.

    What is in the middle of a very long name of a modality is left out.
    """
    first, *parts = map(_shortened, name.split(" x "))
    lines, line = [], first
    for part in parts:
        if len(line) + len(part) + 3 > LABEL_WIDTH:
            lines.append(line + " ×")
            line = part
        else:
            line = f"{line} × {part}"
    lines.append(line)
    return "\n".join(textwrap.fill(line, LABEL_WIDTH, break_on_hyphens=False) for line in lines)


def _shortened(name: str) -> str:
    """Keep beginning and end of a name: names that begin alike often end differently."""
    name = on_one_line(name)
    if len(name) <= LONGEST_NAME:
        return name
    tail = LONGEST_NAME // 3
    return f"{name[: LONGEST_NAME - tail - 1]}…{name[-tail:]}"


def height_of(labels: Sequence[str]) -> float:
    """Return the height of rows with these labels together, in rows of one line."""
    return float(_heights(labels).sum())


def _heights(labels: Sequence[str]) -> NDArray[np.float64]:
    return np.array([1 + MORE_LINES * label.count("\n") for label in labels])


def places_of(labels: Sequence[str]) -> NDArray[np.float64]:
    """Return the middles of rows that are as high as their labels need; 0, 1, ... of one line."""
    heights = _heights(labels)
    return np.cumsum(heights) - (heights + 1) / 2


def draw_bars(
    ax: Axes, places: NDArray[np.float64], values: NDArray[np.float64], orders: Sequence[int]
) -> None:
    """Draw a bar per value, coloured by order, with a legend if there are interactions."""
    colors = np.minimum(orders, len(ORDER_COLORS)) - 1
    for color in np.unique(colors):
        rows = np.flatnonzero(colors == color)
        ax.barh(
            places[rows],
            values[rows],
            height=0.68,
            color=ORDER_COLORS[color],
            label=ORDER_LABELS[color],
            zorder=2,
        )
    if max(orders) > 1:
        # Above the bars: among them there is no place that is free in every figure.
        ax.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            borderaxespad=0.2,
            fontsize="small",
            frameon=False,
        )


def draw_spread(
    ax: Axes,
    places: NDArray[np.float64],
    fits: NDArray[np.float64],
    interval: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Draw a dot per fit and a line per interval; return the right end of each row's marks."""
    for position, ends in zip(places, interval, strict=True):
        # A white edge keeps the line readable on every colour of bar.
        for color, width in (("white", 3.4), (INK, 1.6)):
            ax.plot(ends, [position] * 2, color=color, linewidth=width, zorder=3)
    # The dots stand below the line of the interval, each fit at the same height in every bar.
    for offset, fit in zip(np.linspace(0.12, 0.3, len(fits)), fits, strict=True):
        ax.scatter(
            fit,
            places + offset,
            s=11,
            facecolor="white",
            edgecolor=INK,
            linewidth=0.7,
            clip_on=False,
            zorder=4,
        )
    return np.maximum(interval[:, 1], fits.max(axis=0))


def write_values(
    ax: Axes,
    places: NDArray[np.float64],
    values: NDArray[np.float64],
    right_ends: NDArray[np.float64],
) -> None:
    """Write each value to the right of all marks of its row."""
    decimals = 2 if values.max() >= 0.1 else 3
    for position, value, right in zip(places, values, right_ends, strict=True):
        ax.annotate(
            number(value, decimals),
            (right, position),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize="small",
        )
    ax.set_xlim(0, 1.12 * max(*right_ends, 1e-3))


def draw_frame(ax: Axes, labels: Sequence[str], quantity: str, notes: Sequence[str]) -> None:
    """Draw labels, grid and spines, and the notes above the bars."""
    ax.set_yticks(places_of(labels), labels, **PLAIN)
    ax.set_ylim(height_of(labels) - 0.4, -0.6)
    ax.set_xlabel(quantity, **PLAIN)
    ax.grid(axis="x", color="#E3E3E3", linewidth=0.8, zorder=0)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    if notes:
        ax.set_title("\n".join(notes), loc="left", fontsize="small", color=QUIET_INK, **PLAIN)
