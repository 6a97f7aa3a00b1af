"""The picture of a comparison: every score, means and their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._rows.resampling import corrected_interval
from sklearn_mmfusion.plotting._bars import PLAIN, height_of, new_axes, places_of, refuse_drawn
from sklearn_mmfusion.plotting._fits import pandas_or_say
from sklearn_mmfusion.plotting._inks import inks_of
from sklearn_mmfusion.plotting._labels import on_one_line, wrapped

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["ComparisonDisplay"]

DOT, MEAN = "#56B4E9", "#0072B2"


class ComparisonDisplay:
    """Scores of models over folds and seeds, or their differences from one of them.

    ``.plot()`` of what :func:`~sklearn_mmfusion.compare_models` returns makes one. Each fold of
    each seed is a dot; a disc is the mean, a line its 95 % interval.

    Parameters
    ----------
    scores : mapping of str to array-like
        Scores of each model by name, of the same shape for all.
    test_ratio : float, default=0
        Rows of a test part divided by rows of its training part; it widens the intervals as
        :class:`~sklearn_mmfusion.ModelComparison` says.
    metric : str, default="score"
        What the scores are, for the axis.

    Attributes
    ----------
    scores : dict of str to ndarray of shape (n_scores,)
        What was given.
    ax_ : matplotlib Axes
        Where the figure was drawn; after :meth:`plot`.
    figure_ : matplotlib Figure
        The figure that holds ``ax_``; after :meth:`plot`.

    Raises
    ------
    InputError
        If the models differ in their number of scores, or there are none.
    InputTypeError
        If the scores are no mapping.

    Examples
    --------
    >>> from sklearn_mmfusion.plotting import ComparisonDisplay
    >>> ComparisonDisplay({"a": [0.9, 0.8], "b": [0.6, 0.7]}).scores["b"]
    array([0.6, 0.7])
    """

    def __init__(
        self, scores: Mapping[str, Any], *, test_ratio: float = 0.0, metric: str = "score"
    ) -> None:
        if not isinstance(scores, Mapping):
            raise InputTypeError(
                f"scores: expected a mapping of a model's name to its scores, got "
                f"{type(scores).__name__}; of estimators, compare_models(estimators, X, y).plot() "
                "draws them"
            )
        self.scores = {
            name: np.asarray(values, dtype=np.float64).ravel() for name, values in scores.items()
        }
        self.test_ratio = test_ratio
        self.metric = metric
        if len({len(values) for values in self.scores.values()}) != 1:
            counts = {name: len(values) for name, values in self.scores.items()}
            raise InputError(f"scores: expected the same number for every model, got {counts}")

    def frame(self, *, reference: str | None = None) -> pd.DataFrame:
        """Return the numbers behind the picture.

        Parameters
        ----------
        reference : str, default=None
            Name of the model to take the differences from; None returns the scores themselves.

        Returns
        -------
        frame : pandas.DataFrame
            Indexed by model, best first: ``mean``, ``lower``, ``upper``.

        Raises
        ------
        ImportError
            If pandas is not installed.
        InputError
            If there is no such model.
        """
        pd = pandas_or_say(type(self).__name__, ".scores")
        values = self._values(reference)
        intervals = [self._interval(v) for v in values.values()]
        return pd.DataFrame(
            {
                "mean": [v.mean() for v in values.values()],
                "lower": [interval[0] for interval in intervals],
                "upper": [interval[1] for interval in intervals],
            },
            index=pd.Index(list(values), name="model"),
        )

    def plot(self, ax: Axes | None = None, *, reference: str | None = None) -> Self:
        """Draw a row per model, best on top.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure of fitting height.
        reference : str, default=None
            Name of the model to draw the paired differences from; None draws the scores.

        Returns
        -------
        display : ComparisonDisplay
            Itself, with ``ax_`` and ``figure_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        InputError
            If there is no such model, or ``ax`` holds bars, dots or cells already.
        """
        values = self._values(reference)
        labels = [wrapped(name) for name in values]
        if ax is None:
            ax = new_axes(n_lines=2 + height_of(labels))
        refuse_drawn(ax)
        self.ax_, self.figure_ = ax, ax.figure
        n_scores = len(next(iter(values.values())))
        # Dots lie beside the line, each fold and seed at the same height in every row.
        offsets = np.linspace(0.14, 0.34, n_scores) if n_scores > 1 else np.array([0.2])
        places, inks = places_of(labels), inks_of(ax)
        for row, scores in zip(places, values.values(), strict=True):
            ax.scatter(scores, row + offsets, s=10, color=DOT, linewidth=0, zorder=2)
            ends = self._interval(scores)
            if not np.isnan(ends).any():
                ax.plot(ends, [row, row], color=inks.text, linewidth=1.6, zorder=3)
            ax.scatter([scores.mean()], [row], s=42, color=MEAN, edgecolor=inks.ground, zorder=4)
            ax.annotate(
                f"{scores.mean():{'.3f' if reference is None else '+.3f'}}".replace("-", "−"),
                (scores.mean(), row),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize="small",
                color=inks.text,
            )
        if reference is not None:
            ax.axvline(0, color=inks.faint, linewidth=1.0, zorder=1)
        ax.set_yticks(places, labels, **PLAIN)
        ax.set_ylim(height_of(labels) - 0.45, -0.65)
        said = self.metric if reference is None else f"{self.metric} minus that of {reference}"
        ax.set_xlabel(on_one_line(said), **PLAIN)
        ax.grid(axis="x", color=inks.grid, linewidth=0.8, zorder=0)
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(inks.faint)
        notes = f"dots: {n_scores} folds and seeds\nline: corrected 95 % interval of the mean"
        ax.set_title(notes, loc="left", fontsize="small", color=inks_of(ax.figure).quiet)
        return self

    def _values(self, reference: str | None) -> dict[str, np.ndarray]:
        """Return what is drawn, best first."""
        if reference is not None and reference not in self.scores:
            raise InputError(f"reference is {reference!r}; expected one of {list(self.scores)}")
        ranked = sorted(self.scores, key=lambda name: -self.scores[name].mean())
        if reference is None:
            return {name: self.scores[name] for name in ranked}
        against = self.scores[reference]
        return {name: self.scores[name] - against for name in ranked if name != reference}

    def _interval(self, values: np.ndarray) -> np.ndarray:
        if len(values) < 2:
            return np.full(2, np.nan)
        return corrected_interval(values, self.test_ratio)
