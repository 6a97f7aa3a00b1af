"""Transformer streams side by side: blocks with stacked weights, self-attention, cross-attention.

A stream is a stack of pre-LayerNorm blocks of its own weights. S streams of one kind are one
batched product each instead of S small ones.

Letters: S streams, b batch, n steps of the queries, T steps of the keys, h hidden width, a heads,
e = h / a width of a head, f width of the feed-forward network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sklearn_mmfusion.modules.dropout import Dropout

__all__ = ["CrossStreams", "SelfStreams", "StackedLinear", "StackedNorm", "StreamBlock"]


class StackedLinear(nn.Module):
    """A linear map for each stream.

    Parameters
    ----------
    n_streams : int
        Number of streams S.
    input_dim, output_dim : int
        Widths.

    Notes
    -----
    Weights are (S, input_dim, output_dim); biases lie flat, so that whoever exempts vectors from
    weight decay exempts them.
    """

    def __init__(self, n_streams: int, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_draw(n_streams, input_dim, output_dim))
        self.bias = nn.Parameter(torch.zeros(n_streams * output_dim))

    def forward(self, x: Tensor, streams: Tensor | None = None) -> Tensor:
        """Map each stream's steps, those of ``streams`` if given: (S, b, n, .) -> (S, b, n, .)."""
        bias = self.bias.view(self.weight.shape[0], 1, -1)
        y = torch.baddbmm(_choose(bias, streams), x.flatten(1, 2), _choose(self.weight, streams))
        return y.view(*x.shape[:3], -1)


class StackedNorm(nn.Module):
    """Layer normalisation with scale and shift for each stream.

    Parameters
    ----------
    n_streams : int
        Number of streams S.
    width : int
        Width h.
    """

    def __init__(self, n_streams: int, width: int) -> None:
        super().__init__()
        self.n_streams = n_streams
        self.weight = nn.Parameter(torch.ones(n_streams * width))
        self.bias = nn.Parameter(torch.zeros(n_streams * width))

    def forward(self, x: Tensor, streams: Tensor | None = None) -> Tensor:
        """Normalise each step: (S, b, n, h) -> (S, b, n, h)."""
        return self.affine(standardize(x), streams)

    def affine(self, x: Tensor, streams: Tensor | None = None) -> Tensor:
        """Scale and shift what is standardised already: (S, b, n, h) -> (S, b, n, h)."""
        shift = _choose(self.bias.view(self.n_streams, 1, 1, -1), streams)
        return torch.addcmul(shift, x, self.scale(streams))

    def scale(self, streams: Tensor | None = None) -> Tensor:
        """Return the scales, (S, 1, 1, h)."""
        return _choose(self.weight.view(self.n_streams, 1, 1, -1), streams)


class StreamBlock(nn.Module):
    """Attention and a feed-forward network for each stream, each x + f(LayerNorm(x)).

    Parameters
    ----------
    n_streams : int
        Number of streams S.
    width : int
        Width h.
    n_heads : int
        Number of attention heads a; divides h.
    feedforward_dim : int
        Width f.
    dropout : float
        Probability of dropping an element of what each half adds, and a unit inside the second.

    Notes
    -----
    Keys and values have no bias: the softmax does not see that of the keys (it adds the same to
    all logits of a query), and that of the values is one with the bias of the merging map.
    """

    def __init__(
        self, n_streams: int, width: int, n_heads: int, feedforward_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.n_streams, self.width, self.n_heads = n_streams, width, n_heads
        self.attention_norm = StackedNorm(n_streams, width)
        maps = [_draw(n_streams, width, width) for _ in range(3)]
        self.query_key_value = nn.Parameter(torch.cat(maps, 2))
        self.query_bias = nn.Parameter(torch.zeros(n_streams * width))
        self.merge = StackedLinear(n_streams, width, width)
        self.feedforward_norm = StackedNorm(n_streams, width)
        self.widen = StackedLinear(n_streams, width, feedforward_dim)
        self.narrow = StackedLinear(n_streams, feedforward_dim, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, keys: Tensor | None, streams: Tensor | None = None) -> Tensor:
        """Let all steps of a sequence attend to each other.

        Shape: x (S, b, n, h); keys bool (S, b, 1, 1, n), True where attended to -> (S, b, n, h).
        """
        n_streams, b, n_steps, _ = x.shape
        bias = F.pad(self.query_bias.view(self.n_streams, 1, -1), (0, 2 * self.width))
        parts = torch.baddbmm(
            _choose(bias, streams),
            self.attention_norm(x, streams).flatten(1, 2),
            _choose(self.query_key_value, streams),
        )
        # (S, bn, 3h) -> 3 x (Sb, a, n, e)
        parts = parts.view(n_streams * b, n_steps, 3, self.n_heads, -1).transpose(1, 3)
        query, key, value = parts.unbind(2)
        mask = None if keys is None else keys.flatten(0, 1)
        # torch would draw dropout of the attention from its global generator: there is none.
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self._finish(x, attended.transpose(1, 2).reshape(x.shape), streams)

    def forward_step(
        self, x: Tensor, look_up: Callable[[Tensor], Tensor], streams: Tensor | None = None
    ) -> Tensor:
        r"""Let one step attend to a sequence, without projecting the sequence.

        With :math:`k_t = W_k (\gamma \odot y_t + \beta)` the logits of a head are

        .. math:: q^T k_t = (\gamma \odot W_k^T q)^T y_t + \text{const},

        and the mean of the values is :math:`W_v (\gamma \odot \sum_t p_t y_t + \beta)`: both maps
        act on the one step instead of on all T.

        Shape: x (S, b, 1, h); ``look_up`` takes queries (S, b, a, h) and returns for each the mean
        of the standardised sequence by the softmax of the logits, (S, b, a, h) -> (S, b, 1, h).
        """
        weight = _choose(self.query_key_value, streams).unflatten(2, (3, self.n_heads, -1))
        of_query, of_key, of_value = weight.unbind(2)  # (S, h, a, e)
        bias = _choose(self.query_bias.view(self.n_streams, 1, -1), streams)
        y = self.attention_norm(x, streams).squeeze(2)
        query = torch.baddbmm(bias, y, of_query.flatten(2)).unflatten(2, (self.n_heads, -1))
        wanted = torch.einsum("sbae,shae->sbah", query, of_key)
        found = look_up(wanted * self.attention_norm.scale(streams))
        value = torch.einsum(
            "sbah,shae->sbae", self.attention_norm.affine(found, streams), of_value
        )
        return self._finish(x, value.reshape(x.shape), streams)

    def _finish(self, x: Tensor, attended: Tensor, streams: Tensor | None) -> Tensor:
        """Add what was attended to, merged over heads, and the feed-forward network."""
        x = x + self._drop(self.merge(attended, streams))
        inner = self._drop(F.relu(self.widen(self.feedforward_norm(x, streams), streams)))
        return x + self._drop(self.narrow(inner, streams))

    def _drop(self, x: Tensor) -> Tensor:
        """Drop elements; :class:`Dropout` wants the rows of the batch first."""
        dropped: Tensor = self.dropout(x.transpose(0, 1))
        return dropped.transpose(0, 1)


class SelfStreams(nn.Module):
    """Self-attention within sequences; the last valid step stands for each.

    Parameters
    ----------
    n_streams, width, n_heads, feedforward_dim, dropout
        See :class:`StreamBlock`.
    n_layers : int
        Number of blocks.

    Notes
    -----
    Only one step of the last block is used, so that only that step is computed there.
    """

    def __init__(
        self,
        n_streams: int,
        width: int,
        n_heads: int,
        feedforward_dim: int,
        dropout: float,
        n_layers: int,
    ) -> None:
        super().__init__()
        self.scale = math.sqrt(n_heads / width)
        self.blocks = nn.ModuleList(
            StreamBlock(n_streams, width, n_heads, feedforward_dim, dropout)
            for _ in range(n_layers)
        )
        self.norm = StackedNorm(n_streams, width)

    def forward(
        self,
        x: Tensor,
        last: Tensor,
        keys: Tensor | None = None,
        streams: Tensor | None = None,
    ) -> Tensor:
        """Return the normalised last steps.

        Shape: x (S, b, T, h), last int64 (S, b) the position of the last valid step, keys bool
        (S, b, 1, 1, T), streams int64 (S,) where x holds a part of the streams -> (S, b, h).
        """
        for block in list(self.blocks)[:-1]:
            x = block(x, keys, streams)
        sequence = standardize(x).flatten(0, 1).unsqueeze(1)
        mask = None if keys is None else keys.flatten(0, 1)

        def look_up(wanted: Tensor) -> Tensor:
            query = wanted.flatten(0, 1).unsqueeze(1)  # a head is one more query
            found = F.scaled_dot_product_attention(
                query, sequence, sequence, attn_mask=mask, scale=self.scale
            )
            return found.view(wanted.shape)

        at = last[:, :, None, None].expand(-1, -1, 1, x.shape[3])
        final = cast(StreamBlock, self.blocks[-1])
        step = final.forward_step(x.gather(2, at), look_up, streams)
        summary: Tensor = self.norm(step, streams).squeeze(2)
        return summary


class CrossStreams(nn.Module):
    """Cross-modal streams a <- b: queries of a sequence a, keys and values of a sequence b.

    Parameters
    ----------
    pairs : sequence of (int, int)
        The streams, as (a, b).
    width, n_heads, feedforward_dim, dropout, n_layers
        See :class:`SelfStreams`.

    Attributes
    ----------
    pairs : list of (int, int)
        The streams in the order of the result: those of one b are neighbours.

    Notes
    -----
    Keys and values of every block are the embedded sequence b itself, not the output of a block.
    So the steps of a never meet: what becomes of the last one depends on no other, and it alone
    is computed, in all blocks. This is exact, and costs 1 / T of the whole sequence.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[int, int]],
        width: int,
        n_heads: int,
        feedforward_dim: int,
        dropout: float,
        n_layers: int,
    ) -> None:
        super().__init__()
        self.pairs = sorted(pairs, key=lambda pair: (pair[1], pair[0]))
        self.scale = math.sqrt(n_heads / width)
        self.sources = sorted({b for _, b in pairs})
        self.counts = [sum(b == source for _, b in pairs) for source in self.sources]
        self.blocks = nn.ModuleList(
            StreamBlock(len(pairs), width, n_heads, feedforward_dim, dropout)
            for _ in range(n_layers)
        )
        self.norm = StackedNorm(len(pairs), width)

    def forward(
        self, steps: Sequence[Tensor], sequences: Sequence[Tensor], keys: Sequence[Tensor | None]
    ) -> Tensor:
        """Return the normalised last steps of the streams.

        Shape: per modality the last valid step (b, h), the standardised sequence (b, T, h) and
        the mask of its valid steps (b, 1, 1, T), T of its own -> (S, b, h).
        """

        def look_up(wanted: Tensor) -> Tensor:
            parts = zip(self.sources, wanted.split(self.counts), strict=True)
            return torch.cat([look_up_in(part, b) for b, part in parts])

        def look_up_in(wanted: Tensor, b: int) -> Tensor:
            # Streams and heads are so many queries to one sequence: (s, b, a, h) -> (b, 1, sa, h)
            query = wanted.transpose(0, 1).flatten(1, 2).unsqueeze(1)
            sequence = sequences[b].unsqueeze(1)
            found = F.scaled_dot_product_attention(
                query, sequence, sequence, attn_mask=keys[b], scale=self.scale
            )
            by_stream: Tensor = found.squeeze(1).unflatten(1, (wanted.shape[0], -1))
            return by_stream.transpose(0, 1)

        x = torch.stack([steps[a] for a, _ in self.pairs]).unsqueeze(2)
        for block in self.blocks:
            x = cast(StreamBlock, block).forward_step(x, look_up)
        summary: Tensor = self.norm(x).squeeze(2)
        return summary


def standardize(x: Tensor) -> Tensor:
    """Layer normalisation without scale and shift."""
    return F.layer_norm(x, x.shape[-1:])


def _draw(n_streams: int, input_dim: int, output_dim: int) -> Tensor:
    """Return matrices (S, input_dim, output_dim), each uniform after Glorot & Bengio (2010)."""
    bound = math.sqrt(6.0 / (input_dim + output_dim))
    return torch.empty(n_streams, input_dim, output_dim).uniform_(-bound, bound)


def _choose(stacked: Tensor, streams: Tensor | None) -> Tensor:
    """Return the parameters of some streams; all if None."""
    return stacked if streams is None else stacked[streams]
