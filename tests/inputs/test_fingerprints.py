"""Descriptions of fits: equal for equal ones in every process, and different for others."""

import re

import numpy as np
import pytest
from skorch.callbacks import EpochScoring
from torch import nn

from sklearn_mmfusion import AdamW, GRUEncoder, MNLClassifier, ModuleEncoder
from sklearn_mmfusion._inputs.fingerprints import fingerprint
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData


def describe(est=None, values=None, target=None, weight=None, start=(), validation=None):
    values = np.arange(6.0).reshape(3, 2) if values is None else values
    data = ModalityData([ModalityBlock("a", values)])
    target = np.array([0, 1, 1]) if target is None else target
    return fingerprint(est or MNLClassifier(), data, target, weight, start, validation)


def held_out(values, target):
    return ModalityData([ModalityBlock("a", np.array(values))]), np.array(target)


def factory(layout):
    return nn.Linear(layout.shape[0], 2)


def differing(left, right):
    return [name for name in left | right if left.get(name) != right.get(name)]


@pytest.mark.parametrize(
    "params",
    [
        {"encoders": {"a": GRUEncoder(hidden_dim=3)}, "optimizer": AdamW()},
        {"encoders": {"a": ModuleEncoder(module=factory)}, "callbacks": [EpochScoring("accuracy")]},
        {
            "modalities": {"a": slice(0, 2)},
            "class_weight": {0: 1.0},
            "net_params": {"x": [1, (2,)]},
        },
        {"encoders": ModuleEncoder(module=lambda layout: nn.Linear(2, 2))},
    ],
)
def test_equal_fits_are_described_alike_and_without_addresses(params):
    import copy

    left = describe(MNLClassifier(**params))
    right = describe(MNLClassifier(**copy.deepcopy(params)))
    assert left == right
    assert not re.search(r"0x[0-9a-f]{6}", str(left))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"est": MNLClassifier(p=2)}, "parameter p"),
        ({"est": MNLClassifier(encoders={"a": GRUEncoder()})}, "parameter encoders"),
        ({"values": np.arange(6.0).reshape(3, 2) + [0, 1e-15]}, "modality 'a'"),
        ({"values": np.arange(6).reshape(3, 2)}, "modality 'a'"),
        ({"target": np.array([0, 1, 0])}, "target"),
        ({"weight": np.ones(3)}, "sample_weight"),
        ({"start": [np.ones(2)]}, "weights to start from"),
    ],
)
def test_each_part_of_a_fit_has_its_own_name(change, name):
    assert differing(describe(), describe(**change)) == [name]


def test_held_out_rows_and_their_target_have_their_own_names():
    given = describe(validation=held_out([[1.0, 2.0]], [1]))
    assert set(differing(describe(), given)) == {"modality 'a' of X_val", "y_val"}
    moved = describe(validation=held_out([[1.0, 2.1]], [1]))
    assert differing(given, moved) == ["modality 'a' of X_val"]
    assert differing(given, describe(validation=held_out([[1.0, 2.0]], [0]))) == ["y_val"]
    assert differing(given, describe(validation=held_out([[1.0, 2.0]], [1]))) == []


def test_weights_of_a_module_and_code_of_a_function_count():
    module = nn.LayerNorm(2)  # its weights are not drawn
    before = describe(MNLClassifier(encoders=ModuleEncoder(module=module)))
    module.weight.data[0] += 1
    after = describe(MNLClassifier(encoders=ModuleEncoder(module=module)))
    assert differing(before, after) == ["parameter encoders"]
    one = describe(MNLClassifier(encoders=ModuleEncoder(module=lambda layout: nn.Linear(2, 2))))
    two = describe(MNLClassifier(encoders=ModuleEncoder(module=lambda layout: nn.Linear(2, 3))))
    assert differing(one, two) == ["parameter encoders"]


def test_what_does_not_decide_a_fit_is_left_out():
    left = describe(MNLClassifier())
    right = describe(MNLClassifier(verbose=1, checkpoint="x", random_state=3))
    assert left == right
