"""scikit-learn models as encoders of InTense and MNL, against the sum of their log-posteriors.

For every modality the better of logistic regression and gradient boosting, chosen by
cross-validation on the training rows, with the settings of the baselines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _baselines import MODELS, model_of, scores
from _common import Report, make_parser, mean_std, run_tasks, seeds_of
from _real_sets import SETS, load_set, prepare
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from sklearn_mmfusion import (
    EstimatorEncoder,
    InTenseClassifier,
    LateVotingClassifier,
    MNLClassifier,
    ModalityFrame,
)

METHODS = ("late voting", "MNL", "InTense")
POINTS = 0.5


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one method on one split with one seed."""
    data = load_set(task["set"])
    train, test = data.splits[task["split"]]
    X_train, X_test = prepare(data, train, test)
    y = data.y[train]
    chosen = {name: _better_model(X_train[name], y, data, task["seed"]) for name in X_train}
    params = dict(data.fusion_params or {})
    models = {name: model_of(kind, data) for name, kind in chosen.items()}
    if task["method"] == "late voting":
        estimator: Any = LateVotingClassifier(models, random_state=task["seed"], **params)
    else:
        cls = MNLClassifier if task["method"] == "MNL" else InTenseClassifier
        encoders = {name: EstimatorEncoder(model) for name, model in models.items()}
        estimator = cls(encoders=encoders, random_state=task["seed"], **params)
    estimator.fit(X_train, y)
    found = scores(data.y[test], estimator.predict_proba(X_test), estimator.classes_)
    relevance = getattr(estimator, "relevance_scores_", {})
    return {
        **found,
        "models": chosen,
        "relevance": {term: round(score, 4) for term, score in relevance.items()},
    }


def _better_model(values: np.ndarray, y: np.ndarray, data: Any, seed: int) -> str:
    """Return the name of the model with the lower log-loss in cross-validation."""
    alone = ModalityFrame({"modality": values})
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    flat = LateVotingClassifier(missing="mask", random_state=seed)
    losses = {}
    for kind in MODELS:
        estimator = flat.set_params(estimators=model_of(kind, data))
        p = cross_val_predict(estimator, alone, y, cv=folds, method="predict_proba")
        losses[kind] = log_loss(y, np.clip(p, 1e-12, 1))
    return min(losses, key=losses.__getitem__)


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=3)
    parser.add_argument("--sets", nargs="+", choices=SETS, help="all of them")
    args = parser.parse_args()
    names = args.sets or (["dermatology"] if args.quick else list(SETS))
    tasks = [
        {"set": name, "method": method, "split": split, "seed": seed}
        for name in names
        for seed in seeds_of(args)
        for split in range(1 if args.quick else len(load_set(name).splits))
        for method in METHODS
    ]
    results = run_tasks(fit, tasks, name="estimator_encoder", args=args)
    report = Report(
        "estimator_encoder", "scikit-learn models as encoders", args, is_part=bool(args.sets)
    )
    means: dict[tuple[str, str], list[float]] = {}
    for name in names:
        for method in METHODS:
            for seed in seeds_of(args):
                mine = [
                    r["accuracy"]
                    for r in results
                    if (r["set"], r["method"], r["seed"]) == (name, method, seed)
                ]
                means.setdefault((name, method), []).append(float(np.mean(mine)))
    overall = {m: float(np.mean([np.mean(means[name, m]) for name in names])) for m in METHODS}
    gaps = {
        name: 100 * (np.mean(means[name, "InTense"]) - np.mean(means[name, "late voting"]))
        for name in names
    }
    worst = min(gaps, key=gaps.__getitem__)
    report.targets(
        [
            ("InTense, mean over the sets", overall["InTense"],
             f"> {overall['late voting']:.4f} (late voting)",
             overall["InTense"] > overall["late voting"]),
            (f"InTense less late voting in points, at worst ({worst})", float(gaps[worst]),
             f">= -{POINTS}", gaps[worst] >= -POINTS),
        ]
    )  # fmt: skip
    rows = [
        {
            "set": name,
            **{method: mean_std(means[name, method]) for method in METHODS},
            "InTense - late, points": float(gaps[name]),
            "models": ", ".join(
                f"{m}: {kind}"
                for m, kind in next(r["models"] for r in results if r["set"] == name).items()
            ),
        }
        for name in names
    ]
    report.table("Accuracy, mean over splits (± over seeds)", rows)
    report.write()


if __name__ == "__main__":
    main()
