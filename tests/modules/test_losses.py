"""Tests of losses and links against scikit-learn, scipy and plain formulas."""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.metrics import log_loss

from sklearn_mmfusion.modules.losses import LOSSES, link, log_link, smooth_loss


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_binary_loss_equals_log_loss():
    logits, y = randn(20, 1), torch.arange(20) % 2
    expected = [
        log_loss([t], [p], labels=[0, 1]) for t, p in zip(y, expit(logits[:, 0]), strict=True)
    ]
    np.testing.assert_allclose(LOSSES["binary"](logits, y), expected, rtol=1e-10)


def test_multiclass_loss_equals_log_loss():
    logits, y = randn(20, 3), torch.arange(20) % 3
    proba = softmax(logits.numpy(), axis=1)
    expected = -np.log(proba[np.arange(20), y.numpy()])
    np.testing.assert_allclose(LOSSES["multiclass"](logits, y), expected, rtol=1e-10)


def test_multilabel_loss_is_the_sum_of_binary_losses():
    logits, y = randn(20, 3), (randn(20, 3, seed=1) > 0).double()
    expected = sum(LOSSES["binary"](logits[:, [k]], y[:, k]) for k in range(3))
    np.testing.assert_allclose(LOSSES["multilabel"](logits, y), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["squared_error", "absolute_error", "huber"])
def test_regression_losses_are_sums_over_outputs(name):
    prediction, y = 2 * randn(20, 3), randn(20, 3, seed=1)
    r = np.abs((prediction - y).numpy())
    expected = {
        "squared_error": r**2,
        "absolute_error": r,
        "huber": np.where(r <= 1, 0.5 * r**2, r - 0.5),
    }[name].sum(1)
    np.testing.assert_allclose(LOSSES[name](prediction, y), expected, rtol=1e-12)


def test_losses_of_extreme_logits_are_finite():
    logits = torch.tensor([[1e4], [-1e4]], dtype=torch.float64)
    np.testing.assert_allclose(LOSSES["binary"](logits, torch.tensor([0, 1])), [1e4, 1e4])
    np.testing.assert_allclose(LOSSES["binary"](logits, torch.tensor([1, 0])), [0, 0])
    wide = torch.tensor([[1e4, -1e4, 0.0]], dtype=torch.float64)
    assert float(LOSSES["multiclass"](wide, torch.tensor([1]))) == pytest.approx(2e4)
    assert float(LOSSES["multilabel"](wide, torch.ones(1, 3))) == pytest.approx(1e4 + np.log(2))


def test_link_gives_probabilities():
    logits = 3 * randn(20, 3)
    np.testing.assert_allclose(link("multiclass", logits), softmax(logits.numpy(), 1), rtol=1e-12)
    np.testing.assert_allclose(link("multilabel", logits), expit(logits.numpy()), rtol=1e-12)
    binary = link("binary", logits[:, :1])
    np.testing.assert_allclose(binary[:, 1], expit(logits[:, 0].numpy()), rtol=1e-12)
    np.testing.assert_allclose(binary.sum(1), 1, rtol=1e-12)


def test_binary_link_keeps_the_digits_of_rare_classes():
    # 1 - sigmoid(50) would be 0.
    proba = link("binary", torch.tensor([[50.0]], dtype=torch.float64))
    assert float(proba[0, 0]) == pytest.approx(np.exp(-50), rel=1e-10)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_log_link_is_the_logarithm_of_the_link_and_does_not_underflow(kind):
    logits = 3 * randn(20, 1 if kind == "binary" else 3)
    found = log_link(kind, logits)
    np.testing.assert_allclose(found, np.log(link(kind, logits).numpy()), rtol=1e-10)
    far = log_link(kind, 1e6 * logits)
    assert torch.isfinite(far).all() and far.min() < -1e5


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_smooth_loss_is_within_its_bound_of_the_loss(name):
    prediction = randn(50, 1) if name == "binary" else randn(50, 3)
    y = torch.arange(50) % 2 if name in ("binary", "multiclass") else (randn(50, 3) > 0).double()
    gap = (smooth_loss(name)(prediction, y) - LOSSES[name](prediction, y)).abs().max()
    assert float(gap) <= (3 * 5e-4 + 1e-12 if name == "absolute_error" else 0.0)


def test_smooth_absolute_error_has_a_continuous_gradient():
    r = torch.tensor([[-1e-3], [-5e-4], [0.0], [5e-4], [1e-3], [2.0]], dtype=torch.float64)
    r.requires_grad_()
    smooth_loss("absolute_error")(r, torch.zeros_like(r)).sum().backward()
    np.testing.assert_allclose(r.grad[:, 0], [-1, -0.5, 0, 0.5, 1, 1], atol=1e-12)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_loss_gradients_equal_finite_differences(name):
    prediction = (randn(5, 1) if name == "binary" else 2 * randn(5, 3)).requires_grad_()
    y = (
        torch.arange(5) % 2
        if name in ("binary", "multiclass")
        else (randn(5, 3, seed=4) > 0).double()
    )
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, y.to(y.dtype)), prediction)
