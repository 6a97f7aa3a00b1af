"""Tests of kernels of modalities and terms against explicit features and scikit-learn's kernels."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import (
    additive_chi2_kernel,
    laplacian_kernel,
    linear_kernel,
    polynomial_kernel,
    rbf_kernel,
)

from sklearn_mmfusion import FusionMemoryError, InputError, InputTypeError
from sklearn_mmfusion._mkl import kernels as kernels_module
from sklearn_mmfusion._mkl.kernels import KernelSpec, check_kernels, fit_kernels
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData

NAMES = ["a", "b"]


def rng(seed=0):
    return np.random.default_rng(seed)


def data(n=12, missing=False):
    """Return modalities of widths 3 and 2."""
    blocks = []
    for i, (name, width) in enumerate(zip(NAMES, (3, 2), strict=True)):
        values = 1 + 2 * rng(i).normal(size=(n, width))
        present = (np.arange(n) + i) % 4 > 0 if missing else None
        if missing:
            values[~present] = 0
        blocks.append(ModalityBlock(name, values, present=present))
    return ModalityData(blocks)


def matrices(blocks, kernel="linear", terms=((0,), (1,)), weight=None):
    names = blocks.names
    weight = np.ones(blocks.n_samples) if weight is None else weight
    return fit_kernels(blocks, terms, check_kernels(kernel, names), weight)


def standardised(values, weight):
    mean = np.average(values, axis=0, weights=weight)
    return (values - mean) / np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weight))


def normalised(kernel, weight):
    """Centre and scale with explicit matrices."""
    share = weight / weight.sum()
    centring = np.eye(len(kernel)) - np.outer(np.ones(len(kernel)), share)
    centred = centring @ kernel @ centring.T
    return centred / (share @ np.diag(centred))


# -- matrices of the training rows ------------------------------------------------------------


@pytest.mark.parametrize("use_weight", [False, True])
@pytest.mark.parametrize(
    "kernel, function",
    [
        ("linear", linear_kernel),
        ("rbf", rbf_kernel),
        ("laplacian", laplacian_kernel),
        (
            {name: {"kernel": "poly", "degree": 2, "coef0": 0.5} for name in NAMES},
            lambda x: polynomial_kernel(x, degree=2, coef0=0.5),
        ),
        (lambda x, z: rbf_kernel(x, z, gamma=0.3), lambda x: rbf_kernel(x, gamma=0.3)),
    ],
)
def test_matrix_is_that_of_scikit_learn_centred_and_scaled(kernel, function, use_weight):
    blocks = data()
    weight = rng(7).uniform(0.5, 2, size=12) if use_weight else np.ones(12)
    _, found = matrices(blocks, kernel, weight=weight)
    for m in range(2):
        expected = normalised(function(standardised(blocks.blocks[m].values, weight)), weight)
        np.testing.assert_allclose(found[m], expected, atol=1e-12)


def test_mean_is_zero_and_variance_one():
    weight = rng(7).uniform(0.5, 2, size=12)
    _, found = matrices(data(), "rbf", ((0,), (1,), (0, 1)), weight)
    for matrix in found:
        np.testing.assert_allclose(matrix @ weight, 0, atol=1e-12)
        assert np.average(np.diag(matrix), weights=weight) == pytest.approx(1)


def test_interaction_is_the_outer_product_of_centred_features():
    blocks = data()
    _, found = matrices(blocks, "linear", ((0,), (1,), (0, 1)))
    u, v = (standardised(block.values, np.ones(12)) for block in blocks.blocks)
    outer = np.einsum("ni,nj->nij", u, v).reshape(12, -1)
    expected = normalised(outer @ outer.T, np.ones(12))
    np.testing.assert_allclose(found[2], expected, atol=1e-12)


@pytest.mark.parametrize("terms", [((0,), (1,)), ((0,), (1,), (0, 1))])
def test_absent_rows_are_zero_and_do_not_count(terms):
    blocks = data(missing=True)
    _, found = matrices(blocks, "rbf", terms)
    for term, matrix in zip(terms, found, strict=True):
        present = np.all([blocks.blocks[m].present for m in term], axis=0)
        assert not matrix[~present].any() and not matrix[:, ~present].any()
        if len(term) == 1:
            kept = ModalityData([ModalityBlock("a", blocks.blocks[term[0]].values[present])])
            _, (expected,) = matrices(kept, "rbf", ((0,),))
            np.testing.assert_allclose(matrix[np.ix_(present, present)], expected, atol=1e-12)
        else:
            inner = matrix[np.ix_(present, present)]
            np.testing.assert_allclose(inner.mean(), 0, atol=1e-12)
            assert np.diag(inner).mean() == pytest.approx(1)


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly"])
def test_what_does_not_vary_has_a_matrix_of_zeros(kernel):
    blocks = data()
    blocks.blocks[1].values[:] = 0.1
    _, found = matrices(blocks, kernel, ((0,), (1,), (0, 1)))
    assert found[0].any() and not found[1].any() and not found[2].any()


def test_matrix_does_not_depend_on_units():
    blocks, scaled = data(), data()
    scaled.blocks[0].values[:] = 1e200 * scaled.blocks[0].values - 3e200
    scaled.blocks[1].values[:] = 1e-200 * scaled.blocks[1].values
    expected, found = matrices(blocks, "rbf")[1], matrices(scaled, "rbf")[1]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_scale_is_the_gamma_of_support_vector_machines():
    blocks = data()
    blocks.blocks[0].values[:, 0] = 5.0  # constant: the variance is 2/3
    spec = {"kernel": "rbf", "gamma": "scale"}
    kernels, found = matrices(blocks, {"a": spec, "b": spec})
    rows = standardised(blocks.blocks[0].values[:, 1:], np.ones(12))
    expected = normalised(rbf_kernel(rows, gamma=0.5), np.ones(12))
    np.testing.assert_allclose(found[0], expected, atol=1e-12)
    np.testing.assert_allclose(found[1], matrices(blocks, "rbf")[1][1], atol=1e-12)
    assert kernels._specs[0].params["gamma"] == pytest.approx(0.5)
    auto, plain = (
        matrices(blocks, {"a": k, "b": "rbf"})[1] for k in (spec | {"gamma": "auto"}, "rbf")
    )
    np.testing.assert_array_equal(auto[0], plain[0])  # one feature less would be 1/2


def test_kernels_of_histograms_take_the_values_as_they_are():
    counts = rng().integers(0, 9, size=(12, 4)).astype(float)
    blocks = ModalityData([ModalityBlock("a", counts)])
    _, (found,) = matrices(blocks, "additive_chi2", ((0,),))
    np.testing.assert_allclose(found, normalised(additive_chi2_kernel(counts), np.ones(12)))
    assert np.linalg.eigvalsh(found).min() > -1e-12
    blocks.blocks[0].values[3, 1] = -1
    with pytest.raises(InputError, match="modality 'a': kernel 'additive_chi2' failed"):
        matrices(blocks, "additive_chi2", ((0,),))


# -- forms of modalities ----------------------------------------------------------------------


def test_sequence_is_its_summary_over_valid_steps():
    values, lengths = rng().normal(size=(9, 5, 2)), np.array([5, 1, 2, 5, 3, 1, 4, 2, 5])
    blocks = ModalityData([ModalityBlock("a", values, lengths)])
    steps = np.concatenate([v[:t] for v, t in zip(values, lengths, strict=True)])
    scaled = (values - steps.mean(0)) / steps.std(0)
    summary = np.array(
        [
            np.concatenate([s.mean(0), s.std(0), s.min(0), s.max(0), s[-1] - s[0]])
            for s in (v[:t] for v, t in zip(scaled, lengths, strict=True))
        ]
    )
    _, (found,) = matrices(blocks, "rbf", ((0,),))
    expected = normalised(rbf_kernel(standardised(summary, np.ones(9))), np.ones(9))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("shape, dtype", [((8, 3, 4), "uint8"), ((8, 2, 3, 4), "float64")])
def test_image_is_its_pixels(shape, dtype):
    pixels = rng().integers(0, 255, size=shape).astype(dtype)
    _, (found,) = matrices(ModalityData([ModalityBlock("a", pixels)]), "rbf", ((0,),))
    flat = (pixels - pixels.astype(float).mean()) / pixels.astype(float).std()
    expected = normalised(rbf_kernel(flat.reshape(8, -1)), np.ones(8))
    np.testing.assert_allclose(found, expected, atol=1e-12)


# -- new rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_training_rows_as_new_rows_give_the_matrices(kernel, missing):
    blocks, terms = data(missing=missing), ((0,), (1,), (0, 1))
    kernels, found = matrices(blocks, kernel, terms)
    coefficients, weights = rng().normal(size=(12, 2)), np.array([0.5, 0.2, 0.3])
    got = kernels.contributions(blocks, coefficients, weights)
    expected = np.einsum("t,tnj,jk->ntk", weights, found, coefficients)
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_new_rows_are_projected_with_the_statistics_of_the_training_rows():
    blocks, new = data(), data(5)
    kernels, _ = matrices(blocks, "linear", ((0,), (1,), (0, 1)))
    coefficients = rng().normal(size=(12, 1))
    got = kernels.contributions(new, coefficients, np.ones(3))[:, :, 0]
    old_rows, new_rows = [], []
    for m in range(2):
        old, fresh = blocks.blocks[m].values, new.blocks[m].values
        old_rows.append((old - old.mean(0)) / old.std(0))
        new_rows.append((fresh - old.mean(0)) / old.std(0))
    for rows in (old_rows, new_rows):
        rows.append(np.einsum("ni,nj->nij", rows[0], rows[1]).reshape(len(rows[0]), -1))
    for t in range(3):
        mean = old_rows[t].mean(0)
        scale = np.square(old_rows[t] - mean).sum(1).mean()
        expected = (new_rows[t] - mean) @ (old_rows[t] - mean).T @ coefficients / scale
        np.testing.assert_allclose(got[:, t], expected[:, 0], atol=1e-12)


def test_rows_without_a_modality_get_nothing_from_its_terms():
    kernels, _ = matrices(data(), "rbf", ((0,), (1,), (0, 1)))
    new = data(8, missing=True)
    got = kernels.contributions(new, rng().normal(size=(12, 1)), np.ones(3))[:, :, 0]
    first, second = (block.present for block in new.blocks)
    expected = np.column_stack([first, second, first & second])
    np.testing.assert_array_equal(got != 0, expected)


def test_chunks_do_not_matter_and_unused_kernels_are_not_computed(monkeypatch):
    blocks, calls = data(), []

    def kernel(rows, others):
        calls.append(len(rows))
        return rows @ others.T

    kernels, _ = matrices(blocks, {"a": "rbf", "b": kernel})
    coefficients = rng().normal(size=(12, 1))
    whole = kernels.contributions(blocks, coefficients, np.array([1.0, 1.0]))
    calls.clear()
    monkeypatch.setattr(kernels_module, "_CHUNK_VALUES", 5 * 12 * 5)
    in_parts = kernels.contributions(blocks, coefficients, np.array([1.0, 1.0]))
    assert calls == [5, 5, 2]
    np.testing.assert_allclose(in_parts, whole, atol=1e-12)
    calls.clear()
    without = kernels.contributions(blocks, coefficients, np.array([1.0, 0.0]))
    assert not calls and not without[:, 1].any()


# -- errors -----------------------------------------------------------------------------------


def test_one_kernel_serves_all_and_a_mapping_names_each():
    assert check_kernels("rbf", NAMES) == [KernelSpec("rbf")] * 2
    got = check_kernels({"b": {"kernel": "rbf", "gamma": 2.0}, "a": np.dot}, NAMES)
    assert got == [KernelSpec(np.dot), KernelSpec("rbf", {"gamma": 2.0})]


@pytest.mark.parametrize(
    "kernel, words",
    [
        ("rbff", ["'rbff' is unknown", "'rbf' instead"]),
        ({"a": "rbf"}, ["missing: ['b']"]),
        ({"a": "rbf", "b": "rbf", "bb": "rbf"}, ["unexpected: ['bb']", "'b' instead"]),
        ({"a": "no", "b": {"gamma": 1}}, ["modality 'a'", "modality 'b'", "as 'kernel'"]),
        ({"a": {"kernel": "rbf", "gamma": "no"}, "b": "rbf"}, ["'a'", "gamma", "'auto'", "'no'"]),
        ({"a": {"kernel": "rbf", "gamma": -1}, "b": "rbf"}, ["a positive number", "got -1"]),
        ({"a": {"kernel": "rbf", "gamma": 0.0}, "b": "rbf"}, ["a positive number", "got 0.0"]),
        ({"a": "rbf", "b": {"kernel": "rbf", "degree": 2}}, ["'b'", "['degree']", "['gamma']"]),
    ],
)
def test_faults_are_named_all_at_once(kernel, words):
    with pytest.raises(InputError) as caught:
        check_kernels(kernel, NAMES)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("kernel", [None, 3, {"a": "rbf", "b": 1.5}])
def test_what_is_no_kernel_is_a_type_error(kernel):
    with pytest.raises(InputTypeError, match="a kernel is a name, a callable or a dict"):
        check_kernels(kernel, NAMES)


@pytest.mark.parametrize(
    "kernel, words",
    [
        (lambda x, z: np.zeros(3), r"modality 'a': the kernel returned shape \(3,\), expected"),
        (lambda x, z: np.full((12, 12), np.nan), "modality 'a': the kernel returned NaN"),
        (lambda x, z: 1 / None, "modality 'a': kernel .* failed: TypeError"),
        (lambda x, z: {}["no"], "modality 'a': kernel .* failed: KeyError: 'no'"),
    ],
)
def test_kernel_that_fails_is_named_with_its_modality(kernel, words):
    with pytest.raises(InputError, match=words):
        matrices(data(), kernel)


def test_matrices_that_would_not_fit_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr(kernels_module, "_MAX_BYTES", 8 * 12**2 * 6 - 1)
    monkeypatch.setattr(KernelSpec, "__call__", lambda *args: pytest.fail("computed"))
    with pytest.raises(FusionMemoryError, match="2 kernel matrices of 12 x 12"):
        matrices(data())
