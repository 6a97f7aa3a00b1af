"""Fits from CUDA graphs are those of eager steps, on a CUDA device.

They need a GPU; where there is none they are not collected. test_graphed.py is for the CPU.
"""

import pickle

import numpy as np
import pytest
import torch
from fleet import ALL_ESTIMATORS, JOINT, family, small
from gpu_fits import ENCODERS, FLAT, LABELS, PARAMS, RNG, N, assert_same, fit
from joblib import Parallel, delayed
from sklearn.base import clone, is_classifier

from sklearn_mmfusion import (
    CompileError,
    InTenseClassifier,
    MLPEncoder,
    ModuleEncoder,
    MulTClassifier,
    MulTEncoder,
)
from sklearn_mmfusion._training import graphed as graphed
from sklearn_mmfusion._training import transfer as transfer
from sklearn_mmfusion._training.net import FusionNet

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion.RelevanceWarning"),
]


@pytest.fixture
def graphs(monkeypatch):
    """What has been recorded as CUDA graphs."""
    found = []

    def counted(function, device):
        found.append(device.type)
        return record(function, device)

    record = graphed._recorded
    monkeypatch.setattr(graphed, "_recorded", counted)
    return found


@pytest.mark.parametrize(
    "cls", [c for c in ALL_ESTIMATORS if hasattr(c, "partial_fit")], ids=lambda cls: cls.__name__
)
def test_every_estimator_fits_the_same_from_cuda_graphs(cls, graphs):
    changes = {"dtype": "float64", "batch_size": 32, "dropout": 0.1, "modality_dropout": 0.1}
    changes |= {"polish": True, "max_epochs": 3, "early_stopping": True}
    if family(cls) not in JOINT:
        changes["encoders"] = MLPEncoder(dropout=0.2, input_dropout=0.1)
    if family(cls) == "Unimodal":
        changes["modality"] = "a"
    X = {name: values.copy() for name, values in FLAT.items()}
    if family(cls) in JOINT:
        X = {name: values[:, None].repeat(3, 1) for name, values in X.items()}
    X["a"][::7] = np.nan
    y = LABELS if is_classifier(cls()) else FLAT["b"][:, 0] + FLAT["c"][:, 1]
    weight = RNG.uniform(0.5, 1, N)
    one, other = (
        small(cls, missing="mask", device="cuda", compile=compile, **changes).fit(
            X, y, sample_weight=weight
        )
        for compile in (False, "cudagraphs")
    )
    assert_same(one, other, 1e-6)
    assert set(graphs) == {"cuda"}


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_learns_the_same_from_cuda_graphs(name, graphs):
    values, encoder = ENCODERS[name]
    encoders = {"a": clone(encoder).set_params(dropout=0.2), "b": MLPEncoder(dropout=0.2)}
    if name == "Summary":
        encoders["a"] = encoder
    X = {"a": values, "b": FLAT["b"]}
    one, other = (
        fit(X, encoders=encoders, dtype="float64", compile=compile)
        for compile in (False, "cudagraphs")
    )
    assert_same(one, other, 1e-6)
    assert graphs


def test_mult_of_several_lengths_learns_the_same_from_cuda_graphs(graphs):
    X = {name: RNG.normal(size=(N, steps, 3)) for name, steps in zip("abc", (9, 2, 9), strict=True)}
    encoder = MulTEncoder(hidden_dim=8, n_heads=2, n_layers=2, dropout=0.1)
    params = {"cls": MulTClassifier, "encoders": encoder, "dtype": "float64"}
    one, other = (fit(X, compile=compile, **params) for compile in (False, "cudagraphs"))
    assert_same(one, other, 1e-6)
    assert graphs


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_steps_from_cuda_graphs_wait_for_nothing(monkeypatch, graphs):
    def run(self, *args, **kwargs):
        replays = self._graphed is not None and self._graphed._replay is not None
        torch.cuda.set_sync_debug_mode("error" if replays else "default")
        try:
            counts.append(replays)
            return step(self, *args, **kwargs)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    step, counts = FusionNet.train_step, []
    monkeypatch.setattr(FusionNet, "train_step", run)
    fits = [
        fit(
            encoders=MLPEncoder(dropout=0.2), dtype=dtype, compile="cudagraphs", polish=False,
            modality_dropout=0.1, missing="mask", max_epochs=10,
        )
        for dtype in ("float32", "bfloat16", "float32")
    ]  # fmt: skip
    assert sum(counts) > len(graphs) > 0
    assert_same(fits[0], fits[2], 1e-5)
    difference = np.abs(fits[0].predict_proba(FLAT) - fits[1].predict_proba(FLAT)).max()
    assert 0 < difference < 0.05


def test_threads_record_cuda_graphs_beside_each_other(graphs):
    params = {"dtype": "float64", "compile": "cudagraphs"}
    expected = [fit(random_state=i, **params) for i in range(4)]
    found = Parallel(n_jobs=4, backend="threading")(
        delayed(fit)(random_state=i, **params) for i in range(4)
    )
    for one, other in zip(expected, found, strict=True):
        assert_same(one, other)
    assert len(graphs) >= 8


def test_rows_sent_ahead_train_from_cuda_graphs(monkeypatch, graphs):
    expected = fit(dtype="float64")
    monkeypatch.setattr(transfer, "free_bytes", lambda device: 0.0)
    assert_same(expected, fit(dtype="float64", compile="cudagraphs"))
    assert graphs


def test_modules_of_the_users_own_are_not_recorded(graphs):
    with torch.random.fork_rng():
        module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5))
    encoders = dict.fromkeys(FLAT, ModuleEncoder(module=module))
    params = {"encoders": encoders, "dtype": "float64", "polish": False}
    assert_same(fit(**params), fit(compile="cudagraphs", **params))
    assert not graphs


def test_what_cannot_be_recorded_is_named(monkeypatch):
    def waiting(self, y_pred, *args, **kwargs):
        y_pred.sum().item()
        return loss(self, y_pred, *args, **kwargs)

    loss = FusionNet.get_loss
    monkeypatch.setattr(FusionNet, "get_loss", waiting)
    with pytest.raises(CompileError, match=r"compile='cudagraphs': .*set compile=False"):
        fit(compile="cudagraphs", polish=False)
    monkeypatch.undo()
    fit(compile="cudagraphs", polish=False)  # the device goes on


def test_partial_fit_replays_on_rows_of_one_size(graphs):
    one, other = (
        InTenseClassifier(
            **(PARAMS | {"device": "cuda", "dtype": "float64", "compile": compile}),
        )
        for compile in (False, "cudagraphs")
    )
    for start in (0, 32, 64, 96):
        rows = slice(start, start + 32)
        for est in (one, other):
            est.partial_fit({k: v[rows] for k, v in FLAT.items()}, LABELS[rows], classes=[0, 1])
    assert_same(one, other, 1e-6)
    assert graphs == ["cuda"]
    pickle.dumps(other)
    clone(other)
