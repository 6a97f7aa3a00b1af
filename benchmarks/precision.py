"""Accuracy and relevance of fits whose encoders compute in bfloat16, beside float32.

One real set that comes with the package (digits, six modalities) and one generated (an exclusive
or of two modalities and a linear effect of a third); half of the rows train, half are predicted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import Report, make_parser, mean_std, run_tasks, seeds_of
from sklearn.model_selection import train_test_split

from sklearn_mmfusion import InTenseClassifier
from sklearn_mmfusion.datasets import load_multiple_features

DTYPES = ("float32", "bfloat16")
MAX_ACCURACY_LOSS, MAX_RELEVANCE_CHANGE = 0.01, 0.05


def load(name: str, seed: int, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return a set."""
    if name == "multiple_features":
        X, y = load_multiple_features(return_X_y=True)
        return {key: np.asarray(X[key], dtype=np.float32) for key in X}, np.asarray(y)
    rng = np.random.default_rng(seed)
    X = {key: rng.standard_normal((n, 8)).astype(np.float32) for key in "abc"}
    score = X["a"][:, 0] * X["b"][:, 0] + X["c"][:, 0] + 0.3 * rng.standard_normal(n)
    return X, (score > 0).astype(int)


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit once."""
    X, y = load(task["data"], task["seed"], task["n"])
    train, test = train_test_split(
        np.arange(len(y)), test_size=0.5, stratify=y, random_state=task["seed"]
    )
    parts = [{key: values[rows] for key, values in X.items()} for rows in (train, test)]
    estimator = InTenseClassifier(
        dtype=task["dtype"], max_epochs=task["max_epochs"], random_state=task["seed"]
    ).fit(parts[0], y[train])
    return {
        "accuracy": float(estimator.score(parts[1], y[test])),
        "relevance": estimator.relevance_scores_,
    }


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=3)
    args = parser.parse_args()
    max_epochs, n = (3, 1500) if args.quick else (30, 3000)
    tasks = [
        {"data": data, "dtype": dtype, "seed": seed, "max_epochs": max_epochs, "n": n}
        for data in ("multiple_features", "exclusive_or")
        for seed in seeds_of(args)
        for dtype in DTYPES
    ]
    results = run_tasks(fit, tasks, name="precision", args=args)
    report = Report("precision", "Encoders in bfloat16 against float32", args)
    rows, checks = [], []
    for data in ("multiple_features", "exclusive_or"):
        found = {d: [r for r in results if (r["data"], r["dtype"]) == (data, d)] for d in DTYPES}
        pairs = list(zip(*found.values(), strict=True))
        changes = [
            max(abs(a["relevance"][t] - b["relevance"][t]) for t in a["relevance"])
            for a, b in pairs
        ]
        losses = [a["accuracy"] - b["accuracy"] for a, b in pairs]
        rows.append(
            {
                "data": data,
                **{f"accuracy, {d}": mean_std(r["accuracy"] for r in found[d]) for d in DTYPES},
                "accuracy lost, mean": float(np.mean(losses)),
                "accuracy lost, most": max(losses),
                "relevance changed by, mean": float(np.mean(changes)),
                "relevance changed by, most": max(changes),
            }
        )
        loss, change = float(np.mean(losses)), float(np.mean(changes))
        checks += [
            (f"accuracy lost, {data}", loss, f"<= {MAX_ACCURACY_LOSS}", loss <= MAX_ACCURACY_LOSS),
            (
                f"relevance changed by, {data}",
                change,
                f"<= {MAX_RELEVANCE_CHANGE}",
                change <= MAX_RELEVANCE_CHANGE,
            ),
        ]
    report.targets(checks)
    report.table("Held-out accuracy, and the term whose relevance differs most", rows)
    report.text(
        f"InTenseClassifier, max_epochs={max_epochs}, everything else by default; the same seed, "
        "split and initial weights on both sides."
    )
    report.write()


if __name__ == "__main__":
    main()
