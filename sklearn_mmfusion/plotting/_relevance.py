"""The picture of relevance: one bar per term, over one fit or over the fits of all folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy import stats
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion.plotting._bars import (
    draw_bars,
    draw_frame,
    draw_spread,
    new_axes,
    wrapped,
    write_values,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["RelevanceDisplay"]

CONFIDENCE = 0.95


class RelevanceDisplay:
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
        How many of the fits do no better than the prior. A note in the figure says so.

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

    See Also
    --------
    RelevanceDisplay.from_estimator : Bars of one fit.
    RelevanceDisplay.from_cv_results : Mean and interval over the fits of all folds.

    Notes
    -----
    The interval is Student's, with the variance that Nadeau and Bengio correct for training sets
    that overlap [1]_: over :math:`k` fits with standard deviation :math:`s` and test ratio
    :math:`r`, :math:`\bar\beta \pm t_{k-1} \, s \sqrt{1/k + r}`, cut off at 0. It speaks of
    the variation between training sets, not of whether the model is right.

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
        term_names: Sequence[str],
        term_modalities: Sequence[tuple[str, ...]],
        test_ratio: float = 0.0,
        unlearned: int = 0,
    ) -> None:
        self.relevance = np.atleast_2d(np.asarray(relevance, dtype=np.float64))
        self.term_names = list(term_names)
        self.term_modalities = [tuple(modalities) for modalities in term_modalities]
        self.test_ratio = test_ratio
        self.unlearned = unlearned
        n_terms = len(self.term_names)
        if self.relevance.shape[1:] != (n_terms,) or len(self.term_modalities) != n_terms:
            raise InputError(
                f"relevance has shape {self.relevance.shape}, for {n_terms} term_names and "
                f"{len(self.term_modalities)} term_modalities; give one of each per term."
            )
        if not np.isfinite(self.relevance).all():
            raise InputError("relevance holds NaN or infinite values; expected finite numbers.")

    @property
    def mean(self) -> np.ndarray:
        """Mean relevance over the fits."""
        return self.relevance.mean(axis=0)

    @property
    def interval(self) -> np.ndarray | None:
        """Interval of the mean over the fits, or None with one fit."""
        n_fits = len(self.relevance)
        if n_fits == 1:
            return None
        quantile = stats.t.ppf((1 + CONFIDENCE) / 2, n_fits - 1)
        deviation = self.relevance.std(axis=0, ddof=1)
        half = quantile * deviation * np.sqrt(1 / n_fits + self.test_ratio)
        return np.column_stack([np.maximum(self.mean - half, 0.0), self.mean + half])

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
            k-fold cross-validation: 1 / (k - 1). Use 0 for fits on independent data.
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
        if isinstance(cv_results, Mapping):
            if "estimator" not in cv_results:
                raise InputError(
                    f"cv_results has no 'estimator', but {sorted(cv_results)}; "
                    "call cross_validate with return_estimator=True."
                )
            if test_ratio is None and "indices" in cv_results:
                train, test = cv_results["indices"]["train"], cv_results["indices"]["test"]
                test_ratio = sum(map(len, test)) / sum(map(len, train))
            cv_results = cv_results["estimator"]
        fits = list(cv_results)
        if not fits:
            raise InputError("cv_results holds no estimators; expected at least one.")
        if test_ratio is None:
            test_ratio = 1 / max(len(fits) - 1, 1)
        return cls._from_fits(fits, test_ratio).plot(ax, max_terms=max_terms, sort=sort)

    @classmethod
    def _from_fits(cls, fits: Sequence[Any], test_ratio: float = 0.0) -> Self:
        fits = [_fusion_estimator(fit) for fit in fits]
        names = list(fits[0].relevance_scores_)
        for fit in fits:
            if set(fit.relevance_scores_) != set(names):
                raise InputError(
                    f"The fits have different terms, {names} and {list(fit.relevance_scores_)}; "
                    "their relevance can't be averaged."
                )
        modalities = dict(zip(fits[0].term_names_, fits[0].term_modalities_, strict=True))
        return cls(
            [[fit.relevance_scores_[name] for name in names] for fit in fits],
            term_names=names,
            term_modalities=[modalities[name] for name in names],
            test_ratio=test_ratio,
            unlearned=sum(getattr(fit, "validation_gain_", np.inf) <= 0 for fit in fits),
        )

    def frame(self) -> pd.DataFrame:
        """Return the numbers behind the bars.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_terms, 2) or (n_terms, 5)
            Indexed by term, in the order of the terms: ``order``, ``relevance``; over several fits
            also ``std`` (between fits), ``lower`` and ``upper`` (95 % interval of the mean).

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "RelevanceDisplay.frame needs pandas; install it, or use .relevance and .mean."
            ) from error
        columns = {
            "order": [len(modalities) for modalities in self.term_modalities],
            "relevance": self.mean,
        }
        if (interval := self.interval) is not None:
            columns["std"] = self.relevance.std(axis=0, ddof=1)
            columns["lower"], columns["upper"] = interval.T
        return pd.DataFrame(columns, index=pd.Index(self.term_names, name="term"))

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
            If ``max_terms`` is below 1.
        """
        shown = self._terms_to_draw(max_terms, sort)
        labels = [wrapped(self.term_names[term]) for term in shown]
        if ax is None:
            ax = new_axes(n_lines=sum(label.count("\n") + 1 for label in labels))
        self.ax_, self.figure_ = ax, ax.figure

        values, interval = self.mean[shown], self.interval
        draw_bars(ax, values, [len(self.term_modalities[term]) for term in shown])
        right_ends = values
        if interval is not None:
            right_ends = draw_spread(ax, self.relevance[:, shown], interval[shown])
        write_values(ax, values, right_ends)
        quantity = "relevance" if interval is None else "relevance, mean over fits"
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
            notes.append(f"dots: {n_fits} fits; line: 95 % interval of the mean")
        hidden = np.delete(self.mean, shown)
        if len(hidden):
            notes.append(f"{len(hidden)} more terms, each at most {hidden.max():.2f}")
        if self.unlearned:
            notes.append(f"{self.unlearned} of {n_fits} fits did no better than the prior")
        return notes


def _fusion_estimator(estimator: Any) -> Any:
    """Return the fitted fusion estimator inside searches and pipelines."""
    while not hasattr(estimator, "relevance_scores_"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        else:
            if hasattr(estimator, "fit"):
                check_is_fitted(estimator)
            raise InputTypeError(
                f"{type(estimator).__name__} has no relevance_scores_; expected a fitted estimator "
                "of this package, or a Pipeline or search that ends in one."
            )
    return estimator
