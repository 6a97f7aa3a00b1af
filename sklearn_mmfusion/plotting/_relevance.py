"""The picture of relevance: one bar per term, over one fit or over the fits of all folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._relevance.results import RelevanceIntervals
from sklearn_mmfusion.plotting._bars import (
    draw_bars,
    draw_frame,
    draw_marks,
    draw_spread,
    height_of,
    new_axes,
    places_of,
    refuse_drawn,
    write_values,
)
from sklearn_mmfusion.plotting._fits import RelevanceOfFits, modalities_of
from sklearn_mmfusion.plotting._labels import hidden_terms, wrapped

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["RelevanceDisplay"]


class RelevanceDisplay(RelevanceOfFits):
    r"""Bars of the relevance of each term, coloured by the order of the interaction.

    Make one with :meth:`from_estimator` for one fit, with :meth:`from_cv_results` for the fits of
    a cross-validation, or with :meth:`from_intervals` for refits: these show how far the relevance
    can be trusted. Each fit is a dot, and a line spans the interval.

    Parameters
    ----------
    relevance : array-like of shape (n_terms,) or (n_fits, n_terms)
        Relevance of each term, one row per fit. No unit; non-negative.
    term_names : sequence of str, length n_terms
        Name of each term, for example ``"text x audio"``.
    term_modalities : sequence of tuple of str, length n_terms
        Modalities that each term is made of; their number is the order, which sets the colour.
    test_ratio : float, default=0
        Rows of a test part divided by rows of its training part. It widens the interval, because
        fits that share training rows are not independent; 0 stands for independent fits.
    unlearned : int, default=0
        How many of the fits are not shown to be better than a constant, their gain on held-out
        rows being at most two standard errors. A note in the figure says so.
    assumed_folds : int, default=None
        Number of folds of the cross-validation that `test_ratio` was guessed from; a note in the
        figure says so. None where it is known.
    quantity : str, default="relevance"
        What the numbers are, for the axis.
    intervals : RelevanceIntervals, default=None
        Where the fits are refits: the relevance of the fit to all rows, which the bars show in
        place of the mean, its interval, and the null of interactions, which a mark shows.

    Attributes
    ----------
    relevance : ndarray of shape (n_fits, n_terms)
        What was given, with one row per fit.
    mean : ndarray of shape (n_terms,)
        Mean over the fits.
    shown : ndarray of shape (n_terms,)
        What the bars show: the mean, or with ``intervals`` the relevance of the fit to all rows.
    interval : ndarray of shape (n_terms, 2) or None
        Lower and upper end of the 95 % interval of the mean, None with a single fit; with
        ``intervals`` that of theirs.
    ax_ : matplotlib Axes
        Where the figure was drawn; after :meth:`plot`.
    figure_ : matplotlib Figure
        The figure that holds ``ax_``; after :meth:`plot`.

    Raises
    ------
    InputError
        If the shapes of the arguments differ, or a relevance is not finite.
    InputTypeError
        If names of the terms are lacking, or an estimator stands in the place of numbers.

    See Also
    --------
    RelevanceDisplay.from_estimator : Bars of one fit.
    RelevanceDisplay.from_cv_results : Mean and interval over the fits of all folds.
    RelevanceDisplay.from_intervals : Interval and null from refits.

    Notes
    -----
    The interval over folds is Student's, with the variance that Nadeau and Bengio correct for
    training sets that overlap [1]_: over :math:`k` fits with standard deviation :math:`s` and test
    ratio :math:`r`, :math:`\bar\beta \pm t_{k-1} \, s \sqrt{1/k + r}`, cut off at 0 and at 1,
    which no relevance score exceeds; where values above 1 are given, at 0 alone. It speaks of the
    variation between training sets, not of whether the model is right.

    References
    ----------
    .. [1] Nadeau and Bengio (2003), Inference for the generalization error,
       Machine Learning 52.

    Examples
    --------
    >>> from sklearn_mmfusion.plotting import RelevanceDisplay
    >>> display = RelevanceDisplay(
    ...     [[0.7, 0.1, 0.2], [0.6, 0.2, 0.2]],
    ...     term_names=["text", "audio", "text x audio"],
    ...     term_modalities=[("text",), ("audio",), ("text", "audio")],
    ... )
    >>> display.mean
    array([0.65, 0.15, 0.2 ])
    """

    def __init__(
        self,
        relevance: Any,
        *,
        term_names: Sequence[str] | None = None,
        term_modalities: Sequence[tuple[str, ...]] | None = None,
        test_ratio: float = 0.0,
        unlearned: int = 0,
        assumed_folds: int | None = None,
        quantity: str = "relevance",
        intervals: RelevanceIntervals | None = None,
    ) -> None:
        super().__init__(
            relevance,
            term_names=term_names,
            term_modalities=term_modalities,
            test_ratio=test_ratio,
            unlearned=unlearned,
            assumed_folds=assumed_folds,
            quantity=quantity,
        )
        self.intervals = intervals

    @property
    def shown(self) -> np.ndarray:
        """What the bars show."""
        return self.mean if self.intervals is None else np.asarray(self.intervals.estimate)

    @property
    def interval(self) -> np.ndarray | None:
        """Interval of what the bars show, or None with one fit."""
        return super().interval if self.intervals is None else self.intervals.interval

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: Axes | None = None,
        max_terms: int | None = None,
        sort: bool = True,
    ) -> Self:
        """Draw the relevance of one fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            An estimator with ``relevance_scores_``, or a Pipeline or a search that ends in one.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure of fitting height.
        max_terms : int, default=None
            Draw this many of the most relevant terms; None draws all.
        sort : bool, default=True
            Most relevant on top; False keeps the order of the terms.

        Returns
        -------
        display : RelevanceDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        InputTypeError
            If there is no ``relevance_scores_``.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        return cls._from_fits([estimator]).plot(ax, max_terms=max_terms, sort=sort)

    @classmethod
    def from_cv_results(
        cls,
        cv_results: Mapping[str, Any] | Iterable[Any],
        *,
        test_ratio: float | None = None,
        ax: Axes | None = None,
        max_terms: int | None = None,
        sort: bool = True,
    ) -> Self:
        """Draw the mean relevance over the fits of a cross-validation, with its interval.

        Parameters
        ----------
        cv_results : mapping or iterable of fitted estimators
            What ``cross_validate(..., return_estimator=True)`` returns, or the estimators.
        test_ratio : float, default=None
            Rows of a test part divided by rows of its training part. None reads it from
            ``return_indices=True`` when that was asked for, else takes the fits for those of
            one k-fold cross-validation, 1 / (k - 1), and says so in the figure: of a repeated one
            the interval would be too narrow. Use 0 for fits on independent data.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure of fitting height.
        max_terms : int, default=None
            Draw this many of the most relevant terms; None draws all.
        sort : bool, default=True
            Most relevant on top; False keeps the order of the terms.

        Returns
        -------
        display : RelevanceDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        InputError
            If the mapping holds no estimators, or the fits have different terms.
        """
        return cls._from_cv(cv_results, test_ratio).plot(ax, max_terms=max_terms, sort=sort)

    @classmethod
    def from_intervals(
        cls,
        intervals: RelevanceIntervals,
        *,
        ax: Axes | None = None,
        max_terms: int | None = None,
        sort: bool = True,
    ) -> Self:
        """Draw relevance with the intervals, and the nulls of interactions, of refits.

        Parameters
        ----------
        intervals : RelevanceIntervals
            What :func:`~sklearn_mmfusion.relevance_intervals` returned. A bar is the relevance of
            the fit to all rows, a dot that of a refit, a line the interval; a dashed line is the
            null of an interaction, which one without effect hardly ever exceeds.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure of fitting height.
        max_terms : int, default=None
            Draw this many of the most relevant terms; None draws all.
        sort : bool, default=True
            Most relevant on top; False keeps the order of the terms.

        Returns
        -------
        display : RelevanceDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        InputTypeError
            If ``intervals`` is something else.
        """
        if not isinstance(intervals, RelevanceIntervals):
            raise InputTypeError(
                "from_intervals takes what relevance_intervals(estimator, X, y) returns, got "
                f"{type(intervals).__name__}"
            )
        display = cls(
            intervals.scores,
            term_names=intervals.term_names,
            term_modalities=modalities_of(intervals.data),
            intervals=intervals,
        )
        return display.plot(ax, max_terms=max_terms, sort=sort)

    def frame(self) -> pd.DataFrame:
        """Return the numbers behind the bars.

        Returns
        -------
        frame : pandas.DataFrame
            Indexed by term, in the order of the terms: ``order``, ``relevance``; over several fits
            also ``std`` (between fits), ``lower`` and ``upper`` (ends of the interval); with a null
            also ``null``, NaN for single modalities.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        frame = super().frame()
        null = self._null_quantile
        return frame if null is None else frame.assign(null=null)

    def plot(
        self, ax: Axes | None = None, *, max_terms: int | None = None, sort: bool = True
    ) -> Self:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure of fitting height.
        max_terms : int, default=None
            Draw this many of the most relevant terms; None draws all.
        sort : bool, default=True
            Most relevant on top; False keeps the order of the terms.

        Returns
        -------
        display : RelevanceDisplay
            Itself, with ``ax_`` and ``figure_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        InputError
            If ``max_terms`` is below 1, or ``ax`` holds bars, dots or cells already.
        """
        shown = self._terms_to_draw(max_terms, sort)
        labels = [wrapped(self.term_names[term]) for term in shown]
        if ax is None:
            ax = new_axes(n_lines=height_of(labels))
        refuse_drawn(ax)
        self.ax_, self.figure_ = ax, ax.figure

        values, interval, places = self.shown[shown], self.interval, places_of(labels)
        draw_bars(ax, places, values, [len(self.term_modalities[term]) for term in shown])
        right_ends = values
        if interval is not None:
            right_ends = draw_spread(ax, places, self.relevance[:, shown], interval[shown])
        if (null_quantile := self._null_quantile) is not None:
            null = null_quantile[shown]
            draw_marks(ax, places, null)
            right_ends = np.fmax(right_ends, null)
        write_values(ax, places, values, right_ends)
        quantity = self.quantity
        if interval is not None and self.intervals is None:
            quantity += ", mean over fits"
        draw_frame(ax, labels, quantity, self._notes(shown))
        return self

    def _terms_to_draw(self, max_terms: int | None, sort: bool) -> np.ndarray:
        if max_terms is not None and max_terms < 1:
            raise InputError(f"max_terms is {max_terms}; expected at least 1, or None for all.")
        ranked = np.argsort(-self.shown, kind="stable")[:max_terms]
        return ranked if sort else np.sort(ranked)

    @property
    def _null_quantile(self) -> np.ndarray | None:
        if self.intervals is None or self.intervals.null_scores is None:
            return None
        return np.asarray(self.intervals.null_quantile)

    def _notes(self, shown: np.ndarray) -> list[str]:
        notes, n_fits = [], len(self.relevance)
        # Short lines: the legend stands beside them.
        if self.intervals is not None:
            share = f"{100 * self.intervals.confidence:g} % interval"
            notes += [f"dots: {n_fits} refits", f"line: {share}"]
            notes += ["dashed: null"] * (self._null_quantile is not None)
        elif n_fits > 1:
            notes += [f"dots: {n_fits} fits", "line: 95 % interval of the mean"]
        hidden = np.delete(self.shown, shown)
        if len(hidden):
            notes.append(hidden_terms(hidden))
        return notes + self._notes_on_fits()
