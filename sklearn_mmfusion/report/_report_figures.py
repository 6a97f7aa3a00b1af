"""The figures of a report, as SVG text; every drawing that a Display may take over is here.

Names come cleaned of control characters. Figures have no background: on a dark page the style
sheet turns their colours round.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._explanations import GlobalExplanation
from sklearn_mmfusion.plotting import (
    RelevanceDisplay,
    RoutingDisplay,
    TrainingCurveDisplay,
)
from sklearn_mmfusion.plotting._bars import (
    ORDER_COLORS,
    draw_bars,
    draw_frame,
    height_of,
    places_of,
)
from sklearn_mmfusion.plotting._inks import LIGHT
from sklearn_mmfusion.plotting._labels import folded, hidden_terms, shortened, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "calibration_figure",
    "confusion_figure",
    "errors_figure",
    "local_figure",
    "pairs_figure",
    "relevance_figure",
    "routing_figure",
    "shares_figure",
    "short_term",
    "training_figure",
    "unseen_axes",
]

Floats = npt.NDArray[np.float64]

_WIDTH = 4.7  # inches; shrunk to a phone's width the text is still read
_LONGEST_NAME = 52
_SMALL_WIDTH = 32  # characters over and under the axes of a small figure
_FEWEST_TERMS, _MOST_TERMS = 6, 15
_BLUE, _ORANGE = ORDER_COLORS[0], "#D55E00"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.fonttype": "none",  # text stays text: any script, small files, found by search
    "svg.hashsalt": "fusion_report",  # the same figure is the same file
    "text.color": LIGHT.text,
    "axes.labelcolor": LIGHT.text,
    "axes.edgecolor": LIGHT.faint,
    "xtick.color": LIGHT.text,
    "ytick.color": LIGHT.text,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@contextmanager
def _house_style() -> Iterator[None]:
    """Draw in our style, whatever the user's; glyphs are the browser's to find."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "fusion_report needs matplotlib; install the extra 'plots' of sklearn-mmfusion."
        ) from error

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _drawn(width: float, height: float, draw: Callable[[Figure], Any]) -> str:
    """Return a figure as SVG, without pyplot: no window, no state."""
    with _house_style():
        figure = _figure(figsize=(width, height), layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def _figure(**settings: Any) -> Figure:
    from matplotlib.figure import Figure

    return Figure(**settings)


def unseen_axes() -> Axes:
    """Return axes of a figure that belongs to no one, for a Display that draws at once."""
    return _figure().subplots()


def short_term(modalities: Sequence[str], limit: int = 26) -> str:
    """Return the name of a term in about as many characters, every modality with its share."""
    share = max((limit - 3 * (len(modalities) - 1)) // len(modalities), 6)
    return " × ".join(_short(name, share) for name in modalities)


def _short(name: str, limit: int = _LONGEST_NAME) -> str:
    return shortened(name, limit)


def _height(labels: Sequence[str]) -> float:
    return 1.0 + 0.24 * height_of(labels)


def _width(labels: Sequence[str]) -> float:
    longest = max(len(line) for label in labels for line in label.split("\n"))
    return _WIDTH + 0.07 * max(0, longest - 12)


def _short_term(modalities: Sequence[str]) -> str:
    return " x ".join(_short(name) for name in modalities)


def _largest(values: Floats) -> npt.NDArray[np.intp]:
    """Return the terms to draw: the largest, of those that are 0 only enough to fill a figure."""
    n_used = int(np.count_nonzero(values))
    return np.argsort(-values, kind="stable")[: min(max(n_used, _FEWEST_TERMS), _MOST_TERMS)]


def relevance_figure(display: RelevanceDisplay) -> str:
    """Draw the relevance of terms, over one fit or several."""
    short = [_short_term(term) for term in display.term_modalities]
    display = display._with_terms(short, display.term_modalities)
    shown = _largest(display.mean)
    labels = [wrapped(display.term_names[t]) for t in shown]

    def draw(figure: Figure) -> None:
        display.plot(figure.subplots(), max_terms=len(shown))

    return _drawn(_width(labels), _height(labels) + 0.3, draw)


def shares_figure(
    terms: Sequence[tuple[str, ...]], share: Floats, low: Floats, high: Floats
) -> str:
    """Draw the share of each term in the contributions, with its interval over rows."""
    shown = _largest(share)
    labels = [wrapped(_short_term(terms[t])) for t in shown]
    hidden = np.delete(share, shown)

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        places = places_of(labels)
        draw_bars(ax, places, share[shown], [len(terms[t]) for t in shown])
        for position, term in zip(places, shown, strict=True):
            for color, width in ((LIGHT.ground, 3.0), (LIGHT.text, 1.4)):
                ax.plot(
                    [low[term], high[term]],
                    [position] * 2,
                    color=color,
                    linewidth=width,
                    solid_capstyle="butt",
                    zorder=3,
                )
        notes = [hidden_terms(hidden)] if len(hidden) else []
        draw_frame(ax, labels, "share of the contributions, 95 % interval", notes)
        ax.set_xlim(0, max(1.05 * float(high.max()), 1e-3))

    return _drawn(_width(labels), _height(labels) + 0.3, draw)


def pairs_figure(names: Sequence[str], matrix: Floats) -> str:
    """Draw shares of modalities (diagonal) and of their pairs as a heat map."""
    labels = [textwrap.shorten(_short(name, 24), 24, placeholder=" …") for name in names]
    lower = np.where(np.tri(len(names), dtype=bool), matrix, np.nan)
    return _heat_map(lower, labels, labels, _percent)


def _percent(share: float) -> str:
    """Return a share in percent, in which only a zero reads as one."""
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.1%}"


def confusion_figure(labels: Sequence[str], counts: npt.NDArray[np.int64]) -> str:
    """Draw the confusion matrix: colour by the share of the true class, number of rows inside."""
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    short = [_short(label, 20) for label in labels]
    return _heat_map(
        counts / totals,
        short,
        short,
        lambda v: f"{int(v):d}",
        inside=counts.astype(np.float64),
        axes=("predicted", "true"),
    )


def _heat_map(
    values: Floats,
    rows: Sequence[str],
    columns: Sequence[str],
    text: Callable[[float], str],
    inside: Floats | None = None,
    axes: tuple[str, str] = ("", ""),
) -> str:
    n_rows, n_columns = values.shape
    cell = 0.46 if n_columns <= 8 else 0.34 if n_columns <= 20 else 0.2
    longest = max(map(len, rows))
    upright = max(map(len, columns)) * 0.075 > cell
    width = 0.35 + 0.075 * longest + cell * n_columns
    height = 0.45 + (0.075 * max(map(len, columns)) if upright else 0.2) + cell * n_rows
    top = max(float(np.nanmax(values)), 1e-12)
    inside = values if inside is None else inside

    def draw(figure: Figure) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        colors = LinearSegmentedColormap.from_list("share", ["#F2F5F8", _BLUE])
        ax = figure.subplots()
        ax.pcolormesh(
            np.ma.masked_invalid(values), cmap=colors, vmin=0, vmax=top, edgecolors="white"
        )
        ax.set(xlim=(0, n_columns), ylim=(n_rows, 0), aspect="equal")
        ax.set_xticks(np.arange(n_columns) + 0.5, columns, rotation=90 if upright else 0)
        ax.set_yticks(np.arange(n_rows) + 0.5, rows)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set(xlabel=axes[0], ylabel=axes[1])
        if cell < 0.3:
            return
        for (i, j), value in np.ndenumerate(values):
            if np.isnan(value) or (inside[i, j] == 0 and i != j):
                continue
            ax.text(
                j + 0.5,
                i + 0.5,
                text(float(inside[i, j])),
                ha="center",
                va="center",
                fontsize=7.5 if cell > 0.4 else 6.5,
                color="white" if value > 0.6 * top else LIGHT.text,
            )

    return _drawn(max(width, 2.4), max(height, 1.8), draw)


def routing_figure(explanation: GlobalExplanation) -> str:
    """Draw the routing of terms to concepts, or the activations of terms."""
    data = explanation.data
    order = np.argsort(-np.asarray(data["contribution_share"]), kind="stable")[:_MOST_TERMS]
    n_terms = len(data["term_names"])
    shown: dict[str, Any] = {
        key: value[order]
        if isinstance(value, np.ndarray) and value.shape[:1] == (n_terms,)
        else value
        for key, value in data.items()
    }
    shown["term_names"] = [
        " x ".join(_short(part) for part in data["term_names"][t].split(" x ")) for t in order
    ]
    shown["concept_names"] = [_short(str(name), 20) for name in data["concept_names"]]
    display = RoutingDisplay(GlobalExplanation(shown))
    lines = sum(wrapped(name).count("\n") + 1 for name in shown["term_names"])
    n_columns = 1 if data.get("routing_coefficients") is None else len(shown["concept_names"])
    width = 4.2 + (0.85 if n_columns <= 6 else 0.5 if n_columns <= 12 else 0.3) * n_columns
    height = (
        1.3 + max(0.2 * lines, 0.34 * len(order)) + 0.05 * max(map(len, shown["concept_names"]))
    )

    def draw(figure: Figure) -> None:
        display.plot(figure.subplots())

    return _drawn(width, height, draw)


def training_figure(display: TrainingCurveDisplay) -> str:
    """Draw the losses of the epochs."""
    return _drawn(_WIDTH, 2.7, lambda figure: display.plot(figure.subplots()))


def calibration_figure(stated: Floats, observed: Floats, counts: Any, what: str) -> str:
    """Draw observed shares against stated probabilities, and how many predictions there are."""
    filled = counts > 0

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        ax, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        ax.plot([0, 1], [0, 1], color=LIGHT.faint, linewidth=1, linestyle="--")
        ax.plot(stated[filled], observed[filled], color=_BLUE, marker="o", markersize=4)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share that came true")
        below.bar(
            (np.arange(len(counts)) + 0.5) / len(counts),
            counts,
            width=0.9 / len(counts),
            color=_BLUE,
        )
        below.set(xlabel=f"stated probability of {_short(what, 30)}", ylabel="rows")
        below.yaxis.set_major_locator(MaxNLocator(3, integer=True))

    return _drawn(3.9, 3.6, draw)


def errors_figure(truth: Floats, predicted: Floats, name: str) -> str:
    """Draw predictions against the truth."""

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        ends = [
            float(min(truth.min(), predicted.min())),
            float(max(truth.max(), predicted.max())),
        ]
        ax.plot(ends, ends, color=LIGHT.faint, linewidth=1, linestyle="--", zorder=1)
        alpha = float(np.clip(400 / len(truth), 0.1, 0.7))
        # As pixels within the drawing: ten thousand dots would weigh megabytes.
        ax.scatter(truth, predicted, s=9, color=_BLUE, alpha=alpha, linewidths=0, rasterized=True)
        ax.set(xlabel=f"true {_short(name, 30)}", ylabel="predicted")
        _short_ticks(ax, "both")
        figure.set_dpi(150)

    return _drawn(3.6, 3.2, draw)


def _short_ticks(ax: Axes, axis: Literal["x", "y", "both"]) -> None:
    """Keep the numbers of a small axis apart: few, a power of ten taken out of large ones."""
    ax.locator_params(axis=axis, nbins=5)
    ax.ticklabel_format(axis=axis, style="sci", scilimits=(-3, 5))


def local_figure(
    title: str, names: Sequence[str], values: Floats, limit: float, quantity: str
) -> str:
    """Draw the largest contributions of one row, on an axis from -limit to limit."""
    limit = max(1.15 * limit, 1e-9)
    above, below = folded(title, _SMALL_WIDTH), folded(quantity, _SMALL_WIDTH)
    n_lines = len(above) + len(below)

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        _draw_local(ax, "\n".join(above), names, values, limit, "\n".join(below))

    return _drawn(3.5, 0.67 + 0.14 * n_lines + 0.19 * len(names), draw)


def _draw_local(
    ax: Axes,
    title: str,
    names: Sequence[str],
    values: Floats,
    limit: float,
    quantity: str,
) -> None:
    colors = [_BLUE if value >= 0 else _ORANGE for value in values]
    ax.barh(np.arange(len(values)), values, color=colors, height=0.66, zorder=2)
    ax.axvline(0, color=LIGHT.faint, linewidth=0.8, zorder=3)
    ax.set_yticks(np.arange(len(values)), names, fontsize="small")
    ax.set(ylim=(len(values) - 0.4, -0.6), xlim=(-limit, limit))
    ax.set_title(title, loc="left", fontsize="small", color=LIGHT.quiet)
    ax.set_xlabel(quantity, fontsize="small")
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize="small")
    _short_ticks(ax, "x")
    ax.grid(axis="x", color=LIGHT.grid, linewidth=0.6, zorder=0)
