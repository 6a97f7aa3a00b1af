"""Encoder parameter objects that convolve: sequences, integer codes and images."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal

from sklearn.utils._param_validation import StrOptions
from torch import nn

from sklearn_mmfusion._encoders.sequences import CODES, SequenceEncoder
from sklearn_mmfusion._encoders.specs import ACTIVATION, AT_LEAST_ONE, PROBABILITY, BaseEncoder
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.data._blocks import ModalityLayout
from sklearn_mmfusion.modules.convolution import Conv1dModule
from sklearn_mmfusion.modules.images import Conv2dModule

__all__ = ["Conv1dEncoder", "Conv2dEncoder"]


class Conv1dEncoder(SequenceEncoder):
    """Find local patterns of a sequence by convolutions, and pool them over its valid steps.

    Use it on sequences (n, T, d) or codes (n, T) in which short motifs matter and not their
    place: characters, nucleotides, sensor signals.

    Parameters
    ----------
    channels : tuple of int, default=(32,)
        Number of patterns of each layer; its length is the number of layers.
    kernel_size : int or tuple of int, default=7
        Length of the patterns in steps, for all layers or each.
    pool_size : int or tuple of int, default=1
        Steps that max-pooling behind each layer makes one of; 1 means none.
    padding : {"same", "valid"}, default="same"
        "same" puts zeros around the sequence, so that a layer returns as many steps as it gets;
        "valid" keeps to whole windows, with zeros behind rows that are too short for one.
    pooling : {"max", "mean", "max_mean", "flatten"}, default="max"
        Summary of the last layer over the valid steps; "flatten" keeps every step of the length
        T seen in fit (shorter sequences are filled up with zeros, longer ones cut).
    batch_norm : bool, default=False
        Whether each layer's output is normalised over the valid steps of the batch.
    activation : {"relu", "elu", "gelu", "silu", "tanh"}, default="relu"
        Activation of each layer.
    dropout : float, default=0.0
        Probability, from 0 to 1, with which a pooled feature is zeroed in training.
    output_dim : int, default=None
        Width of a linear map behind the pooled features; None hands these on.
    vocabulary_size : int, default=None
        Number of symbols, for values that are integer codes (n, T); see :class:`GRUEncoder`.
    embedding_dim : int, default=None
        Width of a learned embedding of the codes instead of one-hot.

    Notes
    -----
    The character network of Zhang, Zhao & LeCun (2015) is ``Conv1dEncoder(channels=(256,) * 6,
    kernel_size=(7, 7, 3, 3, 3, 3), pool_size=(3, 3, 1, 1, 1, 3), padding="valid",
    pooling="flatten", dropout=0.5, output_dim=1024, vocabulary_size=70)``.

    References
    ----------
    Zhang, Zhao & LeCun (2015), "Character-level Convolutional Networks for Text Classification",
    section 2 and table 1.

    Examples
    --------
    >>> from sklearn_mmfusion import Conv1dEncoder
    >>> Conv1dEncoder(channels=(64, 64), kernel_size=5)
    Conv1dEncoder(channels=(64, 64), kernel_size=5)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "channels": [AT_LEAST_ONE, tuple, list],
        "kernel_size": [AT_LEAST_ONE, tuple, list],
        "pool_size": [AT_LEAST_ONE, tuple, list],
        "padding": [StrOptions({"same", "valid"})],
        "pooling": [StrOptions({"max", "mean", "max_mean", "flatten"})],
        "batch_norm": ["boolean"],
        "activation": [ACTIVATION],
        "dropout": [PROBABILITY],
        "output_dim": [AT_LEAST_ONE, None],
        **CODES,
    }

    def __init__(
        self,
        *,
        channels: int | Sequence[int] = (32,),
        kernel_size: int | Sequence[int] = 7,
        pool_size: int | Sequence[int] = 1,
        padding: Literal["same", "valid"] = "same",
        pooling: Literal["max", "mean", "max_mean", "flatten"] = "max",
        batch_norm: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
        output_dim: int | None = None,
        vocabulary_size: int | None = None,
        embedding_dim: int | None = None,
    ) -> None:
        self.channels = channels
        self.kernel_size = kernel_size
        self.pool_size = pool_size
        self.padding = padding
        self.pooling = pooling
        self.batch_norm = batch_norm
        self.activation = activation
        self.dropout = dropout
        self.output_dim = output_dim
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim

    def _build(self, layout: ModalityLayout) -> nn.Module:
        width = self._step_width(layout)
        channels, kernels, pools = _per_layer(self, layout)
        return Conv1dModule(
            width,
            channels,
            kernels,
            pools,
            padding=self.padding,
            pooling=self.pooling,
            batch_norm=self.batch_norm,
            activation=self.activation,
            dropout=self.dropout,
            output_dim=self.output_dim,
            n_steps=layout.shape[0],
            vocabulary_size=self.vocabulary_size,
            embedding_dim=self.embedding_dim,
        )


class Conv2dEncoder(BaseEncoder):
    """Encode images by a small convolutional network.

    It takes grey images (n, H, W) and images with colours (n, C, H, W) or (n, H, W, C).

    Parameters
    ----------
    channels : tuple of int, default=(16, 32, 64)
        Number of patterns of each layer; its length is the number of layers. Three layers with
        pooling make one place of 8 x 8 pixels.
    kernel_size : int or tuple of int, default=3
        Height and width of the patterns in pixels, odd, for all layers or each.
    pool_size : int or tuple of int, default=2
        Side of the squares of pixels that max-pooling behind each layer makes one of.
    pooling : {"flatten", "mean", "max"}, default="flatten"
        "flatten" keeps the places, which suits small images of aligned objects; "mean" and
        "max" pool over the places.
    channels_axis : {"auto", "first", "last"}, default="auto"
        Where the colours are in 4-D values. "auto" takes the shorter of the two axes, the first
        when they are equal.
    batch_norm : bool, default=True
        Whether each layer's output is normalised over the batch.
    activation : {"relu", "elu", "gelu", "silu", "tanh"}, default="relu"
        Activation of each layer.
    dropout : float, default=0.5
        Probability, from 0 to 1, with which a pooled feature is zeroed in training. With
        "flatten" the linear map has a weight for every pattern at every place: without dropout
        it fits the training images too closely. Like every dropout of the package it falls to 0
        over ``max_epochs``.
    output_dim : int, default=32
        Width of a linear map behind the pooled features; None hands these on.

    Examples
    --------
    >>> from sklearn_mmfusion import Conv2dEncoder
    >>> Conv2dEncoder(channels=(8, 16, 32), pooling="mean")
    Conv2dEncoder(channels=(8, 16, 32), pooling='mean')
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "channels": [AT_LEAST_ONE, tuple, list],
        "kernel_size": [AT_LEAST_ONE, tuple, list],
        "pool_size": [AT_LEAST_ONE, tuple, list],
        "pooling": [StrOptions({"flatten", "mean", "max"})],
        "channels_axis": [StrOptions({"auto", "first", "last"})],
        "batch_norm": ["boolean"],
        "activation": [ACTIVATION],
        "dropout": [PROBABILITY],
        "output_dim": [AT_LEAST_ONE, None],
    }

    def __init__(
        self,
        *,
        channels: int | Sequence[int] = (16, 32, 64),
        kernel_size: int | Sequence[int] = 3,
        pool_size: int | Sequence[int] = 2,
        pooling: Literal["flatten", "mean", "max"] = "flatten",
        channels_axis: Literal["auto", "first", "last"] = "auto",
        batch_norm: bool = True,
        activation: str = "relu",
        dropout: float = 0.5,
        output_dim: int | None = 32,
    ) -> None:
        self.channels = channels
        self.kernel_size = kernel_size
        self.pool_size = pool_size
        self.pooling = pooling
        self.channels_axis = channels_axis
        self.batch_norm = batch_norm
        self.activation = activation
        self.dropout = dropout
        self.output_dim = output_dim

    def _build(self, layout: ModalityLayout) -> nn.Module:
        shape = layout.shape
        if len(shape) not in (2, 3):
            raise self._refuse(
                layout, "3-D (n, H, W) or 4-D (n, C, H, W) or (n, H, W, C)", "reshape to images"
            )
        axis: Literal["first", "last"] = "last" if shape[-1] < shape[0] else "first"
        if self.channels_axis != "auto":
            axis = self.channels_axis
        channels, kernels, pools = _per_layer(self, layout)
        if any(kernel % 2 == 0 for kernel in kernels):
            raise InputError(
                f"modality {layout.name!r}: kernel_size of Conv2dEncoder must be odd, "
                f"got {self.kernel_size!r}"
            )
        return Conv2dModule(
            shape,
            channels,
            kernels,
            pools,
            channels_axis=axis,
            pooling=self.pooling,
            batch_norm=self.batch_norm,
            activation=self.activation,
            dropout=self.dropout,
            output_dim=self.output_dim,
        )


def _per_layer(
    encoder: Conv1dEncoder | Conv2dEncoder, layout: ModalityLayout
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return channels, kernel and pool sizes of each layer."""
    channels = encoder.channels
    n_layers = len(channels) if isinstance(channels, Sequence) else 1
    found = []
    for name in ("channels", "kernel_size", "pool_size"):
        value = getattr(encoder, name)
        sizes = tuple(value) if isinstance(value, Sequence) else (value,) * n_layers
        if len(sizes) != n_layers or n_layers == 0:
            raise InputError(
                f"modality {layout.name!r}: {type(encoder).__name__} has channels={channels!r}, "
                f"so {name} must be one integer or one for each of the layers, got {value!r}"
            )
        if not all(isinstance(size, Integral) and int(size) >= 1 for size in sizes):
            raise InputError(
                f"modality {layout.name!r}: {name} of {type(encoder).__name__} must hold "
                f"integers of at least 1, got {value!r}"
            )
        found.append(tuple(int(size) for size in sizes))
    return found[0], found[1], found[2]
