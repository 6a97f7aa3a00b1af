"""Early fusion and RAVEN, against loops over rows and steps."""

import copy

import numpy as np
import pytest
import torch
from conformance import apply_linear, array, seeded
from test_recurrent import run_cell
from torch.func import functional_call

from sklearn_mmfusion.modules.alignment import EarlyModule, RAVENModule, aligned_lengths
from sklearn_mmfusion.modules.concatenation import ConcatFeatures, LinearFusion
from sklearn_mmfusion.modules.dropout import set_dropout_generator
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork, InputScaler
from sklearn_mmfusion.modules.recurrent import RecurrentModule

DIMS = (3, 2, 2)
STEPS = [True, True, False]  # the last modality is flat
N, T = 6, 4


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def disturb(module):
    with torch.no_grad():
        for i, parameter in enumerate(module.double().parameters()):
            parameter.add_(0.3 * randn(*parameter.shape, seed=10 + i))
    return module.eval()


def make_early(dropout=0.0):
    encoder = seeded(RecurrentModule, sum(DIMS), 4, cell="lstm", dropout=dropout)
    return disturb(EarlyModule(encoder, STEPS))


def make_raven(shift_scale=1.0, main=0, is_sequence=STEPS):
    options = {"is_sequence": is_sequence, "shift_scale": shift_scale}
    return disturb(seeded(RAVENModule, DIMS, main, 4, **options))


MAKERS = pytest.mark.parametrize("make", [make_early, make_raven])


def draw(n_steps=T):
    """Return values, lengths and presence; what is padded or absent is 0.

    Row 1 lacks the first modality, row 2 the second, row 3 both sequences, row 4 the flat one and
    all steps, row 5 everything.
    """
    lengths = [torch.tensor([4, 3, 2, 4, 0, 3]), torch.tensor([2, 4, 3, 1, 0, 4]), None]
    there = torch.ones(3, N, dtype=torch.bool)
    for m, rows in enumerate(([1, 3, 5], [2, 3, 5], [4, 5])):
        there[m, rows] = False
    values = [randn(N, T, 3, seed=1), randn(N, T, 2, seed=2), randn(N, 2, seed=3)]
    values = [
        torch.where(there[m].view(-1, *[1] * (v.ndim - 1)), v, 0) for m, v in enumerate(values)
    ]
    for m in (0, 1):
        values[m] = values[m] * (torch.arange(T) < lengths[m][:, None])[:, :, None]
        values[m] = torch.cat([values[m], values[m].new_zeros(N, n_steps - T, DIMS[m])], 1)
    return values, lengths, list(there)


def rows_of(values, lengths, present, b):
    """Return the steps that a row has, and each modality's values in them: (T_b, d_m)."""
    ends = [int(lengths[m][b]) * bool(present[m][b]) for m in (0, 1)]
    n_steps = max(ends)
    parts = [values[m][b, :n_steps].numpy() for m in (0, 1)]
    return n_steps, [*parts, np.tile(values[2][b].numpy(), (n_steps, 1))]


def take(sequence, rows):
    return [x if x is None else x[rows] for x in sequence]


# -- lengths -----------------------------------------------------------------------------------


def test_aligned_lengths_equal_a_loop():
    _, lengths, present = draw()
    found = aligned_lengths([*lengths[:2], None], [present[0], None, present[2]], T)
    for b in range(N):
        first = int(lengths[0][b]) if present[0][b] else 0
        third = T if present[2][b] else 0
        assert found[b] == max(first, int(lengths[1][b]), third)
    assert aligned_lengths([lengths[0], None], [present[0], None], T) is None


# -- early fusion ------------------------------------------------------------------------------


def test_joined_steps_equal_a_loop():
    values, lengths, present = draw(T + 2)
    joined, length = make_early().join(values, lengths, present)
    assert joined.shape == (N, T + 2, 7)
    for b in range(N):
        n_steps, parts = rows_of(values, lengths, present, b)
        if b == 3:  # no sequence, but a flat modality: one step
            n_steps, parts = 1, [np.zeros((1, 3)), np.zeros((1, 2)), values[2][b : b + 1].numpy()]
        assert length[b] == n_steps
        np.testing.assert_array_equal(joined[b, :n_steps], np.concatenate(parts, 1))
        assert (joined[b, n_steps:] == 0).all()
    whole, length = make_early().join(values, [None] * 3, [None] * 3)
    assert length is None
    assert torch.equal(whole[..., 5:], values[2][:, None].expand(-1, T + 2, -1))


def test_early_fusion_equals_an_lstm_on_the_joined_steps_of_each_row():
    module, (values, lengths, present) = make_early(), draw()
    (found,) = module(values, lengths, present)
    joined, length = module.join(values, lengths, present)
    for b in range(5):
        if length[b]:
            x = joined[b, : length[b]].numpy()
            expected = run_cell(module.encoder.forward_layers[0], x)[-1]
            np.testing.assert_allclose(array(found[b]), expected, rtol=1e-11, atol=1e-13)
    assert length.tolist() == [4, 4, 2, 1, 0, 0] and (found[4:] == 0).all()
    assert module.output_dims == [4]


def test_early_fusion_of_flat_modalities_is_their_concatenation():
    class Recorder(torch.nn.Linear):
        output_dim = 2
        fitted = None

        def forward(self, x, length, weight):
            assert length is None
            return super().forward(x)

        def fit_inputs(self, x, length, weight):
            self.fitted = x, length, weight

    module = EarlyModule(seeded(Recorder, 5, 2).double(), [False, False])
    x, y, weight = randn(N, 3), randn(N, 2, seed=1), randn(N, seed=2)
    (found,) = module([x, y], [None] * 2, [None] * 2)
    expected = apply_linear(module.encoder, np.column_stack([x, y]))
    np.testing.assert_allclose(array(found), expected, rtol=1e-12)
    module.fit_inputs([x, y], [None] * 2, [None] * 2, weight)
    assert torch.equal(module.encoder.fitted[0], torch.cat([x, y], 1))
    assert module.encoder.fitted[1:] == (None, weight)


# -- RAVEN -------------------------------------------------------------------------------------


def shifted(module, parts, present, b):
    """Return words, the shift of each, its factor and the shifted words of one row."""
    words, steps = parts[module.main], []
    states = {m: run_cell(module.recurrent[str(m)], parts[m]) for m in module.others}
    for t, e in enumerate(words):
        gated = []
        for m in module.others:
            h = states[m][t]
            logit = apply_linear(module.gates[str(m)], np.concatenate([h, e]))
            gate = 1 / (1 + np.exp(-logit))
            gated.append(gate * h if present[m] is None or present[m][b] else 0 * h)
        s = apply_linear(module.shift, np.concatenate(gated))
        alpha = min(np.linalg.norm(e) / np.linalg.norm(s) * module.shift_scale, 1.0)
        steps.append((e, s, alpha, e + alpha * s))
    return [np.array(column) for column in zip(*steps, strict=True)]


@pytest.mark.parametrize("main", [0, 1])
@pytest.mark.parametrize("shift_scale", [0.005, 0.1, 10.0])
def test_raven_equals_a_loop_over_steps(main, shift_scale):
    module, (values, lengths, present) = make_raven(shift_scale, main), draw()
    (found,) = module(values, lengths, present)
    for b in range(N):
        n_steps, parts = rows_of(values, lengths, present, b)
        if n_steps == 0:
            assert (found[b] == 0).all()
            continue
        expected = run_cell(module.reader, shifted(module, parts, present, b)[3])[-1]
        np.testing.assert_allclose(array(found[b]), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("shift_scale", "binds"), [(0.005, "yes"), (0.1, "partly"), (10.0, "no")])
def test_shifts_are_never_longer_than_they_may_be(shift_scale, binds):
    module, (values, lengths, present) = make_raven(shift_scale), draw()
    read = []
    module.reader.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    module(values, lengths, present)
    factors = []
    for b in (0, 2, 4):
        _, parts = rows_of(values, [torch.full((N,), T)] * 2, [torch.ones(N)] * 2, b)
        words, shift, alpha, _ = shifted(module, parts, present, b)
        moved = np.linalg.norm(array(read[0][b]) - words, axis=1)
        limit = shift_scale * np.linalg.norm(words, axis=1)
        assert (moved <= limit * (1 + 1e-12) + 1e-15).all()
        assert (moved <= np.linalg.norm(shift, axis=1) * (1 + 1e-12)).all()
        assert (moved[limit == 0] == 0).all()  # no word, no shift
        factors.extend(alpha[limit > 0])
    expected = {"yes": {False}, "partly": {False, True}, "no": {True}}
    assert {factor == 1.0 for factor in factors} == expected[binds]


def test_raven_of_flat_modalities_is_one_step_and_needs_no_others():
    values = [randn(N, d, seed=d) for d in DIMS]
    module = make_raven(is_sequence=[False] * 3)
    (found,) = module(values, [None] * 3, [None] * 3)
    for b in range(N):
        parts = [v[b : b + 1].numpy() for v in values]
        expected = run_cell(module.reader, shifted(module, parts, [None] * 3, b)[3])[-1]
        np.testing.assert_allclose(array(found[b]), expected, rtol=1e-11, atol=1e-13)
    alone, x = disturb(seeded(RAVENModule, [3], 0, 4, is_sequence=[True])), randn(1, T, 3)
    (found,) = alone([x], [None], [None])
    np.testing.assert_allclose(array(found[0]), run_cell(alone.reader, x[0].numpy())[-1])


# -- both --------------------------------------------------------------------------------------


@MAKERS
def test_more_padding_changes_nothing(make):
    module = make()
    (short,), (long,) = module(*draw()), module(*draw(T + 3))
    torch.testing.assert_close(long, short, rtol=0, atol=1e-12)


@MAKERS
def test_values_of_absent_rows_and_of_padding_leave_no_trace(make):
    module, (values, lengths, present) = make(), draw()
    scalers = [InputScaler(torch.full((d,), 0.5), torch.full((d,), 2.0)) for d in DIMS]
    features = ConcatFeatures([4], [(0, 1, 2)], masks_absent=False)
    fusion = disturb(LinearFusion([4], 1))
    network = FusionNetwork(scalers, [module], features, fusion, is_joint=True).eval()
    other = [v.clone() for v in values]
    for m, mask in enumerate(present):
        other[m][~mask] = torch.nan
    other[0][0, int(lengths[0][0]) :], other[1][0, 2:] = 100.0, 100.0
    expected = network(FusionBatch(values, lengths, present))
    assert torch.equal(network(FusionBatch(other, lengths, present)), expected)
    other[2][0] += 1.0
    changed = network(FusionBatch(other, lengths, present)) != expected
    assert changed[:, 0].tolist() == [True] + [False] * 5


@MAKERS
def test_gradients_are_right(make):
    module = make()
    values, lengths, present = (take(part, slice(0, 3)) for part in draw())
    names = [name for name, _ in module.named_parameters()]

    def run(x, y, z, *parameters):
        given = dict(zip(names, parameters, strict=True))
        return functional_call(module, given, ([x, y, z], lengths, present))[0]

    # The length of a step has no derivative at 0: what is padded moves a little away from it.
    inputs = [torch.where(v == 0, 0.01, v).requires_grad_() for v in values]
    inputs += [p.detach().clone().requires_grad_() for p in module.parameters()]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


@MAKERS
def test_steps_of_zeros_have_finite_gradients(make):
    module, (values, lengths, present) = make(), draw()
    values = [v.requires_grad_() for v in values]
    module(values, lengths, present)[0].square().sum().backward()
    assert all(x.grad.isfinite().all() for x in (*values, *module.parameters()))


@MAKERS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_one_row_alone_equals_the_row_in_a_batch(make, dtype):
    module, (values, lengths, present) = make().to(dtype), draw()
    values = [v.to(dtype) for v in values]
    (whole,) = module(values, lengths, present)
    assert whole.dtype == dtype and whole.shape == (N, 4)
    close = 1e-12 if dtype == torch.float64 else 1e-5
    for b in range(N):
        row = slice(b, b + 1)
        (alone,) = module(take(values, row), take(lengths, row), take(present, row))
        torch.testing.assert_close(alone[0], whole[b], rtol=close, atol=close)


def test_dropout_of_early_fusion_is_drawn_from_its_own_generator():
    module, results = make_early(dropout=0.5).train(), []
    with pytest.raises(RuntimeError, match="no generator"):
        module(*draw())
    before = torch.get_rng_state()
    for seed in (0, 0, 1):
        set_dropout_generator(module, torch.Generator().manual_seed(seed))
        results += module(*draw())
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert torch.equal(module.eval()(*draw())[0], make_early()(*draw())[0])


@MAKERS
def test_state_dict_makes_round_trip(make):
    module, other = make(), disturb(make())
    (expected,) = module(*draw())
    assert not torch.equal(other(*draw())[0], expected)
    other.load_state_dict(copy.deepcopy(module.state_dict()))
    assert torch.equal(other(*draw())[0], expected)
