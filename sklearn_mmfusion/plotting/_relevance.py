"""The picture of relevance: one bar per term, over one fit or over the fits of all folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.plotting._bars import (
    draw_bars,
    draw_frame,
    draw_spread,
    height_of,
    new_axes,
    places_of,
    refuse_drawn,
    write_values,
)
from sklearn_mmfusion.plotting._fits import RelevanceOfFits
from sklearn_mmfusion.plotting._labels import hidden_terms, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RelevanceDisplay"]


class RelevanceDisplay(RelevanceOfFits):
    r"""Bars of the relevance of each term, coloured by the order of the interaction.

    Make one with :meth:`from_estimator` for one fit, or with :meth:`from_cv_results` for the fits
    of a cross-validation, which shows how far the relevance can be trusted: each fit is a dot, and
    a line spans the interval of the mean.

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

    Attributes
    ----------
    relevance : ndarray of shape (n_fits, n_terms)
        What was given, with one row per fit.
    mean : ndarray of shape (n_terms,)
        Mean over the fits.
    interval : ndarray of shape (n_terms, 2) or None
        Lower and upper end of the 95 % interval of the mean; None with a single fit.
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

    Notes
    -----
    The interval is Student's, with the variance that Nadeau and Bengio correct for training sets
    that overlap [1]_: over :math:`k` fits with standard deviation :math:`s` and test ratio
    :math:`r`, :math:`\bar\beta \pm t_{k-1} \, s \sqrt{1/k + r}`, cut off at 0 and at 1, which no
    relevance score exceeds; where values above 1 are given, at 0 alone. It speaks of the variation
    between training sets, not of whether the model is right.

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

        values, interval, places = self.mean[shown], self.interval, places_of(labels)
        draw_bars(ax, places, values, [len(self.term_modalities[term]) for term in shown])
        right_ends = values
        if interval is not None:
            right_ends = draw_spread(ax, places, self.relevance[:, shown], interval[shown])
        write_values(ax, places, values, right_ends)
        quantity = self.quantity if interval is None else f"{self.quantity}, mean over fits"
        draw_frame(ax, labels, quantity, self._notes(shown))
        return self

    def _terms_to_draw(self, max_terms: int | None, sort: bool) -> np.ndarray:
        if max_terms is not None and max_terms < 1:
            raise InputError(f"max_terms is {max_terms}; expected at least 1, or None for all.")
        ranked = np.argsort(-self.mean, kind="stable")[:max_terms]
        return ranked if sort else np.sort(ranked)

    def _notes(self, shown: np.ndarray) -> list[str]:
        notes, n_fits = [], len(self.relevance)
        if n_fits > 1:
            # Short lines: the legend stands beside them.
            notes += [f"dots: {n_fits} fits", "line: 95 % interval of the mean"]
        hidden = np.delete(self.mean, shown)
        if len(hidden):
            notes.append(hidden_terms(hidden))
        return notes + self._notes_on_fits()
