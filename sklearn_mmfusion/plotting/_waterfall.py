"""Panels of bars that lead from an intercept to a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sklearn_mmfusion.plotting._bars import PLAIN, new_axes
from sklearn_mmfusion.plotting._inks import inks_of
from sklearn_mmfusion.plotting._labels import folded, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Steps", "draw_panels", "new_panels"]

# Blue and vermilion of Okabe and Ito.
UP, DOWN = "#0072B2", "#D55E00"
END = "#8A8A8A"  # intercept and decision
PANEL = 2.5  # inches
CHARACTER = 0.07  # inches, the width of a character of a label
NUMBER = 0.42  # inches, the width of the number beside a bar
SMALL = 8  # points
TITLE_WIDTH = 28  # characters


@dataclass(frozen=True)
class Steps:
    """Bars of some samples.

    Attributes
    ----------
    labels : list of str
        Names of the rows; the last is the decision, the first the intercept.
    values : ndarray of shape (n_samples, n_rows)
        Signed lengths of the bars.
    starts : ndarray of shape (n_samples, n_rows)
        Where they begin.
    outputs : list
        Name of the output of each sample.
    absent : ndarray of bool of shape (n_samples, n_rows)
        Which bars have no length because the sample lacks a modality.
    is_waterfall : bool
        Whether the first and the last row are intercept and decision.
    """

    labels: list[str]
    values: NDArray[np.float64]
    starts: NDArray[np.float64]
    outputs: list[Any]
    absent: NDArray[np.bool_]
    is_waterfall: bool = True

    def without_ends(self) -> Steps:
        """Return the bars of the terms alone, from 0."""
        values = self.values[:, 1:-1]
        return replace(
            self,
            labels=self.labels[1:-1],
            values=values,
            starts=np.zeros_like(values),
            absent=self.absent[:, 1:-1],
            is_waterfall=False,
        )


def new_panels(steps: Steps) -> NDArray[Any]:
    """Return the axes of a new figure, one per sample."""
    labels = [wrapped(label) for label in steps.labels]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    n, n_lines = len(steps.values), max(label.count("\n") + 1 for label in labels)
    height = max(0.27, 0.15 * n_lines + 0.06)
    figure: Any = new_axes(n_lines=0).figure
    figure.clear()
    width = PANEL if n > 1 else 1.5 * PANEL
    figure.set_size_inches(0.4 + CHARACTER * longest + n * width, 1.2 + height * len(labels))
    return figure.subplots(1, n, sharey=True, squeeze=False)[0]


def draw_panels(
    axes: NDArray[Any], steps: Steps, titles: Sequence[Sequence[str]], word: str
) -> None:
    """Draw every sample into its panel; `word` says what the bars add up to."""
    labels = [wrapped(label) for label in steps.labels]
    several_outputs = len(set(map(str, steps.outputs))) > 1
    for row, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        _draw_bars(ax, steps, row)
        ax.set_yticks(range(len(labels)), labels, fontsize="small", **PLAIN)
        ax.set_ylim(len(labels) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0, labelleft=row == 0)
        ax.tick_params(axis="x", labelsize="small")
        inside, outside = inks_of(ax), inks_of(ax.figure)
        ax.grid(axis="x", color=inside.grid, linewidth=0.8, zorder=0)
        ax.set_axisbelow(True)
        ax.locator_params(axis="x", nbins=4)
        ax.axvline(0, color=inside.faint, linewidth=0.8, zorder=1)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.spines["bottom"].set_color(inside.faint)
        lines = [line for part in title for line in folded(part, TITLE_WIDTH)]
        ax.set_title("\n".join(lines), fontsize="small", color=outside.text, loc="left", **PLAIN)
        said = f"{word} for {steps.outputs[row]}"
        if steps.is_waterfall or several_outputs or row == 0:
            said = said if steps.is_waterfall else f"contribution to the {said}"
            said = "\n".join(folded(said, TITLE_WIDTH))
            ax.set_xlabel(said, fontsize="small", color=outside.quiet, **PLAIN)


def _draw_bars(ax: Axes, steps: Steps, row: int) -> None:
    values, starts = steps.values[row], steps.starts[row]
    positions, inks = np.arange(len(values)), inks_of(ax)
    colors = np.where(values < 0, DOWN, UP)
    if steps.is_waterfall:
        colors[[0, -1]] = END
    ax.barh(positions, values, left=starts, height=0.66, color=colors, zorder=2)
    if steps.is_waterfall:
        # Thin lines lead from the end of a bar to the beginning of the next.
        ends = starts + values
        for position, end in enumerate(ends[:-1]):
            ax.plot([end, end], [position, position + 1], color=inks.faint, linewidth=0.8, zorder=1)
    low, high = np.minimum(starts, starts + values), np.maximum(starts, starts + values)
    _set_limits(ax, low, high, values)
    for position, value in enumerate(values):
        right = value >= 0
        is_end = steps.is_waterfall and position in (0, len(values) - 1)
        ax.annotate(
            "missing" if steps.absent[row, position] else _signed(value),
            (high[position] if right else low[position], position),
            xytext=(4 if right else -4, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=SMALL,
            color=inks.text,
            weight="bold" if is_end else "normal",
        )


def _set_limits(
    ax: Axes, low: NDArray[np.float64], high: NDArray[np.float64], values: NDArray[np.float64]
) -> None:
    """Leave room for the numbers, on the sides that have some near the edge."""
    left, right = min(low.min(), 0.0), max(high.max(), 0.0)
    if right - left < 1e-12:
        left, right = left - 0.5, right + 0.5
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    number = min(NUMBER * max(len(_signed(value)) for value in values) / 5 / box.width, 0.3)
    room_left, room_right = (values < 0).any(), (values >= 0).any()
    span = (right - left) / (1 - number * (int(room_left) + int(room_right)))
    margin = 0.02 * span
    ax.set_xlim(
        left - margin - number * span * room_left, right + margin + number * span * room_right
    )


def _signed(value: float) -> str:
    """Return a number with its sign, short, with a true minus."""
    if value == 0:
        return "0"
    size = abs(value)
    text = f"{size:.2f}" if 0.005 <= size < 100 else f"{size:.3g}"
    return ("−" if value < 0 else "+") + text
