"""Encoders of sequences: GRU with batch norm, Transformer, MLP and the default, MNL and InTense.

On the real sets with sequences: MUStARD (words of utterance and context), CogLoad (five sensors)
and AV-MNIST (spoken digits). The data come from the folder that MMFUSION_DATA names.
"""

from __future__ import annotations

import argparse
from functools import lru_cache
from typing import Any

import numpy as np
from _baselines import scores
from _common import Report, make_parser, mean_std, run_tasks, seeds_of
from _real_sets import RealSet, load_arrays, load_set, prepare, summarise

from sklearn_mmfusion import (
    GRUEncoder,
    InTenseClassifier,
    MLPEncoder,
    MNLClassifier,
    TransformerEncoder,
)

METHODS = {"MNL": MNLClassifier, "InTense": InTenseClassifier}
# Parameters by encoder; "MLP" reads a summary of the steps, "MLP, flat" all of them in a row.
ENCODERS = {
    "GRU": GRUEncoder(batch_norm=True),
    "Transformer": TransformerEncoder(),
    "MLP": MLPEncoder(),
    "MLP, flat": MLPEncoder(),
    "auto": "auto",
}
SEQUENCES = {
    "mustard": ("utterance", "context"),
    "cogload": ("gsr", "hr", "rr", "temp", "acc"),
    "avmnist_fsdd": ("audio",),
}


@lru_cache(maxsize=2)
def sequence_set(name: str) -> RealSet:
    """Return a set with its sequences: (n, T, d), NaN where a row has fewer steps."""
    data = load_set(name)
    if name != "mustard":
        return data
    arrays = load_arrays("mustard")
    vectors = arrays["embedding"].copy()
    vectors[0] = np.nan  # the code of padding
    X = dict(data.X)
    for modality in SEQUENCES[name]:
        words = vectors[arrays[f"{modality}_ids"]]
        X[modality] = _left_aligned(words)
    return RealSet(
        X, data.y, data.splits, data.C, sequences=True, fusion_params={"missing": "mask"}
    )


def _left_aligned(values: np.ndarray) -> np.ndarray:
    """Move padding behind the valid steps."""
    padded = np.isnan(values[:, :, 0])
    order = np.argsort(padded, axis=1, kind="stable")
    return np.take_along_axis(values, order[:, :, None], axis=1)


def _summary(values: np.ndarray) -> np.ndarray:
    """Return summaries of the valid steps; NaN throughout where a row has none."""
    rows = []
    for row in values:
        valid = row[~np.isnan(row).all(axis=1)]
        empty = np.full((1, 5 * values.shape[2]), np.nan)
        rows.append(summarise(valid[None]) if len(valid) else empty)
    return np.concatenate(rows).astype(np.float32)


def _flat(values: np.ndarray) -> np.ndarray:
    """Return all steps in a row, 0 where padded; NaN throughout where a row has no step."""
    flat = np.nan_to_num(values).reshape(len(values), -1)
    flat[np.isnan(values).all(axis=(1, 2))] = np.nan
    return flat


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one encoder with one estimator on one split."""
    data = sequence_set(task["set"])
    sequences = SEQUENCES[task["set"]]
    train, test = data.splits[task["split"]]
    parts = prepare(data, train, test)
    if task["encoder"] in ("MLP", "MLP, flat"):
        change = _summary if task["encoder"] == "MLP" else _flat
        parts = tuple(
            {name: change(X[name]) if name in sequences else X[name] for name in X} for X in parts
        )
    X_train, X_test = parts
    estimator = METHODS[task["method"]](
        encoders=dict.fromkeys(sequences, ENCODERS[task["encoder"]]),
        random_state=task["seed"],
        **(data.fusion_params or {}),
    ).fit(X_train, data.y[train])
    return {
        **scores(data.y[test], estimator.predict_proba(X_test), estimator.classes_),
        "relevance": {term: round(s, 4) for term, s in estimator.relevance_scores_.items()},
        "epochs": estimator.n_iter_,
    }


def make_tasks(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one task per set, encoder, estimator, seed and split."""
    names = args.sets or (["cogload"] if args.quick else list(SEQUENCES))
    return [
        {"set": name, "encoder": encoder, "method": method, "split": split, "seed": seed}
        for name in names
        for encoder in ENCODERS
        for method in METHODS
        for seed, split in _seeds_and_splits(name, args)
        # 19,200 flat features of 64 words say nothing about encoders.
        if not (name == "mustard" and encoder == "MLP, flat")
    ]


def _seeds_and_splits(name: str, args: argparse.Namespace) -> list[tuple[int, int]]:
    """Return every seed on a single split, but one seed on each of several splits."""
    n_splits = 1 if args.quick else min(args.splits, len(load_set(name).splits))
    seeds = seeds_of(args) if n_splits == 1 else [args.first_seed]
    return [(seed, split) for seed in seeds for split in range(n_splits)]


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=3)
    parser.add_argument("--sets", nargs="+", choices=SEQUENCES, help="all of them")
    parser.add_argument("--splits", type=int, default=2, help="splits of mustard to use (2)")
    args = parser.parse_args()
    results = run_tasks(fit, make_tasks(args), name="encoder_ablation", args=args)

    report = Report(
        "encoder_ablation", "Encoders of sequences on real data", args, is_part=bool(args.sets)
    )
    rows, relevance = [], []
    for name in dict.fromkeys(r["set"] for r in results):
        for encoder in ENCODERS:
            row: dict[str, Any] = {"set": name, "encoder": encoder}
            for method in METHODS:
                mine = [
                    r
                    for r in results
                    if (r["set"], r["encoder"], r["method"]) == (name, encoder, method)
                ]
                if not mine:
                    continue
                row[f"{method} accuracy"] = mean_std(r["accuracy"] for r in mine)
                row[f"{method} log-loss"] = float(np.mean([r["log_loss"] for r in mine]))
                row[f"{method} CPU s"] = float(np.mean([r["cpu_s"] for r in mine]))
                relevance.append(
                    {
                        "set": name,
                        "encoder": encoder,
                        "method": method,
                        "relevance (five largest terms)": _largest(mine),
                    }
                )
            if len(row) > 2:
                rows.append(row)
    report.table("Accuracy, mean ± std over fits", rows)
    report.table("Relevance, mean over fits", relevance)
    report.text(
        "The encoder is that of the sequences; other modalities have the default. MLP: on mean, "
        "std, min, max and last - first of each feature; MLP, flat: on all steps; auto: the "
        "default for the shape. mustard: vectors of the words instead of their mean, "
        f"one fit on each of the first {args.splits} folds; the other sets one fit per seed."
    )
    report.write()


def _largest(fits: list[dict[str, Any]], n_terms: int = 5) -> str:
    means = {t: float(np.mean([r["relevance"][t] for r in fits])) for t in fits[0]["relevance"]}
    ranked = sorted(means, key=means.__getitem__, reverse=True)[:n_terms]
    return ", ".join(f"{term} {means[term]:.2f}" for term in ranked)


if __name__ == "__main__":
    main()
