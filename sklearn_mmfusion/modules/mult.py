"""Features of terms by the Multimodal Transformer (MulT): unimodal, bimodal and k-modal.

Letters: b batch, m modality, T steps (of each modality its own), h hidden width, t term.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sklearn_mmfusion.modules.attention import sinusoidal_positions
from sklearn_mmfusion.modules.crossmodal import CrossStreams, SelfStreams, standardize
from sklearn_mmfusion.modules.sequences import SequenceInput, last_step, step_mask

__all__ = ["MulTModule"]

_CLOSE = 0.75
"""Sequences of at least this share of the longest one are padded to it and computed together."""


@dataclass
class _Embedded:
    """One modality of a batch: steps (b, T, h), lengths (b,), rows that have any step (b,)."""

    steps: Tensor
    lengths: Tensor | None
    there: Tensor | None

    @property
    def n_steps(self) -> int:
        return self.steps.shape[1]

    def last_position(self) -> Tensor:
        """Return the position of the last valid step, int64 (b,); 0 in a row without any."""
        if self.lengths is not None:
            return (self.lengths - 1).clamp(min=0)
        shape, device = self.steps.shape[:1], self.steps.device
        return torch.full(shape, self.n_steps - 1, device=device)

    def keys(self) -> Tensor | None:
        """Return which steps may be attended to, bool (b, 1, 1, T); None if all may."""
        if self.lengths is None:
            return None
        # Not every kernel survives a softmax over no key; the features of an empty row become zero.
        return step_mask(self.lengths.clamp(min=1), self.n_steps)[:, None, None, :]


class MulTModule(nn.Module):
    r"""Encode all terms by transformers within and across modalities.

    Each modality is mapped linearly (a convolution of width 1, no bias) to width h, times
    :math:`\sqrt h`, plus sinusoidal positions. A stream is a stack of pre-LayerNorm blocks
    of attention and feed-forward network, with a LayerNorm behind it; the last valid step
    stands for the stream.

    * One modality: the stream of self-attention, width h.
    * Two, {a, b}: the streams a <- b (queries a, keys and values b) and b <- a, width 2h.
    * k: a linear map of the k (k - 1) cross-modal streams among its members, width 2h.

    Parameters
    ----------
    input_dims : sequence of int
        Number of features d of each modality; not used for codes.
    terms : sequence of tuple of int
        Terms as increasing positions of modalities.
    hidden_dim : int, default=40
        Width h.
    n_heads : int, default=8
        Number of attention heads; divides ``hidden_dim``.
    n_layers : int, default=2
        Number of blocks of each stream.
    feedforward_dim : int, optional
        Width of the feed-forward networks; None means 4h.
    dropout : float, default=0.0
        Probability of dropping an element of what each half block adds, and a unit of the
        feed-forward network.
    vocabulary_sizes, embedding_dims : sequence of int or None, optional
        Per modality, see :class:`~sklearn_mmfusion.modules.sequences.SequenceInput`.

    Attributes
    ----------
    output_dims : list of int
        Width of each term's feature.
    pairs : list of (int, int)
        The cross-modal streams (a, b), each computed once for all terms that hold both.

    Notes
    -----
    Streams are computed side by side with stacked weights: the cross-modal ones all at once, those
    of self-attention in groups of about the same number of steps. Weights are drawn in the order
    of the sorted terms. The result is that of every stream computed on its own, over all steps;
    see :mod:`~sklearn_mmfusion.modules.crossmodal` for the steps that need not be computed.

    NOTE[DIFF]: the paper leaves the width of k-modal features open; 2h is that of bimodal ones.

    References
    ----------
    Tsai et al. (2019), "Multimodal Transformer for Unaligned Multimodal Language Sequences",
    sections 3.1-3.2; Tsai et al. (2020), "Multimodal Routing", appendix A.1.
    """

    places: Tensor

    def __init__(
        self,
        input_dims: Sequence[int],
        terms: Sequence[tuple[int, ...]],
        hidden_dim: int = 40,
        *,
        n_heads: int = 8,
        n_layers: int = 2,
        feedforward_dim: int | None = None,
        dropout: float = 0.0,
        vocabulary_sizes: Sequence[int | None] | None = None,
        embedding_dims: Sequence[int | None] | None = None,
    ) -> None:
        super().__init__()
        if hidden_dim % n_heads:
            raise ValueError(
                f"hidden_dim must be a multiple of n_heads, got {hidden_dim} and {n_heads}"
            )
        self.hidden_dim = hidden_dim
        self.terms = [tuple(term) for term in terms]
        self.output_dims = [hidden_dim * min(len(term), 2) for term in self.terms]
        ordered = sorted(set(self.terms), key=lambda term: (len(term), term))
        self.inputs, self.projections = nn.ModuleDict(), nn.ModuleDict()
        for m in sorted({m for term in ordered for m in term}):
            size = None if vocabulary_sizes is None else vocabulary_sizes[m]
            embedding_dim = None if embedding_dims is None else embedding_dims[m]
            step_input = SequenceInput(input_dims[m], size, embedding_dim)
            self.inputs[str(m)] = step_input
            self.projections[str(m)] = nn.Linear(step_input.output_dim, hidden_dim, bias=False)
        inner = 4 * hidden_dim if feedforward_dim is None else feedforward_dim
        sizes = (hidden_dim, n_heads, inner, dropout, n_layers)
        self.singles = [term[0] for term in ordered if len(term) == 1]
        self.self_streams = SelfStreams(len(self.singles), *sizes) if self.singles else None
        self.register_buffer("places", torch.arange(len(self.singles)), persistent=False)
        pairs = sorted({pair for term in ordered for pair in _ordered_pairs(term)})
        self.cross_streams = CrossStreams(pairs, *sizes) if pairs else None
        self.pairs = [] if self.cross_streams is None else self.cross_streams.pairs
        self.joint_maps = nn.ModuleDict(
            {
                _key(term): nn.Linear(len(_ordered_pairs(term)) * hidden_dim, 2 * hidden_dim)
                for term in ordered
                if len(term) > 2
            }
        )

    def forward(
        self,
        values: Sequence[Tensor],
        lengths: Sequence[Tensor | None],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the features of all terms, zero in rows that lack a modality of the term.

        Shape: values per modality (b, T, d), codes (b, T), or flat (b, d), one step; lengths int64
        (b,), present bool (b,) or None -> per term (b, output_dim). There are no batch
        statistics: ``weight`` is not used.
        """
        embedded = {
            int(m): self._embed(int(m), values[int(m)], lengths[int(m)], present[int(m)])
            for m in self.inputs
        }
        within = self._within(embedded)
        across = self._across(embedded)
        return [self._feature(term, embedded, within, across) for term in self.terms]

    def values_per_row(self, shapes: Sequence[tuple[int, ...]]) -> int:
        """Numbers that a row takes, about: the widest layer of every stream.

        ``shapes`` are those of one row of each modality.
        """
        n_steps = 0
        for m, step_input in self.inputs.items():
            is_flat = len(shapes[int(m)]) == 1 and step_input.vocabulary_size is None
            n_steps += 1 if is_flat else shapes[int(m)][0]
        return 12 * self.hidden_dim * (n_steps + len(self.pairs))

    def _embed(
        self, m: int, values: Tensor, lengths: Tensor | None, present: Tensor | None
    ) -> _Embedded:
        """Return the embedded steps of one modality."""
        step_input = self.inputs[str(m)]
        if values.ndim == 2 and step_input.vocabulary_size is None:
            values = values.unsqueeze(1)
        x, lengths = step_input(values, lengths)
        x = self.projections[str(m)](x) * math.sqrt(self.hidden_dim)
        x = x + sinusoidal_positions(x.shape[1], x.shape[2], x.device).to(x)
        there = present
        if lengths is not None:
            there = lengths > 0 if present is None else present & (lengths > 0)
        return _Embedded(x, lengths, there)

    def _within(self, embedded: dict[int, _Embedded]) -> dict[int, Tensor]:
        """Return the stream of self-attention of each modality that is a term, (b, h)."""
        found: dict[int, Tensor] = {}
        if self.self_streams is None:
            return found
        for members in _close_groups({m: embedded[m].n_steps for m in self.singles}):
            parts = [embedded[m] for m in members]
            n_steps = max(part.n_steps for part in parts)
            x = torch.stack([F.pad(p.steps, (0, 0, 0, n_steps - p.n_steps)) for p in parts])
            last = torch.stack([part.last_position() for part in parts])
            is_padded = any(p.lengths is not None or p.n_steps < n_steps for p in parts)
            mask = step_mask(last.flatten() + 1, n_steps).view(*last.shape, 1, 1, n_steps)
            keys = mask if is_padded else None
            streams = None
            if len(members) < len(self.singles):
                # Put together there: numbers sent to a GPU would have it waited for.
                streams = torch.stack([self.places[self.singles.index(m)] for m in members])
            summaries = self.self_streams(x, last, keys, streams)
            found.update(zip(members, summaries.unbind(), strict=True))
        return found

    def _across(self, embedded: dict[int, _Embedded]) -> dict[tuple[int, int], Tensor]:
        """Return each cross-modal stream, (b, h)."""
        if self.cross_streams is None:
            return {}
        members = sorted({a for a, _ in self.pairs})
        steps = {m: last_step(embedded[m].steps, embedded[m].lengths) for m in members}
        sequences = {m: standardize(embedded[m].steps) for m in members}
        keys = {m: embedded[m].keys() for m in members}
        summaries = self.cross_streams(steps, sequences, keys)
        return dict(zip(self.pairs, summaries.unbind(), strict=True))

    def _feature(
        self,
        term: tuple[int, ...],
        embedded: dict[int, _Embedded],
        within: dict[int, Tensor],
        across: dict[tuple[int, int], Tensor],
    ) -> Tensor:
        """Return the feature of a term, (b, output_dim), zero where a member is not there."""
        if len(term) == 1:
            feature = within[term[0]]
        else:
            feature = torch.cat([across[pair] for pair in _ordered_pairs(term)], 1)
        if len(term) > 2:
            feature = self.joint_maps[_key(term)](feature)
        masks = [mask for mask in [embedded[m].there for m in term] if mask is not None]
        if not masks:
            return feature
        return torch.where(reduce(torch.logical_and, masks).unsqueeze(1), feature, 0.0)


def _ordered_pairs(term: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return all (a, b) of different members: for two members a <- b, then b <- a."""
    return [(a, b) for a in term for b in term if a != b]


def _key(term: tuple[int, ...]) -> str:
    return "_".join(map(str, term))


def _close_groups(n_steps: dict[int, int]) -> list[list[int]]:
    """Return groups of modalities with about the same number of steps, the longest first."""
    groups: list[list[int]] = []
    for m in sorted(n_steps, key=lambda m: (-n_steps[m], m)):
        if groups and n_steps[m] >= _CLOSE * n_steps[groups[-1][0]]:
            groups[-1].append(m)
        else:
            groups.append([m])
    # In the order of the streams, so that one group of all needs no choice among the weights.
    return [sorted(group) for group in groups]
