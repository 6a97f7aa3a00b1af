"""The picture of training: losses over the epochs, of one fit or of all folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._inputs.unwrap import unwrap
from sklearn_mmfusion.plotting._bars import PLAIN, new_axes
from sklearn_mmfusion.plotting._fits import fits_of, pandas_or_say, refuse_estimator
from sklearn_mmfusion.plotting._inks import inks_of
from sklearn_mmfusion.plotting._labels import on_one_line

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["TrainingCurveDisplay", "merged_epochs"]

# Colours of Okabe and Ito, of training and of held-out rows; a pair for each drawing to one axes.
COLORS = (("#0072B2", "#D55E00"), ("#009E73", "#CC79A7"), ("#56B4E9", "#E69F00"))
LINES = (("train_loss", "training rows", "-"), ("valid_loss", "held-out rows", "--"))


class TrainingCurveDisplay:
    """Loss on training and on held-out rows over the epochs, with the best epoch marked.

    Make one with :meth:`from_estimator` for one fit, or with :meth:`from_cv_results` for the fits
    of a cross-validation: one line per fold.

    Parameters
    ----------
    histories : sequence of list of dict
        ``history_`` of every fit.
    validation_histories : sequence of list of dict, default=None
        ``validation_history_`` of every fit, whose held-out losses are drawn; None takes those of
        ``histories``.
    name : str, default=None
        Name of the model, for the legend; it tells several drawings to the same axes apart, which
        have colours of their own.

    Attributes
    ----------
    histories, validation_histories : list of list of dict
        What was given.
    name : str or None
        What was given.
    best_epochs : list of (int or None)
        Epoch with the lowest loss on held-out rows, counted from 1, of every fit; None without
        held-out rows. Of orders that are trained one after the other, that of the last.
    ax_ : matplotlib Axes
        Where the figure was drawn; after :meth:`plot`.
    rate_ax_ : matplotlib Axes or None
        The axes of the learning rate, on the right; after :meth:`plot`.
    figure_ : matplotlib Figure
        The figure that holds ``ax_``; after :meth:`plot`.

    Raises
    ------
    InputError
        If there are no epochs, or not as many validation histories as histories.
    InputTypeError
        If an estimator stands in the place of histories.

    Notes
    -----
    Losses on training rows contain the penalty and are taken with dropout, while the weights
    change; those on held-out rows are not. So the line of the held-out rows may lie below.

    Up to 5000 rows, a first fit with held-out rows chooses the number of epochs and a second one
    takes all rows. The line of the training rows is that of the second, ``history_``, and the line
    of the held-out rows that of the first, ``validation_history_``, which goes on beyond its best
    epoch until nothing has become better for a while.

    Examples
    --------
    >>> from sklearn_mmfusion.plotting import TrainingCurveDisplay
    >>> display = TrainingCurveDisplay([[
    ...     {"epoch": 1, "train_loss": 0.7, "valid_loss": 0.6, "lr": 0.01},
    ...     {"epoch": 2, "train_loss": 0.5, "valid_loss": 0.65, "lr": 0.005},
    ... ]])
    >>> display.best_epochs
    [1]
    """

    def __init__(
        self,
        histories: Sequence[Sequence[Mapping[str, Any]]],
        validation_histories: Sequence[Sequence[Mapping[str, Any]]] | None = None,
        *,
        name: str | None = None,
    ) -> None:
        refuse_estimator(self, histories, "from_estimator(estimator)")
        self.name = name
        self.histories = _copied(histories)
        if not self.histories or not all(self.histories):
            raise InputError("histories: expected at least one epoch of each fit, got none")
        self.validation_histories = self.histories
        if validation_histories is not None:
            self.validation_histories = _copied(validation_histories)
        if len(self.validation_histories) != len(self.histories):
            raise InputError(
                f"validation_histories: expected one for each of {len(self.histories)} histories, "
                f"got {len(self.validation_histories)}"
            )

    @property
    def best_epochs(self) -> list[int | None]:
        """Epoch with the lowest held-out loss of every fit."""
        return [_best_epoch(history) for history in self.validation_histories]

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        name: str | None = None,
        learning_rate: bool = False,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the training of one fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            An estimator with ``history_``, or a Pipeline or a search that ends in one.
        name : str, default=None
            Name of the model, for the legend.
        learning_rate : bool, default=False
            Whether to draw the learning rate as well, on an axis of its own.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : TrainingCurveDisplay
            With ``ax_``, ``rate_ax_`` and ``figure_``.

        Raises
        ------
        InputTypeError
            If there is no ``history_``.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        estimator, _ = unwrap(estimator, attribute="history_")
        return cls._of([estimator], name).plot(ax, learning_rate=learning_rate)

    @classmethod
    def from_cv_results(
        cls,
        cv_results: Mapping[str, Any] | Iterable[Any],
        *,
        name: str | None = None,
        learning_rate: bool = False,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the fits of a cross-validation, a line for each.

        Parameters
        ----------
        cv_results : mapping or iterable of fitted estimators
            What ``cross_validate(..., return_estimator=True)`` returns, or the estimators.
        name : str, default=None
            Name of the model, for the legend.
        learning_rate : bool, default=False
            Whether to draw the learning rate of the first fit as well, on an axis of its own.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : TrainingCurveDisplay
            With ``ax_``, ``rate_ax_`` and ``figure_``.

        Raises
        ------
        InputError
            If the mapping holds no estimators.
        """
        fits = [unwrap(fit, attribute="history_")[0] for fit in fits_of(cv_results)]
        return cls._of(fits, name).plot(ax, learning_rate=learning_rate)

    @classmethod
    def _of(cls, fits: Sequence[Any], name: str | None) -> Self:
        histories = [fit.history_ for fit in fits]
        return cls(histories, [fit.validation_history_ for fit in fits], name=name)

    def frame(self) -> pd.DataFrame:
        """Return the numbers behind the lines.

        Returns
        -------
        frame : pandas.DataFrame
            One row per fit and epoch: ``fit`` (counted from 0), ``epoch``, what ``histories`` have
            of ``phase``, ``train_loss`` and ``lr``, and ``validation_histories`` of
            ``valid_loss``; ``is_best``. NaN where one of them has ended before the other.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pd = pandas_or_say(type(self).__name__, ".histories")
        rows = []
        fits = zip(self.histories, self.validation_histories, self.best_epochs, strict=True)
        for fit, (history, validation, best) in enumerate(fits):
            for number, epoch in enumerate(merged_epochs(history, validation), start=1):
                rows.append({"fit": fit, "epoch": number, **epoch, "is_best": number == best})
        return pd.DataFrame(rows)

    def plot(self, ax: Axes | None = None, *, learning_rate: bool = False) -> Self:
        """Draw the lines.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure. Axes that hold other curves keep them.
        learning_rate : bool, default=False
            Whether to draw the learning rate (of the first fit) as well, on an axis of its own.

        Returns
        -------
        display : TrainingCurveDisplay
            Itself, with ``ax_``, ``rate_ax_`` and ``figure_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = new_axes(n_lines=8) if ax is None else ax
        self.ax_, self.figure_, self.rate_ax_ = ax, ax.figure, None
        look: dict[str, Any] = {"linewidth": 1.8}
        if len(self.histories) > 1:
            look = {"linewidth": 1.0, "alpha": 0.75}
        colors = _free_colors(ax)
        lines = zip(LINES, colors, (self.histories, self.validation_histories), strict=True)
        for (key, words, style), color, histories in lines:
            label: str | None = self._named(words)
            for history in histories:
                epochs = [e for e, epoch in enumerate(history, start=1) if key in epoch]
                if epochs:
                    losses = [history[e - 1][key] for e in epochs]
                    marker = "o" if len(epochs) == 1 else None
                    ax.plot(epochs, losses, style, color=color, label=label, marker=marker, **look)
                    label = None
        self._mark_best(ax)
        for start in self._later_phases():
            ax.axvline(start - 0.5, color=inks_of(ax).faint, linewidth=0.8, linestyle=":")
        if learning_rate:
            self.rate_ax_ = _draw_rate(ax, self.histories[0])
        self._draw_frame(ax)
        return self

    def _named(self, words: str) -> str:
        return words if self.name is None else f"{on_one_line(self.name)}: {words}"

    def _mark_best(self, ax: Axes) -> None:
        several, ink = len(self.histories) > 1, inks_of(ax).text
        label: str | None = self._named("best epoch")
        for history, best in zip(self.validation_histories, self.best_epochs, strict=True):
            if best is None:
                continue
            loss = history[best - 1]["valid_loss"]
            if not several:
                ax.axvline(best, color=ink, linewidth=0.8, linestyle=":")
                label = self._named(f"best epoch, {best}")
            size = 5 if several else 7
            ax.plot(best, loss, "o", color=ink, markersize=size, label=label, zorder=4)
            label = None

    def _later_phases(self) -> list[int]:
        """Return the first epoch of every phase but the first, of a single fit."""
        phases = [epoch.get("phase", 1) for epoch in self.histories[0]]
        changes = np.flatnonzero(np.diff(phases)) + 2
        return [int(epoch) for epoch in changes] if len(self.histories) == 1 else []

    def _draw_frame(self, ax: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        ax.set_xlabel("epoch")
        ax.set_ylabel("loss")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        inks = inks_of(ax)
        ax.grid(axis="y", color=inks.grid, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(inks.faint)
        notes = [f"{len(self.histories)} fits, a line each"] if len(self.histories) > 1 else []
        if not any(self.best_epochs):
            notes.append("no held-out rows in this fit")
        elif self.validation_histories != self.histories:
            notes.append("held-out rows: of a first fit; training rows: of the second, on all rows")
        if self._later_phases():
            notes.append("dotted: the next order of terms begins")
        # What is there already was said of other curves.
        notes = list(map(self._named, notes))
        notes = [*filter(None, [ax.get_title(loc="left")]), *notes]
        if notes:
            quiet = inks_of(ax.figure).quiet
            ax.set_title("\n".join(notes), loc="left", fontsize="small", color=quiet, **PLAIN)
        legend = ax.legend(fontsize="small", frameon=False, labelcolor=inks_of(ax).text)
        for said in legend.get_texts():
            said.set(**PLAIN)


def _free_colors(ax: Axes) -> tuple[str, str]:
    """Return the first pair of colours that no line has, or else the last."""
    taken = {line.get_color() for line in ax.lines}
    return next((pair for pair in COLORS if taken.isdisjoint(pair)), COLORS[-1])


def merged_epochs(
    history: Sequence[Mapping[str, Any]], validation: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the epochs of a fit, with the held-out losses of the fit that had held-out rows."""
    merged = []
    none: Mapping[str, Any] = {}
    for epoch, held in zip_longest(history, validation, fillvalue=none):
        sources = {"phase": epoch or held, "train_loss": epoch, "valid_loss": held, "lr": epoch}
        merged.append({key: source[key] for key, source in sources.items() if key in source})
    return merged


def _copied(histories: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[dict[str, Any]]]:
    return [[dict(epoch) for epoch in history] for history in histories]


def _best_epoch(history: Sequence[Mapping[str, Any]]) -> int | None:
    if not history:
        return None
    last = history[-1].get("phase")
    losses = [
        epoch.get("valid_loss", np.nan) if epoch.get("phase") == last else np.nan
        for epoch in history
    ]
    return None if np.isnan(losses).all() else int(np.nanargmin(losses)) + 1


def _draw_rate(ax: Axes, history: Sequence[Mapping[str, Any]]) -> Axes:
    rates, faint, quiet = ax.twinx(), inks_of(ax).faint, inks_of(ax.figure).quiet
    numbers = [epoch.get("lr", np.nan) for epoch in history]
    rates.plot(range(1, len(numbers) + 1), numbers, "-.", color=faint, linewidth=1.0)
    # For the legend, which the axes of the losses draw.
    ax.plot([], [], "-.", color=faint, linewidth=1.0, label="learning rate")
    rates.spines[["top", "left", "bottom"]].set_visible(False)
    rates.set_ylabel("learning rate", color=quiet)
    rates.set_yscale("log")
    rates.tick_params(axis="y", which="both", colors=quiet, labelsize="small")
    rates.spines["right"].set_color(faint)
    return rates
