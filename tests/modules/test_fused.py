"""Tests of VBN, IterBN and the penalty with gradients written out, against their formulas."""

import numpy as np
import pytest
import torch
from conformance import array
from iterbn_formulas import EPS, latent, randn, weights

from sklearn_mmfusion import functional as F
from sklearn_mmfusion.modules import fused
from sklearn_mmfusion.modules.normalization import (
    VectorBatchNorm,
    normalize_together,
)


@pytest.mark.parametrize("kind", ["none", "rows", "groups"])
def test_vector_batch_norm_and_its_gradient_equal_the_formula(kind):
    h = (3 + randn(9, 3, 4)).requires_grad_()
    weight, direction = weights(kind, 9, 3), randn(9, 3, 4, seed=1)
    for found, expected in zip(
        fused.vector_batch_norm(h, weight, EPS), F.vector_batch_norm(h, weight, EPS), strict=True
    ):
        np.testing.assert_allclose(array(found), array(expected), rtol=1e-12, atol=1e-13)
    gradients = [
        torch.autograd.grad(norm(h, weight, EPS)[0], h, direction)[0]
        for norm in (fused.vector_batch_norm, F.vector_batch_norm)
    ]
    np.testing.assert_allclose(array(gradients[0]), array(gradients[1]), atol=1e-12)


@pytest.mark.parametrize("order", fused.FUSED_ORDERS)
def test_interaction_gradients_equal_finite_differences(order):
    us = latent(order, None, n=5, n_terms=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: fused.interaction_batch_norm(u, None, EPS)[0], us)


@pytest.mark.parametrize("order", fused.FUSED_ORDERS)
def test_interactions_without_any_row_that_counts_are_finite(order):
    us, nothing = randn(order, 4, 1, 2).requires_grad_(), torch.zeros(4, dtype=torch.float64)
    features, norm, _ = fused.interaction_batch_norm(us, nothing, EPS)
    features.sum().backward()
    assert features.isfinite().all()
    assert (norm == 0).all()
    assert us.grad.isfinite().all()


def test_gradients_of_gradients_are_refused_rather_than_wrong():
    h = randn(4, 3).requires_grad_()
    (first,) = torch.autograd.grad(
        fused.vector_batch_norm(h, None, EPS)[0].pow(3).sum(), h, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 7.0, float("inf")])
@pytest.mark.parametrize("factor", [1.0, 1e-120, 1e120])
def test_penalty_and_its_gradient_equal_the_formula(p, factor):
    columns = torch.tensor([0, 0, 1, 2, 2, 3])
    weight = randn(2, 6) * factor
    weight[:, 2] = 0
    weight.requires_grad_()
    found = fused.block_norm_penalty(weight, columns, 4, p)
    expected = F.block_norm_penalty(F.block_norms(weight, columns, 4), p)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    gradients = [torch.autograd.grad(value, weight)[0] for value in (found, expected)]
    np.testing.assert_allclose(array(gradients[0]), array(gradients[1]), rtol=1e-11)


@pytest.mark.parametrize("p", [1.0, 2.0, float("inf")])
def test_penalty_of_zero_weights_is_zero_with_zero_gradient(p):
    weight = torch.zeros(2, 3, requires_grad=True)
    penalty = fused.block_norm_penalty(weight, torch.tensor([0, 0, 1]), 2, p)
    penalty.backward()
    assert float(penalty.detach()) == 0
    assert (weight.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [1.0, 2.0, float("inf")])
def test_penalties_of_several_models_are_those_of_each(p, dtype):
    columns = torch.tensor([0, 0, 1, 2, 2, 3])
    sizes = torch.tensor([1.0, 0.0, 1e-12, 1e12], dtype=dtype)
    weight = randn(4, 2, 6).to(dtype) * sizes[:, None, None]
    weight.requires_grad_()
    found = fused.block_norm_penalty(weight, columns, 4, p)
    expected = [F.block_norm_penalty(F.block_norms(w, columns, 4), p) for w in weight]
    np.testing.assert_allclose(array(found), [float(e.detach()) for e in expected], rtol=1e-12)
    factors = torch.arange(1.0, 5.0, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((factors * found).sum(), weight)
    (wanted,) = torch.autograd.grad((factors * torch.stack(expected)).sum(), weight)
    rtol = 1e-11 if dtype == torch.float64 else 1e-5
    np.testing.assert_allclose(array(gradient), array(wanted), rtol=rtol)


@pytest.mark.parametrize("weighted", [False, True])
def test_norms_together_equal_norms_one_by_one(weighted):
    dims = [2, 3, 2, 2]
    hs = [2 + randn(7, d, seed=i) for i, d in enumerate(dims)]
    some = [randn(7, seed=20).abs(), None, randn(7, seed=21).abs(), None]
    each = some if weighted else [None] * 4
    together = [VectorBatchNorm(d).double() for d in dims]
    apart = [VectorBatchNorm(d).double() for d in dims]
    for _ in range(2):
        blocks = normalize_together(together, hs, each)
        for block, norm, h, weight in zip(blocks, apart, hs, each, strict=True):
            np.testing.assert_allclose(array(block), array(norm(h, weight)), atol=1e-12)
    for one, other in zip(together, apart, strict=True):
        for name, value in one.state_dict().items():
            np.testing.assert_allclose(array(value), array(other.state_dict()[name]), rtol=1e-12)
