"""Cost of one epoch through torch.compile against the same epoch run eagerly.

Three modalities of 32 features, MLP encoders, latent_dim 8, interactions up to order 2 and 3,
batches of 64 and 512. Process CPU time of one thread; the two loops take turns, and each round
gives one ratio. The warm-up is the CPU time of the first epoch, in which the network is compiled
(without what earlier runs have left in torch's cache on disk), less that of an eager epoch; the
C++ compiler, which runs as a process of its own, is counted too.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _common import Report, make_parser, mean_std
from epoch_speed import LATENT_DIM, LR, NAMES, REG, WEIGHT_DECAY, make_data, make_network

from sklearn_mmfusion import AdamW
from sklearn_mmfusion._training.dataset import FusionDataset
from sklearn_mmfusion._training.devices import intra_op_threads
from sklearn_mmfusion._training.loop import train
from sklearn_mmfusion._training.net import TrainingOptions
from sklearn_mmfusion.modules.losses import LOSSES
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork


def cpu_seconds() -> float:
    """Return the CPU time of this process and of those that it has started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def loop(
    network: FusionNetwork, dataset: FusionDataset, batch_size: int, *, is_compiled: bool
) -> Callable[[int], None]:
    """Return a function that trains some epochs as the estimators do."""
    options = TrainingOptions(
        max_epochs=1, batch_size=batch_size, lr=LR, lr_decay=1.0, reg=REG, reg_factors=(),
        p=1.0,
        loss=LOSSES["binary"], build_optimizer=AdamW().build, weight_decay=WEIGHT_DECAY, seed=0,
        compile=is_compiled,
    )  # fmt: skip
    state: dict[str, Any] = {"net": None}

    def run(n_epochs: int) -> None:
        options.max_epochs = n_epochs
        state["net"] = train(network, dataset, None, options, state["net"]).net

    return run


def timed(function: Callable[[int], None], n_epochs: int) -> float:
    """Return CPU seconds per epoch."""
    start = time.process_time()
    function(n_epochs)
    return (time.process_time() - start) / n_epochs


def measure(
    order: int, batch_size: int, n: int, n_epochs: int, repetitions: int
) -> tuple[list[tuple[float, float]], float, float]:
    """Return (eager, compiled) seconds per epoch in turns, the warm-up, the largest difference."""
    X, y = make_data(n)
    tensors = [torch.from_numpy(X[name]) for name in NAMES]
    dataset = FusionDataset(
        FusionBatch(tensors, [None] * len(NAMES), [None] * len(NAMES)), torch.from_numpy(y)
    )
    networks = [make_network(X, order) for _ in range(2)]
    eager, compiled = (
        loop(network, dataset, batch_size, is_compiled=flag)
        for network, flag in zip(networks, (False, True), strict=True)
    )
    eager(1)
    start = cpu_seconds()
    compiled(1)
    warm_up = cpu_seconds() - start
    states = [network.state_dict() for network in networks]
    difference = max(float((a - states[1][name]).abs().max()) for name, a in states[0].items())
    pairs = []
    for repetition in range(repetitions):
        # The order changes, so that a machine that slows down favours neither.
        if repetition % 2:
            compiled_s, eager_s = timed(compiled, n_epochs), timed(eager, n_epochs)
        else:
            eager_s, compiled_s = timed(eager, n_epochs), timed(compiled, n_epochs)
        pairs.append((eager_s, compiled_s))
    return pairs, warm_up - float(np.median([eager_s for eager_s, _ in pairs])), difference


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=1)
    args = parser.parse_args()
    n, n_epochs, repetitions = (2000, 1, 2) if args.quick else (10_000, 1, 5)
    report = Report("compile", "One epoch through torch.compile against an eager one", args)
    rows = []
    with tempfile.TemporaryDirectory() as folder, intra_op_threads(1):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        for order in (2, 3):
            for batch_size in (64, 512):
                pairs, warm_up, difference = measure(order, batch_size, n, n_epochs, repetitions)
                ratios = np.array([compiled / eager for eager, compiled in pairs])
                saved = float(np.median([eager - compiled for eager, compiled in pairs]))
                rows.append(
                    {
                        "order": order,
                        "batch": batch_size,
                        "eager, ms": mean_std((1e3 * eager for eager, _ in pairs), 1),
                        "compiled, ms": mean_std((1e3 * made for _, made in pairs), 1),
                        "ratio, median": float(np.median(ratios)),
                        "lowest": float(ratios.min()),
                        "highest": float(ratios.max()),
                        "warm-up, s": warm_up,
                        "epochs until it pays": warm_up / saved if saved > 0 else None,
                        "largest difference": f"{difference:.1e}",
                    }
                )
    report.table(f"CPU time per epoch, {repetitions} repetitions of {n_epochs} epoch(s)", rows)
    report.text(
        f"{n} rows, float32, latent_dim {LATENT_DIM}; encoders, loss, penalty and loop as in "
        "epoch_speed. Both sides run our loop; the first whole batch and the last batch of an "
        "epoch run eagerly on both. The largest difference is that of any weight or statistic "
        "after the first epoch: a bias before a normalisation has no gradient but round-off, which "
        "AdamW scales up to whole steps, and running means follow it. On CPUs CUDA graphs play no "
        "part: for a GPU see gpu.py."
    )
    report.write()


if __name__ == "__main__":
    main()
