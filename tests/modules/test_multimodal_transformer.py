"""MulT as a predictor, against streams and memories computed one row, step and head at a time."""

import copy

import numpy as np
import pytest
import torch
from conformance import apply_linear, array, one_hot, seeded
from test_attention import layer_norm, positions
from torch import nn
from torch.func import functional_call

from sklearn_mmfusion.modules.dropout import Dropout, set_dropout_generator
from sklearn_mmfusion.modules.multimodal_transformer import MultimodalTransformerModule

DIMS = (3, 2, 4)
N, H = 6, 4
NOTHING = [None] * 3


def attend(block, x, source):
    """Return what each step of x takes from the steps of a source, head by head."""
    width = x.shape[1]
    size = width // block.n_heads
    query = apply_linear(block.query, x)
    key, value = np.split(apply_linear(block.key_value, source), 2, axis=1)
    taken = np.zeros_like(x)
    for head in range(block.n_heads):
        part = slice(head * size, (head + 1) * size)
        for t in range(len(x)):
            logits = np.array([k[part] @ query[t, part] / np.sqrt(size) for k in key])
            share = np.exp(logits - logits.max())
            share /= share.sum()
            taken[t, part] = sum(s * v[part] for s, v in zip(share, value, strict=True))
    return apply_linear(block.merge, taken)


def run_block(block, x, other=None):
    y = layer_norm(block.attention_norm, x)
    x = x + attend(block, y, y if other is None else layer_norm(block.attention_norm, other))
    inner = np.maximum(apply_linear(block.widen, layer_norm(block.feedforward_norm, x)), 0)
    return x + apply_linear(block.narrow, inner)


def oracle(module, rows):
    """Return the result of one sample from its valid steps (T, d); None where one is absent."""
    n, embedded = len(rows), []
    for linear, row in zip(module.projections, rows, strict=True):
        x = None if row is None else np.sqrt(module.hidden_dim) * apply_linear(linear, row)
        embedded.append(None if x is None else x + positions(*x.shape))
    summaries = []
    for a in range(n):
        if embedded[a] is None:
            summaries.append(np.zeros(module.hidden_dim * max(1, n - 1)))
            continue
        parts = []
        for b in range(n) if n == 1 else [b for b in range(n) if b != a]:
            x, i = embedded[a], module.pairs.index((a, b))
            if embedded[b] is None:
                parts.append(np.zeros_like(x))
                continue
            for block in module.streams[i]:
                x = run_block(block, x, embedded[b])
            parts.append(layer_norm(module.stream_norms[i], x))
        x = np.concatenate(parts, 1)
        for block in module.memories[a]:
            x = run_block(block, x)
        summaries.append(layer_norm(module.memory_norms[a], x)[-1])
    return np.concatenate(summaries)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def disturb(module):
    with torch.no_grad():
        for i, parameter in enumerate(module.double().parameters()):
            parameter.add_(0.3 * randn(*parameter.shape, seed=10 + i))
    return module.eval()


def build(dims=DIMS, hidden_dim=H, **options):
    """Return a module in float64 whose weights, norms and biases are all different."""
    options = {"n_heads": 2, "n_layers": 2, "feedforward_dim": 5} | options
    return disturb(seeded(MultimodalTransformerModule, dims, hidden_dim, **options))


def draw(n_steps=(4, 3, 5)):
    """Return padded values, lengths and masks; row 2 lacks one, row 3 two, row 4 all modalities.

    In row 5 the last modality is there, but has no valid step.
    """
    values = [randn(N, t, d, seed=d) for t, d in zip(n_steps, DIMS, strict=True)]
    lengths = [
        torch.tensor(x) for x in ([4, 1, 2, 3, 4, 2], [3, 2, 1, 3, 2, 1], [5, 1, 3, 2, 4, 0])
    ]
    present = [torch.ones(N, dtype=torch.bool) for _ in DIMS]
    for m, rows in enumerate(([3, 4], [2, 4], [3, 4])):
        present[m][rows] = False
    return values, lengths, present


def take(sequence, rows):
    return [x if x is None else x[rows] for x in sequence]


def assert_rows_equal_oracle(module, values, lengths, present):
    (found,) = module(values, lengths, present)
    assert found.shape == (len(values[0]), module.output_dims[0])
    for b in range(len(found)):
        rows = []
        for x, length, mask in zip(values, lengths, present, strict=True):
            n_steps = x.shape[1] if length is None else int(length[b])
            there = n_steps > 0 and (mask is None or bool(mask[b]))
            rows.append(x[b, :n_steps].numpy() if there else None)
        np.testing.assert_allclose(array(found[b]), oracle(module, rows), rtol=1e-10, atol=1e-11)
    return found


# -- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_layers", "memory_layers"), [(1, 1), (2, 1), (1, 2), (3, 0)])
def test_streams_and_memories_equal_oracle(n_layers, memory_layers):
    module = build(n_layers=n_layers, memory_layers=memory_layers)
    assert module.output_dims == [3 * 2 * H]
    assert module.pairs == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    values, lengths, present = draw()
    assert_rows_equal_oracle(module, values, NOTHING, NOTHING)
    found = assert_rows_equal_oracle(module, values, lengths, present)
    width = 2 * H
    assert (found[4] == 0).all() and (found[5, 2 * width :] == 0).all()
    assert (found[2, width : 2 * width] == 0).all() and (found[3, :width] == 0).all()
    assert (found[:2] != 0).all() and (found[3, width : 2 * width] != 0).all()


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_modalities_equal_oracle(n):
    module = build(DIMS[:n])
    assert module.output_dims == [n * H]
    assert module.pairs == ([(0, 0)] if n == 1 else [(0, 1), (1, 0)])
    assert_rows_equal_oracle(module, *(part[:n] for part in draw()))


def test_a_block_equals_attention_of_torch():
    # The oracle reads the weights as the module does; torch's layer is a second opinion.
    block, x, y = build().streams[0][0], randn(N, 3, H), randn(N, 5, H, seed=1)
    attention = seeded(nn.MultiheadAttention, H, 2, batch_first=True).double()
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([block.query.weight, block.key_value.weight]))
        attention.in_proj_bias.copy_(torch.cat([block.query.bias, block.key_value.bias]))
        attention.out_proj.load_state_dict(block.merge.state_dict())
    valid = torch.arange(5) < torch.tensor([5, 1, 2, 3, 4, 5])[:, None]
    normed, source = block.attention_norm(x), block.attention_norm(y)
    expected = x + attention(normed, source, source, key_padding_mask=~valid)[0]
    inner = torch.relu(block.widen(block.feedforward_norm(expected)))
    expected = expected + block.narrow(inner)
    found = block(x, y, valid[:, None, None, :])
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_a_flat_modality_is_a_sequence_of_one_step():
    module, (values, lengths, present) = build(), draw((4, 1, 5))
    lengths[1] = None
    (as_steps,) = module(values, lengths, present)
    values[1] = values[1].squeeze(1)
    assert torch.equal(module(values, lengths, present)[0], as_steps)


@pytest.mark.parametrize("embedding_dim", [None, 3])
def test_codes_equal_oracle(embedding_dim):
    sizes = {"vocabulary_sizes": [4, None], "embedding_dims": [embedding_dim, None]}
    module = build((1, 2), **sizes)
    codes = torch.tensor([[0, 3, 1, 2], [2, -1, -1, -1], [1, 7, 0, -1], [-1] * 4])
    other = randn(4, 3, 2)
    (found,) = module([codes, other], [None] * 2, [None] * 2)
    for b, n_steps in enumerate((4, 1, 3, 0)):
        row = codes[b, :n_steps].numpy()
        if embedding_dim is None:
            steps = one_hot(row, 4)
        else:
            steps = array(module.inputs[0].embedding.weight)[np.where(row < 4, row, 4)]
        expected = oracle(module, [steps if n_steps else None, other[b].numpy()])
        np.testing.assert_allclose(array(found[b]), expected, rtol=1e-10, atol=1e-11)


# -- padding and absence -----------------------------------------------------------------------


def test_more_padding_and_its_values_change_nothing():
    module, (values, lengths, present) = build(), draw()
    (short,) = module(values, lengths, present)
    padded = [torch.cat([x, 100 * randn(N, 3, x.shape[2])], 1) for x in values]
    for x, length in zip(padded, lengths, strict=True):
        x[torch.arange(x.shape[1]) >= length[:, None]] = 50.0
    (long,) = module(padded, lengths, present)
    torch.testing.assert_close(long, short, rtol=0, atol=1e-12)
    # The longest row may be one that is absent, so that nothing is cut off.
    lengths[0][4] = 7
    torch.testing.assert_close(module(padded, lengths, present)[0], short, rtol=0, atol=1e-12)


def test_values_of_absent_rows_leave_no_trace():
    module, (values, lengths, present) = build(), draw()
    (expected,) = module(values, lengths, present)
    other = [x.clone() for x in values]
    for x, mask in zip(other, present, strict=True):
        x[~mask] = 100 * randn(*x[~mask].shape, seed=9)
    assert torch.equal(module(other, lengths, present)[0], expected)
    other = [x.requires_grad_() for x in other]
    module(other, lengths, present)[0].square().sum().backward()
    for x, mask in zip(other, present, strict=True):
        assert (x.grad[~mask] == 0).all() and (x.grad[0] != 0).any()
    assert (other[2].grad[5] == 0).all()  # no valid step


# -- the usual ---------------------------------------------------------------------------------


def test_gradients_are_right():
    module = build((2, 1), 2, n_heads=1, n_layers=1, feedforward_dim=2)
    names = [name for name, _ in module.named_parameters()]
    lengths = [torch.tensor([3, 1, 2]), None]
    present = [None, torch.tensor([True, True, False])]

    def run(x, y, *parameters):
        given = dict(zip(names, parameters, strict=True))
        return functional_call(module, given, ([x, y], lengths, present))[0]

    inputs = [randn(3, 3, 2).requires_grad_(), randn(3, 2, 1, seed=1).requires_grad_()]
    inputs += [p.detach().clone().requires_grad_() for p in module.parameters()]
    assert torch.autograd.gradcheck(run, inputs, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_one_row_alone_equals_the_row_in_a_batch(dtype):
    module, (values, lengths, present) = build().to(dtype), draw()
    values = [x.to(dtype) for x in values]
    (whole,) = module(values, lengths, present)
    assert whole.dtype == dtype
    close = 1e-11 if dtype == torch.float64 else 1e-4
    for b in range(N):
        row = slice(b, b + 1)
        (alone,) = module(take(values, row), take(lengths, row), take(present, row))
        torch.testing.assert_close(alone[0], whole[b], rtol=close, atol=close)


def test_dropout_is_drawn_from_the_modules_own_generator():
    module, results = build(dropout=0.5).train(), []
    with pytest.raises(RuntimeError, match="no generator"):
        module(*draw())
    assert not any(isinstance(child, nn.Dropout) for child in module.modules())
    # One in each block: two in each of six streams, one in each of three memories.
    assert sum(isinstance(child, Dropout) for child in module.modules()) == 2 * 6 + 3
    before = torch.get_rng_state()
    for seed in (0, 0, 1):
        set_dropout_generator(module, torch.Generator().manual_seed(seed))
        results += module(*draw())
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert torch.equal(module.eval()(*draw())[0], build()(*draw())[0])


def test_state_dict_makes_round_trip():
    module, other = build(), disturb(build())
    (expected,) = module(*draw())
    assert not torch.equal(other(*draw())[0], expected)
    other.load_state_dict(copy.deepcopy(module.state_dict()))
    assert torch.equal(other(*draw())[0], expected)


def test_heads_must_divide_the_width_and_feedforward_is_four_times_as_wide():
    with pytest.raises(ValueError, match="multiple of n_heads, got 6 and 4"):
        MultimodalTransformerModule(DIMS, 6, n_heads=4)
    module = build(feedforward_dim=None)
    assert module.streams[0][0].widen.out_features == 4 * H
    assert module.memories[0][0].widen.out_features == 8 * H
