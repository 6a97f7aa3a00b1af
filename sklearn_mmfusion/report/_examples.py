"""Which rows to show as examples: some right, some wrong, some uncertain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from sklearn_mmfusion.report._subject import Subject

__all__ = ["Example", "choose_examples"]

Rows = npt.NDArray[np.intp]


@dataclass
class Example:
    """A row, why it is shown, and the output to explain it by."""

    row: int
    why: str
    output: int


def choose_examples(subject: Subject, n_examples: int, random_state: object) -> list[Example]:
    """Return rows to show, the kinds in turn until there are enough.

    Labels: drawn from the right ones, the wrong ones that the model was surest of, and the right
    or wrong ones with the smallest lead. Numbers: drawn from the closer half, and the largest
    errors.
    """
    rng = check_random_state(random_state)
    error, doubt = _error_and_doubt(subject)
    everyone = np.arange(subject.n_samples)
    groups: list[tuple[str, Rows]]
    if subject.kind == "regression":
        order = np.argsort(error, kind="stable")
        close = order[: max(1, len(order) // 2)]
        groups = [("close", rng.permutation(close)), ("far off", order[::-1])]
    else:
        right, wrong = everyone[error == 0], everyone[error > 0]
        unsure = everyone[np.argsort(doubt, kind="stable")]
        surest = wrong[np.lexsort((wrong, -doubt[wrong], -error[wrong]))]
        groups = [("right", rng.permutation(right)), ("wrong", surest), ("uncertain", unsure)]
    chosen: dict[int, str] = {}
    queues = [(why, iter(rows.tolist())) for why, rows in groups]
    while queues and len(chosen) < min(n_examples, subject.n_samples):
        why, rows = queue = queues.pop(0)
        row = next((row for row in rows if row not in chosen), None)
        if row is not None:
            chosen[row] = why
            queues.append(queue)
    rank = {why: i for i, (why, _) in enumerate(groups)}
    picked = sorted(chosen.items(), key=lambda item: rank[item[1]])
    return [Example(row, why, _output(subject, row)) for row, why in picked]


def _error_and_doubt(subject: Subject) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return how wrong each row is, and by how little its prediction leads."""
    y, predicted = subject.y, subject.predicted
    n = subject.n_samples
    if subject.kind == "regression":
        return np.abs(y - predicted).reshape(n, -1) @ (1 / subject.units), np.zeros(n)
    wrong = (y != predicted).reshape(n, -1).sum(axis=1).astype(np.float64)
    scores = subject.scores
    if scores is None:
        return wrong, np.zeros(n)
    if subject.kind == "multilabel":
        middle = 0.5 if subject.probabilities is not None else 0.0
        return wrong, np.abs(scores - middle).min(axis=1)
    ordered = np.sort(scores, axis=1)
    return wrong, ordered[:, -1] - ordered[:, -2]


def _output(subject: Subject, row: int) -> int:
    """Return the output that decided: of the predicted class, or the most certain label.

    Of a regressor, the one that is farthest off in its unit.
    """
    if subject.n_outputs == 1:
        return 0
    if subject.kind == "multiclass":
        return subject.predicted_class(row)
    if subject.kind == "multilabel" and subject.scores is not None:
        return int(np.argmax(subject.scores[row]))
    if subject.kind == "regression":
        return int(np.argmax(np.abs(subject.y[row] - subject.predicted[row]) / subject.units))
    return 0
