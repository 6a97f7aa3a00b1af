"""Tests of the whole module: scaling of inputs, encoders, features and fusion together."""

import weakref

import numpy as np
import pytest
import torch
from conformance import array, seeded
from torch import nn

from sklearn_mmfusion.modules.encoders import (
    LinearModule,
    MLPModule,
    SummaryModule,
    UserModule,
)
from sklearn_mmfusion.modules.fusion import BlockLinear, TermFeatures
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork, InputScaler


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(modality_dropout=0.0, terms=((0,), (1,), (0, 1))):
    """Network of a flat modality (3) and a sequence (4, 2), with two outputs."""

    def build():
        scalers = [
            InputScaler(torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 2, 4])),
            InputScaler(torch.zeros(2), torch.ones(2)),
        ]
        encoders = [LinearModule(3, 2), SummaryModule(2, batch_norm=True)]
        features = TermFeatures([2, 10], terms, 2, [2, None])
        fusion = BlockLinear(features.block_sizes, 2)
        network = FusionNetwork(scalers, encoders, features, fusion, modality_dropout)
        nn.init.normal_(network.fusion.weight)
        return network

    network = seeded(build).double()
    network.set_generator(torch.Generator().manual_seed(0))
    return network


def draw(n=12, seed=1, present=(None, None), lengths=None, weight=None):
    values = [randn(n, 3, seed=seed) + 2, randn(n, 4, 2, seed=seed + 1)]
    return FusionBatch(values, [None, lengths], list(present), weight)


def rows(batch, index):
    def pick(tensors):
        return [None if t is None else t[index] for t in tensors]

    weight = None if batch.weight is None else batch.weight[index]
    return FusionBatch(pick(batch.values), pick(batch.lengths), pick(batch.present), weight)


# -- scaling ----------------------------------------------------------------------------------


def test_scaler_standardises_and_casts():
    scaler = InputScaler(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]))
    scaled = scaler(torch.tensor([[3, 2], [1, 6]]), None, None, torch.float32)
    assert scaled.dtype == torch.float32
    np.testing.assert_array_equal(scaled, [[1, 0], [0, 1]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e35, 1e-35])
def test_scaler_keeps_the_digits_of_extreme_values(scale, dtype):
    values = scale * torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    mean = torch.tensor([2.0], dtype=torch.float64) * scale
    std = torch.tensor([0.5], dtype=torch.float64) * scale
    scaler = InputScaler(mean, std).to(dtype)
    np.testing.assert_allclose(scaler(values, None, None, dtype)[:, 0], [-2, 0, 4], rtol=1e-6)


def test_scaler_keeps_float64_statistics_in_a_float32_network():
    mean = torch.tensor([1.0 + 1e-12], dtype=torch.float64)
    scaler = InputScaler(mean, torch.tensor([1e300], dtype=torch.float64)).float()
    assert scaler.mean.dtype == torch.float64
    assert torch.equal(scaler.mean, mean)
    assert float(scaler.scale) == 1e300


def test_scaler_zeroes_padding_and_absent_rows():
    scaler = InputScaler(torch.ones(2), torch.ones(2))
    values = torch.zeros(3, 4, 2)
    lengths, present = torch.tensor([4, 2, 1]), torch.tensor([True, True, False])
    scaled = scaler(values, lengths, present, torch.float64)
    expected = np.zeros((3, 4, 2))
    expected[0], expected[1, :2] = -1, -1
    np.testing.assert_array_equal(scaled, expected)


def test_scaler_of_float32_values_equals_float64_computation():
    values = randn(20, 3).float() * 1e3
    mean, scale = values.double().mean(0), values.double().std(0)
    expected = (values.double() - mean) / scale
    scaled = InputScaler(mean, scale)(values, None, None, torch.float32)
    np.testing.assert_allclose(scaled, expected, atol=1e-5)


# -- network ----------------------------------------------------------------------------------


def test_contributions_and_bias_add_up_to_forward():
    network, batch = make().eval(), draw()
    with torch.no_grad():
        network.fusion.bias.copy_(randn(2, seed=3))
    total = network.contributions(batch).sum(1) + network.fusion.bias
    np.testing.assert_allclose(array(total), array(network(batch)), atol=1e-12)


def test_eval_does_not_depend_on_the_other_rows_nor_on_weights():
    network, batch = make(), draw(weight=randn(12, seed=5).abs())
    network(batch)
    network.eval()
    together = network(batch)
    alone = torch.cat([network(rows(batch, slice(i, i + 1))) for i in range(12)])
    np.testing.assert_allclose(array(alone), array(together), atol=1e-12)
    batch.weight = None
    np.testing.assert_allclose(array(network(batch)), array(together), atol=1e-12)


@pytest.mark.parametrize("size", [1, 5, 12])
def test_recomputed_statistics_do_not_depend_on_the_batches(size):
    present = [torch.arange(12) % 4 != 0, None]
    batch = draw(present=present, lengths=torch.arange(12) % 4 + 1, weight=randn(12).abs() + 0.1)
    whole, split = make(), make()
    whole.recompute_statistics([batch])
    split.recompute_statistics([rows(batch, slice(i, i + size)) for i in range(0, 12, size)])
    for name, value in whole.state_dict().items():
        np.testing.assert_allclose(split.state_dict()[name], value, atol=1e-10, err_msg=name)
    np.testing.assert_allclose(array(split(batch)), array(whole(batch)), atol=1e-10)


def test_recomputed_statistics_make_eval_equal_to_training_on_the_whole():
    batch = draw(present=[torch.arange(12) > 1, torch.arange(12) < 9])
    network, fresh = make(), make()
    network(draw(seed=20))
    network.recompute_statistics([batch])
    fresh.features.set_presence(batch.present)
    assert not network.training
    np.testing.assert_allclose(array(network(batch)), array(fresh(batch)), atol=1e-10)


def test_recomputed_statistics_over_batches_with_and_without_masks():
    # A batch in which all rows are there may come without a mask.
    mask = torch.ones(12, dtype=torch.bool)
    mask[:3] = False
    whole = draw(present=[mask, None])
    parts = [rows(whole, slice(0, 6)), rows(whole, slice(6, 12))]
    parts[1].present[0] = None
    joint, split = make(), make()
    joint.recompute_statistics([whole])
    split.recompute_statistics(parts)
    for name, value in joint.state_dict().items():
        np.testing.assert_allclose(split.state_dict()[name], value, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("training", [False, True])
def test_missing_rows_contribute_zero_and_their_content_is_irrelevant(training):
    present = [torch.arange(12) > 2, torch.arange(12) < 9]
    batch = draw(present=present)
    other = draw(present=present)
    other.values[0][:3], other.values[1][9:] = 50.0, -50.0
    network, same = make().train(training), make().train(training)
    parts = network.contributions(batch)
    assert (parts[:3, [0, 2]] == 0).all()
    assert (parts[9:, [1, 2]] == 0).all()
    assert (parts[3:9] != 0).all()
    np.testing.assert_allclose(array(same.contributions(other)), array(parts), atol=1e-12)


def test_missing_rows_leave_statistics_to_the_others():
    mask = torch.arange(12) >= 4
    network, alone = make(terms=((0,),)), make(terms=((0,),))
    network.recompute_statistics([draw(present=[mask, None])])
    alone.recompute_statistics([rows(draw(), slice(4, 12))])
    found, eps = network.state_dict(), network.features.unimodal_norms[0].eps
    for name, value in alone.state_dict().items():
        if name.endswith("running_variance"):  # that over all rows, of which 8 of 12 count
            value = (value + eps) * 8 / 12 - eps
        np.testing.assert_allclose(found[name], value, atol=1e-12, err_msg=name)


def test_modality_dropout_takes_its_share_of_rows_in_training_only():
    network = make(modality_dropout=0.3)
    batch = draw(n=4000)
    present = network._drop_modalities(batch)
    shares = [float(mask.double().mean()) for mask in present]
    np.testing.assert_allclose(shares, 0.7, atol=0.03)
    both = float((present[0] & present[1]).double().mean())
    assert both == pytest.approx(0.49, abs=0.03)
    network.eval()
    network(batch)
    assert torch.equal(network(batch), network(batch))


def test_modality_dropout_never_brings_a_missing_row_back():
    network = make(modality_dropout=0.3)
    mask = torch.arange(500) % 2 == 0
    dropped = network._drop_modalities(draw(n=500, present=[mask, None]))[0]
    assert not dropped[~mask].any()
    assert 0 < dropped.sum() < mask.sum()


def test_modality_dropout_is_that_of_the_generator():
    a, b = make(0.5), make(0.5)
    batch = draw()
    np.testing.assert_array_equal(array(a(batch)), array(b(batch)))
    a.set_generator(torch.Generator().manual_seed(1))
    assert not torch.equal(a(batch), b(batch))


def test_modality_that_no_term_uses_is_not_encoded():
    network = make(terms=((1,),))
    calls = []
    network.encoders[0].register_forward_hook(lambda *args: calls.append(args))
    network(draw())
    assert calls == []


def test_weighted_rows_equal_repeated_rows_in_training():
    counts = torch.tensor([1, 2, 3] * 4)
    index = torch.repeat_interleave(torch.arange(12), counts)
    weighted, repeated = make(), make()
    out = weighted(draw(weight=counts.double()))
    np.testing.assert_allclose(array(out[index]), array(repeated(rows(draw(), index))), atol=1e-11)


def test_gradients_reach_every_parameter_and_are_finite():
    network = make()
    network(draw(present=[torch.arange(12) > 3, None])).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_batch_moves_with_all_its_parts():
    batch = draw(present=[torch.ones(12, dtype=torch.bool), None], weight=torch.ones(12))
    moved = batch.to("meta")
    devices = {t.device.type for t in [*moved.values, moved.present[0], moved.weight]}
    assert devices == {"meta"}
    assert moved.lengths == [None, None]
    assert len(moved) == 12


# -- what is done once for all epochs ---------------------------------------------------------


def perceptrons(n_quantiles=None, dims=(3, 4)):
    """Network of two flat modalities with perceptrons."""

    def build():
        scalers = [InputScaler(torch.ones(d), torch.full((d,), 2.0)) for d in dims]
        encoders = [MLPModule(d, 2, (5,), skip=True, n_quantiles=n_quantiles) for d in dims]
        features = TermFeatures([2, 2], ((0,), (1,), (0, 1)), 2, [2, 2])
        network = FusionNetwork(scalers, encoders, features, BlockLinear(features.block_sizes, 2))
        nn.init.normal_(network.fusion.weight)
        return network

    network = seeded(build).double()
    network.fit_inputs(flat_rows(dims))
    return network


def flat_rows(dims=(3, 4), n=12):
    present = torch.arange(n) % 3 > 0
    values = [randn(n, d, seed=d) for d in dims]
    return FusionBatch(values, [None] * 2, [present, None], randn(n, seed=5).abs())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("build", [make, lambda: perceptrons(4)])
def test_prepared_rows_give_the_same_outputs(build, training):
    network, other = build(), build()
    lengths = torch.tensor([4, 2] * 6)
    batch = draw(lengths=lengths) if build is make else flat_rows()
    for net in (network, other):
        net.train(training)
    prepared = network.prepare(batch)
    assert prepared.prepared
    torch.testing.assert_close(network(prepared), other(batch), rtol=0, atol=0)


def test_prepared_rows_of_a_frozen_module_are_its_encodings():
    module = seeded(nn.Linear, 3, 2).double()
    encoder = UserModule(module, (3,), trainable=False)
    features = TermFeatures([2], ((0,),), 2, [None])
    scaler = InputScaler(torch.zeros(3), torch.ones(3))
    network = FusionNetwork([scaler], [encoder], features, BlockLinear([2], 1)).double()
    batch = FusionBatch([randn(6, 3)], [None], [None])
    torch.testing.assert_close(network.prepare(batch).values[0], module(batch.values[0]))
    torch.testing.assert_close(network(network.prepare(batch)), network(batch))


@pytest.mark.parametrize("dims", [(3, 3), (3, 4)])
def test_grouped_encoders_leave_outputs_and_names_as_they_are(dims):
    network, other = perceptrons(dims=dims), perceptrons(dims=dims)
    names = list(network.state_dict())
    network.group()
    assert len(network.encoder_groups) == 1
    assert len(network.groups) == 2
    assert list(network.state_dict()) == names
    batch = flat_rows(dims)
    np.testing.assert_allclose(array(network(batch)), array(other(batch)), atol=1e-13)
    trained = {name: p for name, p, _ in network.trained_parameters()}
    assert sum(p.numel() for p in trained.values()) == sum(p.numel() for p in other.parameters())
    assert len(trained) < len(list(other.parameters()))


def test_matrices_are_told_from_vectors_in_groups_too():
    network = perceptrons(dims=(3, 3))
    network.group()
    matrices = {name: is_matrix for name, _, is_matrix in network.trained_parameters()}
    assert matrices["encoders.0.layers.0.weight"]
    assert not matrices["encoders.0.layers.0.bias"]
    assert "encoders.1.layers.0.weight" not in matrices


def test_recomputing_statistics_keeps_no_encodings_of_earlier_batches(monkeypatch):
    network = make().eval()
    batches = [draw(seed=seed) for seed in range(3)]
    alive, refs, encode = [], [], network.encode
    monkeypatch.setattr(
        "sklearn_mmfusion.modules.network.recompute_statistics", lambda encoders, run: run()
    )

    def counted(rows, present):
        alive.append(sum(ref() is not None for ref in refs))
        encodings = encode(rows, present)
        refs.append(weakref.ref(encodings[0]))
        return encodings

    monkeypatch.setattr(network, "encode", counted)
    network.recompute_statistics(batches)
    assert alive[:3] == [0, 0, 0]
