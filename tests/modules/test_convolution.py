"""Tests of convolutional encoders, against loops in numpy."""

import itertools

import numpy as np
import pytest
import torch
from conformance import (
    ACTIVATIONS,
    EncoderConformance,
    apply_linear,
    apply_norm,
    array,
    one_hot,
    seeded,
)
from torch import nn

from sklearn_mmfusion.modules.convolution import Conv1dModule
from sklearn_mmfusion.modules.images import Conv2dModule


def convolve(layer, x, same):
    """Correlate x (T, d) with the kernels of a layer, window by window."""
    kernels, bias = array(layer.weight), array(layer.bias)
    size = kernels.shape[2]
    if same:
        x = np.pad(x, (((size - 1) // 2, size // 2), (0, 0)))
    windows = [x[t : t + size] for t in range(len(x) - size + 1)]
    return np.array([np.einsum("ocs,sc->o", kernels, window) + bias for window in windows])


def pool(x, size, same):
    """Return the maximum of each window of the steps of x (T, c)."""
    stop = len(x) if same else len(x) // size * size
    return np.array([x[t : t + size].max(0) for t in range(0, stop, size)])


def conv1d(module, x, activation):
    if len(x) < module.min_steps:
        x = np.pad(x, ((0, module.min_steps - len(x)), (0, 0)))
    for i, layer in enumerate(module.convolutions):
        x = convolve(layer, x, module.same)
        if module.norms:
            x = apply_norm(module.norms[i], x)
        x = pool(ACTIVATIONS[activation](x), module.pool_sizes[i], module.same)
    if module.pooling == "flatten":
        x = np.pad(x, ((0, module.flat_steps - len(x)), (0, 0))).T.ravel()
    else:
        parts = {"max": [x.max(0)], "mean": [x.mean(0)], "max_mean": [x.max(0), x.mean(0)]}
        x = np.concatenate(parts[module.pooling])
    return x if isinstance(module.head, nn.Identity) else apply_linear(module.head, x)


class Conv1dConformance(EncoderConformance):
    shape = (9, 3)
    is_sequence = True
    settings: dict = {}
    layers: tuple = ((4,), (3,), (1,))

    def make(self):
        return Conv1dModule(3, *self.layers, n_steps=9, **self.settings)

    def oracle(self, module, row):
        return conv1d(module, row, self.settings.get("activation", "relu"))


class TestConv1d(Conv1dConformance):
    pass


class TestConv1dWide(Conv1dConformance):
    layers = ((4, 3), (4, 2), (2, 3))
    settings = {"batch_norm": True, "pooling": "max_mean", "output_dim": 2}


class TestConv1dValid(Conv1dConformance):
    layers = ((4, 3), (3, 2), (2, 2))
    settings = {"padding": "valid", "batch_norm": True}


class TestConv1dValidFlat(Conv1dConformance):
    layers = ((4,), (3,), (2,))
    settings = {"padding": "valid", "pooling": "flatten", "activation": "tanh"}


class TestConv1dGelu(Conv1dConformance):
    layers = ((4, 2), (3, 3), (2, 2))
    settings = {"activation": "gelu"}


class TestConv1dFlat(Conv1dConformance):
    layers = ((2, 2), (3, 3), (2, 1))
    settings = {"pooling": "flatten", "activation": "elu"}


class TestConv1dMean(Conv1dConformance):
    layers = ((2, 2), (3, 3), (2, 2))
    settings = {"pooling": "mean", "batch_norm": True}


class TestConv1dOfOneHotCodes(Conv1dConformance):
    shape = (9,)
    vocabulary_size = 3
    settings = {"vocabulary_size": 3}

    def oracle(self, module, row):
        return conv1d(module, one_hot(row, 3), "relu")


class TestConv1dOfEmbeddedCodes(TestConv1dOfOneHotCodes):
    settings = {"vocabulary_size": 3, "embedding_dim": 2, "padding": "valid"}

    def oracle(self, module, row):
        return conv1d(module, array(module.input.embedding.weight)[row], "relu")


def test_character_network_has_the_published_sizes():
    # Zhang, Zhao & LeCun (2015), section 2.3: (1014 - 96) / 27 = 34 steps are left.
    module = seeded(
        Conv1dModule,
        1,
        (8,) * 6,
        (7, 7, 3, 3, 3, 3),
        (3, 3, 1, 1, 1, 3),
        padding="valid",
        pooling="flatten",
        n_steps=1014,
        vocabulary_size=70,
    )
    assert module.flat_steps == 34
    assert module(torch.zeros(1, 1014, dtype=torch.int64)).shape == (1, 8 * 34)


def test_conv1d_flatten_needs_the_number_of_steps():
    with pytest.raises(ValueError, match="n_steps"):
        seeded(Conv1dModule, 3, pooling="flatten")


@pytest.mark.parametrize("n_steps", [4, 12])
def test_conv1d_flatten_takes_other_numbers_of_steps(n_steps):
    module = seeded(Conv1dModule, 3, pooling="flatten", n_steps=9)
    assert module(torch.ones(2, n_steps, 3)).shape == (2, 9 * 32)


def conv2d(module, image, activation):
    """Encode one image (C, H, W) by loops over pixels."""
    x = image
    for i, layer in enumerate(module.convolutions):
        kernels, bias = array(layer.weight), array(layer.bias)
        half = kernels.shape[2] // 2
        framed = np.pad(x, ((0, 0), (half, half), (half, half)))
        y = np.zeros((len(kernels), *x.shape[1:]))
        for r, s in itertools.product(range(x.shape[1]), range(x.shape[2])):
            window = framed[:, r : r + 2 * half + 1, s : s + 2 * half + 1]
            y[:, r, s] = np.einsum("ochw,chw->o", kernels, window) + bias
        if module.norms:
            y = apply_norm(module.norms[i], y.transpose(1, 2, 0)).transpose(2, 0, 1)
        y = ACTIVATIONS[activation](y)
        size = module.pool_sizes[i]
        rows, columns = range(0, y.shape[1], size), range(0, y.shape[2], size)
        x = np.array(
            [[c[r : r + size, s : s + size].max() for r in rows for s in columns] for c in y]
        ).reshape(len(y), len(rows), len(columns))
    flat = x.reshape(len(x), -1)
    x = {"flatten": flat.ravel(), "mean": flat.mean(1), "max": flat.max(1)}[module.pooling]
    return x if isinstance(module.head, nn.Identity) else apply_linear(module.head, x)


class TestConv2dGrey(EncoderConformance):
    shape = (5, 6)

    def make(self):
        return Conv2dModule(self.shape, (2, 3), output_dim=2)

    def oracle(self, module, row):
        return conv2d(module, row[None], "relu")


class TestConv2dColoursFirst(EncoderConformance):
    shape = (2, 5, 4)

    def make(self):
        return Conv2dModule(
            self.shape, (3,), (5,), (1,), batch_norm=False, pooling="mean", activation="gelu"
        )

    def oracle(self, module, row):
        return conv2d(module, row, "gelu")


class TestConv2dColoursLast(EncoderConformance):
    shape = (5, 4, 2)

    def make(self):
        return Conv2dModule(self.shape, (3,), (3,), (2,), channels_axis="last", pooling="max")

    def oracle(self, module, row):
        return conv2d(module, row.transpose(2, 0, 1), "relu")
