"""What n_bags does for accuracy on the real data sets, beside one fit with the same seed.

The data come from the folder that the environment variable MMFUSION_DATA names.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _baselines import scores
from _common import Report, make_parser, run_tasks, seeds_of
from _real_sets import SETS, load_set, prepare

from sklearn_mmfusion import InTenseClassifier, MNLClassifier

METHODS = {"MNL": MNLClassifier, "InTense": InTenseClassifier}
COMPARED = ("mosi_clean", "mustard", "wiki", "cogload", "avmnist_fsdd")
METRICS = ("accuracy", "log_loss")


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one split with one seed and some number of members."""
    data = load_set(task["set"])
    train, test = data.splits[task["split"]]
    X_train, X_test = prepare(data, train, test)
    estimator = METHODS[task["method"]](
        random_state=task["seed"], n_bags=task["n_bags"], **(data.fusion_params or {})
    )
    estimator.fit(X_train, data.y[train])
    found = scores(data.y[test], estimator.predict_proba(X_test), estimator.classes_)
    stds = list(estimator.relevance_std_.values())
    return {**found, "relevance_std": float(np.mean(stds)), "gain": estimator.validation_gain_}


def tasks_of(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one task per set, split, seed and number of members."""
    return [
        {"set": name, "split": split, "method": method, "n_bags": n_bags, "seed": seed}
        for name in args.sets
        for method in args.methods
        for seed in seeds_of(args)
        for split in range(min(args.splits, len(load_set(name).splits)))
        for n_bags in (1, args.n_bags)
    ]


def rows_of(results: list[dict[str, Any]], n_bags: int) -> list[dict[str, Any]]:
    """Return one row per set and method: both figures, and their difference."""
    rows = []
    for name, method in dict.fromkeys((r["set"], r["method"]) for r in results):
        mine = [r for r in results if (r["set"], r["method"]) == (name, method)]
        one, many = ([r for r in mine if r["n_bags"] == n] for n in (1, n_bags))
        row: dict[str, Any] = {"set": name, "method": method, "fits": len(one)}
        for metric in METRICS:
            means = [float(np.mean([r[metric] for r in part])) for part in (one, many)]
            row |= {f"{metric}, 1": means[0], f"{metric}, {n_bags}": means[1]}
            row[f"{metric}, difference"] = means[1] - means[0]
        row["relevance std over members"] = float(np.mean([r["relevance_std"] for r in many]))
        row["CPU s, 1"], row[f"CPU s, {n_bags}"] = (
            float(np.mean([r["cpu_s"] for r in part])) for part in (one, many)
        )
        rows.append(row)
    return rows


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(COMPARED))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["MNL"])
    parser.add_argument("--splits", type=int, default=2, help="at most that many of each set (2)")
    parser.add_argument("--n-bags", type=int, default=5)
    args = parser.parse_args()
    results = run_tasks(fit, tasks_of(args), name="bags", args=args)
    is_part = set(args.sets) != set(COMPARED)
    report = Report("bags", "n_bags on real data", args, is_part=is_part)
    rows = rows_of(results, args.n_bags)
    report.table(f"One fit and the mean of {args.n_bags}, same seeds", rows, digits=4)
    gains = [row["accuracy, difference"] for row in rows]
    falls = [row["log_loss, difference"] for row in rows]
    report.text(
        f"Mean difference over the rows: accuracy {np.mean(gains):+.4f}, log-loss "
        f"{np.mean(falls):+.4f}. Default settings. The first member of a bag is the fit with "
        "n_bags=1 of the same seed, so that the two columns are not independent."
    )
    report.write()


if __name__ == "__main__":
    main()
