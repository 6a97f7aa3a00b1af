"""The picture of routing: a heat map of terms by concepts, of a data set or of single samples."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._explanations import GlobalExplanation, LocalExplanation
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.plotting._bars import FAINT, INK, QUIET_INK, new_axes, wrapped

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["RoutingDisplay"]

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


class RoutingDisplay:
    r"""Heat map of how much each term is routed to each concept.

    Make one with :meth:`from_estimator`, or with ``.plot()`` of what ``explain_global`` and
    ``explain_local`` return. For a data set it is one heat map of means over the samples, with
    their 95 % intervals; for chosen samples, a row of small heat maps.

    Parameters
    ----------
    explanation : GlobalExplanation, LocalExplanation or mapping
        What to draw. A mapping of arrays with the keys of either is taken for a local explanation
        if it has ``sample_index``.

    Attributes
    ----------
    explanation : GlobalExplanation or LocalExplanation
        What was given.
    ax_ : matplotlib Axes
        The heat map, of several samples the first; after :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (n_heat_maps,)
        All heat maps; after :meth:`plot`.
    figure_ : matplotlib Figure
        The figure that holds them; after :meth:`plot`.

    Raises
    ------
    InputError
        If a quantity has a shape that does not fit the names of terms and concepts.
    InputTypeError
        If ``explanation`` is neither an explanation nor a mapping.

    See Also
    --------
    RoutingDisplay.from_estimator : Draw the routing of a fitted estimator.
    RelevanceDisplay : Bars of one relevance per term.

    Notes
    -----
    A routing coefficient reads against uniform routing, :math:`1/J` with :math:`J` concepts: white
    in the heat map. A mean whose interval excludes :math:`1/J` is printed bold. A term that is not
    used has coefficients of :math:`1/J` too, so beside the heat map stand the activation of the
    term and its share of the mean absolute contribution.

    Numbers are left out where they would not be readable: the half-widths of the intervals above
    6 concepts, the means above 12 concepts or 30 terms. In cells without a number, a triangle
    points up or down where the interval lies above or below :math:`1/J`.

    References
    ----------
    .. [1] Tsai et al. (2020), Multimodal Routing, tables 2 and 3 and figure 3.

    Examples
    --------
    >>> from sklearn_mmfusion.plotting import RoutingDisplay
    >>> display = RoutingDisplay({
    ...     "term_names": ["text", "audio"],
    ...     "concept_names": ["sad", "happy"],
    ...     "routing_coefficients": [[0.7, 0.3], [0.52, 0.48]],
    ... })
    >>> display.explanation
    GlobalExplanation(kind='routing', n_terms=2, n_concepts=2)
    """

    def __init__(
        self, explanation: GlobalExplanation | LocalExplanation | Mapping[str, Any]
    ) -> None:
        if isinstance(explanation, Mapping):
            local = "sample_index" in explanation
            explanation = (LocalExplanation if local else GlobalExplanation)(explanation)
        if not isinstance(explanation, GlobalExplanation | LocalExplanation):
            raise InputTypeError(
                f"explanation is a {type(explanation).__name__}; expected what explain_global or "
                "explain_local returns, or a mapping with the same keys."
            )
        self.explanation: GlobalExplanation | LocalExplanation = explanation

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        y: Any = None,
        *,
        samples: Sequence[int] | None = None,
        quantity: str | None = None,
        ax: Axes | Sequence[Axes] | None = None,
    ) -> Self:
        """Draw the routing of a fitted estimator, over a data set or of chosen samples.

        Parameters
        ----------
        estimator : fitted estimator
            An estimator with ``explain_global`` and ``explain_local``, or a Pipeline or a search
            that ends in one.
        X : mapping, ModalityFrame, DataFrame or array, default=None
            Data to explain, in a form that ``predict`` takes; None stands for the training set.
        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            True labels, for the titles of samples.
        samples : sequence of int, default=None
            Positions of at most 8 rows of ``X``, each to be drawn on its own; None draws the means
            over all rows.
        quantity : {"routing", "activation", "routed_activation"}, default=None
            What to draw, as in :meth:`plot`.
        ax : matplotlib Axes or sequence of them, default=None
            Where to draw, as in :meth:`plot`.

        Returns
        -------
        display : RoutingDisplay
            With ``ax_``, ``axes_`` and ``figure_``.

        Raises
        ------
        InputError
            If ``samples`` is given without ``X``.
        InputTypeError
            If the estimator can't be explained.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        if samples is not None:
            if X is None:
                raise InputError("samples are positions in X, and X is None; give X as well.")
            samples = [int(sample) for sample in samples]
            rows = ModalityFrame(X).iloc if isinstance(X, Mapping) else None
            X = _safe_indexing(X, samples) if rows is None else rows[samples]
            y = None if y is None else _safe_indexing(y, samples)
        estimator, X = _explainable(estimator, X)
        if samples is None:
            return cls(estimator.explain_global(X)).plot(ax, quantity=quantity)
        local = estimator.explain_local(X, y)
        data = {**local.data, "sample_index": samples}
        return cls(type(local)(data)).plot(ax, quantity=quantity)

    def frame(self, quantity: str | None = None) -> pd.DataFrame:
        """Return the numbers behind the picture, as a long table.

        Parameters
        ----------
        quantity : {"routing", "activation", "routed_activation"}, default=None
            Which numbers of samples, as in :meth:`plot`; the table of a data set has them all.

        Returns
        -------
        frame : pandas.DataFrame
            What ``to_frame`` of the explanation returns.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        if isinstance(self.explanation, LocalExplanation):
            return self.explanation.to_frame(self._checked(quantity))
        return self.explanation.to_frame()

    def plot(self, ax: Axes | Sequence[Axes] | None = None, *, quantity: str | None = None) -> Self:
        """Draw the heat map or heat maps.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of them, default=None
            Where to draw, one per heat map; None makes a figure of fitting size.
        quantity : {"routing", "activation", "routed_activation"}, default=None
            Routing coefficients, activations, or their products. None draws the routing
            coefficients if there are any, else the activations.

        Returns
        -------
        display : RoutingDisplay
            Itself, with ``ax_``, ``axes_`` and ``figure_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        InputError
            If there is no such quantity, ``ax`` does not hold one Axes per heat map, or there are
            no samples or more than 8.
        """
        quantity = self._checked(quantity)
        local = isinstance(self.explanation, LocalExplanation)
        n_maps = len(self.explanation.data["sample_index"]) if local else 1
        if not 1 <= n_maps <= MAX_SAMPLES:
            raise InputError(
                f"There are {n_maps} samples to draw; choose 1 to {MAX_SAMPLES} of them, for "
                f"example explanation[:{MAX_SAMPLES}]."
            )
        values = np.asarray(self.explanation.data[QUANTITIES[quantity][0]], dtype=np.float64)
        if quantity == "activation":
            values = values[..., np.newaxis]
        # From here on one heat map per row: (n_maps, n_terms, n_columns).
        values = values if local else values[np.newaxis]
        grid = _Grid(self.explanation, quantity, values)
        axes = grid.new_axes() if ax is None else np.asarray(ax, dtype=object).reshape(-1)
        if axes.shape != (n_maps,):
            raise InputError(f"ax holds {axes.size} Axes, for {n_maps} heat maps; give one each.")
        self.axes_, self.ax_, self.figure_ = axes, axes[0], axes[0].figure
        if ax is not None:
            grid.fit_into(self.ax_)
        for position, panel in enumerate(axes):
            grid.draw(panel, position)
        grid.draw_color_bar(axes)
        return self

    def _checked(self, quantity: str | None) -> str:
        data = self.explanation.data
        there = [word for word, (key, *_) in QUANTITIES.items() if data.get(key) is not None]
        if quantity is None and there:
            return there[0]
        if quantity is None or quantity not in there:
            raise InputError(f"quantity is {quantity!r}; this explanation has {there}.")
        return quantity


class _Grid:
    """Heat maps of the same rows and columns: their sizes, and how they are drawn."""

    def __init__(self, explanation: Any, quantity: str, values: NDArray[np.float64]) -> None:
        self.data, self.explanation = explanation.data, explanation
        self.quantity, self.values = quantity, values
        self.local = isinstance(explanation, LocalExplanation)
        n_maps, n_terms, n_columns = values.shape
        many = n_terms > MANY_TERMS
        names = map(str, self.data["term_names"])
        self.row_labels = [n.replace(" x ", " × ") if many else wrapped(n) for n in names]
        columns = ["activation"] if quantity == "activation" else self.data["concept_names"]
        self.column_labels = [
            textwrap.shorten(str(name), NAME_WIDTH, placeholder=" …") for name in columns
        ]
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
            edgecolor="white",
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
        inks = np.where(0.3 * red + 0.59 * green + 0.11 * blue < 0.45, "white", INK)
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
                    text = f"{value:.0%}" if heading.startswith(SHARE) else _number(value, ends)
                    _write(ax, left + self.bar_width / 2, row, text, color=INK)
                elif ends is not None:
                    ax.plot(left + np.clip(ends, 0, full) * scale, [row] * 2, color=INK)
            left += self.bar_width

    def _draw_labels(self, ax: Axes, position: int) -> None:
        n_terms, n_columns = self.values.shape[1:]
        ax.set_xlim(-0.5, self.cells - 0.5)
        ax.set_ylim(n_terms - 0.5, -0.5)
        small = "x-small" if self.height < 0.2 else "small"
        ax.set_yticks(range(n_terms), self.row_labels, fontsize=small)
        steps = n_columns - 0.5 + GAP + self.bar_width / 2
        bars = [steps + i * (GAP + self.bar_width) for i in range(len(self.bars))]
        headings = [heading for heading, *_ in self.bars]
        ax.set_xticks(
            [*range(n_columns), *bars], [*self.column_labels, *headings], fontsize="small"
        )
        if self.upright:
            for tick in ax.xaxis.get_major_ticks()[:n_columns]:
                tick.label1.set_rotation(90)
                tick.label2.set_rotation(90)
        ax.tick_params(length=0, labeltop=self.labels_on_top)
        ax.spines[:].set_visible(False)
        if self.local:
            ax.tick_params(labelleft=position == 0)
            ax.set_title("\n".join(self._sample(position)), fontsize="small", color=INK)
        else:
            count = self.data.get("n_samples")
            over = "mean" if count is None else f"mean over {count} samples"
            quantity = QUANTITIES[self.quantity][2]
            ax.set_title(f"{quantity}, {over}", loc="left", fontsize="small", color=QUIET_INK)
            notes = "\n".join(self._notes())
            ax.set_xlabel(notes, loc="left", fontsize="small", color=QUIET_INK, labelpad=8)

    def _sample(self, position: int) -> list[str]:
        """Return the lines of the title of one sample."""
        lines = [f"sample {self.data['sample_index'][position]}"]
        width = int(max(self.cells * self.width, PANEL) / CHARACTER)
        for word, key in (("predicted", "predicted"), ("true", "y")):
            if self.data.get(key) is not None:
                said = f"{word}: {self.explanation.label_text(position, key)}"
                lines += textwrap.wrap(said, width)
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
        bar.ax.tick_params(labelsize="small", length=2, color=FAINT)
        bar.outline.set_visible(False)
        if self.quantity == "routing":
            # The colours reach equally far to both sides of 1/J; coefficients stay within 0 and 1.
            bar.ax.set_ylim(*np.clip(self.mesh.get_clim(), 0.0, 1.0))
            bar.ax.axhline(self.explanation.uniform, color=INK, linewidth=1.0)


def _write(ax: Axes, x: float, y: float, text: str, **font: Any) -> None:
    ax.text(x, y, text, ha="center", va="center", fontsize=SMALL, **font)


def _number(value: float, interval: NDArray[np.float64] | None) -> str:
    """Return the number of a cell, with the half-width of its interval where there is one."""
    half = np.nan if interval is None else (interval[1] - interval[0]) / 2
    return f"{value:.2f}" if np.isnan(half) else f"{value:.2f} ± {half:.2f}".replace("± 0.", "± .")


def _explainable(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the estimator inside searches and pipelines, and the X that reaches it."""
    while not hasattr(estimator, "explain_global"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            if X is not None and len(estimator.steps) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator.steps[-1][1]
        else:
            if hasattr(estimator, "fit"):
                check_is_fitted(estimator)
            raise InputTypeError(
                f"{type(estimator).__name__} has no explain_global; expected a fitted estimator "
                "of this package that explains itself, or a Pipeline or search that ends in one."
            )
    check_is_fitted(estimator)
    return estimator, X
