"""Horizontal bars of values per term: colours, spread over fits, labels, notes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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


def new_axes(n_lines: int) -> Axes:
    """Return the axes of a new figure with room for `n_lines` lines of labels."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Displays need matplotlib; install the extra 'plots' of sklearn-mmfusion."
        ) from error
    return plt.subplots(figsize=(6.4, 1.4 + 0.3 * n_lines), layout="constrained")[1]


def wrapped(name: str) -> str:
    """Break a long name of a term between its modalities, else between words."""
    first, *parts = name.split(" x ")
    lines, line = [], first
    for part in parts:
        if len(line) + len(part) + 3 > LABEL_WIDTH:
            lines.append(line + " ×")
            line = part
        else:
            line = f"{line} × {part}"
    lines.append(line)
    return "\n".join(textwrap.fill(line, LABEL_WIDTH, break_on_hyphens=False) for line in lines)


def draw_bars(ax: Axes, values: NDArray[np.float64], orders: Sequence[int]) -> None:
    """Draw a bar per value, coloured by order, with a legend if there are interactions."""
    colors = np.minimum(orders, len(ORDER_COLORS)) - 1
    for color in np.unique(colors):
        rows = np.flatnonzero(colors == color)
        ax.barh(
            rows,
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
    ax: Axes, fits: NDArray[np.float64], interval: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Draw a dot per fit and a line per interval; return the right end of each row's marks."""
    for position, ends in enumerate(interval):
        # A white edge keeps the line readable on every colour of bar.
        for color, width in (("white", 3.4), (INK, 1.6)):
            ax.plot(ends, [position] * 2, color=color, linewidth=width, zorder=3)
    # The dots stand below the line of the interval, each fit at the same height in every bar.
    rows = np.arange(len(interval))
    for offset, fit in zip(np.linspace(0.12, 0.3, len(fits)), fits, strict=True):
        ax.scatter(
            fit,
            rows + offset,
            s=11,
            facecolor="white",
            edgecolor=INK,
            linewidth=0.7,
            clip_on=False,
            zorder=4,
        )
    return np.maximum(interval[:, 1], fits.max(axis=0))


def write_values(ax: Axes, values: NDArray[np.float64], right_ends: NDArray[np.float64]) -> None:
    """Write each value to the right of all marks of its row."""
    decimals = 2 if values.max() >= 0.1 else 3
    for position, (value, right) in enumerate(zip(values, right_ends, strict=True)):
        ax.annotate(
            f"{value:.{decimals}f}",
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
    ax.set_yticks(range(len(labels)), labels, **PLAIN)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.set_xlabel(quantity, **PLAIN)
    ax.grid(axis="x", color="#E3E3E3", linewidth=0.8, zorder=0)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    if notes:
        ax.set_title("\n".join(notes), loc="left", fontsize="small", color=QUIET_INK, **PLAIN)
