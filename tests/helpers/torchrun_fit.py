"""Fits of two processes of torchrun, whose figures go to files by rank, and those of one."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

import sklearn_mmfusion as mm
from sklearn_mmfusion._training.distributed import join_processes


class NormalisedModule(torch.nn.Module):
    """A module of a user's, with statistics of its own."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(x)


def data():
    rng = np.random.default_rng(0)
    n = 1103  # last batches are uneven, and one of them has fewer rows than there are processes
    X = {"a": rng.normal(size=(n, 4)), "b": rng.normal(size=(n, 6, 3))}
    X["c"] = rng.normal(size=(n, 5))  # its encoder is computed beside that of "a"
    X["a"][::9] = np.nan
    y = (np.nan_to_num(X["a"][:, 0]) * X["b"][:, 0, 0] + X["b"][:, 0, 1] > 0).astype(int)
    return X, y, rng.integers(1, 3, size=n).astype(float)


def estimators(distributed, device):
    common = {
        "device": device,
        "dtype": "float64",
        "missing": "mask",
        "max_epochs": 3,
        "batch_size": 98,
        "random_state": 0,
        "distributed": distributed,
    }
    convolution = mm.Conv1dEncoder(batch_norm=True, dropout=0.2)
    return {
        "intense": mm.InTenseClassifier(**common, modality_dropout=0.1),
        "convolution": mm.InTenseClassifier(**common, encoders={"b": convolution}),
        # Compiled by several processes, it is the eager fit of one.
        "compiled": mm.InTenseClassifier(
            **common, compile=distributed is not None, modality_dropout=0.1, reg=0.01
        ),
        "routing": mm.RoutingClassifier(**common),
        "full batch": mm.MROClassifier(**{**common, "batch_size": 2000}),
        "late": mm.LateFusionClassifier(**common, early_stopping=False),
    }


def results(distributed, device="cpu"):
    X, y, weight = data()
    found = {}
    for name, estimator in estimators(distributed, device).items():
        estimator.fit(X, y, sample_weight=weight)
        found[name] = {
            "probabilities": estimator.predict_proba(X).tolist(),
            "losses": [epoch["train_loss"] for epoch in estimator.history_],
        }
    return found


def run_two(folder, device="cpu"):
    """Return what two processes print, and what each of them finds."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", __file__, str(folder), device]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, *(json.loads((folder / f"{rank}.json").read_text()) for rank in range(2))


def run_one(device="cpu"):
    """Return what this process finds on its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return results(None, device)


def main(folder, device="cpu"):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    compile_function = torch.compile

    def take_apart(function, options, **keywords):
        return compile_function(function, backend="eager", **keywords)

    torch.compile = take_apart  # without the minutes of the compiler itself
    found = results("auto", device)
    X, y, _ = data()
    try:
        encoder = mm.ModuleEncoder(module=NormalisedModule())
        mm.LateFusionClassifier(
            encoders={"a": encoder}, distributed="auto", missing="mask", max_epochs=1
        ).fit(X, y)
        found["refusal"] = ""
    except mm.InputError as error:
        found["refusal"] = str(error)
    mm.LateFusionClassifier(
        distributed="auto", missing="mask", max_epochs=1, verbose=1, random_state=0
    ).fit(X, y)
    rank = join_processes("auto").rank
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
