"""Normalisation layers of InTense: VBN and IterBN with their running statistics.

Letters: b batch row, t term (or any group normalised on its own), d feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sklearn_mmfusion import functional as F
from sklearn_mmfusion.modules import folded, fused

Latents: TypeAlias = Sequence[Tensor] | Tensor
Updates: TypeAlias = "list[tuple[RunningStatistics, dict[str, Tensor]]]"

__all__ = [
    "IterBatchNorm",
    "RunningStatistics",
    "VectorBatchNorm",
    "normalize_together",
    "update_together",
]

_PIECE_ROWS = 4096


class RunningStatistics(nn.Module):
    """Running averages of named batch statistics, for layers that use batch statistics in training.

    Parameters
    ----------
    momentum : float, default=0.1
        Weight of the newest batch; the first ``1 / momentum`` batches are averaged evenly, so
        that the starting values leave no trace.
    """

    batches_seen: Tensor

    def __init__(self, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.mean: F.Mean = F.weighted_mean  # processes that share a batch take that of all
        self.register_buffer("batches_seen", torch.zeros(()))

    def update(self, updates: Updates | None = None, **statistics: Tensor) -> None:
        """Move the buffers of these names towards the statistics of a batch.

        With a list of ``updates`` they are added to it, for :func:`update_together`.
        """
        if updates is None:
            update_together([(self, statistics)])
        else:
            updates.append((self, statistics))

    @property
    def is_alone(self) -> bool:
        """Whether the batch is that of this process alone."""
        return self.mean is F.weighted_mean


@torch.no_grad()
def update_together(updates: Updates) -> None:
    """Move the buffers of layers, which have seen equally many batches, towards those of a batch.

    Parameters
    ----------
    updates : list of (RunningStatistics, dict of str to Tensor)
        Layers of one momentum, and their statistics by name of the buffer.
    """
    if not updates:
        return
    counts = [layer.batches_seen for layer, _ in updates]
    torch._foreach_add_(counts, 1)
    newest = (1.0 / counts[0]).clamp_min(updates[0][0].momentum)
    pairs = [(getattr(layer, k), v.detach()) for layer, named in updates for k, v in named.items()]
    buffers, values = [list(part) for part in zip(*pairs, strict=True)]
    torch._foreach_lerp_(buffers, values, [newest.to(buffers[0].dtype)] * len(buffers))


class VectorBatchNorm(RunningStatistics):
    """Vector-wise batch normalisation, VBN [IT, eq. 5-7].

    Parameters
    ----------
    *shape : int
        Shape of the values without the batch axis; the last axis is the vector, those before it
        are groups that are normalised each on its own.
    eps : float, default=1e-5
        Added to the variance, which is 1 for standardised inputs.

    Notes
    -----
    Shape: ``(b, *shape)`` in and out; weight ``(b,)`` or ``(b, *shape[:-1])``.
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, *shape: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_variance", torch.ones(shape[:-1]))

    def forward(
        self, h: Tensor, weight: Tensor | None = None, updates: Updates | None = None
    ) -> Tensor:
        """Normalise; batch statistics in training, running ones otherwise."""
        if not self.training:
            return F.scale_to_unit(h - self.running_mean, self.running_variance, self.eps)
        if self.is_alone:
            normalised, mean, variance = fused.vector_batch_norm(h, weight, self.eps)
        else:
            normalised, mean, variance = F.vector_batch_norm(h, weight, self.eps, self.mean)
        self.update(updates, running_mean=mean, running_variance=variance)
        return normalised

    @torch.no_grad()
    def set_exact(self, h: Tensor, weight: Tensor | None = None) -> None:
        """Set the running statistics to those of the whole training set ``h``."""
        _, mean, variance = F.vector_batch_norm(h, weight, self.eps)
        self.running_mean.copy_(mean)
        self.running_variance.copy_(variance)


def normalize_together(
    norms: Sequence[VectorBatchNorm],
    hs: Sequence[Tensor],
    weights: Sequence[Tensor | None],
    updates: Updates | None = None,
) -> list[Tensor]:
    """Normalise vectors by norms of their own in training; those of equal length at once.

    Parameters
    ----------
    norms : sequence of VectorBatchNorm
        Norms of vectors.
    hs : sequence of Tensor of shape (b, d_i)
        Vectors for each.
    weights : sequence of Tensor of shape (b,) or None
        Row weights for each.
    updates : list, optional
        Where to put the statistics, for :func:`update_together`; None moves the norms.

    Returns
    -------
    list of Tensor of shape (b, d_i)
        Normalised vectors.
    """
    by_length: dict[int, list[int]] = {}
    for i, h in enumerate(hs):
        by_length.setdefault(h.shape[1], []).append(i)
    normalised: list[Tensor] = list(hs)
    together: Updates = [] if updates is None else updates
    for members in by_length.values():
        stacked = torch.stack([hs[i] for i in members], 1)
        some = [weights[i] for i in members]
        weight = None
        if any(w is not None for w in some):
            ones = stacked.new_ones(len(stacked))
            weight = torch.stack([ones if w is None else w for w in some], 1)
        z, mean, variance = fused.vector_batch_norm(stacked, weight, norms[members[0]].eps)
        parts = zip(members, z.unbind(1), mean, variance, strict=True)
        for i, normalised[i], own_mean, own_variance in parts:
            found = {"running_mean": own_mean, "running_variance": own_variance}
            together.append((norms[i], found))
    if updates is None:
        update_together(together)
    return normalised


class IterBatchNorm(RunningStatistics):
    """Centred and scaled interaction features of some terms of equal order, IterBN.

    Parameters
    ----------
    order : int
        Number of modalities of each term, at least 2.
    n_terms : int
        Number of terms side by side.
    latent_dim : int
        Length d of each latent vector.
    eps : float, default=1e-5
        Added to the mean squared norm.

    Notes
    -----
    Shape: ``order`` latent vectors ``(b, t, d)``, in a list or as one tensor, each with mean zero
    over the batch (they come from :class:`VectorBatchNorm`), give ``(b, t, d ** order)``; weight
    ``(b,)`` or ``(b, t)``.

    See :func:`sklearn_mmfusion.functional.interaction_features` for the formula. NOTE[DIFF] no
    affine part anywhere: with one, an irrelevant modality can turn into a constant, and its
    interactions into copies of the terms of lower order, relevance and all.
    """

    running_norm: Tensor

    def __init__(self, order: int, n_terms: int, latent_dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.order, self.n_terms, self.latent_dim, self.eps = order, n_terms, latent_dim, eps
        # The mean of the whole product is a moment too; first moments are zero.
        self._sets = [s for size in range(2, order + 1) for s in combinations(range(order), size)]
        for axes in self._sets:
            moment = torch.zeros(n_terms, *[latent_dim] * len(axes))
            self.register_buffer(self._buffer_name(axes), moment)
        self.register_buffer("running_norm", torch.ones(n_terms))

    @staticmethod
    def _buffer_name(axes: Sequence[int]) -> str:
        return "running_moment_" + "_".join(map(str, axes))

    def forward(
        self, us: Latents, weight: Tensor | None = None, updates: Updates | None = None
    ) -> Tensor:
        """Interaction features; batch statistics in training, running ones otherwise."""
        if not self.training:
            moments = {axes: getattr(self, self._buffer_name(axes)) for axes in self._sets}
            return self._scaled(self._centred(us, moments), self.running_norm)
        if self.is_alone:
            stacked = us if isinstance(us, Tensor) else torch.stack(list(us))
            scaled, norm, moments = fused.interaction_batch_norm(stacked, weight, self.eps)
        else:
            moments = F.interaction_moments(list(us), weight, centred=True, mean=self.mean)
            features = self._centred(us, moments)
            norm = self.mean(features.square().sum(-1), weight)
            scaled = self._scaled(features, norm)
        running = {self._buffer_name(axes): moment for axes, moment in moments.items()}
        self.update(updates, running_norm=norm, **running)
        return scaled

    def _centred(self, us: Latents, moments: dict[tuple[int, ...], Tensor]) -> Tensor:
        if self.order not in fused.FUSED_ORDERS:
            return folded.interaction_features(list(us), moments)
        constants = F.interaction_constants(moments, self.order)
        return F.interaction_features(list(us), constants).flatten(2)

    def _scaled(self, features: Tensor, norm: Tensor) -> Tensor:
        return F.scale_to_unit(features, norm, self.eps)

    @torch.no_grad()
    def set_exact(self, us: Latents, weight: Tensor | None = None) -> None:
        """Set the running statistics to those of the whole training set."""
        moments = folded.interaction_moments(list(us), weight)
        for axes, moment in moments.items():
            getattr(self, self._buffer_name(axes)).copy_(moment)
        # In pieces: the features of all rows may be many times the data.
        pieces = zip(*(u.split(_PIECE_ROWS) for u in us), strict=True)
        squares = torch.cat([self._centred(piece, moments).square().sum(-1) for piece in pieces])
        norm = F.weighted_mean(squares, weight)
        self.running_norm.copy_(norm)
