"""Every method of the package on every real data set: one table, one figure.

Default settings throughout, the given splits, the same preprocessing. A method that a set is not
for (early fusion of images, for one) has a dash. The data come from the folder that the
environment variable MMFUSION_DATA names; a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from _baselines import model_of, scores
from _common import Report, make_parser, mean_std, run_tasks, seeds_of
from _real_sets import SETS, RealSet, load_set, prepare
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit

from sklearn_mmfusion import (
    EarlyFusionClassifier,
    FusionError,
    GAMClassifier,
    InTenseClassifier,
    LateFusionClassifier,
    LateVotingClassifier,
    MKLClassifier,
    MNLClassifier,
    MROClassifier,
    MulTClassifier,
    MulTEncoder,
    RAVENClassifier,
    RoutingClassifier,
    TensorFusionClassifier,
    UnimodalClassifier,
)

Make = Callable[[RealSet, int], Any]


def _plain(cls: type, **settings: Any) -> Make:
    return lambda data, seed: cls(random_state=seed, **settings)


# Name -> data set and seed to an estimator.
METHODS: dict[str, Make] = {
    # Chosen on a fifth of the training rows.
    "best modality": lambda data, seed: GridSearchCV(
        UnimodalClassifier(random_state=seed, **(data.fusion_params or {})),
        {"modality": list(data.X)},
        cv=StratifiedShuffleSplit(1, test_size=0.2, random_state=seed),
    ),
    "MNL": _plain(MNLClassifier),
    "InTense": _plain(InTenseClassifier),
    "Routing": _plain(RoutingClassifier),
    "Routing*": _plain(RoutingClassifier, n_routing_iter=0),
    "GAM": _plain(GAMClassifier),
    "Routing, MulT": _plain(RoutingClassifier, encoders=MulTEncoder()),
    "MRO": _plain(MROClassifier),
    "LF-Concat": _plain(LateFusionClassifier),
    "EF": _plain(EarlyFusionClassifier),
    "TFN": _plain(TensorFusionClassifier),
    "MulT": _plain(MulTClassifier),
    "RAVEN": _plain(RAVENClassifier),
    "MKL, p = 1": lambda data, seed: MKLClassifier(),
    "MKL, p = 2": lambda data, seed: MKLClassifier(p=2),
    "late voting, LR": lambda data, seed: LateVotingClassifier(
        model_of("LR", data), random_state=seed
    ),
    "late voting, GB": lambda data, seed: LateVotingClassifier(
        model_of("GB", data), random_state=seed
    ),
}

# What the papers report, in percent.
PUBLISHED = [
    {"source": "routing paper, MOSEI sentiment", "method": m, "Acc7": a, "Acc2": b, "F1": f}
    for m, a, b, f in [
        ("EF-LSTM", 47.4, 78.2, 77.9),
        ("LF-LSTM", 48.8, 80.6, 80.6),
        ("RAVEN", 50.0, 79.1, 79.5),
        ("MulT", 51.8, 82.5, 82.3),
        ("GAM", 48.6, 79.5, 79.4),
        ("Routing*", 50.6, 81.2, 81.3),
        ("Routing", 51.6, 81.7, 81.8),
    ]
] + [
    {"source": f"InTense paper, {name}", "method": method, "accuracy": value}
    for name, values in [
        ("AV-MNIST", {"MultiRoute": 71.8, "MRO": 72.0, "MNL": 72.4, "InTense": 72.8}),
        ("ENRICO", {"MultiRoute": 46.7, "MRO": 49.2, "MNL": 47.1, "InTense": 50.8}),
    ]
    for method, value in values.items()
]


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one method on one split with one seed."""
    data = load_set(task["set"])
    train, test = data.splits[task["split"]]
    X_train, X_test = prepare(data, train, test)
    estimator = METHODS[task["method"]](data, task["seed"])
    known = estimator.get_params()
    params = {k: v for k, v in (data.fusion_params or {}).items() if k in known}
    if "device" in known:
        params["device"] = task.get("device", "auto")
    estimator.set_params(**params)
    try:
        estimator.fit(X_train, data.y[train])
    except FusionError as error:
        return {"accuracy": None, "why": str(error).splitlines()[0]}
    if hasattr(estimator, "predict_proba"):
        found = scores(data.y[test], estimator.predict_proba(X_test), estimator.classes_)
    else:
        found = {"accuracy": float(np.mean(estimator.predict(X_test) == data.y[test]))}
    relevance = getattr(estimator, "relevance_scores_", {})
    return {**found, "relevance": {term: round(score, 4) for term, score in relevance.items()}}


def by_seed(results: list[dict[str, Any]], name: str, method: str) -> list[float] | None:
    """Return the mean over the splits of every seed; None where the method is not for the set."""
    mine = [r for r in results if (r["set"], r["method"]) == (name, method)]
    if not mine or any(r["accuracy"] is None for r in mine):
        return None
    seeds = sorted({r["seed"] for r in mine})
    return [float(np.mean([r["accuracy"] for r in mine if r["seed"] == s])) for s in seeds]


def draw(means: dict[tuple[str, str], float], names: list[str], methods: list[str], path: Any):
    """Draw the accuracy of every method less that of the best one, set by set."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(8, 0.34 * len(methods) + 1.6), layout="constrained")
    gap = np.full((len(methods), len(names)), np.nan)
    for j, name in enumerate(names):
        best = max(value for (n, _), value in means.items() if n == name)
        for i, method in enumerate(methods):
            if (name, method) in means:
                gap[i, j] = 100 * (means[name, method] - best)
    image = ax.imshow(gap, cmap="cividis", vmin=-15, vmax=0, aspect="auto")
    for i in range(len(methods)):
        for j in range(len(names)):
            if np.isfinite(gap[i, j]):
                colour = "black" if gap[i, j] > -6 else "white"
                ax.text(j, i, f"{gap[i, j]:.1f}", ha="center", va="center", color=colour, size=8)
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right")
    ax.set_yticks(range(len(methods)), methods)
    figure.colorbar(image, label="points of accuracy under the best method", shrink=0.8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def report_all(results: list[dict[str, Any]], args: argparse.Namespace, names: list[str]) -> None:
    """Write the tables and the figure."""
    is_part = bool(args.sets or args.methods)
    report = Report("compare", "All methods on all real data sets", args, is_part=is_part)
    methods = args.methods or list(METHODS)
    found = {(n, m): by_seed(results, n, m) for n in names for m in methods}
    means = {key: float(np.mean(values)) for key, values in found.items() if values}
    rows = []
    for method in methods:
        row: dict[str, Any] = {"method": method}
        for name in names:
            values = found[name, method]
            row[name] = mean_std(values) if values else None
        everywhere = [means[name, method] for name in names if (name, method) in means]
        row["mean"] = float(np.mean(everywhere)) if len(everywhere) == len(names) else None
        rows.append(row)
    report.table("Accuracy, mean over splits (± over seeds)", rows)
    cost = [
        {
            "method": method,
            "CPU s per fit": float(np.mean([r["cpu_s"] for r in results if r["method"] == method])),
        }
        for method in methods
    ]
    report.table("Cost", cost, digits=1)
    reasons = sorted({(r["method"], r["why"]) for r in results if r.get("why")})
    for method, why in reasons:
        report.text(f"{method}: {why}")
    for source in dict.fromkeys(row["source"] for row in PUBLISHED):
        report.table(
            f"Published: {source}",
            [{k: v for k, v in r.items() if k != "source"} for r in PUBLISHED
             if r["source"] == source],
            digits=1,
        )  # fmt: skip
    report.write()
    draw(means, names, methods, report.output / f"{report.name}.png")


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=5)
    parser.add_argument("--sets", nargs="+", choices=SETS, help="all of them")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="all of them")
    parser.add_argument("--splits", type=int, default=5, help="splits of each set to use (5)")
    parser.add_argument(
        "--device", help="where neural methods train (chosen by the size of the data)"
    )
    args = parser.parse_args()
    where = {"device": args.device} if args.device else {}
    names = args.sets or (["dermatology"] if args.quick else list(SETS))
    tasks = [
        {"set": name, "split": split, "method": method, "seed": seed, **where}
        for name in names
        for seed in seeds_of(args)
        for method in args.methods or METHODS
        for split in range(1 if args.quick else min(args.splits, len(load_set(name).splits)))
    ]
    results = run_tasks(fit, tasks, name="compare", args=args)
    report_all(results, args, names)


if __name__ == "__main__":
    main()
