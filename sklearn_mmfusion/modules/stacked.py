"""Networks of equal shape, computed side by side: members of a bag, refits with other seeds.

A step of a small network costs more to call than to compute, and so do the steps of several one
after another. Here each operation is done once for all: a stack lends the members' weights and
running statistics a common place in memory, as :class:`~sklearn_mmfusion.modules.grouping.Group`
does for encoders. Each member has rows of its own, and draws its dropout from its own generator in
the order in which it would alone: it is trained as it would be alone, to round-off.

Letters: n network, b batch row, m modality, t term, d feature, k output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_mmfusion.modules.encoders import IdentityModule, LinearModule, MLPModule
from sklearn_mmfusion.modules.fused import block_norm_penalty
from sklearn_mmfusion.modules.fusion import BlockLinear, TermFeatures
from sklearn_mmfusion.modules.grouping import Group, alike_encoders
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork
from sklearn_mmfusion.modules.stacked_encoders import StackedLinearMaps, StackedPerceptrons
from sklearn_mmfusion.modules.stacked_terms import StackedTerms

__all__ = ["NetworkStack", "can_be_stacked"]


def can_be_stacked(network: FusionNetwork) -> bool:
    """Whether all of a network is made of layers that a stack computes side by side."""
    if network.is_joint or type(network.features) is not TermFeatures:
        return False
    if type(network.fusion) is not BlockLinear:
        return False
    encoders = [network.encoders[m] for m in network.used]
    return all(
        type(encoder) in (MLPModule, LinearModule, IdentityModule)
        and all(parameter.requires_grad for parameter in encoder.parameters())
        for encoder in encoders
    )


class NetworkStack(Group):
    """Networks of one plan, but for seeds and scalings, computed side by side.

    Parameters
    ----------
    networks : sequence of FusionNetwork
        Networks for which :func:`can_be_stacked` holds, with the same layers and dtype.
    """

    def __init__(self, networks: Sequence[FusionNetwork]) -> None:
        super().__init__()
        self.networks = list(networks)
        self.dropout_strength = 1.0
        first = self.networks[0]
        self.term_of_column, self.n_terms = first.fusion.term_of_column, len(first.features.terms)
        self._units: list[tuple[list[int], StackedPerceptrons | StackedLinearMaps]] = []
        for positions in alike_encoders(list(first.encoders), first.used):
            rows: Any = [[net.encoders[m] for m in positions] for net in self.networks]
            if type(rows[0][0]) is MLPModule:
                self._units.append((positions, StackedPerceptrons(self, rows)))
            elif type(rows[0][0]) is LinearModule:
                self._units.append((positions, StackedLinearMaps(self, rows)))
        self._terms = StackedTerms(self, [net.features for net in self.networks])
        self.weight = self.join([[net.fusion.weight] for net in self.networks])
        self.bias = self.join([[net.fusion.bias] for net in self.networks])
        places = [leaf.detach() for leaf in self.leaves] + self._terms.buffers()
        # All that training moves, (n, ...), as views.
        self.arrays = [place.view(len(self.networks), -1) for place in places]

    def trained_parameters(self) -> Iterator[tuple[str, nn.Parameter, bool]]:
        """Name each tensor that training moves, and say whether it holds matrices."""
        for name, parameter in self.networks[0].named_parameters():
            leaf = self.replacing(parameter)
            if parameter.requires_grad and leaf is not None and leaf is not parameter:
                yield name, leaf, parameter.ndim > 1

    def forward(self, batch: FusionBatch, *, training: bool) -> Tensor:
        """Return outputs (n, b, k) of prepared values (n, b, d) per modality."""
        # First, as in one network: the order of the draws decides what is drawn.
        present = self._drop_modalities(batch) if training else batch.present
        strength = self.dropout_strength if training else 0.0
        encodings = list(batch.values)
        for positions, unit in self._units:
            encoded = unit.forward([batch.values[m] for m in positions], strength)
            for m, part in zip(positions, encoded, strict=True):
                encodings[m] = part
        features = self._terms.forward(encodings, present, batch.weight, training)
        weight = self.weight.transpose(1, 2)
        return torch.baddbmm(self.bias.unsqueeze(1), features.transpose(0, 1), weight)

    def _drop_modalities(self, batch: FusionBatch) -> list[Tensor | None]:
        """Return presence (n, b) of each modality, some of it dropped."""
        p = self.networks[0].modality_dropout
        if not p:
            return batch.present
        shape = torch.Size((batch.values[0].shape[1], len(batch.values)))
        keep = torch.stack([network.noise(shape) for network in self.networks]) >= p
        return [
            keep[:, :, m] if mask is None else keep[:, :, m] & mask
            for m, mask in enumerate(batch.present)
        ]

    def penalties(self, p: float) -> Tensor:
        """Return the block-norm penalty of each network, (n,)."""
        return block_norm_penalty(self.weight, self.term_of_column, self.n_terms, p)
