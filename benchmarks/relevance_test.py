"""Rates at which relevance_test rejects: on data without interactions, and on a planted pair.

A small case, so that hundreds of runs take minutes: three modalities, one of them noise, few rows,
linear encoders, few epochs.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _common import Report, make_parser, run_tasks, seeds_of

from sklearn_mmfusion import InTenseClassifier, InTenseRegressor, LinearEncoder, relevance_test
from sklearn_mmfusion.datasets import make_recovery

ESTIMATORS = {"regression": InTenseRegressor, "classification": InTenseClassifier}
SETTINGS = {"latent_dim": 4, "early_stopping": False, "max_epochs": 30, "lr": 0.03}
ADDITIVE = {("a",): 1.0, ("b",): 0.5}
PAIR = 0.7
# name -> whether the pair is there, and the correlation of the tokens
CASES = {
    "no interactions": (False, 0.0),
    "planted pair": (True, 0.0),
    "no interactions, correlated": (False, 0.5),
}
FIRST = "no interactions"  # the other cases take --other-seeds
LEVEL = 0.05
PLANTED = ("a", "b", "a x b")


def run_test(task: dict[str, Any]) -> dict[str, Any]:
    """Test every term on one data set."""
    planted, correlation = CASES[task["case"]]
    data = make_recovery(
        task["n_samples"],
        {**ADDITIVE, ("a", "b"): PAIR if planted else 0.0},
        task=task["task"],
        correlation=correlation,
        target_noise=0.5 if task["task"] == "regression" else 0.0,
        n_noise_modalities=1,
        random_state=task["seed"],
    )
    estimator = ESTIMATORS[task["task"]](encoders=LinearEncoder(), **SETTINGS)
    result = relevance_test(estimator, data.data, data.target, random_state=task["seed"])
    return {"p": dict(zip(result.term_names, result.p_value.round(4).tolist(), strict=True))}


def tasks_of(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one task per data set; the first case of both kinds of target comes first."""
    return [
        {"case": case, "task": task, "n_samples": args.n_samples, "seed": seed}
        for case in args.cases
        for task in ESTIMATORS
        for seed in seeds_of(args)[: None if case == FIRST else args.other_seeds]
    ]


def rates(results: list[dict[str, Any]], case: str, task: str) -> dict[str, float]:
    """Return the share of runs in which each term is rejected."""
    mine = [r["p"] for r in results if (r["case"], r["task"]) == (case, task)]
    return {term: float(np.mean([p[term] <= LEVEL for p in mine])) for term in mine[0]}


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=200)
    parser.add_argument("--n-samples", type=int, default=400)
    parser.add_argument("--other-seeds", type=int, default=100, help="of all cases but the first")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    args = parser.parse_args()
    results = run_tasks(run_test, tasks_of(args), name="relevance_test", args=args)
    is_part = set(args.cases) != set(CASES)
    report = Report("relevance_test", "relevance_test: rates of rejection", args, is_part=is_part)
    rows, checks = [], []
    for case in args.cases:
        for task in ESTIMATORS:
            found = rates(results, case, task)
            mine = [r for r in results if (r["case"], r["task"]) == (case, task)]
            cost = float(np.mean([r["cpu_s"] for r in mine]))
            rows.append({"case": case, "target": task, "runs": len(mine), **found, "CPU s": cost})
            true = set(PLANTED if CASES[case][0] else PLANTED[:2])
            nulls = {term: rate for term, rate in found.items() if term not in true}
            pairs = [rate for term, rate in nulls.items() if " x " in term]
            checks.append(
                (f"{case}, {task}: false positives, mean of {len(pairs)} interactions",
                 float(np.mean(pairs)), "0.02 to 0.08", 0.02 <= np.mean(pairs) <= 0.08)
            )  # fmt: skip
            if CASES[case][0]:
                power = found["a x b"]
                checks.append(
                    (f"{case}, {task}: power for a x b", power, ">= 0.9", power >= 0.9)
                )  # fmt: skip
            else:
                rate = found["a x b"]
                checks.append(
                    (f"{case}, {task}: false positives, a x b", rate, "0.02 to 0.08",
                     0.02 <= rate <= 0.08)
                )  # fmt: skip
    report.targets(checks)
    report.table(f"Share of runs with p <= {LEVEL}", rows)
    report.text(
        f"make_recovery with {args.n_samples} rows, a: 1, b: 0.5, a x b: {PAIR} or 0, one modality "
        "of noise; regression with target noise 0.5, classes with logits of standard deviation 3; "
        f"InTense with LinearEncoder() and {SETTINGS}; half of the rows test, 999 draws. Each "
        "rate has a standard error of sqrt(rate (1 - rate) / runs), 0.015 at 0.05 and 200 runs."
    )
    report.write()


if __name__ == "__main__":
    main()
