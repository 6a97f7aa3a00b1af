"""Tests of IterBN of any order, folded and with its special forms, against its formulas."""

import numpy as np
import pytest
import torch
from conformance import array
from iterbn_formulas import EPS, by_formula, latent, randn, weights

from sklearn_mmfusion import functional as F
from sklearn_mmfusion.modules import folded, fused, normalization
from sklearn_mmfusion.modules.normalization import IterBatchNorm

ORDERS = (2, 3, 4, 5)


@pytest.mark.parametrize("kind", ["none", "rows", "groups"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("module", [folded, fused], ids=["folded", "fused"])
def test_features_and_their_gradient_equal_the_formula(module, order, kind):
    weight = weights(kind, 9, 3)
    us = latent(order, weight).requires_grad_()
    features, norm, moments = module.interaction_batch_norm(us, weight, EPS)
    expected, expected_norm, expected_moments = by_formula(us, weight)
    np.testing.assert_allclose(array(features), array(expected), atol=1e-12)
    np.testing.assert_allclose(array(norm), array(expected_norm), rtol=1e-12)
    assert set(moments) == set(expected_moments)
    for axes, moment in moments.items():
        np.testing.assert_allclose(array(moment), array(expected_moments[axes]), atol=1e-13)
    direction = randn(*features.shape, seed=1)
    found, wanted = (torch.autograd.grad(z, us, direction)[0] for z in (features, expected))
    np.testing.assert_allclose(array(found), array(wanted), atol=1e-11)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_gradients_equal_finite_differences(order):
    us = latent(order, None, n=4, n_terms=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: folded.interaction_batch_norm(u, None, EPS)[0], us)


def test_vectors_of_one_feature_equal_the_formula():
    us = latent(4, None, d=1)
    found = folded.interaction_batch_norm(us, None, EPS)[0]
    np.testing.assert_allclose(array(found), array(by_formula(us, None)[0]), atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_features_with_given_moments_equal_the_formula_for_other_rows(order):
    seen, others = latent(order, None), latent(order, None, n=5).requires_grad_()
    moments = F.interaction_moments(list(seen), None, centred=True)
    constants = F.interaction_constants(moments, order)
    found = folded.interaction_features(list(others), moments)
    expected = F.interaction_features(list(others), constants).flatten(2)
    np.testing.assert_allclose(array(found), array(expected), atol=1e-12)
    direction = randn(*found.shape, seed=1)
    gradients = [torch.autograd.grad(x, others, direction)[0] for x in (found, expected)]
    np.testing.assert_allclose(array(gradients[0]), array(gradients[1]), atol=1e-11)


@pytest.mark.parametrize("kind", ["none", "rows", "groups"])
@pytest.mark.parametrize("order", ORDERS)
def test_moments_equal_the_formula(order, kind):
    weight = weights(kind, 9, 3)
    us = latent(order, weight)
    found = folded.interaction_moments(list(us), weight)
    expected = F.interaction_moments(list(us), weight, centred=True)
    assert list(found) == list(expected)
    for axes, moment in found.items():
        np.testing.assert_allclose(array(moment), array(expected[axes]), atol=1e-13)


def test_features_without_any_row_that_counts_are_finite():
    us, nothing = randn(4, 4, 1, 2).requires_grad_(), torch.zeros(4, dtype=torch.float64)
    features, norm, _ = folded.interaction_batch_norm(us, nothing, EPS)
    features.sum().backward()
    assert features.isfinite().all()
    assert (norm == 0).all()
    assert us.grad.isfinite().all()


@pytest.mark.parametrize("processes", ["one", "several"])
def test_the_layer_of_order_four_equals_the_formula(processes):
    us = latent(4, None, n=20).requires_grad_()
    norm = IterBatchNorm(4, 3, 2, eps=EPS).double()
    if processes == "several":  # a mean of its own, as processes that share a batch have
        norm.mean = lambda x, weight=None: F.weighted_mean(x, weight)
    features, expected = norm(us), by_formula(us, None)[0]
    np.testing.assert_allclose(array(features), array(expected), atol=1e-11)
    direction = randn(*features.shape, seed=1)
    gradients = [torch.autograd.grad(x, us, direction)[0] for x in (features, expected)]
    np.testing.assert_allclose(array(gradients[0]), array(gradients[1]), atol=1e-11)


def test_exact_statistics_in_pieces_equal_those_of_the_formula(monkeypatch):
    monkeypatch.setattr(normalization, "_PIECE_ROWS", 8)
    us = latent(4, None, n=20)
    norm = IterBatchNorm(4, 3, 2, eps=EPS).double()
    norm.set_exact(us)
    expected, expected_norm, _ = by_formula(us, None)
    np.testing.assert_allclose(array(norm.running_norm), array(expected_norm), rtol=1e-12)
    np.testing.assert_allclose(array(norm.eval()(us)), array(expected), atol=1e-12)


def test_what_is_kept_for_the_gradient_grows_less_than_the_products_of_all_subsets():
    order, d, n = 5, 2, 64
    us = latent(order, None, n=n, n_terms=1, d=d).requires_grad_()
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        folded.interaction_batch_norm(us, None, EPS)
    # Features once, the vectors, and less than (1 + d) ** order numbers a row beside them.
    assert sum(kept.values()) / (8 * n) < d**order + order * d + (1 + d) ** order
