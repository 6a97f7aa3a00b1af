"""The whole module that an estimator trains: input scaling, encoders, fusion.

Letters: b batch row, m modality, t term, k output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_mmfusion.modules.batchnorm import recompute_statistics
from sklearn_mmfusion.modules.dropout import (
    Draw,
    MaskTape,
    draw_noise,
    set_dropout_generator,
    set_dropout_tape,
)
from sklearn_mmfusion.modules.fusion import masked_weight
from sklearn_mmfusion.modules.grouping import Group, MLPGroup, group_encoders
from sklearn_mmfusion.modules.torch_norms import recompute_torch_norms

__all__ = ["LEFT_OUT", "FusionBatch", "FusionNetwork", "InputScaler", "joined"]


@dataclass
class FusionBatch:
    """Some rows of all modalities as tensors.

    Attributes
    ----------
    values : list of Tensor of shape (b, ...)
        Values per modality, of their own dtype.
    lengths : list of Tensor of int64 of shape (b,) or None
        Valid steps of each sequence.
    present : list of Tensor of bool of shape (b,) or None
        Rows in which the modality is there.
    weight : Tensor of shape (b,) or None
        Row weights, mean 1 over the training set.
    prepared : bool
        Whether the values are what :meth:`FusionNetwork.prepare` made of them.
    """

    values: list[Tensor]
    lengths: list[Tensor | None]
    present: list[Tensor | None]
    weight: Tensor | None = None
    prepared: bool = False

    def __len__(self) -> int:
        return len(self.values[0])

    def to(self, device: torch.device | str) -> FusionBatch:
        """Return the batch on another device."""

        def move(tensors: list[Tensor | None]) -> list[Tensor | None]:
            return [None if t is None else t.to(device, non_blocking=True) for t in tensors]

        return FusionBatch(
            [value.to(device, non_blocking=True) for value in self.values],
            move(self.lengths),
            move(self.present),
            None if self.weight is None else self.weight.to(device, non_blocking=True),
            self.prepared,
        )


LEFT_OUT = torch.finfo(torch.float64).max
"""Scale of what counts for nothing: finite, as all that is saved."""


class InputScaler(nn.Module):
    """Standardise one modality with fixed statistics, and cast it to the network's dtype.

    Parameters
    ----------
    mean, scale : Tensor
        Statistics of the training set in float64, of a shape that broadcasts against one row.
        Values are computed in their own dtype where that is float64, so that neither 1e300 nor
        1e-300 is lost before it is scaled. :data:`LEFT_OUT` as a scale makes zeros.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.double())
        self.register_buffer("scale", scale.double())
        # Kept beside the float64 statistics for float32 values: no cast per batch.
        self.register_buffer("mean32", mean.float(), persistent=False)
        self.register_buffer("inverse32", (1.0 / scale).float(), persistent=False)
        left_out = scale.double() == LEFT_OUT
        self.leaves_out = bool(left_out.any())
        self.extreme = bool(((scale < 1e-30) | ((scale > 1e30) & ~left_out)).any())

    def forward(
        self, values: Tensor, lengths: Tensor | None, present: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """Return standardised values of the network's dtype, 0 where padded or absent."""
        if self.extreme or torch.float64 in (values.dtype, dtype):
            scaled = (values.double() - self.mean) / self.scale
            if self.leaves_out:  # to exactly 0, as in float32: no feature says where it is then
                scaled = scaled * (self.scale < LEFT_OUT)
            scaled = scaled.to(dtype)
        else:
            scaled = (values.to(dtype) - self.mean32) * self.inverse32
        if present is not None:
            absent = ~present
            scaled = scaled.masked_fill(absent.reshape(absent.shape + (1,) * (scaled.ndim - 1)), 0)
        if lengths is not None:
            steps = torch.arange(scaled.shape[1], device=scaled.device)
            valid = steps < lengths[:, None]
            scaled = scaled * valid.reshape(valid.shape + (1,) * (scaled.ndim - 2))
        return scaled

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> InputScaler:
        # The float64 statistics stay float64 when the network becomes float32; a move to another
        # device goes through.
        mean, scale = self.mean, self.scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.mean = mean.to(self.mean.device)
        self.scale = scale.to(self.scale.device)
        self.mean32 = mean.float().to(self.mean.device)
        self.inverse32 = (1.0 / scale).float().to(self.mean.device)
        return self


class FusionNetwork(nn.Module):
    """Encoders, term features and fusion of a model.

    Parameters
    ----------
    scalers : sequence of InputScaler or None
        One per modality; None passes integer codes on as they are.
    encoders : sequence of nn.Module
        One per modality, see :mod:`sklearn_mmfusion.modules.encoders`; or one joint encoder.
    features : nn.Module
        Encodings, presence of each modality and row weights to features of the terms; has
        ``terms`` and ``set_exact``.
    fusion : nn.Module
        Features to outputs; has ``bias``, ``contributions``, ``readings``, ``values_per_row`` and
        ``decays_all``.
    modality_dropout : float, default=0
        Probability that a modality counts as missing in a row in training.
    is_joint : bool, default=False
        Whether the one encoder is called as ``encoder(values, lengths, present, weight)`` with
        all modalities, and returns one encoding per term.
    """

    modality_names: list[str]
    features: Any  # nn.Modules, with what the parameters above say they have
    fusion: Any

    def __init__(
        self,
        scalers: Sequence[InputScaler | None],
        encoders: Sequence[nn.Module],
        features: nn.Module,
        fusion: nn.Module,
        modality_dropout: float = 0.0,
        *,
        is_joint: bool = False,
    ) -> None:
        super().__init__()
        self.scalers = nn.ModuleList([s if s is not None else nn.Identity() for s in scalers])
        self.encoders = nn.ModuleList(encoders)
        self.features = features
        self.fusion = fusion
        self.modality_dropout = modality_dropout
        self.is_joint = is_joint
        self.generator: torch.Generator | None = None
        self.draw: Draw = draw_noise
        self.tape: MaskTape | None = None
        self.encoders_in_bfloat16 = False  # matrix products of the encoders, in training
        self.encoders_on: torch.device | None = None  # None: where everything else is
        self.encoder_groups: list[MLPGroup] = []
        self.groups: list[Group] = []
        self.used = sorted({m for term in self.features.terms for m in term})

    def decays(self, name: str) -> bool:
        """Whether weight decay reaches the parameter of that name.

        Where a penalty rules the fusion weights, encoders alone decay, and the maps before a
        normalisation have no scale that could matter.
        """
        return name.startswith("encoders.") or bool(self.fusion.decays_all)

    def values_per_row(self, batch: FusionBatch) -> int:
        """Numbers that a row takes on its way through the network, about: for chunks."""
        shapes = [tuple(value.shape[1:]) for value in batch.values]
        largest = max(sum(math.prod(shape) for shape in shapes), self.fusion.values_per_row)
        if self.is_joint:
            largest = max(largest, self.encoders[0].values_per_row(shapes))  # type: ignore[operator]
        return int(largest)

    @property
    def dtype(self) -> torch.dtype:
        """Floating dtype of the network."""
        dtype: torch.dtype = self.fusion.bias.dtype
        return dtype

    def group(self) -> None:
        """Compute layers of equal shape side by side from now on, see :class:`Group`."""
        if self.groups:
            return
        if not self.is_joint:
            self.encoder_groups = group_encoders(list(self.encoders), self.used)
        maps = self.features.group_maps() if hasattr(self.features, "group_maps") else None
        self.groups = [*self.encoder_groups, *([] if maps is None else [maps])]

    def trained_parameters(self) -> Iterator[tuple[str, nn.Parameter, bool]]:
        """Name each parameter that training moves, and say whether it is a matrix.

        Those that a group computes as one come once, by the name of the first.
        """
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            trained: nn.Parameter | None = parameter
            for group in self.groups:
                if trained is parameter:
                    trained = group.replacing(parameter)
            if trained is not None:
                yield name, trained, parameter.ndim > 1

    def set_generator(self, generator: torch.Generator, *, shared: bool = False) -> None:
        """Draw every mask of training from this generator; ``shared`` by the rows of a batch."""
        self.generator = generator
        set_dropout_generator(self, generator, shared=shared)

    def set_tape(self, tape: MaskTape | None) -> None:
        """Take every mask of training from a tape; None draws each when it is needed."""
        self.tape = tape
        set_dropout_tape(self, tape)

    def place_encoders(self, device: torch.device) -> None:
        """Encode on another device from now on: rows go there, and their encodings come back.

        For the time after training, when all that follows the encodings, which are few numbers, is
        read off on the CPU.

        Parameters
        ----------
        device : torch.device
            Where; a CPU is where everything else is.
        """
        self.scalers.to(device)
        self.encoders.to(device)
        self.encoders_on = None if device.type == "cpu" else device

    @property
    def learns_inputs(self) -> bool:
        """Whether an encoder depends on the distribution of its inputs."""
        return any(hasattr(encoder, "fit_inputs") for encoder in self.encoders)

    @torch.no_grad()
    def fit_inputs(self, batch: FusionBatch) -> None:
        """Let encoders learn what depends on the distribution of their inputs alone."""
        if not self.learns_inputs:
            return
        values = self._scaled(batch, batch.present)
        if self.is_joint:
            joint: Any = self.encoders[0]
            joint.fit_inputs(values, batch.lengths, batch.present, batch.weight)
            return
        for m in self.used:
            fit_encoder = getattr(self.encoders[m], "fit_inputs", None)
            if fit_encoder is None:
                continue
            weight = masked_weight(batch.present[m], batch.weight, self.dtype)
            fit_encoder(values[m], batch.lengths[m], weight)

    def _scaled(self, batch: FusionBatch, present: list[Tensor | None]) -> list[Tensor]:
        """Return the standardised values of all modalities."""
        return [
            scaler(value, length, mask, self.dtype) if isinstance(scaler, InputScaler) else value
            for scaler, value, length, mask in zip(
                self.scalers, batch.values, batch.lengths, present, strict=True
            )
        ]

    @torch.no_grad()
    def prepare(self, batch: FusionBatch) -> FusionBatch:
        """Do once what every epoch would do alike: scaling, and the fixed parts of encoders."""
        values = self._scaled(batch, batch.present)
        if not self.is_joint:
            for m in self.used:
                encoder: Any = self.encoders[m]
                if hasattr(encoder, "prepare"):
                    values[m] = encoder.prepare(values[m], batch.lengths[m])
        return FusionBatch(values, batch.lengths, batch.present, batch.weight, prepared=True)

    def forward(self, batch: FusionBatch) -> Tensor:
        """Return logits or standardised predictions, (b, k)."""
        present = self._drop_modalities(batch) if self.training else batch.present
        outputs: Tensor = self.fusion(self.term_features(batch, present))
        return outputs

    def term_features(self, batch: FusionBatch, present: list[Tensor | None]) -> Tensor:
        """Return features of all terms, rows first; the fusion knows their shape."""
        features: Tensor = self.features(self.encode(batch, present), present, batch.weight)
        return features

    def contributions(self, batch: FusionBatch) -> Tensor:
        """Return contributions of all terms to all outputs, (b, t, k)."""
        contributions: Tensor = self.fusion.contributions(self.term_features(batch, batch.present))
        return contributions

    def encode(self, batch: FusionBatch, present: list[Tensor | None]) -> list[Tensor]:
        """Return the encoding (b, d) of every modality; of every term from a joint encoder."""
        if self.encoders_on is not None:
            there = replace(batch, present=present).to(self.encoders_on)
            encodings = self._encode(there, there.present)
            return [encoding.to(self.fusion.bias.device) for encoding in encodings]
        if not (self.encoders_in_bfloat16 and self.training):
            return self._encode(batch, present)
        device = self.fusion.bias.device.type
        with torch.autocast(device, dtype=torch.bfloat16):
            encodings = self._encode(batch, present)
        return [encoding.to(self.dtype) for encoding in encodings]

    def _encode(self, batch: FusionBatch, present: list[Tensor | None]) -> list[Tensor]:
        values = batch.values if batch.prepared else self._scaled(batch, present)
        if self.is_joint:
            if batch.prepared and self.training and self.modality_dropout:
                values = self._without_hidden(values, present)
            by_term: list[Tensor] = self.encoders[0](values, batch.lengths, present, batch.weight)
            return by_term
        by_group: dict[int, Tensor] = {}
        for group in self.encoder_groups:
            prepared = [
                values[m] if batch.prepared else member.prepare(values[m])
                for m, member in zip(group.positions, group.members, strict=True)
            ]
            by_group.update(zip(group.positions, group.forward(prepared), strict=True))
        encodings: list[Tensor] = []
        for m, encoder in enumerate(self.encoders):
            if m not in self.used:
                encodings.append(values[m].new_empty(0))
                continue
            if m in by_group:
                encodings.append(by_group[m])
                continue
            weight = masked_weight(present[m], batch.weight, self.dtype)
            call: Any = encoder
            if batch.prepared and hasattr(encoder, "prepare"):
                call = encoder.forward_prepared
            encodings.append(call(values[m], batch.lengths[m], weight))
        return encodings

    def _without_hidden(self, values: list[Tensor], present: list[Tensor | None]) -> list[Tensor]:
        """Put zeros where a modality is hidden, as scaling puts them where it is missing."""
        return [
            value
            if mask is None or not isinstance(scaler, InputScaler)
            else value.masked_fill(~mask.reshape(mask.shape + (1,) * (value.ndim - 1)), 0)
            for scaler, value, mask in zip(self.scalers, values, present, strict=True)
        ]

    def noise(self, shape: torch.Size) -> Tensor:
        """Draw from [0, 1), for masks of training."""
        assert self.generator is not None  # set by whoever trains
        return self.draw(shape, self.generator)

    def _drop_modalities(self, batch: FusionBatch) -> list[Tensor | None]:
        if not self.modality_dropout:
            return batch.present
        shape = torch.Size((len(batch), len(batch.values)))
        noise = self.noise(shape) if self.tape is None else self.tape.take(self.noise, shape)
        keep = noise.to(batch.values[0].device) >= self.modality_dropout
        return [
            keep[:, m] if mask is None else keep[:, m] & mask
            for m, mask in enumerate(batch.present)
        ]

    @torch.no_grad()
    def recompute_statistics(
        self, batches: Sequence[FusionBatch], whole: FusionBatch | None = None
    ) -> None:
        """Set every statistic to its exact value over the training set.

        Parameters
        ----------
        batches : sequence of FusionBatch
            The training set in batches of any size; the result does not depend on it. They are
            gone through several times.
        whole : FusionBatch, optional
            The training set in one batch, whose masks and weights are used then.
        """
        self.eval()

        def run_pass() -> None:
            for batch in batches:
                self.encode(batch, batch.present)

        own = (getattr(encoder, "trained_norms", list) for encoder in self.encoders)
        recompute_torch_norms([norm for norms in own for norm in norms()], run_pass)
        recompute_statistics(self.encoders, run_pass)
        encodings = self.encode_all(batches, None if whole is None else len(whole))
        if whole is None:
            self.features.set_exact(encodings, joined_presence(batches), joined_weight(batches))
        else:
            self.features.set_exact(encodings, whole.present, whole.weight)

    def encode_all(self, batches: Sequence[FusionBatch], n_rows: int | None = None) -> list[Tensor]:
        """Return the encoding (n, d_m) of every modality over several batches."""
        encoded = (self.encode(batch, batch.present) for batch in batches)
        return joined(encoded, sum(map(len, batches)) if n_rows is None else n_rows)


def joined(parts: Iterable[Sequence[Tensor]], n_rows: int) -> list[Tensor]:
    """Put tensors of several batches end to end.

    They are copied into their places one batch at a time: many small tensors that live on between
    large ones that do not would hold the memory of both.

    Parameters
    ----------
    parts : iterable of sequence of Tensor of shape (b, ...)
        Tensors of each batch; those without rows stay so.
    n_rows : int
        Rows of all batches.
    """
    whole: list[Tensor] = []
    done = 0
    for part in parts:
        if not whole:
            whole = [t.new_empty((n_rows if len(t) else 0, *t.shape[1:])) for t in part]
        for place, tensor in zip(whole, part, strict=True):
            place[done : done + len(tensor)] = tensor
        done += max(map(len, part))
    return whole


def joined_presence(batches: Sequence[FusionBatch]) -> list[Tensor | None]:
    """Presence masks of several batches end to end."""
    joined: list[Tensor | None] = []
    for m in range(len(batches[0].present)):
        parts = [batch.present[m] for batch in batches]
        if all(part is None for part in parts):
            joined.append(None)
        else:
            joined.append(
                torch.cat(
                    [
                        torch.ones(len(b), dtype=torch.bool) if part is None else part
                        for part, b in zip(parts, batches, strict=True)
                    ]
                )
            )
    return joined


def joined_weight(batches: Sequence[FusionBatch]) -> Tensor | None:
    """Row weights of several batches end to end."""
    if batches[0].weight is None:
        return None
    return torch.cat([batch.weight for batch in batches if batch.weight is not None])
