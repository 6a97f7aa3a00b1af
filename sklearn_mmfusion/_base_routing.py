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
from sklearn_mmfusion._fitted import AdditivePredictions
from sklearn_mmfusion._inputs.validation import check_terms
from sklearn_mmfusion._rows.moments import contribution_moments
from sklearn_mmfusion._sweep import SweptTerms
from sklearn_mmfusion._target_mixins import FusionClassifierMixin
from sklearn_mmfusion.modules.summaries import activation_summary

__all__ = ["BaseActivatedFusion"]

Floats = npt.NDArray[np.float64]


class BaseActivatedFusion(FusionClassifierMixin, SweptTerms, AdditivePredictions, BaseFusion):
    """Base of the classifiers whose terms have an activation p between 0 and 1."""

    _takes_joint_encoder = True
    _explains: ClassVar[str] = "relevance scores"
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

    def _explained_names(self) -> dict[str, Any]:
        names = super()._explained_names()
        names["concept_names"] = names.pop("class_names")
        return names

    @property
    def _explained_kind(self) -> str:
        return self._kind

    def _explained_data(self, X: Any) -> tuple[int, dict[str, Any]]:
        if X is None:
            n_samples, found = super()._explained_data(None)
            readings = self._result.readings
            summary = {name: self._by_term(values) for name, values in readings.items()}
        else:
            parts = self._explain_rows(X)
            moments = contribution_moments(parts["contributions"])
            n_samples, found = self._explained_moments(moments)
            summary = self._summarise(parts)
        return n_samples, found | {
            "routing_coefficients": summary.get("routing_coefficients"),
            "routing_intervals": summary.get("routing_coefficients_intervals"),
            "activations": summary["activations"],
            "activation_intervals": summary["activations_intervals"],
            "routed_activations": summary.get("routed_activations"),
            "routed_activation_intervals": summary.get("routed_activations_intervals"),
            "relevance": summary["relevance"],
            "contribution_share": summary["contribution_share"],
            "uniform": 1.0 / len(self.classes_) if self._kind == "routing" else None,
        }

    def _explain_rows(self, X: Any) -> dict[str, Any]:
        n_terms, n_outputs = len(self._result.plan.terms), len(self.intercept_)

        def compute(module: Any, batch: Any) -> torch.Tensor:
            features = module.term_features(batch, batch.present)
            p, contributions = module.fusion.explain(features)
            return torch.cat([module.fusion(features), p, contributions.flatten(1)], 1)

        ends = n_outputs, n_outputs + n_terms
        decision, p, flat = np.split(self._map_rows(X, compute), ends, axis=1)
        return {
            "routing_coefficients": None,
            "activations": self._by_term(p, axis=1),
            "routed_activations": None,
            "contributions": self._by_term(flat.reshape(len(flat), n_terms, -1), axis=1),
            "decision": decision,
        }

    def _summarise(self, parts: dict[str, Any]) -> dict[str, Floats]:
        """Return the summary of rows."""
        p, contributions = (torch.from_numpy(parts[k]) for k in ("activations", "contributions"))
        share = torch.full((len(p),), 1.0 / len(p), dtype=torch.float64)
        found = activation_summary(p, contributions, share, float(len(p)))
        return {name: value.numpy() for name, value in found.items()}
