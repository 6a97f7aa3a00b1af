"""Tests of networks computed side by side: each against itself alone."""

import copy

import numpy as np
import pytest
import torch
from conformance import array, seeded

from sklearn_mmfusion.modules.dropout import set_dropout_strength
from sklearn_mmfusion.modules.encoders import (
    IdentityModule,
    LinearModule,
    MLPModule,
    SummaryModule,
)
from sklearn_mmfusion.modules.fusion import BlockLinear, TermFeatures
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork
from sklearn_mmfusion.modules.stacked import NetworkStack, can_be_stacked

DIMS, N_NETWORKS = (3, 4, 3, 2), 3
ALL = ((0,), (1,), (2,), (3,), (0, 1), (0, 2), (2, 3), (0, 1, 2), (0, 1, 2, 3))


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def perceptrons(dims=DIMS):
    settings = {"skip": True, "dropout": 0.4, "input_dropout": 0.2, "n_quantiles": 3}
    return [MLPModule(d, 3, (5,), **settings) for d in dims]


def mixed():
    deep = [MLPModule(d, 3, (4, 4), activation="gelu", dropout=0.3) for d in DIMS[1:3]]
    return [LinearModule(DIMS[0], 2, dropout=0.3), *deep, IdentityModule(DIMS[3])]


KINDS = {
    "perceptrons": perceptrons,
    "equal perceptrons": lambda: perceptrons((3, 3, 3, 3)),
    "mixed": mixed,
}


def make(kind="perceptrons", terms=ALL, unimodal_dims=None, modality_dropout=0.0, seed=0):
    def build():
        torch.default_generator.manual_seed(seed)
        encoders = KINDS[kind]()
        dims = [encoder.output_dim for encoder in encoders]
        sizes = [2, 2, 2, 2] if unimodal_dims is None else unimodal_dims
        features = TermFeatures(dims, terms, 2, sizes)
        fusion = BlockLinear(features.block_sizes, 2)
        torch.nn.init.normal_(fusion.weight)
        network = FusionNetwork([None] * 4, encoders, features, fusion, modality_dropout)
        network.is_even = kind == "equal perceptrons"
        return network

    network = seeded(build).double()
    network.set_generator(torch.Generator().manual_seed(seed))
    return network


def draw(network, n=9, seed=0, masked=False, weighted=False):
    widths = [3] * 4 if network.is_even else DIMS
    values = [randn(n, width, seed=10 * seed + m) for m, width in enumerate(widths)]
    batch = FusionBatch(values, [None] * 4, [None] * 4)
    if masked:
        batch.present[0] = torch.arange(n) % 3 != seed
        batch.present[2] = torch.arange(n) % 4 != seed
    if weighted:
        batch.weight = randn(n, seed=99 + seed).abs()
    return batch


def pair(n=N_NETWORKS, **settings):
    """Networks to run alone, and the same to run side by side."""
    networks = [make(seed=i, **settings) for i in range(n)]
    twins = copy.deepcopy(networks)
    for network, twin in zip(networks, twins, strict=True):
        network.group()
        seed = network.generator.initial_seed()
        for one in (network, twin):
            one.set_generator(torch.Generator().manual_seed(seed))
    return networks, twins


def together(networks, batches):
    prepared = [net.prepare(batch) for net, batch in zip(networks, batches, strict=True)]

    def stack(tensors):
        return None if tensors[0] is None else torch.stack(list(tensors))

    return FusionBatch(
        [stack(v) for v in zip(*(b.values for b in prepared), strict=True)],
        [None] * 4,
        [stack(p) for p in zip(*(b.present for b in prepared), strict=True)],
        stack([b.weight for b in prepared]),
        prepared=True,
    )


def descend(trained, outputs):
    """Take a step down the gradient; encoders that no term has get none."""
    leaves = [leaf for _, leaf, _ in trained.trained_parameters()]
    gradients = torch.autograd.grad(outputs.square().sum(), leaves, allow_unused=True)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            leaf.data.sub_(gradient, alpha=0.01)


CASES = [
    {},
    {"kind": "equal perceptrons"},
    {"kind": "mixed"},
    {"kind": "mixed", "unimodal_dims": (None, 2, None, None)},
    {"terms": ((0,), (1,), (2,), (3,))},
    {"terms": ((0, 1), (1, 2), (0, 2, 3))},
    {"kind": "equal perceptrons", "terms": ((0,), (2,), (0, 2))},
    {"modality_dropout": 0.4},
]


@pytest.mark.parametrize(("masked", "weighted"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("settings", CASES, ids=str)
def test_steps_of_a_stack_are_the_steps_of_its_networks(settings, masked, weighted):
    networks, twins = pair(**settings)
    stack = NetworkStack(twins)
    for step in range(3):
        batches = [
            draw(net, seed=i + step, masked=masked, weighted=weighted)
            for i, net in enumerate(networks)
        ]
        found = stack.forward(together(twins, batches), training=True)
        for i, (network, batch) in enumerate(zip(networks, batches, strict=True)):
            expected = network.train()(batch)
            np.testing.assert_allclose(array(found[i]), array(expected), atol=1e-12)
            descend(network, expected)
        descend(stack, found)
    for network, twin in zip(networks, twins, strict=True):
        arrays = twin.state_dict()
        for name, value in network.state_dict().items():
            np.testing.assert_allclose(array(arrays[name]), array(value), atol=1e-11, err_msg=name)
    batches = [draw(net, seed=7, masked=masked, weighted=weighted) for net in networks]
    found = stack.forward(together(twins, batches), training=False)
    for i, (network, batch) in enumerate(zip(networks, batches, strict=True)):
        np.testing.assert_allclose(array(found[i]), array(network.eval()(batch)), atol=1e-11)


def test_dropout_fades_as_in_a_network():
    networks, twins = pair()
    stack = NetworkStack(twins)
    stack.dropout_strength = 0.25
    batches = [draw(network, seed=i) for i, network in enumerate(networks)]
    found = stack.forward(together(twins, batches), training=True)
    for i, (network, batch) in enumerate(zip(networks, batches, strict=True)):
        set_dropout_strength(network, 0.25)
        np.testing.assert_allclose(array(found[i]), array(network.train()(batch)), atol=1e-12)


def test_full_dropout_leaves_nothing_and_no_nan():
    networks, twins = pair(n=2)
    for network in (*networks, *twins):
        for encoder in network.encoders:
            encoder.input_dropout.p = 1.0
    batches = [draw(network) for network in networks]
    found = NetworkStack(twins).forward(together(twins, batches), training=True)
    for i, (network, batch) in enumerate(zip(networks, batches, strict=True)):
        np.testing.assert_allclose(array(found[i]), array(network.train()(batch)), atol=1e-12)


def test_masks_that_rows_share_are_those_of_each_network():
    networks, twins = pair()
    for one in (*networks, *twins):
        one.set_generator(one.generator, shared=True)
    batches = [draw(network, seed=i) for i, network in enumerate(networks)]
    found = NetworkStack(twins).forward(together(twins, batches), training=True)
    for i, (network, batch) in enumerate(zip(networks, batches, strict=True)):
        np.testing.assert_allclose(array(found[i]), array(network.train()(batch)), atol=1e-12)


def test_arrays_of_a_stack_are_views_of_what_its_networks_hold():
    _, twins = pair()
    stack = NetworkStack(twins)
    for array_ in stack.arrays:
        assert len(array_) == N_NETWORKS
        array_[1] = 3.0
    moved = dict(twins[1].named_parameters())
    assert all((value == 3.0).all() for value in moved.values())
    assert (twins[1].features.pair_norm.running_mean == 3.0).all()
    for name, value in twins[0].named_parameters():
        assert not (value == 3.0).all(), name


def test_penalties_are_those_of_the_networks():
    networks, twins = pair()
    found = NetworkStack(twins).penalties(2.0)
    expected = [float(network.fusion.penalty(2.0).detach()) for network in networks]
    np.testing.assert_allclose(array(found), expected, rtol=1e-13)


def test_trained_parameters_name_each_tensor_of_the_networks_once():
    networks, twins = pair()
    stack = NetworkStack(twins)
    total = sum(leaf.numel() for _, leaf, _ in stack.trained_parameters())
    assert total == sum(p.numel() for network in networks for p in network.parameters())
    matrices = {name for name, _, is_matrix in stack.trained_parameters() if is_matrix}
    assert "fusion.weight" in matrices
    assert "fusion.bias" not in matrices


def frozen():
    network = make()
    network.encoders[1].requires_grad_(False)
    return network


def of_sequences():
    network = make()
    network.encoders[0] = SummaryModule(2)
    return network


@pytest.mark.parametrize("build", [frozen, of_sequences])
def test_networks_with_other_encoders_are_no_part_of_a_stack(build):
    assert can_be_stacked(make())
    assert not can_be_stacked(build())


def test_encoders_that_no_term_has_do_not_matter():
    network = make(terms=((0,), (1,), (0, 1)))
    network.encoders[3] = SummaryModule(2)
    assert can_be_stacked(network)
