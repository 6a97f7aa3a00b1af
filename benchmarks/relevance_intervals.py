"""How often the 95 % intervals of relevance_intervals hold the true relevance on make_recovery.

A small case, so that hundreds of fits take minutes: few rows, few features, linear encoders, few
epochs, one fit without a choice on held-out rows.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np
from _common import Report, make_parser, mean_std, run_tasks, seeds_of

from sklearn_mmfusion import InTenseRegressor, LinearEncoder, relevance_intervals
from sklearn_mmfusion.datasets import make_recovery

SETTINGS = {
    "latent_dim": 3,
    "early_stopping": False,
    "max_epochs": 40,
    "lr": 0.03,
    "reg": 0.005,
}
TASKS = {
    "balanced": {"balance": 0.5},
    "unbalanced": {"balance": {"a": 0.7, "b": 0.35}},
}
COEFFICIENTS = {("a",): 1.0, ("b",): 0.5, ("a", "b"): 0.5}
METHODS = ("bootstrap", "cv")
TARGET = 0.9


def intervals(task: dict[str, Any]) -> dict[str, Any]:
    """Return the truth and the interval of every term on one data set."""
    data = make_recovery(
        task["n_samples"],
        COEFFICIENTS,
        **TASKS[task["task"]],
        n_features=3,
        noise=0.1,
        target_noise=0.5,
        random_state=task["seed"],
    )
    estimator = InTenseRegressor(encoders=LinearEncoder(), **SETTINGS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few epochs, on purpose
        found = relevance_intervals(
            estimator,
            data.data,
            data.target,
            method=task["method"],
            n_refits=task["n_refits"],
            null=False,
            random_state=task["seed"],
        )
    return {
        "truth": [data.relevance[term] for term in found.term_names],
        "terms": found.term_names,
        "estimate": found.estimate.tolist(),
        "ends": found.interval.tolist(),
    }


def tasks_of(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one task per data set and method."""
    return [
        {"method": method, "task": task, "n_samples": args.n_samples, "seed": seed,
         "n_refits": args.n_refits}
        for seed in seeds_of(args)
        for method in args.methods
        for task in TASKS
    ]  # fmt: skip


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=10)
    parser.add_argument("--n-samples", type=int, default=400)
    parser.add_argument("--n-refits", type=int, default=10)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    args = parser.parse_args()
    results = run_tasks(intervals, tasks_of(args), name="relevance_intervals", args=args)
    is_part = set(args.methods) != set(METHODS)
    title = "relevance_intervals: coverage on make_recovery"
    report = Report("relevance_intervals", title, args, is_part=is_part)
    rows, checks = [], []
    for method in args.methods:
        covered: list[float] = []
        for task in TASKS:
            mine = [r for r in results if (r["method"], r["task"]) == (method, task)]
            for i, term in enumerate(mine[0]["terms"]):
                truth = mine[0]["truth"][i]
                inside = [r["ends"][i][0] <= truth <= r["ends"][i][1] for r in mine]
                covered += inside
                rows.append(
                    {"method": method, "task": task, "term": term, "truth": truth,
                     "estimate": mean_std(r["estimate"][i] for r in mine),
                     "mean half width": float(
                         np.mean([(r["ends"][i][1] - r["ends"][i][0]) / 2 for r in mine])
                     ),
                     "coverage": float(np.mean(inside)), "data sets": len(mine)}
                )  # fmt: skip
        share = float(np.mean(covered))
        checks.append(
            (f"{method}: coverage of the truth, all terms", share, f">= {TARGET}", share >= TARGET)
        )
    report.targets(checks)
    report.table("By term: estimate over data sets, interval, coverage", rows)
    report.text(
        f"make_recovery with {args.n_samples} rows, a: 1, b: 0.5, a x b: 0.5, 3 features, noise "
        f"0.1, target noise 0.5; unbalanced: P(+1) {TASKS['unbalanced']['balance']}; "
        f"InTenseRegressor with LinearEncoder() and {SETTINGS}; {args.n_refits} refits. Terms of "
        "one data set are not independent: over k data sets the standard error of a coverage of "
        "0.95 is up to 0.22 / sqrt(k)."
    )
    report.write()


if __name__ == "__main__":
    main()
