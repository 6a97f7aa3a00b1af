"""Tests of encoders of flat features, summaries and user modules."""

import copy

import numpy as np
import pytest
import torch
from conformance import ACTIVATIONS, EncoderConformance, apply_linear, apply_norm, seeded
from torch import nn

from sklearn_mmfusion.modules.dropout import set_dropout_generator
from sklearn_mmfusion.modules.encoders import (
    IdentityModule,
    LinearModule,
    MLPModule,
    SummaryModule,
    UserModule,
)


def summary(x):
    return np.concatenate([x.mean(0), x.std(0), x.min(0), x.max(0), x[-1] - x[0]])


class TestIdentity(EncoderConformance):
    def make(self):
        return IdentityModule(5)

    def oracle(self, module, row):
        return row


class TestLinear(EncoderConformance):
    def make(self):
        return LinearModule(5, 3)

    def oracle(self, module, row):
        return apply_linear(module.linear, row)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("skip", [False, True])
class TestMLP(EncoderConformance):
    @pytest.fixture(autouse=True)
    def _choose(self, activation, skip):
        self.activation, self.skip = activation, skip

    def make(self):
        return MLPModule(5, 3, (7, 4), skip=self.skip, activation=self.activation)

    def oracle(self, module, row):
        linears = [layer for layer in module.layers if isinstance(layer, nn.Linear)]
        x = row
        for linear in linears[:-1]:
            x = ACTIVATIONS[self.activation](apply_linear(linear, x))
        x = apply_linear(linears[-1], x)
        return x + apply_linear(module.skip, row) if self.skip else x


class TestSummary(EncoderConformance):
    shape = (6, 3)
    is_sequence = True

    def make(self):
        return SummaryModule(3)

    def oracle(self, module, row):
        return summary(row)


class TestSummaryWithPerceptron(TestSummary):
    def make(self):
        return SummaryModule(3, head=lambda width: MLPModule(width, 4, (7,), skip=True))

    def oracle(self, module, row):
        x, head = summary(row), module.head
        hidden = np.maximum(apply_linear(head.layers[0], x), 0)
        return apply_linear(head.layers[2], hidden) + apply_linear(head.skip, x)


def test_a_perceptron_behind_a_summary_gets_it_standardised_and_its_places_as_they_are():
    def make(width):
        return MLPModule(width, 4, (7,), n_quantiles=5)

    module = seeded(lambda: SummaryModule(3, batch_norm=True, head=make)).double()
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=(20, 6, 3)), rng.integers(0, 3, size=20)
    rows, counts = torch.from_numpy(values), torch.from_numpy(weight).double()
    module.fit_inputs(rows, None, counts)
    summaries = np.array([summary(row) for row in values])
    described = np.repeat(summaries, weight, axis=0)
    positions = module.head.quantiles.positions.numpy()
    np.testing.assert_allclose(positions[:, 0], described.min(0), rtol=1e-9)
    np.testing.assert_allclose(positions[:, -1], described.max(0), rtol=1e-9)
    prepared = module.prepare(rows)
    np.testing.assert_allclose(prepared[:, :15], summaries, rtol=1e-9)
    places = module.head.quantiles(torch.from_numpy(summaries))[:, 15:]
    torch.testing.assert_close(prepared[:, 15:], places)
    standardised = (summaries - described.mean(0)) / np.sqrt(described.var(0) + module.norm.eps)
    x = torch.cat([torch.from_numpy(standardised), places], 1)
    torch.testing.assert_close(module(rows, None, counts), module.head.forward_prepared(x))
    torch.testing.assert_close(
        module.forward_prepared(prepared, None, counts), module.head.forward_prepared(x)
    )
    assert module.output_dim == 4


class TestSummaryWithNormAndHead(TestSummary):
    counts_empty_rows = True

    def make(self):
        return SummaryModule(3, batch_norm=True, output_dim=4)

    def oracle(self, module, row):
        return apply_linear(module.head, apply_norm(module.norm, summary(row)))


class TestSummaryOfFlat(EncoderConformance):
    def make(self):
        return SummaryModule(5, is_flat=True, batch_norm=True)

    def oracle(self, module, row):
        return row


def test_summary_of_constant_sequence_has_finite_slope():
    x = torch.ones(2, 4, 3, dtype=torch.float64, requires_grad=True)
    SummaryModule(3)(x).sum().backward()
    assert x.grad.isfinite().all()


class _Head(nn.Module):
    """A module with state, randomness and an interest in lengths and weight."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.register_buffer("n_calls", torch.zeros(()))
        self.seen = None

    def forward(self, values, lengths=None, weight=None):
        self.n_calls += 1
        self.seen = (lengths, weight)
        return self.linear(values).mean(1) + 0 * torch.rand(())


class TestUser(EncoderConformance):
    shape = (6, 3)

    def make(self):
        return UserModule(nn.Sequential(nn.Flatten(), nn.Linear(18, 2)), (6, 3))

    def oracle(self, module, row):
        return apply_linear(module.module[1], row.ravel())


def test_user_module_width_is_found_without_a_trace():
    inner = seeded(_Head)
    inner.train()
    before = copy.deepcopy(inner.state_dict())
    state = torch.get_rng_state()
    encoder = UserModule(inner, (5, 3))
    assert encoder.output_dim == 4
    assert encoder.module is inner
    assert inner.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(inner.state_dict()[name], before[name]) for name in before)


def test_user_module_gets_lengths_and_weight_only_if_it_names_them():
    inner = seeded(_Head)
    encoder = UserModule(inner, (5, 3), output_dim=4)
    lengths, weight = torch.tensor([5, 2]), torch.ones(2)
    seeded(encoder, torch.zeros(2, 5, 3), lengths, weight)
    assert inner.seen[0] is lengths
    assert inner.seen[1] is weight
    plain = UserModule(nn.Flatten(), (5, 3))
    assert plain(torch.zeros(2, 5, 3), lengths, weight).shape == (2, 15)


def test_user_module_frozen_has_no_gradients_and_stays_in_evaluation_mode():
    inner = nn.Sequential(seeded(nn.Linear, 3, 4), nn.Dropout(0.5))
    encoder = UserModule(inner, (3,), trainable=False).train()
    assert not inner.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    x = torch.ones(2, 3)
    assert torch.equal(encoder(x), inner[0](x))


def test_user_module_trainable_follows_the_training_mode():
    inner = nn.Sequential(seeded(nn.Linear, 3, 4), nn.Dropout(0.5))
    encoder = UserModule(inner, (3,))
    assert inner.training
    assert not encoder.eval().module.training


def test_user_module_lazy_is_initialized():
    encoder = seeded(UserModule, nn.LazyLinear(4), (3,))
    assert encoder.output_dim == 4
    assert encoder.module.weight.shape == (4, 3)


def test_user_module_with_codes_is_tried_on_integers():
    inner = nn.Sequential(seeded(nn.Embedding, 9, 2), nn.Flatten())
    assert UserModule(inner, (5,), codes=True).output_dim == 10


def test_user_module_that_returns_no_matrix_is_refused():
    with pytest.raises(ValueError, match=r"for 2 rows it returned \(2, 5, 4\)"):
        UserModule(seeded(nn.Linear, 3, 4), (5, 3))


@pytest.mark.parametrize("trainable", [True, False])
def test_user_module_of_another_width_than_it_was_said_to_have_is_refused(trainable):
    inner = seeded(nn.Linear, 3, 8)
    encoder = UserModule(inner, (3,), output_dim=5, trainable=trainable, label="modality 'tab'")
    message = (
        "^modality 'tab': expected output_dim=5 values per row from the module Linear, got 8; give "
        "output_dim=8, or leave output_dim out$"
    )
    for call in (encoder, lambda x: encoder.forward_prepared(encoder.prepare(x))):
        with pytest.raises(ValueError, match=message):
            call(torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("inner", "got"),
    [
        (nn.Flatten(0), r"shape \(6,\) for 2 row\(s\); correct its forward"),
        (nn.Unflatten(0, (1, 2)), r"shape \(1, 2, 3\) for 2 row"),
        (nn.GRU(3, 3), r"tuple for 2 row"),
    ],
)
def test_user_module_that_returns_no_matrix_at_a_call_is_refused(inner, got):
    with pytest.raises(ValueError, match=f"encoder: expected output_dim=3 values .*, got {got}"):
        UserModule(inner, (3,), output_dim=3)(torch.zeros(2, 3))


@pytest.mark.parametrize("name", ["dropout", "input_dropout"])
def test_mlp_dropout_acts_in_training_only(name):
    module = seeded(MLPModule, 5, 3, **{name: 0.5})
    set_dropout_generator(module, torch.Generator().manual_seed(0))
    x = torch.ones(2, 5)
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))
