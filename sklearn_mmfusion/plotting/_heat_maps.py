"""Heat maps of terms by concepts: their sizes, colours, numbers and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sklearn_mmfusion._explanations import LocalExplanation
from sklearn_mmfusion.plotting._bars import PLAIN, new_axes
from sklearn_mmfusion.plotting._inks import LIGHT, inks_of
from sklearn_mmfusion.plotting._labels import folded, on_one_line, shortened, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MAX_SAMPLES", "QUANTITIES", "Grid"]

# Blue and vermilion of Okabe and Ito: told apart with every kind of colour blindness. A grey
# print shows how far a cell is from the middle; on which side, its number or triangle says.
DIVERGING = ["#0072B2", "#F7F7F7", "#D55E00"]
SEQUENTIAL = ["#F7F7F7", "#0072B2"]
SHARE = "share of\ncontribution"
BAR, BAR_GROUND = "#C3CCD6", "#F1F1F1"
SMALL = 8  # points: numbers in cells
CHARACTER = 0.078  # inches, the width of a character of a label
NAME_WIDTH = 24  # characters of a concept's name
MANY_TERMS = 30  # from here on rows are thin and labels stay on one line
MAX_SAMPLES = 8
PANEL = 1.3  # inches, the smallest width of the heat map of one sample
GAP = 0.35  # between heat map and bars, in cells
# Colours would make noise look like structure if they were stretched over a smaller range.
SMALLEST_RANGE = 0.05

# Word of a quantity -> its key, the key of its intervals, and what the colour bar says.
QUANTITIES = {
    "routing": ("routing_coefficients", "routing_intervals", "routing coefficient"),
    "activation": ("activations", "activation_intervals", "activation"),
    "routed_activation": (
        "routed_activations",
        "routed_activation_intervals",
        "activation times routing coefficient",
    ),
}


class Grid:
    """Heat maps of the same rows and columns: their sizes, and how they are drawn."""

    def __init__(self, explanation: Any, quantity: str, values: NDArray[np.float64]) -> None:
        self.data, self.explanation = explanation.data, explanation
        self.quantity, self.values = quantity, values
        self.local = isinstance(explanation, LocalExplanation)
        n_maps, n_terms, n_columns = values.shape
        many = n_terms > MANY_TERMS
        names = map(str, self.data["term_names"])
        self.row_labels = [
            on_one_line(n.replace(" x ", " × ")) if many else wrapped(n) for n in names
        ]
        columns = ["activation"] if quantity == "activation" else self.data["concept_names"]
        self.column_labels = [shortened(name, NAME_WIDTH) for name in columns]
        lines = max(label.count("\n") + 1 for label in self.row_labels)
        self.height = 0.17 if many else max(0.3, 0.19 * lines)
        if self.local:
            # Wide enough for the title above the panel.
            self.width = max(np.clip(11 / (n_maps * n_columns), 0.16, 0.5), PANEL / n_columns)
        else:
            self.width = (
                1.2
                if n_columns == 1
                else 0.85
                if n_columns <= 6
                else 0.5
                if n_columns <= 12
                else 0.3
            )
        self.bars = self._bars()
        self.bar_width = 1.2 if n_columns <= 6 else 0.24 * n_columns  # in cells

    def _bars(self) -> list[tuple[str, Any, Any, float]]:
        """Return the columns of bars beside the map: heading, values, intervals, full length."""
        bars: list[tuple[str, Any, Any, float]] = []
        activations, share = self.data.get("activations"), self.data.get("contribution_share")
        if not self.local and self.quantity != "activation" and activations is not None:
            bars.append(("activation", activations, self.data.get("activation_intervals"), 1.0))
        if not self.local and share is not None:
            # Of many terms each has a small share: the bars are stretched, and say so.
            many = len(share) > MANY_TERMS
            full = max(share.max(), 0.01) if many else 1.0
            said = f",\nfull bar: {full:.0%}" if many else ""
            bars.append((SHARE + said, share, None, full))
        return bars

    @property
    def cells(self) -> float:
        """Width of one panel, in cells."""
        return self.values.shape[2] + len(self.bars) * (GAP + self.bar_width)

    @property
    def detail(self) -> int:
        """Numbers in a cell: 2 for mean and half-width, 1 for the mean, 0 for none."""
        if self.height < 0.2 or self.width < 0.4:
            return 0
        return 2 if self.width >= 0.8 and not self.local else 1

    @property
    def upright(self) -> bool:
        """Whether the names of the columns are too long to lie."""
        return max(map(len, self.column_labels)) * CHARACTER > self.width

    def new_axes(self) -> NDArray[Any]:
        """Return new axes in a figure in which each cell gets its size."""
        n_maps, n_terms, _ = self.values.shape
        labels = max(len(line) for label in self.row_labels for line in label.split("\n"))
        names = max(map(len, self.column_labels)) if self.upright else 2
        panel = max(self.cells * self.width, PANEL if self.local else 3.4)
        width = CHARACTER * labels + n_maps * (panel + 0.15) + 1.1
        sides = 2 if self.labels_on_top else 1
        height = n_terms * self.height + CHARACTER * names * sides + 1.1
        figure: Any = new_axes(n_lines=0).figure
        figure.clear()
        figure.set_size_inches(width, max(height, 2.4))
        return figure.subplots(1, n_maps, sharey=True, squeeze=False)[0]

    @property
    def labels_on_top(self) -> bool:
        return len(self.row_labels) > MANY_TERMS

    def fit_into(self, ax: Axes) -> None:
        """Take the sizes of cells that axes of the user's leave."""
        box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
        self.width, self.height = box.width / self.cells, box.height / len(self.row_labels)

    def draw(self, ax: Axes, position: int) -> None:
        """Draw one heat map, with its numbers, bars and labels."""
        from matplotlib.colors import LinearSegmentedColormap, Normalize

        n_terms, n_columns = self.values.shape[1:]
        if self.quantity == "routing":
            colors, middle = DIVERGING, self.explanation.uniform
            reach = max(np.nanmax(np.abs(self.values - middle)), SMALLEST_RANGE)
            norm = Normalize(middle - reach, middle + reach)
        else:
            colors, norm = SEQUENTIAL, Normalize(0, max(np.nanmax(self.values), SMALLEST_RANGE))
        self.mesh = ax.pcolormesh(
            np.arange(n_columns + 1) - 0.5,
            np.arange(n_terms + 1) - 0.5,
            self.values[position],
            cmap=LinearSegmentedColormap.from_list("house", colors),
            norm=norm,
            edgecolor=inks_of(ax).ground,
            linewidth=1.2 if self.detail else 0.4,
        )
        self._write_cells(ax, position)
        self._draw_bars(ax)
        self._draw_labels(ax, position)

    @property
    def significant(self) -> NDArray[np.bool_] | None:
        return None if self.local or self.quantity != "routing" else self.explanation.significant

    def _write_cells(self, ax: Axes, position: int) -> None:
        values, significant = self.values[position], self.significant
        red, green, blue, _ = np.moveaxis(self.mesh.to_rgba(values), -1, 0)
        inks = np.where(0.3 * red + 0.59 * green + 0.11 * blue < 0.45, "white", LIGHT.text)
        if significant is None:
            significant = np.zeros(values.shape, dtype=bool)
        elif not self.detail:
            above = values > self.explanation.uniform
            for marker, marked in (("^", significant & above), ("v", significant & ~above)):
                rows, columns = np.nonzero(marked)
                ax.scatter(columns, rows, s=9, marker=marker, color=inks[marked], linewidth=0)
        if not self.detail:
            return
        intervals: Any = None
        if self.detail == 2 and self.data.get(QUANTITIES[self.quantity][1]) is not None:
            intervals = np.reshape(self.data[QUANTITIES[self.quantity][1]], (*values.shape, 2))
        for row, column in np.ndindex(values.shape):
            text = _number(
                values[row, column], None if intervals is None else intervals[row, column]
            )
            weight = "bold" if significant[row, column] else "normal"
            _write(ax, column, row, text, color=str(inks[row, column]), weight=weight)

    def _draw_bars(self, ax: Axes) -> None:
        """Draw activations and shares as bars; a line is an interval that no number tells."""
        left = self.values.shape[2] - 0.5
        for heading, values, intervals, full in self.bars:
            left += GAP
            rows, scale = np.arange(len(values)), self.bar_width / full
            ax.barh(rows, self.bar_width, height=0.72, left=left, color=BAR_GROUND)
            ax.barh(rows, values * scale, height=0.72, left=left, color=BAR)
            for row, value in enumerate(values):
                ends = None if intervals is None else intervals[row]
                if self.detail:
                    text = _percent(value) if heading.startswith(SHARE) else _number(value, ends)
                    _write(ax, left + self.bar_width / 2, row, text, color=LIGHT.text)
                elif ends is not None:
                    ax.plot(left + np.clip(ends, 0, full) * scale, [row] * 2, color=LIGHT.text)
            left += self.bar_width

    def _draw_labels(self, ax: Axes, position: int) -> None:
        n_terms, n_columns = self.values.shape[1:]
        ax.set_xlim(-0.5, self.cells - 0.5)
        ax.set_ylim(n_terms - 0.5, -0.5)
        small = "x-small" if self.height < 0.2 else "small"
        ax.set_yticks(range(n_terms), self.row_labels, fontsize=small, **PLAIN)
        steps = n_columns - 0.5 + GAP + self.bar_width / 2
        bars = [steps + i * (GAP + self.bar_width) for i in range(len(self.bars))]
        headings = [heading for heading, *_ in self.bars]
        ax.set_xticks(
            [*range(n_columns), *bars],
            [*self.column_labels, *headings],
            fontsize="small",
            **PLAIN,
        )
        if self.upright:
            for tick in ax.xaxis.get_major_ticks()[:n_columns]:
                tick.label1.set_rotation(90)
                tick.label2.set_rotation(90)
        ax.tick_params(length=0, labeltop=self.labels_on_top)
        ax.spines[:].set_visible(False)
        inks = inks_of(ax.figure)
        if self.local:
            ax.tick_params(labelleft=position == 0)
            title = "\n".join(self._sample(position))
            ax.set_title(title, fontsize="small", color=inks.text, **PLAIN)
        else:
            count = self.data.get("n_samples")
            over = "mean" if count is None else f"mean over {count} samples"
            quantity = QUANTITIES[self.quantity][2]
            ax.set_title(f"{quantity}, {over}", loc="left", fontsize="small", color=inks.quiet)
            notes = "\n".join(self._notes())
            ax.set_xlabel(notes, loc="left", fontsize="small", color=inks.quiet, labelpad=8)

    def _sample(self, position: int) -> list[str]:
        """Return the lines of the title of one sample."""
        width = int(max(self.cells * self.width, PANEL) / CHARACTER)
        lines = folded(f"sample {self.explanation.sample_names[position]}", width)
        for word, key in (("predicted", "predicted"), ("true", "y")):
            if self.data.get(key) is not None:
                said = f"{word}: {self.explanation.label_text(position, key)}"
                lines += folded(said, width)
        return lines

    def _notes(self) -> list[str]:
        notes = []
        uniform = (
            f"uniform routing, {self.explanation.uniform:.3g}" if self.quantity == "routing" else ""
        )
        if self.significant is not None and self.detail:
            notes.append(f"bold: 95 % interval excludes {uniform}")
        elif self.significant is not None:
            notes.append(f"triangle: 95 % interval above or below {uniform}")
        if self.detail == 2 and self.data.get(QUANTITIES[self.quantity][1]) is not None:
            notes.append("±: half the width of the 95 % interval")
        return notes

    def draw_color_bar(self, axes: NDArray[Any]) -> None:
        """Draw one colour bar for all heat maps."""
        height = len(self.row_labels) * self.height
        bar = axes[0].figure.colorbar(
            self.mesh,
            ax=list(axes),
            shrink=min(1.0, 3.5 / height),
            aspect=18,
            anchor=(0.0, 1.0),
        )
        bar.set_label(QUANTITIES[self.quantity][2], fontsize="small")
        bar.ax.tick_params(labelsize="small", length=2, color=LIGHT.faint)
        bar.outline.set_visible(False)
        if self.quantity == "routing":
            # The colours reach equally far to both sides of 1/J; coefficients stay within 0 and 1.
            bar.ax.set_ylim(*np.clip(self.mesh.get_clim(), 0.0, 1.0))
            bar.ax.axhline(self.explanation.uniform, color=LIGHT.text, linewidth=1.0)


def _write(ax: Axes, x: float, y: float, text: str, **font: Any) -> None:
    ax.text(x, y, text, ha="center", va="center", fontsize=SMALL, **font)


def _percent(value: float) -> str:
    """Return a share in whole percent, in which only a zero reads as one."""
    return "<1%" if 0 < value < 0.005 else f"{value:.0%}"


def _number(value: float, interval: NDArray[np.float64] | None) -> str:
    """Return the number of a cell, with the half-width of its interval where there is one."""
    half = np.nan if interval is None else (interval[1] - interval[0]) / 2
    return f"{value:.2f}" if np.isnan(half) else f"{value:.2f} ± {half:.2f}".replace("± 0.", "± .")
