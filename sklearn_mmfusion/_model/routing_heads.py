"""The heads of multimodal routing and of its ablation GAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from sklearn_mmfusion._model.plan import FusionPlan
from sklearn_mmfusion._model.seeds import seed_for
from sklearn_mmfusion.modules.routing import AdditiveActivation, Routing
from sklearn_mmfusion.modules.term_vectors import JointTermVectors, TermVectors

__all__ = ["ActivationHead", "RoutingHead"]


@dataclass(frozen=True)
class ActivationHead:
    """Activated features of terms, added up (GAM).

    Attributes
    ----------
    feature_dim : int
        Length of the features.
    dropout : float
        Dropout probability.
    """

    feature_dim: int
    dropout: float

    def build(
        self,
        plan: FusionPlan,
        encoders: Sequence[Any],
        encoding_dims: Sequence[int],
        seed_default: Callable[[int], None],
    ) -> tuple[nn.Module, nn.Module]:
        """Return features and fusion; see :class:`~sklearn_mmfusion._model.plan.Head`."""
        seed_default(seed_for(plan.seed, "features"))
        features: nn.Module
        if plan.is_joint:
            features = JointTermVectors(encoding_dims, plan.terms, self.feature_dim, self.dropout)
        else:
            features = TermVectors(
                encoding_dims, plan.terms, self.feature_dim, self.feature_dim, self.dropout
            )
        seed_default(seed_for(plan.seed, "fusion"))
        return features, self._fusion(plan)

    def _fusion(self, plan: FusionPlan) -> nn.Module:
        return AdditiveActivation(len(plan.terms), self.feature_dim, plan.n_outputs)


@dataclass(frozen=True)
class RoutingHead(ActivationHead):
    """Activated features of terms, routed to concepts.

    Attributes
    ----------
    feature_dim, concept_dim : int
        Length of the features and of the concepts.
    n_routing_iter : int
        Adjustments after the uniform pass.
    scale : float or None
        Factor in the softmax; None is 1/sqrt(concept_dim).
    dropout : float
        Dropout probability.
    kind : str
        Kind of the target.
    """

    concept_dim: int
    n_routing_iter: int
    scale: float | None
    kind: str

    def _fusion(self, plan: FusionPlan) -> nn.Module:
        is_contrast = plan.n_outputs == 1
        return Routing(
            len(plan.terms),
            self.feature_dim,
            2 if is_contrast else plan.n_outputs,
            self.concept_dim,
            n_routing_iter=self.n_routing_iter,
            scale=self.scale,
            dropout=self.dropout,
            is_contrast=is_contrast,
            is_multilabel=self.kind == "multilabel",
        )
