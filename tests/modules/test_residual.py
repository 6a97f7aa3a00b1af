"""Residual optimisation: terms and orders against loops, and what each loss may move."""

import copy

import numpy as np
import pytest
import torch
from conformance import apply_linear, array, seeded
from torch import nn
from torch.func import functional_call

from sklearn_mmfusion.modules.batchnorm import WeightedBatchNorm
from sklearn_mmfusion.modules.dropout import Dropout, set_dropout_generator
from sklearn_mmfusion.modules.encoders import LinearModule, UserModule
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork, InputScaler
from sklearn_mmfusion.modules.residual import OrderEncoders, OrderFusion, TermOutputs, set_phase

TERMS = [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)]
ORDERS = [0, 0, 0, 1, 1, 2]
DIMS = (3, 2, 1)
NOTHING = [None] * 3


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def disturb(module):
    """Return the module in float64 with all weights different, the zeros of readouts too."""
    module = module.double()
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.add_(0.5 * randn(*parameter.shape, seed=10 + i))
    return module.eval()


def make_terms(**options):
    return disturb(seeded(TermOutputs, DIMS, TERMS, 4, 2, **options))


def make_encoder(d):
    """Return an encoder with dropout and statistics, which freezing must reach."""
    network = nn.Sequential(WeightedBatchNorm(d), Dropout(0.5), nn.Linear(d, d))
    return UserModule(network, (d,), output_dim=d)


def make_network():
    def build():
        encoders = [OrderEncoders([make_encoder(d) for _ in range(3)]) for d in DIMS]
        terms = TermOutputs(DIMS, TERMS, 4, 2, dropout=0.5)
        scalers = [InputScaler(torch.zeros(d), torch.ones(d)) for d in DIMS]
        return FusionNetwork(scalers, encoders, terms, OrderFusion(ORDERS, 2))

    return disturb(seeded(build))


def batch(n=6):
    return FusionBatch([randn(n, d, seed=d) for d in DIMS], NOTHING, NOTHING)


def encodings(n=5):
    return [randn(n, 3 * d, seed=20 + d) for d in DIMS]


def presence(n=5):
    second, third = torch.ones(n, dtype=torch.bool), torch.ones(n, dtype=torch.bool)
    second[[1, 3]], third[3] = False, False
    return [None, second, third]


def of_order(network, order):
    """Return the names of all parameters that belong to an order, found by hand."""
    starts = [f"encoders.{m}.orders.{order}." for m in range(3)]
    for t, o in enumerate(ORDERS):
        if o == order:
            starts += [f"features.hidden.{t}.", f"features.readout.{t}."]
    starts += ["fusion.bias"] if order == 0 else []
    return {name for name, _ in network.named_parameters() if name.startswith(tuple(starts))}


# -- terms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("present", [NOTHING, presence()], ids=["whole", "partial"])
def test_outputs_of_terms_equal_a_loop(present):
    module, hs = make_terms(), encodings()
    found = module(hs, present)
    assert found.shape == (5, 6, 2) and module.order_of_term == ORDERS
    for b in range(5):
        for t, (term, order) in enumerate(zip(TERMS, ORDERS, strict=True)):
            if not all(present[m] is None or present[m][b] for m in term):
                assert (found[b, t] == 0).all()
                continue
            own = [hs[m][b].numpy().reshape(3, DIMS[m])[order] for m in term]
            hidden = np.maximum(apply_linear(module.hidden[t], np.concatenate(own)), 0)
            expected = apply_linear(module.readout[t], hidden)
            np.testing.assert_allclose(array(found[b, t]), expected, rtol=1e-12, atol=1e-14)


def test_new_terms_add_nothing_yet():
    module = seeded(TermOutputs, DIMS, TERMS, 4, 2).double()
    assert (module(encodings(), NOTHING) == 0).all()
    assert all((hidden.weight != 0).any() for hidden in module.hidden)


def test_values_of_absent_rows_leave_no_trace():
    module, hs, present = make_terms(), encodings(), presence()
    other = [h.clone() for h in hs]
    other[1][[1, 3]], other[2][3] = torch.nan, 1e6
    assert torch.equal(module(other, present), module(hs, present))


def test_orders_may_skip_a_size():
    module = disturb(seeded(TermOutputs, DIMS, [(0,), (0, 1, 2)], 4, 2))
    assert module.order_of_term == [0, 1] and len(module.dropouts) == 2
    assert module([h[:, : 2 * d] for h, d in zip(encodings(), DIMS, strict=True)], NOTHING).all()


# -- orders ------------------------------------------------------------------------------------


def make_fusion():
    return disturb(OrderFusion(ORDERS, 2))


def test_predictions_of_orders_equal_cumulative_sums():
    fusion, features = make_fusion().train(), randn(5, 6, 2, seed=4)
    predictions, total = fusion(features), fusion.eval()(features)
    for b in range(5):
        y = array(fusion.bias)
        for o in range(3):
            y = y + sum(features[b, t].numpy() for t in range(6) if ORDERS[t] == o)
            np.testing.assert_allclose(array(predictions[b, o]), y, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(array(total[b]), y, rtol=1e-12, atol=1e-14)
    assert torch.equal(fusion.contributions(features), features)
    for phase in range(3):
        fusion.train().phase = phase
        assert torch.equal(fusion(features), predictions[:, phase : phase + 1])


def test_readings_are_variances_of_orders():
    fusion, features = make_fusion(), randn(5, 6, 2, seed=4)
    share = torch.softmax(randn(5, seed=5), 0)
    expected = []
    for o in range(3):
        parts = features[:, [t for t in range(6) if ORDERS[t] == o]].sum(1).numpy()
        mean = np.average(parts, axis=0, weights=share)
        expected.append(np.average((parts - mean) ** 2, axis=0, weights=share).sum())
    found = fusion.readings(features, share, 5.0)
    assert list(found) == ["order_variances"]
    np.testing.assert_allclose(found["order_variances"], expected, rtol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_loss_of_an_order_moves_that_order_alone(order):
    network = make_network()
    network.fusion.train()  # one prediction per order, but no dropout
    network(batch())[:, order].square().sum().backward()
    moved = {
        name for name, p in network.named_parameters() if p.grad is not None and (p.grad != 0).any()
    }
    assert moved == of_order(network, order)


def test_gradients_are_right():
    terms, fusion = make_terms(), make_fusion()  # evaluation: nothing is stopped
    hs, names = encodings(3), [name for name, _ in terms.named_parameters()]
    present = [None, torch.tensor([True, False, True]), None]

    def run(h1, h2, h3, *parameters):
        given = dict(zip(names, parameters, strict=True))
        return fusion(functional_call(terms, given, ([h1, h2, h3], present)))

    inputs = [h.requires_grad_() for h in hs]
    inputs += [p.detach().clone().requires_grad_() for p in terms.parameters()]
    assert torch.autograd.gradcheck(run, inputs)


# -- phases ------------------------------------------------------------------------------------


def modes(network, order):
    """Return the training mode of all dropout and statistics of an order, in one list."""
    parts = [m for e in network.encoders for m in e.orders[order].modules()]
    return [part.training for part in [*parts, network.features.dropouts[order]]]


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_a_phase_freezes_exactly_the_other_orders(phase):
    network = make_network().train()
    set_dropout_generator(network, torch.Generator().manual_seed(0))
    set_phase(network, phase)
    free = {name for name, p in network.named_parameters() if p.requires_grad}
    assert free == of_order(network, phase)
    assert [set(modes(network, order)) for order in range(3)] == [{o == phase} for o in range(3)]
    network.eval().train()  # as a loop does, epoch after epoch
    assert [set(modes(network, order)) for order in range(3)] == [{o == phase} for o in range(3)]
    before = copy.deepcopy(network.state_dict())
    network(batch()).square().sum().backward()
    torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1).step()
    changed = {n for n, value in network.state_dict().items() if not torch.equal(value, before[n])}
    norms = [f"encoders.{m}.orders.{phase}.module.0" for m in range(3)]
    statistics = {f"{norm}.running_{name}" for norm in norms for name in ("mean", "var")}
    assert changed == of_order(network, phase) | statistics
    assert set(modes(network.eval(), phase)) == {False}
    set_phase(network, None)
    assert all(p.requires_grad for p in network.parameters())
    assert all(set(modes(network.train(), order)) == {True} for order in range(3))
    assert network(batch()).shape == (6, 3, 2)


def test_what_the_user_froze_stays_frozen_in_every_phase():
    network = make_network()
    linears = [seeded(nn.Linear, 3, 3) for _ in range(2)]
    frozen = [UserModule(linear, (3,), output_dim=3, trainable=False) for linear in linears]
    network.encoders[0] = OrderEncoders([*frozen, seeded(make_encoder, 3)])
    for phase in (0, 1, 2, None):
        set_phase(network.train(), phase)
        assert not any(p.requires_grad for linear in linears for p in linear.parameters())
        assert not any(linear.training for linear in linears)
    assert all(p.requires_grad for p in network.encoders[0].orders[2].parameters())


def test_encoders_of_orders_stand_side_by_side_and_learn_their_inputs():
    class Counting(LinearModule):
        n_rows = 0

        def fit_inputs(self, values, lengths=None, weight=None):
            self.n_rows += len(values)

    parts = [seeded(LinearModule, 3, 2, seed=0), seeded(Counting, 3, 2, seed=1)]
    module, x = OrderEncoders(parts).double(), randn(4, 3)
    assert module.output_dim == 4
    for b in range(4):
        expected = [apply_linear(part.linear, x[b].numpy()) for part in parts]
        np.testing.assert_allclose(array(module(x)[b]), np.concatenate(expected), rtol=1e-12)
    module.fit_inputs(x, None, None)
    assert parts[1].n_rows == 4


# -- the usual ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_one_row_alone_equals_the_row_in_a_batch(dtype):
    network = make_network().to(dtype)
    whole = network(batch())
    assert whole.dtype == dtype and whole.shape == (6, 2)
    close = 1e-12 if dtype == torch.float64 else 1e-4
    for b in range(6):
        alone = network(FusionBatch([x[b : b + 1] for x in batch().values], NOTHING, NOTHING))
        torch.testing.assert_close(alone[0], whole[b], rtol=close, atol=close)


def test_dropout_is_drawn_from_the_modules_own_generator():
    module, hs, results = make_terms(dropout=0.5).train(), encodings(), []
    with pytest.raises(RuntimeError, match="no generator"):
        module(hs, NOTHING)
    before = torch.get_rng_state()
    for seed in (0, 0, 1):
        set_dropout_generator(module, torch.Generator().manual_seed(seed))
        results.append(module(hs, NOTHING))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert torch.equal(module.eval()(hs, NOTHING), make_terms()(hs, NOTHING))


def test_state_dict_makes_round_trip():
    network, other = make_network(), disturb(make_network())
    assert not torch.equal(other(batch()), network(batch()))
    other.load_state_dict(copy.deepcopy(network.state_dict()))
    assert torch.equal(other(batch()), network(batch()))
