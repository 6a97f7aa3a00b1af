"""One data set by the papers' protocol, from its file as it is distributed.

Training part, best epoch on the validation part, test part; mean and standard deviation over ten
seeds. Sentiment: absolute error in training; mean absolute error, correlation, accuracy and F1
without neutral, seven-class accuracy. Routing and GAM take sentiment as seven classes, and class 0
counts as negative in the accuracy of two. Emotions: multilabel, accuracy and F1 of each. Others:
accuracy. The papers' published settings where there is a preset (see sklearn_mmfusion.presets),
else the defaults; ``--defaults`` uses these throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _common import Report, make_parser, mean_std, run_tasks, seeds_of
from sklearn.metrics import accuracy_score, mean_absolute_error

import sklearn_mmfusion as mm
from sklearn_mmfusion import datasets, metrics
from sklearn_mmfusion.presets import available_presets, describe_preset, get_preset

Part = tuple[mm.ModalityFrame, np.ndarray]

# Method -> the first part of its class, and what it has besides.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "intense": ("InTense", {}),
    "mnl": ("MNL", {}),
    "routing": ("Routing", {}),
    "routing*": ("Routing", {"n_routing_iter": 0}),
    "gam": ("GAM", {}),
    "mro": ("MRO", {}),
    "mult": ("MulT", {}),
    "raven": ("RAVEN", {}),
    "tfn": ("TensorFusion", {}),
    "ef-lstm": ("EarlyFusion", {"encoders": mm.LSTMEncoder()}),
    "lf-lstm": ("LateFusion", {"encoders": mm.LSTMEncoder()}),
    "lf-concat": ("LateFusion", {}),
}
SEVEN_CLASSES = ("routing", "routing*", "gam")  # sentiment as classes, for them
SENTIMENT = ("mosi", "mosei")
EMOTIONS = ("iemocap", "mosei_emotions")
LOADERS: dict[str, Callable[..., Any]] = {
    "mosi": datasets.load_mosi,
    "mosei": datasets.load_mosei,
    "mosei_emotions": lambda path: datasets.load_mosei(path, target="emotions"),
    "iemocap": datasets.load_iemocap,
    "ur_funny": datasets.load_ur_funny,
    "mustard": datasets.load_mustard,
    "avmnist": datasets.load_avmnist,
    "enrico": datasets.load_enrico,
}


def load(data_set: str, path: str) -> tuple[dict[str, Part], list[str]]:
    """Return the parts "train", "valid" and "test", and the names of emotions or classes."""
    bunch = LOADERS[data_set](path)
    frame = mm.ModalityFrame(bunch.data)
    parts = {name: (frame.iloc[rows], bunch.target[rows]) for name, rows in bunch.splits.items()}
    if data_set == "avmnist":  # whose test rows are files of their own
        test = datasets.load_avmnist(path, subset="test")
        parts["test"] = mm.ModalityFrame(test.data), test.target
    return parts, list(bunch.get("target_names", []))


def make(task: dict[str, Any]) -> Any:
    """Return the estimator of a method on a data set."""
    method, data_set = task["method"], task["data_set"]
    prefix, settings = METHODS[method]
    numbers = data_set in SENTIMENT and method not in SEVEN_CLASSES
    if numbers:
        settings = {**settings, "loss": "absolute_error"}
    if (method, data_set) in available_presets() and not task["defaults"]:
        settings = {**settings, **get_preset(method, data_set)}
    cls = getattr(mm, prefix + ("Regressor" if numbers else "Classifier"))
    estimator = cls(missing="mask", early_stopping=True, random_state=task["seed"])
    changes = {} if task["max_epochs"] is None else {"max_epochs": task["max_epochs"]}
    return estimator.set_params(**settings).set_params(**changes)


def seven_classes(sentiment: np.ndarray) -> np.ndarray:
    """Return the sentiment rounded to -3, ..., 3."""
    return np.round(np.clip(sentiment, -3, 3)).astype(int)


def score(data_set: str, names: list[str], true: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Return what the papers report."""
    if data_set in SENTIMENT:
        found = found.astype(float)
        return {
            "MAE": mean_absolute_error(true, found),
            "correlation": metrics.pearson_correlation(true, found),
            "Acc2": metrics.sentiment_accuracy(true, found),
            "Acc7": metrics.seven_class_accuracy(true, found),
            "F1": metrics.sentiment_f1(true, found),
        }
    if data_set in EMOTIONS:
        accuracy, f1 = metrics.emotion_accuracy(true, found), metrics.emotion_f1(true, found)
        return {
            "accuracy": float(np.mean(accuracy)),
            "F1": float(np.mean(f1)),
            **{f"accuracy {name}": float(v) for name, v in zip(names, accuracy, strict=True)},
            **{f"F1 {name}": float(v) for name, v in zip(names, f1, strict=True)},
        }
    return {"accuracy": float(accuracy_score(true, found))}


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one method with one seed: the training part, stopped on the validation part."""
    parts, names = load(task["data_set"], task["path"])
    (X, y), (X_valid, y_valid), (X_test, y_test) = (parts[p] for p in ("train", "valid", "test"))
    estimator = make(task)
    if task["data_set"] in SENTIMENT and task["method"] in SEVEN_CLASSES:
        y, y_valid = seven_classes(y), seven_classes(y_valid)
        seen = np.isin(y_valid, y)  # a class of no training row cannot be judged
        X_valid, y_valid = X_valid.iloc[np.flatnonzero(seen)], y_valid[seen]
    estimator.fit(X, y, X_val=X_valid, y_val=y_valid)
    found = score(task["data_set"], names, y_test, estimator.predict(X_test))
    relevance = getattr(estimator, "relevance_scores_", {})
    return {
        **{name: round(float(value), 5) for name, value in found.items()},
        "epochs": estimator.n_iter_,
        "relevance": {term: round(float(s), 4) for term, s in relevance.items()},
    }


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=10)
    parser.add_argument("data_set", choices=LOADERS)
    parser.add_argument("--path", type=Path, required=True, help="file or folder of the data set")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--defaults", action="store_true", help="no presets")
    parser.add_argument("--max-epochs", type=int, help="instead of the setting's number")
    args = parser.parse_args()
    max_epochs = 1 if args.quick else args.max_epochs
    rest = {"path": str(args.path), "defaults": args.defaults, "max_epochs": max_epochs}
    tasks = [
        {"data_set": args.data_set, "method": method, "seed": seed, **rest}
        for method in args.methods
        for seed in seeds_of(args)
    ]
    results = run_tasks(fit, tasks, name="protocol", args=args)
    report = Report(f"protocol_{args.data_set}", f"{args.data_set}: the papers' protocol", args)
    keys = [k for k in results[0] if k not in {*tasks[0], "relevance", "warnings", "epochs"}]
    rows = []
    for method in args.methods:
        mine = [r for r in results if r["method"] == method]
        is_preset = (method, args.data_set) in available_presets() and not args.defaults
        cells = {key: mean_std(r[key] for r in mine) for key in keys}
        rows.append({"method": method, "settings": "preset" if is_preset else "default", **cells})
    report.table("Test part, mean ± std over seeds", rows)
    for row in rows:
        if row["settings"] == "preset":
            report.text(describe_preset(row["method"], args.data_set))
    report.write()


if __name__ == "__main__":
    main()
