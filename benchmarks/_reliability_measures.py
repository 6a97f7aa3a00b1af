"""Figures of reliability that are measured, not tested: leaks, and the speed of batches."""

from __future__ import annotations

import gc
import os
import pickle
import time
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import Check
from skorch import NeuralNetClassifier

from sklearn_mmfusion import InTenseClassifier
from sklearn_mmfusion._training.dataset import Batches, FusionDataset
from sklearn_mmfusion.modules.network import FusionBatch


def _fitted(n: int) -> Any:
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(n, 4)), "b": rng.normal(size=(n, 3))}
    est = InTenseClassifier(max_epochs=2, random_state=0, early_stopping=False, polish=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return est.fit(X, X["a"][:, 0] > 0)


def measure_leaks() -> list[Check]:
    """Memory after 40 fits, the life of a module, and the size of a pickle."""

    def resident() -> int:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    for _ in range(60):  # what the allocator takes once is no leak
        _fitted(200)
    before = resident()
    for _ in range(40):
        _fitted(200)
    grown = (resident() - before) / 2**20
    gc.disable()
    est = _fitted(200)
    module = weakref.ref(est.module_)
    del est
    is_gone = module() is None
    gc.enable()
    small, large = (len(pickle.dumps(_fitted(n))) for n in (100, 10_000))
    ratio = large / small
    return [
        ("12. growth of memory over 40 fits, MiB", round(grown, 3), "below 1", grown < 1),
        ("12. module ends with its estimator, without gc", is_gone, "yes", is_gone),
        (
            "12. pickle of a fit of 10000 rows against 100",
            round(ratio, 4),
            "within 1 %",
            abs(ratio - 1) < 0.01,
        ),
    ]


def measure_batches(repetitions: int = 7) -> list[Check]:
    """Time to go through 4000 rows of 24 numbers in batches of 64: skorch's loader and ours."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, 24)).astype(np.float32), rng.integers(0, 2, 4000)
    net = NeuralNetClassifier(torch.nn.Linear, module__in_features=24, module__out_features=2)
    net.set_params(batch_size=64, iterator_train__shuffle=True)
    theirs = net.initialize().get_dataset(x, y)
    batch = FusionBatch([torch.tensor(x)], [None], [None], None)
    ours = Batches(FusionDataset(batch, torch.tensor(y)), 64, torch.Generator())

    def seconds(make: Any) -> float:
        begin = time.process_time()
        n = sum(len(target) for _, target in make())
        assert n == 4000
        return time.process_time() - begin

    ratios = [
        seconds(lambda: net.get_iterator(theirs, training=True)) / seconds(lambda: ours)
        for _ in range(repetitions)
    ]
    ratio = float(np.median(ratios))
    text = "15. batches by slicing against skorch's default loader, times faster"
    return [(text, round(ratio, 1), "at least 5", ratio >= 5)]
