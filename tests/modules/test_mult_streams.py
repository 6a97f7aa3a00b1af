"""MulT streams: padding, absence, order, sharing, randomness and state."""

import copy

import pytest
import torch
from conformance import seeded
from mult_modules import ALL, DIMS, NOTHING, absent_case, assert_equal, build, draw
from torch import nn

from sklearn_mmfusion.modules.crossmodal import StreamBlock
from sklearn_mmfusion.modules.dropout import Dropout, set_dropout_generator
from sklearn_mmfusion.modules.mult import MulTModule

# -- padding and absence -------------------------------------------------------------------------


@pytest.mark.parametrize("m", [0, 1, 2])
def test_more_padding_changes_nothing(m):
    module = build()
    values, lengths = draw(n_steps=(4, 5, 3))
    lengths[m][0] = values[m].shape[1] - 1  # so that padding is not cut off again
    values[m][0, -1] = 0
    expected = module(values, lengths, NOTHING)
    # One row is longer, in another batch, so that the padding of the first rows stays.
    longer = [torch.cat([x, x[:1]]) for x in values]
    extra = torch.full((6, 7, DIMS[m]), 50.0, dtype=torch.float64)
    longer[m] = torch.cat([longer[m], extra], 1)
    n_steps = [torch.cat([length, length[:1]]) for length in lengths]
    n_steps[m][-1] = longer[m].shape[1]
    features = module(longer, n_steps, NOTHING)
    assert_equal([feature[:5] for feature in features], expected, 1e-12)


def test_features_of_absent_modalities_are_exactly_zero():
    module = build()
    values, lengths, present = absent_case()
    features = module(values, lengths, present)
    for term, feature in zip(module.terms, features, strict=True):
        there = torch.ones(6).bool()
        for m in term:
            there &= torch.ones(6).bool() if present[m] is None else present[m]
        assert torch.equal(feature[~there], torch.zeros_like(feature[~there]))
        assert bool((feature[there].abs().amax(1) > 0.01).all())


@pytest.mark.parametrize("has_lengths", [True, False])
def test_absent_rows_influence_no_other(has_lengths):
    module = build()
    values, lengths, present = absent_case()
    if not has_lengths:
        lengths = NOTHING
    expected = module(values, lengths, present)
    for m in (1, 2):
        values[m][~present[m]] = 7.0
    assert_equal(module(values, lengths, present), expected, 0)
    kept = torch.tensor([0, 2, 5])
    alone = module(
        [x[kept] for x in values],
        [length if length is None else length[kept] for length in lengths],
        NOTHING,
    )
    assert_equal(alone, [feature[kept] for feature in expected])


def test_absent_rows_give_no_gradient():
    module = build()
    values, lengths, present = absent_case()
    values = [x.requires_grad_() for x in values]
    sum(feature.square().sum() for feature in module(values, lengths, present)).backward()
    for m in (1, 2):
        assert torch.equal(values[m].grad[~present[m]], torch.zeros_like(values[m][~present[m]]))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_modality_absent_everywhere_gives_zeros():
    module = build()
    values, lengths = draw()
    present = [None, torch.zeros(5).bool(), None]
    values[1], lengths[1] = torch.zeros_like(values[1]), torch.zeros_like(lengths[1])
    for term, feature in zip(module.terms, module(values, lengths, present), strict=True):
        assert feature.isfinite().all()
        assert bool((feature == 0).all()) == (1 in term)


# -- order, sharing ------------------------------------------------------------------------------


def test_order_of_terms_changes_nothing_but_the_order_of_features():
    module, turned = build(noise=0), build(ALL[::-1], noise=0)
    assert turned.output_dims == module.output_dims[::-1]
    values, lengths = draw()
    assert_equal(turned(values, lengths, NOTHING)[::-1], module(values, lengths, NOTHING), 0)


def test_permuted_modalities_with_permuted_weights_give_the_same_features():
    module, permuted = build(), build(seed=3, dims=(4, 3, 2))
    old = {0: 2, 1: 0, 2: 1}  # new position -> position in `module`
    state = module.state_dict()
    moved = {}
    for name, tensor in permuted.state_dict().items():
        head, rest = name.split(".", 1)
        if head == "projections":
            m, rest = rest.split(".")
            moved[name] = state[f"projections.{old[int(m)]}.{rest}"]
        elif head == "joint_maps":  # its inputs are the pairs in order, six columns each
            moved[name] = state[name]
            if rest.endswith("weight"):
                pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
                blocks = state[name].unflatten(1, (6, 6))
                chosen = [pairs.index((old[a], old[b])) for a, b in pairs]
                moved[name] = blocks[:, chosen].flatten(1)
        else:
            streams = permuted.singles if head == "self_streams" else permuted.pairs
            if head == "self_streams":
                source = [module.singles.index(old[m]) for m in streams]
            else:
                source = [module.pairs.index((old[a], old[b])) for a, b in streams]
            by_stream = state[name].view(len(streams), -1)[source]
            moved[name] = by_stream.view(tensor.shape)
    permuted.load_state_dict(moved)
    values, lengths = draw()
    expected = dict(zip(ALL, module(values, lengths, NOTHING), strict=True))
    places = [old[m] for m in range(3)]
    features = permuted([values[m] for m in places], [lengths[m] for m in places], NOTHING)
    for term, feature in zip(ALL, features, strict=True):
        before = [old[m] for m in term]
        if before == sorted(before) or len(term) != 2:
            theirs = expected[tuple(sorted(before))]
        else:  # the two streams of a pair trade places
            theirs = expected[tuple(sorted(before))].roll(6, 1)
        torch.testing.assert_close(feature, theirs, rtol=1e-10, atol=1e-10)


def test_shared_streams_are_computed_once(monkeypatch):
    rows = []
    attention = torch.nn.functional.scaled_dot_product_attention

    def counted(query, *args, **kwargs):
        rows.append(query.shape[:-1].numel())
        return attention(query, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    values, _ = draw()
    b, n_heads, n_layers, n_steps = 5, 2, 3, 4
    across = 6 * b * n_heads * n_layers  # one step of each of six streams
    within = 3 * b * n_heads * ((n_layers - 1) * n_steps + 1)
    for terms, expected in [
        (ALL, across + within),
        (ALL[3:], across),
        ([(0, 1, 2)], across),
        (ALL[:3], within),
    ]:
        rows.clear()
        build(terms)(values, NOTHING, NOTHING)
        assert sum(rows) == expected


def test_pair_of_a_triple_has_no_weights_of_its_own():
    pairs_only, both = build(ALL[3:6]), build(ALL[3:])
    ours = {name for name, _ in both.named_parameters()}
    assert ours - {name for name, _ in pairs_only.named_parameters()} == {
        "joint_maps.0_1_2.weight",
        "joint_maps.0_1_2.bias",
    }
    for name, parameter in pairs_only.named_parameters():
        assert parameter.shape == dict(both.named_parameters())[name].shape


def test_unused_modality_has_no_weights():
    module = build([(0,), (0, 2)])
    assert set(module.projections) == {"0", "2"}
    values, lengths = draw()
    values[1] = torch.empty(0)
    assert len(module(values, lengths, NOTHING)) == 2


def test_state_dict_makes_round_trip():
    module, other = build(), build(seed=5)
    values, lengths = draw()
    assert not torch.allclose(
        other(values, lengths, NOTHING)[0], module(values, lengths, NOTHING)[0]
    )
    other.load_state_dict(copy.deepcopy(module.state_dict()))
    assert_equal(other(values, lengths, NOTHING), module(values, lengths, NOTHING), 0)


def test_weights_depend_on_the_default_generator_alone():
    first, again, other = (seeded(MulTModule, DIMS, ALL, 8, seed=seed) for seed in (0, 0, 1))
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
        is_drawn = parameter.ndim > 1 or "joint_maps" in name
        assert torch.equal(parameter, other.get_parameter(name)) != is_drawn


def test_vectors_are_one_dimensional():
    # Weight decay spares what has one axis.
    for name, parameter in build().named_parameters():
        is_matrix = name.endswith("weight") and "norm" not in name or "query_key_value" in name
        assert (parameter.ndim > 1) == is_matrix


def test_dropout_comes_from_its_generator():
    values, lengths = draw()
    module = build(dropout=0.5).train()
    with pytest.raises(RuntimeError, match="no generator"):
        module(values, lengths, NOTHING)

    def run(seed):
        set_dropout_generator(module, torch.Generator().manual_seed(seed))
        return module(values, lengths, NOTHING)

    before = torch.get_rng_state()
    first, again, other = run(0), run(0), run(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert_equal(again, first, 0)
    assert all(not torch.allclose(a, b) for a, b in zip(first, other, strict=True))
    assert_equal(module.eval()(values, lengths, NOTHING), build()(values, lengths, NOTHING), 0)


def test_shared_dropout_treats_equal_rows_equally():
    values, lengths = draw()
    rows = torch.tensor([0, 1, 1, 3, 3])
    module = build(dropout=0.5).train()
    set_dropout_generator(module, torch.Generator().manual_seed(0), shared=True)
    features = module([x[rows] for x in values], [length[rows] for length in lengths], NOTHING)
    for feature in features:
        torch.testing.assert_close(feature[[1, 3]], feature[[2, 4]])
    set_dropout_generator(module, torch.Generator().manual_seed(0))
    for feature in module([x[rows] for x in values], [x[rows] for x in lengths], NOTHING):
        assert not torch.allclose(feature[[1, 3]], feature[[2, 4]])


def test_all_dropout_is_our_own():
    children = list(build(dropout=0.2).modules())
    assert sum(isinstance(child, Dropout) for child in children) == 2 * 3
    assert not any(isinstance(child, nn.Dropout) for child in children)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple of n_heads, got 6 and 4"):
        MulTModule(DIMS, ALL, 6, n_heads=4)


def test_default_feedforward_is_four_times_as_wide():
    module = seeded(MulTModule, DIMS, ALL, 8)
    block = next(child for child in module.modules() if isinstance(child, StreamBlock))
    assert block.widen.weight.shape == (3, 8, 32)
    assert module.output_dims == [8, 8, 8, 16, 16, 16, 16]
