"""MulT features, against streams computed one row, one step and one head at a time."""

import copy

import numpy as np
import pytest
import torch
from conformance import EncoderConformance, apply_linear, array, one_hot, seeded
from mult_modules import ALL, NOTHING, absent_case, assert_equal, build, draw
from test_attention import positions
from torch import nn
from torch.func import functional_call

from sklearn_mmfusion.modules.mult import MulTModule

# -- the oracle: every stream on its own, over all steps and with keys of their own ----------------


class Stream:
    """The weights of one of the stacked streams, in numpy."""

    def __init__(self, streams, position):
        self.blocks, self.norm, self.position = streams.blocks, streams.norm, position

    def of(self, parameter, n_streams):
        return array(parameter).reshape(n_streams, -1)[self.position]

    def linear(self, layer, x):
        weight = array(layer.weight)
        return x @ weight[self.position] + self.of(layer.bias, len(weight))

    def normalize(self, norm, x):
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return scaled * self.of(norm.weight, norm.n_streams) + self.of(norm.bias, norm.n_streams)

    def attend(self, block, x, source):
        width = x.shape[1]
        size = width // block.n_heads
        maps = np.split(array(block.query_key_value)[self.position], 3, axis=1)
        query = x @ maps[0] + self.of(block.query_bias, block.n_streams)
        key, value = source @ maps[1], source @ maps[2]
        attended = np.zeros_like(x)
        for head in range(block.n_heads):
            part = slice(head * size, (head + 1) * size)
            for t in range(len(x)):
                logits = key[:, part] @ query[t, part] / np.sqrt(size)
                share = np.exp(logits - logits.max())
                attended[t, part] = share / share.sum() @ value[:, part]
        return self.linear(block.merge, attended)

    def run(self, x, other=None):
        """Send a sequence through all blocks; keys and values from `other`, else from itself."""
        for block in self.blocks:
            y = self.normalize(block.attention_norm, x)
            source = y if other is None else self.normalize(block.attention_norm, other)
            x = x + self.attend(block, y, source)
            inner = self.linear(block.widen, self.normalize(block.feedforward_norm, x))
            x = x + self.linear(block.narrow, np.maximum(inner, 0))
        return self.normalize(self.norm, x)


def oracle(module, rows):
    """Return the features of one sample from its sequences (T, d) without padding."""
    embedded = {}
    for m, row in enumerate(rows):
        if str(m) not in module.projections:
            continue
        x = np.sqrt(module.hidden_dim) * apply_linear(module.projections[str(m)], row)
        embedded[m] = x + positions(*x.shape)
    features = []
    for term in module.terms:
        if len(term) == 1:
            stream = Stream(module.self_streams, module.singles.index(term[0]))
            features.append(stream.run(embedded[term[0]])[-1])
            continue
        parts = []
        for a in term:
            for b in term:
                if a != b:
                    stream = Stream(module.cross_streams, module.pairs.index((a, b)))
                    parts.append(stream.run(embedded[a], embedded[b])[-1])
        feature = np.concatenate(parts)
        if len(term) > 2:
            feature = apply_linear(module.joint_maps["_".join(map(str, term))], feature)
        features.append(feature)
    return features


# -- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize(
    "n_steps",
    [(4, 4, 4), (5, 4, 5), (9, 2, 3), (1, 6, 8)],
    ids=["equal", "close", "far", "grouped"],
)
def test_features_of_unaligned_sequences_equal_oracle(n_layers, n_steps):
    module = build(n_layers=n_layers)
    values, lengths = draw(n_steps=n_steps)
    features = module(values, lengths, NOTHING)
    assert [f.shape[1] for f in features] == module.output_dims == [6, 6, 6, 12, 12, 12, 12]
    for i in range(len(values[0])):
        rows = [x[i, : length[i]].numpy() for x, length in zip(values, lengths, strict=True)]
        for feature, expected in zip(features, oracle(module, rows), strict=True):
            np.testing.assert_allclose(array(feature[i]), expected, rtol=1e-10, atol=1e-10)


def test_features_without_lengths_equal_oracle():
    module = build()
    values, _ = draw(n_steps=(4, 3, 9))
    features = module(values, NOTHING, NOTHING)
    for i in range(len(values[0])):
        rows = [x[i].numpy() for x in values]
        for feature, expected in zip(features, oracle(module, rows), strict=True):
            np.testing.assert_allclose(array(feature[i]), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "terms",
    [[(0, 2)], [(1,)], [(0, 1, 2)], [(2,), (0, 1)], [(0,), (2,), (0, 1, 2), (1, 2)]],
    ids=str,
)
def test_any_subset_of_terms_equals_oracle(terms):
    module = build(terms)
    values, lengths = draw(n_steps=(9, 2, 8))
    features = module(values, lengths, NOTHING)
    rows = [x[2, : length[2]].numpy() for x, length in zip(values, lengths, strict=True)]
    for feature, expected in zip(features, oracle(module, rows), strict=True):
        np.testing.assert_allclose(array(feature[2]), expected, rtol=1e-10, atol=1e-10)


def test_terms_of_order_four_equal_oracle():
    dims = (2, 1, 3, 2)
    module = build([(0, 1, 2, 3), (0, 1, 3), (2, 3)], dims, n_layers=2)
    values, lengths = draw(3, (2, 3, 5, 4), dims)
    features = module(values, lengths, [None] * 4)
    assert module.joint_maps["0_1_2_3"].in_features == 12 * 6
    for i in range(3):
        rows = [x[i, : length[i]].numpy() for x, length in zip(values, lengths, strict=True)]
        for feature, expected in zip(features, oracle(module, rows), strict=True):
            np.testing.assert_allclose(array(feature[i]), expected, rtol=1e-10, atol=1e-10)


def test_stream_equals_attention_of_torch():
    # The oracle above reads the weights as the module does; torch's layer is a second opinion.
    module = build([(0, 1)], n_layers=1)
    values, _ = draw(n_steps=(4, 6, 1))
    x, y = (
        6**0.5 * module.projections[str(m)](values[m])
        + torch.tensor(positions(values[m].shape[1], 6))
        for m in (0, 1)
    )
    block, s = module.cross_streams.blocks[0], module.pairs.index((0, 1))
    attention = seeded(nn.MultiheadAttention, 6, 2, batch_first=True).double()
    norm = nn.LayerNorm(6).double()
    with torch.no_grad():
        attention.in_proj_weight.copy_(block.query_key_value[s].T)
        # The bias of the keys has no effect, that of the values is left out.
        attention.in_proj_bias[:6] = block.query_bias.view(2, 6)[s]
        attention.in_proj_bias[6:12] = torch.arange(6.0)
        attention.in_proj_bias[12:] = 0.0
        attention.out_proj.weight.copy_(block.merge.weight[s].T)
        attention.out_proj.bias.copy_(block.merge.bias.view(2, 6)[s])
        norm.weight.copy_(block.attention_norm.weight.view(2, 6)[s])
        norm.bias.copy_(block.attention_norm.bias.view(2, 6)[s])
    x = (x + attention(norm(x), norm(y), norm(y))[0])[:, -1]
    linear = nn.functional.linear
    z = nn.functional.layer_norm(
        x, (6,), *(p.view(2, 6)[s] for p in block.feedforward_norm.parameters())
    )
    inner = linear(z, block.widen.weight[s].T, block.widen.bias.view(2, 5)[s]).relu()
    x = x + linear(inner, block.narrow.weight[s].T, block.narrow.bias.view(2, 6)[s])
    final = (p.view(2, 6)[s] for p in module.cross_streams.norm.parameters())
    expected = nn.functional.layer_norm(x, (6,), *final)
    torch.testing.assert_close(module(values, NOTHING, NOTHING)[0][:, :6], expected)


def test_flat_modality_is_a_sequence_of_one_step():
    module = build()
    values, lengths = draw(n_steps=(4, 1, 3))
    lengths[1] = None
    as_steps = module(values, lengths, NOTHING)
    values[1] = values[1].squeeze(1)
    assert_equal(module(values, lengths, NOTHING), as_steps, 0)


@pytest.mark.parametrize("embedding_dim", [None, 3])
def test_codes_equal_oracle(embedding_dim):
    module = build(
        [(0,), (0, 1)],
        (1, 2),
        vocabulary_sizes=[4, None],
        embedding_dims=[embedding_dim, None],
    )
    values, lengths = draw(4, (5, 5), (1, 2))
    codes = torch.tensor([[0, 3, 1, 2, 1], [2, -1, -1, -1, -1], [1, 7, 0, -1, -1], [3] * 5])
    features = module([codes, values[1]], [None, lengths[1]], [None, None])
    for i, n_steps in enumerate((5, 1, 3, 5)):
        row = codes[i, :n_steps].numpy()
        if embedding_dim is None:
            steps = one_hot(row, 4)
        else:
            table = array(module.inputs["0"].embedding.weight)
            steps = table[np.where(row < 4, row, 4)]
        rows = [steps, values[1][i, : lengths[1][i]].numpy()]
        for feature, expected in zip(features, oracle(module, rows), strict=True):
            np.testing.assert_allclose(array(feature[i]), expected, rtol=1e-10, atol=1e-10)


def test_codes_of_an_empty_row_give_zeros():
    module = build([(0,)], (1,), vocabulary_sizes=[4])
    (feature,) = module([torch.tensor([[1, 2], [-1, -1]])], [None], [None])
    assert feature[0].abs().min() > 0
    assert torch.equal(feature[1], torch.zeros(6, dtype=torch.float64))


# -- every conformance test, of one term at a time ---------------------------------------------


class OneTerm(nn.Module):
    """MulT on parts of the features of one sequence, as an encoder."""

    def __init__(self, n_modalities, hidden_dim, n_layers):
        super().__init__()
        self.widths = [2, 1, 1][:n_modalities]
        terms = [tuple(range(n_modalities))]
        n_heads = 2 - hidden_dim % 2
        self.mult = MulTModule(
            self.widths, terms, hidden_dim, n_heads=n_heads, n_layers=n_layers, feedforward_dim=2
        )
        self.output_dim = self.mult.output_dims[0]

    def forward(self, values, lengths=None, weight=None):
        parts = values.split(self.widths, 2)
        nothing = [None] * len(parts)
        return self.mult(parts, [lengths] * len(parts), nothing, weight)[0]


class TestUnimodal(EncoderConformance):
    shape = (5, 2)
    is_sequence = True

    def make(self):
        return OneTerm(1, 4, 2)

    def oracle(self, module, row):
        return oracle(module.mult, np.split(row, np.cumsum(module.widths)[:-1], axis=1))[0]


class TestBimodal(TestUnimodal):
    shape = (3, 3)

    def make(self):
        return OneTerm(2, 3, 2)


class TestTrimodal(TestUnimodal):
    shape = (2, 4)
    # Many weights, each of which would be changed: those of unaligned sequences, below, stand for
    # them.
    test_gradients_are_right = None

    def make(self):
        return OneTerm(3, 3, 1)


# -- numbers, randomness, state ------------------------------------------------------------------


def test_gradients_of_unaligned_sequences_are_right():
    module = build(ALL, (1, 1, 2), n_layers=2, feedforward_dim=2)
    values, lengths = draw(3, (4, 4, 2), (1, 1, 2))
    present = [None, torch.tensor([True, True, False]), None]
    names = [name for name, _ in module.named_parameters()]
    inputs = [p.detach().clone().requires_grad_() for p in module.parameters()]
    inputs += [x.clone().requires_grad_() for x in values]

    def encode(*tensors):
        parameters = dict(zip(names, tensors, strict=False))
        arguments = (tensors[-3:], lengths, present)
        return tuple(functional_call(module, parameters, arguments))

    assert torch.autograd.gradcheck(encode, inputs, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype):
    module = build().to(dtype)
    values, lengths, present = absent_case()
    double = copy.deepcopy(module).double()(values, lengths, present)
    features = module([x.to(dtype) for x in values], lengths, present)
    for feature, expected in zip(features, double, strict=True):
        assert feature.dtype == dtype
        tolerance = 1e-4 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(feature.double(), expected, rtol=tolerance, atol=tolerance)


def test_batch_of_one_equals_the_row_in_a_batch():
    module = build()
    values, lengths, present = absent_case()
    together = module(values, lengths, present)
    for i in range(6):
        one = slice(i, i + 1)
        alone = module(
            [x[one] for x in values],
            [length[one] for length in lengths],
            [mask if mask is None else mask[one] for mask in present],
        )
        assert_equal(alone, [feature[one] for feature in together])
