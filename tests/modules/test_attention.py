"""Tests of the Transformer encoder, against an implementation in numpy."""

import math

import numpy as np
import pytest
import torch
from conformance import ACTIVATIONS, EncoderConformance, apply_linear, array, seeded
from torch import nn

from sklearn_mmfusion.modules.attention import TransformerModule, sinusoidal_positions


def layer_norm(norm, x):
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + norm.eps)
    return scaled * array(norm.weight) + array(norm.bias)


def positions(n_steps, width):
    code = np.zeros((n_steps, width))
    for t in range(n_steps):
        for j in range(width):
            angle = t / 10000 ** ((j - j % 2) / width)
            code[t, j] = math.sin(angle) if j % 2 == 0 else math.cos(angle)
    return code


def attend(block, x):
    width = x.shape[1]
    size = width // block.n_heads
    query, key, value = np.split(apply_linear(block.query_key_value, x), 3, axis=1)
    merged = np.zeros_like(x)
    for head in range(block.n_heads):
        part = slice(head * size, (head + 1) * size)
        logits = query[:, part] @ key[:, part].T / math.sqrt(size)
        share = np.exp(logits - logits.max(1, keepdims=True))
        merged[:, part] = share / share.sum(1, keepdims=True) @ value[:, part]
    return apply_linear(block.merge, merged)


class TestTransformer(EncoderConformance):
    shape = (5, 3)
    is_sequence = True

    def make(self):
        return TransformerModule(3, 6, n_layers=2, n_heads=2, feedforward_dim=5)

    def oracle(self, module, row):
        x = apply_linear(module.project, row)
        x = x + positions(*x.shape)
        for block in module.blocks:
            x = x + attend(block, layer_norm(block.attention_norm, x))
            inner = ACTIVATIONS["gelu"](
                apply_linear(block.widen, layer_norm(block.feedforward_norm, x))
            )
            x = x + apply_linear(block.narrow, inner)
        x = layer_norm(module.norm, x)
        x = x.mean(0) if module.summary == "mean" else x[-1]
        return x if isinstance(module.head, nn.Identity) else apply_linear(module.head, x)


class TestTransformerLastWithHead(TestTransformer):
    def make(self):
        return TransformerModule(3, 5, n_heads=1, summary="last", output_dim=4)


@pytest.mark.parametrize("width", [1, 4, 5])
def test_positions_equal_formula(width):
    expected = positions(7, width)
    np.testing.assert_allclose(sinusoidal_positions(7, width).numpy(), expected, atol=1e-12)


def test_transformer_sees_the_order_of_steps():
    module = seeded(TransformerModule, 3, 8).eval()
    x = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(module(x), module(x.flip(1)))
