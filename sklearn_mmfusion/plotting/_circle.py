"""Discs on a circle, joined by lines and outlined sets, with labels that do not meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sklearn_mmfusion.plotting._bars import ORDER_COLORS, PLAIN, larger_font, new_axes
from sklearn_mmfusion.plotting._inks import inks_of
from sklearn_mmfusion.plotting._labels import (
    LABEL_WIDTH,
    columns,
    folded,
    number,
    on_one_line,
    shortened,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Circle"]

# Colours of Okabe and Ito that neither discs nor pairs have; the letters tell sets apart too.
# The fifth set has the colour of the text.
SET_COLORS = ("#009E73", "#CC79A7", "#D55E00", "#56B4E9")
LETTERS = "ABCDE"
LARGEST_DISC, SMALLEST_DISC = 900.0, 36.0  # square points
WIDEST_LINE, THINNEST_LINE = 11.0, 0.8  # points
NAME_WIDTH, LEGEND_WIDTH = 16, 42  # characters on a line
# Places of the number of a pair along its line, the best first.
ALONG = (0.5, 0.43, 0.57, 0.36, 0.64, 0.3, 0.7, 0.24, 0.76, 0.18, 0.82, 0.14, 0.86)
MANY = 8  # with more pairs than this, only the largest get their number
UNCERTAIN = 0.55  # opacity of what may be 0
SMALL = 8  # points
RADIUS, SMALLEST = 104.0, 30.0  # points, of the usual circle and in the smallest axes
REACH = 1.3  # radiuses that axes show at least, from the middle to either side
OUTWARD = 22.0  # points from a place to the name, of the largest disc
NUMBER = np.array([27.0, 12.0])  # points, width and height of a number with its ground

Term = tuple[tuple[str, ...], float, bool]


class Circle:
    """Places of the modalities, and everything that is drawn between them.

    Parameters
    ----------
    names : sequence of str
        Modalities, clockwise from the top; two of them side by side.
    largest : float
        Relevance of the largest disc and the widest line.
    sets : sequence of (modalities, relevance, whether it is certain)
        What is outlined; the legend under the circle names them.
    """

    def __init__(self, names: Sequence[str], largest: float, sets: Sequence[Term]) -> None:
        self.names, self.largest = list(names), largest if largest > 0 else 1.0
        n = len(names)
        top = np.pi if n == 2 else np.pi / 2
        angles = top - 2 * np.pi * np.arange(n) / n
        self.places = dict(
            zip(names, np.column_stack([np.cos(angles), np.sin(angles)]), strict=True)
        )
        if n == 1:
            self.places[names[0]] = np.zeros(2)
        self.taken: list[NDArray[np.float64]] = []  # by numbers and letters
        self.radius, self.sets = RADIUS, sets
        self.legend = [_said(rank, term) for rank, term in enumerate(sets)]

    def new_axes(self, n_notes: int) -> Axes:
        """Return the axes of a new figure with room for names, notes and the legend."""
        ax = new_axes(n_lines=0)
        figure: Any = ax.figure
        (left, right), (low, high) = self._limits()
        width, height = (right - left) * self.radius / 72, (high - low) * self.radius / 72
        figure.set_size_inches(
            max(width, 3.4 * larger_font()) + 0.1, height + 0.15 + 0.16 * n_notes * larger_font()
        )
        return ax

    def fit_into(self, ax: Axes) -> None:
        """Take the size that the axes of a user leave for the circle."""
        root: Any = ax.figure.figure
        box, point = ax.get_window_extent(), root.dpi / 72
        places, (left, right, below, above) = np.array(list(self.places.values())), self._rooms().T
        spans = np.maximum(np.ptp(places, axis=0), 0.1)
        free = (
            box.width / point - left.max() - right.max(),
            box.height / point - below.max() - above.max() - self._legend_height(),
        )
        self.radius = max(float((free / spans).min()), SMALLEST)

    def _rooms(self) -> NDArray[np.float64]:
        """Return how many points each name takes left, right, below and above of its place."""
        font, rooms = larger_font(), []
        for name, (x, y) in self.places.items():
            lines = _lines(name)
            width = 5.2 * font * max(5, *map(columns, lines))
            height = 12.0 * font * (len(lines) + 1)
            if abs(x) > 0.3:
                ends = (OUTWARD, OUTWARD + width, height / 2, height / 2)
                rooms.append(ends if x > 0 else (ends[1], ends[0], *ends[2:]))
            else:
                ends = (width / 2, width / 2, OUTWARD, OUTWARD + height)
                rooms.append(ends if y >= 0 else (*ends[:2], ends[3], ends[2]))
        return np.maximum(rooms, OUTWARD)

    def _legend_height(self) -> float:
        n_lines = sum(said.count("\n") + 1 for said in self.legend)
        return (8.0 + 14.5 * n_lines) * larger_font() if self.legend else 0.0

    def _limits(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the limits of the axes to the sides and in height, with room for all texts."""
        left, right, below, above = self._rooms().T / self.radius
        x, y = np.array(list(self.places.values())).T
        low = float((y - below).min()) - self._legend_height() / self.radius
        # The notes need some width, also over one modality.
        sides = (min(float((x - left).min()), -REACH), max(float((x + right).max()), REACH))
        return sides, (low, float((y + above).max()))

    def _width(self, value: float) -> float:
        return max(WIDEST_LINE * value / self.largest, THINNEST_LINE)

    def draw_modalities(self, ax: Axes, alone: Mapping[str, float]) -> None:
        """Draw a disc per modality, its name and its number outside."""
        inks = inks_of(ax.figure)
        for name, place in self.places.items():
            value = alone.get(name, 0.0)
            area = max(LARGEST_DISC * value / self.largest, SMALLEST_DISC)
            # A modality that is used in interactions alone, or not at all, is a hollow disc.
            face = ORDER_COLORS[0] if value > 0 else inks.ground
            x, y = place
            ax.scatter(x, y, s=area, color=face, edgecolor=ORDER_COLORS[0], zorder=5)
            outward = np.sqrt(area) / 2 + 6
            # Names beside the circle stand upright on their middle, others above or below.
            ax.annotate(
                "\n".join([*_lines(name), number(value)]),
                place,
                xytext=(outward * np.sign(np.round(x, 6)) * (abs(x) > 0.3), outward * _up(x, y)),
                textcoords="offset points",
                ha="left" if x > 0.3 else "right" if x < -0.3 else "center",
                va="center" if abs(x) > 0.3 else "bottom" if y >= 0 else "top",
                fontsize="small",
                color=inks.text,
                zorder=6,
                **PLAIN,
            )

    def draw_pairs(self, ax: Axes, pairs: Sequence[Term]) -> None:
        """Draw a line per pair, the most relevant with their numbers."""
        for rank, (names, value, is_certain) in enumerate(pairs):
            ends = np.array([self.places[name] for name in names])
            ax.plot(
                *ends.T,
                color=ORDER_COLORS[1],
                linewidth=self._width(value),
                linestyle="-" if is_certain else (0, (2, 1)),
                alpha=1.0 if is_certain else UNCERTAIN,
                solid_capstyle="butt",
                dash_capstyle="butt",
                zorder=3,
            )
            # A number that has no place is left out: over another one both are misread.
            free = self._free([(1 - t) * ends[0] + t * ends[1] for t in ALONG])
            if rank < MANY and free:
                self._write(ax, free[0], number(value))

    def draw_sets(self, ax: Axes) -> None:
        """Draw an outline per set, inside its modalities, with a letter for the legend."""
        from matplotlib.patches import Polygon

        colors = (*SET_COLORS, inks_of(ax.figure).text)
        for rank, (names, value, is_certain) in enumerate(self.sets):
            ordered = [self.places[name] for name in self.names if name in names]
            corners = np.array(ordered)
            middle = corners.mean(axis=0)
            # Each set is drawn in a little further than the one before: outlines do not coincide.
            inner = middle + (0.86 - 0.07 * rank) * (corners - middle)
            ax.add_patch(
                Polygon(
                    inner,
                    closed=True,
                    facecolor=(colors[rank], 0.10),
                    edgecolor=colors[rank],
                    linewidth=1.0 + 2.5 * value / self.largest,
                    linestyle="-" if is_certain else (0, (2, 1)),
                    joinstyle="round",
                    zorder=2,
                    label=self.legend[rank],
                )
            )
            tips = [inner[0] + t * (middle - inner[0]) for t in (0.0, 0.15, 0.3, 0.5)]
            places = [*tips, *inner[1:], middle]
            far = max(places, key=lambda place: self._distance(place, self.taken))
            place = (self._free(places) or [far])[0]
            self._write(ax, place, LETTERS[rank], color=colors[rank], weight="bold")

    def _distance(self, place: NDArray[np.float64], others: Sequence[NDArray[np.float64]]) -> float:
        """Return how far a number is from the nearest of some; up to 1 they meet."""
        near = NUMBER / self.radius
        return min((float((abs(place - other) / near).max()) for other in others), default=2.0)

    def _free(self, places: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        """Return the places that no number has, of these rather those away from discs."""
        free = [place for place in places if self._distance(place, self.taken) > 1]
        discs = list(self.places.values())
        return [place for place in free if self._distance(place, discs) > 1] or free

    def _write(self, ax: Axes, place: NDArray[np.float64], text: str, **font: Any) -> None:
        """Write on a plain ground, which keeps the text readable on lines; take the place."""
        self.taken.append(place)
        inks = inks_of(ax.figure)
        ground = {"boxstyle": "round,pad=0.12", "facecolor": inks.ground, "edgecolor": "none"}
        font = {"color": inks.text, **PLAIN, **font}
        x, y = place
        ax.text(x, y, text, ha="center", va="center", fontsize=SMALL, zorder=6, bbox=ground, **font)

    def finish(self, ax: Axes, notes: Sequence[str]) -> None:
        """Set limits, legend and notes."""
        # What the circle leaves free of its place is below it. With some of it above, constrained
        # layout takes that for room of the notes, and cuts them off.
        ax.set_aspect("equal", anchor="N")
        ax.set_axis_off()
        sides, heights = self._limits()
        ax.set(xlim=sides, ylim=heights)
        ax.set_title(
            "\n".join(notes), loc="left", fontsize="small", color=inks_of(ax.figure).quiet, **PLAIN
        )
        handles, labels = ax.get_legend_handles_labels()
        if labels:
            legend = ax.legend(
                handles,
                labels,
                loc="lower center",
                borderaxespad=0.0,
                fontsize="small",
                frameon=False,
                handlelength=1.6,
            )
            # Wider than a small place, it would leave the circle none.
            legend.set_in_layout(False)
            for said in legend.get_texts():
                said.set(**PLAIN)
            for patch in legend.get_patches():
                patch.set_linewidth(1.5)


def _said(rank: int, term: Term) -> str:
    """Return the words of a set in the legend: its letter, modalities and number."""
    names, value, _ = term
    said = folded(" × ".join(shortened(name, LABEL_WIDTH) for name in names), LEGEND_WIDTH)
    return f"{LETTERS[rank]}  " + "\n     ".join(said) + f"  {number(value)}"


def _lines(name: str) -> list[str]:
    return folded(on_one_line(name), NAME_WIDTH)


def _up(x: float, y: float) -> float:
    """Return how far a name moves up, in units of its distance: none beside the circle."""
    return 0.0 if abs(x) > 0.3 else 1.0 if y >= 0 else -1.0
