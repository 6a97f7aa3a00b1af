"""Relevance on real data: beside the accuracy of each modality, and of modalities that say nothing.

For every fold: scores of InTense and MNL, and what each term adds on held-out rows: its share of
the standard deviation of the contributions, and the rise of the log-loss when it is removed. The
data come from the folder that the environment variable MMFUSION_DATA names.
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

import numpy as np
from _baselines import baseline_scores, baseline_tasks
from _common import Check, Report, make_parser, mean_std, run_tasks, seeds_of
from _real_sets import load_set, prepare
from scipy.stats import spearmanr, t
from sklearn.metrics import log_loss

from sklearn_mmfusion import InTenseClassifier, MNLClassifier

METHODS = {"InTense": InTenseClassifier, "MNL": MNLClassifier}
SETS = ("mosi_all", "mosi_clean_cv", "mustard", "cogload_cv", "mfeat", "wiki", "zuco_ner")
QUICK_SETS = ("cogload_cv", "mustard")
# Modalities at or near chance on their own, in folds by subject and by speaker.
NULLS = (("cogload_cv", "temp"), ("cogload_cv", "hr"), ("mosi_clean_cv", "audio"))
QUANTITIES = ("relevance", "held-out share", "log-loss rise")
NOTES = {
    "mosi_all": "text_cnn and video_cnn have seen the training labels, so that relevance on "
    "training rows, and the penalised weights behind it, take video for informative; judge by "
    "the held-out columns.",
    "mustard": "The paper gives text 0.78 beside audio and video, which are not in these data: "
    "the modalities here are three kinds of text and the speaker, who alone decides as much as "
    "all together.",
    "mosi_clean_cv": "The paper gives text 0.75 on MOSI with word vectors and video; here text "
    "without labels and audio, in five folds by speaker.",
}


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one fold and look at every term on its test rows."""
    data = load_set(task["set"])
    train, test = data.splits[task["split"]]
    X_train, X_test = prepare(data, train, test)
    y_test = data.y[test]
    estimator = METHODS[task["method"]](random_state=task["seed"], **(data.fusion_params or {}))
    estimator.fit(X_train, data.y[train])
    loss = log_loss(y_test, estimator.predict_proba(X_test), labels=estimator.classes_)
    spread = estimator.contributions(X_test).std(axis=0).mean(axis=1)
    shares = spread / spread.sum() if spread.sum() else spread
    rises = {}
    for term in estimator.term_names_:
        rest = copy.deepcopy(estimator).remove_terms([term])
        without = log_loss(y_test, rest.predict_proba(X_test), labels=estimator.classes_)
        rises[term] = round(float(without - loss), 5)
    # A modality altogether: all terms that hold it.
    for name in estimator.modality_names_:
        terms = [
            term
            for term, members in zip(estimator.term_names_, estimator.term_modalities_, strict=True)
            if name in members
        ]
        if len(terms) < len(estimator.term_names_):
            rest = copy.deepcopy(estimator).remove_terms(terms)
            without = log_loss(y_test, rest.predict_proba(X_test), labels=estimator.classes_)
            rises[f"all with {name}"] = round(float(without - loss), 5)
    return {
        "accuracy": estimator.score(X_test, y_test),
        "relevance": {term: round(s, 5) for term, s in estimator.relevance_scores_.items()},
        "held-out share": dict(zip(estimator.term_names_, shares.round(5).tolist(), strict=True)),
        "log-loss rise": rises,
        "gain": estimator.validation_gain_,
    }


def fold_values(fits: list[dict[str, Any]], quantity: str, term: str) -> np.ndarray:
    """Return the mean over the seeds of every fold."""
    folds: dict[int, list[float]] = {}
    for result in fits:
        folds.setdefault(result["split"], []).append(result[quantity].get(term, 0.0))
    return np.array([np.mean(values) for values in folds.values()])


def interval(values: np.ndarray) -> tuple[float, float] | None:
    """Return Student's 95 % interval of the mean over folds, variance after Nadeau and Bengio.

    Training parts of folds overlap, so that fits differ less than they would on fresh data: the
    variance is multiplied by 1/k + test rows / training rows.
    """
    k = len(values)
    if k < 2:
        return None
    spread = np.sqrt((1 / k + 1 / (k - 1)) * values.var(ddof=1)) * t.ppf(0.975, k - 1)
    return float(values.mean() - spread), float(values.mean() + spread)


def single_accuracies(names: list[str], args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the accuracy of the better of both baselines on each modality alone, by set."""
    tasks = [task for name in names for task in baseline_tasks(name, _n_splits(name, args))]
    results = run_tasks(baseline_scores, tasks, name="baselines", args=args, depends_on_code=False)
    found: dict[str, dict[str, float]] = {}
    for name in names:
        mine = [r["scores"] for r in results if r["set"] == name]
        found[name] = {
            modality: max(
                float(np.mean([scores[f"{kind} {modality}"]["accuracy"] for scores in mine]))
                for kind in ("LR", "GB")
            )
            for modality in load_set(name).X
        }
    return found


def _n_splits(name: str, args: argparse.Namespace) -> int:
    n_splits = len(load_set(name).splits)
    return min(n_splits, 2) if args.quick else n_splits


def _ends(values: np.ndarray) -> str:
    ends = interval(values)
    return "-" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=3)
    parser.add_argument("--sets", nargs="+", choices=SETS, help="all of them")
    args = parser.parse_args()
    names = args.sets or list(QUICK_SETS if args.quick else SETS)
    tasks = [
        {"set": name, "split": split, "method": method, "seed": seed}
        for name in names
        for method in METHODS
        for split in range(_n_splits(name, args))
        for seed in seeds_of(args)
    ]
    singles = single_accuracies(names, args)
    results = run_tasks(fit, tasks, name="relevance_real", args=args)

    report = Report("relevance_real", "Relevance on real data", args, is_part=bool(args.sets))
    fits = {
        (name, method): [r for r in results if r["set"] == name and r["method"] == method]
        for name in names
        for method in METHODS
    }
    nulls = [(name, modality) for name, modality in NULLS if name in names]
    rows, checks = _null_rows(fits, nulls)
    report.targets(checks)
    report.table("Modalities that say nothing: mean over folds, 95 % interval", rows)
    report.table("Rank agreement with the accuracy of single modalities", _ranks(fits, singles))
    for name in names:
        report.table(f"{name}: modalities", _modality_rows(name, fits, singles[name]))
        if name in NOTES:
            report.text(NOTES[name])
        report.table(f"{name}: interactions, InTense", _interaction_rows(fits[name, "InTense"]))
    report.text(
        "Accuracy alone: the better of logistic regression and gradient boosting on that modality. "
        "Relevance: of the term of the modality itself. Held-out share: standard deviation of the "
        "term's contributions on the test rows over that of all terms. Log-loss rise: of the test "
        "rows when the term is removed from a fitted model; negative where it does harm. "
        "Intervals: over folds (means over seeds), corrected for overlapping training parts."
    )
    report.write()


def _null_rows(
    fits: dict[tuple[str, str], list[dict[str, Any]]], nulls: list[tuple[str, str]]
) -> tuple[list[dict[str, Any]], list[Check]]:
    rows, checks = [], []
    for name, modality in nulls:
        for method in METHODS:
            for quantity in QUANTITIES:
                values = fold_values(fits[name, method], quantity, modality)
                rows.append(
                    {"set": name, "modality": modality, "method": method, "quantity": quantity,
                     "mean": float(values.mean()), "interval": _ends(values)}
                )  # fmt: skip
            rise = fold_values(fits[name, method], "log-loss rise", f"all with {modality}")
            ends = interval(rise)
            rows.append(
                {"set": name, "modality": modality, "method": method,
                 "quantity": "log-loss rise, all its terms", "mean": float(rise.mean()),
                 "interval": _ends(rise)}
            )  # fmt: skip
            if ends is not None:
                says_so = ends[0] <= 0 or rise.mean() < 0.01
                checks.append(
                    (f"{name} {modality}, {method}: held-out log-loss rise", _ends(rise),
                     "reaches 0, or below 0.01", bool(says_so))
                )  # fmt: skip
    return rows, checks


def _ranks(
    fits: dict[tuple[str, str], list[dict[str, Any]]], singles: dict[str, dict[str, float]]
) -> list[dict[str, Any]]:
    """Return Spearman's correlation over the modalities of each set."""
    rows = []
    for (name, method), mine in fits.items():
        accuracy = list(singles[name].values())
        row: dict[str, Any] = {"set": name, "method": method, "modalities": len(accuracy)}
        for quantity in QUANTITIES:
            means = [fold_values(mine, quantity, m).mean() for m in singles[name]]
            constant = len(set(means)) == 1 or len(set(accuracy)) == 1
            row[quantity] = None if constant else float(spearmanr(accuracy, means).statistic)
        row["accuracy of the model"] = mean_std(r["accuracy"] for r in mine)
        rows.append(row)
    return rows


def _modality_rows(
    name: str,
    fits: dict[tuple[str, str], list[dict[str, Any]]],
    singles: dict[str, float],
) -> list[dict[str, Any]]:
    rows = []
    for modality, accuracy in sorted(singles.items(), key=lambda item: -item[1]):
        row: dict[str, Any] = {"modality": modality, "accuracy alone": accuracy}
        for method in METHODS:
            relevance = fold_values(fits[name, method], "relevance", modality)
            row[f"{method} relevance"] = float(relevance.mean())
            row[f"{method} interval"] = _ends(relevance)
            for quantity in QUANTITIES[1:]:
                values = fold_values(fits[name, method], quantity, modality)
                row[f"{method} {quantity}"] = float(values.mean())
        rows.append(row)
    return rows


def _interaction_rows(fits: list[dict[str, Any]], n_terms: int = 8) -> list[dict[str, Any]]:
    """Return the interactions of largest relevance."""
    terms = [term for term in fits[0]["relevance"] if " x " in term]
    means = {term: fold_values(fits, "relevance", term).mean() for term in terms}
    return [
        {
            "term": term,
            "relevance": float(means[term]),
            "interval": _ends(fold_values(fits, "relevance", term)),
            **{q: float(fold_values(fits, q, term).mean()) for q in QUANTITIES[1:]},
        }
        for term in sorted(terms, key=lambda term: -means[term])[:n_terms]
    ]


if __name__ == "__main__":
    main()
