"""SynthGene: ten sequences, three of them informative, less and less so.

Test accuracy and relevance of MNL and InTense, default training, the Conv1dEncoder setting of
synthgene_tri.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import Report, make_parser, mean_std, run_tasks, seeds_of
from _synthetic import gene_encoder, grouped, split_rows
from scipy.stats import spearmanr

from sklearn_mmfusion import InTenseClassifier, MNLClassifier
from sklearn_mmfusion.datasets import make_synthgene

METHODS = {"MNL": MNLClassifier, "InTense": InTenseClassifier}
INFORMATIVE = ("m1", "m2", "m3")
ACCURACY, NULL_MASS = 0.98, 0.05


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one data set, or one of its modalities."""
    data = make_synthgene(task["n_samples"], length=task["length"], random_state=task["seed"])
    X = data.data if task["alone"] is None else {task["alone"]: data.data[task["alone"]]}
    X_train, X_test, y_train, y_test = split_rows(X, data.target, task["seed"])
    estimator = METHODS[task["method"]](encoders=gene_encoder(), random_state=task["seed"])
    estimator.fit(X_train, y_train)
    return {
        "accuracy": estimator.score(X_test, y_test),
        "bayes": data.bayes_accuracy,
        "relevance": {term: round(s, 4) for term, s in estimator.relevance_scores_.items()},
        "polish_gap": estimator.polish_gap_,
        "epochs": estimator.n_iter_,
    }


def null_mass(relevance: dict[str, float]) -> float:
    """Return the relevance of all terms that hold a modality without a motif."""
    return sum(s for term, s in relevance.items() if not set(term.split(" x ")) <= set(INFORMATIVE))


def in_order(relevance: dict[str, float]) -> bool:
    """Return whether m1, m2, m3 come in this order, and all before every other modality."""
    first = [relevance[name] for name in INFORMATIVE]
    others = [s for name, s in relevance.items() if " x " not in name and name not in INFORMATIVE]
    return first == sorted(first, reverse=True) and min(first) > max(others)


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=5)
    parser.add_argument("--n-samples", type=int, default=10_000)
    args = parser.parse_args()
    common = {
        "n_samples": 2000 if args.quick else args.n_samples,
        "length": 30 if args.quick else 100,
        "encoder": repr(gene_encoder()),
    }
    tasks = [
        {"method": method, "alone": None, **common, "seed": seed}
        for method in METHODS
        for seed in seeds_of(args)
    ]
    single = [
        {"method": "MNL", "alone": name, **common, "seed": seed}
        for name in (*INFORMATIVE, "m4")
        for seed in seeds_of(args)
    ]
    results = run_tasks(fit, tasks, name="synthgene", args=args)
    alone = grouped(run_tasks(fit, single, name="synthgene", args=args), "alone")

    report = Report("synthgene", "SynthGene: ten sequences, three informative", args)
    checks, rows, terms = [], [], []
    for (method,), fits in grouped(results, "method").items():
        low = min(r["accuracy"] for r in fits)
        ordered = sum(in_order(r["relevance"]) for r in fits)
        pruned = sum(r["relevance"]["m3"] == 0 for r in fits)
        mass = max(null_mass(r["relevance"]) for r in fits)
        checks += [
            (f"{method}: lowest accuracy", low, f">= {ACCURACY}", low >= ACCURACY),
            (f"{method}: in the order of the unimodal accuracies", f"{ordered} of {len(fits)}",
             "all of them", ordered == len(fits)),
            (f"{method}: third informative modality pruned", f"{pruned} of {len(fits)}", "never",
             pruned == 0),
            (f"{method}: null modalities together, highest", mass, f"<= {NULL_MASS}",
             mass <= NULL_MASS),
        ]  # fmt: skip
        rows.append(
            {
                "method": method,
                "accuracy": mean_std(r["accuracy"] for r in fits),
                "Bayes": fits[0]["bayes"],
                "epochs": float(np.mean([r["epochs"] for r in fits])),
                "CPU s": float(np.mean([r["cpu_s"] for r in fits])),
                "polished": f"{sum(not np.isnan(r['polish_gap']) for r in fits)} of {len(fits)}",
            }
        )
        mean = {t: float(np.mean([r["relevance"][t] for r in fits])) for t in fits[0]["relevance"]}
        ranked = sorted(mean, key=mean.__getitem__, reverse=True)
        singles = [term for term in mean if " x " not in term]
        pairs = [term for term in ranked if " x " in term][:5]
        terms += [
            {
                "method": method,
                "term": term,
                "accuracy alone": _mean_alone(alone, term),
                "relevance": mean_std(r["relevance"][term] for r in fits),
            }
            for term in [*singles, *pairs]
        ]
        accuracies = [_mean_alone(alone, name) for name in INFORMATIVE]
        correlation = spearmanr(accuracies, [mean[name] for name in INFORMATIVE]).statistic
        rows[-1]["rank correlation (m1-m3)"] = float(correlation)
    report.targets(checks)
    report.table("Test accuracy, mean ± std over seeds", rows)
    report.table("Relevance, mean ± std over seeds (interactions: the largest five)", terms)
    report.text(
        "Null modalities together: all terms that hold any of m4 to m10. Accuracy alone: MNL on "
        "that modality, same encoder and splits."
    )
    report.write()


def _mean_alone(alone: dict[tuple[Any, ...], list[dict[str, Any]]], name: str) -> float | None:
    fits = alone.get((name,))
    return None if fits is None else float(np.mean([r["accuracy"] for r in fits]))


if __name__ == "__main__":
    main()
