"""Relevance against the truth: mixtures of products of tokens, with terms of order 1 to 3.

Balanced and unbalanced tokens, one token per modality or one per term and modality. Correlated
tokens, for which the truth is not unique, are reported apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import Report, make_parser, mean_std, run_tasks, seeds_of

from sklearn_mmfusion import InTenseRegressor
from sklearn_mmfusion.datasets import make_recovery

TASKS = {
    "two modalities": {("a",): 1.0, ("b",): 0.5, ("a", "b"): 0.5},
    "orders 1 to 3": {("a",): 1.0, ("a", "b"): 0.75, ("a", "b", "c"): 0.75, ("c",): 0.5},
    "no single effects": {("a", "b"): 1.0, ("b", "c"): -0.5, ("a", "b", "c"): 1.0},
}
UNBALANCED = {"a": 0.7, "b": 0.35, "c": 0.6}
CORRELATION = 0.3
ERROR, MASS = 0.02, 0.05


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one data set and compare scores with the truth, term by term."""
    coefficients = TASKS[task["task"]]
    names = {name for term in coefficients for name in term}
    unbalanced = {name: UNBALANCED[name] for name in names}
    data = make_recovery(
        task["n_samples"],
        coefficients,
        tokens=task["tokens"],
        balance=unbalanced if task["balance"] == "unbalanced" else 0.5,
        correlation=CORRELATION if task["correlated"] else 0.0,
        # At least three modalities, so that every task has terms up to order 3.
        n_noise_modalities=max(task["noise_modalities"], 3 - len(names)),
        random_state=task["seed"],
    )
    estimator = InTenseRegressor(interactions=3, random_state=task["seed"], **task["params"])
    estimator.fit(data.data, data.target)
    found = {_key(term): score for term, score in estimator.relevance_scores_.items()}
    truth = {_key(term): score for term, score in data.relevance.items()}
    errors = {term: abs(found.get(term, 0.0) - truth.get(term, 0.0)) for term in found | truth}
    norms = estimator._by_term(estimator._result.readings["norms"])
    shares = dict(zip(map(_key, estimator.term_names_), norms / norms.sum(), strict=True))
    return {
        "error": float(np.mean(list(errors.values()))),
        "error of weights": float(
            np.mean([abs(shares.get(t, 0.0) - truth.get(t, 0.0)) for t in errors])
        ),
        "worst": float(max(errors.values())),
        "mass on nothing": float(sum(s for term, s in found.items() if not truth.get(term))),
        "R2": estimator.score(data.data, data.signal),
        "polish_gap": estimator.polish_gap_,
        "relevance": {term: round(float(score), 4) for term, score in found.items()},
        "truth": {term: round(float(score), 4) for term, score in truth.items()},
    }


def _key(term: str) -> str:
    return " x ".join(sorted(term.split(" x ")))


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=10)
    parser.add_argument("--n-samples", type=int, default=4000)
    parser.add_argument("--noise-modalities", type=int, default=0, help="modalities of noise added")
    parser.add_argument("--reg", type=float, help="instead of the default")
    args = parser.parse_args()
    params = {} if args.reg is None else {"reg": args.reg}
    kinds = [
        {"task": task, "tokens": tokens, "balance": balance, "correlated": False}
        for task in TASKS
        for tokens in ("shared", "separate")
        for balance in ("balanced", "unbalanced")
        if not (args.quick and tokens == "shared")
    ]
    if not args.quick:
        kinds += [
            {"task": "orders 1 to 3", "tokens": t, "balance": "balanced", "correlated": True}
            for t in ("shared", "separate")
        ]
    rest = {
        "n_samples": args.n_samples,
        "noise_modalities": args.noise_modalities,
        "params": params,
    }
    tasks = [{**kind, **rest, "seed": seed} for kind in kinds for seed in seeds_of(args)]
    results = run_tasks(fit, tasks, name="recovery", args=args)

    report = Report("recovery", "make_recovery: relevance against functional-ANOVA shares", args)
    rows, means = [], []
    for kind in kinds:
        mine = [r for r in results if all(r[key] == value for key, value in kind.items())]
        row = {**kind, "correlated": "yes" if kind["correlated"] else "no"}
        for name in ("error", "error of weights", "worst", "mass on nothing", "R2"):
            row[name] = mean_std(r[name] for r in mine)
        row["polished"] = f"{sum(not np.isnan(r['polish_gap']) for r in mine)} of {len(mine)}"
        row["CPU s"] = float(np.mean([r["cpu_s"] for r in mine]))
        rows.append(row)
        if not kind["correlated"]:
            means.append(
                [float(np.mean([r[name] for r in mine])) for name in ("error", "mass on nothing")]
            )
    error, mass = np.array(means).T
    report.targets(
        [
            ("mean absolute error, mean of all fits", float(error.mean()), f"<= {ERROR}",
             bool(error.mean() <= ERROR)),
            ("mean absolute error, worst kind of task", float(error.max()), f"<= {ERROR}",
             bool(error.max() <= ERROR)),
            ("mass on terms that carry nothing, mean of all fits", float(mass.mean()),
             f"<= {MASS}", bool(mass.mean() <= MASS)),
            ("mass on terms that carry nothing, worst kind of task", float(mass.max()),
             f"<= {MASS}", bool(mass.max() <= MASS)),
        ]
    )  # fmt: skip
    report.table("By kind of task, mean ± std over seeds", rows)
    report.table("Terms, mean over seeds", [row for kind in kinds for row in _terms(kind, results)])
    report.text(
        f"Error: mean over all terms up to order 3 of |relevance - truth|; {args.n_samples} rows; "
        f"InTenseRegressor(interactions=3) with {params or 'default settings'}; unbalanced: "
        f"P(+1) {UNBALANCED}; correlated tokens ({CORRELATION}): hierarchically orthogonal truth, "
        "not part of the targets. R2 on the noise-free signal of the training rows. Error of "
        "weights: the same of the shares of the norms of the weights as they are, as in the paper, "
        "in place of those of the smallest weights that make the same contributions. A term that "
        "is a sum of products of several tokens per modality (b x c of 'no single effects' with "
        "separate, unbalanced tokens: two) has a larger norm of the weights: the latent vectors of "
        "its members hold all tokens, and their product the useless pairs too."
    )
    report.write()


def _terms(kind: dict[str, Any], results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return truth and mean relevance of every term of one kind of task."""
    mine = [r for r in results if all(r[key] == value for key, value in kind.items())]
    return [
        {
            "task": kind["task"],
            "tokens": kind["tokens"],
            "tokens are": "correlated" if kind["correlated"] else kind["balance"],
            "term": term,
            "truth": mine[0]["truth"].get(term, 0.0),
            "relevance": mean_std(r["relevance"].get(term, 0.0) for r in mine),
        }
        for term in sorted(mine[0]["relevance"], key=lambda t: (t.count(" x "), t))
    ]


if __name__ == "__main__":
    main()
