"""MNL and InTense with default settings against scikit-learn baselines on the real data sets.

All methods are measured on the same given splits after the same preprocessing. The data come from
the folder that the environment variable MMFUSION_DATA names.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import numpy as np
from _baselines import baseline_scores, baseline_tasks, scores
from _common import Report, make_parser, mean_std, run_tasks, seeds_of
from _real_sets import SETS, load_set, prepare

from sklearn_mmfusion import InTenseClassifier, MNLClassifier

OURS = {"MNL": MNLClassifier, "InTense": InTenseClassifier}
ROW_LIMIT = 2.0  # points that we may lie under the best baseline on one set
COMPARED = ("LR best single", "GB best single", "LR joint", "GB joint", "LR late", "GB late")
QUICK_SETS = ("mosi_all", "dermatology")


def fit_ours(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one of our estimators on one split with one seed."""
    data = load_set(task["set"])
    train, test = data.splits[task["split"]]
    X_train, X_test = prepare(data, train, test)
    estimator = OURS[task["method"]](random_state=task["seed"], **(data.fusion_params or {}))
    estimator.fit(X_train, data.y[train])
    found = scores(data.y[test], estimator.predict_proba(X_test), estimator.classes_)
    return {
        **found,
        "relevance": {term: round(s, 4) for term, s in estimator.relevance_scores_.items()},
        "fusion_norm": estimator.fusion_norm_,
        "gain": estimator.validation_gain_,
        "polish_gap": estimator.polish_gap_,
        "epochs": estimator.n_iter_,
    }


def _n_splits(name: str, args: argparse.Namespace) -> int:
    return 1 if args.quick else len(load_set(name).splits)


def our_tasks(names: list[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one task per method, seed and split; all methods of a set stand together."""
    return [
        {"set": name, "split": split, "method": method, "seed": seed}
        for name in names
        for seed in seeds_of(args)
        for method in args.methods
        for split in range(_n_splits(name, args))
    ]


def baseline_means(results: list[dict[str, Any]], metric: str) -> dict[str, dict[str, float]]:
    """Return the mean over the splits by set and method, the best single modality added."""
    by_set: dict[str, dict[str, list[float]]] = {}
    for result in results:
        methods = by_set.setdefault(result["set"], {})
        for method, found in result["scores"].items():
            methods.setdefault(method, []).append(found.get(metric, np.nan))
    means = {name: {m: float(np.mean(v)) for m, v in ms.items()} for name, ms in by_set.items()}
    for methods in means.values():
        for kind in ("LR", "GB"):
            single = {
                method: value
                for method, value in methods.items()
                if method.startswith(f"{kind} ") and method not in COMPARED
            }
            # The best one on the test rows: a choice that no user could make, in their favour.
            methods[f"{kind} best single"] = _best(single.values(), metric)
    return means


def _best(values: Iterable[float], metric: str) -> float:
    return min(values) if metric == "log_loss" else max(values)


def our_seeds(results: list[dict[str, Any]], metric: str) -> dict[tuple[str, str], list[float]]:
    """Return the mean over the splits of each seed, by set and method."""
    folds: dict[tuple[str, str, int], list[float]] = {}
    for result in results:
        key = result["set"], result["method"], result["seed"]
        folds.setdefault(key, []).append(result.get(metric, np.nan))
    found: dict[tuple[str, str], list[float]] = {}
    for (name, method, _), values in folds.items():
        found.setdefault((name, method), []).append(float(np.mean(values)))
    return found


def report_metric(
    report: Report,
    names: list[str],
    baselines: list[dict[str, Any]],
    ours: list[dict[str, Any]],
    metric: str,
) -> None:
    """Add the table of one metric, every method and set."""
    means, seeds = baseline_means(baselines, metric), our_seeds(ours, metric)
    methods = list(dict.fromkeys(method for _, method in seeds))
    rows = []
    for name in names:
        if all(np.isnan(means[name][method]) for method in COMPARED):
            continue
        row = {"set": name, **{method: means[name][method] for method in COMPARED}}
        for method in methods:
            row[method] = mean_std(seeds[name, method])
            best = _best((means[name][m] for m in COMPARED), metric)
            row[f"{method} - best"] = float(np.mean(seeds[name, method])) - best
        rows.append(row)
    report.table(f"{metric.replace('_', ' ').capitalize()}, mean over splits (± over seeds)", rows)


def report_targets(
    report: Report,
    names: list[str],
    baselines: list[dict[str, Any]],
    ours: list[dict[str, Any]],
) -> None:
    """Add mean accuracies over the sets and whether they reach those of the best baseline."""
    means, seeds = baseline_means(baselines, "accuracy"), our_seeds(ours, "accuracy")
    additive = [name for name in names if load_set(name).additive]
    rows, checks = [], []
    for method in dict.fromkeys(method for _, method in seeds):
        counted = additive if method == "MNL" else names
        mine = {name: float(np.mean(seeds[name, method])) for name in counted}
        mean = float(np.mean(list(mine.values())))
        others = {m: float(np.mean([means[name][m] for name in counted])) for m in COMPARED}
        rows.append({"compared with": method, "sets": len(counted), "ours": mean, **others})
        best = max(others, key=others.__getitem__)
        checks.append(
            (f"{method}: mean over {len(counted)} sets", mean, f">= {others[best]:.3f} ({best})",
             mean >= others[best])
        )  # fmt: skip
        under = {name: 100 * (max(means[name][m] for m in COMPARED) - mine[name]) for name in mine}
        worst = max(under, key=under.__getitem__)
        checks.append(
            (f"{method}: points under the best, at worst ({worst})", under[worst],
             f"<= {ROW_LIMIT}", under[worst] <= ROW_LIMIT)
        )  # fmt: skip
    report.table("Mean accuracy over the sets", rows)
    report.targets(checks)


def report_details(
    report: Report, baselines: list[dict[str, Any]], ours: list[dict[str, Any]]
) -> None:
    """Add the scores of single modalities, and epochs, times and warnings of our fits."""
    means = baseline_means(baselines, "accuracy")
    rows = [
        {"set": name, "modality": method[3:], "LR": value, "GB": methods[f"GB{method[2:]}"]}
        for name, methods in means.items()
        for method, value in methods.items()
        if method.startswith("LR ") and method not in COMPARED
    ]
    report.table("Accuracy of single modalities", rows)
    fits: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in ours:
        fits.setdefault((result["set"], result["method"]), []).append(result)
    rows = []
    for (name, method), found in fits.items():
        warned = sorted({w for result in found for w in result["warnings"]})
        rows.append(
            {
                "set": name,
                "method": method,
                "CPU s per fit": float(np.mean([r["cpu_s"] for r in found])),
                "epochs": float(np.mean([r["epochs"] for r in found])),
                "polished": f"{sum(not np.isnan(r['polish_gap']) for r in found)} of {len(found)}",
                "fusion norm": float(np.mean([r["fusion_norm"] for r in found])),
                "validation gain": float(np.mean([r["gain"] for r in found])),
                "warnings": ", ".join(
                    f"{sum(w in r['warnings'] for r in found)} of {len(found)} {w}" for w in warned
                ),
            }
        )
    report.table("Our fits", rows)


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=5)
    parser.add_argument("--sets", nargs="+", choices=SETS, help="all of them")
    parser.add_argument("--methods", nargs="+", choices=OURS, default=list(OURS))
    parser.add_argument("--baselines-only", action="store_true")
    args = parser.parse_args()
    names = args.sets or (list(QUICK_SETS) if args.quick else list(SETS))
    baselines = run_tasks(
        baseline_scores,
        [task for name in names for task in baseline_tasks(name, _n_splits(name, args))],
        name="baselines",
        args=args,
        depends_on_code=False,
    )
    is_part = bool(args.sets or args.baselines_only or len(args.methods) < len(OURS))
    report = Report(
        "real_data", "Real data: ours against scikit-learn baselines", args, is_part=is_part
    )
    ours = []
    if not args.baselines_only:
        ours = run_tasks(fit_ours, our_tasks(names, args), name="real_data", args=args)
        report_targets(report, names, baselines, ours)
    for metric in ("accuracy", "balanced_accuracy", "auc", "log_loss"):
        report_metric(report, names, baselines, ours, metric)
    report_details(report, baselines, ours)
    report.text(
        "Accuracy decides, also on zuco_ner, where 0.888 is that of the largest class; balanced "
        "accuracy and area under the ROC stand beside it. LR: standardised logistic regression; "
        "GB: 100 trees of 8 leaves; late: sum of log-posteriors of models of single modalities; "
        "best single: the modality that is best on the test rows. Baselines do not depend on a "
        "seed."
    )
    report.write()


if __name__ == "__main__":
    main()
