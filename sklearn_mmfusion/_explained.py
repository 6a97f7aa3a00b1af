"""What every estimator whose output is a sum over terms says about itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._explanations import GlobalExplanation, LocalExplanation
from sklearn_mmfusion._inputs.schema import InputSchema
from sklearn_mmfusion._inputs.validation import TargetSchema, check_X
from sklearn_mmfusion._inputs.validation_targets import check_shown_target
from sklearn_mmfusion._rows.moments import (
    ContributionMoments,
    contribution_moments,
    std_shares,
)
from sklearn_mmfusion.data._row_labels import row_labels

__all__ = ["ExplainedTerms"]

Floats = npt.NDArray[np.float64]


class ExplainedTerms:
    """Explanations, for estimators that have contributions, an intercept and names of terms."""

    modalities: Any
    missing: str
    _schema: InputSchema
    _target: TargetSchema
    modality_names_: list[str]
    term_names_: list[str]
    term_modalities_: list[tuple[str, ...]]
    intercept_: Floats
    contribution_std_: Floats

    def contributions(self, X: Any) -> Floats:
        """Return what each term adds to each output, (n_samples, n_terms, n_outputs)."""
        raise NotImplementedError  # pragma: no cover - abstract

    def explain_global(self, X: Any = None) -> GlobalExplanation:
        """Explain the model over a data set.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like, default=None
            Rows to take spreads and means over; None gives those of the training set.

        Returns
        -------
        GlobalExplanation
            Relevance where the estimator has it, and the standard deviation of each contribution;
            over rows that are given also the mean absolute contribution with its 95 % interval.
        """
        check_is_fitted(self)
        n_samples, found = self._explained_data(X)
        scores = getattr(self, "relevance_scores_", None)
        relevance = None if scores is None else np.array(list(scores.values()))
        data = {"kind": self._explained_kind, **self._explained_names(), "n_samples": n_samples}
        return GlobalExplanation(data | {"relevance": relevance} | found)

    def explain_local(self, X: Any, y: Any = None) -> LocalExplanation:
        """Explain single predictions.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows to explain, in any form that ``predict`` takes.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            True target, to be shown beside the predictions; of a classifier labels that ``fit`` has
            seen.

        Returns
        -------
        LocalExplanation
            Contributions of every row; with the intercept they add up to the decision, of a
            regressor the prediction, and ``deviation`` says how closely. Where rows lack a
            modality, ``absent`` says which terms are 0 for that alone (arrays on disk are not
            looked at for it). Samples are named by the index of DataFrames in X, where it is more
            than row numbers and modalities agree on it; they are taken by position.
        """
        check_is_fitted(self)
        parts = self._explain_rows(X)
        n, decision = len(parts["contributions"]), parts["decision"]
        shown = None if y is None else check_shown_target(y, target=self._target, n_samples=n)
        data = {
            "kind": self._explained_kind,
            "target": self._target.kind,
            **self._explained_names(),
            "sample_index": np.arange(n),
            "sample_labels": row_labels(X, self.modality_names_),
            **parts,
            "absent": self._absent_terms(X),
            "intercept": self.intercept_,
            "y": shown,
        }
        if is_classifier(self):
            data["predicted"] = self._labels(decision)  # type: ignore[attr-defined]
            if hasattr(self, "predict_proba"):
                data["probabilities"] = self._probabilities(decision)  # type: ignore[attr-defined]
        else:
            data["predicted"] = decision[:, 0] if self._target.one_dimensional else decision
        return LocalExplanation(data)

    # -- what a subclass may supply ------------------------------------------------------------

    @property
    def _explained_kind(self) -> str:
        return "relevance" if hasattr(self, "relevance_scores_") else "contribution"

    def _explained_names(self) -> dict[str, Any]:
        """Names of terms, outputs and classes."""
        names: dict[str, Any] = {
            "term_names": list(self.term_names_),
            "term_modalities": list(self.term_modalities_),
        }
        given = self._target.names
        if not is_classifier(self):
            names["output_names"] = self._target.number_names
            return names
        classes = given or list(self.classes_)  # type: ignore[attr-defined]
        binary = self._target.kind == "binary"
        return names | {"output_names": classes[1:] if binary else classes, "class_names": classes}

    def _absent_terms(self, X: Any) -> npt.NDArray[np.bool_] | None:
        """Return which terms lack a modality in which rows, (n, t); None where none does."""
        if self.missing != "mask":
            return None
        _, data = check_X(
            X,
            estimator=self,
            modalities=self.modalities,
            missing=self.missing,
            schema=self._schema,
            lazy=True,
        )
        present = {block.name: block.present for block in data.blocks if block.present is not None}
        absent = np.zeros((data.n_samples, len(self.term_modalities_)), dtype=np.bool_)
        for t, term in enumerate(self.term_modalities_):
            for name in present.keys() & set(term):
                absent[:, t] |= ~present[name]
        return absent if absent.any() else None

    def _explained_data(self, X: Any) -> tuple[int, dict[str, Any]]:
        """Return the number of rows, and what they say of the terms."""
        if X is None:
            if not hasattr(self, "contribution_std_"):
                raise InputError(
                    f"explain_global of {type(self).__name__} needs X: it keeps nothing of its "
                    "training rows; pass rows that it has not seen"
                )
            return self._n_training_rows, self._explained_spread(self.contribution_std_)
        return self._explained_moments(self._contribution_moments(X))

    def _explained_moments(self, found: ContributionMoments) -> tuple[int, dict[str, Any]]:
        return found.n_rows, self._explained_spread(found.std) | {
            "mean_absolute_contribution": found.mean_absolute,
            "mean_absolute_intervals": found.mean_absolute_intervals,
        }

    def _explained_spread(self, deviation: Floats) -> dict[str, Any]:
        shares = std_shares(deviation, self._output_units)
        return {"contribution_std": deviation, "std_share": shares}

    @property
    def _output_units(self) -> Floats:
        """Scale of each output, by which outputs are compared."""
        return np.ones(self._target.n_outputs)

    @property
    def _n_training_rows(self) -> int:
        return int(self._result.n_rows)  # type: ignore[attr-defined]

    def _contribution_moments(self, X: Any) -> ContributionMoments:
        return contribution_moments(self.contributions(X))

    def _explain_rows(self, X: Any) -> dict[str, Any]:
        """Return contributions (n, t, k) and decisions (n, k), in the user's order and units."""
        contributions = self.contributions(X)
        return {
            "contributions": contributions,
            "decision": contributions.sum(axis=1) + self.intercept_,
        }
