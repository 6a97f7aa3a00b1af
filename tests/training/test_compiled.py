"""Fits through torch.compile: those of eager training, wherever they come from."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from fleet import ALL_ESTIMATORS, JOINT, family, small
from sklearn.base import clone, is_classifier
from torch import nn

from sklearn_mmfusion import (
    CompileError,
    FusionError,
    GRUEncoder,
    InTenseClassifier,
    LinearEncoder,
    MLPEncoder,
    MNLClassifier,
    load,
)
from sklearn_mmfusion._training.compiled import CompiledForward, compiled
from sklearn_mmfusion._training.epochs import EpochKeeper
from sklearn_mmfusion.modules.dropout import Dropout, MaskTape, set_dropout_generator
from sklearn_mmfusion.modules.network import FusionBatch

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
    "max_epochs": 2,
    "early_stopping": True,
    "missing": "mask",
    "modality_dropout": 0.1,
    "latent_dim": 2,
    "reg": 0.01,  # with "auto" there would be several networks
    "polish": False,
    "random_state": 0,
}


class Calls:
    """What torch.compile was asked for, and how often the results were called."""

    def __init__(self, backend):
        self.compile, self.backend = torch.compile, backend
        self.options, self.sizes, self.graphs = [], [], 0

    def __call__(self, function, **options):
        self.options.append(options)
        options = {key: value for key, value in options.items() if key != "options"}
        made = self.compile(function, backend=self.count, **options)

        def run(batch):
            self.sizes.append(len(batch))
            return made(batch)

        return run

    def count(self, graph, inputs):
        self.graphs += 1
        return self.backend(graph, inputs)


@pytest.fixture
def calls(monkeypatch):
    """torch.compile that takes the network apart and puts it together, but compiles nothing."""
    found = Calls(lambda graph, inputs: graph.forward)
    monkeypatch.setattr(torch, "compile", found)
    return found


def _fit(cls=InTenseClassifier, **changes):
    return cls(**(PARAMS | changes)).fit(X, Y)


def _assert_same(one, other):
    a, b = one._result.state, other._result.state
    assert a.keys() == b.keys()  # no name of what is compiled
    for name, value in a.items():
        np.testing.assert_allclose(b[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    assert one.n_iter_ == other.n_iter_
    np.testing.assert_allclose(
        other.decision_function(X), one.decision_function(X), rtol=1e-5, atol=1e-5
    )


def test_whole_batches_are_compiled_once_and_the_others_run_eagerly(calls):
    _assert_same(_fit(), _fit(compile=True))
    assert set(calls.sizes) == {20}
    # One graph for each network, and every masked and dropped part in it.
    assert calls.graphs == len(calls.options) > 0
    for options in calls.options:
        assert options["dynamic"] is False
        assert options["options"] == {"compile_threads": 1, "triton.cudagraphs": False}


@pytest.mark.slow
@pytest.mark.parametrize(
    "cls", [c for c in ALL_ESTIMATORS if hasattr(c, "partial_fit")], ids=lambda cls: cls.__name__
)
def test_every_estimator_compiles_to_the_eager_fit(cls, calls):
    changes = {"batch_size": 20, "modality_dropout": 0.1, "dropout": 0.1, "early_stopping": False}
    if family(cls) not in JOINT:
        changes["encoders"] = LinearEncoder(dropout=0.1)
    if family(cls) == "Unimodal":
        changes["modality"] = "a"
    target = Y if is_classifier(cls()) else X["b"][:, 0]
    fits = [
        small(cls, missing="mask", compile=compile, **changes).fit(X, target)
        for compile in (False, True)
    ]
    states = [est._result.state for est in fits]
    for name, value in states[0].items():
        np.testing.assert_allclose(states[1][name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    assert 20 in calls.sizes


@pytest.mark.slow
def test_sequences_of_any_length_are_compiled_once(calls):
    steps = RNG.normal(size=(N, 8, 2))
    for row, length in zip(steps, RNG.integers(1, 9, N), strict=True):
        row[length:] = np.nan
    sequences = {"a": steps, "b": X["b"]}
    params = PARAMS | {"encoders": {"a": GRUEncoder(hidden_dim=3), "b": LinearEncoder()}}
    graphs = []
    for epochs in (2, 5):
        params["max_epochs"] = epochs
        expected = InTenseClassifier(**params).fit(sequences, Y)
        before = calls.graphs
        found = InTenseClassifier(**params, compile=True).fit(sequences, Y)
        graphs.append(calls.graphs - before)
        for name, value in expected._result.state.items():
            np.testing.assert_allclose(found._result.state[name], value, rtol=1e-5, atol=1e-5)
    # torch does not look into recurrent layers: there are several parts, but no more with time.
    assert graphs[0] == graphs[1] > 1


@pytest.mark.slow
def test_many_fits_share_no_limit(calls):
    # torch gives up after eight versions of one function.
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", message="the model is not shown")
        warnings.filterwarnings("ignore", message="training had not converged")
        fits = [
            MNLClassifier(
                encoders=LinearEncoder(),
                batch_size=20,
                max_epochs=1,
                reg=0.01,
                polish=False,
                early_stopping=True,
                compile=True,
                random_state=i,
            ).fit({"b": X["b"]}, Y)
            for i in range(10)
        ]
    assert len(fits) == calls.graphs == len(calls.options) == 10
    assert len(calls.sizes) == 10


@pytest.mark.slow
def test_a_batch_of_everything_is_compiled(calls):
    full = {"batch_size": N, "max_epochs": 3, "early_stopping": False}
    _assert_same(_fit(**full), _fit(**full, compile=True))
    assert N in calls.sizes


def test_bfloat16_is_compiled(calls):
    _assert_same(_fit(dtype="bfloat16"), _fit(dtype="bfloat16", compile=True))
    assert calls.graphs == len(calls.options)


def test_partial_fit_goes_on_with_what_is_compiled(calls):
    fits = [MNLClassifier(**_without("latent_dim"), compile=compile) for compile in (False, True)]
    for _ in range(3):
        for est in fits:
            est.partial_fit(X, Y, classes=[0, 1])
    _assert_same(*fits)
    assert len(calls.options) == 1
    assert len(calls.sizes) == 3 * 3 - 1  # all whole batches but the first


def _without(name):
    return {key: value for key, value in PARAMS.items() if key != name}


@pytest.mark.slow
def test_a_compiled_fit_pickles_copies_and_saves(calls, tmp_path):
    est = _fit(compile=True)
    expected = est.decision_function(X)
    for twin in (pickle.loads(pickle.dumps(est)), clone(est).fit(X, Y)):
        np.testing.assert_array_equal(twin.decision_function(X), expected)
    assert not any("_orig_mod" in name for name in est._result.state)
    est.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.compile is True
    np.testing.assert_array_equal(loaded.decision_function(X), expected)
    part = MNLClassifier(**_without("latent_dim"), compile=True).partial_fit(X, Y)
    again = pickle.loads(pickle.dumps(part))
    np.testing.assert_array_equal(again.decision_function(X), part.decision_function(X))


@pytest.mark.slow
@pytest.mark.parametrize("compile", [False, True])
def test_a_checkpoint_goes_on_to_the_same_fit(calls, tmp_path, compile):
    path = tmp_path / "fit.checkpoint"
    params = {"max_epochs": 4, "compile": compile}
    expected = _fit(**params)
    est = InTenseClassifier(**PARAMS | params, checkpoint=path)
    with pytest.MonkeyPatch.context() as patch:
        whole = EpochKeeper.on_epoch_end

        def dying(self, net, **kwargs):
            whole(self, net, **kwargs)
            if len(net.history) == 2:
                raise SystemExit

        patch.setattr(EpochKeeper, "on_epoch_end", dying)
        with pytest.raises(SystemExit):
            est.fit(X, Y)
    assert path.exists()
    est.fit(X, Y)
    _assert_same(expected, est)


def test_a_missing_compiler_is_named_with_the_parameter_and_the_remedy(monkeypatch):
    def none_here(graph, inputs):
        raise OSError("no working C++ compiler found")

    monkeypatch.setattr(torch, "compile", Calls(none_here))
    with pytest.raises(CompileError, match=r"compile=True: .*C\+\+ compiler.*compile=False") as at:
        _fit(compile=True)
    assert isinstance(at.value, FusionError)
    assert isinstance(at.value, RuntimeError)


def test_a_python_that_torch_does_not_know_is_named(monkeypatch):
    def refuse(function, **options):
        raise RuntimeError("torch.compile is not supported on Python 9")

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(CompileError, match=r"compile=True: .*Python 9.*compile=False"):
        _fit(compile=True)


def test_compile_is_a_boolean():
    with pytest.raises(ValueError, match="'compile' parameter"):
        _fit(compile="yes")


def test_a_gpu_replays_cuda_graphs(calls):
    compiled(lambda batch: batch, torch.device("cuda"))
    assert calls.options[-1]["options"]["triton.cudagraphs"] is True


# -- masks that are drawn before a step --------------------------------------------------------


def test_masks_from_a_tape_are_those_without_one():
    def run(tape):
        module = nn.Sequential(Dropout(0.5), Dropout(0.25), Dropout(0.0))
        set_dropout_generator(module, torch.Generator().manual_seed(0))
        outputs = []
        for step in range(4):
            for dropout in module:
                dropout.strength = 1.0 - step / 3  # the last is none
            if tape is not None:
                for dropout in module:
                    dropout.tape = tape
                if step == 0:
                    tape.begin_recording()
                else:
                    tape.is_recording = False
                    tape.draw()
                    tape.is_playing = True
                tape.rewind()
            outputs.append(module(torch.ones(3, 5)))
        return torch.stack(outputs)

    assert torch.equal(run(None), run(MaskTape()))


def test_an_eager_step_between_compiled_ones_takes_nothing_from_the_tape(calls):
    network = _fit(max_epochs=1)._modules()[0].float().train().requires_grad_(True)
    network.set_generator(torch.Generator().manual_seed(0))
    forward = CompiledForward(network, 20)

    def batch(n):
        values = [torch.ones(n, 4) for _ in range(2)]
        return FusionBatch(values, [None] * 2, [torch.ones(n, dtype=torch.bool)] * 2)

    sizes = [20, 20, 6, 20]
    found = [forward(batch(n)) for n in sizes]
    assert calls.sizes == [20, 20]
    network.set_tape(None)
    network.set_generator(torch.Generator().manual_seed(0))
    # Outputs depend on the masks alone: statistics are those of each batch.
    for n, output in zip(sizes, found, strict=True):
        torch.testing.assert_close(network(batch(n)), output)


# -- the compiler itself -----------------------------------------------------------------------


@pytest.mark.slow
def test_what_a_compiler_makes_trains_the_same_model_and_leaves_no_trace():
    params = {
        "encoders": MLPEncoder(hidden_dim=4, n_layers=1, dropout=0.2),
        "batch_size": 20,
        "max_epochs": 3,
        "polish": False,
        "early_stopping": True,
        "validation_fraction": 0.1,
        "random_state": 0,
        "reg": 0.01,
    }
    flat = {name: RNG.normal(size=(N, 3)) for name in "ab"}
    flags = torch.get_float32_matmul_precision(), torch.is_grad_enabled()
    one, other = (
        InTenseClassifier(**params, compile=compile).fit(flat, Y) for compile in (False, True)
    )
    for name, value in one._result.state.items():
        np.testing.assert_allclose(
            other._result.state[name], value, rtol=1e-5, atol=1e-5, err_msg=name
        )
    assert (torch.get_float32_matmul_precision(), torch.is_grad_enabled()) == flags
