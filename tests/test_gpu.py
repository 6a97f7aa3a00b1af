"""Fits on a CUDA device: those of the CPU, without a wait in them, and at home anywhere.

They need a GPU; where there is none they are not collected. Elsewhere the same code runs on the
CPU: test_transfer.py, test_synchronisation.py and test_devices.py.
"""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.distributed as dist
from fleet import ALL_ESTIMATORS, JOINT, family, small
from gpu_fits import ENCODERS, FLAT, LABELS, PARAMS, RNG, STEPS, N, assert_same, fit
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from torchrun_fit import run_one, run_two

from sklearn_mmfusion import (
    Conv1dEncoder,
    EstimatorEncoder,
    FusionMemoryError,
    GRUEncoder,
    InTenseClassifier,
    LazyArray,
    MLPEncoder,
    MNLClassifier,
    ModalityFrame,
    ModuleEncoder,
    MulTClassifier,
    MulTEncoder,
    RoutingClassifier,
    load,
)
from sklearn_mmfusion import _base as base
from sklearn_mmfusion._fitting import options as fit_options
from sklearn_mmfusion._fitting import together as together_module
from sklearn_mmfusion._training import checkpoint as checkpoints
from sklearn_mmfusion._training import dataset as dataset_module
from sklearn_mmfusion._training import devices as devices
from sklearn_mmfusion._training import transfer as transfer
from sklearn_mmfusion._training.checkpoint import Checkpoint
from sklearn_mmfusion._training.distributed import DataParallel
from sklearn_mmfusion._training.net import FusionNet

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion.RelevanceWarning"),
]


def _on_both(X=FLAT, y=LABELS, cls=InTenseClassifier, **changes):
    """Return the fit of the CPU and that of the GPU, both in float64."""
    changes = {"dtype": "float64"} | changes
    return [fit(X, y, cls, device=device, **changes) for device in ("cpu", "cuda")]


@pytest.mark.parametrize(
    "cls", [c for c in ALL_ESTIMATORS if hasattr(c, "partial_fit")], ids=lambda cls: cls.__name__
)
def test_every_estimator_fits_as_on_the_cpu(cls):
    changes = {"dtype": "float64", "batch_size": 32, "dropout": 0.0, "polish": True}
    if family(cls) not in JOINT:
        changes["encoders"] = PARAMS["encoders"]
    if family(cls) == "Unimodal":
        changes["modality"] = "a"
    X = {name: values.copy() for name, values in FLAT.items()}
    if family(cls) in JOINT:
        X = {name: values[:, None].repeat(3, 1) for name, values in X.items()}
    X["a"][::7] = np.nan
    y = LABELS if is_classifier(cls()) else FLAT["b"][:, 0] + FLAT["c"][:, 1]
    weight = RNG.uniform(0.5, 1, N)
    one, other = (
        small(cls, missing="mask", device=device, **changes).fit(X, y, sample_weight=weight)
        for device in ("cpu", "cuda")
    )
    assert_same(one, other, 1e-6)
    np.testing.assert_allclose(other.predict(X), one.predict(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_learns_as_on_the_cpu(name):
    values, encoder = ENCODERS[name]
    encoders = {"a": encoder, "b": PARAMS["encoders"]}
    one, other = _on_both({"a": values, "b": FLAT["b"]}, encoders=encoders)
    assert_same(one, other, 1e-6)


def test_estimators_as_encoders_vote_as_on_the_cpu():
    encoders = EstimatorEncoder(estimator=LogisticRegression())
    one, other = _on_both(cls=MNLClassifier, encoders=encoders)
    assert_same(one, other, 1e-6)


def test_mult_features_are_those_of_the_cpu():
    X = {name: RNG.normal(size=(N, 5, width)) for name, width in zip("abc", (3, 2, 4), strict=True)}
    encoder = MulTEncoder(hidden_dim=8, n_heads=2, n_layers=2, dropout=0.0)
    one, other = _on_both(X, cls=MulTClassifier, encoders=encoder)
    assert_same(one, other, 1e-6)


@pytest.mark.parametrize("name", ["Conv1d", "GRU"])
def test_float32_is_that_of_the_cpu_unless_tf32_is_asked_for(name):
    # Two epochs: with TF32 in the encoder they are 5e-5 to 8e-3 apart, without 1e-6.
    params = {"dtype": "float32", "max_epochs": 2, "early_stopping": False, "polish": False}
    X, encoders = {"a": STEPS, "b": FLAT["b"]}, {"a": ENCODERS[name][1]}
    found = [
        fit(X, encoders=encoders, device=device, **params).predict_proba(X)
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-5)


def test_training_is_in_float32_unless_asked_for(monkeypatch):
    seen = []

    def watched(self, batch, *args, **kwargs):
        seen.append((self.module_.dtype, batch[0].values[0].device.type))
        return step(self, batch, *args, **kwargs)

    step = FusionNet.train_step
    monkeypatch.setattr(FusionNet, "train_step", watched)
    monkeypatch.setattr(devices, "_AUTO_VALUES", 0)
    automatic = fit(device="auto")
    assert set(seen) == {(torch.float32, "cuda")}
    assert_same(automatic, fit(dtype="float32"), 1e-4)


def test_rows_that_do_not_fit_are_sent_ahead_to_the_same_fit(monkeypatch):
    X = {"a": STEPS, "b": FLAT["b"]}
    encoders = {"a": GRUEncoder(hidden_dim=4, dropout=0.0), "b": PARAMS["encoders"]}
    expected = fit(X, encoders=encoders, dtype="float64")
    sent = []

    def counted(device):
        sent.append(device.type)
        return transfer._CudaLine(device)

    monkeypatch.setattr(transfer, "free_bytes", lambda device: 0.0)
    monkeypatch.setattr(dataset_module, "line_to", counted)
    found = fit(X, encoders=encoders, dtype="float64")
    assert set(sent) == {"cuda"}
    assert_same(expected, found)


def test_rows_on_disk_train_as_those_in_memory(tmp_path):
    for name, values in FLAT.items():
        np.save(tmp_path / f"{name}.npy", values)
    X = {name: LazyArray(np.load(tmp_path / f"{name}.npy", mmap_mode="r")) for name in FLAT}
    assert_same(fit(dtype="float64"), fit(X, dtype="float64"))


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("encoder", ["MLP", "GRU", "Conv1d", "Transformer"])
def test_no_batch_waits_for_the_device(monkeypatch, encoder):
    counts = {"train_step": 0, "validation_step": 0}

    def strict(name):
        step = getattr(FusionNet, name)

        def run(self, *args, **kwargs):
            counts[name] += 1
            try:
                torch.cuda.set_sync_debug_mode("error")
                return step(self, *args, **kwargs)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        return run

    for name in counts:
        monkeypatch.setattr(FusionNet, name, strict(name))
    own = MLPEncoder() if encoder == "MLP" else ENCODERS[encoder][1]
    values = FLAT["a"] if encoder == "MLP" else STEPS
    fit(
        {"a": values, "b": FLAT["b"]},
        encoders={"a": own, "b": MLPEncoder()},
        missing="mask",
        modality_dropout=0.1,
    )
    assert min(counts.values()) > 3


@pytest.mark.parametrize("n_masked", [0, 20])
def test_a_compiled_fit_is_the_eager_one(n_masked):
    X = {name: values.copy() for name, values in FLAT.items()}
    X["a"][:n_masked] = np.nan
    params = {"encoders": MLPEncoder(dropout=0.2), "missing": "mask", "polish": False, "reg": 0.01}
    params["dtype"] = "float64"
    eager, compiled = (fit(X, compile=compile, **params) for compile in (False, True))
    assert_same(eager, compiled, 1e-6)


def test_bfloat16_trains_to_nearly_the_same_predictions():
    params = {"early_stopping": False, "max_epochs": 10, "polish": False, "reg": 0.01}
    exact, rough = (fit(dtype=dtype, **params) for dtype in ("float32", "bfloat16"))
    difference = np.abs(exact.predict_proba(FLAT) - rough.predict_proba(FLAT)).max()
    assert 0 < difference < 0.05


def test_the_same_seed_gives_the_same_fit_with_masks():
    params = {"encoders": MLPEncoder(dropout=0.3), "modality_dropout": 0.2, "missing": "mask"}
    assert_same(fit(**params), fit(**params), 1e-5)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_dropout_of_a_users_module_follows_the_seed_and_waits_for_nothing(monkeypatch):
    step = FusionNet.train_step

    def strict(self, *args, **kwargs):
        try:
            torch.cuda.set_sync_debug_mode("error")
            return step(self, *args, **kwargs)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(FusionNet, "train_step", strict)
    fits = []
    with torch.random.fork_rng():
        module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5))
    encoders = dict.fromkeys(FLAT, ModuleEncoder(module=module))
    for seed, global_seed in ((0, 1), (0, 2), (3, 1)):
        torch.cuda.manual_seed(global_seed)
        expected = torch.cuda.get_rng_state()
        fits.append(fit(encoders=encoders, random_state=seed, dtype="float64", polish=False))
        assert torch.equal(torch.cuda.get_rng_state(), expected)
    assert_same(fits[0], fits[1])
    found = [fit.predict_proba(FLAT) for fit in fits]
    assert np.abs(found[0] - found[2]).max() > 1e-3


TORCHRUN_FITS = ("intense", "convolution", "compiled", "routing", "full batch", "late")


@pytest.fixture(scope="module")
def fits_of_two(tmp_path_factory):
    """What two processes say that share the device, and what one says that has it alone."""
    _, first, second = run_two(tmp_path_factory.mktemp("torchrun"), "cuda")
    return first, second, run_one("cuda")


@pytest.mark.parametrize("name", TORCHRUN_FITS)
def test_processes_that_share_the_device_fit_the_model_of_one(fits_of_two, name):
    first, second, alone = (found[name] for found in fits_of_two)
    assert first == second
    for key, expected in alone.items():
        np.testing.assert_allclose(first[key], expected, rtol=0, atol=1e-6)


def test_sums_go_through_nccl(monkeypatch):
    X = {"a": STEPS, "b": FLAT["b"]}
    encoders = {"a": Conv1dEncoder(batch_norm=True, dropout=0.2), "b": MLPEncoder(dropout=0.2)}
    params = {"encoders": encoders, "dtype": "float64"}
    alone = fit(X, **params)
    store = dist.HashStore()
    dist.init_process_group("cpu:gloo,cuda:nccl", store=store, rank=0, world_size=1)
    try:
        for module in (base, fit_options):
            monkeypatch.setattr(module, "join_processes", lambda distributed: DataParallel())
        assert_same(alone, fit(X, **params))
    finally:
        dist.destroy_process_group()


def test_a_model_is_at_home_where_there_is_no_gpu(tmp_path):
    est = fit()
    est.save(tmp_path / "model.mmf")
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(est))
    np.savez(tmp_path / "data.npz", **FLAT)
    code = (
        "import pickle, sys, numpy as np, torch, sklearn_mmfusion as mm\n"
        "assert not torch.cuda.is_available()\n"
        "folder = sys.argv[1]\n"
        "X = dict(np.load(folder + '/data.npz'))\n"
        "with open(folder + '/model.pickle', 'rb') as file: one = pickle.load(file)\n"
        "two = mm.load(folder + '/model.mmf')\n"
        "assert one.device == two.device == 'cuda'\n"
        "np.save(folder + '/found.npy', [m.predict_proba(X) for m in (one, two)])\n"
    )
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    for found in np.load(tmp_path / "found.npy"):
        np.testing.assert_allclose(found, est.predict_proba(FLAT), rtol=0, atol=1e-10)
    again = load(tmp_path / "model.mmf")
    np.testing.assert_allclose(again.predict_proba(FLAT), est.predict_proba(FLAT), atol=1e-10)


@pytest.mark.parametrize("cls", [InTenseClassifier, RoutingClassifier])
def test_what_a_fit_leaves_says_the_same_on_both_devices(cls):
    est = fit(cls=cls)
    there = est.predict_proba(FLAT), est.explain_local(FLAT).to_frame()
    assert any(device.type == "cuda" for _, device in est._cache._placed)
    here = clone(est).set_params(device="cpu")
    here.__setstate__(est.__getstate__() | {"device": "cpu"})
    np.testing.assert_allclose(here.predict_proba(FLAT), there[0], rtol=0, atol=1e-12)
    frame = here.explain_local(FLAT).to_frame().select_dtypes("number")
    np.testing.assert_allclose(frame, there[1].select_dtypes("number"), rtol=0, atol=1e-10)


def test_partial_fit_goes_on_where_it_was():
    one, other = (
        InTenseClassifier(**(PARAMS | {"device": device, "dtype": "float64"}))
        for device in ("cpu", "cuda")
    )
    for _ in range(3):
        for est in (one, other):
            est.partial_fit(FLAT, LABELS, classes=[0, 1])
    assert_same(one, other, 1e-6)
    again = pickle.loads(pickle.dumps(other))  # noqa: S301  our own bytes
    again.partial_fit(FLAT, LABELS)


def test_a_stopped_fit_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    class Died(Exception):
        pass

    def keep_and_die(self, *args):
        keep(self, *args)
        raise Died

    keep = Checkpoint.keep
    monkeypatch.setattr(checkpoints, "_SHARE", 0.0)
    params = {"max_epochs": 4, "early_stopping": False, "dtype": "float64", "polish": False}
    params["encoders"] = MLPEncoder(dropout=0.2)
    whole = fit(**params)
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(Checkpoint, "keep", keep_and_die)
        fit(checkpoint=tmp_path / "stopped", **params)
    assert (tmp_path / "stopped").exists()
    assert_same(whole, fit(checkpoint=tmp_path / "stopped", **params))


@pytest.mark.parametrize("changes", [{}, {"batch_size": N}], ids=["batches", "full batch"])
def test_members_that_are_trained_together_are_those_trained_alone(monkeypatch, changes):
    params = {"n_bags": 3, "encoders": MLPEncoder(dropout=0.2), "dtype": "float64"} | changes
    together = fit(**params)
    monkeypatch.setattr(together_module, "_MAX_FITS", 1)
    alone = fit(**params)
    for one, other in zip(together._results, alone._results, strict=True):
        for name, value in one.state.items():
            np.testing.assert_allclose(value, other.state[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_folds_share_the_device():
    est = InTenseClassifier(**(PARAMS | {"device": "cuda"}))
    scores = cross_val_score(est, ModalityFrame(FLAT), LABELS, cv=3)
    assert scores.shape == (3,)


@pytest.mark.parametrize("compile", [False, "cudagraphs"])
def test_memory_is_given_back(compile):
    fit(compile=compile)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        est = fit(compile=compile)
        est.predict(FLAT)
    del est
    assert torch.cuda.memory_allocated() <= before + 2**16


def test_a_full_device_is_named_with_the_remedy():
    held = torch.cuda.memory_allocated()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((held + 2**25) / total)
    X = {"a": RNG.normal(size=(2000, 300))}
    encoder = MLPEncoder(hidden_dim=4000)
    try:
        with pytest.raises(FusionMemoryError, match=r"2000 rows .* on cuda: lower batch_size"):
            MNLClassifier(encoders=encoder, device="cuda", max_epochs=1, random_state=0).fit(
                X, np.arange(2000) % 2
            )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
