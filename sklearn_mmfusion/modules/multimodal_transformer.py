"""The Multimodal Transformer as a predictor of its own: cross-modal streams under memories.

Letters: b batch, m modality, T steps, h hidden width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sklearn_mmfusion.modules.attention import sinusoidal_positions
from sklearn_mmfusion.modules.dropout import Dropout
from sklearn_mmfusion.modules.sequences import SequenceInput, last_step, step_mask

__all__ = ["MultimodalTransformerModule"]


class _AttentionBlock(nn.Module):
    """Attention and a feed-forward network, each x + f(LayerNorm(x)); keys may be another's."""

    def __init__(self, width: int, n_heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.merge = nn.Linear(width, width)
        self.feedforward_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, inner)
        self.narrow = nn.Linear(inner, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, source: Tensor | None, keys: Tensor | None) -> Tensor:
        """Attend to another sequence, or to x itself where ``source`` is None.

        Shape: x (b, T, h), source (b, S, h), keys bool (b, 1, 1, S) -> (b, T, h).
        """
        normed = self.attention_norm(x)
        other = normed if source is None else self.attention_norm(source)
        b, n_steps, width = x.shape
        query = self.query(normed).view(b, n_steps, self.n_heads, -1).transpose(1, 2)
        parts = self.key_value(other).view(b, other.shape[1], 2, self.n_heads, -1).unbind(2)
        key, value = (part.transpose(1, 2) for part in parts)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=keys)
        x = x + self.dropout(self.merge(attended.transpose(1, 2).reshape(b, n_steps, width)))
        inner = self.dropout(torch.relu(self.widen(self.feedforward_norm(x))))
        deeper: Tensor = x + self.dropout(self.narrow(inner))
        return deeper


class MultimodalTransformerModule(nn.Module):
    """Read every modality through all others, and remember what was read (MulT).

    For each modality a: streams a <- b from every other modality b, concatenated; blocks of
    self-attention over them (the memory); the last valid step. The result is the summaries of all
    modalities side by side.

    Parameters
    ----------
    input_dims : sequence of int
        Features of a step of each modality; not used for codes.
    hidden_dim : int, default=40
        Width h of a stream.
    n_heads, n_layers : int
        Attention heads and blocks of each stream; ``memory_layers`` blocks of each memory.
    memory_layers : int, default=1
        Blocks of self-attention over the concatenated streams.
    feedforward_dim : int, optional
        Width of the feed-forward networks; None means four times that of the stream.
    dropout : float, default=0
        Probability of dropping an element of what each half block adds.
    vocabulary_sizes, embedding_dims : sequence of int or None, optional
        Per modality, see :class:`~sklearn_mmfusion.modules.sequences.SequenceInput`.

    Attributes
    ----------
    output_dims : list of int
        Length of the result, as a list of one.

    References
    ----------
    Tsai et al. (2019), "Multimodal Transformer for Unaligned Multimodal Language Sequences",
    section 3.
    """

    def __init__(
        self,
        input_dims: Sequence[int],
        hidden_dim: int = 40,
        *,
        n_heads: int = 8,
        n_layers: int = 2,
        memory_layers: int = 1,
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
        n = len(input_dims)
        nothing: list[int | None] = [None] * n
        self.hidden_dim = hidden_dim
        self.inputs = nn.ModuleList(
            SequenceInput(*sizes)
            for sizes in zip(
                input_dims, vocabulary_sizes or nothing, embedding_dims or nothing, strict=True
            )
        )
        self.projections = nn.ModuleList(
            nn.Linear(i.output_dim, hidden_dim, bias=False)  # type: ignore[arg-type]
            for i in self.inputs
        )
        # A single modality attends to itself.
        self.pairs = [(a, b) for a in range(n) for b in range(n) if a != b or n == 1]

        def stack(width: int, count: int) -> nn.ModuleList:
            inner = 4 * width if feedforward_dim is None else feedforward_dim
            return nn.ModuleList(
                _AttentionBlock(width, n_heads, inner, dropout) for _ in range(count)
            )

        self.streams = nn.ModuleList(stack(hidden_dim, n_layers) for _ in self.pairs)
        self.stream_norms = nn.ModuleList(nn.LayerNorm(hidden_dim) for _ in self.pairs)
        width = hidden_dim * max(1, n - 1)
        self.memories = nn.ModuleList(stack(width, memory_layers) for _ in range(n))
        self.memory_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(n))
        self.output_dims = [n * width]

    def forward(
        self,
        values: Sequence[Tensor],
        lengths: Sequence[Tensor | None],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the summaries of all modalities side by side, (b, n_modalities * width).

        Shape: values per modality (b, T, d), codes (b, T), or flat (b, d), one step; lengths and
        present (b,) or None. A stream from an absent modality, and the summary of one, is zero.
        There are no batch statistics: ``weight`` is not used.
        """
        steps, valid, there = [], [], []
        for m, (step_input, linear) in enumerate(zip(self.inputs, self.projections, strict=True)):
            x = values[m]
            if x.ndim == 2 and step_input.vocabulary_size is None:
                x = x.unsqueeze(1)
            x, length = step_input(x, lengths[m])
            x = linear(x) * math.sqrt(self.hidden_dim)
            steps.append(x + sinusoidal_positions(x.shape[1], x.shape[2], x.device).to(x))
            valid.append(length)
            mask = present[m]
            if length is not None:
                mask = length > 0 if mask is None else mask & (length > 0)
            there.append(mask)
        summaries = []
        for a, (memory, norm) in enumerate(zip(self.memories, self.memory_norms, strict=True)):
            parts = [
                self._stream(i, steps[a], steps[b], valid[b], there[b])
                for i, (query, b) in enumerate(self.pairs)
                if query == a
            ]
            x = torch.cat(parts, 2)
            for block in cast(nn.ModuleList, memory):
                x = block(x, None, _key_mask(valid[a], x.shape[1]))
            last = norm(last_step(x, valid[a]))
            mask = there[a]
            summaries.append(last if mask is None else torch.where(mask[:, None], last, 0.0))
        return [torch.cat(summaries, 1)]

    def _stream(
        self, i: int, x: Tensor, source: Tensor, length: Tensor | None, there: Tensor | None
    ) -> Tensor:
        """Return one cross-modal stream, (b, T, h)."""
        keys = _key_mask(length, source.shape[1])
        for block in cast(nn.ModuleList, self.streams[i]):
            x = block(x, source, keys)
        x = self.stream_norms[i](x)
        return x if there is None else torch.where(there[:, None, None], x, 0.0)

    def values_per_row(self, shapes: Sequence[tuple[int, ...]]) -> int:
        """Numbers that a row takes, about."""
        steps = max(
            1 if len(s) == 1 and i.vocabulary_size is None else s[0]
            for s, i in zip(shapes, self.inputs, strict=True)
        )
        return 12 * self.hidden_dim * steps * len(self.pairs)


def _key_mask(lengths: Tensor | None, n_steps: int) -> Tensor | None:
    """Return which steps may be attended to, bool (b, 1, 1, T); at least one in every row."""
    if lengths is None:
        return None
    return step_mask(lengths.clamp(min=1), n_steps)[:, None, None, :]
