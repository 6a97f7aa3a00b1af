"""The score of a model on rows that are put together anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from sklearn.metrics import check_scoring

from sklearn_mmfusion.inspection._evaluator import Evaluator, fitted_modalities, make_evaluator
from sklearn_mmfusion.inspection._many_scores import many_scores
from sklearn_mmfusion.inspection._response import (
    choose_response,
    predict_outputs,
    score_outputs,
)
from sklearn_mmfusion.inspection._results import check_target
from sklearn_mmfusion.inspection._rows import ModalityRows, read_rows

__all__ = ["IndexScorer", "make_index_scorer"]

Index = npt.NDArray[np.intp]
Scorer = Callable[..., Any]

_BLOCK = 2**18  # rows to hold outputs of at a time


@dataclass
class IndexScorer:
    """Scores an estimator on X with modalities from other rows, against y as it is.

    Attributes
    ----------
    estimator, X, y, sample_weight : object
        As passed by the user.
    rows : ModalityRows
        Modalities of X.
    scorer : callable
        Scorer of scikit-learn's kind.
    scoring : str, callable or None
        What the user asked for.
    evaluator : Evaluator or None
        Cached encodings, where the score is a function of the outputs.
    """

    estimator: Any
    X: Any
    y: Any
    sample_weight: Any
    rows: ModalityRows
    scorer: Scorer
    scoring: Any
    evaluator: Evaluator | None
    _own_outputs: npt.NDArray[np.float64] | None = None  # of X, where they have been scored

    def scores(self, indices: Sequence[Index], n_jobs: int | None = None) -> list[float]:
        """Return a score for each index of shape (n_samples, n_modalities)."""
        if self.evaluator is None:
            jobs = (delayed(self.score)(index) for index in indices)
            return list(Parallel(n_jobs=n_jobs)(jobs))
        response = self.evaluator.response
        score = score_outputs(response, self.scoring)
        one = lambda outputs: score(outputs, self.X, self.y, self.sample_weight)  # noqa: E731
        many = many_scores(response, self.scoring, self.y, self.sample_weight, one)
        found: list[float] = []
        per_block = max(1, _BLOCK // self.rows.n_samples)
        for start in range(0, len(indices), per_block):
            some = indices[start : start + per_block]
            outputs = self.evaluator.evaluate(np.concatenate(some))
            if start == 0 and np.array_equal(some[0], self.evaluator.own_index):
                self._own_outputs = outputs[: len(some[0])].copy()
            found += many(outputs)
        return found

    def predict(self) -> Any:
        """Return what the estimator predicts of X."""
        if self.evaluator is None:
            return self.estimator.predict(self.X)
        own = self._own_outputs
        own = self.evaluator.own_outputs() if own is None else own
        return predict_outputs(self.evaluator.response, own)

    def score(self, index: Index) -> float:
        """Call the estimator on recombined rows and score it."""
        return self.score_of(self.estimator, self.rows.take(index))

    def score_of(self, model: Any, X: Any) -> float:
        """Score any model against y."""
        weight = {} if self.sample_weight is None else {"sample_weight": self.sample_weight}
        return float(self.scorer(model, X, self.y, **weight))


def make_index_scorer(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    modalities: Any,
    scoring: Any,
    sample_weight: Any,
    cached: bool = True,
) -> IndexScorer:
    """Prepare the scoring of an estimator on recombined rows of X.

    Parameters
    ----------
    estimator, X, y, modalities, scoring, sample_weight : object
        See :func:`~sklearn_mmfusion.inspection.perceptual_score`.
    cached : bool, default=True
        Whether our own estimators run on cached encodings.
    """
    choose_response(estimator, "auto")  # refuses what is not fitted or cannot predict
    rows = read_rows(X, modalities, *fitted_modalities(estimator))
    check_target(y, rows.n_samples)
    scorer = check_scoring(estimator, scoring=scoring)
    evaluator = None
    # A scorer of the user's own may look at X or at other attributes.
    reads_outputs = scoring is None or isinstance(scoring, str)
    if cached and reads_outputs and hasattr(estimator, "_raw_outputs"):
        evaluator = make_evaluator(estimator, X, modalities=modalities)
        evaluator = evaluator if evaluator.is_cached else None
    return IndexScorer(estimator, X, y, sample_weight, rows, scorer, scoring, evaluator)
