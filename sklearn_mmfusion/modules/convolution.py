"""Convolutional encoders of sequences.

Letters: b batch, T steps, d features, c channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sklearn_mmfusion.modules.activations import is_monotone, make_activation
from sklearn_mmfusion.modules.batchnorm import WeightedBatchNorm
from sklearn_mmfusion.modules.dropout import Dropout
from sklearn_mmfusion.modules.sequences import SequenceInput, step_mask, step_weights
from sklearn_mmfusion.modules.windows import convolved_maximum, pays

__all__ = ["Conv1dModule"]


class Conv1dModule(nn.Module):
    """Convolve a sequence, then pool it over its valid steps.

    Each layer is convolution, batch norm (optional), activation, max-pooling (optional).

    Parameters
    ----------
    input_dim : int
        Number of features d.
    channels : sequence of int, default=(32,)
        Channels of each layer.
    kernel_sizes : sequence of int, default=(7,)
        Width of each layer's kernel in steps.
    pool_sizes : sequence of int, default=(1,)
        Width of the max-pooling behind each layer; 1 means none.
    padding : {"same", "valid"}, default="same"
        With "same" zeros stand around the sequence, so that a layer returns as many steps as it
        gets, and pooling keeps an incomplete last window. With "valid" only whole windows count,
        in both; a row too short for one is filled up with zeros.
    pooling : {"max", "mean", "max_mean", "flatten"}, default="max"
        Summary of the valid steps of the last layer; "flatten" keeps all steps (of ``n_steps``).
    batch_norm : bool, default=False
        Whether channels are normalised, over the valid steps of the batch.
    activation : str, default="relu"
        See :data:`~sklearn_mmfusion.modules.activations.ACTIVATIONS`.
    dropout : float, default=0.0
        Probability of dropping a pooled feature.
    output_dim : int, optional
        Width of a linear map behind the pooled features; None means no map.
    n_steps : int, optional
        Steps T for which "flatten" is built; shorter sequences are filled up, longer ones cut.
    vocabulary_size, embedding_dim : int, optional
        See :class:`~sklearn_mmfusion.modules.sequences.SequenceInput`.

    Attributes
    ----------
    output_dim : int
        Width of the result.

    Notes
    -----
    A row gets the same result alone as among longer rows: what a layer makes of the padding is
    set to zero before the next one. An activation that never falls is applied behind the
    maximum instead of in front of it, which is the same and touches fewer elements. Where that
    maximum is over all steps, :mod:`~sklearn_mmfusion.modules.windows` trains the last layer.

    The character network of Zhang, Zhao & LeCun (2015), "Character-level Convolutional Networks
    for Text Classification", table 1 (small), is ``channels=(256,) * 6, kernel_sizes=(7, 7, 3, 3,
    3, 3), pool_sizes=(3, 3, 1, 1, 1, 3), padding="valid", pooling="flatten"``.
    """

    def __init__(
        self,
        input_dim: int,
        channels: Sequence[int] = (32,),
        kernel_sizes: Sequence[int] = (7,),
        pool_sizes: Sequence[int] = (1,),
        *,
        padding: str = "same",
        pooling: str = "max",
        batch_norm: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
        output_dim: int | None = None,
        n_steps: int | None = None,
        vocabulary_size: int | None = None,
        embedding_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_sizes = tuple(kernel_sizes)
        self.pool_sizes = tuple(pool_sizes)
        self.same = padding == "same"
        self.pooling = pooling
        self.activation = make_activation(activation)
        self.pool_first = is_monotone(activation)
        # Whether a maximum over all steps directly follows the last convolution.
        is_last_pooled = self.pool_sizes[-1] > 1 or batch_norm
        self.only_maximum = pooling == "max" and self.pool_first and not is_last_pooled
        self.min_steps = self._fewest_steps()
        self.input = SequenceInput(input_dim, vocabulary_size, embedding_dim)
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        width = self.input.output_dim
        for n_channels, kernel in zip(channels, self.kernel_sizes, strict=True):
            pad = kernel // 2 if self.same and kernel % 2 else 0
            self.convolutions.append(nn.Conv1d(width, n_channels, kernel, padding=pad))
            if batch_norm:
                self.norms.append(WeightedBatchNorm(n_channels))
            width = n_channels
        self.flat_steps = 0
        if pooling == "flatten":
            if n_steps is None:
                raise ValueError("pooling='flatten' needs n_steps")
            self.flat_steps = self._steps_left(max(n_steps, self.min_steps))
        self.dropout = Dropout(dropout)
        width *= {"max_mean": 2, "flatten": self.flat_steps}.get(pooling, 1)
        self.head: nn.Module = nn.Identity() if output_dim is None else nn.Linear(width, output_dim)
        self.output_dim = width if output_dim is None else output_dim

    def forward(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Return the encoded rows.

        Shape: values (b, T, d) or codes (b, T); lengths (b,); weight (b,) -> (b, output_dim).
        """
        x, lengths = self.input(values, lengths, channels_first=True)
        if lengths is not None:
            x = x.masked_fill(_padded(lengths, x.shape[2]), 0.0)
            lengths = torch.where(lengths > 0, lengths.clamp(min=self.min_steps), lengths)
        if x.shape[2] < self.min_steps:
            x = F.pad(x, (0, self.min_steps - x.shape[2]))
        last = len(self.convolutions) - 1
        for i, convolution in enumerate(self.convolutions):
            kernel = self.kernel_sizes[i]
            around = ((kernel - 1) // 2, kernel // 2) if self.same else (0, 0)
            if lengths is not None and not self.same:
                lengths = (lengths - kernel + 1).clamp(min=0)
            if i == last and self.only_maximum and pays(x, kernel):
                x = F.pad(x, around)
                valid = None if lengths is None else ~_padded(lengths, x.shape[2] - kernel + 1)
                kernels, bias = convolution.parameters()
                top = convolved_maximum(x, kernels, bias, valid)
                return self._headed(self._finished_maximum(top, lengths))
            if self.same and kernel % 2 == 0:
                x = F.pad(x, around)
            x = convolution(x)
            if self.norms:
                weights = step_weights(x, x.shape[2], lengths, weight)
                x = self.norms[i](x, None if weights is None else weights.unsqueeze(1))
            x, lengths = self._activate_and_pool(x, lengths, self.pool_sizes[i], i == last)
        return self._headed(self._summarize(x, lengths))

    def _headed(self, pooled: Tensor) -> Tensor:
        encoded: Tensor = self.head(self.dropout(pooled))
        return encoded

    def _activate_and_pool(
        self, x: Tensor, lengths: Tensor | None, size: int, is_last: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Apply activation and max-pooling; padded steps come out as zeros.

        Where a maximum over all steps follows it does the masking, and a monotone activation.
        """
        maximum_follows = is_last and self.pooling == "max"
        late = self.pool_first and (size > 1 or maximum_follows)
        if not late:
            x = self.activation(x)
        if size > 1:
            if lengths is not None:
                x = x.masked_fill(_padded(lengths, x.shape[2]), -torch.inf)
                lengths = (lengths + size - 1 if self.same else lengths) // size
            x = F.max_pool1d(x, size, ceil_mode=self.same)
        if maximum_follows:
            return x, lengths
        if lengths is not None:
            x = x.masked_fill(_padded(lengths, x.shape[2]), 0.0)
        return (self.activation(x) if late else x), lengths

    def _summarize(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Pool over the valid steps: (b, c, T) -> (b, features)."""
        if self.pooling == "flatten":
            missing = self.flat_steps - x.shape[2]
            return F.pad(x, (0, missing)).flatten(1)  # a negative pad cuts
        parts = []
        if self.pooling != "mean":
            parts.append(self._maximum(x, lengths))
        if self.pooling != "max":
            if lengths is None:
                parts.append(x.mean(2))
            else:
                parts.append(x.sum(2) / lengths.clamp(min=1).unsqueeze(1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _maximum(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the maximum over the valid steps, with the activation if it is still due."""
        if lengths is not None:
            x = x.masked_fill(_padded(lengths, x.shape[2]), -torch.inf)
        # Where there is no gradient to share among equal steps, the faster of the two.
        top = x.max(2).values if torch.is_grad_enabled() else x.amax(2)
        return self._finished_maximum(top, lengths)

    def _finished_maximum(self, top: Tensor, lengths: Tensor | None) -> Tensor:
        """Return zeros for rows without a valid step; apply the activation if it is still due."""
        if lengths is not None:
            top = torch.where(lengths.unsqueeze(1) > 0, top, 0.0)
        if self.pool_first and self.pooling == "max":
            top = self.activation(top)
        return top

    def _fewest_steps(self) -> int:
        """Return how many steps it takes to get one step out of the last layer."""
        if self.same:
            return 1
        steps = 1
        for kernel, size in zip(self.kernel_sizes[::-1], self.pool_sizes[::-1], strict=True):
            steps = steps * size + kernel - 1
        return steps

    def _steps_left(self, n_steps: int) -> int:
        """Return how many steps the last layer has."""
        for kernel, size in zip(self.kernel_sizes, self.pool_sizes, strict=True):
            if self.same:
                n_steps = -(-n_steps // size)
            else:
                n_steps = (n_steps - kernel + 1) // size
        return n_steps


def _padded(lengths: Tensor, n_steps: int) -> Tensor:
    """Return which steps are padding: bool (b, 1, T)."""
    return ~step_mask(lengths, n_steps).unsqueeze(1)
