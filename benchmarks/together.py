"""Fits run side by side against the same fits one after another: CPU time, and what they say.

Loops: the epochs of 5 and 10 members of a bag of InTense, everything around them left out. Whole
fits: a bag, the refits of ``relevance_intervals`` and of ``relevance_test``, with accuracy on 4000
fresh rows and relevance. One thread; the two ways take turns. Sequences are not run side by side:
what is left of a step without their encoders is the most that could be saved.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from _common import Report, make_parser, run_tasks, seeds_of

from sklearn_mmfusion import (
    Conv1dEncoder,
    GRUEncoder,
    InTenseClassifier,
    MLPEncoder,
    MNLClassifier,
    relevance_intervals,
    relevance_test,
)
from sklearn_mmfusion._fitting.fit import Training
from sklearn_mmfusion._fitting.stacked_training import stack_key, train_stack

N_FEATURES, N_TEST, TARGET = 32, 4000, 1.5
SMALL = MLPEncoder(hidden_dim=32, n_layers=2, output_dim=16)
# Name -> rows, settings, epochs in each repetition, whether the package runs these side by side.
LOOPS: dict[str, tuple[int, dict[str, Any], int, bool]] = {
    "order 1, batch 64": (2000, {"interactions": 1}, 3, True),
    "order 2, batch 64": (2000, {}, 3, True),
    "order 3, batch 64": (2000, {"interactions": 3}, 3, True),
    "order 2, batch 64, small encoders": (2000, {"encoders": SMALL}, 3, True),
    "order 2, batch 128": (4000, {}, 2, True),
    "order 2, batch 256": (10_000, {}, 1, False),
    "order 2, all 400 rows": (500, {}, 30, True),
    "order 2, all 800 rows": (1000, {}, 15, False),
}
SEQUENCES = {
    "Conv1dEncoder()": Conv1dEncoder(),
    "Conv1dEncoder(channels=(16, 16))": Conv1dEncoder(channels=(16, 16)),
    "GRUEncoder(hidden_dim=16)": GRUEncoder(hidden_dim=16),
}
WHOLE = (
    "n_bags, MNL", "n_bags, InTense", "n_bags, InTense, 500 rows", "seeds", "bootstrap", "test",
)  # fmt: skip


def tabular(n: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return three modalities of 32 features and classes with one interaction."""
    rng = np.random.default_rng(seed)
    X = {name: rng.standard_normal((n, N_FEATURES)).astype(np.float32) for name in "abc"}
    noise = 0.3 * rng.standard_normal(n)
    return X, (X["a"][:, 0] * X["b"][:, 0] + X["c"][:, 0] + noise > 0).astype(int)


def trainings_of(estimator: Any, X: Any, y: Any) -> list[Training]:
    """Return the first training that each member of a bag asks for."""
    members, _ = next(estimator._fitting(X, y, None))
    return [next(steps) for steps in members]


def cpu(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return CPU seconds and the result."""
    start = time.process_time()
    found = function()
    return time.process_time() - start, found


def loop(task: dict[str, Any]) -> dict[str, Any]:
    """Time the epochs of the members of a bag both ways."""
    n, settings, n_epochs, _ = LOOPS[task["case"]]
    X, y = tabular(n)
    estimator = InTenseClassifier(
        n_bags=task["members"], max_epochs=n_epochs, random_state=0, **settings
    )
    alone, together = [], []
    for repetition in range(task["repetitions"] + 1):  # the first warms up
        ways = [
            (alone, trainings_of(estimator, X, y), lambda some: [t.run() for t in some]),
            (together, trainings_of(estimator, X, y), train_stack),
        ]
        assert len({stack_key(training) for training in ways[0][1]}) == 1
        for times, trainings, run in ways[:: 1 if repetition % 2 else -1]:
            times.append(cpu(lambda run=run, trainings=trainings: run(trainings))[0])
    n_epochs *= task["members"]
    ratios = np.array(alone[1:]) / np.array(together[1:])
    return {
        "alone_ms": 1000 * float(np.median(alone[1:])) / n_epochs,
        "together_ms": 1000 * float(np.median(together[1:])) / n_epochs,
        "ratios": ratios.tolist(),
    }


def sequence(task: dict[str, Any]) -> dict[str, Any]:
    """Time an epoch of a network of sequences, and the encoders of as many steps."""
    rng = np.random.default_rng(0)
    X = {name: rng.standard_normal((1200, task["steps"], 4)).astype(np.float32) for name in "abc"}
    y = (X["a"][:, 0, 0] > 0).astype(int)
    estimator = InTenseClassifier(
        encoders=SEQUENCES[task["encoder"]], batch_size=64, max_epochs=2, early_stopping=False,
        random_state=0,
    )  # fmt: skip
    whole, parts = [], []
    for _ in range(task["repetitions"] + 1):
        (training,) = trainings_of(estimator, X, y)
        assert stack_key(training) is None
        whole.append(cpu(training.run)[0] / training.options.max_epochs)
        parts.append(cpu(lambda training=training: encoders_alone(training))[0])
    step = 1000 * 64 / len(training.rows)
    return {
        "epoch_ms": step * float(np.median(whole[1:])),
        "encoders_ms": step * float(np.median(parts[1:])),
        "bounds": (np.array(whole[1:]) / np.array(parts[1:])).tolist(),
    }


def encoders_alone(training: Training) -> None:
    """Run the encoders forwards and backwards over an epoch."""
    network = training.network.train()
    for batch, _ in training.rows.batches(64):
        encodings = network.encode(batch, batch.present)
        torch.stack([encoding.sum() for encoding in encodings]).sum().backward()


def whole(task: dict[str, Any]) -> dict[str, Any]:
    """Time whole fits both ways, and compare what they say."""
    case, seed = task["case"], task["seed"]
    n = {"n_bags, InTense, 500 rows": 500, "test": 800}.get(case, 2000)
    X, y = tabular(n, seed)
    X_test, y_test = tabular(N_TEST, 1000 + seed)

    def run() -> tuple[np.ndarray, float]:
        if case in ("seeds", "bootstrap"):
            found = relevance_intervals(
                InTenseClassifier(), X, y, n_refits=4, method=case, null=False, random_state=seed
            )
            return found.scores, float("nan")
        if case == "test":
            tested = relevance_test(InTenseClassifier(), X, y, n_splits=5, random_state=seed)
            return tested.p_value, float("nan")
        method = MNLClassifier if "MNL" in case else InTenseClassifier
        estimator = method(n_bags=5, random_state=seed).fit(X, y)
        return np.array(list(estimator.relevance_scores_.values())), estimator.score(X_test, y_test)

    times, said, accuracy = {}, {}, {}
    names = ("alone", "together")
    for name in names[:: 1 if seed % 2 else -1]:
        alone = patch("sklearn_mmfusion._base.may_run_beside_others", return_value=False)
        with alone if name == "alone" else nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of data without signal in some terms
            times[name], (said[name], accuracy[name]) = cpu(run)
    return {
        "alone_s": times["alone"],
        "together_s": times["together"],
        "ratio": times["alone"] / times["together"],
        "accuracy_alone": accuracy["alone"],
        "accuracy_together": accuracy["together"],
        "difference": float(np.abs(said["alone"] - said["together"]).max()),
    }


def span(values: list[float]) -> str:
    """Return the median, and the lowest and highest value."""
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def tables(args: argparse.Namespace) -> tuple[list[Any], list[Any], list[Any]]:
    """Run the tasks of the three tables."""
    members, repetitions = ((5,), 1) if args.quick else ((5, 10), args.repetitions)
    loops = [
        {"case": case, "members": n, "repetitions": repetitions} for case in LOOPS for n in members
    ]
    sequences = [
        {"encoder": encoder, "steps": steps, "repetitions": repetitions}
        for encoder in SEQUENCES
        for steps in (20, 100)
    ]
    fits = [{"case": case, "seed": seed} for case in WHOLE for seed in seeds_of(args)]
    # A fit before all, for what torch imports on its first step.
    MNLClassifier(max_epochs=2, early_stopping=False).fit(*tabular(2000))
    return (
        run_tasks(loop, loops, name="together_loops", args=args),
        run_tasks(sequence, sequences, name="together_sequences", args=args),
        run_tasks(whole, fits, name="together_fits", args=args),
    )


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=2)
    parser.add_argument("--repetitions", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    loops, sequences, fits = tables(args)
    report = Report("together", "Fits side by side against fits one after another", args)
    checks = [
        (f"{r['case']}, {r['members']} members", float(np.median(r["ratios"])), f">= {TARGET}",
         float(np.median(r["ratios"])) >= TARGET, r["ratios"])
        for r in loops if LOOPS[r["case"]][3]
    ]  # fmt: skip
    report.targets(checks)
    report.table(
        "Epoch loops: CPU ms of an epoch of one member; ratios as median (lowest to highest)",
        [
            {
                "case": r["case"],
                "rows": LOOPS[r["case"]][0],
                "members": r["members"],
                "alone, ms": r["alone_ms"],
                "together, ms": r["together_ms"],
                "alone / together": span(r["ratios"]),
                "the package": "together" if LOOPS[r["case"]][3] else "alone",
            }
            for r in loops
        ],
        digits=1,
    )
    report.table(
        "Whole fits: CPU s, accuracy on fresh rows, largest difference of a score or p-value",
        [
            {
                "case": r["case"],
                "seed": r["seed"],
                "alone, s": r["alone_s"],
                "together, s": r["together_s"],
                "alone / together": r["ratio"],
                "accuracy alone": r["accuracy_alone"],
                "accuracy together": r["accuracy_together"],
                "difference": r["difference"],
            }
            for r in fits
        ],
    )
    report.table(
        "Sequences, one after another: CPU ms of a step of 64 rows, alone and of its encoders",
        [
            {
                "encoder": r["encoder"],
                "steps": r["steps"],
                "step, ms": r["epoch_ms"],
                "encoders, ms": r["encoders_ms"],
                "bound if all else were free": span(r["bounds"]),
            }
            for r in sequences
        ],
        digits=2,
    )
    report.text(
        f"Three modalities of {N_FEATURES} float32 features, or sequences of 4 channels; default "
        "encoders (128 hidden units, dropout) and settings but where a row says otherwise. "
        "Held-out rows are a fifth, of 10,000 a tenth. Bags and refits are of five fits. Ratios of "
        "whole fits are lower than those of loops by what is done fit by fit (polish, readings), "
        "and by members that go on when others have ended. Run beside other work on the machine; "
        "the package ran batches of 256 side by side when this was measured, and does not since."
    )
    report.write()


if __name__ == "__main__":
    main()
