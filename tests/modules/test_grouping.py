"""Tests of encoders that are computed side by side."""

import copy

import numpy as np
import pytest
import torch
from conformance import array, seeded
from torch import nn

from sklearn_mmfusion.modules.dropout import set_dropout_generator
from sklearn_mmfusion.modules.encoders import LinearModule, MLPModule
from sklearn_mmfusion.modules.fusion import TermFeatures
from sklearn_mmfusion.modules.grouping import MapGroup, MLPGroup, group_encoders


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(dims=(3, 3, 3), **settings):
    settings = {"hidden_dims": (5, 4), "skip": True, "activation": "tanh", **settings}
    return [seeded(MLPModule, d, 2, **settings).double() for d in dims]


def outputs(encoders, values):
    return [encoder(v) for encoder, v in zip(encoders, values, strict=True)]


def by_member(group, found, encoders):
    """Gradient that reaches each member's parameters, by name."""
    gradients = {}
    for i, encoder in enumerate(encoders):
        for name, parameter in encoder.named_parameters():
            first = dict(encoders[0].named_parameters())[name]
            leaf = group.replacing(first)
            apart = leaf is first
            gradients[i, name] = parameter.grad if apart else leaf.grad[i]
    return gradients


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("dims", [(3, 3, 3), (3, 6, 2)])
def test_group_computes_what_its_members_do_with_the_same_gradients(dims, skip):
    apart, encoders = make(dims, skip=skip), make(dims, skip=skip)
    values = [randn(7, d, seed=i) for i, d in enumerate(dims)]
    expected = outputs(apart, values)
    group = MLPGroup([0, 1, 2], encoders)
    found = group.forward(values)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=1e-14)
    for parts in (found, expected):
        sum(((i + 1) * part.square().sum()) for i, part in enumerate(parts)).backward()
    for (i, name), gradient in by_member(group, found, encoders).items():
        wanted = dict(apart[i].named_parameters())[name].grad
        np.testing.assert_allclose(array(gradient), array(wanted), atol=1e-13)


def test_steps_of_the_group_are_steps_of_its_members():
    encoders, values = make(), [randn(7, 3, seed=i) for i in range(3)]
    group = MLPGroup([0, 1, 2], encoders)
    before = copy.deepcopy([encoder.state_dict() for encoder in encoders])
    sum(part.sum() for part in group.forward(values)).backward()
    torch.optim.SGD(group.leaves, lr=0.1).step()
    for encoder, old in zip(encoders, before, strict=True):
        assert any(not torch.equal(v, old[k]) for k, v in encoder.state_dict().items())
    for one, other in zip(group.forward(values), outputs(encoders, values), strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=1e-14)


def test_arrays_that_are_loaded_into_members_reach_the_group():
    encoders, others = make(), [seeded(MLPModule, 3, 2, (5, 4), skip=True, activation="tanh")] * 3
    group = MLPGroup([0, 1, 2], encoders)
    for encoder, other in zip(encoders, others, strict=True):
        encoder.load_state_dict({k: 2 * v for k, v in other.state_dict().items()})
    values = [randn(7, 3, seed=i) for i in range(3)]
    for one, other in zip(group.forward(values), outputs(encoders, values), strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=1e-14)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dims", [(40, 40), (40, 30)])
def test_dropout_of_a_group_has_its_rate_and_its_own_masks(shared, dims):
    # All weights 1 in one linear layer: the output counts the inputs that are kept.
    encoders = make(dims, hidden_dims=(), skip=False, input_dropout=0.25)
    group = MLPGroup([0, 1], encoders)
    for encoder in encoders:
        nn.init.ones_(encoder.layers[0].weight)
        nn.init.zeros_(encoder.layers[0].bias)
        set_dropout_generator(encoder, torch.Generator().manual_seed(len(dims)), shared=shared)
    values = [torch.ones(400, d, dtype=torch.float64) for d in dims]
    found = [
        part[:, 0].detach() * 0.75 / d for part, d in zip(group.forward(values), dims, strict=True)
    ]
    for kept in found:
        assert (len(kept.unique()) == 1) == shared
        assert float(kept.mean()) == pytest.approx(0.75, abs=0.3 if shared else 0.015)
    if dims[0] == dims[1] and not shared:
        assert not torch.equal(*found)
    for encoder in encoders:
        encoder.eval()
    for part, d in zip(group.forward(values), dims, strict=True):
        assert (part == d).all()


def test_only_perceptrons_of_equal_width_that_are_all_trained_are_grouped():
    encoders = [
        *make((3, 4)),
        seeded(LinearModule, 3, 2).double(),
        *make((3,), hidden_dims=(6, 4)),
        *make((3,), dropout=0.5),
        *make((5,)),
        *make((3,)),
        *make((3,)),
    ]
    next(encoders[6].parameters()).requires_grad_(False)
    groups = group_encoders(encoders, used=[0, 1, 2, 3, 4, 5, 6])
    assert [group.positions for group in groups] == [[0, 1, 5]]


def test_maps_as_one_product_equal_maps_apart_with_the_same_gradients():
    def maps():
        first = [seeded(nn.Linear, 4, 2, bias=False).double() for _ in range(3)]
        second = [seeded(nn.Linear, 4, 6, bias=False).double() for _ in range(3)]
        for i, linear in enumerate((*first, *second)):
            linear.weight.data += i
        return first, second

    apart, together = maps(), maps()
    group = MapGroup([0, 2, 3], *together)
    encodings = [randn(5, 4, seed=i) for i in range(4)]
    unimodal, pairs = group.forward(encodings)
    for i, m in enumerate((0, 2, 3)):
        np.testing.assert_allclose(array(unimodal[i]), array(apart[0][i](encodings[m])), atol=1e-13)
    expected = torch.cat([apart[1][i](encodings[m]) for i, m in enumerate((0, 2, 3))], 1)
    np.testing.assert_allclose(array(pairs), array(expected), atol=1e-13)
    (unimodal.square().sum() + pairs.square().sum()).backward()
    (leaf,) = group.leaves
    assert group.replacing(together[0][0].weight) is leaf
    assert all(group.replacing(linear.weight) is None for linear in together[1])
    alone = [apart[0][i](encodings[m]) for i, m in enumerate((0, 2, 3))]
    (sum(part.square().sum() for part in alone) + expected.square().sum()).backward()
    for i in range(3):
        wanted = torch.cat([apart[0][i].weight.grad, apart[1][i].weight.grad])
        np.testing.assert_allclose(array(leaf.grad[i]), array(wanted), atol=1e-11)


def test_maps_of_all_modalities_are_joined_only_where_they_have_one_shape():
    def joined(dims, terms, unimodal_dims):
        return TermFeatures(dims, terms, 2, unimodal_dims).group_maps() is not None

    every = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]
    with torch.random.fork_rng(devices=[]):
        assert joined([4, 4, 4], every, [2, 2, 2])
        assert not joined([4, 4, 3], every, [2, 2, 2])
        assert not joined([4, 4, 4], every, [2, 2, None])
        assert not joined([4, 4, 4], every[:4], [2, 2, 2])
        assert not joined([4, 4, 4], every[:4], [2, 2, None])
        assert not joined([4, 4, 4], [every[0], *every[2:]], [2, 2, 2])
        assert not joined([4, 4, 4], every[:3], [2, 2, 2])
