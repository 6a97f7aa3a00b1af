"""A fit that dies goes on where it was, to the last bit; a checkpoint of another fit is refused."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import is_classifier
from torch import nn

import sklearn_mmfusion
from sklearn_mmfusion import (
    SGD,
    CheckpointError,
    CheckpointWarning,
    DivergedError,
    EstimatorEncoder,
    InTenseClassifier,
    LinearEncoder,
    MNLClassifier,
    MNLRegressor,
    ModuleEncoder,
    MROClassifier,
    RoutingClassifier,
)
from sklearn_mmfusion._persistence.files import ESTIMATORS
from sklearn_mmfusion._state import tensor_files as tensor_files
from sklearn_mmfusion._training import checkpoint as checkpoints
from sklearn_mmfusion._training.checkpoint import KIND, Checkpoint

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{category}")
    for category in (
        "sklearn.exceptions.ConvergenceWarning",
        "sklearn_mmfusion.RelevanceWarning",
    )
]

TRAINED = [name for name in ESTIMATORS if not name.startswith("MKL")]
FAST = ("EarlyFusionClassifier", "InTenseClassifier", "MulTClassifier", "RoutingClassifier")


class _Died(Exception):
    """Stands for the end of the process."""


def _data(n=40, n_classes=2):
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(n, 4)), "b": rng.normal(size=(n, 3))}
    return X, rng.integers(0, n_classes, n)


@pytest.fixture
def dies(monkeypatch):
    """Let the fit die after it has written so many times."""
    keep, finish = Checkpoint.keep, Checkpoint.finish
    left = {"writes": 0, "all": 0}

    def counted(method):
        def call(self, *args):
            left["all"] += 1
            method(self, *args)
            left["writes"] -= 1
            if left["writes"] == 0:
                raise _Died

        return call

    monkeypatch.setattr(checkpoints, "_SHARE", 0.0)
    monkeypatch.setattr(Checkpoint, "keep", counted(keep))
    monkeypatch.setattr(Checkpoint, "finish", counted(finish))
    return left


def _fit_through_deaths(make, data, dies, every):
    """Fit, die every few writes, and start anew, each time with a new estimator."""
    n_deaths = 0
    while True:
        est = make()
        dies["writes"] = every
        try:
            return est.fit(*data), n_deaths
        except _Died:
            n_deaths += 1


def _assert_same(left, right):
    assert left._result.state.keys() == right._result.state.keys()
    for name, value in left._result.state.items():
        np.testing.assert_array_equal(value, right._result.state[name], err_msg=name)
    assert left.n_iter_ == right.n_iter_
    assert left.history_ == right.history_
    assert left._result.reg == right._result.reg
    assert left._result.gain == right._result.gain or np.isnan(left._result.gain)
    assert left._result.training.stopped == right._result.training.stopped


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in TRAINED]
)
def test_fit_that_dies_again_and_again_ends_as_one_that_does_not(name, dies, tmp_path):
    X, y = _data()
    kind = getattr(sklearn_mmfusion, name)
    y = y if is_classifier(kind()) else y * 1.5

    one = {"modality": "a"} if name.startswith("Unimodal") else {}

    def make(path=tmp_path / "c"):
        return kind(max_epochs=2, random_state=0, batch_size=16, checkpoint=path, **one)

    whole = make(None).fit(X, y)
    resumed, n_deaths = _fit_through_deaths(make, (X, y), dies, 2)
    assert n_deaths >= 1
    _assert_same(whole, resumed)
    assert not os.listdir(tmp_path)


def without_dropout(layout):
    return nn.Linear(layout.shape[0], 3)


def with_dropout_of_torch(layout):
    return nn.Sequential(nn.Linear(layout.shape[0], 3), nn.Dropout(0.5))


@pytest.mark.parametrize("every", [2, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "params",
    [
        {"early_stopping": True, "n_iter_no_change": 1, "max_epochs": 6},
        {"optimizer": SGD(), "lr": 0.01, "modality_dropout": 0.3},
        {"dtype": "float32", "lr_decay": 0.9},
        {"encoders": LinearEncoder(dropout=0.5), "reg": 0.01},
        {"encoders": ModuleEncoder(module=with_dropout_of_torch)},
        {"encoders": ModuleEncoder(module=without_dropout), "modality_dropout": 0.3},
    ],
    ids=["early stopping", "SGD", "float32", "dropout", "dropout of torch", "own module"],
)
def test_every_state_of_training_is_kept(params, every, dies, tmp_path):
    data = _data()

    def make(path=tmp_path / "c"):
        given = {"max_epochs": 3, "batch_size": 16, "random_state": 3, "reg": 0.01, "polish": False}
        return InTenseClassifier(checkpoint=path, **given | params)

    _assert_same(make(None).fit(*data), _fit_through_deaths(make, data, dies, every)[0])


def test_orders_that_are_trained_one_after_the_other_go_on(dies, tmp_path):
    data = _data()

    def make(path=tmp_path / "c"):
        return MROClassifier(schedule="sequential", max_epochs=3, random_state=0, checkpoint=path)

    _assert_same(make(None).fit(*data), _fit_through_deaths(make, data, dies, 2)[0])


def test_warm_start_and_cross_fitted_encoders_go_on(dies, tmp_path):
    from sklearn.linear_model import LogisticRegression

    data = _data()
    encoders = {"a": EstimatorEncoder(LogisticRegression(), cv=2)}
    first = MNLClassifier(encoders=encoders, max_epochs=2, random_state=0).fit(*data)

    def make(path=tmp_path / "c"):
        import copy

        return copy.deepcopy(first).set_params(warm_start=True, checkpoint=path)

    _assert_same(make(None).fit(*data), _fit_through_deaths(make, data, dies, 1)[0])


def test_seed_that_was_drawn_is_kept(dies, tmp_path):
    data = _data()
    rng = np.random.RandomState(5)
    drawn = [int(rng.randint(2**31 - 1)) for _ in range(3)]
    seeds = iter(drawn)

    class Drawer:
        def randint(self, high):
            return next(seeds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sklearn_mmfusion._base.check_random_state", lambda state: Drawer())

        def make():
            return MNLClassifier(max_epochs=3, checkpoint=tmp_path / "c")

        dies["writes"] = 2
        with pytest.raises(_Died):
            make().fit(*data)
        resumed = make().fit(*data)
    assert resumed._result.plan.seed == drawn[0]


def test_fit_that_ended_leaves_no_file_so_that_other_data_can_follow(tmp_path):
    X, y = _data()
    est = MNLClassifier(max_epochs=2, random_state=0, checkpoint=tmp_path / "c")
    est.fit(X, y)
    assert not os.listdir(tmp_path)
    est.fit({"a": X["a"] + 1, "b": X["b"]}, y)


def test_partial_fit_writes_no_checkpoint(tmp_path):
    MNLClassifier(random_state=0, checkpoint=tmp_path / "c").partial_fit(*_data())
    assert not os.listdir(tmp_path)


def test_writing_takes_little_of_the_time(tmp_path, monkeypatch):
    clock = {"now": 0.0, "writes": 0}
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: clock["now"])

    def write(*args):
        clock["now"] += 2.0
        clock["writes"] += 1

    monkeypatch.setattr(checkpoints, "write_file", write)
    checkpoint = Checkpoint(tmp_path / "c", {}, 0, keeps_seed=False)
    none = np.zeros(0, np.uint8)
    progress = checkpoints.Progress([], {}, None, 0.0, 0, 0, {}, {}, none, none)
    for _ in range(1000):
        clock["now"] += 1.0
        checkpoint.keep("key", lambda: progress)
    # 1000 seconds of training; a write of 2 seconds every 40.
    assert 20 <= clock["writes"] <= 26


# -- checkpoints of other fits -----------------------------------------------------------------


@pytest.fixture
def begun(dies, tmp_path):
    """Parameters and data of a fit that has died, with a checkpoint."""
    params = {"max_epochs": 3, "random_state": 0, "checkpoint": tmp_path / "c"}
    data = _data()
    dies["writes"] = 2
    with pytest.raises(_Died):
        MNLClassifier(**params).fit(*data)
    return params, data


def _shifted(X, y):
    return {"a": X["a"], "b": X["b"] + 1e-9}, y


def _other_target(X, y):
    return X, 1 - y


def _fewer(X, y):
    return {name: value[:-1] for name, value in X.items()}, y[:-1]


@pytest.mark.parametrize(
    ("params", "change", "text"),
    [
        ({"lr": 0.1}, None, "parameter lr .'auto' there, 0.1 here"),
        ({"random_state": 1}, None, "seed"),
        ({"encoders": LinearEncoder(dropout=0.5)}, None, "parameter encoders"),
        ({}, _shifted, "modality 'b'"),
        ({}, _other_target, "target"),
        ({}, _fewer, "shape .40, 4.*shape .39, 4"),
    ],
    ids=["lr", "seed", "encoders", "values", "target", "rows"],
)
def test_checkpoint_of_another_fit_is_refused_and_kept(params, change, text, begun):
    given, (X, y) = begun
    content = given["checkpoint"].read_bytes()
    X, y = (X, y) if change is None else change(X, y)
    with pytest.raises(CheckpointError, match=rf"another fit.*{text}.*delete"):
        MNLClassifier(**{**given, **params}).fit(X, y)
    assert given["checkpoint"].read_bytes() == content


def test_checkpoint_of_another_estimator_or_version_is_refused(begun, monkeypatch):
    given, data = begun
    with pytest.raises(CheckpointError, match="estimator .MNLClassifier there, RoutingClassifier"):
        RoutingClassifier(**given).fit(*data)
    with pytest.raises(CheckpointError, match="sample_weight"):
        MNLClassifier(**given).fit(*data, sample_weight=np.linspace(1, 2, 40))
    with pytest.raises(CheckpointError, match="groups"):
        MNLClassifier(**given).fit(*data, groups=np.arange(40) // 4)
    monkeypatch.setattr(torch, "__version__", "9.9")
    with pytest.raises(CheckpointError, match="version of torch"):
        MNLClassifier(**given).fit(*data)


def test_other_validation_rows_are_refused_and_the_same_go_on(dies, tmp_path):
    (X, y), valid = _data(), _data(20)
    held = {"X_val": valid[0], "y_val": valid[1]}

    def make(path=tmp_path / "c"):
        return MNLClassifier(max_epochs=3, random_state=0, batch_size=16, checkpoint=path)

    dies["writes"] = 2
    with pytest.raises(_Died):
        make().fit(X, y, **held)
    content = (tmp_path / "c").read_bytes()
    others = [
        ({}, "X_val .shape .20, 4.*there, none here"),
        (held | {"X_val": _shifted(*valid)[0]}, r"differ: modality 'b' of X_val \("),
        (held | {"y_val": 1 - valid[1]}, r"differ: y_val \("),
    ]
    for other, text in others:
        with pytest.raises(CheckpointError, match=rf"another fit.*{text}"):
            make().fit(X, y, **other)
    assert (tmp_path / "c").read_bytes() == content
    written = dies["all"]
    resumed = make().fit(X, y, **held)
    resumed_writes, written = dies["all"] - written, dies["all"]
    whole = make(tmp_path / "other").fit(X, y, **held)
    assert resumed_writes < dies["all"] - written  # it did not begin anew
    _assert_same(whole, resumed)


def test_what_does_not_change_a_fit_may_differ(begun):
    given, data = begun
    MNLClassifier(**given, verbose=0).fit(*data)


def test_any_flipped_byte_is_reported_and_nothing_restored(begun):
    given, data = begun
    content = given["checkpoint"].read_bytes()
    for place in np.linspace(0, len(content) - 1, 50).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 1
        given["checkpoint"].write_bytes(damaged)
        with pytest.raises(CheckpointError, match="delete it"):
            MNLClassifier(**given).fit(*data)
        assert given["checkpoint"].read_bytes() == damaged


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no checkpoint", bytes(1000)])
def test_file_that_is_no_checkpoint_is_never_overwritten(content, tmp_path):
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        MNLClassifier(max_epochs=2, random_state=0, checkpoint=tmp_path / "c").fit(*_data())
    assert (tmp_path / "c").read_bytes() == content


def test_model_file_is_no_checkpoint(tmp_path):
    est = MNLClassifier(max_epochs=2, random_state=0).fit(*_data())
    est.save(tmp_path / "c")
    with pytest.raises(CheckpointError, match="'sklearn-mmfusion model'"):
        est.set_params(checkpoint=tmp_path / "c").fit(*_data())


def test_progress_that_does_not_fit_the_model_is_reported(begun):
    given, data = begun
    document, arrays = tensor_files.read_file(given["checkpoint"], KIND)
    (key,) = document["running"]
    name = document["running"][key]["weights"]["fusion.weight"]
    arrays[name] = arrays[name][:, 1:]
    tensor_files.write_file(given["checkpoint"], KIND, document, arrays)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        MNLClassifier(**given).fit(*data)


# -- places that cannot be written to ----------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [("none/c", "create the directory"), (".", "it is a directory"), ("file/c", "Not a directory")],
)
def test_place_is_checked_before_training(path, text, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("sklearn_mmfusion._fitting.fit.train", None)
    with pytest.raises(CheckpointError, match=text):
        MNLClassifier(checkpoint=tmp_path / path, random_state=0).fit(*_data())


def test_full_disk_warns_once_and_the_fit_goes_on(tmp_path, monkeypatch):
    def full(path, parts, error):
        raise error("cannot write: No space left on device")

    expected = MNLClassifier(max_epochs=3, random_state=0).fit(*_data())
    monkeypatch.setattr(tensor_files, "write_atomically", full)
    monkeypatch.setattr(checkpoints, "_SHARE", 0.0)
    with pytest.warns(CheckpointWarning, match=r"No space.*without checkpoint") as caught:
        est = MNLClassifier(max_epochs=3, random_state=0, checkpoint=tmp_path / "c").fit(*_data())
    assert sum(issubclass(w.category, CheckpointWarning) for w in caught) == 1
    _assert_same(expected, est)


def test_diverged_fit_leaves_no_checkpoint_since_it_would_diverge_again(tmp_path):
    X, y = _data()
    est = MNLRegressor(lr=1e30, max_epochs=20, random_state=0, checkpoint=tmp_path / "c")
    with pytest.raises(DivergedError):
        est.fit(X, y * 1.0)
    assert not os.listdir(tmp_path)


# -- processes that are killed -----------------------------------------------------------------

KILLS = """
import multiprocessing, os, signal, sys, time, warnings
from pathlib import Path
import numpy as np
from sklearn_mmfusion import InTenseClassifier
from sklearn_mmfusion._training import checkpoint as checkpoints

def fit(checkpoint, result):
    checkpoints._SHARE = 0.0  # write after every epoch: most kills fall into a write
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(100, 4)), "b": rng.normal(size=(100, 3))}
    est = InTenseClassifier(max_epochs=6, batch_size=32, random_state=0, checkpoint=checkpoint)
    est.fit(X, X["a"][:, 0] * X["b"][:, 0] > 0).save(result)

# A fork has everything loaded: the kills fall into the fit itself.
context = multiprocessing.get_context("fork")
rng = np.random.default_rng(0)
place = Path(sys.argv[1])
whole = place / "whole"
begin = time.monotonic()
process = context.Process(target=fit, args=(None, whole))
process.start()
process.join()
longest = time.monotonic() - begin
for trial in range(3):
    here = place / str(trial)
    here.mkdir()
    for _ in range(4):
        process = context.Process(target=fit, args=(here / "c", here / "model"))
        process.start()
        time.sleep(rng.uniform(0.02, 0.5) * longest)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    process = context.Process(target=fit, args=(here / "c", here / "model"))
    process.start()
    process.join()
    print(process.exitcode, os.listdir(here), (here / "model").read_bytes() == whole.read_bytes())
"""


@pytest.mark.slow
def test_fit_that_is_killed_again_and_again_goes_on_bit_for_bit(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["0 ['model'] True"] * 3, done.stderr
