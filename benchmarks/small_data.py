"""MNL and InTense with default settings on few rows, against scikit-learn baselines.

Parts of the real data sets, sets that scikit-learn bundles, and generated rows of which the truth
is known. The real data come from the folder that the environment variable MMFUSION_DATA names;
without it they are left out.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np
from _common import Report, make_parser, mean_std, run_tasks, seeds_of
from _real_sets import load_set, prepare, summarise
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_friedman1
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion import (
    EncoderByShape,
    InTenseClassifier,
    InTenseRegressor,
    LinearEncoder,
    MNLClassifier,
    MNLRegressor,
    SummaryEncoder,
)

REAL = {
    "mosi_clean": 500, "mosi_all": 600, "mustard": None, "wiki": 800, "cogload": None,
    "zuco_ner": 600, "mfeat": 300, "dermatology": None,
}  # fmt: skip
BUNDLED = {"breast": load_breast_cancer, "wine": load_wine, "diabetes": load_diabetes}
GENERATED = ("wide", "dense", "friedman", "blocks")
SIZES = (200, 700)
N_NEW = 1000  # rows to test on, at most those that there are
BASELINES = ("linear", "GB")
OURS = ("MNL", "InTense")
ONE_KIND = ("MNL, linear encoders", "MNL, perceptrons")

Rows = tuple[dict[str, np.ndarray], np.ndarray]


def names_of(args: argparse.Namespace) -> list[str]:
    """Return the names of the sets."""
    made = [
        f"{kind} {n} {target}"
        for kind in GENERATED
        for n in (SIZES[:1] if args.quick else SIZES)
        for target in ("number", "classes")
    ]
    real = list(REAL) if os.environ.get("MMFUSION_DATA") and not args.quick else []
    return [*real, *BUNDLED, *made]


def is_number(name: str) -> bool:
    """Whether the target is a number; else classes."""
    return name == "diabetes" or name.endswith("number")


def rows_of(name: str, seed: int) -> tuple[Rows, Rows, dict[str, Any]]:
    """Return training rows, new rows, and the parameters that the data ask of our estimators."""
    if name in REAL:
        return _real(name, seed)
    if name in BUNDLED:
        values, y = BUNDLED[name](return_X_y=True)
        columns = np.array_split(np.arange(values.shape[1]), 3)
        X = {f"m{i}": values[:, part] for i, part in enumerate(columns)}
        strata = None if is_number(name) else y
        old, new = train_test_split(
            np.arange(len(y)), test_size=0.4, random_state=seed, stratify=strata
        )
    else:
        kind, n, _ = name.split()
        X, y = _generated(kind, int(n) + N_NEW, seed)
        if not is_number(name):
            y = (y > np.median(y)).astype(int)
        old, new = np.split(np.arange(len(y)), [int(n)])
    return (_take(X, old), y[old]), (_take(X, new), y[new]), {}


def _real(name: str, seed: int) -> tuple[Rows, Rows, dict[str, Any]]:
    data = load_set(name)
    train, test = data.splits[seed % len(data.splits)]
    rng = np.random.default_rng(seed)
    if REAL[name]:
        train = np.sort(rng.choice(train, REAL[name], replace=False))
    if len(test) > N_NEW:
        test = np.sort(rng.choice(test, N_NEW, replace=False))
    old, new = (dict(part.items()) for part in prepare(data, train, test))
    return (old, data.y[train]), (new, data.y[test]), data.fusion_params or {}


def _generated(kind: str, n: int, seed: int) -> Rows:
    """Return a signal beside noise, many weak signals, curves, or factors behind many columns."""
    rng = np.random.default_rng(seed)
    if kind == "wide":
        X = {"signal": rng.normal(size=(n, 3)), "noise": rng.normal(size=(n, 50))}
        return X, X["signal"][:, 0] + 0.5 * rng.normal(size=n)
    if kind == "dense":
        X = {name: rng.normal(size=(n, 30)) for name in ("a", "b")}
        weight = rng.normal(size=60) / 8
        y = np.hstack(list(X.values())) @ weight + 0.5 * rng.normal(size=n)
        return X, y
    if kind == "blocks":
        factors = rng.normal(size=(n, 6))
        X = {
            name: factors[:, part] @ _few_loads(rng, len(part), d) + rng.normal(size=(n, d))
            for name, part, d in (("rna", [0, 1, 4], 2000), ("protein", [1, 2], 100))
        }
        X["clinical"] = rng.normal(size=(n, 10))
        X["clinical"][:, 0] = factors[:, 3] + 0.5 * X["clinical"][:, 0]
        y = factors[:, 0] + 0.7 * factors[:, 2] + factors[:, 3] + 0.5 * rng.normal(size=n)
        return X, y
    values, y = make_friedman1(n, n_features=20, noise=1.0, random_state=seed)
    columns = {"a": [0, 1, *range(5, 10)], "b": [2, 3, 4, *range(10, 20)]}
    return {name: values[:, part] for name, part in columns.items()}, y


def _few_loads(rng: np.random.Generator, n_factors: int, d: int) -> np.ndarray:
    """Return loads of factors on columns, of which nine in ten are zero."""
    return rng.normal(size=(n_factors, d)) * (rng.random((n_factors, d)) < 0.1)


def _take(X: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[rows] for name, values in X.items()}


def _joined(X: dict[str, np.ndarray]) -> np.ndarray:
    parts = [np.asarray(values, dtype=np.float64) for values in X.values()]
    return np.hstack([summarise(part) if part.ndim == 3 else part for part in parts])


def _score(name: str, y: np.ndarray, predicted: np.ndarray) -> float:
    score = r2_score if is_number(name) else accuracy_score
    return round(float(score(y, predicted)), 5)


def fit_baseline(task: dict[str, Any]) -> dict[str, Any]:
    """Fit a model to the joined columns: linear with a cross-validated penalty, or boosting."""
    (X, y), (X_new, y_new), _ = rows_of(task["set"], task["seed"])
    number = is_number(task["set"])
    if task["method"] == "GB":
        boosting = HistGradientBoostingRegressor if number else HistGradientBoostingClassifier
        model: Any = boosting(max_iter=100, max_leaf_nodes=8, learning_rate=0.08, random_state=0)
    else:
        linear = (
            RidgeCV(np.logspace(-2, 4, 20))
            if number
            else GridSearchCV(LogisticRegression(max_iter=500), {"C": np.logspace(-3, 1, 5)}, cv=3)
        )
        model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), linear)
    model.fit(_joined(X), y)
    return {"score": _score(task["set"], y_new, model.predict(_joined(X_new)))}


def fit_ours(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one of our estimators."""
    (X, y), (X_new, y_new), params = rows_of(task["set"], task["seed"])
    kinds = (MNLClassifier, MNLRegressor, InTenseClassifier, InTenseRegressor)
    cls = kinds[2 * (task["method"] == "InTense") + is_number(task["set"])]
    if task["method"] == "MNL, perceptrons":
        params = {**params, "encoders": EncoderByShape(hidden_dim=128)}
        if any(np.asarray(values).ndim == 3 for values in X.values()):
            nothing = {"encoders": "", "components": False, "relevance": {}}
            return {"score": float("nan"), **nothing}  # it would be a GRU
    if task["method"] == "MNL, linear encoders":
        is_sequence = {name: np.asarray(values).ndim == 3 for name, values in X.items()}
        encoders = {
            name: SummaryEncoder() if steps else LinearEncoder()
            for name, steps in is_sequence.items()
        }
        params = {**params, "encoders": encoders}
    estimator = cls(random_state=task["seed"], **params).fit(X, y)
    return {
        "score": _score(task["set"], y_new, estimator.predict(X_new)),
        "encoders": type(next(iter(estimator.encoders_.values()))).__name__,
        "components": any(
            getattr(encoder, "n_components", None) for encoder in estimator.encoders_.values()
        ),
        "relevance": {term: round(s, 4) for term, s in estimator.relevance_scores_.items()},
    }


def table_of(
    names: list[str], found: dict[tuple[str, str], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return one row per set: mean scores, and how often which encoders were kept."""
    rows = []
    for name in names:
        row: dict[str, Any] = {"set": name, "score": "R2" if is_number(name) else "accuracy"}
        for method in BASELINES:
            row[method] = _mean(found[name, method])
        for method in OURS:
            row[method] = mean_std([result["score"] for result in found[name, method]])
        for method in ONE_KIND:
            row[method] = _mean(found[name, method])
        kept = ["Linear" in result["encoders"] for result in found[name, "MNL"]]
        row["linear kept"] = f"{sum(kept)} of {len(kept)}"
        row["components kept"] = sum(result["components"] for result in found[name, "MNL"])
        rows.append(row)
    return rows


def _mean(results: list[dict[str, Any]]) -> float:
    return float(np.mean([result["score"] for result in results]))


def main() -> None:
    """Run."""
    args = make_parser(__doc__, seeds=3).parse_args()
    names = names_of(args)

    def tasks(methods: tuple[str, ...]) -> list[dict[str, Any]]:
        return [
            {"set": name, "method": method, "seed": seed}
            for name in names
            for seed in seeds_of(args)
            for method in methods
        ]

    results = run_tasks(
        fit_baseline, tasks(BASELINES), name="small_baselines", args=args, depends_on_code=False
    )
    results += run_tasks(fit_ours, tasks(OURS + ONE_KIND), name="small_data", args=args)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        found.setdefault((result["set"], result["method"]), []).append(result)
    report = Report(
        "small_data", "Few rows: defaults against baselines", args, is_part=names[0] not in REAL
    )
    checks = []
    for method in OURS:
        mine = [_mean(found[name, method]) for name in names]
        others = {m: float(np.mean([_mean(found[name, m]) for name in names])) for m in BASELINES}
        best = max(others, key=others.__getitem__)
        mean = float(np.mean(mine))
        checks.append(
            (f"{method}: mean over {len(names)} sets", mean, f">= {others[best]:.3f} ({best})",
             mean >= others[best])
        )  # fmt: skip
    report.targets(checks)
    report.table("Scores of new rows, mean over seeds (± over seeds)", table_of(names, found))
    noise = [
        {
            "set": name,
            **{m: _noise(found[name, m]) for m in (*OURS, *ONE_KIND)},
        }
        for name in names
        if name.startswith("wide")
    ]
    report.table("Relevance of a modality of 50 columns of noise, mean over seeds", noise)
    report.text(
        "Training rows: "
        + ", ".join(f"{name} {n or 'all'}" for name, n in REAL.items())
        + ", three fifths of the bundled sets (their columns in three modalities), and as named of "
        "the generated ones: wide, one column of three is the signal, beside 50 of noise; dense, "
        "60 weak signals in two modalities; friedman, curves, and an interaction within a "
        "modality, 20 columns; blocks, six factors behind 2000, 100 and 10 columns. linear: ridge "
        "or logistic regression of all columns, penalty by cross-validation; GB: 100 trees of 8 "
        "leaves. The last columns fix what the default chooses between; perceptrons are "
        "not run on sequences."
    )
    report.write()


def _noise(results: list[dict[str, Any]]) -> float:
    return float(np.mean([result["relevance"]["noise"] for result in results]))


if __name__ == "__main__":
    main()
