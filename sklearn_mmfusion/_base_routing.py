"""What routing and its ablation share: activated terms, summaries, explanations."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._base import BaseFusion
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._explanations import GlobalExplanation, LocalExplanation
from sklearn_mmfusion._fitted import AdditivePredictions
from sklearn_mmfusion._target_mixins import FusionClassifierMixin
from sklearn_mmfusion._validation import check_terms
from sklearn_mmfusion.modules.summaries import activation_summary

__all__ = ["BaseActivatedFusion"]

Floats = npt.NDArray[np.float64]


class BaseActivatedFusion(FusionClassifierMixin, AdditivePredictions, BaseFusion):
    """Base of the classifiers whose terms have an activation p between 0 and 1."""

    _takes_joint_encoder = True
    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BaseFusion._parameter_constraints,
        "interactions": "no_validation",
        "feature_dim": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }
    _kind: ClassVar[str]

    def _make_terms(self, names: Sequence[str]) -> list[tuple[int, ...]]:
        return check_terms(self.interactions, names)

    def _set_readings(self) -> None:
        self._set_term_names()
        self.contribution_std_ = self._by_term(self._result.contribution_std)
        found = self._result.readings
        self.activations_ = self._by_term(found["activations"])
        self.activation_intervals_ = self._by_term(found["activations_intervals"])
        for attribute, key in (
            ("relevance_scores_", "relevance"),
            ("contribution_shares_", "contribution_share"),
        ):
            values = self._by_term(found[key]).tolist()
            setattr(self, attribute, dict(zip(self.term_names_, values, strict=True)))

    # -- interpretation ------------------------------------------------------------------------

    def activations(self, X: Any) -> Floats:
        """Return how active each term is in each row.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows to explain, in any form that ``predict`` takes.

        Returns
        -------
        ndarray of shape (n_samples, n_terms)
            Activations :math:`p_i` in (0, 1); exactly 0 where a modality of the term is missing.
        """
        check_is_fitted(self, "_result")
        values = self._map_rows(
            X,
            lambda module, batch: module.fusion.activations(
                module.term_features(batch, batch.present)
            ),
        )
        return self._by_term(values, axis=1)

    def explain_global(self, X: Any = None) -> GlobalExplanation:
        """Explain the model over a data set.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like, default=None
            Rows to take means over; None gives those of the training set.

        Returns
        -------
        GlobalExplanation
            Means over the rows with their 95 % intervals, for each term and class.
        """
        check_is_fitted(self, "_result")
        summary, n_samples = self._result.readings, self._result.n_rows
        if X is not None:
            parts = self._explain_rows(X)
            n_samples = len(parts["contributions"])
            if not n_samples:
                raise InputError("explain_global needs at least one row, got none")
            summary = self._summarise(parts)
        data = {name: self._by_term(values) for name, values in summary.items()}
        return GlobalExplanation(
            {
                "kind": self._kind,
                "term_names": list(self.term_names_),
                "concept_names": list(self.classes_),
                "n_samples": n_samples,
                "routing_coefficients": data.get("routing_coefficients"),
                "routing_intervals": data.get("routing_coefficients_intervals"),
                "activations": data["activations"],
                "activation_intervals": data["activations_intervals"],
                "routed_activations": data.get("routed_activations"),
                "routed_activation_intervals": data.get("routed_activations_intervals"),
                "relevance": data["relevance"],
                "contribution_share": data["contribution_share"],
                "uniform": 1.0 / len(self.classes_) if self._kind == "routing" else None,
            }
        )

    def explain_local(self, X: Any, y: Any = None) -> LocalExplanation:
        """Explain single predictions.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows to explain, in any form that ``predict`` takes.
        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            True labels, to be shown beside the predictions.

        Returns
        -------
        LocalExplanation
            Routing coefficients, activations and contributions of every row; the contributions
            and the intercept add up to the decision.
        """
        check_is_fitted(self, "_result")
        parts = self._explain_rows(X)
        n = len(parts["contributions"])
        if y is not None and len(y) != n:
            raise InputError(f"y: expected {n} labels, one per row of X, got {len(y)}")
        decision = parts["contributions"].sum(1) + self.intercept_
        binary = self._target.kind == "binary"
        parts = {name: self._by_term(values, axis=1) for name, values in parts.items()}
        r = parts.get("routing_coefficients")
        return LocalExplanation(
            {
                "kind": self._kind,
                "term_names": list(self.term_names_),
                "concept_names": list(self.classes_),
                "output_names": list(self.classes_[1:] if binary else self.classes_),
                "sample_index": np.arange(n),
                "routing_coefficients": r,
                "activations": parts["activations"],
                "routed_activations": None if r is None else parts["activations"][..., None] * r,
                "contributions": parts["contributions"],
                "intercept": self.intercept_,
                "decision": decision,
                "probabilities": self._probabilities(decision),
                "predicted": self._labels(decision),
                "y": None if y is None else np.asarray(y),
            }
        )

    def _explain_rows(self, X: Any) -> dict[str, Floats]:
        """Return activations (n, t) and contributions (n, t, k) in the order of the network."""
        n_terms = len(self._result.plan.terms)

        def compute(module: Any, batch: Any) -> torch.Tensor:
            features = module.term_features(batch, batch.present)
            p, contributions = module.fusion.explain(features)
            return torch.cat([p, contributions.flatten(1)], 1)

        flat = self._map_rows(X, compute)
        rest = flat[:, n_terms:].reshape(len(flat), n_terms, -1)
        return {"activations": flat[:, :n_terms], "contributions": rest}

    def _summarise(self, parts: dict[str, Floats]) -> dict[str, Floats]:
        """Return the summary of rows in the order of the network."""
        p, contributions = (torch.from_numpy(parts[k]) for k in ("activations", "contributions"))
        share = torch.full((len(p),), 1.0 / len(p), dtype=torch.float64)
        found = activation_summary(p, contributions, share, float(len(p)))
        return {name: value.numpy() for name, value in found.items()}
