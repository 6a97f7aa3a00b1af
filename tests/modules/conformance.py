"""The tests that every encoder module passes.

A subclass, named ``Test...``, gives a module, data and a slow numpy oracle, and inherits them.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch.func import functional_call

from sklearn_mmfusion.modules.batchnorm import WeightedBatchNorm

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": np.vectorize(lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))),
}
"""Name to a numpy function."""


class EncoderConformance:
    """Conformance tests of one encoder.

    Attributes
    ----------
    shape : tuple of int
        Shape of one row.
    is_sequence : bool
        Whether rows have lengths.
    vocabulary_size : int or None
        Number of codes, where the values are codes.
    counts_empty_rows : bool
        Whether batch statistics are over rows, so that an empty row counts unless weighted 0.
    """

    shape: tuple[int, ...] = (5,)
    is_sequence = False
    vocabulary_size: int | None = None
    counts_empty_rows = False

    def make(self):
        """Return a new module in float64."""
        raise NotImplementedError

    def oracle(self, module, row):
        """Return the encoding of one row without padding, in evaluation mode, by numpy."""
        raise NotImplementedError

    # -- data --------------------------------------------------------------------------------

    def build(self, training=False):
        """Return the module with weights and running statistics that are all different."""
        module = seeded(self.make).double()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in module.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(0.3 * noise)
            for child in module.modules():
                if isinstance(child, WeightedBatchNorm):
                    shape = child.running_mean.shape
                    child.running_mean.copy_(torch.randn(shape, generator=generator))
                    child.running_var.copy_(torch.rand(shape, generator=generator) + 0.5)
        return module.train(training)

    def draw(self, n=6, seed=2):
        """Return values and lengths (None unless a sequence), padded by zeros or -1."""
        generator = torch.Generator().manual_seed(seed)
        if self.vocabulary_size is not None:
            values = torch.randint(0, self.vocabulary_size, (n, *self.shape), generator=generator)
        else:
            values = torch.randn((n, *self.shape), generator=generator, dtype=torch.float64)
        if not self.is_sequence:
            return values, None
        n_steps = self.shape[0]
        lengths = torch.randint(1, n_steps + 1, (n,), generator=generator)
        lengths[0], lengths[1] = n_steps, 1
        return self.pad(values, lengths), lengths

    def pad(self, values, lengths):
        """Overwrite padded steps."""
        values = values.clone()
        for row, length in enumerate(lengths):
            values[row, length:] = 0 if self.vocabulary_size is None else -1
        return values

    # -- tests -------------------------------------------------------------------------------

    def test_value_equals_oracle(self):
        module = self.build()
        values, lengths = self.draw()
        encoded = module(values, lengths)
        assert encoded.shape == (len(values), module.output_dim)
        for i, row in enumerate(values.numpy()):
            valid = row if lengths is None else row[: lengths[i]]
            expected = self.oracle(module, valid)
            np.testing.assert_allclose(encoded[i].detach().numpy(), expected, rtol=1e-9, atol=1e-9)

    def test_value_without_lengths_equals_oracle(self):
        module = self.build()
        generator = torch.Generator().manual_seed(3)
        if self.vocabulary_size is not None:
            values = torch.randint(0, self.vocabulary_size, (3, *self.shape), generator=generator)
        else:
            values = torch.randn((3, *self.shape), generator=generator, dtype=torch.float64)
        expected = [self.oracle(module, row) for row in values.numpy()]
        np.testing.assert_allclose(module(values).detach().numpy(), expected, rtol=1e-9, atol=1e-9)

    # Differences in every weight take seconds per encoder: along one random direction they are
    # in the fast part.
    @pytest.mark.parametrize("all_weights", [False, pytest.param(True, marks=pytest.mark.slow)])
    @pytest.mark.parametrize("weights", [None, [1.0, 0.5, 2.0, 1.5]])
    @pytest.mark.parametrize("training", [False, True])
    def test_gradients_are_right(self, training, weights, all_weights):
        module = self.build(training)
        values, lengths = self.draw(n=4)
        weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        names = [name for name, _ in module.named_parameters()]
        inputs = [p.detach().clone().requires_grad_() for p in module.parameters()]
        if values.is_floating_point():
            inputs.append(values.clone().requires_grad_())
        if not inputs:
            return

        def encode(*tensors):
            x = tensors[-1] if values.is_floating_point() else values
            parameters = dict(zip(names, tensors, strict=False))
            return functional_call(module, parameters, (x, lengths, weight))

        assert torch.autograd.gradcheck(encode, inputs, atol=1e-6, fast_mode=not all_weights)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("training", [False, True])
    def test_dtype_is_kept(self, dtype, training):
        module = self.build(training).to(dtype)
        values, lengths = self.draw()
        if values.is_floating_point():
            values = values.to(dtype)
        encoded = module(values, lengths, torch.ones(len(values), dtype=dtype))
        assert encoded.dtype == dtype
        assert all(p.dtype == dtype for p in module.state_dict().values())

    def test_one_row_alone_equals_the_row_in_a_batch(self):
        module = self.build()
        values, lengths = self.draw()
        together = module(values, lengths)
        for i in range(len(values)):
            alone = module(values[i : i + 1], None if lengths is None else lengths[i : i + 1])
            torch.testing.assert_close(alone[0], together[i], rtol=1e-9, atol=1e-9)

    def test_one_row_in_training_is_finite(self):
        module = self.build(training=True)
        values, lengths = self.draw(n=2)
        encoded = module(values[:1], None if lengths is None else lengths[:1])
        assert encoded.isfinite().all()

    @pytest.mark.parametrize("training", [False, True])
    def test_permuted_rows_give_permuted_output(self, training):
        module = self.build(training)
        values, lengths = self.draw()
        order = torch.tensor([3, 1, 5, 0, 2, 4])
        straight = module(values, lengths)
        permuted = module(values[order], None if lengths is None else lengths[order])
        torch.testing.assert_close(permuted, straight[order], rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("training", [False, True])
    def test_content_of_padding_is_irrelevant(self, training):
        values, lengths = self.draw()
        if lengths is None or self.vocabulary_size is not None:
            return
        garbage = values.clone()
        for row, length in enumerate(lengths):
            garbage[row, length:] = 100.0 + row
        clean = self.build(training)(values, lengths)
        dirty = self.build(training)(garbage, lengths)
        torch.testing.assert_close(dirty, clean, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("training", [False, True])
    def test_length_of_padding_is_irrelevant(self, training):
        values, lengths = self.draw()
        if lengths is None:
            return
        fill = 0 if self.vocabulary_size is None else -1
        extra = torch.full((len(values), 3, *self.shape[1:]), fill, dtype=values.dtype)
        short = self.build(training)(values, lengths)
        long = self.build(training)(torch.cat([values, extra], 1), lengths)
        torch.testing.assert_close(long, short, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("training", [False, True])
    def test_row_without_valid_steps_is_finite_and_harmless(self, training):
        values, lengths = self.draw()
        if lengths is None:
            return
        lengths[2] = 0
        values = self.pad(values, lengths)
        kept = torch.tensor([0, 1, 3, 4, 5])
        module = self.build(training)
        encoded = module(values, lengths)
        if encoded.requires_grad:
            encoded.square().sum().backward()
        assert encoded.isfinite().all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
        if not self.counts_empty_rows:
            alone = self.build(training)(values[kept], lengths[kept])
            torch.testing.assert_close(encoded[kept], alone, rtol=1e-9, atol=1e-9)

    def test_state_dict_makes_round_trip(self):
        module, other = self.build(), seeded(self.make, seed=5).double().eval()
        other.load_state_dict(copy.deepcopy(module.state_dict()))
        values, lengths = self.draw()
        assert torch.equal(other(values, lengths), module(values, lengths))

    @pytest.mark.parametrize("training", [False, True])
    def test_weights_of_one_equal_no_weights(self, training):
        values, lengths = self.draw()
        plain, weighted = self.build(training), self.build(training)
        expected = plain(values, lengths)
        encoded = weighted(values, lengths, torch.ones(len(values), dtype=torch.float64))
        torch.testing.assert_close(encoded, expected, rtol=1e-9, atol=1e-9)
        for mine, theirs in zip(weighted.buffers(), plain.buffers(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)

    def test_whole_weights_equal_repeated_rows_in_training(self):
        values, lengths = self.draw()
        counts = torch.tensor([2, 1, 0, 3, 1, 1])
        rows = torch.repeat_interleave(torch.arange(len(values)), counts)
        weighted, repeated = self.build(True), self.build(True)
        encoded = weighted(values, lengths, counts.double())
        expected = repeated(values[rows], None if lengths is None else lengths[rows])
        torch.testing.assert_close(encoded[rows], expected, rtol=1e-9, atol=1e-9)
        for mine, theirs in zip(weighted.buffers(), repeated.buffers(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)

    def test_weights_of_zero_are_finite_in_training(self):
        values, lengths = self.draw()
        module = self.build(True)
        encoded = module(values, lengths, torch.zeros(len(values), dtype=torch.float64))
        assert encoded.isfinite().all()
        assert all(buffer.isfinite().all() for buffer in module.buffers())

    def test_global_random_state_is_left_alone(self):
        before = torch.get_rng_state()
        values, lengths = self.draw()
        self.build(True)(values, lengths)
        assert torch.equal(torch.get_rng_state(), before)


def seeded(make, *args, seed=0, **kwargs):
    """Return what a callable makes with torch's generator seeded, and put its state back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make(*args, **kwargs)


def array(tensor):
    """Return a tensor as an array, without its graph."""
    return tensor.detach().numpy()


def apply_norm(norm, x):
    """Normalise x (..., C) by running statistics."""
    scaled = (x - array(norm.running_mean)) / np.sqrt(array(norm.running_var) + norm.eps)
    if norm.weight is not None:
        scaled = scaled * array(norm.weight) + array(norm.bias)
    return scaled


def apply_linear(linear, x):
    """Apply a linear layer to x (..., d)."""
    y = x @ array(linear.weight).T
    return y if linear.bias is None else y + array(linear.bias)


def one_hot(codes, size):
    """Return the rows of the identity at the codes; zeros for codes out of range."""
    hot = np.zeros((len(codes), size))
    for step, code in enumerate(codes):
        if 0 <= code < size:
            hot[step, code] = 1.0
    return hot
