"""Convolutional encoder of images.

Letters: b batch, H height, W width, C colours, c channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sklearn_mmfusion.modules.activations import is_monotone, make_activation
from sklearn_mmfusion.modules.batchnorm import WeightedBatchNorm
from sklearn_mmfusion.modules.dropout import Dropout

__all__ = ["Conv2dModule"]


class Conv2dModule(nn.Module):
    """Convolve an image, then pool it.

    Each layer is convolution (zeros around the image, so that its size stays), batch norm
    (optional), activation and max-pooling, which keeps an incomplete last window.

    Parameters
    ----------
    image_shape : tuple of int
        Shape of one image: ``(H, W)``, ``(C, H, W)`` or ``(H, W, C)``.
    channels : sequence of int, default=(16, 32)
        Channels of each layer.
    kernel_sizes : sequence of int, default=(3, 3)
        Width and height of each layer's kernel; odd.
    pool_sizes : sequence of int, default=(2, 2)
        Width and height of the max-pooling behind each layer; 1 means none.
    channels_axis : {"first", "last"}, default="first"
        Where the colours stand in ``(C, H, W)`` or ``(H, W, C)``.
    pooling : {"flatten", "mean", "max"}, default="flatten"
        "flatten" keeps the places, "mean" and "max" pool over them and take images of any size.
    batch_norm : bool, default=True
        Whether channels are normalised.
    activation : str, default="relu"
        See :data:`~sklearn_mmfusion.modules.activations.ACTIVATIONS`.
    dropout : float, default=0.0
        Probability of dropping a pooled feature.
    output_dim : int, optional
        Width of a linear map behind the pooled features; None means no map.

    Attributes
    ----------
    output_dim : int
        Width of the result.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        channels: Sequence[int] = (16, 32),
        kernel_sizes: Sequence[int] = (3, 3),
        pool_sizes: Sequence[int] = (2, 2),
        *,
        channels_axis: Literal["first", "last"] = "first",
        pooling: Literal["flatten", "mean", "max"] = "flatten",
        batch_norm: bool = True,
        activation: str = "relu",
        dropout: float = 0.0,
        output_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.is_grey = len(image_shape) == 2
        self.channels_last = not self.is_grey and channels_axis == "last"
        self.pool_sizes = tuple(pool_sizes)
        self.pooling = pooling
        self.activation = make_activation(activation)
        self.pool_first = is_monotone(activation)
        if self.is_grey:
            width, height, breadth = 1, *image_shape
        elif self.channels_last:
            height, breadth, width = image_shape
        else:
            width, height, breadth = image_shape
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        for n_channels, kernel, size in zip(channels, kernel_sizes, self.pool_sizes, strict=True):
            self.convolutions.append(nn.Conv2d(width, n_channels, kernel, padding=kernel // 2))
            if batch_norm:
                self.norms.append(WeightedBatchNorm(n_channels))
            width, height, breadth = n_channels, -(-height // size), -(-breadth // size)
        if pooling == "flatten":
            width *= height * breadth
        self.dropout = Dropout(dropout)
        self.head: nn.Module = nn.Identity() if output_dim is None else nn.Linear(width, output_dim)
        self.output_dim = width if output_dim is None else output_dim

    def forward(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Return the encoded rows.

        Shape: values (b, H, W), (b, C, H, W) or (b, H, W, C); weight (b,) -> (b, output_dim).
        An image has no steps: ``lengths`` is not used.
        """
        x = values.unsqueeze(1) if self.is_grey else values
        if self.channels_last:
            x = x.permute(0, 3, 1, 2)
        for i, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if x.device.type == "cpu":
                # The channels of a pixel side by side: max-pooling is six times faster, the rest
                # of the layer a little.
                x = x.contiguous(memory_format=torch.channels_last)
            if self.norms:
                x = self.norms[i](x, weight)
            size = self.pool_sizes[i]
            # The same behind the maximum as in front of it, on a quarter of the elements.
            if not self.pool_first:
                x = self.activation(x)
            if size > 1:
                x = F.max_pool2d(x, size, ceil_mode=True)
            if self.pool_first:
                x = self.activation(x)
        if self.pooling == "flatten":
            x = x.flatten(1)
        elif self.pooling == "mean":
            x = x.mean((2, 3))
        else:
            x = x.flatten(2).max(2).values
        encoded: Tensor = self.head(self.dropout(x))
        return encoded
