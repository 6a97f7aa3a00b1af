"""Refit with the terms that matter."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._rows.groups import groups_for

__all__ = ["SweptTerms"]


class SweptTerms:
    """For estimators that score their terms, and can be fitted with some of them."""

    term_modalities_: list[tuple[str, ...]]
    relevance_scores_: dict[str, float]

    def sweep(
        self,
        X: Any,
        y: Any,
        *,
        threshold: float = 0.01,
        sample_weight: Any = None,
        groups: Any = None,
    ) -> Self:
        """Return a new fit without the terms whose relevance is below a threshold.

        The fit itself stays as it is. A smaller model of the terms that are left is trained from
        the start, where ``remove_terms``, of the estimators that have it, only takes terms
        out. Relevance that rows have chosen is too high on these rows: judge the swept model on
        others.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Training rows, in any form that ``fit`` takes. Modalities without a term of their
            own or in an interaction are still expected, here and in ``predict``, but play no
            part; give ``modalities`` to do without them.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target.
        threshold : float, default=0.01
            Smallest relevance of a term that stays, at least 0.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows.
        groups : array-like of shape (n_samples,), default=None
            Labels of rows that belong together, as for ``fit``.

        Returns
        -------
        estimator : object
            A fitted estimator of the same parameters. A new ``fit`` of it brings all terms back.

        Raises
        ------
        InputError
            If no term has that relevance, or the threshold is no number of at least 0.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        if not isinstance(threshold, Real) or isinstance(threshold, bool) or not threshold >= 0:
            raise InputError(f"threshold is {threshold!r}; expected a number of at least 0")
        scores = list(self.relevance_scores_.values())
        kept = [
            frozenset(term)
            for term, score in zip(self.term_modalities_, scores, strict=True)
            if score >= threshold
        ]
        if not kept:
            raise InputError(
                f"threshold is {threshold}, and the largest relevance {max(scores):.3g}; no term "
                "would be left"
            )
        swept: Any = clone(self)
        swept._only_terms = frozenset(kept)
        try:
            swept.fit(X, y, sample_weight=sample_weight, **groups_for(swept, groups))
        finally:
            del swept._only_terms
        return swept
