"""Horizontal bars of values per term: colours, spread over fits, labels, notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.plotting._inks import inks_of
from sklearn_mmfusion.plotting._labels import number

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
# A dollar in a name, a label or a number is a dollar. Said to each text, it holds when the user
# saves the figure, too.
PLAIN: dict[str, Any] = {"parse_math": False}
MARGIN = 86.0  # points beside new axes of the usual width
MORE_LINES = 0.6  # height of each further line of a label, in rows of one line


def new_axes(n_lines: float) -> Axes:
    """Return the axes of a new figure with room for `n_lines` lines of labels."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Displays need matplotlib; install the extra 'plots' of sklearn-mmfusion."
        ) from error
    height = (1.4 + 0.3 * n_lines) * larger_font()
    return plt.subplots(figsize=(6.4, height), layout="constrained")[1]


def larger_font() -> float:
    """Return how much larger the user's font is than the usual; 1 if it is smaller."""
    from matplotlib import rcParams

    return max(float(rcParams["font.size"]) / 10, 1.0)


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
    inks = inks_of(ax)
    for position, ends in zip(places, interval, strict=True):
        # An edge of the ground keeps the line readable on every colour of bar.
        for color, width in ((inks.ground, 3.4), (inks.text, 1.6)):
            ax.plot(ends, [position] * 2, color=color, linewidth=width, zorder=3)
    # The dots stand below the line of the interval, each fit at the same height in every bar.
    for offset, fit in zip(np.linspace(0.12, 0.3, len(fits)), fits, strict=True):
        ax.scatter(
            fit,
            places + offset,
            s=11,
            facecolor=inks.ground,
            edgecolor=inks.text,
            linewidth=0.7,
            clip_on=False,
            zorder=4,
        )
    return np.maximum(interval[:, 1], fits.max(axis=0))


def draw_marks(ax: Axes, places: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Draw a short line across each row at a value; none where that is NaN."""
    inks = inks_of(ax)
    for position, value in zip(places, values, strict=True):
        for color, width in ((inks.ground, 3.4), (inks.text, 1.4)):
            ax.plot(
                [value] * 2,
                [position - 0.3, position + 0.3],
                color=color,
                linewidth=width,
                linestyle=(0, (2, 1)) if color == inks.text else "-",
                zorder=3,
            )


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
            color=inks_of(ax).text,
            fontsize="small",
        )
    ax.set_xlim(0, 1.12 * max(*right_ends, 1e-3))


def draw_frame(ax: Axes, labels: Sequence[str], quantity: str, notes: Sequence[str]) -> None:
    """Draw labels, grid and spines, and the notes above the bars."""
    ax.set_yticks(places_of(labels), labels, **PLAIN)
    ax.set_ylim(height_of(labels) - 0.4, -0.6)
    ax.set_xlabel(quantity, **PLAIN)
    inks = inks_of(ax)
    ax.grid(axis="x", color=inks.grid, linewidth=0.8, zorder=0)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(inks.faint)
    if notes:
        ax.set_title(
            "\n".join(notes),
            loc="left",
            fontsize="small",
            color=inks_of(ax.figure).quiet,
            pad=_pad(ax, labels, notes),
            **PLAIN,
        )


def _pad(ax: Axes, labels: Sequence[str], notes: Sequence[str]) -> float | None:
    """Return how many points above the axes the notes stand; None is as many as any title.

    They stand beside the legend or, where there is no room for both, above it.
    """
    from matplotlib import rcParams

    legend = ax.get_legend()
    if legend is None:
        return None
    said = [text.get_text() for text in legend.get_texts()]
    size = float(legend.get_texts()[0].get_fontsize())
    # Widths in points, rather too large. Handle and space of the legend are as 7 characters.
    beside = 0.55 * size * (max(map(len, notes)) + 7 + max(map(len, said)))
    longest = max(len(line) for label in labels for line in label.split("\n"))
    root: Any = ax.figure.figure
    free = 72 * ax.get_window_extent().width / root.dpi
    # Layout takes the room that labels need beyond the margin of new axes.
    free -= max(0.6 * rcParams["font.size"] * longest - MARGIN, 0.0)
    height = size * (1.65 * len(said) + 0.2)
    return float(rcParams["axes.titlepad"]) + height if beside > free else None
