"""Relevance on the rows of the report, and where that of the fit is far above it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._fitting.held_out import HeldOut
from sklearn_mmfusion._fitting.warnings import MIN_EFFECT
from sklearn_mmfusion._relevance.scores import share_scores
from sklearn_mmfusion._relevance.share_test import contradiction
from sklearn_mmfusion.report._subject import Subject, take_rows

__all__ = ["FEWEST_ROWS", "RowRelevance", "row_relevance"]

Floats = npt.NDArray[np.float64]

FEWEST_ROWS = 50  # below, every number is called uncertain anyway
_FAR = 0.2  # share by which relevance in training is far above
_LEVEL = 0.01  # of the test that the rows contradict the shares of the fit
_MOST_ROWS = 5000  # all contributions of a row are in memory at a time


@dataclass
class RowRelevance:
    """Relevance scores on the rows of the report.

    Attributes
    ----------
    scores : ndarray of shape (n_terms,)
        Those of :func:`~sklearn_mmfusion.relevance_scores`.
    of_fit : ndarray of shape (n_terms,)
        ``relevance_scores_``.
    is_sure : bool
        Whether the rows are enough to contradict the fit, and do.
    """

    scores: Floats
    of_fit: Floats
    is_sure: bool

    @property
    def far_above(self) -> list[int]:
        """Terms whose relevance in training is far above that on the rows, the largest first."""
        drops = self.of_fit - self.scores
        order = np.argsort(-drops, kind="stable")
        return [int(t) for t in order if self.is_sure and drops[t] >= _FAR]


def row_relevance(subject: Subject) -> RowRelevance | None:
    """Return relevance on the rows; None for models whose own is no share of contributions.

    Of very many rows it is that of some drawn at random, and rows of classes that the model has
    not seen are left out.
    """
    model = subject.model
    if getattr(model, "_explained_kind", None) != "relevance":
        return None
    rows = np.arange(subject.n_samples)
    if subject.kind in ("binary", "multiclass"):
        known = set(subject.classes)
        rows = rows[[label in known for label in subject.y.tolist()]]
    if subject.weight is not None:
        rows = rows[subject.weight[rows] > 0]
    if len(rows) > _MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MOST_ROWS, replace=False))
    if not len(rows):
        return None
    weight = None if subject.weight is None else subject.weight[rows]
    found = HeldOut(model, take_rows(subject.X_model, rows), subject.y[rows], weight)
    of_fit = np.array(list(model.relevance_scores_.values()))
    gain, error = found.best_gain()
    is_sure = bool(
        found.n_counted >= FEWEST_ROWS
        and gain > MIN_EFFECT * error
        and contradiction(found, of_fit) < _LEVEL
    )
    return RowRelevance(share_scores(found), of_fit, is_sure)
