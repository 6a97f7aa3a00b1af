"""The heads of the baselines: concatenation, tensor product, residual network, orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from sklearn_mmfusion._model.plan import FusionPlan
from sklearn_mmfusion._model.seeds import seed_for
from sklearn_mmfusion.modules.concatenation import (
    ConcatFeatures,
    LinearFusion,
    PerceptronFusion,
    TensorFeatures,
)
from sklearn_mmfusion.modules.residual import OrderFusion, TermOutputs

__all__ = ["ConcatHead", "OrderHead", "ResidualHead", "TensorHead"]

Seed = Callable[[int], None]
Modules = tuple[nn.Module, nn.Module]


@dataclass(frozen=True)
class ConcatHead:
    """A linear layer on the concatenated encodings."""

    def build(
        self, plan: FusionPlan, encoders: Sequence[Any], encoding_dims: Sequence[int], seed: Seed
    ) -> Modules:
        """Return features and fusion; see :class:`~sklearn_mmfusion._model.plan.Head`."""
        features = ConcatFeatures(encoding_dims, plan.terms, masks_absent=not plan.is_joint)
        return features, LinearFusion(features.block_sizes, plan.n_outputs)


@dataclass(frozen=True)
class ResidualHead:
    """A residual network of two layers on the concatenated encodings (MulT).

    Attributes
    ----------
    dropout : float
        Dropout probability.
    """

    dropout: float

    def build(
        self, plan: FusionPlan, encoders: Sequence[Any], encoding_dims: Sequence[int], seed: Seed
    ) -> Modules:
        """Return features and fusion; see :class:`~sklearn_mmfusion._model.plan.Head`."""
        seed(seed_for(plan.seed, "fusion"))
        features = ConcatFeatures(encoding_dims, plan.terms, masks_absent=not plan.is_joint)
        width = sum(encoding_dims)
        fusion = PerceptronFusion(width, width, plan.n_outputs, dropout=self.dropout, residual=True)
        return features, fusion


@dataclass(frozen=True)
class TensorHead:
    """A network on the tensor product of all modalities (TFN).

    Attributes
    ----------
    latent_dim : int
        Length of each modality's vector in the product.
    hidden_dim : int
        Width of the two hidden layers.
    dropout : float
        Dropout probability.
    """

    latent_dim: int
    hidden_dim: int
    dropout: float

    def build(
        self, plan: FusionPlan, encoders: Sequence[Any], encoding_dims: Sequence[int], seed: Seed
    ) -> Modules:
        """Return features and fusion; see :class:`~sklearn_mmfusion._model.plan.Head`."""
        seed(seed_for(plan.seed, "features"))
        features = TensorFeatures(encoding_dims, self.latent_dim)
        seed(seed_for(plan.seed, "fusion"))
        fusion = PerceptronFusion(
            features.n_features, self.hidden_dim, plan.n_outputs, dropout=self.dropout
        )
        return features, fusion


@dataclass(frozen=True)
class OrderHead:
    """Contributions of terms, trained order by order on what is left over (MRO).

    Attributes
    ----------
    hidden_dim : int
        Width of the hidden layer of each term.
    dropout : float
        Dropout probability.
    """

    hidden_dim: int
    dropout: float

    def build(
        self, plan: FusionPlan, encoders: Sequence[Any], encoding_dims: Sequence[int], seed: Seed
    ) -> Modules:
        """Return features and fusion; see :class:`~sklearn_mmfusion._model.plan.Head`."""
        seed(seed_for(plan.seed, "features"))
        n_orders = len({len(term) for term in plan.terms})
        dims = [dim // n_orders for dim in encoding_dims]
        features = TermOutputs(dims, plan.terms, self.hidden_dim, plan.n_outputs, self.dropout)
        return features, OrderFusion(features.order_of_term, plan.n_outputs)
