"""What a trained network says of held-out rows."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_mmfusion._fitting.held_fit import SCORED, HeldFit, HeldParts
from sklearn_mmfusion._fitting.scales import row_shares
from sklearn_mmfusion._fitting.shadows import shadow
from sklearn_mmfusion._rows.row_errors import RowErrors
from sklearn_mmfusion._training.dataset import FusionDataset
from sklearn_mmfusion._training.network_rows import chunk_rows
from sklearn_mmfusion.modules.fusion import BlockLinear, TermFeatures
from sklearn_mmfusion.modules.losses import LOSSES
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork, joined

__all__ = ["held_fit"]

_HELD_VALUES = 2**23  # contributions and latent vectors of single interactions: 64 MB
_SHADOW_ROWS = 4096  # training rows that say what interactions are of one modality


@torch.no_grad()
def held_fit(
    network: FusionNetwork,
    rows: FusionDataset,
    held: FusionDataset,
    errors: RowErrors,
    loss_name: str,
    seed: int,
) -> HeldFit:
    """Return losses of held-out rows, and what terms contribute to them.

    Parameters
    ----------
    network : FusionNetwork
        Trained network, with exact statistics.
    rows, held : FusionDataset
        Training rows and held-out rows.
    errors : RowErrors
        Of means over the held-out rows.
    loss_name : str
        Loss.
    seed : int
        Seed of the training rows that are looked at.
    """
    fusion = network.fusion
    chunks = held.chunks(chunk_rows(network, held))
    has_parts = isinstance(fusion, BlockLinear) and isinstance(network.features, TermFeatures)
    if not has_parts or loss_name not in SCORED:
        outputs = joined(([network(batch)] for batch in chunks), len(held))[0]
        return HeldFit(LOSSES[loss_name](outputs, held.target).numpy(), errors)
    reader = _Reader(network)
    reads_each = reader.values_per_row * len(held) <= _HELD_VALUES
    outputs, single, joint, *latents = joined(
        (reader.read(batch, each=reads_each) for batch in chunks), len(held)
    )
    if latents and joint.shape[1]:
        shadows = reader.shadows(rows.sample(_SHADOW_ROWS, seed), joint, latents[0])
    else:
        shadows = joint.new_zeros(*joint.shape[:2], 0, joint.shape[2])
    parts = (held.target, single, joint, shadows)
    return HeldFit(
        LOSSES[loss_name](outputs, held.target).numpy(),
        errors,
        HeldParts(loss_name, *(part.numpy() for part in parts)),
    )


class _Reader:
    """Contributions of a network with block-linear fusion, and what its interactions are made of.

    Parameters
    ----------
    network : FusionNetwork
        Trained network.
    """

    def __init__(self, network: FusionNetwork) -> None:
        self.network = network
        self.terms: list[tuple[int, ...]] = network.features.terms
        self.is_joint = torch.tensor([len(term) > 1 for term in self.terms])
        self.joint_terms = [term for term in self.terms if len(term) > 1]
        features: TermFeatures = network.features
        latents = len(features.pairs) * features.latent_dim
        self.order = max(map(len, self.joint_terms), default=0)
        n_outputs = len(network.fusion.bias)
        self.values_per_row = len(self.joint_terms) * (1 + self.order) * n_outputs + latents

    def read(self, batch: FusionBatch, *, each: bool) -> list[Tensor]:
        """Return outputs, what single terms and interactions contribute, and latent vectors.

        Without ``each`` the contributions of interactions come added up, and no latent vectors.
        """
        network = self.network
        encodings = network.encode(batch, batch.present)
        features = network.features(encodings, batch.present, batch.weight)
        contributions = network.fusion.contributions(features)
        joint = contributions[:, self.is_joint]
        single = contributions.sum(1) - joint.sum(1)
        outputs = network.fusion(features)
        if not each:
            return [outputs, single, joint.sum(1, keepdim=True)]
        latents = [network.features.latents(encodings)] if self.joint_terms else []
        return [outputs, single, joint, *latents]

    def shadows(self, rows: FusionDataset, joint: Tensor, latents: Tensor) -> Tensor:
        """Return what interactions of held-out rows are of each of their modalities, (n, t, m, k).

        Zero for modalities that a term of lower order does not have, and where it is absent.
        """
        n, n_terms, n_outputs = joint.shape
        found = joint.new_zeros(n, n_terms, self.order, n_outputs)
        chunks = rows.chunks(chunk_rows(self.network, rows))
        parts = joined((self.read(batch, each=True) for batch in chunks), len(rows))
        own_joint, own_latents = parts[2], parts[3]
        weight = row_shares(rows)
        place = {pair: i for i, pair in enumerate(self.network.features.pairs)}
        for t, term in enumerate(self.joint_terms):
            there = (own_joint[:, t] != 0).any(1)
            share = weight * there
            if not share.sum() > 0:
                continue
            share = share / share.sum()
            is_held = (joint[:, t] != 0).any(1)
            for i, m in enumerate(term):
                p = place[term, m]
                predicted = shadow(own_latents[:, p], own_joint[:, t], share, latents[:, p])
                found[:, t, i] = predicted * is_held[:, None]
        return found
