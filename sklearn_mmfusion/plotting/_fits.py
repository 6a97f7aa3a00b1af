"""The relevance of terms over one fit or several, which more than one picture shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._explanations import GlobalExplanation
from sklearn_mmfusion._fitting.warnings import not_shown_to_learn
from sklearn_mmfusion._inputs.unwrap import unwrap
from sklearn_mmfusion._rows.resampling import corrected_interval

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RelevanceOfFits", "fits_of", "modalities_of", "pandas_or_say", "refuse_estimator"]


def pandas_or_say(name: str, instead: str) -> Any:
    """Return the module pandas, or say what to install."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            f"{name}.frame needs pandas; install the extra 'frames' of sklearn-mmfusion, or use "
            f"{instead}."
        ) from error
    return pd


def refuse_estimator(display: Any, value: Any, made_by: str = "from_estimator") -> None:
    """Refuse an estimator in the place of numbers, and say which method takes it."""
    if hasattr(value, "fit"):
        name = type(display).__name__
        raise InputTypeError(
            f"{name} takes numbers, got the estimator {type(value).__name__}; draw it with "
            f"{name}.{made_by}"
        )


def fits_of(cv_results: Mapping[str, Any] | Iterable[Any]) -> list[Any]:
    """Return the fitted estimators of a cross-validation.

    Raises
    ------
    InputError
        If there are none.
    InputTypeError
        If there are results of several cross-validations.
    """
    if isinstance(cv_results, Mapping):
        if "estimator" not in cv_results:
            raise InputError(
                f"cv_results has no 'estimator', but {sorted(cv_results)}; "
                "call cross_validate with return_estimator=True."
            )
        cv_results = cv_results["estimator"]
    fits = list(cv_results)
    if not fits:
        raise InputError("cv_results holds no estimators; expected at least one.")
    if any(isinstance(fit, Mapping) for fit in fits):
        raise InputTypeError(
            "cv_results: expected what one cross_validate returned, or estimators, got several "
            "results; pass [fit for found in results for fit in found['estimator']]"
        )
    return fits


def modalities_of(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the modalities of each term of some result, by the names where they are not listed."""
    modalities = data.get("term_modalities")
    if modalities is None:
        return [tuple(str(name).split(" x ")) for name in data["term_names"]]
    return [tuple(term) for term in modalities]


class RelevanceOfFits:
    """Relevance of each term, one row per fit: mean, interval, table."""

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
    ) -> None:
        refuse_estimator(self, relevance, "from_estimator(estimator)")
        if term_names is None or term_modalities is None:
            raise InputTypeError(
                f"{type(self).__name__} needs term_names and term_modalities beside the numbers: "
                "name each term and its modalities"
            )
        self.relevance = np.atleast_2d(np.asarray(relevance, dtype=np.float64))
        self.term_names = list(term_names)
        self.term_modalities = [tuple(modalities) for modalities in term_modalities]
        self.test_ratio = test_ratio
        self.unlearned = unlearned
        self.assumed_folds = assumed_folds
        self.quantity = quantity
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
    def shown(self) -> np.ndarray:
        """What the bars show."""
        return self.mean

    @property
    def interval(self) -> np.ndarray | None:
        """Interval of the mean over the fits, or None with one fit."""
        if len(self.relevance) == 1:
            return None
        # The bounds of Student's interval know nothing of the bounds of a share. Rounding may put
        # a relevance itself just above 1.
        largest = self.relevance.max()
        upper = max(largest, 1.0) if largest <= 1.0 + 1e-9 else np.inf
        return np.clip(corrected_interval(self.relevance, self.test_ratio), 0.0, upper)

    @classmethod
    def from_explanation(cls, explanation: GlobalExplanation) -> Self:
        """Return the display of an explanation of a data set, not yet drawn.

        Parameters
        ----------
        explanation : GlobalExplanation
            What ``explain_global`` returned. It is drawn by its relevance, or, of a model without
            relevance scores, by the shares of standard deviation.

        Returns
        -------
        display : Display
            The display; call ``plot``.
        """
        data = explanation.data
        key = "relevance" if data.get("relevance") is not None else "std_share"
        if data.get(key) is None:
            raise InputError("the explanation has neither relevance nor std_share; nothing to draw")
        return cls(
            data[key],
            term_names=data["term_names"],
            term_modalities=modalities_of(data),
            quantity=key if key == "relevance" else "share of standard deviation",
        )

    @classmethod
    def _from_cv(
        cls, cv_results: Mapping[str, Any] | Iterable[Any], test_ratio: float | None
    ) -> Self:
        fits = fits_of(cv_results)
        if test_ratio is None and isinstance(cv_results, Mapping) and "indices" in cv_results:
            train, test = cv_results["indices"]["train"], cv_results["indices"]["test"]
            test_ratio = sum(map(len, test)) / sum(map(len, train))
        assumed_folds = None
        if test_ratio is None:
            test_ratio, assumed_folds = 1 / max(len(fits) - 1, 1), len(fits)
        return cls._from_fits(fits, test_ratio, assumed_folds)

    @classmethod
    def _from_fits(
        cls, fits: Sequence[Any], test_ratio: float = 0.0, assumed_folds: int | None = None
    ) -> Self:
        fits = [unwrap(fit, attribute="relevance_scores_")[0] for fit in fits]
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
            unlearned=sum(map(not_shown_to_learn, fits)),
            assumed_folds=assumed_folds,
        )

    def _with_terms(
        self, term_names: Sequence[str], term_modalities: Sequence[Any], order: Any = slice(None)
    ) -> Self:
        """Return the same fits with their terms in another order, and then named anew."""
        return type(self)(
            self.relevance[:, order],
            term_names=term_names,
            term_modalities=term_modalities,
            test_ratio=self.test_ratio,
            unlearned=self.unlearned,
            assumed_folds=self.assumed_folds,
            quantity=self.quantity,
        )

    def _notes_on_fits(self) -> list[str]:
        """Say what the interval rests on, and what the fits have learned."""
        notes, n_fits = [], len(self.relevance)
        if n_fits > 1 and self.assumed_folds:
            notes.append(f"interval: as of {self.assumed_folds}-fold cross-validation")
        if self.unlearned:
            notes.append(f"{self.unlearned} of {n_fits} fits not shown to beat a constant")
        return notes

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
        pd = pandas_or_say(type(self).__name__, ".relevance and .mean")
        columns = {
            "order": [len(modalities) for modalities in self.term_modalities],
            "relevance": self.shown,
        }
        if (interval := self.interval) is not None:
            columns["std"] = self.relevance.std(axis=0, ddof=1)
            columns["lower"], columns["upper"] = interval.T
        return pd.DataFrame(columns, index=pd.Index(self.term_names, name="term"))
