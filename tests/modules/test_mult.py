"""Tests of MulT features, against streams computed one row, one step and one head at a time."""

import copy

import numpy as np
import pytest
import torch
from conformance import EncoderConformance, apply_linear, array, one_hot, seeded
from test_attention import positions
from torch import nn
from torch.func import functional_call

from sklearn_mmfusion.modules.crossmodal import StreamBlock
from sklearn_mmfusion.modules.dropout import Dropout, set_dropout_generator
from sklearn_mmfusion.modules.mult import MulTModule

ALL = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
DIMS = (3, 2, 4)

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


# -- modules and data --------------------------------------------------------------------------


def build(terms=ALL, dims=DIMS, seed=0, noise=0.3, **options):
    """Return a module in float64 whose weights, norms and biases are all different."""
    options = {"n_heads": 2, "n_layers": 3, "feedforward_dim": 5, **options}
    module = seeded(MulTModule, dims, terms, 6, seed=seed, **options).double()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in module.parameters():
            draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(noise * draw)
    return module.eval()


def draw(n=5, n_steps=(4, 4, 4), dims=DIMS, seed=2):
    """Return padded values and lengths; rows 0 and 1 have the most steps and one."""
    generator = torch.Generator().manual_seed(seed)
    values, lengths = [], []
    for longest, d in zip(n_steps, dims, strict=True):
        x = torch.randn(n, longest, d, generator=generator, dtype=torch.float64)
        length = torch.randint(1, longest + 1, (n,), generator=generator)
        length[0], length[1] = longest, 1
        valid = torch.arange(longest) < length[:, None]
        values.append(x * valid[:, :, None])
        lengths.append(length)
    return values, lengths


def assert_equal(features, expected, tolerance=1e-10):
    for ours, theirs in zip(features, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


NOTHING = [None] * 3


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


# -- padding and absence -------------------------------------------------------------------------


@pytest.mark.parametrize("m", [0, 1, 2])
def test_more_padding_changes_nothing(m):
    module = build()
    values, lengths = draw(n_steps=(4, 5, 3))
    lengths[m][0] = values[m].shape[1] - 1  # so that padding is not cut off again
    values[m][0, -1] = 0
    expected = module(values, lengths, NOTHING)
    # One row is longer, in another batch, so that the padding of the first rows stays.
    longer = [torch.cat([x, x[:1]]) for x in values]
    extra = torch.full((6, 7, DIMS[m]), 50.0, dtype=torch.float64)
    longer[m] = torch.cat([longer[m], extra], 1)
    n_steps = [torch.cat([length, length[:1]]) for length in lengths]
    n_steps[m][-1] = longer[m].shape[1]
    features = module(longer, n_steps, NOTHING)
    assert_equal([feature[:5] for feature in features], expected, 1e-12)


def absent_case():
    values, lengths = draw(6, (4, 6, 3))
    present = [None, torch.tensor([True, False, True, True, False, True]), torch.ones(6).bool()]
    present[2][[1, 3]] = False
    for m in (1, 2):
        values[m][~present[m]] = 0
        lengths[m][~present[m]] = 0
    return values, lengths, present


def test_features_of_absent_modalities_are_exactly_zero():
    module = build()
    values, lengths, present = absent_case()
    features = module(values, lengths, present)
    for term, feature in zip(module.terms, features, strict=True):
        there = torch.ones(6).bool()
        for m in term:
            there &= torch.ones(6).bool() if present[m] is None else present[m]
        assert torch.equal(feature[~there], torch.zeros_like(feature[~there]))
        assert bool((feature[there].abs().amax(1) > 0.01).all())


@pytest.mark.parametrize("has_lengths", [True, False])
def test_absent_rows_influence_no_other(has_lengths):
    module = build()
    values, lengths, present = absent_case()
    if not has_lengths:
        lengths = NOTHING
    expected = module(values, lengths, present)
    for m in (1, 2):
        values[m][~present[m]] = 7.0
    assert_equal(module(values, lengths, present), expected, 0)
    kept = torch.tensor([0, 2, 5])
    alone = module(
        [x[kept] for x in values],
        [length if length is None else length[kept] for length in lengths],
        NOTHING,
    )
    assert_equal(alone, [feature[kept] for feature in expected])


def test_absent_rows_give_no_gradient():
    module = build()
    values, lengths, present = absent_case()
    values = [x.requires_grad_() for x in values]
    sum(feature.square().sum() for feature in module(values, lengths, present)).backward()
    for m in (1, 2):
        assert torch.equal(values[m].grad[~present[m]], torch.zeros_like(values[m][~present[m]]))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_modality_absent_everywhere_gives_zeros():
    module = build()
    values, lengths = draw()
    present = [None, torch.zeros(5).bool(), None]
    values[1], lengths[1] = torch.zeros_like(values[1]), torch.zeros_like(lengths[1])
    for term, feature in zip(module.terms, module(values, lengths, present), strict=True):
        assert feature.isfinite().all()
        assert bool((feature == 0).all()) == (1 in term)


# -- order, sharing ------------------------------------------------------------------------------


def test_order_of_terms_changes_nothing_but_the_order_of_features():
    module, turned = build(noise=0), build(ALL[::-1], noise=0)
    assert turned.output_dims == module.output_dims[::-1]
    values, lengths = draw()
    assert_equal(turned(values, lengths, NOTHING)[::-1], module(values, lengths, NOTHING), 0)


def test_permuted_modalities_with_permuted_weights_give_the_same_features():
    module, permuted = build(), build(seed=3, dims=(4, 3, 2))
    old = {0: 2, 1: 0, 2: 1}  # new position -> position in `module`
    state = module.state_dict()
    moved = {}
    for name, tensor in permuted.state_dict().items():
        head, rest = name.split(".", 1)
        if head == "projections":
            m, rest = rest.split(".")
            moved[name] = state[f"projections.{old[int(m)]}.{rest}"]
        elif head == "joint_maps":  # its inputs are the pairs in order, six columns each
            moved[name] = state[name]
            if rest.endswith("weight"):
                pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
                blocks = state[name].unflatten(1, (6, 6))
                chosen = [pairs.index((old[a], old[b])) for a, b in pairs]
                moved[name] = blocks[:, chosen].flatten(1)
        else:
            streams = permuted.singles if head == "self_streams" else permuted.pairs
            if head == "self_streams":
                source = [module.singles.index(old[m]) for m in streams]
            else:
                source = [module.pairs.index((old[a], old[b])) for a, b in streams]
            by_stream = state[name].view(len(streams), -1)[source]
            moved[name] = by_stream.view(tensor.shape)
    permuted.load_state_dict(moved)
    values, lengths = draw()
    expected = dict(zip(ALL, module(values, lengths, NOTHING), strict=True))
    places = [old[m] for m in range(3)]
    features = permuted([values[m] for m in places], [lengths[m] for m in places], NOTHING)
    for term, feature in zip(ALL, features, strict=True):
        before = [old[m] for m in term]
        if before == sorted(before) or len(term) != 2:
            theirs = expected[tuple(sorted(before))]
        else:  # the two streams of a pair trade places
            theirs = expected[tuple(sorted(before))].roll(6, 1)
        torch.testing.assert_close(feature, theirs, rtol=1e-10, atol=1e-10)


def test_shared_streams_are_computed_once(monkeypatch):
    rows = []
    attention = torch.nn.functional.scaled_dot_product_attention

    def counted(query, *args, **kwargs):
        rows.append(query.shape[:-1].numel())
        return attention(query, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    values, _ = draw()
    b, n_heads, n_layers, n_steps = 5, 2, 3, 4
    across = 6 * b * n_heads * n_layers  # one step of each of six streams
    within = 3 * b * n_heads * ((n_layers - 1) * n_steps + 1)
    for terms, expected in [
        (ALL, across + within),
        (ALL[3:], across),
        ([(0, 1, 2)], across),
        (ALL[:3], within),
    ]:
        rows.clear()
        build(terms)(values, NOTHING, NOTHING)
        assert sum(rows) == expected


def test_pair_of_a_triple_has_no_weights_of_its_own():
    pairs_only, both = build(ALL[3:6]), build(ALL[3:])
    ours = {name for name, _ in both.named_parameters()}
    assert ours - {name for name, _ in pairs_only.named_parameters()} == {
        "joint_maps.0_1_2.weight",
        "joint_maps.0_1_2.bias",
    }
    for name, parameter in pairs_only.named_parameters():
        assert parameter.shape == dict(both.named_parameters())[name].shape


def test_unused_modality_has_no_weights():
    module = build([(0,), (0, 2)])
    assert set(module.projections) == {"0", "2"}
    values, lengths = draw()
    values[1] = torch.empty(0)
    assert len(module(values, lengths, NOTHING)) == 2


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


def test_state_dict_makes_round_trip():
    module, other = build(), build(seed=5)
    values, lengths = draw()
    assert not torch.allclose(
        other(values, lengths, NOTHING)[0], module(values, lengths, NOTHING)[0]
    )
    other.load_state_dict(copy.deepcopy(module.state_dict()))
    assert_equal(other(values, lengths, NOTHING), module(values, lengths, NOTHING), 0)


def test_weights_depend_on_the_default_generator_alone():
    first, again, other = (seeded(MulTModule, DIMS, ALL, 8, seed=seed) for seed in (0, 0, 1))
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
        is_drawn = parameter.ndim > 1 or "joint_maps" in name
        assert torch.equal(parameter, other.get_parameter(name)) != is_drawn


def test_vectors_are_one_dimensional():
    # Weight decay spares what has one axis.
    for name, parameter in build().named_parameters():
        is_matrix = name.endswith("weight") and "norm" not in name or "query_key_value" in name
        assert (parameter.ndim > 1) == is_matrix


def test_dropout_comes_from_its_generator():
    values, lengths = draw()
    module = build(dropout=0.5).train()
    with pytest.raises(RuntimeError, match="no generator"):
        module(values, lengths, NOTHING)

    def run(seed):
        set_dropout_generator(module, torch.Generator().manual_seed(seed))
        return module(values, lengths, NOTHING)

    before = torch.get_rng_state()
    first, again, other = run(0), run(0), run(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert_equal(again, first, 0)
    assert all(not torch.allclose(a, b) for a, b in zip(first, other, strict=True))
    assert_equal(module.eval()(values, lengths, NOTHING), build()(values, lengths, NOTHING), 0)


def test_shared_dropout_treats_equal_rows_equally():
    values, lengths = draw()
    rows = torch.tensor([0, 1, 1, 3, 3])
    module = build(dropout=0.5).train()
    set_dropout_generator(module, torch.Generator().manual_seed(0), shared=True)
    features = module([x[rows] for x in values], [length[rows] for length in lengths], NOTHING)
    for feature in features:
        torch.testing.assert_close(feature[[1, 3]], feature[[2, 4]])
    set_dropout_generator(module, torch.Generator().manual_seed(0))
    for feature in module([x[rows] for x in values], [x[rows] for x in lengths], NOTHING):
        assert not torch.allclose(feature[[1, 3]], feature[[2, 4]])


def test_all_dropout_is_our_own():
    children = list(build(dropout=0.2).modules())
    assert sum(isinstance(child, Dropout) for child in children) == 2 * 3
    assert not any(isinstance(child, nn.Dropout) for child in children)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple of n_heads, got 6 and 4"):
        MulTModule(DIMS, ALL, 6, n_heads=4)


def test_default_feedforward_is_four_times_as_wide():
    module = seeded(MulTModule, DIMS, ALL, 8)
    block = next(child for child in module.modules() if isinstance(child, StreamBlock))
    assert block.widen.weight.shape == (3, 8, 32)
    assert module.output_dims == [8, 8, 8, 16, 16, 16, 16]
