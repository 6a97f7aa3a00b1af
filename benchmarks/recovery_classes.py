"""Relevance, size of the contributions and log-loss of classes whose true log-odds are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import Report, make_parser, mean_std, run_tasks, seeds_of

from sklearn_mmfusion import InTenseClassifier, MNLClassifier, relevance_scores
from sklearn_mmfusion.datasets import make_recovery

ADDITIVE = {("a",): 1.0, ("b",): 0.4}
TASKS = {"additive": ADDITIVE, "with an interaction": {**ADDITIVE, ("a", "b"): 0.6}}
METHODS = {"MNL": MNLClassifier, "InTense": InTenseClassifier}
SIZES, SCALES = (500, 1000, 4000), (0.75, 1.5)
N_NEW = 10_000
MASS = 0.05


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one estimator to one set of rows, and judge it on new ones."""
    n = task["n"]
    data = make_recovery(
        n + N_NEW,
        TASKS[task["task"]],
        task="classification",
        logit_scale=task["scale"],
        n_noise_modalities=2,
        random_state=task["seed"],
    )
    X, y, signal = data.data, data.target, data.signal
    logit = task["scale"] * (signal - signal.mean()) / signal.std()
    train, test = slice(0, n), slice(n, None)
    rows = {name: values[train] for name, values in X.items()}
    new = {name: values[test] for name, values in X.items()}
    estimator = METHODS[task["method"]](random_state=task["seed"]).fit(rows, y[train])
    found, truth = estimator.decision_function(new), logit[test]
    relevance = estimator.relevance_scores_
    known = data.relevance
    error = [abs(share - known.get(term, 0.0)) for term, share in relevance.items()]
    held_out = relevance_scores(estimator, new, y[test])
    return {
        "weak": relevance["b"],
        "truth": known["b"],
        "held-out weak": float(held_out["b"]),
        "worst": max(error),
        "nothing": sum(s for t, s in relevance.items() if "noise" in t),
        "slope": float(np.polyfit(truth, found, 1)[0]),
        "excess": expected_loss(truth, found) - expected_loss(truth, truth),
        "factor": estimator.calibration_factor_,
        "relaxed": estimator.relaxed_reg_ / estimator.reg_,
    }


def expected_loss(truth: np.ndarray, found: np.ndarray) -> float:
    """Return the log-loss that is to be expected under the true log-odds."""
    chance = 1 / (1 + np.exp(-truth))
    return float(np.mean(np.logaddexp(0, found) - chance * found))


def main() -> None:
    """Run."""
    args = make_parser(__doc__, seeds=5).parse_args()
    sizes = SIZES[1:2] if args.quick else SIZES
    kinds = [
        {"task": task, "method": method, "n": n, "scale": scale}
        for task in TASKS
        for method in METHODS
        for n in sizes
        for scale in SCALES
        if not (method == "MNL" and task != "additive")
    ]
    tasks = [{**kind, "seed": seed} for kind in kinds for seed in seeds_of(args)]
    results = run_tasks(fit, tasks, name="recovery_classes", args=args)
    report = Report("recovery_classes", "Classes of known log-odds", args)
    rows, masses = [], []
    for kind in kinds:
        mine = [r for r in results if all(r[key] == value for key, value in kind.items())]
        masses.append(float(np.mean([r["nothing"] for r in mine])))
        row = {"task": kind["task"], "method": kind["method"], "rows": kind["n"]}
        row |= {"std of log-odds": kind["scale"], "b, truth": mine[0]["truth"]}
        names = ("weak", "held-out weak", "worst", "nothing", "slope", "excess", "factor")
        shown = ("b", "b, held-out", "worst error", "on nothing", "slope", "excess", "factor")
        for name, title in zip(names, shown, strict=True):
            row[title] = mean_std(r[name] for r in mine)
        row["relaxed"] = f"{sum(r['relaxed'] < 1 for r in mine)} of {len(mine)}"
        rows.append(row)
    report.targets(
        [("mass on terms that carry nothing, mean of all kinds", float(np.mean(masses)),
          f"<= {MASS}", bool(np.mean(masses) <= MASS))]
    )  # fmt: skip
    report.table("By kind, mean ± std over seeds", rows)
    report.text(
        f"make_recovery(task='classification'), coefficients {ADDITIVE}, and 0.6 of a x b where "
        "there is an interaction; two modalities of noise beside them. Worst error: of a term's "
        "relevance. Slope: of the decision function on the true log-odds of "
        f"{N_NEW} new rows; below 1, the contributions are too small. Excess: expected log-loss "
        "above that of the true log-odds. Factor: `calibration_factor_`. Relaxed: fits with "
        "`relaxed_reg_` below `reg_`."
    )
    report.write()


if __name__ == "__main__":
    main()
