"""What a fitted model is made of, and the module that is rebuilt from it.

A plan and a dictionary of arrays are all that an estimator keeps of its network: plain Python and
numpy, without a device, cheap to pickle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sklearn_mmfusion._encoders.choosing import SMALL_SAMPLE, BaseEncoder, as_fixed, on_components
from sklearn_mmfusion._encoders.specs import IdentityEncoder, LinearEncoder, SummaryEncoder
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._inputs.lazy_blocks import in_parts
from sklearn_mmfusion._model.seeds import seed_for, seeded_construction
from sklearn_mmfusion.data._blocks import ModalityData, ModalityLayout
from sklearn_mmfusion.modules.network import FusionNetwork, InputScaler

__all__ = [
    "FusionPlan",
    "Head",
    "build_network",
    "in_plan_order",
    "load_state",
    "network_state",
]

_VERY_WIDE = 2000  # features beyond which no perceptron of all of them is tried on few rows

State = dict[str, npt.NDArray[np.generic]]


class Head(Protocol):
    """What makes one method differ from another: how encodings become outputs."""

    def build(
        self,
        plan: FusionPlan,
        encoders: Sequence[Any],
        encoding_dims: Sequence[int],
        seed_default: Callable[[int], None],
    ) -> tuple[nn.Module, nn.Module]:
        """Return the modules of term features and of fusion, with their initial weights.

        ``encoders`` are the modules of the modalities, or the one joint encoder; ``encoding_dims``
        are the lengths of what they return; ``seed_default`` seeds the generator from which
        modules draw their weights.
        """
        ...  # pragma: no cover - a protocol


@dataclass(frozen=True)
class FusionPlan:
    """Everything that defines the network of a model, but its arrays.

    Attributes
    ----------
    layouts : tuple of ModalityLayout
        Modalities in the order of the network: sorted by name, so that the order in which a user
        passes them changes nothing.
    encoders : tuple of BaseEncoder
        Concrete encoder of each modality; with a joint encoder that one alone.
    terms : tuple of tuple of int
        Terms as increasing positions in ``layouts``, by order and then by position.
    scalings : tuple of (mean, scale) or None
        Input statistics of each modality; None for integer codes.
    head : Head
        Features of the terms, and their fusion to outputs.
    n_outputs : int
        Number of outputs.
    modality_dropout : float
        Probability that a modality counts as missing in a training row.
    seed : int
        Seed of the initial weights.
    votes : bool
        Whether every modality is the log-posterior of a classifier of its own.
    linear : tuple of BaseEncoder
        Linear encoders that may be tried in place of these, none where there is nothing to try.
        They differ where the user left the encoder open; MNL and InTense do try them.
    """

    layouts: tuple[ModalityLayout, ...]
    encoders: tuple[BaseEncoder, ...]
    terms: tuple[tuple[int, ...], ...]
    scalings: tuple[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None, ...]
    head: Head
    n_outputs: int
    modality_dropout: float = 0.0
    seed: int = 0
    votes: bool = False
    linear: tuple[BaseEncoder, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of the modalities in the order of the network."""
        return [layout.name for layout in self.layouts]

    @property
    def is_joint(self) -> bool:
        """Whether one encoder reads all modalities and returns one encoding per term."""
        return len(self.encoders) == 1 and hasattr(self.encoders[0], "build_joint")

    @property
    def reads_components(self) -> bool:
        """Whether encoders of principal components may be tried in place of some of these."""
        return bool(self.linear) and repr(self.on_components(self.encoders)) != repr(self.encoders)

    @property
    def has_short_encoder(self) -> bool:
        """Whether an encoder has no hidden layer, as where an estimator represents a modality."""
        return any(
            isinstance(encoder, IdentityEncoder | LinearEncoder)
            or (isinstance(encoder, SummaryEncoder) and encoder.head is None)
            for encoder in self.encoders
        )

    def on_components(self, encoders: tuple[BaseEncoder, ...]) -> tuple[BaseEncoder, ...]:
        """Return encoders of principal components of wide modalities, where others may be tried."""
        # A modality for which a linear encoder may be tried is one that the user left open.
        pairs = zip(self.encoders, self.linear, strict=True)
        free = [repr(own) != repr(linear) for own, linear in pairs]
        return tuple(on_components(encoders, free, self.layouts))

    def first_encoders(self, n_rows: int) -> tuple[BaseEncoder, ...]:
        """Return the encoders that are tried first: these, or those of components.

        On few rows a perceptron of thousands of features finds nothing that lasts, and takes longer
        than all that is tried after it.
        """
        if n_rows > SMALL_SAMPLE or not self.reads_components:
            return self.encoders
        changed = self.on_components(self.encoders)
        triples = zip(self.layouts, self.encoders, changed, strict=True)
        very_wide = any(
            repr(own) != repr(new) and layout.shape[0] > _VERY_WIDE for layout, own, new in triples
        )
        return changed if very_wide else self.encoders

    @property
    def is_fixed(self) -> bool:
        """Whether some modality is handed on as its principal components, which learn nothing."""
        return any(
            isinstance(encoder, IdentityEncoder) and encoder.n_components is not None
            for encoder in self.encoders
        )

    def fixed(self) -> tuple[BaseEncoder, ...]:
        """Return, of the linear encoders that may be tried, those of components that learn nothing.

        Features of narrow modalities are handed on as they are: where some weights are free to turn
        to the target and others are not, the penalty would favour the first.
        """
        pairs = zip(self.encoders, self.on_components(self.linear), strict=True)
        return tuple(
            as_fixed(linear) if repr(own) != repr(linear) else own for own, linear in pairs
        )

    def takes_codes(self, m: int) -> bool:
        """Whether a modality holds integer codes, which are not standardised."""
        if self.is_joint:
            return bool(self.encoders[0].takes_codes_of(self.names[m]))
        return self.encoders[m].takes_codes

    def standardizes(self, m: int) -> bool:
        """Whether the values of a modality, no codes, are standardised."""
        # A specification of the user's own may not say.
        return self.is_joint or bool(getattr(self.encoders[m], "standardizes", True))


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
        if plan.is_joint:
            seed_default(seed_for(plan.seed, "encoder"))
            encoders.append(plan.encoders[0].build_joint(plan.layouts, plan.terms))
            dims = list(encoders[0].output_dims)
        else:
            for layout, spec in zip(plan.layouts, plan.encoders, strict=True):
                seed_default(seed_for(plan.seed, "encoder", layout.name))
                encoders.append(spec.build(layout))
            dims = [encoder.output_dim for encoder in encoders]
        features, fusion = plan.head.build(plan, encoders, dims, seed_default)
        scalers = [
            None
            if scaling is None
            else InputScaler(*(torch.tensor(np.array(part)) for part in scaling))
            for scaling in plan.scalings
        ]
        network = FusionNetwork(
            scalers, encoders, features, fusion, plan.modality_dropout, is_joint=plan.is_joint
        )
    network.modality_names = names
    return network


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


def in_plan_order(plan: FusionPlan, data: ModalityData) -> ModalityData:
    """Return the modalities in the order of the network.

    Raises
    ------
    InputError
        For fractions where ``fit`` saw integer codes.
    """
    by_name = {block.name: block for block in data.blocks}
    ordered = ModalityData([by_name[name] for name in plan.names])
    _check_codes(plan, ordered)
    return ordered


def _check_codes(plan: FusionPlan, data: ModalityData) -> None:
    """Refuse fractions where ``fit`` saw integer codes.

    Whole numbers may be floats, since rows that lack the modality are NaN.
    """
    for m, block in enumerate(data.blocks):
        dtype = np.dtype(plan.layouts[m].dtype)
        if block.values.dtype.kind != "f" or dtype.kind not in "iu" or not plan.takes_codes(m):
            continue
        for part in in_parts(block):
            whole = part.values == np.floor(part.values)
            if not whole.all():
                raise InputError(
                    f"modality {block.name!r}: expected integer codes, as in fit ({dtype}), got "
                    f"{part.values[~whole][0]} ({part.values.dtype}); pass whole numbers, and "
                    "leave this modality out of what scales or imputes"
                )
