"""Tests of weighted batch normalisation and of exact statistics."""

import numpy as np
import pytest
import torch
from conformance import array, seeded
from torch import nn

from sklearn_mmfusion.modules.batchnorm import WeightedBatchNorm, recompute_statistics
from sklearn_mmfusion.modules.convolution import Conv1dModule
from sklearn_mmfusion.modules.recurrent import RecurrentModule

SHAPES = [(8, 3), (8, 3, 5), (4, 3, 5, 2)]


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def formula(x, weight, eps=1e-5):
    """Normalise by numpy's weighted average over all axes but 1."""
    flat = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
    w = np.broadcast_to(weight, x.shape[:1] + (1,) + x.shape[2:]).reshape(-1)
    mean = np.average(flat, axis=0, weights=w)
    var = np.average((flat - mean) ** 2, axis=0, weights=w)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + eps), mean, var


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighting", ["none", "rows", "elements"])
def test_batch_norm_in_training_equals_formula(shape, weighting):
    x = 2 + 3 * randn(*shape)
    weight = {
        "none": None,
        "rows": randn(shape[0]).abs(),
        "elements": randn(shape[0], 1, *shape[2:]).abs(),
    }[weighting]
    norm = WeightedBatchNorm(3, momentum=0.3).double()
    full = np.ones(()) if weight is None else array(weight)
    if weighting == "rows":
        full = full.reshape(-1, *[1] * (len(shape) - 1))
    expected, mean, var = formula(array(x), full)
    np.testing.assert_allclose(array(norm(x, weight)), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(array(norm.running_mean), 0.3 * mean, rtol=1e-10)
    np.testing.assert_allclose(array(norm.running_var), 0.7 + 0.3 * var, rtol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_equals_torch_where_both_are_defined(shape):
    x = randn(*shape)
    reference = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](3).double()
    norm = WeightedBatchNorm(3).double()
    torch.testing.assert_close(norm(x), reference(x))
    torch.testing.assert_close(norm(x, torch.ones(len(x))), reference(x))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_gradients_are_right(shape, weighted, training):
    x = randn(*shape).requires_grad_()
    norm = WeightedBatchNorm(3).double().train(training)
    weight = randn(shape[0], seed=1).abs() if weighted else None
    assert torch.autograd.gradcheck(lambda t: norm(t, weight), [x])


def test_batch_norm_ignores_rows_of_weight_zero():
    x = randn(6, 3)
    weight = torch.tensor([1.0, 0, 1, 0, 1, 1], dtype=torch.float64)
    kept = weight > 0
    y = WeightedBatchNorm(3).double()(x, weight)
    torch.testing.assert_close(y[kept], WeightedBatchNorm(3).double()(x[kept]))


def test_batch_norm_of_total_weight_zero_uses_and_keeps_the_past():
    norm = WeightedBatchNorm(3).double()
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    x = randn(5, 3).requires_grad_()
    y = norm(x, torch.zeros(5))
    y.sum().backward()
    torch.testing.assert_close(y, (x - 2) / np.sqrt(4 + 1e-5))
    assert norm.running_mean.eq(2).all()
    assert norm.running_var.eq(4).all()
    assert x.grad.isfinite().all()


def test_batch_norm_of_one_row_returns_the_offset():
    norm = WeightedBatchNorm(3)
    with torch.no_grad():
        norm.bias.fill_(0.5)
    assert norm(torch.ones(1, 3)).eq(0.5).all()


def test_batch_norm_without_affine_has_no_parameters():
    norm = WeightedBatchNorm(3, affine=False).double()
    assert not list(norm.parameters())
    x = randn(7, 3)
    expected = formula(array(x), np.ones(()))[0]
    np.testing.assert_allclose(array(norm(x)), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(array(norm(x, torch.ones(7))), expected, rtol=1e-10, atol=1e-12)


def test_batch_norm_in_evaluation_mode_uses_running_statistics():
    norm = WeightedBatchNorm(3).double()
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    x = randn(5, 3)
    torch.testing.assert_close(norm.eval()(x), (x - 2) / np.sqrt(4 + 1e-5))


def stack():
    return nn.ModuleList(
        [nn.Linear(4, 5), WeightedBatchNorm(5), nn.Linear(5, 3), WeightedBatchNorm(3)]
    ).double()


def run(layers, x, weight):
    for layer in layers:
        x = layer(x, weight) if isinstance(layer, WeightedBatchNorm) else layer(x).tanh()
    return x


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_recompute_statistics_equals_one_full_batch(batch_size):
    x, weight = 5 + randn(50, 4), randn(50, seed=1).abs()
    layers = seeded(stack)
    layers[1].eval()
    n_passes = 0

    def run_pass():
        nonlocal n_passes
        n_passes += 1
        for rows in torch.arange(50).split(batch_size):
            assert not layers.training
            run(layers, x[rows], weight[rows])

    recompute_statistics(layers, run_pass)
    assert n_passes == 2
    assert layers.training
    assert not layers[1].training
    recomputed = run(layers.eval(), x, weight)
    full_batch = run(layers.train(), x, weight)
    torch.testing.assert_close(recomputed, full_batch, rtol=1e-9, atol=1e-9)


def test_recompute_statistics_is_accurate_far_from_zero():
    x = 1e6 + randn(1000, 1).float()
    norm = WeightedBatchNorm(1)
    recompute_statistics(norm, lambda: [norm(part) for part in x.split(3)])
    exact = x.double()
    torch.testing.assert_close(norm.running_var, exact.var(0, correction=0).float())
    torch.testing.assert_close(norm.running_mean, exact.mean(0).float())


def test_recompute_statistics_of_branches_shares_passes():
    x = randn(40, 6, 3)
    lengths = torch.arange(40) % 6 + 1
    model = nn.ModuleDict(
        {
            "a": seeded(RecurrentModule, 3, 4, batch_norm=True),
            "b": seeded(Conv1dModule, 3, (4, 5), (3, 3), (2, 1), batch_norm=True),
            "fusion": WeightedBatchNorm(9),
        }
    ).double()

    def forward(rows):
        parts = [model[name](x[rows], lengths[rows]) for name in "ab"]
        return model["fusion"](torch.cat(parts, 1))

    n_passes = 0

    def run_pass():
        nonlocal n_passes
        n_passes += 1
        for rows in torch.arange(40).split(7):
            forward(rows)

    recompute_statistics(model, run_pass, branches=[model["a"], model["b"]])
    assert n_passes == 3
    model.eval()
    recomputed = forward(torch.arange(40))
    model.train()
    full_batch = forward(torch.arange(40))
    torch.testing.assert_close(recomputed, full_batch, rtol=1e-9, atol=1e-9)


def test_recompute_statistics_without_weight_keeps_the_past():
    norm = WeightedBatchNorm(2)
    norm.running_mean.fill_(3.0)
    recompute_statistics(norm, lambda: norm(torch.ones(4, 2), torch.zeros(4)))
    assert norm.running_mean.eq(3).all()
    assert norm.running_var.eq(1).all()


def test_recompute_statistics_leaves_the_module_usable_after_an_error():
    layers = seeded(stack)
    with pytest.raises(ZeroDivisionError):
        recompute_statistics(layers, lambda: 1 / 0)
    assert layers.training
    assert layers[1]._moments is None
