"""SynthGene-tri by multimodal routing, and whether global routing finds the exclusive or.

One RoutingClassifier of order 3 from scratch and one InTense with p = 1 on the same rows; both
read every sequence by the same encoder. Beside test accuracy, what each says of every term.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import Check, Report, make_parser, mean_std, run_tasks, seeds_of
from _synthetic import gene_encoder, grouped, split_rows

from sklearn_mmfusion import InTenseClassifier, RoutingClassifier
from sklearn_mmfusion.datasets import make_synthgene_tri

METHODS = ("Routing", "InTense")
MEASURES = {
    "r": "mean r of class 1",
    "r_predicted": "mean r of the predicted class",
    "p": "mean p",
    "relevance": "p r, normalised",
    "share": "share of contribution",
}
BOUND = 0.98
TRUE_TERM, HIGHEST_TERM = "m1 x m2", "m1 x m2 x m3"


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one method to one data set."""
    seed = task["seed"]
    data = make_synthgene_tri(task["n_samples"], task["length"], "two_motifs", random_state=seed)
    X_train, X_test, y_train, y_test = split_rows(data.data, data.target, seed)
    shared = {"encoders": gene_encoder(), "interactions": 3, "random_state": seed}
    if task["method"] == "InTense":
        estimator = InTenseClassifier(p=1, **shared).fit(X_train, y_train)
        terms = {"relevance": list(estimator.relevance_scores_.values())}
    else:
        estimator = RoutingClassifier(**shared).fit(X_train, y_train)
        predicted = np.searchsorted(estimator.classes_, estimator.predict(X_train))
        r = estimator.routing_coefficients(X_train)
        terms = {
            "r": estimator.routing_coefficients_[:, 1],
            "r_predicted": r[np.arange(len(r)), :, predicted].mean(0),
            "p": estimator.activations_,
            "relevance": list(estimator.relevance_scores_.values()),
            "share": list(estimator.contribution_shares_.values()),
        }
    names = estimator.term_names_
    return {
        "accuracy": estimator.score(X_test, y_test),
        "gain": estimator.validation_gain_,
        "epochs": estimator.n_iter_,
        "terms": {
            measure: dict(zip(names, (round(float(v), 4) for v in values), strict=True))
            for measure, values in terms.items()
        },
    }


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=5)
    parser.add_argument("--n-samples", type=int, default=10_000)
    args = parser.parse_args()
    tasks = [
        {
            "method": method,
            "n_samples": 2000 if args.quick else args.n_samples,
            "length": 30 if args.quick else 100,
            "encoder": repr(gene_encoder()),
            "seed": seed,
        }
        for seed in seeds_of(args)
        for method in METHODS
    ]
    groups = {
        key: fits
        for (key,), fits in grouped(
            run_tasks(fit, tasks, name="routing_tri", args=args), "method"
        ).items()
    }
    routing, intense = (groups[method] for method in METHODS)

    report = Report("routing_tri", "SynthGene-tri: global routing of an exclusive or", args)
    lowest = min(r["accuracy"] for r in routing)
    checks: list[Check] = [("lowest accuracy of Routing", lowest, f">= {BOUND}", lowest >= BOUND)]
    for measure in ("relevance", "share"):
        found = sum(_largest(r["terms"][measure]) == TRUE_TERM for r in routing)
        checks.append(
            (f"{TRUE_TERM} has the largest {MEASURES[measure]}", f"{found} of {len(routing)}",
             "none; to report", True)
        )  # fmt: skip
    report.targets(checks)
    report.table(
        "Test accuracy, mean ± std over seeds",
        [
            {
                "method": method,
                "accuracy": mean_std(r["accuracy"] for r in fits),
                "lowest": min(r["accuracy"] for r in fits),
                "validation gain": mean_std(r["gain"] for r in fits),
                "epochs": float(np.mean([r["epochs"] for r in fits])),
                "CPU s": float(np.mean([r["cpu_s"] for r in fits])),
                "warnings": ", ".join(sorted({w for r in fits for w in r["warnings"]})),
            }
            for method, fits in groups.items()
        ],
    )
    names = list(intense[0]["terms"]["relevance"])
    report.table(
        "What is said of the terms, mean ± std over seeds", _term_rows(names, routing, intense)
    )
    report.table("Added up by order, mean over seeds", _order_rows(names, routing, intense))
    report.text(_conclusion(routing, intense))
    report.text(
        f"Every modality: {gene_encoder()!r}; interactions=3, all else at its default; three "
        "quarters of the rows to train on, over which routing is averaged. Rows of r sum to one "
        "over the two classes, and r compares the direction of a term's vote with concepts that "
        "the other terms made, whatever its size and whether it is right; p knows nothing of the "
        "size of the votes either. p r is relevance_scores_, of the predicted class, normalised "
        "over the terms; the share of contribution is contribution_shares_."
    )
    report.write()


def _largest(values: dict[str, float]) -> str:
    return max(values, key=values.__getitem__)


def _term_rows(
    names: list[str], routing: list[dict[str, Any]], intense: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return what every measure says of every term."""
    rows = []
    for name in names:
        row: dict[str, Any] = {"term": name}
        for measure, heading in MEASURES.items():
            values = [r["terms"][measure][name] for r in routing]
            row[heading] = mean_std(values)
            if measure == "r":
                row["its distance from 0.5"] = float(np.mean([abs(v - 0.5) for v in values]))
        row["InTense relevance"] = mean_std(r["terms"]["relevance"][name] for r in intense)
        rows.append(row)
    return rows


def _order_rows(
    names: list[str], routing: list[dict[str, Any]], intense: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the scores that add up to one, summed over the terms of each order."""
    columns = {
        MEASURES["relevance"]: (routing, "relevance"),
        MEASURES["share"]: (routing, "share"),
        "InTense relevance": (intense, "relevance"),
    }
    orders: dict[int, list[str]] = {}
    for name in names:
        orders.setdefault(name.count(" x ") + 1, []).append(name)
    rows = []
    for order, members in orders.items():
        row: dict[str, Any] = {"order": order, "terms": len(members)}
        row["if all terms were equal"] = len(members) / len(names)
        for heading, (fits, measure) in columns.items():
            sums = [sum(r["terms"][measure][name] for name in members) for r in fits]
            row[heading] = float(np.mean(sums))
        rows.append(row)
    return rows


def _conclusion(routing: list[dict[str, Any]], intense: list[dict[str, Any]]) -> str:
    """Return one sentence: the true term beside the term of highest order."""

    def pair(fits: list[dict[str, Any]], measure: str) -> str:
        means = [np.mean([r["terms"][measure][t] for r in fits]) for t in (TRUE_TERM, HIGHEST_TERM)]
        return f"{means[0]:.3f} and {means[1]:.3f}"

    return (
        f"The label depends on {TRUE_TERM} alone, but {HIGHEST_TERM} sees as much. They get "
        f"{pair(routing, 'relevance')} of p r, {pair(routing, 'share')} of the contribution of "
        f"routing, and {pair(intense, 'relevance')} of InTense's relevance."
    )


if __name__ == "__main__":
    main()
