"""Tests of plans: the network that is rebuilt from plain Python and arrays."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sklearn_mmfusion import (
    IdentityEncoder,
    InputError,
    LazyArray,
    LinearEncoder,
    LSTMEncoder,
    MNLClassifier,
    ModuleEncoder,
)
from sklearn_mmfusion._model.block_head import BlockNormHead
from sklearn_mmfusion._model.plan import (
    FusionPlan,
    build_network,
    in_plan_order,
    load_state,
    network_state,
)
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData, ModalityLayout


def make(**changes):
    names = ["audio", "text", "video"]
    plan = FusionPlan(
        layouts=tuple(ModalityLayout(name, (3 + m,), "float64") for m, name in enumerate(names)),
        encoders=(LinearEncoder(output_dim=4), LinearEncoder(output_dim=5), IdentityEncoder()),
        terms=((0,), (1,), (2,), (0, 1), (1, 2)),
        scalings=tuple((np.full(3 + m, 1.0 + m), np.full(3 + m, 2.0)) for m in range(3)),
        head=BlockNormHead(2),
        n_outputs=1,
        seed=5,
    )
    return replace(plan, **changes)


def assert_same_state(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


def test_network_of_a_plan_is_always_the_same_and_in_float32():
    one, two = build_network(make()), build_network(make())
    assert_same_state(network_state(one), network_state(two))
    assert {p.dtype for p in one.parameters()} == {torch.float32}
    other = network_state(build_network(make(seed=6)))
    assert (
        other["encoders.0.linear.weight"] != network_state(one)["encoders.0.linear.weight"]
    ).any()


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    build_network(make())
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_weights_depend_on_names_and_not_on_positions():
    plan = make()
    fewer = make(
        layouts=plan.layouts[1:],
        encoders=plan.encoders[1:],
        terms=((0,), (1,), (0, 1)),
        scalings=plan.scalings[1:],
    )
    whole, part = build_network(plan), build_network(fewer)
    text = whole.encoders[1].linear.weight
    assert torch.equal(text, part.encoders[0].linear.weight)
    # The map of (text x video, text) is the second of text's pairs, and the first of fewer's.
    of_text = [term for term, m in whole.features.pairs if m == 1]
    row = of_text.index((1, 2))
    own = whole.features.pair_maps["1"].weight[2 * row : 2 * row + 2]
    assert torch.equal(own, part.features.pair_maps["0"].weight)


def test_maps_of_different_pairs_differ():
    maps = build_network(make()).features.pair_maps["1"].weight
    assert not torch.equal(maps[:2], maps[2:4])


def test_fusion_starts_at_zero():
    fusion = build_network(make()).fusion
    assert (fusion.weight == 0).all()
    assert (fusion.bias == 0).all()


@pytest.mark.parametrize("latent_dim, n_outputs, size", [(2, 1, 2), (2, 3, 3), (9, 1, 4)])
def test_shared_trained_encodings_get_a_unimodal_map_of_bounded_size(latent_dim, n_outputs, size):
    network = build_network(make(head=BlockNormHead(latent_dim), n_outputs=n_outputs))
    assert network.features.unimodal_maps["0"].weight.shape == (size, 4)
    # Fixed features keep their own axes.
    assert "2" not in network.features.unimodal_maps


def test_unshared_encodings_get_no_unimodal_map():
    network = build_network(make(terms=((0,), (1,), (2,))))
    assert len(network.features.unimodal_maps) == 0
    assert network.features.block_sizes == [4, 5, 5]


def test_frozen_module_keeps_its_axes_like_fixed_features():
    frozen = ModuleEncoder(module=lambda layout: nn.Linear(3, 4), trainable=False)
    plan = make()
    network = build_network(replace(plan, encoders=(frozen, *plan.encoders[1:])))
    assert "0" not in network.features.unimodal_maps


def test_state_makes_a_round_trip_through_arrays():
    plan = make()
    network = build_network(plan).double()
    with torch.no_grad():
        for i, value in enumerate(network.state_dict().values()):
            value += 0.1 * i
    state = network_state(network)
    assert all(type(value) is np.ndarray for value in state.values())
    rebuilt = load_state(build_network(plan).double(), pickle.loads(pickle.dumps(state)))
    assert_same_state(network_state(rebuilt), state)


def test_state_is_a_copy_and_may_be_read_only():
    network = build_network(make())
    state = network_state(network)
    with torch.no_grad():
        network.fusion.bias += 1
    assert (state["fusion.bias"] == 0).all()
    for value in state.values():
        value.setflags(write=False)
    loaded = load_state(build_network(make()), state)
    with torch.no_grad():
        loaded.fusion.bias += 1
    assert (state["fusion.bias"] == 0).all()


def test_scalings_stay_in_float64():
    scalings = tuple((np.full(3 + m, 1e300), np.full(3 + m, 1e-300)) for m in range(3))
    state = network_state(build_network(make(scalings=scalings)))
    assert state["scalers.0.mean"].dtype == np.float64
    assert (state["scalers.0.scale"] == 1e-300).all()


def test_codes_have_no_scaler():
    plan = make(scalings=(None, None, None))
    network = build_network(plan)
    assert not any(name.startswith("scalers") for name in network_state(network))


def test_plan_is_plain_and_pickles():
    plan = make()
    again = pickle.loads(pickle.dumps(plan))
    assert again.names == plan.names == ["audio", "text", "video"]
    assert again.terms == plan.terms
    assert_same_state(network_state(build_network(again)), network_state(build_network(plan)))
    assert b"torch" not in pickle.dumps(plan)


def test_network_knows_the_names_for_messages():
    assert build_network(make()).modality_names == ["audio", "text", "video"]


# Codes

CODES = np.tile([[0, 1, 2], [2, 1, -1]], (10, 1))
Y = np.tile([0, 1], 10)


def coded(codes):
    return {"words": codes, "audio": np.eye(2)[Y]}


@pytest.fixture(scope="module")
def of_codes():
    encoders = {"words": LSTMEncoder(vocabulary_size=3, hidden_dim=2), "audio": IdentityEncoder()}
    est = MNLClassifier(encoders=encoders, max_epochs=2, missing="mask", random_state=0)
    with pytest.warns(UserWarning):  # too few epochs to learn anything
        return est.fit(coded(CODES), Y)


@pytest.mark.parametrize("form", [np.asarray, LazyArray], ids=["memory", "disk"])
def test_fractions_where_fit_saw_codes_are_refused(of_codes, form):
    fractions = CODES + np.where(np.arange(20) == 7, 0.5, 0.0)[:, None]
    match = r"^modality 'words': expected integer codes, .*, got (0|2).5 \(float64"
    for use in (of_codes.predict, of_codes.contributions):
        with pytest.raises(InputError, match=match):
            use(coded(form(fractions)))
    with pytest.raises(InputError, match=match):
        clone(of_codes).fit(coded(CODES), Y, X_val=coded(form(fractions)), y_val=Y)
    with pytest.raises(InputError, match=match):
        copy.deepcopy(of_codes).partial_fit(coded(form(fractions)), Y)


def test_fractions_where_fit_saw_integers_for_a_module_of_codes_are_refused():
    encoder = ModuleEncoder(module=lambda layout: None, codes=True)
    layouts = (ModalityLayout("words", (2,), "int64"),)
    plan = make(layouts=layouts, encoders=(encoder,), terms=((0,),), scalings=(None,))
    whole, half = (ModalityData([ModalityBlock("words", np.full((2, 2), v))]) for v in (1.0, 1.5))
    assert in_plan_order(plan, whole).blocks[0].values.tolist() == [[1.0, 1.0]] * 2
    with pytest.raises(InputError, match=r"'words': expected integer codes, as in fit \(int64\)"):
        in_plan_order(plan, half)


def test_codes_may_be_whole_floats_after_the_fit_since_missing_rows_are_nan(of_codes):
    floats = CODES.astype(float)
    expected = of_codes.decision_function(coded(CODES))
    np.testing.assert_array_equal(of_codes.decision_function(coded(floats)), expected)
    floats[3] = np.nan
    found = of_codes.decision_function(coded(floats))
    np.testing.assert_allclose(np.delete(found, 3), np.delete(expected, 3), rtol=1e-12)


def test_numbers_of_an_integer_modality_may_be_fractions_after_the_fit():
    layouts = (ModalityLayout("count", (1,), "int64"),)
    plan = make(layouts=layouts, encoders=(LinearEncoder(),), terms=((0,),), scalings=(None,))
    data = ModalityData([ModalityBlock("count", np.array([[0.5], [1.5]]))])
    assert in_plan_order(plan, data).blocks[0].values.tolist() == [[0.5], [1.5]]
