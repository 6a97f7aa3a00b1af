"""Concatenation, tensor product and perceptron, against loops over rows and elements."""

import copy
import itertools

import numpy as np
import pytest
import torch
from conformance import apply_linear, array, seeded
from torch.func import functional_call

from sklearn_mmfusion.modules.concatenation import (
    ConcatFeatures,
    LinearFusion,
    PerceptronFusion,
    TensorFeatures,
)
from sklearn_mmfusion.modules.dropout import set_dropout_generator

DIMS = (3, 1, 2)
SINGLE = [(0,), (1,), (2,)]
NOTHING = [None] * 3


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def encodings(n=5):
    return [randn(n, d, seed=d) for d in DIMS]


def presence(n=5):
    """Return masks: the first modality is whole, row 1 lacks the second, row 3 both others."""
    second, third = torch.ones(n, dtype=torch.bool), torch.ones(n, dtype=torch.bool)
    second[[1, 3]], third[3] = False, False
    return [None, second, third]


def build(cls, *args, **options):
    """Return a module in float64 whose weights and biases are all different."""
    module = seeded(cls, *args, **options).double()
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.add_(0.5 * randn(*parameter.shape, seed=10 + i))
    return module.eval()


def tensor():
    return build(TensorFeatures, DIMS, 2)


# -- concatenation -----------------------------------------------------------------------------


@pytest.mark.parametrize("masks_absent", [True, False])
def test_concatenation_equals_a_loop(masks_absent):
    module = ConcatFeatures(DIMS, SINGLE, masks_absent=masks_absent)
    hs, present = encodings(), presence()
    found = module(hs, present)
    for b in range(5):
        expected = []
        for h, mask in zip(hs, present, strict=True):
            gone = masks_absent and mask is not None and not mask[b]
            expected += [0.0 if gone else float(x) for x in h[b]]
        assert found[b].tolist() == expected


def test_concatenation_of_a_joint_encoder_is_its_encoding():
    module = ConcatFeatures([4], [(0, 1, 2)], masks_absent=False)
    h = randn(5, 4)
    assert torch.equal(module([h], presence()), h)


def test_linear_fusion_is_a_linear_layer_on_all_encodings():
    module = build(LinearFusion, DIMS, 2)
    z = ConcatFeatures(DIMS, SINGLE)(encodings(), presence())
    weight, bias = array(module.weight), array(module.bias)
    for b, row in enumerate(z.numpy()):
        expected = [sum(w * x for w, x in zip(weight[k], row, strict=True)) for k in range(2)]
        np.testing.assert_allclose(array(module(z)[b]), expected + bias, rtol=1e-12)
        for t, part in enumerate(np.split(np.arange(6), np.cumsum(DIMS)[:-1])):
            np.testing.assert_allclose(
                array(module.contributions(z)[b, t]), weight[:, part] @ row[part], rtol=1e-12
            )
    assert module.decays_all and module.readings(z, torch.full((5,), 0.2), 5.0) == {}


# -- tensor product ----------------------------------------------------------------------------


def product(module, hs, present, b):
    """Return the tensor product of one row, one element after the other."""
    vectors = []
    for linear, h, mask in zip(module.maps, hs, present, strict=True):
        u = apply_linear(linear, h[b].detach().numpy())
        vectors.append([1.0, *(u if mask is None or mask[b] else 0 * u)])
    return [np.prod(elements) for elements in itertools.product(*vectors)]


@pytest.mark.parametrize("present", [NOTHING, presence()], ids=["whole", "partial"])
def test_tensor_product_equals_a_loop_over_its_elements(present):
    module, hs = tensor(), encodings()
    found = module(hs, present)
    assert found.shape == (5, 27) and module.n_features == 27
    for b in range(5):
        np.testing.assert_allclose(
            array(found[b]), product(module, hs, present, b), rtol=1e-12, atol=1e-14
        )


def test_an_absent_modality_leaves_its_constant_alone():
    module, hs = tensor(), encodings()
    found = module(hs, presence()).view(5, 3, 3, 3)
    assert (found[:, 0, 0, 0] == 1).all()
    assert (found[[1, 3], :, 1:] == 0).all() and (found[3, :, :, 1:] == 0).all()
    u = apply_linear(module.maps[0], hs[0].numpy())
    np.testing.assert_allclose(array(found[3, 1:, 0, 0]), u[3], rtol=1e-12)
    assert (found[0] != 0).all()


@pytest.mark.parametrize("make", [lambda: ConcatFeatures(DIMS, SINGLE), tensor])
def test_values_of_absent_rows_leave_no_trace(make):
    module, hs, present = make(), encodings(), presence()
    other = [h.clone() for h in hs]
    other[1][[1, 3]], other[2][3] = 1e6, torch.nan
    assert torch.equal(module(other, present), module(hs, present))
    hs = [h.requires_grad_() for h in hs]
    module(hs, present).square().sum().backward()
    assert (hs[1].grad[[1, 3]] == 0).all() and (hs[2].grad[3] == 0).all()
    assert (hs[1].grad[[0, 2, 4]] != 0).all()


# -- perceptron --------------------------------------------------------------------------------


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_perceptron_equals_a_loop_over_rows(n_layers, residual):
    module = build(PerceptronFusion, 6, 4, 2, n_layers=n_layers, residual=residual)
    z = randn(5, 6)
    found = module(z)
    for b, row in enumerate(z.numpy()):
        hidden = row
        for i, layer in enumerate(module.layers):
            hidden = apply_linear(layer, hidden)
            if not (residual and i == n_layers - 1):
                hidden = np.array([max(x, 0.0) for x in hidden])
        if residual:
            hidden = hidden + row
        expected = apply_linear(module.readout, hidden) + array(module.bias)
        np.testing.assert_allclose(array(found[b]), expected, rtol=1e-11, atol=1e-13)
    assert module.layers[0].out_features == (6 if residual else 4)
    assert module.values_per_row == 6 + n_layers * (6 if residual else 4)
    assert module.readings(z, torch.full((5,), 0.2), 5.0) == {}


@pytest.mark.parametrize("residual", [False, True])
def test_gradients_are_right(residual):
    features = build(TensorFeatures, DIMS, 1)
    fusion = build(PerceptronFusion, 8, 3, 2, residual=residual)
    names = [name for name, _ in fusion.named_parameters()]

    def run(h1, h2, h3, *parameters):
        z = features((h1, h2, h3), presence(4))
        return functional_call(fusion, dict(zip(names, parameters, strict=True)), (z,))

    inputs = [h.requires_grad_() for h in encodings(4)]
    inputs += [p.detach().clone().requires_grad_() for p in fusion.parameters()]
    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_one_row_alone_equals_the_row_in_a_batch(dtype):
    features, fusion = tensor().to(dtype), build(PerceptronFusion, 27, 4, 2).to(dtype)
    hs = [h.to(dtype) for h in encodings()]
    whole = fusion(features(hs, presence()))
    assert whole.dtype == dtype and whole.shape == (5, 2)
    for b in range(5):
        masks = [mask if mask is None else mask[b : b + 1] for mask in presence()]
        alone = fusion(features([h[b : b + 1] for h in hs], masks))
        close = 1e-12 if dtype == torch.float64 else 1e-4
        torch.testing.assert_close(alone[0], whole[b], rtol=close, atol=close)


@pytest.mark.parametrize("residual", [False, True])
def test_dropout_is_drawn_from_the_modules_own_generator(residual):
    module = build(PerceptronFusion, 6, 6, 2, dropout=0.5, residual=residual).train()
    z = randn(5, 6)
    with pytest.raises(RuntimeError, match="no generator"):
        module(z)
    before, results = torch.get_rng_state(), []
    for seed in (0, 0, 1):
        set_dropout_generator(module, torch.Generator().manual_seed(seed))
        results.append(module(z))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.equal(results[0], module.eval()(z))


def test_state_dict_makes_round_trip():
    for cls, args, inputs in (
        (TensorFeatures, (DIMS, 2), (encodings(), presence())),
        (PerceptronFusion, (6, 4, 2), (randn(5, 6),)),
        (LinearFusion, (DIMS, 2), (randn(5, 6),)),
    ):
        module, other = build(cls, *args), seeded(cls, *args, seed=5).double().eval()
        assert not torch.equal(other(*inputs), module(*inputs))
        other.load_state_dict(copy.deepcopy(module.state_dict()))
        assert torch.equal(other(*inputs), module(*inputs))
