"""Rates at which relevance_test rejects: on data without interactions, and on a planted pair.

Small cases, so that hundreds of runs take minutes: three modalities, one of them noise, few rows,
linear encoders, few epochs. Of two modalities with bent effects, correlated or not, also by the
encoders chosen by shape, and with more rows. Every run has data, a split and signs of its own: a
chance correlation of two modalities or of the noise counts once, not in all bends and all cells.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from _common import Check, Report, make_parser, run_tasks, seeds_of
from scipy.stats import binom

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
# Two modalities of three columns, the first ones correlated, with the same bent effect of each.
BENDS: dict[str, Callable[[Any], Any]] = {
    "square": lambda z: (z**2 - 1) / np.sqrt(2),
    "abs": lambda z: (np.abs(z) - 0.798) / 0.603,
    "exp": lambda z: (np.exp(0.7 * z) - 1.278) / 1.02,
    "tanh": lambda z: np.tanh(2 * z) / 0.8,
    "step": lambda z: np.where(z > 0.3, 1.0, -1.0),
    "wave": lambda z: 1.4 * np.sin(2 * z),
}
ENCODERS = {"linear": {"encoders": LinearEncoder(), **SETTINGS}, "by shape": {"max_epochs": 60}}
# name -> correlation, factor of the product of the second columns
BENT_CASES = {"bent, 0": (0.0, 0.0), "bent, 0.6": (0.6, 0.0), "bent, 0.8": (0.8, 0.0),
              "bent and a pair, 0": (0.0, 0.4), "bent and a pair, 0.6": (0.6, 0.4)}  # fmt: skip
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


def run_bent(task: dict[str, Any]) -> dict[str, Any]:
    """Test the pair of two modalities with bent effects on one data set."""
    n, (correlation, pair) = task["n_samples"], BENT_CASES[task["case"]]
    rng = np.random.default_rng(task["seed"])  # several numbers, of the cell and of the run
    a, b = rng.normal(size=(2, n, 3))
    b[:, 0] = correlation * a[:, 0] + np.sqrt(1 - correlation**2) * b[:, 0]
    bend = BENDS[task["bend"]]
    signal = bend(a[:, 0]) + bend(b[:, 0]) + pair * a[:, 1] * b[:, 1]
    if task["task"] == "regression":
        y = signal + rng.normal(size=n)
    else:
        y = (rng.uniform(size=n) < 1 / (1 + np.exp(-1.5 * signal))).astype(int)
    estimator = ESTIMATORS[task["task"]](**ENCODERS[task["encoders"]])
    data, seed = {"a": a, "b": b}, int(rng.integers(2**31))
    result = relevance_test(estimator, data, y, terms=["a x b"], random_state=seed)
    return {"p": {"a x b": round(float(result.p_value[0]), 4)}}


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Run one task of either kind."""
    return run_bent(task) if task["case"] in BENT_CASES else run_test(task)


def bent_tasks(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one task per data set of two modalities with bent effects."""
    return [
        {"case": case, "task": task, "encoders": encoders, "bend": bend, "n_samples": n,
         "seed": [seed, i, j, k, n, m]}
        for i, case in enumerate(BENT_CASES)
        for j, task in enumerate(ESTIMATORS)
        for k, encoders in enumerate(ENCODERS)
        for n in args.bent_samples
        for m, bend in enumerate(BENDS)
        for seed in seeds_of(args)[: args.bent_seeds]
    ]  # fmt: skip


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


def bent_table(results: list[dict[str, Any]], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rates of each case by bend, and their mean."""
    rows = []
    for key in product(BENT_CASES, ESTIMATORS, ENCODERS, args.bent_samples):
        names = ("case", "task", "encoders", "n_samples")
        mine = [r for r in results if tuple(r.get(name) for name in names) == key]
        by_bend = {
            bend: float(np.mean([r["p"]["a x b"] <= LEVEL for r in mine if r["bend"] == bend]))
            for bend in BENDS
        }
        mean = float(np.mean(list(by_bend.values())))
        cost = float(np.mean([r["cpu_s"] for r in mine]))
        figures = {"mean": mean, "runs": len(mine), "CPU s": cost}
        rows.append(dict(zip(names, key, strict=True)) | by_bend | figures)
    return rows


def bent_checks(rows: list[dict[str, Any]]) -> list[Check]:
    """Return the targets of the cases without the pair: their means, and their worst cell."""
    checks: list[Check] = []
    null = [row for row in rows if not BENT_CASES[row["case"]][1]]
    for case in dict.fromkeys(row["case"] for row in null):
        mean = float(np.mean([row["mean"] for row in null if row["case"] == case]))
        figure = f"{case}: false positives, a x b"
        checks.append((figure, mean, "0.02 to 0.08", 0.02 <= mean <= 0.08))
    for row in [max(null, key=lambda row: row["mean"])] if null else []:
        most = float(binom.ppf(0.999, row["runs"], LEVEL)) / row["runs"]
        figure = f"the worst of {len(null)} cells of bent effects without a pair"
        checks.append((figure, row["mean"], f"<= {most:.3f}", row["mean"] <= most))
    return checks


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=200)
    parser.add_argument("--n-samples", type=int, default=400)
    parser.add_argument("--other-seeds", type=int, default=100, help="of all cases but the first")
    parser.add_argument("--bent-samples", type=int, nargs="+", default=[400, 2000])
    parser.add_argument("--bent-seeds", type=int, default=10, help="of each bend, 0 for none")
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    args = parser.parse_args()
    tasks = tasks_of(args) + bent_tasks(args)
    results = run_tasks(run, tasks, name="relevance_test", args=args)
    is_part = set(args.cases) != set(CASES) or args.bent_seeds == 0
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
    bent_rows = bent_table(results, args) if args.bent_seeds else []
    checks += bent_checks(bent_rows)
    report.targets(checks)
    if rows:
        report.table(f"Share of runs with p <= {LEVEL}", rows)
    if bent_rows:
        report.table(
            f"Two modalities with bent effects: share of a x b with p <= {LEVEL}", bent_rows
        )
        report.text(
            "Cases: correlation of the first columns, and whether a product of the second ones is "
            "there (factor 0.4). y = f(a1) + f(b1) and normal noise of variance 1, or classes with "
            f"logits of 1.5 times that; {args.bent_seeds} data sets of each bend, no two the same. "
            "Linear encoders as below; by shape: max_epochs=60. The worst cell is set against the "
            f"99.9 % quantile of as many runs at a rate of {LEVEL}."
        )
    report.text(
        f"make_recovery with {args.n_samples} rows, a: 1, b: 0.5, a x b: {PAIR} or 0, one modality "
        "of noise; regression with target noise 0.5, classes with logits of standard deviation 3; "
        f"InTense with LinearEncoder() and {SETTINGS}; half of the rows test, 999 draws. Each "
        "rate has a standard error of sqrt(rate (1 - rate) / runs), 0.015 at 0.05 and 200 runs."
    )
    report.write()


if __name__ == "__main__":
    main()
