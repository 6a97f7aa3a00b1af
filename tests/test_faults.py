"""What goes wrong around a fit: memory, signals, workers, processes."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklearn_mmfusion import (
    DivergedError,
    FusionMemoryError,
    InTenseClassifier,
    LinearEncoder,
    MNLClassifier,
    MNLRegressor,
    ModuleEncoder,
    ModuleError,
)
from sklearn_mmfusion.modules import batchnorm

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{category}")
    for category in (
        "sklearn.exceptions.ConvergenceWarning",
        "sklearn_mmfusion.RelevanceWarning",
    )
]

RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(40, 4)), "b": RNG.normal(size=(40, 3))}
Y = (X["a"][:, 0] > 0).astype(int)

MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


def run(script, *args, **kwargs):
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        **kwargs,
    )


# -- memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", MEMORY, ids=["numpy", "cuda", "cpu", "cublas"])
def test_no_memory_in_fit_is_one_error_with_sizes_and_remedy(error, monkeypatch):
    est = MNLClassifier(max_epochs=2, random_state=0).fit(X, Y)
    before = est.predict_proba(X)

    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr("sklearn_mmfusion._fitting.fit.train", fails)
    text = r"40 rows of 'a' \(4,\), 'b' \(3,\).*MiB.*batches of 40 on cpu.*lower batch_size"
    for method in (est.fit, est.partial_fit):
        with pytest.raises(FusionMemoryError, match=text.replace("40 on", r"\d+ on")) as raised:
            method(X, Y)
        assert isinstance(raised.value, MemoryError)
        assert raised.value.__cause__ is error
    np.testing.assert_array_equal(est.predict_proba(X), before)


def test_no_memory_in_predict_names_the_rows(monkeypatch):
    est = MNLClassifier(max_epochs=2, random_state=0).fit(X, Y)

    def fails(*args, **kwargs):
        raise MEMORY[2]

    with monkeypatch.context() as patch:
        patch.setattr("sklearn_mmfusion._fitted.to_dataset", fails)
        with pytest.raises(FusionMemoryError, match=r"predicting 40 rows.*fewer rows"):
            est.predict(X)
    est.predict(X)


def test_other_runtime_errors_come_through(monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("sklearn_mmfusion._fitting.fit.train", fails)
    with pytest.raises(RuntimeError, match="mat1") as raised:
        MNLClassifier(random_state=0).fit(X, Y)
    assert not isinstance(raised.value, FusionMemoryError)


@pytest.mark.slow
def test_limit_of_memory_is_reported_and_the_process_goes_on():
    script = """
import resource, warnings
import numpy as np
warnings.simplefilter("ignore")
from sklearn_mmfusion import FusionMemoryError, MLPEncoder, MNLClassifier
rng = np.random.default_rng(0)
X = {"a": rng.normal(size=(60, 4))}
y = X["a"][:, 0] > 0
MNLClassifier(max_epochs=1, random_state=0).fit(X, y)  # all that is loaded on the way is there
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
wide = MLPEncoder(hidden_dim=20_000, n_layers=2)
try:
    MNLClassifier(encoders=wide, max_epochs=1, random_state=0).fit(X, y)
except FusionMemoryError as error:
    print(error)
MNLClassifier(max_epochs=1, random_state=0).fit(X, y).predict(X)
print("done")
"""
    done = run(script)
    assert done.stdout.splitlines()[-1:] == ["done"], done.stderr
    assert "out of memory while fitting 60 rows of 'a' (4,)" in done.stdout
    assert "lower batch_size or the widths" in done.stdout


# -- numbers -----------------------------------------------------------------------------------


def test_divergence_hands_over_the_last_finite_weights():
    est = MNLRegressor(lr=1e30, max_epochs=20, random_state=0)
    with pytest.raises(DivergedError, match="modality") as raised:
        est.fit(X, X["a"][:, 0])
    weights = raised.value.weights
    assert "fusion.weight" in weights
    assert all(np.isfinite(value).all() for value in weights.values())
    assert not hasattr(est, "history_")


def test_finite_loss_with_infinite_weights_stops_in_that_epoch(monkeypatch):
    class Poison(Callback):
        def on_batch_end(self, net, training, **kwargs):
            # A weight of a feature that is always 0 does not show in the loss.
            if training and len(net.history) == 3:
                encoder = net.module_.encoders[0]
                next(encoder.parameters()).data[0, 0] = np.inf

    rows = {"a": X["a"] * [0, 1, 1, 1], "b": X["b"]}
    params = {"encoders": LinearEncoder(), "max_epochs": 9, "callbacks": [Poison()]}
    with pytest.raises(DivergedError, match=r"epoch 3.*modality 'a' moved most"):
        MNLClassifier(random_state=0, **params).fit(rows, Y)


class NaNForLarge(torch.nn.Module):
    """An encoder with a fault that few rows show."""

    def __init__(self, layout):
        super().__init__()
        self.linear = torch.nn.Linear(layout.shape[-1], 2)

    def forward(self, values):
        encoded = self.linear(values)
        return torch.where(values[:, :1] > 1.9, torch.nan, encoded)


def rows_with_one_large():
    rows = {"aaa": X["a"], "mmm": X["b"], "zzz": np.random.default_rng(1).normal(size=(40, 2))}
    rows["zzz"][:, 0] = np.clip(rows["zzz"][:, 0], -1, 1)
    rows["zzz"][33, 0] = 9.0
    return rows


@pytest.mark.parametrize("changes", [{}, {"batch_size": 8}, {"early_stopping": False}], ids=str)
def test_encoder_whose_values_are_not_finite_is_named(changes):
    encoders = {"aaa": "auto", "mmm": "auto", "zzz": ModuleEncoder(module=NaNForLarge)}
    est = MNLClassifier(encoders=encoders, max_epochs=3, random_state=0, **changes)
    with pytest.raises(DivergedError, match="the encoder of modality 'zzz' gave values that are"):
        est.fit(rows_with_one_large(), Y)
    both = {
        "aaa": "auto",
        "mmm": ModuleEncoder(module=NaNForLarge),
        "zzz": ModuleEncoder(module=NaNForLarge),
    }
    rows = rows_with_one_large()
    rows["mmm"] = rows["zzz"]
    with pytest.raises(DivergedError, match="encoders of modalities 'mmm', 'zzz' gave values"):
        est.set_params(encoders=both).fit(rows, Y)


def test_no_encoder_is_blamed_where_all_of_them_went_at_once():
    class Poison(Callback):
        def on_batch_end(self, net, training, **kwargs):
            for encoder in net.module_.encoders:
                for parameter in encoder.parameters():
                    parameter.data.fill_(np.nan)

    est = MNLClassifier(
        encoders=LinearEncoder(), max_epochs=3, callbacks=[Poison()], random_state=0
    )
    text = "the encoders of all modalities have weights that are not finite"
    with pytest.raises(DivergedError, match=text):
        est.fit(X, Y)


def test_statistics_that_are_not_finite_are_no_model(monkeypatch):
    recompute = batchnorm.recompute_statistics

    def poison(encoders, run):
        recompute(encoders, run)
        for module in encoders.modules():
            for name, buffer in module.named_buffers(recurse=False):
                if buffer.is_floating_point():
                    getattr(module, name).fill_(float("inf"))

    monkeypatch.setattr("sklearn_mmfusion.modules.network.recompute_statistics", poison)
    with pytest.raises(DivergedError, match=r"not finite.*modality 'a'"):
        MNLClassifier(max_epochs=2, random_state=0).fit(X, Y)


# -- signals -----------------------------------------------------------------------------------

LONG = """
import signal, sys, warnings
import numpy as np
import sklearn_mmfusion
from sklearn_mmfusion import FitInterruptedWarning, InTenseClassifier
from skorch.callbacks import Callback

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)

class Say(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 3:
            print("three", flush=True)

rng = np.random.default_rng(0)
X = {"a": rng.normal(size=(200, 4)), "b": rng.normal(size=(200, 3))}
y = X["a"][:, 0] > 0
est = InTenseClassifier(
    max_epochs=100_000, batch_size=16, random_state=0, callbacks=[Say()], checkpoint=sys.argv[1]
)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    est.fit(X, y)
assert [w.category for w in caught if w.category is FitInterruptedWarning], caught
assert est.n_iter_ == len(est.history_) >= 3, est.n_iter_
assert np.isfinite(est.predict_proba(X)).all()
print("kept", flush=True)
"""


def _signalled(number, path):
    process = subprocess.Popen(
        [sys.executable, "-c", LONG, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "three\n"
    process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


@pytest.mark.slow
def test_interrupt_keeps_whole_epochs_and_the_checkpoint(tmp_path):
    code, output, errors = _signalled(signal.SIGINT, tmp_path / "c")
    assert code == 0, errors
    assert output == "kept\n"
    assert os.listdir(tmp_path) == ["c"]


@pytest.mark.slow
def test_termination_ends_the_process_and_leaves_the_checkpoint(tmp_path):
    code, _, _ = _signalled(signal.SIGTERM, tmp_path / "c")
    assert code == -signal.SIGTERM
    assert os.listdir(tmp_path) == ["c"]


# -- processes ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_worker_that_dies_fails_its_search_and_no_other():
    script = """
import os, warnings
import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError
from sklearn.model_selection import GridSearchCV
from sklearn_mmfusion import LinearEncoder, ModalityFrame, MNLClassifier
from skorch.callbacks import Callback
warnings.simplefilter("ignore")

class Dies(Callback):
    def on_epoch_end(self, net, **kwargs):
        os._exit(1)

rng = np.random.default_rng(0)
X = ModalityFrame({"a": rng.normal(size=(40, 4)), "b": rng.normal(size=(40, 3))})
y = X["a"][:, 0] > 0
est = MNLClassifier(encoders=LinearEncoder(), max_epochs=2, random_state=0)
try:
    GridSearchCV(est, {"callbacks": [None, [Dies()]]}, cv=2, n_jobs=2).fit(X, y)
except TerminatedWorkerError:
    print("terminated")
search = GridSearchCV(est, {"p": [1, 2]}, cv=2, n_jobs=2).fit(X, y)
print(np.isfinite(search.cv_results_["mean_test_score"]).all())
"""
    done = run(script)
    assert done.stdout.split() == ["terminated", "True"], done.stderr


@pytest.mark.slow
def test_fit_works_in_forked_and_spawned_processes_and_equals_its_parents(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        """
import multiprocessing, warnings
import numpy as np
warnings.simplefilter("ignore")
from sklearn_mmfusion import InTenseClassifier

def fitted(_=None):
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(40, 4)), "b": rng.normal(size=(40, 3))}
    est = InTenseClassifier(max_epochs=3, random_state=0).fit(X, X["a"][:, 0] > 0)
    return est.predict_proba(X)

if __name__ == "__main__":
    here = fitted()
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            there = pool.map_async(fitted, [None]).get(timeout=100)[0]
        print(method, np.array_equal(here, there))
"""
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.stdout.split() == ["fork", "True", "spawn", "True"], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("options", [["-O"], ["-W", "error"]], ids=["optimised", "strict"])
def test_switches_of_the_interpreter_change_nothing(options):
    script = """
import numpy as np
from sklearn_mmfusion import LinearEncoder, MNLRegressor
rng = np.random.default_rng(0)
X = {"a": rng.normal(size=(60, 4)), "b": rng.normal(size=(60, 3))}
est = MNLRegressor(encoders=LinearEncoder(), random_state=0).fit(X, X["a"][:, 0])
print(est.predict(X)[:3].tolist())
"""
    found = [
        subprocess.run(
            [sys.executable, *switches, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LC_ALL": "tr_TR.UTF-8"} if switches else None,
        ).stdout
        for switches in ([], options)
    ]
    assert found[0] == found[1]
    assert found[0].count(",") == 2


# -- modules of the user's own ------------------------------------------------------------------


class FailsLater(torch.nn.Module):
    """Fails on large values, in training alone or in evaluation alone."""

    def __init__(self, mode):
        super().__init__()
        self.linear, self.mode = torch.nn.Linear(3, 2), mode

    def forward(self, values):
        if self.training == (self.mode == "training") and (values.abs() > 50).any():
            values = values[:, :2]
        return self.linear(values)


@pytest.mark.parametrize("kind", [MNLClassifier, InTenseClassifier])
def test_module_that_fails_in_training_names_the_modality_and_spares_the_last_fit(kind):
    rng = np.random.default_rng(0)
    X = {"good": rng.normal(size=(60, 2)), "bad": rng.normal(size=(60, 3))}
    y = X["good"][:, 0] > 0
    module = ModuleEncoder(module=lambda layout: FailsLater("training"), standardize=False)
    est = kind(encoders={"good": "auto", "bad": module}, max_epochs=2, random_state=0)
    est.fit(X, y)
    before = est.decision_function(X)
    extreme = {**X, "bad": np.where(np.arange(60)[:, None] == 7, 100.0, X["bad"])}
    expected = r"modality 'bad': the encoder module FailsLater failed in training mode on values of"
    with pytest.raises(ModuleError, match=expected + r" shape \(\d+, 3\), float64: Runtime"):
        est.fit(extreme, y)
    assert np.array_equal(est.decision_function(X), before)


def test_module_that_fails_in_prediction_names_the_modality():
    rng = np.random.default_rng(0)
    X = {"good": rng.normal(size=(60, 2)), "bad": rng.normal(size=(60, 3))}
    y = X["good"][:, 0] > 0
    module = ModuleEncoder(module=lambda layout: FailsLater("evaluation"), standardize=False)
    est = MNLClassifier(encoders={"good": "auto", "bad": module}, max_epochs=2, random_state=0)
    est.fit(X, y)
    before = est.predict_proba(X)
    extreme = {**X, "bad": np.full((60, 3), 100.0)}
    expected = r"^modality 'bad': .*FailsLater failed in evaluation mode on values of shape \(60, 3"
    for call in (est.predict, est.predict_proba, est.contributions):
        with pytest.raises(RuntimeError, match=expected) as caught:
            call(extreme)
        assert isinstance(caught.value.__cause__, RuntimeError)
    assert np.array_equal(est.predict_proba(X), before)
