"""Transformer encoder of sequences.

Letters: b batch, T steps, d features, h hidden units, a attention heads.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sklearn_mmfusion.modules.dropout import Dropout
from sklearn_mmfusion.modules.sequences import SequenceInput, last_step, step_mask

__all__ = ["TransformerModule", "sinusoidal_positions"]


def sinusoidal_positions(
    n_steps: int, width: int, device: torch.device | str | None = None
) -> Tensor:
    r"""Return the fixed position code of each step.

    .. math::

        P_{t, 2i} = \sin(t / 10000^{2i/h}), \qquad P_{t, 2i+1} = \cos(t / 10000^{2i/h})

    Parameters
    ----------
    n_steps : int
        Number of steps T.
    width : int
        Width h of the code; may be odd.
    device : torch.device or str, optional
        Where to compute them; by default on the CPU.

    Returns
    -------
    Tensor of shape (T, h)
        In float64.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.5.
    """
    even = torch.arange(0, width, 2, dtype=torch.float64, device=device)
    steps = torch.arange(n_steps, dtype=torch.float64, device=device).unsqueeze(1)
    angles = steps * torch.exp(-math.log(10000.0) / width * even)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width]


class _Block(nn.Module):
    """Self-attention and a feed-forward network, each x + f(LayerNorm(x)).

    Reference: Xiong et al. (2020), "On Layer Normalization in the Transformer Architecture":
    with the norm inside the residual branch training needs no warm-up.
    """

    def __init__(self, width: int, n_heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.feedforward_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, feedforward_dim)
        self.narrow = nn.Linear(feedforward_dim, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """Shape: x (b, T, h), keys bool (b, 1, 1, T), True where attended to -> (b, T, h)."""
        x = x + self.dropout(self._attend(self.attention_norm(x), keys))
        inner = self.dropout(F.gelu(self.widen(self.feedforward_norm(x))))
        deeper: Tensor = x + self.dropout(self.narrow(inner))
        return deeper

    def _attend(self, x: Tensor, keys: Tensor | None) -> Tensor:
        b, n_steps, width = x.shape
        # (b, T, 3h) -> 3 x (b, a, T, h / a)
        parts = self.query_key_value(x).view(b, n_steps, 3, self.n_heads, -1).unbind(2)
        query, key, value = (part.transpose(1, 2) for part in parts)
        # torch would draw dropout of the attention from its global generator: there is none.
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=keys)
        merged: Tensor = self.merge(attended.transpose(1, 2).reshape(b, n_steps, width))
        return merged


class TransformerModule(nn.Module):
    """Encode a sequence by self-attention among its valid steps.

    Parameters
    ----------
    input_dim : int
        Number of features d.
    hidden_dim : int, default=32
        Width h of every layer.
    n_layers : int, default=1
        Number of blocks.
    n_heads : int, default=4
        Number of attention heads; divides ``hidden_dim``.
    feedforward_dim : int, optional
        Width of the feed-forward networks; None means twice ``hidden_dim``.
    summary : {"mean", "last"}, default="mean"
        What becomes of the encoded steps: their mean, or the last valid one.
    dropout : float, default=0.0
        Probability of dropping an element of what each half block adds.
    output_dim : int, optional
        Width of a linear map behind the summary; None means no map.
    vocabulary_size, embedding_dim : int, optional
        See :class:`~sklearn_mmfusion.modules.sequences.SequenceInput`.

    Attributes
    ----------
    output_dim : int
        Width of the result.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int = 32,
        *,
        n_layers: int = 1,
        n_heads: int = 4,
        feedforward_dim: int | None = None,
        summary: Literal["mean", "last"] = "mean",
        dropout: float = 0.0,
        output_dim: int | None = None,
        vocabulary_size: int | None = None,
        embedding_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.summary = summary
        self.input = SequenceInput(input_dim, vocabulary_size, embedding_dim)
        self.project = nn.Linear(self.input.output_dim, hidden_dim)
        inner = 2 * hidden_dim if feedforward_dim is None else feedforward_dim
        self.blocks = nn.ModuleList(
            _Block(hidden_dim, n_heads, inner, dropout) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.head: nn.Module = (
            nn.Identity() if output_dim is None else nn.Linear(hidden_dim, output_dim)
        )
        self.output_dim = hidden_dim if output_dim is None else output_dim

    def forward(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Return the encoded rows.

        Shape: values (b, T, d) or codes (b, T); lengths (b,) -> (b, output_dim). There are no
        batch statistics: ``weight`` is not used.
        """
        x, lengths = self.input(values, lengths)
        x = self.project(x)
        x = x + sinusoidal_positions(x.shape[1], x.shape[2], x.device).to(x)
        keys = None
        if lengths is not None:
            # A softmax over no key at all would be NaN; the summary of an empty row is zero.
            keys = step_mask(lengths.clamp(min=1), x.shape[1])[:, None, None, :]
        for block in self.blocks:
            x = block(x, keys)
        encoded: Tensor = self.head(self._summarize(x, lengths))
        return encoded

    def _summarize(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the normalised summary: (b, T, h) -> (b, h)."""
        if self.summary == "last":
            last: Tensor = self.norm(last_step(x, lengths))
            return last
        x = self.norm(x)
        if lengths is None:
            return x.mean(1)
        x = x.masked_fill(~step_mask(lengths, x.shape[1]).unsqueeze(2), 0.0)
        return x.sum(1) / lengths.clamp(min=1).unsqueeze(1)
