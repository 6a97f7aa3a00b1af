"""No batch waits for a number: on a GPU that would wait for all that is under way there."""

import numpy as np
import pytest
import torch
from fleet import ALL_ESTIMATORS, JOINT, family, small
from sklearn.base import is_classifier
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_mmfusion import (
    SGD,
    Conv1dEncoder,
    GRUEncoder,
    InTenseClassifier,
    MLPEncoder,
    ModuleEncoder,
    SummaryEncoder,
    TransformerEncoder,
)
from sklearn_mmfusion._training.net import FusionNet
from sklearn_mmfusion.modules import sequences

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion.RelevanceWarning"),
]

N = 60
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, N)
FLAT = {name: RNG.normal(size=(N, 4)).astype(np.float32) for name in "ab"}
# What hands a number to Python, or has as many elements as numbers say: all wait for the device.
WAITS = (
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "_unique2",
    "equal",
    "repeat_interleave",
)


class Waited(AssertionError):
    pass


class NoWaiting(TorchDispatchMode):
    """Refuse the operations that wait, from Python and from within torch alike."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.seen.append(name)
        if name in WAITS:
            raise Waited(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def seen(monkeypatch):
    """Names of all operations of batches; those that wait are refused there."""
    names = []

    def watched(step):
        def run(self, *args, **kwargs):
            with NoWaiting(names):
                return step(self, *args, **kwargs)

        return run

    def taken(self, *args, **kwargs):
        raise Waited("to the CPU")

    def guarded(step):
        def run(self, *args, **kwargs):
            with pytest.MonkeyPatch.context() as patch:
                for method in ("cpu", "numpy", "tolist"):
                    patch.setattr(torch.Tensor, method, taken)
                return step(self, *args, **kwargs)

        return run

    def elsewhere(step):
        # What is made without the device of the batch would be made on the CPU, and copied: here it
        # has no values, and cannot be.
        def run(self, *args, **kwargs):
            with torch.device("meta"):
                return step(self, *args, **kwargs)

        return run

    for name in ("train_step", "validation_step"):
        monkeypatch.setattr(FusionNet, name, watched(guarded(getattr(FusionNet, name))))
    for name in ("infer", "get_loss"):
        monkeypatch.setattr(FusionNet, name, elsewhere(getattr(FusionNet, name)))
    # As on an accelerator: on a CPU nothing is lost by looking.
    monkeypatch.setattr(sequences, "_may_look_at", lambda x: False)
    return names


@pytest.mark.parametrize(
    "cls", [c for c in ALL_ESTIMATORS if hasattr(c, "partial_fit")], ids=lambda cls: cls.__name__
)
def test_batches_of_an_estimator_wait_for_nothing(cls, seen):
    changes = {} if family(cls) in JOINT else {"encoders": MLPEncoder(input_dropout=0.1)}
    if family(cls) == "Unimodal":
        changes["modality"] = "a"
    changes |= {"batch_size": 20, "early_stopping": True, "modality_dropout": 0.1, "dropout": 0.1}
    X = {name: values[:, None].repeat(3, 1) for name, values in FLAT.items()}
    X = X if family(cls) in JOINT else FLAT
    X = {name: values.copy() for name, values in X.items()}
    X["a"][::7] = np.nan
    y = LABELS if is_classifier(cls()) else FLAT["a"][:, 0]
    small(cls, missing="mask", **changes).fit(X, y, sample_weight=RNG.uniform(0.5, 1, N))
    assert len(seen) > 100


@pytest.mark.parametrize(
    "encoder",
    [
        GRUEncoder(batch_norm=True, bidirectional=True, hidden_dim=3),
        Conv1dEncoder(),
        TransformerEncoder(hidden_dim=4, n_heads=1, n_layers=1),
        SummaryEncoder(),
        GRUEncoder(vocabulary_size=5, hidden_dim=3),
    ],
    ids=str,
)
def test_batches_of_sequences_wait_for_nothing(encoder, seen):
    lengths = RNG.integers(1, 5, N)
    if encoder.get_params().get("vocabulary_size"):
        codes = RNG.integers(0, 5, (N, 5))
        X = {"a": np.where(np.arange(5) < lengths[:, None], codes, -1)}
    else:
        X = {"a": [RNG.normal(size=(length, 3)) for length in lengths]}
    X["b"] = FLAT["b"]
    InTenseClassifier(
        encoders={"a": encoder, "b": MLPEncoder()},
        max_epochs=1,
        batch_size=20,
        optimizer=SGD(),
        random_state=0,
    ).fit(X, LABELS)
    assert len(seen) > 100


class Curious(nn.Module):
    def __init__(self, look):
        super().__init__()
        self.weight, self.look = nn.Parameter(torch.ones(4, 2)), look

    def forward(self, values):
        self.look(values.detach())
        return values @ self.weight


@pytest.mark.parametrize(
    "look",
    [torch.Tensor.item, bool, float, torch.nonzero, lambda x: x.cpu()],
    ids=["item", "bool", "float", "nonzero", "cpu"],
)
def test_a_module_that_waits_is_found(look, seen):
    curious = Curious(lambda x: look(x[:1, 0]))
    encoder = ModuleEncoder(module=curious, output_dim=2)
    with pytest.raises(Waited):
        InTenseClassifier(encoders=encoder, max_epochs=1, batch_size=20, random_state=0).fit(
            FLAT, LABELS
        )
