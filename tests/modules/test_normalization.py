"""Tests of VBN and IterBN as layers: batch, running and exact statistics."""

import numpy as np
import pytest
import torch

from sklearn_mmfusion import functional as F
from sklearn_mmfusion.modules import normalization
from sklearn_mmfusion.modules.normalization import IterBatchNorm, VectorBatchNorm


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def latent(order, n=15, n_terms=2, d=2, seed=0, weight=None):
    """Latent vectors as IterBatchNorm gets them: dependent, each normalised by VBN."""
    common = randn(n, n_terms, 1, seed=seed + 99)
    raw = [randn(n, n_terms, d, seed=seed + m) + common.exp() for m in range(order)]
    return [F.vector_batch_norm(u, weight)[0] for u in raw]


def dense_iterbn(us, share, eps=1e-5):
    """Features (n, d ** k) and mean squared norm for order 2 or 3, by einsum on centred inputs."""
    if len(us) == 2:
        whole = np.einsum("bi,bj->bij", *us)
        centred = whole - np.einsum("b,bij->ij", share, whole)
    else:
        whole = np.einsum("bi,bj,bk->bijk", *us)
        m12 = np.einsum("b,bi,bj->ij", share, us[0], us[1])
        m13 = np.einsum("b,bi,bk->ik", share, us[0], us[2])
        m23 = np.einsum("b,bj,bk->jk", share, us[1], us[2])
        centred = (
            whole
            - np.einsum("b,bijk->ijk", share, whole)
            - np.einsum("ij,bk->bijk", m12, us[2])
            - np.einsum("ik,bj->bijk", m13, us[1])
            - np.einsum("jk,bi->bijk", m23, us[0])
        )
    flat = centred.reshape(len(centred), -1)
    norm = share @ (flat**2).sum(1)
    return flat / np.sqrt(norm + eps), norm


def buffers(module):
    """Statistics of a layer without its count of batches."""
    return {k: v.clone() for k, v in module.state_dict().items() if k != "batches_seen"}


# -- running averages -------------------------------------------------------------------------


def test_running_average_is_even_at_first_and_exponential_then():
    norm = VectorBatchNorm(2).double()
    means, expected = [], np.zeros(2)
    for seed in range(25):
        h = randn(8, 2, seed=seed) + seed
        norm(h)
        means.append(h.numpy().mean(0))
        expected = expected + max(1 / (seed + 1), 0.1) * (means[-1] - expected)
        np.testing.assert_allclose(norm.running_mean, expected, rtol=1e-10)
        if seed == 9:
            np.testing.assert_allclose(norm.running_mean, np.mean(means, 0), rtol=1e-10)


def test_eval_does_not_move_statistics():
    norm, iterbn = VectorBatchNorm(2).double(), IterBatchNorm(2, 2, 2).double()
    norm(randn(8, 2))
    iterbn(latent(2))
    before = {**norm.state_dict(), **iterbn.state_dict()}
    before = {name: value.clone() for name, value in before.items()}
    norm.eval()(randn(8, 2, seed=1))
    iterbn.eval()(latent(2, seed=5))
    after = {**norm.state_dict(), **iterbn.state_dict()}
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_statistics_carry_no_gradient():
    norm, h = VectorBatchNorm(2).double(), randn(6, 2).requires_grad_()
    norm(h)
    assert not norm.running_mean.requires_grad
    assert not norm.running_variance.requires_grad


# -- VBN --------------------------------------------------------------------------------------


def test_vbn_in_training_equals_the_formula():
    h, weight = 5 + randn(9, 3), randn(9, seed=1).abs()
    share = (weight / weight.sum()).numpy()
    mean = share @ h.numpy()
    variance = share @ ((h.numpy() - mean) ** 2).sum(1)
    norm = VectorBatchNorm(3).double()
    expected = (h.numpy() - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(norm(h, weight), expected, rtol=1e-11)
    np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-11)
    assert float(norm.running_variance) == pytest.approx(variance, rel=1e-11)


def test_vbn_in_eval_uses_exact_statistics_row_by_row():
    h = 5 + randn(9, 3)
    norm = VectorBatchNorm(3).double()
    norm(randn(4, 3, seed=1))
    norm.set_exact(h)
    trained = VectorBatchNorm(3).double()(h)
    norm.eval()
    np.testing.assert_allclose(norm(h), trained, rtol=1e-12)
    np.testing.assert_allclose(norm(h[3:4]), trained[3:4], rtol=1e-12)


def test_vbn_before_any_batch_is_nearly_the_identity():
    h = randn(4, 3)
    np.testing.assert_allclose(VectorBatchNorm(3).double().eval()(h), h / np.sqrt(1 + 1e-5))


def test_vbn_with_weights_per_group_equals_sub_samples():
    h = randn(8, 2, 3)
    weight = torch.ones(8, 2, dtype=torch.float64)
    weight[:3, 0] = 0
    norm = VectorBatchNorm(2, 3).double()
    z = norm(h, weight)
    alone = VectorBatchNorm(3).double()
    np.testing.assert_allclose(z[3:, 0], alone(h[3:, 0]), rtol=1e-12)
    np.testing.assert_allclose(norm.running_mean[0], alone.running_mean, rtol=1e-12)
    np.testing.assert_allclose(z[:, 1], VectorBatchNorm(3).double()(h[:, 1]), rtol=1e-12)


def test_vbn_batch_of_one_row_stays_finite():
    norm = VectorBatchNorm(3).double()
    assert (norm(randn(1, 3)) == 0).all()
    assert all(value.isfinite().all() for value in norm.state_dict().values())
    assert norm.eval()(randn(2, 3)).isfinite().all()


# -- IterBN -----------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("order", [2, 3])
def test_iterbn_in_training_equals_dense_formula(order, weighted):
    weight = randn(15, seed=1).abs() if weighted else None
    us = latent(order, weight=weight)
    share = np.full(15, 1 / 15) if weight is None else (weight / weight.sum()).numpy()
    norm = IterBatchNorm(order, 2, 2).double()
    z = norm(us, weight)
    assert z.shape == (15, 2, 2**order)
    for t in range(2):
        expected, square = dense_iterbn([u[:, t].numpy() for u in us], share)
        np.testing.assert_allclose(z[:, t], expected, atol=1e-11)
        assert float(norm.running_norm[t]) == pytest.approx(square, rel=1e-10)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_iterbn_has_mean_zero_and_unit_mean_square(order):
    z = IterBatchNorm(order, 2, 2, eps=0.0).double()(latent(order))
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-13)
    np.testing.assert_allclose(z.square().sum(-1).mean(0), 1, rtol=1e-12)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_iterbn_in_eval_uses_exact_statistics_row_by_row(order):
    us = latent(order)
    expected = IterBatchNorm(order, 2, 2).double()(us)
    norm = IterBatchNorm(order, 2, 2).double()
    norm(latent(order, seed=20))
    norm.set_exact(us)
    norm.eval()
    np.testing.assert_allclose(norm(us), expected, atol=1e-11)
    np.testing.assert_allclose(norm([u[4:5] for u in us]), expected[4:5], atol=1e-11)


def test_iterbn_first_batch_sets_the_running_statistics_exactly():
    us = latent(3)
    running, exact = IterBatchNorm(3, 2, 2).double(), IterBatchNorm(3, 2, 2).double()
    running(us)
    exact.set_exact(us)
    for name, value in buffers(exact).items():
        np.testing.assert_allclose(running.state_dict()[name], value, rtol=1e-12, atol=1e-14)


def test_iterbn_with_whole_weights_equals_repeated_rows():
    counts = torch.randint(1, 4, (15,), generator=torch.Generator().manual_seed(0))
    rows = torch.repeat_interleave(torch.arange(15), counts)
    us = latent(3, weight=counts.double())
    weighted, repeated = IterBatchNorm(3, 2, 2).double(), IterBatchNorm(3, 2, 2).double()
    z = weighted(us, counts.double())
    np.testing.assert_allclose(z[rows], repeated([u[rows] for u in us]), atol=1e-12)
    for name, value in buffers(repeated).items():
        np.testing.assert_allclose(weighted.state_dict()[name], value, atol=1e-12)


def test_iterbn_with_weights_per_term_equals_sub_samples():
    weight = torch.ones(15, 2, dtype=torch.float64)
    weight[:5, 0] = 0
    us = latent(2, weight=weight)
    norm, alone = IterBatchNorm(2, 2, 2).double(), IterBatchNorm(2, 1, 2).double()
    z = norm(us, weight)
    expected = alone([u[5:, :1] for u in us])
    np.testing.assert_allclose(z[5:, :1], expected, atol=1e-12)
    np.testing.assert_allclose(norm.running_norm[:1], alone.running_norm, rtol=1e-12)


def test_iterbn_of_a_dead_modality_stays_finite_and_zero():
    us = [latent(2)[0], torch.zeros(15, 2, 2, dtype=torch.float64)]
    us[1].requires_grad_()
    z = IterBatchNorm(2, 2, 2).double()(us)
    z.square().sum().backward()
    assert (z == 0).all()
    assert us[1].grad.isfinite().all()


@pytest.mark.parametrize("layer", [VectorBatchNorm(2), IterBatchNorm(3, 1, 2)])
def test_layer_has_statistics_but_nothing_to_train(layer):
    # An affine part would let an irrelevant modality become a constant.
    assert list(layer.parameters()) == []
    assert all(not k.startswith("_") for k in layer.state_dict())


def test_iterbn_state_makes_a_round_trip():
    norm, other = IterBatchNorm(3, 2, 2).double(), IterBatchNorm(3, 2, 2).double()
    norm(latent(3))
    other.load_state_dict(norm.state_dict())
    us = latent(3, seed=40)
    assert torch.equal(norm.eval()(us), other.eval()(us))


@pytest.mark.parametrize("training", [False, True])
def test_iterbn_gradient_equals_finite_differences(training):
    norm = IterBatchNorm(2, 1, 2).double()
    norm(latent(2, n_terms=1))
    norm.train(training)
    us = [u.requires_grad_() for u in latent(2, n=4, n_terms=1, seed=3)]
    assert torch.autograd.gradcheck(lambda *vs: norm(vs), us)


def test_iterbn_exact_statistics_do_not_depend_on_the_pieces(monkeypatch):
    rng = np.random.default_rng(0)
    us = [torch.from_numpy(rng.normal(size=(23, 2, 3))) for _ in range(2)]
    weight = torch.from_numpy(rng.random(23))
    norms = []
    for size in (100, 5):
        monkeypatch.setattr(normalization, "_PIECE_ROWS", size)
        layer = IterBatchNorm(2, 2, 3).double()
        layer.set_exact(us, weight)
        norms.append(layer.running_norm)
    assert torch.equal(*norms)
