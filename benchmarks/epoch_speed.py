"""Cost of one epoch against a bare loop with fused AdamW over the same module.

Three modalities of 32 features, MLP encoders, latent_dim 8, batches of 64, 10,000 rows. Process
CPU time of one thread; the two loops take turns, and each round gives one ratio.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _common import Report, make_parser, mean_std

from sklearn_mmfusion import AdamW, InTenseClassifier, MLPEncoder
from sklearn_mmfusion._block_head import BlockNormHead
from sklearn_mmfusion._plan import FusionPlan, build_network
from sklearn_mmfusion._scaling import block_moments
from sklearn_mmfusion._training import FusionDataset, TrainingOptions, intra_op_threads, train
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityLayout
from sklearn_mmfusion.modules.losses import LOSSES
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork

N_FEATURES, LATENT_DIM, BATCH_SIZE = 32, 8, 64
LR, REG, WEIGHT_DECAY = 0.003, 0.001, 0.01
NAMES = ("a", "b", "c")
ENCODER = MLPEncoder(hidden_dim=32, n_layers=2, output_dim=16)
TERMS = {2: ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2))}
TERMS[3] = (*TERMS[2], (0, 1, 2))
BOUND = 1.10


def make_data(n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return modalities and a binary target."""
    rng = np.random.default_rng(0)
    X = {name: rng.standard_normal((n, N_FEATURES)).astype(np.float32) for name in NAMES}
    return X, (X["a"][:, 0] * X["b"][:, 0] + X["c"][:, 0] > 0).astype(np.int64)


def make_network(X: dict[str, np.ndarray], order: int) -> FusionNetwork:
    """Return the network that InTense builds, float32."""
    layouts = tuple(ModalityLayout(name, (N_FEATURES,), "float32", None) for name in NAMES)
    blocks = [ModalityBlock(name, X[name], None, None) for name in NAMES]
    scalings = tuple(block_moments(block, None) for block in blocks)
    plan = FusionPlan(layouts, (ENCODER,) * 3, TERMS[order], scalings, BlockNormHead(LATENT_DIM), 1)
    return build_network(plan).float()


def bare_loop(
    network: FusionNetwork, tensors: list[torch.Tensor], y: torch.Tensor
) -> Callable[[int], None]:
    """Return a function that trains some epochs: permute, slice, step, nothing else."""
    loss_function = LOSSES["binary"]
    encoders, others = [], []
    for name, parameter in network.named_parameters():
        is_decayed = name.startswith("encoders.") and parameter.ndim > 1
        (encoders if is_decayed else others).append(parameter)
    groups = [
        {"params": encoders, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, fused=True)
    generator = torch.Generator().manual_seed(0)
    nothing = [None] * len(tensors)

    def run(n_epochs: int) -> None:
        network.train()
        for _ in range(n_epochs):
            order = torch.randperm(len(y), generator=generator)
            parts = [t[order].split(BATCH_SIZE) for t in (*tensors, y)]
            for *values, target in zip(*parts, strict=True):
                optimizer.zero_grad()
                output = network(FusionBatch(values, nothing, nothing))
                loss = loss_function(output, target).mean()
                (loss + REG * network.fusion.penalty(1.0)).backward()
                optimizer.step()

    return run


def our_loop(
    network: FusionNetwork, tensors: list[torch.Tensor], y: torch.Tensor
) -> Callable[[int], None]:
    """Return a function that trains some epochs as the estimators do."""
    nothing = [None] * len(tensors)
    dataset = FusionDataset(FusionBatch(list(tensors), nothing, nothing), y)
    options = TrainingOptions(
        max_epochs=1, batch_size=BATCH_SIZE, lr=LR, lr_decay=1.0, reg=REG, reg_factors=(),
        p=1.0,
        loss=LOSSES["binary"], build_optimizer=AdamW().build, weight_decay=WEIGHT_DECAY, seed=0,
    )  # fmt: skip
    state: dict[str, Any] = {"net": None}

    def run(n_epochs: int) -> None:
        options.max_epochs = n_epochs
        state["net"] = train(network, dataset, None, options, state["net"]).net

    return run


def fit_seconds(X: dict[str, np.ndarray], y: np.ndarray, order: int, n_epochs: int) -> float:
    """Return the CPU time of a whole fit."""
    estimator = InTenseClassifier(
        encoders=ENCODER, interactions=order, latent_dim=LATENT_DIM, batch_size=BATCH_SIZE,
        max_epochs=n_epochs, early_stopping=True, n_iter_no_change=1000, polish=False,
        random_state=0,
    )  # fmt: skip
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, y)
    return time.process_time() - start


def timed(function: Callable[[int], None], n_epochs: int) -> float:
    """Return CPU seconds per epoch."""
    start = time.process_time()
    function(n_epochs)
    return (time.process_time() - start) / n_epochs


def measure(order: int, n: int, n_epochs: int, repetitions: int) -> list[tuple[float, float]]:
    """Return (bare, ours) seconds per epoch, in turns."""
    X, y = make_data(n)
    tensors = [torch.from_numpy(X[name]) for name in NAMES]
    target = torch.from_numpy(y)
    bare = bare_loop(make_network(X, order), tensors, target)
    ours = our_loop(make_network(X, order), tensors, target)
    for function in (bare, ours):
        function(1)
    pairs = []
    for repetition in range(repetitions):
        # The order changes, so that a machine that slows down favours neither.
        if repetition % 2:
            ours_s, bare_s = timed(ours, n_epochs), timed(bare, n_epochs)
        else:
            bare_s, ours_s = timed(bare, n_epochs), timed(ours, n_epochs)
        pairs.append((bare_s, ours_s))
        print(f"order {order}: bare {bare_s:.4f} s, ours {ours_s:.4f} s an epoch", flush=True)
    return pairs


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=3, help="epochs in each repetition")
    args = parser.parse_args()
    n, repetitions = (2000, 7) if args.quick else (10_000, args.repetitions)
    report = Report("epoch_speed", "One epoch against a bare loop with fused AdamW", args)
    checks, rows = [], []
    with intra_op_threads(1):
        for order in TERMS:
            pairs = measure(order, n, args.epochs, repetitions)
            ratios = np.array([ours / bare for bare, ours in pairs])
            X, y = make_data(n)
            short, long = (fit_seconds(X, y, order, epochs) for epochs in (1, 1 + args.epochs))
            rows.append(
                {
                    "order": order,
                    "bare, ms": mean_std((1000 * bare for bare, _ in pairs), 1),
                    "ours, ms": mean_std((1000 * ours for _, ours in pairs), 1),
                    "ratio, median": float(np.median(ratios)),
                    "lowest": float(ratios.min()),
                    "highest": float(ratios.max()),
                    "epoch within fit(), ms": f"{1000 * (long - short) / args.epochs:.1f}",
                    "fit() with 1 epoch, ms": f"{1000 * short:.1f}",
                }
            )
            median = float(np.median(ratios))
            checks.append(
                (f"interactions up to order {order}", median, f"<= {BOUND}", median <= BOUND)
            )
    report.targets(checks)
    report.table(f"CPU time per epoch, {repetitions} repetitions of {args.epochs} epochs", rows)
    report.text(
        f"{n} rows, batches of {BATCH_SIZE}, {ENCODER!r}. Both loops train the same module with "
        "the same loss, penalty and groups of weights. Ours is the loop of fit: skorch's hooks, "
        "history, learning rate, snapshot and check of every epoch. An epoch within fit(): the "
        f"difference of fits of {1 + args.epochs} epochs and of one, which train on nine tenths "
        "of the rows and evaluate the others after every epoch."
    )
    report.write()


if __name__ == "__main__":
    main()
