"""How well the predictions agree with the target, and whether probabilities mean what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from sklearn_mmfusion.metrics._correlation import weighted_correlation
from sklearn_mmfusion.report._subject import Subject, part, parts, spreads

__all__ = [
    "Calibration",
    "brier_score",
    "calibration",
    "confusion",
    "per_class",
    "per_output",
    "score_rows",
]

Floats = npt.NDArray[np.float64]

_BINS = 10


def score_rows(subject: Subject) -> list[tuple[str, float | None, float | None]]:
    """Return (name, score, score of a constant prediction); None for what can't be computed.

    The constant is the best one for these rows: their class frequencies, mean or median.
    """
    if subject.kind == "regression":
        return _regression(subject)
    if subject.kind == "multilabel":
        return _multilabel(subject)
    y, predicted, weight, share = subject.y, subject.predicted, subject.weight, subject.share
    labels = np.unique(y)
    frequency: Floats = np.array([part(share @ (y == label)) for label in labels])
    positive = frequency[frequency > 0]
    recalls = [
        part(float(share[y == label] @ (predicted[y == label] == label)) / rate)
        for label, rate in zip(labels, frequency, strict=True)
        if rate > 0
    ]
    # A class that is predicted but is not among the rows counts too, with a score of 0.
    f1 = metrics.f1_score(y, predicted, average="macro", sample_weight=weight, zero_division=0)
    f1_constant = 2 * positive.max() / (1 + positive.max()) / len(labels)
    areas = [area for area in _areas(subject) if area is not None]
    return [
        ("accuracy", metrics.accuracy_score(y, predicted, sample_weight=weight), positive.max()),
        ("balanced accuracy", float(np.mean(recalls)), 1 / len(recalls)),
        ("F1, mean over classes", f1, f1_constant),
        ("log loss", _log_loss(subject), float((positive * -np.log(positive)).sum()) + 0.0),
        ("ROC AUC", _area_of(subject, areas), 0.5 if areas else None),
    ]


def _area_of(subject: Subject, areas: list[float]) -> float | None:
    if not areas:
        return None
    return areas[-1] if subject.kind == "binary" else float(np.mean(areas))


def _log_loss(subject: Subject) -> float | None:
    if subject.probabilities is None or not np.isin(subject.y, subject.classes).all():
        return None
    return float(
        metrics.log_loss(
            subject.y,
            subject.probabilities,
            labels=subject.classes,
            sample_weight=subject.weight,
        )
    )


def _areas(subject: Subject) -> list[float | None]:
    """Return the area under the ROC curve of each class against the others."""
    scores = subject.scores
    if scores is None:
        return [None] * len(subject.classes)
    areas: list[float | None] = []
    for k, label in enumerate(subject.classes):
        truth = subject.y[:, k] != 0 if subject.kind == "multilabel" else subject.y == label
        if truth.all() or not truth.any():
            areas.append(None)
            continue
        area = metrics.roc_auc_score(truth, scores[:, k], sample_weight=subject.weight)
        areas.append(float(area))
    return areas


def _regression(subject: Subject) -> list[tuple[str, float | None, float | None]]:
    outputs = _output_scores(subject)
    if len(outputs) == 1:
        return outputs[0]
    # Errors of outputs in different units have no mean.
    rows: list[tuple[str, float | None, float | None]] = []
    for place, constant in ((0, 0.0), (3, None)):
        known = [scores[place][1] for scores in outputs]
        values = [value for value in known if value is not None]
        mean = float(np.mean(values)) if values else None
        rows.append((f"{outputs[0][place][0]}, mean over outputs", mean, constant))
    return rows


def _output_scores(subject: Subject) -> list[list[tuple[str, float | None, float | None]]]:
    """Return the scores of each output of a regressor."""
    n, weight, share = subject.n_samples, subject.weight, subject.share
    found = []
    for t, g in zip(subject.y.reshape(n, -1).T, subject.predicted.reshape(n, -1).T, strict=True):
        error = np.abs(t - g)
        found.append(
            [
                ("R²", float(metrics.r2_score(t, g, sample_weight=weight)) if n > 1 else None, 0.0),
                (
                    "mean absolute error",
                    float(share @ error),
                    float(share @ np.abs(t - _weighted_median(t, share))),
                ),
                (
                    "root mean squared error",
                    float(np.sqrt(share @ np.square(error))),
                    float(spreads(t[:, None], share)[0]),
                ),
                ("correlation", weighted_correlation(t, g, share), None),
            ]
        )
    return found


def per_output(subject: Subject) -> tuple[list[str], list[list[Any]]]:
    """Return the columns and rows of a table of the outputs of a regressor."""
    columns, rows = ["output"], []
    for name, scores in zip(subject.output_names, _output_scores(subject), strict=True):
        row: list[Any] = [name]
        columns = ["output"]
        for score, value, constant in scores:
            columns.append(score)
            row.append(value)
            if score.endswith("error"):
                columns.append(f"{score} of a constant")
                row.append(constant)
        rows.append(row)
    return columns, rows


def _weighted_median(values: Floats, share: Floats) -> float:
    order = np.argsort(values, kind="stable")
    place = int(np.searchsorted(np.cumsum(share[order]), 0.5 - 1e-12))
    return float(values[order][min(place, len(values) - 1)])


def _multilabel(subject: Subject) -> list[tuple[str, float | None, float | None]]:
    y, predicted, weight, share = subject.y, subject.predicted, subject.weight, subject.share
    rates = share @ (y != 0)
    majority = (rates > 0.5).astype(int)
    constant = np.tile(majority, (len(y), 1))
    areas = [area for area in _areas(subject) if area is not None]
    loss = entropy = None
    if subject.probabilities is not None:
        loss = float((share @ _binary_loss(y, subject.probabilities)).mean())
        entropy = float((share @ _binary_loss(y, np.tile(rates, (len(y), 1)))).mean())

    def f1(guess: npt.NDArray[Any]) -> float:
        return float(
            metrics.f1_score(y, guess, average="macro", sample_weight=weight, zero_division=0)
        )

    return [
        (
            "all labels right",
            float(metrics.accuracy_score(y, predicted, sample_weight=weight)),
            float(metrics.accuracy_score(y, constant, sample_weight=weight)),
        ),
        (
            "labels right",
            part((share @ (y == predicted)).mean()),
            part((share @ (y == constant)).mean()),
        ),
        ("F1, mean over labels", f1(predicted), f1(constant)),
        ("log loss, mean over labels", loss, entropy),
        ("ROC AUC, mean over labels", float(np.mean(areas)) if areas else None, 0.5),
    ]


def _binary_loss(y: npt.NDArray[Any], probabilities: Floats) -> Floats:
    tiny = np.finfo(np.float64).eps
    p = np.clip(probabilities, tiny, 1 - tiny)
    return np.where(y != 0, -np.log(p), -np.log1p(-p))


def per_class(subject: Subject) -> tuple[list[str], list[list[Any]]]:
    """Return the columns and rows of a table of the classes or labels."""
    y, predicted = subject.y, subject.predicted
    if subject.kind == "multilabel":
        labels, truth, guess = subject.classes, y != 0, predicted != 0
    else:
        labels = list(dict.fromkeys([*subject.classes, *np.unique(y).tolist()]))
        truth = np.column_stack([y == label for label in labels])
        guess = np.column_stack([predicted == label for label in labels])
    areas = _areas(subject)
    areas += [None] * (len(labels) - len(areas))
    rows = []
    for k, label in enumerate(labels):
        share = subject.share
        hit = float(share @ (truth[:, k] & guess[:, k]))
        found, real = float(share @ guess[:, k]), float(share @ truth[:, k])
        precision = part(hit / found) if found else None
        recall = part(hit / real) if real else None
        rows.append([str(label), int(truth[:, k].sum()), precision, recall, areas[k]])
    word = "label" if subject.kind == "multilabel" else "class"
    return [word, "rows", "precision", "recall", "ROC AUC"], rows


def confusion(subject: Subject) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return class names and counts of rows, (true, predicted)."""
    labels = list(dict.fromkeys([*subject.classes, *np.unique(subject.y).tolist()]))
    place = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    truth = [place[label] for label in subject.y.tolist()]
    guess = [place[label] for label in subject.predicted.tolist()]
    np.add.at(counts, (truth, guess), 1)
    return [str(label) for label in labels], counts


@dataclass
class Calibration:
    """Stated probabilities against what came true.

    Attributes
    ----------
    what : str
        What the probability is of.
    edges : ndarray of shape (n_bins + 1,)
        Bins of the stated probability.
    stated, observed : ndarray of shape (n_bins,)
        Mean stated probability and share that came true; NaN in empty bins.
    counts : ndarray of shape (n_bins,)
        Predictions in each bin.
    error : float
        Expected calibration error: mean distance of stated from observed, weighted by the bins.
    """

    what: str
    edges: Floats
    stated: Floats
    observed: Floats
    counts: npt.NDArray[np.int64]
    error: float


def calibration(subject: Subject) -> Calibration | None:
    """Return the reliability curve; None without probabilities.

    Of class ``classes_[1]`` for two classes, of the predicted class for more, and of all labels
    together for multilabel targets.
    """
    probabilities = subject.probabilities
    if probabilities is None:
        return None
    share = subject.share
    if subject.kind == "binary":
        what = f"class {subject.classes[1]}"
        stated, true = probabilities[:, 1], subject.y == subject.classes[1]
    elif subject.kind == "multiclass":
        what = "the predicted class"
        stated, true = probabilities.max(axis=1), subject.predicted == subject.y
    else:
        what = "each label"
        stated, true = probabilities.ravel(), (subject.y != 0).ravel()
        share = np.repeat(share, probabilities.shape[1]) / probabilities.shape[1]
    edges = np.linspace(0, 1, _BINS + 1)
    bins = np.clip(np.searchsorted(edges, stated, side="right") - 1, 0, _BINS - 1)
    mass = np.bincount(bins, weights=share, minlength=_BINS)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(bins, weights=share * stated, minlength=_BINS) / mass
        rate = np.bincount(bins, weights=share * true, minlength=_BINS) / mass
    mean, rate = parts(mean), parts(rate)
    filled = mass > 0
    error = float((mass[filled] * np.abs(mean - rate)[filled]).sum())
    counts = np.bincount(bins, minlength=_BINS)
    return Calibration(what, edges, mean, rate, counts, error)


def brier_score(subject: Subject) -> float | None:
    """Return the mean squared distance of probabilities from 0 and 1; None without them.

    Of class ``classes_[1]`` for two classes, summed over classes for more, mean over labels.
    """
    probabilities = subject.probabilities
    if probabilities is None:
        return None
    if subject.kind == "multilabel":
        return float((subject.share @ np.square(probabilities - (subject.y != 0))).mean())
    truth = np.column_stack([subject.y == label for label in subject.classes])
    squares = np.square(probabilities - truth)
    if subject.kind == "binary":
        return float(subject.share @ squares[:, 1])
    return float(subject.share @ squares.sum(axis=1))
