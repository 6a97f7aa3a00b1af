"""GRU and LSTM encoders that read the last valid step.

Letters: b batch, T steps, d features, h hidden units.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from sklearn_mmfusion.modules.batchnorm import WeightedBatchNorm
from sklearn_mmfusion.modules.dropout import Dropout
from sklearn_mmfusion.modules.sequences import (
    SequenceInput,
    flip_steps,
    last_step,
    step_weights,
)

__all__ = ["RecurrentModule"]

# Rows read at a time where no gradient is kept: a chunk of thousands leaves the caches, which takes
# twice the time and many times the memory.
_PIECE_ROWS = 512

_CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentModule(nn.Module):
    """Run a GRU or LSTM and return its state at the last valid step.

    Parameters
    ----------
    input_dim : int
        Number of features d.
    hidden_dim : int, default=32
        Number of hidden units h, in each direction.
    cell : {"gru", "lstm"}, default="gru"
        Kind of recurrence.
    n_layers : int, default=1
        Number of layers.
    bidirectional : bool, default=False
        Whether a second network reads each layer's input from the last valid step to the first.
    batch_norm : bool, default=False
        Whether the input is normalised per feature, over the valid steps of the batch. Codes are
        never normalised.
    dropout : float, default=0.0
        Probability of dropping an output of a layer, the final state included.
    output_dim : int, optional
        Width of a linear map behind the state; None means no map.
    vocabulary_size, embedding_dim : int, optional
        See :class:`~sklearn_mmfusion.modules.sequences.SequenceInput`.

    Attributes
    ----------
    output_dim : int
        Width of the result.

    Notes
    -----
    Padded batches with a gather of the last valid step equal packed sequences to round-off and
    are faster. The backward direction flips each row by its own length, since it would otherwise
    start in the padding.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int = 32,
        *,
        cell: Literal["gru", "lstm"] = "gru",
        n_layers: int = 1,
        bidirectional: bool = False,
        batch_norm: bool = False,
        dropout: float = 0.0,
        output_dim: int | None = None,
        vocabulary_size: int | None = None,
        embedding_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.input = SequenceInput(input_dim, vocabulary_size, embedding_dim)
        width = self.input.output_dim
        self.norm = WeightedBatchNorm(width) if batch_norm and vocabulary_size is None else None
        self.forward_layers = nn.ModuleList()
        self.backward_layers = nn.ModuleList()
        for _ in range(n_layers):
            self.forward_layers.append(_CELLS[cell](width, hidden_dim, batch_first=True))
            if bidirectional:
                self.backward_layers.append(_CELLS[cell](width, hidden_dim, batch_first=True))
            width = hidden_dim * (1 + bidirectional)
        self.dropout = Dropout(dropout)
        self.head: nn.Module = nn.Identity() if output_dim is None else nn.Linear(width, output_dim)
        self.output_dim = width if output_dim is None else output_dim

    def forward(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Return the encoded rows.

        Shape: values (b, T, d) or codes (b, T); lengths (b,); weight (b,) -> (b, output_dim).
        """
        x, lengths = self.input(values, lengths)
        if self.norm is not None:
            weights = step_weights(x, x.shape[1], lengths, weight)
            flat = None if weights is None else weights.reshape(-1)
            x = self.norm(x.reshape(-1, x.shape[2]), flat).view(x.shape)
        if torch.is_grad_enabled() or self.training or len(x) < 2 * _PIECE_ROWS:
            states = self._states(x, lengths)
        else:
            # No short piece at the end: a product of few rows may be rounded in another way.
            pieces = [
                slice(_PIECE_ROWS * i, _PIECE_ROWS * (i + 1)) for i in range(len(x) // _PIECE_ROWS)
            ]
            pieces[-1] = slice(pieces[-1].start, len(x))
            states = torch.cat(
                [
                    self._states(x[rows], None if lengths is None else lengths[rows])
                    for rows in pieces
                ]
            )
        encoded: Tensor = self.head(states)
        return encoded

    def _states(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the state of the last layer at the last valid step, (b, T, d) -> (b, h)."""
        last = len(self.forward_layers) - 1
        for i, layer in enumerate(self.forward_layers):
            ahead = layer(x)[0]
            if not self.backward_layers:
                x = ahead if i < last else last_step(ahead, lengths)
            else:
                back = self.backward_layers[i](flip_steps(x, lengths))[0]
                if i < last:
                    x = torch.cat([ahead, flip_steps(back, lengths)], 2)
                else:
                    # In reversed order the last valid step has seen the whole row, too.
                    x = torch.cat([last_step(ahead, lengths), last_step(back, lengths)], 1)
            x = self.dropout(x)
        return x
