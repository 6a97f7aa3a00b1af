"""Multimodal routing and its two ablations against scikit-learn baselines on real data.

RoutingClassifier, Routing* (``n_routing_iter=0``) and GAMClassifier with default settings, each
with its own features of the terms and with MulT's, on the given splits. The data come from the
folder that the environment variable MMFUSION_DATA names.
"""

from __future__ import annotations

import argparse
from functools import lru_cache
from typing import Any

import numpy as np
from _baselines import baseline_scores, baseline_tasks, scores
from _common import Check, Report, make_parser, mean_std, run_tasks, seeds_of
from _real_sets import RealSet, load_set, prepare
from encoder_ablation import sequence_set
from real_data import COMPARED, baseline_means, our_seeds, report_metric

from sklearn_mmfusion import GAMClassifier, MulTEncoder, RoutingClassifier

METHODS = {
    "Routing": (RoutingClassifier, {"n_routing_iter": 1}),
    "Routing*": (RoutingClassifier, {"n_routing_iter": 0}),
    "GAM": (GAMClassifier, {}),
}
FEATURES = ("default", "MulT")
SET_NAMES = ("mosi_clean", "mosi_all", "mustard", "cogload", "avmnist_fsdd")
QUICK_SETS = ("mosi_all", "cogload")
ROW_LIMIT = 1.0  # points that Routing may lie under the best baseline on one set


@lru_cache(maxsize=2)
def steps_set(name: str) -> RealSet:
    """Return a set as MulT reads it: words of mustard one by one, images row by row."""
    data = sequence_set(name)
    if name != "avmnist_fsdd":
        return data
    X = {**data.X, "image": data.X["image"].reshape(-1, 28, 28)}
    return RealSet(X, data.y, data.splits, data.C)


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one method with one kind of features on one split."""
    is_mult = task["features"] == "MulT"
    data = steps_set(task["set"]) if is_mult else load_set(task["set"])
    train, test = data.splits[task["split"]]
    X_train, X_test = prepare(data, train, test)
    estimator_class, parameters = METHODS[task["method"]]
    estimator = estimator_class(
        encoders=MulTEncoder() if is_mult else "auto",
        interactions=task["interactions"],
        random_state=task["seed"],
        **parameters,
        **(data.fusion_params or {}),
    ).fit(X_train, data.y[train])
    return {
        **scores(data.y[test], estimator.predict_proba(X_test), estimator.classes_),
        "relevance": _rounded(estimator.relevance_scores_),
        "share": _rounded(estimator.contribution_shares_),
        "gain": estimator.validation_gain_,
        "epochs": estimator.n_iter_,
    }


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {term: round(value, 4) for term, value in values.items()}


def make_tasks(names: list[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one task per set, kind of features, seed, split and method."""
    return [
        {
            "set": name,
            "features": features,
            "method": method,
            "interactions": args.interactions,
            "split": split,
            "seed": seed,
        }
        for features in args.features
        for name in names
        for seed in seeds_of(args)
        for split in range(_n_splits(name, args))
        for method in args.methods
    ]


def _n_splits(name: str, args: argparse.Namespace) -> int:
    return 1 if args.quick else len(load_set(name).splits)


def _labelled(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return results whose method names the features too."""
    return [{**r, "method": _label(r["method"], r["features"])} for r in results]


def _label(method: str, features: str) -> str:
    return f"{method}, {features}"


def report_targets(
    report: Report,
    names: list[str],
    baselines: list[dict[str, Any]],
    ours: list[dict[str, Any]],
    features: str,
) -> None:
    """Add whether Routing is as good as its ablations on average, and near the best baseline."""
    means, seeds = baseline_means(baselines, "accuracy"), our_seeds(ours, "accuracy")
    mine = {
        method: {name: float(np.mean(seeds[name, _label(method, features)])) for name in names}
        for method in METHODS
        if all((name, _label(method, features)) in seeds for name in names)
    }
    if "Routing" not in mine:
        return
    mean = {method: float(np.mean(list(values.values()))) for method, values in mine.items()}
    checks: list[Check] = [
        (f"{features} features: mean of Routing over {len(names)} sets", mean["Routing"],
         f">= {mean[other]:.4f} ({other})", mean["Routing"] >= mean[other])
        for other in mean
        if other != "Routing"
    ]  # fmt: skip
    for name in names:
        best = max(COMPARED, key=means[name].__getitem__)
        under = 100 * (means[name][best] - mine["Routing"][name])
        checks.append(
            (f"{features} features, {name}: points under the best baseline ({best})", under,
             f"<= {ROW_LIMIT}", under <= ROW_LIMIT)
        )  # fmt: skip
    report.targets(checks)


def report_means(report: Report, names: list[str], ours: list[dict[str, Any]]) -> None:
    """Add mean accuracies over the sets, and how Routing compares fit by fit."""
    rows = []
    for features in dict.fromkeys(r["features"] for r in ours):
        fits = {
            method: {
                (r["set"], r["seed"], r["split"]): r["accuracy"]
                for r in ours
                if (r["method"], r["features"]) == (method, features)
            }
            for method in METHODS
        }
        for method, found in fits.items():
            if not found:
                continue
            by_set = [np.mean([v for key, v in found.items() if key[0] == name]) for name in names]
            row = {"features": features, "method": method, "mean": float(np.mean(by_set))}
            common = found.keys() & fits["Routing"].keys()
            gaps = [100 * (fits["Routing"][key] - found[key]) for key in sorted(common)]
            row["Routing - this, points per fit"] = (
                mean_std(gaps, 2) if method != "Routing" else None
            )
            row["Routing wins / ties / loses"] = (
                "/".join(str(sum(np.sign(gaps) == sign)) for sign in (1, 0, -1))
                if method != "Routing"
                else None
            )
            rows.append(row)
    report.table("Mean accuracy over the sets", rows)


def report_details(report: Report, ours: list[dict[str, Any]]) -> None:
    """Add times, epochs, warnings and the largest terms."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for result in ours:
        key = result["set"], result["features"], result["method"]
        groups.setdefault(key, []).append(result)
    rows = []
    for (name, features, method), found in groups.items():
        warned = sorted({w for result in found for w in result["warnings"]})
        rows.append(
            {
                "set": name,
                "features": features,
                "method": method,
                "fits": len(found),
                "CPU s per fit": float(np.mean([r["cpu_s"] for r in found])),
                "epochs": float(np.mean([r["epochs"] for r in found])),
                "validation gain": float(np.mean([r["gain"] for r in found])),
                "largest shares of contribution": _largest(found, "share"),
                "relevance of the same terms": _largest(found, "share", "relevance"),
                "warnings": ", ".join(
                    f"{sum(w in r['warnings'] for r in found)} of {len(found)} {w}" for w in warned
                ),
            }
        )
    report.table("Fits", rows)


def _largest(
    fits: list[dict[str, Any]], by: str, shown: str | None = None, n_terms: int = 3
) -> str:
    """Return the means of one score for the terms that have most of another."""
    means = {
        key: {term: float(np.mean([r[key][term] for r in fits])) for term in fits[0][key]}
        for key in (by, shown or by)
    }
    ranked = sorted(means[by], key=means[by].__getitem__, reverse=True)[:n_terms]
    return ", ".join(f"{term} {means[shown or by][term]:.2f}" for term in ranked)


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=5)
    parser.add_argument("--sets", nargs="+", choices=SET_NAMES, help="all of them")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--features", nargs="+", choices=FEATURES, default=list(FEATURES))
    parser.add_argument("--interactions", type=int, default=2, help="highest order (2)")
    args = parser.parse_args()
    names = args.sets or list(QUICK_SETS if args.quick else SET_NAMES)
    baselines = run_tasks(
        baseline_scores,
        [task for name in names for task in baseline_tasks(name, _n_splits(name, args))],
        name="baselines",
        args=args,
        depends_on_code=False,
    )
    ours = run_tasks(fit, make_tasks(names, args), name="routing_real", args=args)
    is_part = bool(args.sets) or len(args.methods) < len(METHODS)
    is_part = is_part or len(args.features) < len(FEATURES) or args.interactions != 2
    report = Report(
        "routing_real", "Real data: multimodal routing and its ablations", args, is_part=is_part
    )
    for features in args.features:
        report_targets(report, names, baselines, _labelled(ours), features)
    report_means(report, names, ours)
    for metric in ("accuracy", "balanced_accuracy", "auc", "log_loss"):
        report_metric(report, names, baselines, _labelled(ours), metric)
    report_details(report, ours)
    report.text(
        f"interactions={args.interactions}, all else at its default. Baselines and default "
        "features see what they see in real_data.py: mean vectors of the words of mustard and "
        "four components of the images of avmnist_fsdd. MulT sees the vectors of the words and "
        "the rows of the images, step by step. "
        "Routing* has uniform coefficients, GAM one readout for all terms. ± is over seeds, of "
        "means over the splits; baselines do not depend on a seed. best single: the modality that "
        "is best on the test rows. The CNN features of mosi_all have seen the training labels."
    )
    report.write()


if __name__ == "__main__":
    main()
