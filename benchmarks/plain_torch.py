"""Each neural method against the same model written out in plain torch, at the same budget.

Flat modalities, and sequences by the methods that read them step by step. Widths, AdamW, learning
rate, batches, epochs, the share of training rows held out, patience and the best epoch are as in
the package. The plain models have neither skorch nor the polish of the package, nor its exact
statistics, nor dropout that fades.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from _common import Report, make_parser, mean_std, run_tasks, seeds_of
from _plain_flat import Activated, Blocks, Early, Late, Residual, Tensors
from _plain_sequences import HEADS, LAYERS, RAVEN, STATE, STREAM, EarlyLSTM, LateLSTM, MulT
from _plain_training import CODE, DROPOUT, HELD_OUT, LATENT, REG, WIDTH, Budget, fit_plain
from _real_sets import RealSet, load_set, prepare
from encoder_ablation import sequence_set
from sklearn.base import BaseEstimator
from torch import nn

from sklearn_mmfusion import (
    EarlyFusionClassifier,
    GAMClassifier,
    InTenseClassifier,
    LateFusionClassifier,
    LSTMEncoder,
    MLPEncoder,
    MNLClassifier,
    MROClassifier,
    MulTClassifier,
    MulTEncoder,
    RAVENClassifier,
    RAVENEncoder,
    RoutingClassifier,
    TensorFusionClassifier,
)

FLAT = ("mosi_clean", "dermatology")
SEQUENCES = ("mustard", "cogload_cv")
WORDS = 20  # of utterance and context, the last ones
POINTS = 2.0

Shapes = Mapping[str, tuple[int, ...]]


@lru_cache(maxsize=2)
def load(name: str) -> RealSet:
    """Return a set; sequences have the same number of steps, and as few as a quick fit allows."""
    if name not in SEQUENCES:
        return load_set(name)
    if name == "mustard":
        data = sequence_set(name)
        words = {part: _last_steps(data.X[part], WORDS) for part in ("utterance", "context")}
        X = {**words, "speaker": data.X["speaker"]}
    else:
        data = load_set(name)
        X = {part: data.X[part][:, 1::2] for part in ("acc", "gsr", "rr")}
    return RealSet(X, data.y, data.splits, data.C, sequences=True)


def _last_steps(values: np.ndarray, n_steps: int) -> np.ndarray:
    """Return the last valid steps of every row, NaN behind them."""
    cut = np.full((len(values), n_steps, values.shape[2]), np.nan, values.dtype)
    for row, steps in zip(cut, values, strict=True):
        last = steps[~np.isnan(steps[:, 0])][-n_steps:]
        row[: len(last)] = last
    return cut


def budget_of(method: str, n_rows: int) -> Budget:
    """Return what the package takes by default; of sequences, what a quick fit allows."""
    if method in SEQUENTIAL:
        return Budget(40, 12, 64, lr=0.001 if method == "MulT" else 0.003)
    # On few rows every epoch is one step, and all epochs are run.
    return Budget(100, 12, 32) if n_rows > 1000 else Budget(200, 200, n_rows)


@dataclass(frozen=True)
class Method:
    """The plain model by shapes and number of classes, the package's estimator by shapes."""

    plain: Callable[[Sequence[tuple[int, ...]], int], nn.Module]
    package: Callable[[Shapes], BaseEstimator]


def _flat(plain: Callable[[list[int], int], nn.Module], cls: type, **params: Any) -> Method:
    encoder = MLPEncoder(hidden_dim=WIDTH, output_dim=CODE, dropout=DROPOUT)
    return Method(
        lambda shapes, k: plain([s[0] for s in shapes], k),
        lambda shapes: cls(encoders=encoder, **params),
    )


LSTM = LSTMEncoder(hidden_dim=STATE, dropout=DROPOUT)
PERCEPTRON = MLPEncoder(hidden_dim=WIDTH, output_dim=CODE, dropout=DROPOUT)
TRANSFORMER = MulTEncoder(hidden_dim=STREAM, n_heads=HEADS, n_layers=LAYERS, dropout=DROPOUT)

ON_FLAT = {
    "LF-Concat": _flat(Late, LateFusionClassifier),
    "EF": _flat(Early, EarlyFusionClassifier),
    "TFN": _flat(Tensors, TensorFusionClassifier, dropout=DROPOUT),
    "MRO": _flat(Residual, MROClassifier, dropout=DROPOUT),
    "GAM": _flat(lambda d, k: Activated(d, k, routed=False), GAMClassifier),
    "Routing": _flat(lambda d, k: Activated(d, k, routed=True), RoutingClassifier),
    "MNL": _flat(lambda d, k: Blocks(d, k, pairs=False), MNLClassifier, reg=REG),
    "InTense": _flat(lambda d, k: Blocks(d, k, pairs=True), InTenseClassifier, reg=REG),
}
SEQUENTIAL = {
    "LF-LSTM": Method(
        LateLSTM,
        lambda shapes: LateFusionClassifier(
            encoders={m: LSTM if len(s) == 2 else PERCEPTRON for m, s in shapes.items()}
        ),
    ),
    "EF-LSTM": Method(EarlyLSTM, lambda shapes: EarlyFusionClassifier(encoders=LSTM)),
    "RAVEN": Method(
        RAVEN,
        lambda shapes: RAVENClassifier(
            encoders=RAVENEncoder(main=next(iter(shapes)), hidden_dim=STATE)
        ),
    ),
    "MulT": Method(MulT, lambda shapes: MulTClassifier(encoders=TRANSFORMER)),
}
METHODS = {**ON_FLAT, **SEQUENTIAL}


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one method, plain or of the package, on one split."""
    data, method = load(task["set"]), METHODS[task["method"]]
    train, test = data.splits[task["split"]]
    X_train, X_test = prepare(data, train, test)
    classes, y = np.unique(data.y[train], return_inverse=True)
    budget = budget_of(task["method"], len(train))
    if task["plain"]:
        values = list(dict(X_train).values())
        predict = fit_plain(method.plain, values, y, task["seed"], budget)
        found = classes[predict(list(dict(X_test).values()))]
    else:
        shapes = {name: X_train[name].shape[1:] for name in X_train}
        estimator = method.package(shapes).set_params(random_state=task["seed"])
        if task["method"] in SEQUENTIAL:
            estimator.set_params(
                max_epochs=budget.epochs,
                n_iter_no_change=budget.patience,
                batch_size=budget.batch,
                lr=budget.lr,
                early_stopping=True,
                validation_fraction=HELD_OUT,
                missing="mask",
            )
        found = estimator.fit(X_train, data.y[train]).predict(X_test)
    return {"accuracy": float(np.mean(found == data.y[test]))}


def compared(results: list[dict[str, Any]], name: str, method: str) -> dict[str, Any]:
    """Return the row of a method on a set: accuracies, and their paired difference."""
    found = {
        (r["plain"], r["seed"], r["split"]): r["accuracy"]
        for r in results
        if (r["set"], r["method"]) == (name, method)
    }
    pairs = sorted({key[1:] for key in found})
    plain, ours = (np.array([found[which, *p] for p in pairs]) for which in (True, False))
    seeds = np.array([seed for seed, _ in pairs])
    difference = 100 * (ours - plain)
    n = len(pairs)

    def by_seed(values: np.ndarray) -> str:
        return mean_std(values[seeds == s].mean() for s in np.unique(seeds))

    return {
        "set": name,
        "method": method,
        "plain torch": by_seed(plain),
        "package": by_seed(ours),
        "difference, points": float(difference.mean()),
        "standard error": float(difference.std(ddof=1) / n**0.5) if n > 1 else None,
        "pairs": n,
    }


def n_splits(name: str, args: Any) -> int:
    """Return how many splits of a set are used."""
    asked = args.sequence_splits if name in SEQUENCES else args.splits
    return 1 if args.quick else min(asked, len(load(name).splits))


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=5)
    sets = FLAT + SEQUENCES
    parser.add_argument("--sets", nargs="+", choices=sets, default=list(sets))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--splits", type=int, default=5, help="splits of flat sets to use (5)")
    parser.add_argument("--sequence-splits", type=int, default=1, help="of the others (1)")
    args = parser.parse_args()
    asked = [
        (name, method)
        for name in args.sets
        for method in args.methods
        if (name in SEQUENCES) == (method in SEQUENTIAL)
    ]
    tasks = [
        {"set": name, "method": method, "plain": plain, "split": split, "seed": seed}
        for name, method in asked
        for plain in (True, False)
        for seed in seeds_of(args)
        for split in range(n_splits(name, args))
    ]
    results = run_tasks(fit, tasks, name="plain_torch", args=args)
    is_part = (args.sets, args.methods) != (list(sets), list(METHODS))
    report = Report("plain_torch", "Against the same models in plain torch", args, is_part=is_part)
    rows = [compared(results, *pair) for pair in asked]
    report.targets(
        [
            (f"{r['method']} on {r['set']}, points", r["difference, points"], f">= -{POINTS}",
             r["difference, points"] >= -POINTS)
            for r in rows
        ]
    )  # fmt: skip
    report.table("Accuracy, mean over splits (± over seeds)", rows)
    counts = {name: len(load(name).splits[0][1]) for name in args.sets}
    report.text(
        f"Test rows of the first split: {counts}; {args.splits} splits of flat sets at most, "
        f"{args.sequence_splits} of the others. The "
        "standard error is that of the mean of the differences between fits of the same split and "
        "seed; where there is one split, it holds for its test rows alone."
    )
    report.text(
        "Flat sets: defaults of the package for training; up to 5000 rows it fits all of them "
        f"again, for the epochs that did best, and the plain models do not. reg={REG} on both "
        f"sides; products of {LATENT}. Sequences: a fifth of the rows held out and no second fit "
        f"on either side. mustard: vectors of the last {WORDS} words of utterance and context, "
        "side by side for EF-LSTM and RAVEN. cogload_cv: every second step of three sensors, "
        "folds by subject."
    )
    report.write()


if __name__ == "__main__":
    main()
