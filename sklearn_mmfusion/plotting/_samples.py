"""Explanations of chosen rows of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.utils import _safe_indexing

from sklearn_mmfusion._explanations import LocalExplanation
from sklearn_mmfusion._inputs.unwrap import unwrap
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.data._row_labels import row_labels

__all__ = ["explain_samples"]


def explain_samples(
    estimator: Any, X: Any, y: Any, samples: Sequence[int] | None
) -> LocalExplanation:
    """Return the local explanation of some rows, by positions in X, with the labels of X."""
    labels = row_labels(X)  # the steps of a pipeline may drop them
    if samples is None:
        estimator, X = unwrap(estimator, X, attribute="explain_local")
        whole: LocalExplanation = estimator.explain_local(X, y)
        return type(whole)({**whole.data, "sample_labels": labels})
    samples = [int(sample) for sample in samples]
    rows = ModalityFrame(X).iloc if isinstance(X, Mapping) else None
    X = _safe_indexing(X, samples) if rows is None else rows[samples]
    y = None if y is None else _safe_indexing(y, samples)
    estimator, X = unwrap(estimator, X, attribute="explain_local")
    local = estimator.explain_local(X, y)
    labels = None if labels is None else labels[samples]
    return type(local)({**local.data, "sample_index": samples, "sample_labels": labels})
