"""Tests of the papers' formulas against dense numpy computations, and their laws."""

import math
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from sklearn_mmfusion import functional as F

POWERS = [1.0, 1 + 1e-12, 1 + 1e-6, 1.01, 1.5, 2.0, 4.0, 1e3, 1e6, math.inf]

norm_vectors = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=1, max_size=8).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)
powers = st.one_of(st.sampled_from(POWERS), st.floats(1, 50))


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def check_gradients(function, inputs):
    """Compare gradients of both orders with finite differences."""
    assert torch.autograd.gradcheck(function, inputs)
    with torch.random.fork_rng(devices=[]):  # gradgradcheck draws from the global generator
        assert torch.autograd.gradgradcheck(function, inputs)


def vector_norm(values, p):
    """Norm of a non-negative numpy vector, in a form that is stable for large p."""
    largest = values.max()
    if math.isinf(p) or largest == 0:
        return largest
    return largest * np.sum((values / largest) ** p) ** (1 / p)


# -- block norms, penalty, relevance ----------------------------------------------------------


def test_block_norms_of_golden_blocks():
    weight = torch.tensor([[1.0, 2, 3, 1, 2]])
    terms = torch.tensor([0, 1, 1, 2, 2])
    expected = [1, math.sqrt(13), math.sqrt(5)]
    np.testing.assert_allclose(F.block_norms(weight, terms, 3), expected, rtol=1e-15)


def test_block_norms_equal_frobenius_norms_of_scattered_columns():
    weight = randn(3, 7)
    terms = torch.tensor([2, 0, 1, 2, 0, 0, 1])
    expected = [np.linalg.norm(weight.numpy()[:, terms.numpy() == t]) for t in range(3)]
    np.testing.assert_allclose(F.block_norms(weight, terms, 3), expected, rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_block_norms_of_extreme_weights_keep_their_digits(scale):
    weight = torch.tensor([[3.0, 4.0, 0.0]], dtype=torch.float64) * scale
    norms = F.block_norms(weight, torch.tensor([0, 0, 1]), 2)
    np.testing.assert_allclose(norms, [5 * scale, 0], rtol=1e-14)


def test_block_norms_of_float32_are_float64():
    assert F.block_norms(torch.ones(1, 2), torch.tensor([0, 1]), 2).dtype == torch.float64


def test_block_norms_have_zero_gradient_at_zero_blocks():
    weight = torch.tensor([[0.0, 0.0, 3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    F.block_norms(weight, torch.tensor([0, 0, 1, 1]), 2).sum().backward()
    np.testing.assert_allclose(weight.grad, [[0, 0, 0.6, 0.8]], rtol=1e-14)


def nuclear_norm(weight, features):
    """Nuclear norm of the weights in the metric of centred features (n, d), by an SVD."""
    return np.linalg.svd(weight @ features.T, compute_uv=False).sum() / math.sqrt(len(features))


def covariance_of(contributions):
    centred = contributions - contributions.mean(0)
    return centred.T @ centred / len(centred)


@pytest.mark.parametrize("n_outputs", [1, 2, 5])
def test_least_block_norms_are_nuclear_norms_of_the_signals(n_outputs):
    features, weight = randn(50, 4, 3).numpy(), randn(4, n_outputs, 3, seed=1).numpy()
    features -= features.mean(0)
    contributions = np.einsum("ntd,tkd->ntk", features, weight)
    covariance = np.stack([covariance_of(contributions[:, t]) for t in range(4)])
    expected = [nuclear_norm(weight[t], features[:, t]) for t in range(4)]
    found = F.least_block_norms(torch.from_numpy(covariance))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    if n_outputs == 1:
        np.testing.assert_allclose(found, contributions.std(0)[:, 0], rtol=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_no_weights_of_unit_features_are_smaller_and_some_are_as_small(n_outputs):
    contributions = randn(200, n_outputs).numpy() @ randn(n_outputs, n_outputs, seed=2).numpy()
    contributions -= contributions.mean(0)
    covariance = covariance_of(contributions)
    least = float(F.least_block_norms(torch.from_numpy(covariance)[None]))
    values, vectors = np.linalg.eigh(covariance)
    best = vectors @ np.diag(values**-0.25) @ vectors.T
    for seed in range(20):
        mixing = best if seed == 0 else randn(n_outputs, n_outputs, seed=seed).numpy()
        features = contributions @ mixing.T
        size = math.sqrt(np.square(features).sum(1).mean())  # E||z||^2 = 1 after it
        norm = np.linalg.norm(np.linalg.inv(mixing)) * size
        assert norm >= least * (1 - 1e-12)
        assert seed or norm == pytest.approx(least)


def test_least_block_norms_count_nothing_that_is_not_there():
    signal = randn(100, 1).numpy()
    # Three outputs that follow one signal, the same in units of 1e-150, and no signal.
    slopes = np.array([[3.0, 0.0, 4.0]])
    one = covariance_of(signal * slopes)
    found = F.least_block_norms(torch.from_numpy(np.stack([one, one * 1e300, 0 * one])))
    expected = np.array([1.0, 1e150, 0.0]) * 5 * signal.std()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_penalty_exponent_goes_from_one_to_two():
    assert [F.penalty_exponent(p) for p in (1, 3, math.inf)] == [1, 1.5, 2]


@pytest.mark.parametrize("p", POWERS)
def test_penalty_equals_formula(p):
    norms = np.array([1, math.sqrt(13), math.sqrt(5), 0])
    q = 2.0 if math.isinf(p) else 2 * p / (p + 1)
    expected = np.sum(norms**q) ** (2 / q)
    penalty = float(F.block_norm_penalty(torch.from_numpy(norms), p))
    assert penalty == pytest.approx(expected, rel=1e-12)


def test_penalty_at_one_is_the_square_of_the_sum():
    assert float(F.block_norm_penalty(torch.tensor([1.0, 2.0, 3.0]), 1)) == pytest.approx(36)


@given(norm_vectors, powers, st.floats(1e-40, 1e40))
def test_penalty_is_homogeneous_of_degree_two(norms, p, factor):
    penalty = float(F.block_norm_penalty(norms, p))
    scaled = float(F.block_norm_penalty(norms * factor, p))
    assert scaled == pytest.approx(penalty * factor**2, rel=1e-9)


@given(norm_vectors, powers)
def test_penalty_lies_between_its_ends(norms, p):
    penalty = float(F.block_norm_penalty(norms, p))
    assert float(norms.square().sum()) * (1 - 1e-9) <= penalty
    assert penalty <= float(norms.sum().square()) * (1 + 1e-9)


@pytest.mark.parametrize("p", POWERS)
@pytest.mark.parametrize("zeros", [(0,), (0, 1), (0, 1, 2)])
def test_penalty_gradient_with_zero_blocks_is_finite_and_zero_there(p, zeros):
    terms = torch.tensor([0, 0, 1, 2, 2])
    weight = randn(2, 5)
    at_zero = torch.isin(terms, torch.tensor(zeros))
    weight[:, at_zero] = 0
    weight.requires_grad_()
    F.block_norm_penalty(F.block_norms(weight, terms, 3), p).backward()
    assert weight.grad.isfinite().all()
    assert (weight.grad[:, at_zero] == 0).all()
    assert (weight.grad[:, ~at_zero] != 0).all()


@pytest.mark.parametrize("p", [1, 1.5, 3, math.inf])
@pytest.mark.parametrize("shape", [(1, 5), (3, 5), (2, 5)])
def test_penalty_gradients_of_both_orders(p, shape):
    terms = torch.tensor([0, 0, 1, 2, 2])
    weight = randn(*shape).requires_grad_()

    def penalty(w):
        return F.block_norm_penalty(F.block_norms(w, terms, 3), p)

    check_gradients(penalty, weight)


@pytest.mark.parametrize("p", [1, 1.5, 2, 7])
def test_relevance_of_golden_blocks_equals_formula(p):
    norms = np.array([1, math.sqrt(13), math.sqrt(5)])
    expected = norms ** (2 / (p + 1)) / np.sum(norms ** (2 * p / (p + 1))) ** (1 / p)
    np.testing.assert_allclose(F.relevance(torch.from_numpy(norms), p), expected, rtol=1e-12)


def test_relevance_at_one_is_the_share_of_the_norm():
    shares = F.relevance(torch.tensor([1.0, 3.0, 0.0]), 1)
    np.testing.assert_allclose(shares, [0.25, 0.75, 0], rtol=1e-14)


def test_relevance_at_infinity_is_one_for_every_term_with_weight():
    scores = F.relevance(torch.tensor([1e-30, 0.0, 5.0]), math.inf)
    np.testing.assert_array_equal(scores, [1, 0, 1])


@given(norm_vectors, powers)
def test_relevance_has_unit_p_norm_and_is_not_negative(norms, p):
    scores = F.relevance(norms, p).numpy()
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert ((scores == 0) == (norms.numpy() == 0)).all()
    if scores.any():
        assert vector_norm(scores, p) == pytest.approx(1, abs=1e-9)


@given(norm_vectors, powers)
def test_relevance_is_monotone_in_the_norm(norms, p):
    scores = F.relevance(norms, p)
    order = norms.argsort()
    assert (scores[order].diff() >= -1e-15).all()


@given(norm_vectors, powers, st.floats(-40, 40))
def test_relevance_is_invariant_to_scale(norms, p, exponent):
    scores = F.relevance(norms, p)
    scaled = F.relevance(norms * 10.0**exponent, p)
    np.testing.assert_allclose(scaled, scores, rtol=1e-9, atol=1e-12)


@given(norm_vectors)
def test_relevance_is_continuous_in_p(norms):
    for p, near in [(1, 1 + 1e-12), (1, 1 + 1e-9), (2, 2 + 1e-9), (math.inf, 1e12)]:
        a, b = F.relevance(norms, p), F.relevance(norms, near)
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_relevance_without_any_weight_is_zero():
    for p in POWERS:
        assert (F.relevance(torch.zeros(3), p) == 0).all()


def test_relevance_is_the_minimiser_of_theorem_1():
    # Theorem 1: the penalty is the least sum of squares that p-norm weights on kernels can give.
    norms = np.array([1, math.sqrt(13), math.sqrt(5)])
    p = 1.7

    def cost(log_beta):
        beta = np.exp(log_beta)
        beta /= np.sum(beta**p) ** (1 / p)
        return np.sum(norms**2 / beta)

    best = minimize(cost, np.zeros(3), method="BFGS", options={"gtol": 1e-9})
    beta = np.exp(best.x) / np.sum(np.exp(best.x) ** p) ** (1 / p)
    np.testing.assert_allclose(F.relevance(torch.from_numpy(norms), p), beta, rtol=1e-5)
    penalty = float(F.block_norm_penalty(torch.from_numpy(norms), p))
    assert penalty == pytest.approx(best.fun, rel=1e-9)


@pytest.mark.parametrize("p", [1, 1.5, 4])
def test_relevance_gradients_of_both_orders(p):
    norms = randn(4).abs().add(0.5).requires_grad_()
    check_gradients(lambda n: F.relevance(n, p), norms)


def test_relevance_gradient_is_finite_beside_a_zero_norm():
    for p in POWERS[:-1]:
        norms = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
        F.relevance(norms, p)[1].backward()
        assert norms.grad.isfinite().all()


# -- prox of the squared group norm -----------------------------------------------------------


@pytest.mark.parametrize("strength", [1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_prox_equals_brute_force(strength, seed):
    norms = randn(6, seed=seed).abs().numpy()

    def objective(x):
        value = 0.5 * np.sum((x - norms) ** 2) + strength * np.sum(x) ** 2
        return value, x - norms + 2 * strength * np.sum(x)

    found = minimize(
        objective,
        norms,
        jac=True,
        bounds=[(0, None)] * 6,
        options={"ftol": 1e-15, "gtol": 1e-11},
    )
    prox = F.squared_group_norm_prox(torch.from_numpy(norms), strength)
    np.testing.assert_allclose(prox, found.x, atol=1e-6)


@given(norm_vectors, st.floats(1e-6, 1e6))
def test_prox_fulfils_its_optimality_conditions(norms, strength):
    n = norms.numpy()
    x = F.squared_group_norm_prox(norms, strength).numpy()
    # A norm that stays solves x - n + 2 lambda sum(x) = 0; one at zero is below the threshold.
    threshold = 2 * strength * x.sum()
    tolerance = 1e-9 * n.max()
    assert (x >= 0).all()
    kept = x > 0
    np.testing.assert_allclose(n[kept] - x[kept], threshold, rtol=1e-9, atol=tolerance)
    assert (n[~kept] <= threshold + tolerance).all()


def test_prox_without_strength_changes_nothing():
    norms = randn(4).abs()
    np.testing.assert_allclose(F.squared_group_norm_prox(norms, 0.0), norms, rtol=1e-15)


def test_prox_of_zeros_is_zero():
    assert (F.squared_group_norm_prox(torch.zeros(3), 0.5) == 0).all()


# -- VBN --------------------------------------------------------------------------------------


def dense_vbn(h, weight, eps):
    """VBN by loops over vectors (n, d)."""
    total = sum(weight)
    mean = sum(w * row for w, row in zip(weight, h, strict=True)) / total
    variance = sum(w * np.dot(r - mean, r - mean) for w, r in zip(weight, h, strict=True)) / total
    return np.array([(row - mean) / math.sqrt(variance + eps) for row in h]), mean, variance


@pytest.mark.parametrize("weighted", [False, True])
def test_vector_batch_norm_equals_loops(weighted):
    h = 3 + randn(9, 4)
    weight = randn(9, seed=1).abs() if weighted else None
    expected = dense_vbn(h.numpy(), np.ones(9) if weight is None else weight.numpy(), 1e-5)
    for mine, theirs in zip(F.vector_batch_norm(h, weight), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-14)


def test_vector_batch_norm_treats_groups_on_their_own():
    h, weight = randn(9, 3, 4), randn(9, 3, seed=1).abs()
    together, _, variance = F.vector_batch_norm(h, weight)
    for t in range(3):
        alone, _, expected = dense_vbn(h[:, t].numpy(), weight[:, t].numpy(), 1e-5)
        np.testing.assert_allclose(together[:, t], alone, rtol=1e-12, atol=1e-14)
        assert float(variance[t]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("d", [1, 5, 50])
def test_vector_batch_norm_has_mean_zero_and_unit_mean_square(d):
    z, _, _ = F.vector_batch_norm(100 * randn(30, d) - 7, eps=0.0)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-13)
    assert float(z.square().sum(1).mean()) == pytest.approx(1, rel=1e-12)


def test_vector_batch_norm_ignores_rows_without_weight():
    h = randn(6, 3)
    weight = torch.tensor([1.0, 0, 2, 1, 0, 1], dtype=torch.float64)
    kept = weight > 0
    expected, mean, variance = F.vector_batch_norm(h[kept], weight[kept])
    z, all_mean, all_variance = F.vector_batch_norm(h, weight)
    np.testing.assert_allclose(z[kept], expected, rtol=1e-13)
    np.testing.assert_allclose(all_mean, mean, rtol=1e-13)
    np.testing.assert_allclose(all_variance, variance, rtol=1e-13)


def test_vector_batch_norm_with_whole_weights_equals_repeated_rows():
    h, counts = randn(5, 3), torch.tensor([1, 3, 2, 1, 4])
    rows = torch.repeat_interleave(torch.arange(5), counts)
    repeated, _, _ = F.vector_batch_norm(h[rows])
    np.testing.assert_allclose(F.vector_batch_norm(h, counts.double())[0][rows], repeated)


def test_vector_batch_norm_of_one_row_or_constants_is_zero():
    assert (F.vector_batch_norm(randn(1, 4))[0] == 0).all()
    assert (F.vector_batch_norm(torch.full((5, 2), 3.0))[0] == 0).all()


@pytest.mark.parametrize("shape", [(4, 2), (5, 1), (3, 2, 2)])
def test_vector_batch_norm_gradients_of_both_orders(shape):
    h, weight = randn(*shape).requires_grad_(), randn(shape[0], seed=2).abs()

    def norm(x):
        return F.vector_batch_norm(x, weight)[0]

    check_gradients(norm, h)


def test_weighted_mean_of_tiny_weights_equals_that_of_their_multiples():
    x, weight = randn(4, 2), torch.tensor([1.0, 2, 3, 4], dtype=torch.float64)
    expected = np.average(x.numpy(), axis=0, weights=weight.numpy())
    for scale in (1.0, 1e-300, 1e300):
        np.testing.assert_allclose(F.weighted_mean(x, weight * scale), expected, rtol=1e-10)


def test_weighted_mean_without_weight_on_a_group_is_zero():
    weight = torch.tensor([[1.0, 0], [1.0, 0]])
    mean = F.weighted_mean(torch.ones(2, 2, 3), weight)
    np.testing.assert_array_equal(mean, [[1, 1, 1], [0, 0, 0]])


def test_scale_to_unit_divides_by_the_root():
    x = randn(2, 3, 2, 2)
    square = randn(2, 3, seed=1).abs()
    expected = x.numpy() / np.sqrt(square.numpy() + 0.1)[:, :, None, None]
    np.testing.assert_allclose(F.scale_to_unit(x, square, 0.1, n_axes=2), expected, rtol=1e-13)


# -- IterBN -----------------------------------------------------------------------------------


def ordered_partitions(members):
    """Yield every sequence of disjoint non-empty sets that together are ``members``."""
    if not members:
        yield ()
        return
    for size in range(1, len(members) + 1):
        for first in combinations(members, size):
            rest = tuple(m for m in members if m not in first)
            for others in ordered_partitions(rest):
                yield (first, *others)


def dense_interaction(us, weight):
    """The paper's sum over ordered partitions, entry by entry and row by row."""
    order, n = len(us), len(us[0])
    share = weight / weight.sum()
    dims = [u.shape[1] for u in us]
    result = np.zeros((n, *dims))
    for index in product(*map(range, dims)):
        entries = [us[m][:, index[m]] for m in range(order)]
        total = np.zeros(n)
        for size in range(order + 1):
            for kept in combinations(range(order), size):
                rest = tuple(m for m in range(order) if m not in kept)
                constant = 0.0
                for partition in ordered_partitions(rest):
                    moments = [share @ np.prod([entries[m] for m in t], 0) for t in partition]
                    constant += (-1) ** len(partition) * np.prod(moments)
                total += constant * np.prod([entries[m] for m in kept], 0)
        result[(slice(None), *index)] = total
    return result


def correlated(order, dims, n=25, seed=0):
    """Latent vectors with dependent, skewed entries; mean not zero."""
    common = randn(n, 1, seed=seed).exp()
    return [
        randn(n, d, seed=seed + 1 + m) + (m + 1) * 0.5 * common * (1 + torch.arange(d))
        for m, d in zip(range(order), dims, strict=True)
    ]


def iterbn(us, weight=None):
    constants = F.interaction_constants(F.interaction_moments(us, weight), len(us))
    return F.interaction_features(us, constants)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dims", [(2,), (2, 3), (3, 2, 3), (2, 1, 2, 2), (1, 2, 1, 2, 1)])
def test_interaction_features_equal_the_sum_over_ordered_partitions(dims, weighted):
    us = correlated(len(dims), dims)
    weight = randn(25, seed=9).abs() if weighted else None
    dense = dense_interaction(
        [u.numpy() for u in us], np.ones(25) if weight is None else weight.numpy()
    )
    scale = np.abs(dense).max()
    np.testing.assert_allclose(iterbn(us, weight), dense, rtol=1e-10, atol=1e-12 * scale)


def test_interaction_of_three_centred_modalities_equals_golden_formula():
    u1, u2, u3 = (u - u.mean(0) for u in correlated(3, (2, 2, 2)))
    m12 = torch.einsum("bi,bj->ij", u1, u2) / 25
    m13 = torch.einsum("bi,bk->ik", u1, u3) / 25
    m23 = torch.einsum("bj,bk->jk", u2, u3) / 25
    whole = torch.einsum("bi,bj,bk->bijk", u1, u2, u3)
    expected = (
        whole
        - torch.einsum("ij,bk->bijk", m12, u3)
        - torch.einsum("ik,bj->bijk", m13, u2)
        - torch.einsum("jk,bi->bijk", m23, u1)
        - whole.mean(0)
    )
    constants = F.interaction_constants(F.interaction_moments([u1, u2, u3], centred=True), 3)
    features = F.interaction_features([u1, u2, u3], constants)
    np.testing.assert_allclose(features, expected, rtol=1e-10, atol=1e-10)


def test_moments_of_centred_inputs_leave_out_the_first_and_change_nothing():
    us = [u - u.mean(0) for u in correlated(4, (2, 2, 2, 2))]
    moments = F.interaction_moments(us, centred=True)
    assert min(map(len, moments)) == 2
    assert len(moments) == 11
    features = F.interaction_features(us, F.interaction_constants(moments, 4))
    full = iterbn(us)
    np.testing.assert_allclose(features, full, atol=1e-11 * float(full.abs().max()))


def test_interactions_side_by_side_equal_each_on_its_own():
    us = [randn(12, 3, 2, seed=m) for m in range(3)]
    weight = randn(12, 3, seed=7).abs()
    together = iterbn(us, weight)
    for t in range(3):
        alone = iterbn([u[:, t] for u in us], weight[:, t])
        np.testing.assert_allclose(together[:, t], alone, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "order, d", [(2, 1), (2, 4), (3, 1), (3, 3), (3, 4), (4, 1), (4, 3), (5, 1), (5, 2), (5, 3)]
)
def test_theorem_2_nothing_of_lower_order_is_left(order, d, weighted):
    weight = randn(25, seed=9).abs() if weighted else None
    us = [F.vector_batch_norm(u, weight)[0] for u in correlated(order, (d,) * order)]
    constants = F.interaction_constants(F.interaction_moments(us, weight), order)
    directions = [randn(1, d, seed=50 + m).expand(25, d) for m in range(order)]
    zero = torch.zeros(25, d, dtype=torch.float64)

    def mixed_derivative(axes):
        # X is affine in each u, so that alternating differences are the derivative itself.
        total = torch.zeros(25, *[d] * order, dtype=torch.float64)
        for signs in product((0, 1), repeat=len(axes)):
            moved = list(us)
            for axis, sign in zip(axes, signs, strict=True):
                moved[axis] = directions[axis] if sign else zero
            features = F.interaction_features(moved, constants)
            total += (-1) ** (len(axes) - sum(signs)) * features
        return total

    for axes in F.proper_subsets(tuple(range(order))):
        mean = F.weighted_mean(mixed_derivative(axes), weight)
        assert float(mean.abs().max()) < 1e-10, axes


def test_interaction_follows_a_permutation_of_its_modalities():
    us = correlated(3, (2, 3, 1))
    features = iterbn(us)
    permuted = iterbn([us[2], us[0], us[1]])
    np.testing.assert_allclose(permuted.permute(0, 2, 3, 1), features, rtol=1e-9, atol=1e-9)


def test_interaction_of_an_irrelevant_constant_modality_is_zero():
    us = [randn(20, 2), torch.zeros(20, 2, dtype=torch.float64)]
    assert (iterbn(us) == 0).all()


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("n, d", [(4, 1), (3, 2)])
def test_interaction_gradients_of_both_orders(order, n, d):
    us = [randn(n, d, seed=m).requires_grad_() for m in range(order)]
    weight = randn(n, seed=8).abs()
    check_gradients(lambda *vs: iterbn(vs, weight), us)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_moments_of_centred_vectors_leave_out_the_first_and_no_other(order):
    us = [randn(6, 2, seed=m) for m in range(order)]
    sizes = [len(axes) for axes in F.interaction_moments(us, centred=True)]
    assert sizes == [size for size in range(2, order + 1) for _ in range(math.comb(order, size))]
    every = [len(axes) for axes in F.interaction_moments(us)]
    assert every == [size for size in range(1, order + 1) for _ in range(math.comb(order, size))]


@given(st.integers(0, 5), st.integers(0, 3))
def test_proper_subsets_are_all_but_the_whole_by_size(n, smallest):
    axes = tuple(range(n))
    subsets = F.proper_subsets(axes, smallest)
    assert all(smallest <= len(s) < n for s in subsets)
    assert len(set(subsets)) == len(subsets)
    assert len(subsets) == sum(math.comb(n, k) for k in range(smallest, n))
    assert [len(s) for s in subsets] == sorted(len(s) for s in subsets)
