"""Routing of terms to concepts, against a slow loop over rows, terms and concepts."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_mmfusion.modules.dropout import set_dropout_generator
from sklearn_mmfusion.modules.routing import AdditiveActivation, Routing
from sklearn_mmfusion.modules.summaries import routing_summary
from sklearn_mmfusion.modules.term_vectors import JointTermVectors, TermVectors

TERMS = ((0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2))


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_routing(n_terms=6, d=5, n_concepts=3, c=4, **options):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        module = Routing(n_terms, d, n_concepts, c, **options).double()
    with torch.no_grad():
        module.bias.copy_(randn(len(module.bias), seed=9))
    return module.eval()


def loop(module, features):
    """Procedure 1 of the paper, one number after the other."""
    features = features.detach().numpy()
    n, t = features.shape[:2]
    j, c = module.n_concepts, module.concept_dim
    weight = module.weight.detach().numpy().reshape(t, -1, j, c)
    readout, bias = module.readout.detach().numpy(), module.bias.detach().numpy()
    r_all, p_all = np.zeros((n, t, j)), np.zeros((n, t))
    contributions, logits = np.zeros((n, t, j)), np.zeros((n, j))
    for b in range(n):
        f = features[b, :, :-1]
        p = np.array([1 / (1 + math.exp(-a)) if a > -700 else 0.0 for a in features[b, :, -1]])
        v = np.zeros((t, j, c))
        for i in range(t):
            for k in range(j):
                v[i, k] = f[i] @ weight[i, :, k]
        r = np.full((t, j), 1 / j)
        concept = np.array([sum(p[i] * r[i, k] * v[i, k] for i in range(t)) for k in range(j)])
        for _ in range(module.n_routing_iter):
            for i in range(t):
                s = np.array([v[i, k] @ concept[k] * module.scale for k in range(j)])
                e = np.exp(s - s.max())
                r[i] = e / e.sum()
            concept = np.array([sum(p[i] * r[i, k] * v[i, k] for i in range(t)) for k in range(j)])
        r_all[b], p_all[b] = r, p
        for k in range(j):
            logits[b, k] = readout[k] @ concept[k]
            for i in range(t):
                contributions[b, i, k] = p[i] * r[i, k] * (readout[k] @ v[i, k])
    if module.is_contrast:
        logits, contributions = logits[:, 1:] - logits[:, :1], np.diff(contributions, axis=2)
    return r_all, p_all, contributions, logits + bias


# -- routing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_routing_iter", [0, 1, 2, 5])
@pytest.mark.parametrize("options", [{}, {"scale": 1.0}, {"n_concepts": 2, "is_contrast": True}])
def test_routing_equals_a_loop_over_rows_terms_and_concepts(n_routing_iter, options):
    module = make_routing(n_routing_iter=n_routing_iter, **options)
    features = randn(7, 6, 6, seed=1)
    features[2, 4, :-1], features[2, 4, -1] = 0.0, -math.inf
    r, p, contributions, logits = loop(module, features)
    found = module.explain(features)
    for value, expected in zip(found, (r, p, contributions), strict=True):
        np.testing.assert_allclose(value.detach(), expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(module(features).detach(), logits, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(module.coefficients(features).detach(), r, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(
        module.contributions(features).detach(), contributions, rtol=1e-11, atol=1e-12
    )
    np.testing.assert_allclose(module.activations(features).detach(), p, rtol=1e-12)


@pytest.mark.parametrize("n_routing_iter", [0, 1, 4])
def test_coefficients_of_a_term_sum_to_one_and_contributions_to_the_logits(n_routing_iter):
    module = make_routing(n_routing_iter=n_routing_iter)
    features = 3 * randn(9, 6, 6, seed=2)
    r, _, contributions = module.explain(features)
    assert (r >= 0).all()
    torch.testing.assert_close(r.sum(2), torch.ones(9, 6, dtype=torch.float64), rtol=0, atol=1e-14)
    torch.testing.assert_close(
        contributions.sum(1) + module.bias, module(features), rtol=0, atol=1e-12
    )


def test_equal_votes_give_uniform_routing():
    module = make_routing(n_routing_iter=3)
    with torch.no_grad():
        module.weight.copy_(module.weight[..., :4].repeat(1, 1, 3))
    features = randn(5, 6, 6, seed=4)
    assert (module.coefficients(features) - 1 / 3).abs().max() < 1e-15
    uniform = make_routing(n_routing_iter=0)
    assert (uniform.coefficients(features) == 1 / 3).all()


def test_permuting_concepts_or_terms_permutes_the_result():
    module = make_routing(n_routing_iter=2)
    features = randn(5, 6, 6, seed=5)
    r, p, contributions = module.explain(features)
    concepts, terms = torch.tensor([2, 0, 1]), torch.tensor([3, 5, 0, 1, 4, 2])
    other = copy.deepcopy(module)
    with torch.no_grad():
        blocks = module.weight.unflatten(2, (3, 4))
        other.weight.copy_(blocks[:, :, concepts].flatten(2)[terms])
        other.readout.copy_(module.readout[concepts])
        other.bias.copy_(module.bias[concepts])
    moved = other.explain(features[:, terms])
    close = {"rtol": 1e-11, "atol": 1e-12}
    torch.testing.assert_close(moved[0], r[:, terms][:, :, concepts], **close)
    torch.testing.assert_close(moved[1], p[:, terms], **close)
    torch.testing.assert_close(moved[2], contributions[:, terms][:, :, concepts], **close)
    torch.testing.assert_close(
        other(features[:, terms]), module(features)[:, concepts], rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize(("n_concepts", "gain"), [(2, 1), (10, 1), (11, 1.1), (100, 10)])
def test_readout_makes_up_for_the_share_of_each_of_many_concepts(n_concepts, gain):
    module = make_routing(d=16, n_concepts=n_concepts, c=16, n_routing_iter=0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        weight, readout = torch.randn(6, 16, n_concepts * 16) / 4, torch.randn(n_concepts, 16) / 4
    torch.testing.assert_close(module.weight.float(), weight)
    torch.testing.assert_close(module.readout.float(), gain * readout)
    # Votes of variance 1 from 6 terms, each half active.
    features = randn(2000, 6, 17, seed=6)
    features[..., -1] = 0.0
    logits = (module(features) - module.bias).detach()
    expected = gain / n_concepts * 0.5 * math.sqrt(6)
    assert float(logits.std()) == pytest.approx(expected, rel=0.2 if n_concepts > 9 else 0.6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_routing_is_stable_for_large_logits_and_many_iterations(dtype):
    module = make_routing(n_routing_iter=50, scale=1.0).to(dtype)
    features = randn(6, 6, 6, seed=6).to(dtype)

    def votes():
        return torch.einsum("btd,tdv->tbv", features[..., :-1], module.weight).unflatten(2, (3, 4))

    with torch.no_grad():
        # Agreements of the order of 1e4 and more.
        module.weight.mul_(100 / votes().abs().mean())
    features.requires_grad_()
    routed = module.route(features)
    agreement = torch.einsum("tbjc,bjc->btj", votes(), routed.concepts)
    assert agreement.abs().max() > 1e4
    output = module(features)
    output.sum().backward()
    for value in (*routed, output, features.grad, module.weight.grad):
        assert value.isfinite().all()
    torch.testing.assert_close(
        routed.coefficients.sum(2), torch.ones(6, 6, dtype=dtype), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("n_routing_iter", [0, 1, 3])
def test_gradients_of_routing_are_right(n_routing_iter):
    module = make_routing(3, 2, 2, 3, n_routing_iter=n_routing_iter)
    features = randn(3, 3, 3, seed=7)
    features[1, 2, :-1], features[1, 2, -1] = 0.0, -math.inf
    free = features.isfinite()
    names = list(dict(module.named_parameters()))

    def run(values, *parameters):
        whole = torch.full_like(features, -math.inf).masked_scatter(free, values)
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(module, given, (whole,))

    inputs = [features[free].clone().requires_grad_()]
    inputs += [p.detach().clone().requires_grad_() for p in module.parameters()]
    assert torch.autograd.gradcheck(run, inputs)


def test_an_absent_term_contributes_exactly_zero_and_changes_no_other_row():
    module = make_routing(n_routing_iter=2)
    features = randn(4, 6, 6, seed=8)
    absent = features.clone()
    absent[1, 3, :-1], absent[1, 3, -1] = 0.0, -math.inf
    r, p, contributions = module.explain(absent)
    assert (contributions[1, 3] == 0).all() and p[1, 3] == 0
    assert (r[1, 3] - 1 / 3).abs().max() < 1e-15
    others = [0, 2, 3]
    torch.testing.assert_close(
        contributions[others], module.contributions(features)[others], rtol=1e-12, atol=1e-13
    )


def test_dropout_of_concepts_is_drawn_from_the_modules_own_generator():
    module = make_routing(dropout=0.5).train()
    features = randn(4, 6, 6, seed=8)
    results = []
    for seed in (0, 0, 1):
        set_dropout_generator(module, torch.Generator().manual_seed(seed))
        before = torch.get_rng_state()
        results.append(module(features))
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.equal(results[0], module.eval()(features))


@pytest.mark.parametrize("n_routing_iter", [0, 1, 3])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_groups_of_terms_change_neither_values_nor_gradients(n_routing_iter, dropout, monkeypatch):
    module = make_routing(n_routing_iter=n_routing_iter, dropout=dropout).train()
    features = randn(7, 6, 6, seed=1).requires_grad_()
    results = []
    for limit in (1, 200, 10**6):
        monkeypatch.setattr("sklearn_mmfusion.modules.routing._CACHED_VALUES", limit)
        set_dropout_generator(module, torch.Generator().manual_seed(0))
        routed = module.route(features)
        r, p, c = routed
        value = (r * randn(*r.shape, seed=2)).sum() + (c * randn(*c.shape, seed=3)).sum()
        gradients = torch.autograd.grad(value, [features, module.weight])
        results.append((r, p, c, *gradients))
    for found in results[1:]:
        for a, b in zip(found, results[0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_a_contrast_needs_two_concepts():
    with pytest.raises(ValueError, match="two concepts, got 3"):
        make_routing(is_contrast=True)


def test_readings_equal_the_summary_of_all_rows(monkeypatch):
    module = make_routing(n_routing_iter=1)
    features = randn(11, 6, 6, seed=10)
    share = torch.softmax(randn(11, seed=11), 0)
    r, p, contributions = module.explain(features)
    expected = routing_summary(r, p, contributions, module(features), share, 11.0)
    monkeypatch.setattr("sklearn_mmfusion.modules.routing._CHUNK_VALUES", 200)
    found = module.readings(features, share, 11.0)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-10, atol=1e-12)


# -- the ablation -----------------------------------------------------------------------------


def test_additive_activation_equals_a_loop():
    with torch.random.fork_rng(devices=[]):
        module = AdditiveActivation(4, 3, 2).double()
    nn.init.constant_(module.bias, 0.5)
    features = randn(5, 4, 4, seed=1)
    p = 1 / (1 + np.exp(-features[..., -1].numpy()))
    readout = module.readout.detach().numpy()
    expected = np.array(
        [
            [[p[b, i] * features[b, i, :-1].numpy() @ o for o in readout] for i in range(4)]
            for b in range(5)
        ]
    )
    found = module.explain(features)
    np.testing.assert_allclose(found[0].detach(), p, rtol=1e-12)
    np.testing.assert_allclose(found[1].detach(), expected, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(
        module(features).detach(), expected.sum(1) + 0.5, rtol=1e-11, atol=1e-13
    )
    share = torch.full((5,), 0.2, dtype=torch.float64)
    readings = module.readings(features, share, 5.0)
    np.testing.assert_allclose(readings["activations"], p.mean(0), rtol=1e-12)
    np.testing.assert_allclose(readings["relevance"], p.mean(0) / p.mean(0).sum(), rtol=1e-12)


# -- features ---------------------------------------------------------------------------------


def make_vectors(dropout=0.0):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        module = TermVectors([3, 1, 4], TERMS, 5, 7, dropout).double()
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.add_(0.3 * randn(*parameter.shape, seed=20 + i))
        for i, norm in enumerate(module.norms):
            norm.running_mean.copy_(randn(*norm.running_mean.shape, seed=40 + i))
            norm.running_variance.fill_(2.0 + i)
    return module.eval()


def encodings(n=6):
    return [randn(n, d, seed=30 + d) for d in (3, 1, 4)]


def test_term_vectors_are_a_hidden_layer_on_the_concatenated_normalised_members():
    module, hs = make_vectors(), encodings()
    normed = []
    for m, h in enumerate(hs):
        norm = module.norms[m]
        x = h.numpy() - norm.running_mean.numpy()
        normed.append(x * np.sqrt(x.shape[1] / (norm.running_variance.item() + norm.eps)))
    found = module(hs, [None] * 3).detach().numpy()
    for t, term in enumerate(TERMS):
        rows = []
        for m in term:
            weight = module.maps[str(m)].weight.detach().numpy().reshape(-1, 7, hs[m].shape[1])
            rows.append(weight[[u for u in TERMS if m in u].index(term)])
        joined = np.concatenate([normed[m] for m in term], 1)
        hidden = joined @ np.concatenate(rows, 1).T + module.hidden_bias[t].detach().numpy()
        hidden = np.maximum(hidden, 0)
        expected = hidden @ module.weight[t].detach().numpy() + module.bias[t].detach().numpy()
        np.testing.assert_allclose(found[:, t], expected, rtol=1e-10, atol=1e-12)


def test_terms_with_an_absent_member_have_no_feature_and_no_activation():
    module, hs = make_vectors(), encodings()
    mask = torch.tensor([True, False, True, True, False, True])
    found = module(hs, [None, mask, None])
    plain = module(hs, [None] * 3)
    for t, term in enumerate(TERMS):
        if 1 in term:
            assert (found[~mask, t, :-1] == 0).all()
            assert (found[~mask, t, -1] == -math.inf).all()
            torch.testing.assert_close(found[mask, t], plain[mask, t], rtol=0, atol=0)
        else:
            torch.testing.assert_close(found[:, t], plain[:, t], rtol=0, atol=0)
    assert torch.sigmoid(found[..., -1])[~mask][:, 1].eq(0).all()


def test_gradients_of_term_vectors_are_right_and_pass_by_absent_rows():
    module, hs = make_vectors(), encodings(3)
    fusion = make_routing(len(TERMS), 5, 2, 3)
    mask = torch.tensor([True, False, True])

    def run(*hs):
        return fusion(module(hs, [None, mask, None]))

    assert torch.autograd.gradcheck(run, [h.requires_grad_() for h in hs])
    run(*hs).sum().backward()
    assert (hs[1].grad[1] == 0).all()


def test_training_normalises_by_the_batch_and_exact_statistics_are_those_of_the_set():
    module, hs = make_vectors(), encodings(8)
    mask = torch.tensor([True] * 6 + [False] * 2)
    weight = torch.arange(8).double() + 1
    given = [None, mask, None]
    module.set_exact(hs, given, weight)
    exact = module(hs, given, weight)
    trained = module.train()(hs, given, weight)
    torch.testing.assert_close(exact, trained, rtol=1e-10, atol=1e-12)
    w = (weight * mask).numpy()
    x = hs[1].numpy()
    mean = np.average(x, axis=0, weights=w)
    module.eval().set_exact(hs, given, weight)
    np.testing.assert_allclose(module.norms[1].running_mean, mean, rtol=1e-12)
    variance = np.average(((x - mean) ** 2).sum(1), weights=w)
    np.testing.assert_allclose(module.norms[1].running_variance, variance, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_term_vectors_keep_the_dtype_and_take_a_single_row(dtype):
    module = make_vectors().to(dtype).train()
    found = module([h[:1].to(dtype) for h in encodings()], [None] * 3)
    assert found.dtype == dtype and found.shape == (1, 6, 6)
    assert found.isfinite().all()


def test_dropout_of_term_vectors_is_drawn_from_their_own_generator():
    module, hs = make_vectors(0.5).train(), encodings()
    set_dropout_generator(module, torch.Generator().manual_seed(0))
    one = module(hs, [None] * 3)
    set_dropout_generator(module, torch.Generator().manual_seed(0))
    assert torch.equal(one, module(hs, [None] * 3))
    assert not torch.equal(one, module(hs, [None] * 3))


def test_joint_term_vectors_are_linear_in_the_encoding_of_each_term():
    with torch.random.fork_rng(devices=[]):
        module = JointTermVectors([2, 3], ((0,), (0, 1)), 4).double().eval()
    hs = [randn(5, 2, seed=1), randn(5, 3, seed=2)]
    mask = torch.tensor([True, True, False, True, True])
    found = module(hs, [None, mask])
    for t, (h, linear) in enumerate(zip(hs, module.maps, strict=True)):
        expected = h @ linear.weight.T + linear.bias
        rows = mask if t == 1 else slice(None)
        torch.testing.assert_close(found[rows, t], expected[rows], rtol=1e-12, atol=1e-13)
    assert found[2, 1, -1] == -math.inf and (found[2, 1, :-1] == 0).all()
