"""Steps that are recorded and replayed, with a record that calls what it recorded.

What a GPU makes of them is in test_gpu_graphs.py.
"""

import gc
import pickle
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from fleet import ALL_ESTIMATORS, JOINT, family, small
from sklearn.base import clone, is_classifier
from skorch.callbacks import Callback, GradientNormClipping

from sklearn_mmfusion import (
    CompileError,
    GRUEncoder,
    InTenseClassifier,
    LinearEncoder,
    MLPEncoder,
    MNLClassifier,
    ModuleEncoder,
)
from sklearn_mmfusion._training import graphed as graphed
from sklearn_mmfusion.modules.dropout import Dropout, MaskTape, set_dropout_generator

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion.RelevanceWarning"),
]

N = 66  # 3 batches of 20, and one of 6
RNG = np.random.default_rng(0)
X = {name: RNG.normal(size=(N, 4)) for name in "ab"}
X["a"][::7] = np.nan
Y = RNG.integers(0, 2, N)
PARAMS = {
    "encoders": MLPEncoder(hidden_dim=4, dropout=0.2, input_dropout=0.1),
    "batch_size": 20,
    "max_epochs": 3,
    "missing": "mask",
    "modality_dropout": 0.1,
    "reg": 0.01,
    "polish": False,
    "random_state": 0,
}


class Records:
    """What was recorded, and how often each record was replayed."""

    def __init__(self):
        self.replays = []

    def __call__(self, function, device):
        place = len(self.replays)
        self.replays.append(0)
        made = record(function, device)

        def replay():
            self.replays[place] += 1
            return made()

        return replay


record = graphed._recorded


@pytest.fixture
def records(monkeypatch):
    """Steps are recorded on the CPU too."""
    found = Records()
    monkeypatch.setattr(graphed, "_TYPES", {"cpu"})
    monkeypatch.setattr(graphed, "_recorded", found)
    return found


def _fit(cls=InTenseClassifier, **changes):
    return cls(**(PARAMS | changes)).fit(X, Y)


def _assert_same(one, other):
    a, b = one._result.state, other._result.state
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_allclose(b[name], value, rtol=1e-9, atol=1e-9, err_msg=name)
    for mine, theirs in zip(one.history_, other.history_, strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-9)


def test_on_a_cpu_nothing_is_recorded(monkeypatch):
    def refuse(*args):
        raise AssertionError("recorded")

    monkeypatch.setattr(graphed, "_recorded", refuse)
    _assert_same(_fit(), _fit(compile="cudagraphs"))


def test_whole_batches_are_replayed_from_the_third_on(records):
    params = {"early_stopping": False}
    _assert_same(_fit(**params), _fit(compile="cudagraphs", **params))
    # The first fit is of some rows, the second of all: 9 whole batches in three epochs.
    assert records.replays[-1] == 7


@pytest.mark.parametrize(
    "cls", [c for c in ALL_ESTIMATORS if hasattr(c, "partial_fit")], ids=lambda cls: cls.__name__
)
def test_every_estimator_replays_the_eager_fit(cls, records):
    changes = {"batch_size": 20, "modality_dropout": 0.1, "dropout": 0.1}
    if family(cls) not in JOINT:
        changes["encoders"] = LinearEncoder(dropout=0.1)
    if family(cls) == "Unimodal":
        changes["modality"] = "a"
    target = Y if is_classifier(cls()) else X["b"][:, 0]
    weight = np.linspace(0.5, 1.5, N)
    fits = [
        small(cls, missing="mask", compile=compile, **changes).fit(X, target, sample_weight=weight)
        for compile in (False, "cudagraphs")
    ]
    _assert_same(*fits)
    assert sum(records.replays) > 0


def test_sequences_of_several_lengths_are_replayed_where_they_have_one_form(records):
    steps = RNG.normal(size=(N, 8, 2))
    for row, length in zip(steps, RNG.integers(1, 9, N), strict=True):
        row[length:] = np.nan
    encoders = {"a": GRUEncoder(hidden_dim=3, dropout=0.2), "b": LinearEncoder()}
    params = PARAMS | {"encoders": encoders}
    sequences = {"a": steps, "b": X["b"]}
    fits = [
        InTenseClassifier(**params, compile=compile).fit(sequences, Y)
        for compile in (False, "cudagraphs")
    ]
    _assert_same(*fits)
    assert sum(records.replays) > 0


def test_the_penalty_grows_in_what_was_recorded(records):
    params = {"max_epochs": 12, "early_stopping": True, "reg": 0.3}  # it grows over four epochs
    one, other = _fit(**params), _fit(compile="cudagraphs", **params)
    _assert_same(one, other)
    assert (
        np.abs(one.decision_function(X) - _fit(**params | {"reg": 1e-4}).decision_function(X)).max()
        > 1e-3
    )


def test_a_module_of_the_users_own_is_not_recorded(records):
    encoders = ModuleEncoder(module=partial(torch.nn.Linear, 4, 2))
    params = {"encoders": encoders, "missing": "raise", "modality_dropout": 0.0}
    flat = {"b": X["b"]}
    fits = [
        MNLClassifier(**PARAMS | params, compile=compile).fit(flat, Y)
        for compile in (False, "cudagraphs")
    ]
    _assert_same(*fits)
    assert records.replays == []


class Keeps(Callback):
    """Keeps what it is told at the end of each batch."""

    def initialize(self):
        self.found = []
        return self

    def on_batch_end(self, net, batch=None, training=False, loss=None, y_pred=None, **kwargs):
        if training:
            assert not kwargs
            self.found.append((loss, y_pred))


def test_callbacks_see_each_batch_and_may_change_gradients(records):
    kept = []
    for compile in (False, "cudagraphs"):
        keeps = Keeps()
        est = _fit(
            compile=compile, callbacks=[keeps, GradientNormClipping(0.01)], early_stopping=True
        )
        kept.append((est, keeps.found))
    _assert_same(kept[0][0], kept[1][0])
    assert records.replays
    for (loss, outputs), (other_loss, other_outputs) in zip(kept[0][1], kept[1][1], strict=True):
        torch.testing.assert_close(other_loss, loss)
        torch.testing.assert_close(other_outputs, outputs)


def test_partial_fit_goes_on_with_what_was_recorded(records):
    fits = [MNLClassifier(**PARAMS, compile=compile) for compile in (False, "cudagraphs")]
    for _ in range(3):
        for est in fits:
            est.partial_fit(X, Y, classes=[0, 1])
    _assert_same(*fits)
    assert records.replays == [7]  # of nine whole batches
    for est in fits:
        twin = pickle.loads(pickle.dumps(est))
        np.testing.assert_array_equal(twin.decision_function(X), est.decision_function(X))
        clone(est)


def test_a_fit_gives_its_graphs_back_at_once(monkeypatch):
    class Graph:
        def __init__(self, function):
            function()
            alive.append(weakref.ref(self))

        def replay(self):
            pass

    alive = []
    monkeypatch.setattr(graphed, "_TYPES", {"cpu"})
    monkeypatch.setattr(graphed, "_recorded", lambda function, device: Graph(function).replay)
    gc.collect()
    gc.disable()  # a circle would hold them
    try:
        est = _fit(compile="cudagraphs")
        assert len(alive) == 2
        assert all(graph() is None for graph in alive)
    finally:
        gc.enable()
    assert est.n_iter_ > 0


def test_what_cannot_be_recorded_is_named_with_the_remedy(records, monkeypatch):
    def refuse(function, device):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(graphed, "_recorded", refuse)
    with pytest.raises(CompileError, match=r"compile='cudagraphs': .*capturing\); set compile=Fal"):
        _fit(compile="cudagraphs")


def test_out_of_memory_is_not_called_a_step_that_cannot_be_recorded(records, monkeypatch):
    def refuse(function, device):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(graphed, "_recorded", refuse)
    with pytest.raises(MemoryError):
        _fit(compile="cudagraphs")


def test_masks_drawn_in_place_are_those_drawn_anew():
    def run(in_place):
        module = torch.nn.Sequential(Dropout(0.5), Dropout(1.0), Dropout(0.25))
        set_dropout_generator(module, torch.Generator().manual_seed(0))
        tape, outputs, places = MaskTape(), [], []
        for dropout in module:
            dropout.tape = tape
        tape.begin_recording()
        module(torch.ones(3, 5))
        tape.is_recording = False
        for step in range(4):
            for dropout in module:
                dropout.strength = 1.0 - step / 3  # the last is none
            tape.draw_in_place() if in_place else tape.draw()
            tape.rewind()
            tape.is_playing = True
            outputs.append(module(torch.ones(3, 5)))
            tape.is_playing = False
            places.append([mask.data_ptr() for mask in tape._drawn])
        return torch.stack(outputs), places

    expected, _ = run(in_place=False)
    found, places = run(in_place=True)
    assert torch.equal(found, expected)
    assert all(place == places[0] for place in places)
