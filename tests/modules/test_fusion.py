"""Tests of term features and of the block-linear layer."""

import numpy as np
import pytest
import torch
from conformance import array, seeded
from torch import nn

from sklearn_mmfusion.modules.fusion import BlockLinear, TermFeatures, term_presence

DIMS = [3, 4, 2]
TERMS = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
D = 2


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(terms=TERMS, unimodal_dims=(None, None, None), seed=0):
    return seeded(TermFeatures, DIMS, terms, D, list(unimodal_dims), seed=seed).double()


def draw(n=14, seed=1):
    common = randn(n, 1, seed=seed).exp()
    return [randn(n, d, seed=seed + 1 + m) + common for m, d in enumerate(DIMS)]


def own_map(features, term, m):
    """Weights of the map of one (term, modality) pair, (d, d_m)."""
    of_modality = [t for t, member in features.pairs if member == m]
    row = of_modality.index(term)
    return array(features.pair_maps[str(m)].weight)[row * D : (row + 1) * D]


def dense(features, encodings, share, eps=1e-5):
    """Features of every term on rows that are all there, by einsum; one array per term."""

    def vbn(h):
        h = h - share @ h
        return h / np.sqrt(share @ (h**2).sum(1) + eps)

    blocks = []
    for term in features.terms:
        if len(term) == 1:
            key = str(term[0])
            h = array(encodings[term[0]])
            if key in features.unimodal_maps:
                h = h @ array(features.unimodal_maps[key].weight).T
            blocks.append(vbn(h))
            continue
        us = [vbn(array(encodings[m]) @ own_map(features, term, m).T) for m in term]
        if len(us) == 2:
            x = np.einsum("bi,bj->bij", *us)
            x = x - np.einsum("b,bij->ij", share, x)
        else:
            x = np.einsum("bi,bj,bk->bijk", *us)
            x = x - np.einsum("b,bijk->ijk", share, x)
            for i, j, k, out in [(0, 1, 2, "ij,bk"), (0, 2, 1, "ik,bj"), (1, 2, 0, "jk,bi")]:
                moment = np.einsum("b,bi,bj->ij", share, us[i], us[j])
                x = x - np.einsum(f"{out}->bijk", moment, us[k])
        x = x.reshape(len(x), -1)
        blocks.append(x / np.sqrt(share @ (x**2).sum(1) + eps))
    return blocks


# -- term features ----------------------------------------------------------------------------


@pytest.mark.parametrize("unimodal_dims", [(None, None, None), (2, None, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_term_features_equal_dense_formula_term_by_term(unimodal_dims, weighted):
    features, encodings = make(unimodal_dims=unimodal_dims), draw()
    weight = randn(14, seed=9).abs() if weighted else None
    share = np.full(14, 1 / 14) if weight is None else array(weight / weight.sum())
    z = features(encodings, [None] * 3, weight)
    expected = dense(features, encodings, share)
    assert features.block_sizes == [block.shape[1] for block in expected]
    np.testing.assert_allclose(array(z), np.hstack(expected), atol=1e-10)


def test_blocks_stand_in_the_order_of_the_terms():
    unimodal_sizes, pair, triple = DIMS, D**2, D**3
    assert make().block_sizes == [*unimodal_sizes, pair, pair, pair, triple]


def test_every_pair_of_term_and_modality_has_a_map_of_its_own():
    features, encodings = make(), draw()
    before = features(encodings, [None] * 3).detach()
    with torch.no_grad():
        own = features.pair_maps["0"].weight
        row = [t for t, m in features.pairs if m == 0].index((0, 2))
        own[row * D : (row + 1) * D] += 1.0
    after = features(encodings, [None] * 3).detach()
    changed = [
        bool((a != b).any())
        for a, b in zip(
            before.split(features.block_sizes, 1), after.split(features.block_sizes, 1), strict=True
        )
    ]
    assert [term for term, c in zip(TERMS, changed, strict=True) if c] == [(0, 2)]


def test_number_of_maps_is_that_of_pairs():
    features = make()
    assert len(features.pairs) == sum(len(t) for t in TERMS if len(t) > 1)
    assert len(set(features.pairs)) == len(features.pairs)
    rows = [features.pair_maps[str(m)].weight.shape[0] for m in range(3)]
    assert rows == [3 * D, 3 * D, 3 * D]


def test_unimodal_terms_alone_need_no_map():
    features = make(terms=[(0,), (1,), (2,)])
    assert list(features.parameters()) == []
    assert features.block_sizes == DIMS


@pytest.mark.parametrize("unimodal_dims", [(None, None, None), (2, None, 1)])
def test_exact_statistics_make_eval_equal_to_one_full_batch(unimodal_dims):
    encodings, weight = draw(), randn(14, seed=9).abs()
    features = make(unimodal_dims=unimodal_dims)
    expected = make(unimodal_dims=unimodal_dims)(encodings, [None] * 3, weight)
    features(draw(seed=30), [None] * 3)
    features.set_exact(encodings, [None] * 3, weight)
    features.eval()
    z = features(encodings, [None] * 3)
    np.testing.assert_allclose(array(z), array(expected), atol=1e-11)
    alone = features([h[5:6] for h in encodings], [None] * 3)
    np.testing.assert_allclose(array(alone), array(z)[5:6], atol=1e-13)


def some_missing(n=14):
    present = torch.ones(3, n, dtype=torch.bool)
    present[0, :3] = False
    present[2, 2:6] = False
    return [present[0], None, present[2]]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_missing_rows_are_zero_and_leave_statistics_to_the_sub_sample(weighted, exact):
    encodings, present = draw(), some_missing()
    weight = randn(14, seed=9).abs() if weighted else None
    features = make(unimodal_dims=(2, None, 1))
    if exact:
        features.set_exact(encodings, present, weight)
        features.eval()
    else:
        features.set_presence(present, weight)
    z = features(encodings, present, weight)
    for i, block in enumerate(z.split(features.block_sizes, 1)):
        term = TERMS[i]
        there = torch.stack(
            [torch.ones(14, dtype=torch.bool) if present[m] is None else present[m] for m in term]
        ).all(0)
        assert (block[~there] == 0).all()
        rows = torch.ones(14, dtype=torch.float64) if weight is None else weight
        share = array(rows[there] / rows[there].sum())
        expected = dense(features, [h[there] for h in encodings], share)[i]
        # Of mean square 1 over all rows, those without the term among them.
        expected = expected / np.sqrt(float(rows[there].sum() / rows.sum()))
        np.testing.assert_allclose(array(block[there]), expected, atol=1e-10)
        mean_square = float((rows * block.detach().square().sum(1)).sum() / rows.sum())
        assert mean_square == pytest.approx(1.0, abs=1e-4)


def test_running_statistics_of_terms_that_rows_lack_are_those_of_all_rows():
    encodings, present = draw(), some_missing()
    features, exact = make(unimodal_dims=(2, None, 1)), make(unimodal_dims=(2, None, 1))
    exact.load_state_dict(features.state_dict())
    exact.set_exact(encodings, present)
    features.set_presence(present)
    features(encodings, present)  # the first batch is the running average
    found = features.state_dict()
    for name, value in exact.state_dict().items():
        if "batches_seen" not in name:
            torch.testing.assert_close(found[name], value, msg=name)


def test_content_of_missing_rows_is_irrelevant():
    present = some_missing()
    encodings = draw()
    other = [h.clone() for h in encodings]
    other[0][~present[0]] = 1e3
    other[2][~present[2]] = -7.0
    z, same = (make()(e, present) for e in (encodings, other))
    np.testing.assert_allclose(array(z), array(same), atol=1e-12)


def test_all_present_mask_equals_no_mask():
    encodings = draw()
    ones = [torch.ones(14, dtype=torch.bool)] * 3
    z, same = make()(encodings, ones), make()(encodings, [None] * 3)
    np.testing.assert_allclose(array(z), array(same), atol=1e-12)


def test_batch_without_any_row_of_a_modality_is_finite():
    features, encodings = make(), [h.requires_grad_() for h in draw()]
    present = [torch.zeros(14, dtype=torch.bool), None, None]
    z = features(encodings, present)
    z.square().sum().backward()
    assert z.isfinite().all()
    assert all(h.grad.isfinite().all() for h in encodings)
    blocks = z.split(features.block_sizes, 1)
    gone = [t for t, block in zip(TERMS, blocks, strict=True) if (block == 0).all()]
    assert gone == [t for t in TERMS if 0 in t]


@pytest.mark.parametrize("training", [False, True])
def test_feature_gradients_equal_finite_differences(training):
    features = make(terms=[(0,), (1,), (2,), (0, 1), (0, 1, 2)], unimodal_dims=(2, None, None))
    features(draw(), [None] * 3)
    features.train(training)
    present = [torch.tensor([True, True, False, True, True]), None, None]
    weight = randn(5, seed=3).abs()
    encodings = [h.requires_grad_() for h in draw(n=5)]
    assert torch.autograd.gradcheck(lambda *hs: features(hs, present, weight), encodings)


def test_term_presence_is_the_conjunction():
    a, b = torch.tensor([True, True, False]), torch.tensor([True, False, True])
    assert term_presence([None, None], (0, 1)) is None
    assert term_presence([a, None], (0, 1)).tolist() == [True, True, False]
    assert term_presence([a, b], (0, 1)).tolist() == [True, False, False]


# -- block-linear layer -----------------------------------------------------------------------


def test_contributions_and_bias_add_up_to_the_output():
    layer = BlockLinear([2, 3, 1], 2).double()
    with torch.no_grad():
        layer.weight.copy_(randn(2, 6))
        layer.bias.copy_(randn(2, seed=1))
    z = randn(5, 6, seed=2)
    parts = layer.contributions(z)
    assert parts.shape == (5, 3, 2)
    np.testing.assert_allclose(array(parts.sum(1) + layer.bias), array(layer(z)), atol=1e-13)
    middle = array(z)[:, 2:5] @ array(layer.weight)[:, 2:5].T
    np.testing.assert_allclose(array(parts[:, 1]), middle, atol=1e-13)


def test_block_linear_starts_at_zero_and_norms_are_golden():
    layer = BlockLinear([1, 2, 2], 1)
    assert (layer.norms() == 0).all()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2, 3, 1, 2]]))
    np.testing.assert_allclose(array(layer.norms()), np.sqrt([1, 13, 5]), rtol=1e-12)
    expected = (1 + np.sqrt(13) + np.sqrt(5)) ** 2
    assert layer.penalty(1).item() == pytest.approx(expected, rel=1e-12)


def test_penalty_gradient_at_the_start_is_finite():
    layer = BlockLinear([1, 2], 1)
    layer.penalty(1).backward()
    assert (layer.weight.grad == 0).all()


def test_block_linear_is_a_linear_layer():
    layer, reference = BlockLinear([2, 3], 2).double(), seeded(nn.Linear, 5, 2).double()
    with torch.no_grad():
        layer.weight.copy_(reference.weight)
        layer.bias.copy_(reference.bias)
    z = randn(4, 5)
    assert torch.equal(layer(z), reference(z))
