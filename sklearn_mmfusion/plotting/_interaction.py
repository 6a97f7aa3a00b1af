"""The picture of interactions: modalities on a circle, pairs as edges, higher orders as sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.plotting._bars import refuse_drawn
from sklearn_mmfusion.plotting._circle import Circle
from sklearn_mmfusion.plotting._fits import RelevanceOfFits
from sklearn_mmfusion.plotting._labels import hidden_terms

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["InteractionDisplay"]


class InteractionDisplay(RelevanceOfFits):
    r"""Modalities on a circle, joined by the interactions that the model uses.

    The area of a disc is the relevance of the modality alone, the width of a line that of a pair,
    both on one scale. Interactions of three modalities and more are outlined sets with a letter,
    which the legend names. Make one with :meth:`from_estimator` for one fit, or with
    :meth:`from_cv_results` for the fits of a cross-validation.

    Parameters
    ----------
    relevance : array-like of shape (n_terms,) or (n_fits, n_terms)
        Relevance of each term, one row per fit. No unit; non-negative.
    term_names : sequence of str, length n_terms
        Name of each term, for example ``"text x audio"``.
    term_modalities : sequence of tuple of str, length n_terms
        Modalities that each term is made of.
    test_ratio : float, default=0
        Rows of a test part divided by rows of its training part, for the interval; 0 stands for
        independent fits.
    unlearned : int, default=0
        How many of the fits are not shown to be better than a constant, their gain on held-out
        rows being at most two standard errors. A note in the figure says so.
    assumed_folds : int, default=None
        Number of folds of the cross-validation that `test_ratio` was guessed from; a note in the
        figure says so. None where it is known.
    quantity : str, default="relevance"
        What the numbers are, for the note.

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
    RelevanceDisplay : The same numbers as bars, with every fit; its notes define the interval.

    Notes
    -----
    Over several fits, a line is dashed and pale, and an outline dashed, where the interval of
    the mean reaches 0. The eight most relevant pairs have their number beside the line, in small
    axes only where it covers no other; :meth:`frame` has them all.

    Examples
    --------
    >>> from sklearn_mmfusion.plotting import InteractionDisplay
    >>> display = InteractionDisplay(
    ...     [0.6, 0.1, 0.3],
    ...     term_names=["text", "audio", "text x audio"],
    ...     term_modalities=[("text",), ("audio",), ("text", "audio")],
    ... )
    >>> display.modality_names
    ['text', 'audio']
    """

    @property
    def modality_names(self) -> list[str]:
        """Modalities in the order of the terms."""
        return list(dict.fromkeys(name for term in self.term_modalities for name in term))

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: Axes | None = None,
        max_pairs: int | None = 15,
        max_sets: int = 5,
    ) -> Self:
        """Draw the interactions of one fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            An estimator with ``relevance_scores_``, or a Pipeline or a search that ends in one.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        max_pairs : int, default=15
            Draw this many of the most relevant pairs; None draws all.
        max_sets : int, default=5
            Draw this many of the most relevant interactions of three modalities and more.

        Returns
        -------
        display : InteractionDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        InputTypeError
            If there is no ``relevance_scores_``.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        return cls._from_fits([estimator]).plot(ax, max_pairs=max_pairs, max_sets=max_sets)

    @classmethod
    def from_cv_results(
        cls,
        cv_results: Mapping[str, Any] | Iterable[Any],
        *,
        test_ratio: float | None = None,
        ax: Axes | None = None,
        max_pairs: int | None = 15,
        max_sets: int = 5,
    ) -> Self:
        """Draw the mean over the fits of a cross-validation.

        Parameters
        ----------
        cv_results : mapping or iterable of fitted estimators
            What ``cross_validate(..., return_estimator=True)`` returns, or the estimators.
        test_ratio : float, default=None
            As in :meth:`RelevanceDisplay.from_cv_results`.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        max_pairs : int, default=15
            Draw this many of the most relevant pairs; None draws all.
        max_sets : int, default=5
            Draw this many of the most relevant interactions of three modalities and more.

        Returns
        -------
        display : InteractionDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        InputError
            If the mapping holds no estimators, or the fits have different terms.
        """
        display = cls._from_cv(cv_results, test_ratio)
        return display.plot(ax, max_pairs=max_pairs, max_sets=max_sets)

    def plot(
        self, ax: Axes | None = None, *, max_pairs: int | None = 15, max_sets: int = 5
    ) -> Self:
        """Draw the circle.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        max_pairs : int, default=15
            Draw this many of the most relevant pairs; None draws all.
        max_sets : int, default=5
            Draw this many of the most relevant interactions of three modalities and more; at
            most 5.

        Returns
        -------
        display : InteractionDisplay
            Itself, with ``ax_`` and ``figure_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        InputError
            If ``max_pairs`` is below 0, ``max_sets`` is not from 0 to 5, or ``ax`` holds bars,
            dots or cells already.
        """
        if max_pairs is not None and max_pairs < 0:
            raise InputError(f"max_pairs is {max_pairs}; expected at least 0, or None for all.")
        if not 0 <= max_sets <= 5:
            raise InputError(f"max_sets is {max_sets}; expected 0 to 5.")
        orders = np.array([len(term) for term in self.term_modalities])
        pairs = self._largest(orders == 2, max_pairs)
        sets = self._largest(orders > 2, max_sets)
        outlined = [self._drawn(t) for t in sets]
        circle = Circle(self.modality_names, float(self.mean.max()), outlined)
        notes = self._notes([*np.flatnonzero(orders == 1), *pairs, *sets])
        if ax is None:
            ax = circle.new_axes(len(notes))
        else:
            refuse_drawn(ax)
            circle.fit_into(ax)
        self.ax_, self.figure_ = ax, ax.figure
        alone = {self.term_modalities[t][0]: self.mean[t] for t in np.flatnonzero(orders == 1)}
        circle.draw_sets(ax)
        circle.draw_pairs(ax, [self._drawn(t) for t in pairs])
        circle.draw_modalities(ax, alone)
        circle.finish(ax, notes)
        return self

    def _largest(self, among: np.ndarray, count: int | None) -> list[int]:
        """Return the most relevant of some terms, without those that have no relevance at all."""
        terms = [int(t) for t in np.flatnonzero(among) if self.mean[t] > 0]
        return sorted(terms, key=lambda t: -self.mean[t])[:count]

    def _drawn(self, term: int) -> tuple[tuple[str, ...], float, bool]:
        """Return modalities, mean, and whether the interval stays above 0."""
        is_certain = self.interval is None or bool(self.interval[term, 0] > 0)
        return self.term_modalities[term], float(self.mean[term]), is_certain

    def _notes(self, shown: list[Any]) -> list[str]:
        n_fits = len(self.relevance)
        over = self.quantity if n_fits == 1 else f"mean {self.quantity} over {n_fits} fits"
        notes = [f"area of discs, width of lines: {over}"]
        if n_fits > 1:
            notes.append("dashed: 95 % interval of the mean reaches 0")
        hidden = np.delete(self.mean, shown)
        if (hidden > 0).any():
            notes.append(hidden_terms(hidden[hidden > 0]))
        if (hidden <= 0).any():
            n_zero = int((hidden <= 0).sum())
            notes.append(f"{n_zero} interaction{'s' * (n_zero > 1)} with {self.quantity} 0")
        return notes + self._notes_on_fits()
