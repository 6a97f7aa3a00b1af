"""What a fitted model is made of, and the module that is rebuilt from it.

A plan and a dictionary of arrays are all that an estimator keeps of its network: plain Python and
numpy, without a device, cheap to pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sklearn_mmfusion._encoders import BaseEncoder
from sklearn_mmfusion._training import seed_for, seeded_construction
from sklearn_mmfusion.data._blocks import ModalityLayout
from sklearn_mmfusion.modules.fusion import TermFeatures
from sklearn_mmfusion.modules.network import FusionNetwork, InputScaler

__all__ = ["FusionPlan", "build_network", "load_state", "network_state"]

State = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class FusionPlan:
    """Everything that defines the network of an additive model, but its arrays.

    Attributes
    ----------
    layouts : tuple of ModalityLayout
        Modalities in the order of the network: sorted by name, so that the order in which a user
        passes them changes nothing.
    encoders : tuple of BaseEncoder
        Concrete encoder of each modality.
    terms : tuple of tuple of int
        Terms as increasing positions in ``layouts``, by order and then by position.
    scalings : tuple of (mean, scale) or None
        Input statistics of each modality; None for integer codes.
    latent_dim : int
        Length of the latent vectors of interactions.
    n_outputs : int
        Number of outputs.
    modality_dropout : float
        Probability that a modality counts as missing in a training row.
    seed : int
        Seed of the initial weights.
    """

    layouts: tuple[ModalityLayout, ...]
    encoders: tuple[BaseEncoder, ...]
    terms: tuple[tuple[int, ...], ...]
    scalings: tuple[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None, ...]
    latent_dim: int
    n_outputs: int
    modality_dropout: float = 0.0
    seed: int = 0

    @property
    def names(self) -> list[str]:
        """Names of the modalities in the order of the network."""
        return [layout.name for layout in self.layouts]


def build_network(plan: FusionPlan) -> FusionNetwork:
    """Build the network of a plan with initial weights that depend on its seed and names only.

    Parameters
    ----------
    plan : FusionPlan
        The plan.

    Returns
    -------
    FusionNetwork
        In float32, on the CPU. Global random states are as before.
    """
    names = plan.names
    with seeded_construction() as seed_default:
        encoders: list[Any] = []  # nn.Modules with an `output_dim`
        for layout, spec in zip(plan.layouts, plan.encoders, strict=True):
            seed_default(seed_for(plan.seed, "encoder", layout.name))
            encoders.append(spec.build(layout))
        dims = [encoder.output_dim for encoder in encoders]
        features = TermFeatures(dims, plan.terms, plan.latent_dim, _unimodal_dims(plan, encoders))
        for key, linear in features.unimodal_maps.items():
            seed_default(seed_for(plan.seed, "map", names[int(key)], names[int(key)]))
            cast(nn.Linear, linear).reset_parameters()
        for m, name in enumerate(names):
            members = [term for term, member in features.pairs if member == m]
            for i, term in enumerate(members):
                label = "\x1e".join(sorted(names[j] for j in term))
                seed_default(seed_for(plan.seed, "map", label, name))
                # nn.Linear's own initialisation, drawn per (term, modality) pair.
                part = nn.Linear(dims[m], plan.latent_dim, bias=False).weight
                rows = slice(i * plan.latent_dim, (i + 1) * plan.latent_dim)
                cast(nn.Linear, features.pair_maps[str(m)]).weight.data[rows] = part.data
        scalers = [
            None
            if scaling is None
            else InputScaler(*(torch.tensor(np.array(part)) for part in scaling))
            for scaling in plan.scalings
        ]
        network = FusionNetwork(scalers, encoders, features, plan.n_outputs, plan.modality_dropout)
    network.modality_names = names
    return network


def _unimodal_dims(plan: FusionPlan, encoders: Sequence[Any]) -> list[int | None]:
    """Size of the map of each unimodal term, None where there is none.

    An encoding that is trained for several terms gets a map, or its unimodal block would carry
    what only the interactions need, and score for it. Fixed features keep their own axes: there
    the penalty acts on the features themselves, as in a ridge regression.
    """
    shared = {m for term in plan.terms if len(term) > 1 for m in term}
    dims: list[int | None] = []
    for m, encoder in enumerate(encoders):
        trained = any(parameter.requires_grad for parameter in encoder.parameters())
        if m in shared and trained:
            dims.append(min(encoder.output_dim, max(plan.latent_dim, plan.n_outputs)))
        else:
            dims.append(None)
    return dims


def network_state(network: FusionNetwork) -> State:
    """Copy the arrays of a network."""
    return {
        name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()
    }


def load_state(network: FusionNetwork, state: State) -> FusionNetwork:
    """Copy arrays into a network of the same plan."""
    # Copies: the arrays may be views of a file that is read-only.
    network.load_state_dict({name: torch.tensor(np.array(v)) for name, v in state.items()})
    return network
