"""The head of MNL and InTense: normalised term features under a block-linear layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from sklearn_mmfusion._model.plan import FusionPlan
from sklearn_mmfusion._model.seeds import seed_for
from sklearn_mmfusion.modules.fusion import BlockLinear, TermFeatures

__all__ = ["BlockNormHead"]


@dataclass(frozen=True)
class BlockNormHead:
    """Block-linear fusion of normalised term features.

    Attributes
    ----------
    latent_dim : int
        Length of the latent vectors of interactions.
    """

    latent_dim: int

    def build(
        self,
        plan: FusionPlan,
        encoders: Sequence[Any],
        encoding_dims: Sequence[int],
        seed_default: Callable[[int], None],
    ) -> tuple[nn.Module, nn.Module]:
        """Return features and fusion; see :class:`~sklearn_mmfusion._model.plan.Head`."""
        names, d = plan.names, self.latent_dim
        unimodal_dims = self._unimodal_dims(plan, encoders)
        features = TermFeatures(encoding_dims, plan.terms, d, unimodal_dims)
        for key, linear in features.unimodal_maps.items():
            seed_default(seed_for(plan.seed, "map", names[int(key)], names[int(key)]))
            cast(nn.Linear, linear).reset_parameters()
        for m, name in enumerate(names):
            members = [term for term, member in features.pairs if member == m]
            for i, term in enumerate(members):
                label = "\x1e".join(sorted(names[j] for j in term))
                seed_default(seed_for(plan.seed, "map", label, name))
                # nn.Linear's own initialisation, drawn per (term, modality) pair.
                part = nn.Linear(encoding_dims[m], d, bias=False).weight
                rows = slice(i * d, (i + 1) * d)
                cast(nn.Linear, features.pair_maps[str(m)]).weight.data[rows] = part.data
        return features, BlockLinear(features.block_sizes, plan.n_outputs)

    def _unimodal_dims(self, plan: FusionPlan, encoders: Sequence[Any]) -> list[int | None]:
        """Size of the map of each unimodal term, None where there is none.

        An encoding that is trained for several terms gets a map, or its unimodal block would
        carry what only the interactions need, and score for it. Fixed features keep their own
        axes: there the penalty acts on the features themselves, as in a ridge regression.
        """
        shared = {m for term in plan.terms if len(term) > 1 for m in term}
        dims: list[int | None] = []
        for m, encoder in enumerate(encoders):
            trained = any(parameter.requires_grad for parameter in encoder.parameters())
            if m in shared and trained:
                dims.append(min(encoder.output_dim, max(self.latent_dim, plan.n_outputs)))
            else:
                dims.append(None)
        return dims
