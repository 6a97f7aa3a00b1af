"""The maximum of a convolution over the steps, with a gradient that touches only what won.

Letters: b batch, d features, T steps, c channels, k width of the kernel, S = T - k + 1 windows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["convolved_maximum", "pays"]

_LARGEST_WINDOW = 64  # numbers in a window, d k: each window is written out
_FAR = 1e30  # makes any difference of two numbers more than the number of steps


def pays(x: Tensor, kernel_size: int) -> bool:
    """Whether :func:`convolved_maximum` is faster than convolution, maximum and their gradients.

    The gradient of a maximum reaches one window of each row and channel, where that of a
    convolution goes through all of them: the more windows, and the smaller, the more is saved.

    Parameters
    ----------
    x : Tensor of shape (b, d, T)
        What would be convolved, zeros around it included.
    kernel_size : int
        Width k of the kernel.
    """
    size = x.shape[1] * kernel_size
    is_plain = x.device.type == "cpu" and not torch.compiler.is_compiling()
    return (
        is_plain
        and torch.is_grad_enabled()
        and not x.requires_grad
        and not torch.is_autocast_enabled("cpu")
        and size <= min(_LARGEST_WINDOW, x.shape[2])
    )


def convolved_maximum(x: Tensor, weight: Tensor, bias: Tensor, valid: Tensor | None) -> Tensor:
    """Convolve, and take the largest result over the windows.

    Parameters
    ----------
    x : Tensor of shape (b, d, T)
        Sequences, to which there is no gradient.
    weight : Tensor of shape (c, d, k)
        Kernels.
    bias : Tensor of shape (c,)
        What is added to the results of each kernel.
    valid : Tensor of bool of shape (b, 1, S), optional
        The windows that count; None means all.

    Returns
    -------
    Tensor of shape (b, c)
        Minus infinity in rows without a window that counts.
    """
    outside = None
    if valid is not None:
        outside = torch.zeros(valid.shape, dtype=x.dtype).masked_fill_(~valid, -torch.inf)
    top: Tensor = _ConvolvedMaximum.apply(x, weight, outside)  # type: ignore[no-untyped-call]
    return top + bias


class _ConvolvedMaximum(torch.autograd.Function):
    """Convolution as one matrix product, and the windows that won."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, outside: Tensor | None) -> Tensor:
        x = x.contiguous()
        n_channels, n_features, width = weight.shape
        n_rows, _, n_steps = x.shape
        n_windows = n_steps - width + 1
        overlapping = x.as_strided(
            (n_features, width, n_rows, n_windows), (n_steps, 1, n_features * n_steps, 1)
        )
        windows = overlapping.reshape(n_features * width, n_rows * n_windows)
        results = (weight.reshape(n_channels, -1) @ windows).view(n_channels, n_rows, n_windows)
        if outside is not None:
            results += outside.squeeze(1)
        top = results.amax(2)
        # The number of the window that won, of several the last, by sums alone: comparisons and
        # maxima with an index are ten times slower. 0 where no window counts, or none is a number.
        behind = results.sub_(top.unsqueeze(2))
        numbers = torch.arange(n_windows, dtype=x.dtype)
        won = torch.add(numbers, behind, alpha=_FAR).amax(2).nan_to_num_(0.0).long()
        ctx.save_for_backward(windows, won)
        ctx.n_windows, ctx.shape = n_windows, weight.shape
        return top.t()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        windows, won = ctx.saved_tensors
        gradient = gradients[0].t()
        n_channels, n_rows = won.shape
        places = won + torch.arange(n_rows) * ctx.n_windows
        picked = windows.index_select(1, places.flatten()).view(-1, n_channels, n_rows)
        return None, (picked * gradient).sum(2).t().reshape(ctx.shape), None
