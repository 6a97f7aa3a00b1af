"""The best additive projection of a model, EMAP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.utils import Bunch

from sklearn_mmfusion._errors import InputError, RelevanceWarning, warn
from sklearn_mmfusion.inspection._evaluator import make_evaluator
from sklearn_mmfusion.inspection._expectations import estimate
from sklearn_mmfusion.inspection._one_label import one_label_hint
from sklearn_mmfusion.inspection._response import check_own_score, score_outputs
from sklearn_mmfusion.inspection._results import (
    as_generator,
    check_counts,
    check_target,
    long_frame,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AdditiveProjection", "emap"]


class AdditiveProjection(Bunch):
    """What :func:`emap` returns: a Bunch, with a table.

    Parameters
    ----------
    **kwargs : object
        What was found; listed there.
    """

    def to_frame(self) -> pd.DataFrame:
        """Return one row per sample and output: ``projection``, ``output_value`` and error."""
        n = len(self.projection)
        return long_frame(
            {"sample": range(n), "output": self.output_names},
            {
                "projection": self.projection,
                "standard_error": self.standard_error,
                "output_value": self.outputs,
            },
        )


def emap(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    modalities: Any = None,
    response: str = "auto",
    scoring: Any = None,
    sample_weight: Any = None,
    background: Any = None,
    method: str = "auto",
    n_draws: int = 100,
    max_evaluations: int = 1_000_000,
    random_state: Any = None,
) -> AdditiveProjection:
    r"""Project the outputs of a model onto sums of functions of single modalities (EMAP).

    Use it to ask whether a model needs interactions of modalities at all: if its projection scores
    as well as the model, what it gains from them is nothing, whatever it may have learned.

    .. math:: \hat f(x) = \sum_m E_{b}\, f(x_m, b_{\bar m}) - (M - 1)\, E_b\, f(b)

    with every modality of :math:`b` drawn on its own from the background: over the product of
    marginals this is the additive function next to :math:`f` in squares. For two modalities it is
    row mean plus column mean minus grand mean of the matrix :math:`f(x_{1i}, x_{2j})`.

    Parameters
    ----------
    estimator : object
        A fitted estimator with ``decision_function``, ``predict_proba`` or ``predict``: ours, or
        any of scikit-learn's interface. Ours with one encoder per modality run on cached encodings.
    X : mapping, ModalityFrame, DataFrame or array-like
        Rows to project.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Target, for the scores before and after.
    modalities : mapping or list of str, default=None
        Columns of each modality for 2-D ``X``: name to slice, list of positions or of column
        names, together covering every column once. For a mapping: the order of its names. None
        takes what our estimators know.
    response : str, default="auto"
        What is projected: "decision_function", "log_proba", "predict_proba" or
        "predict". "auto" takes the decision function (logits), else log-probabilities
        (floored at those of 1e-12), else the prediction.
    scoring : str or callable, default=None
        Score of the outputs, where y is given; None is the estimator's own ``score``.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in the scores.
    background : int or data of the form of ``X``, default=None
        Rows that expectations run over: None are those of ``X``, a number are that many of them
        at random.
    method : {"auto", "exact", "sampled"}, default="auto"
        Whether expectations run over all combinations of background rows or over ``n_draws``
        random ones. "auto" is exact where ``max_evaluations`` suffices.
    n_draws : int, default=100
        Random combinations of background rows, the same for every row of ``X``.
    max_evaluations : int, default=1_000_000
        Largest number of evaluations of the model in exact mode.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    AdditiveProjection
        A Bunch with ``projection`` and ``outputs`` of shape (n_samples, n_outputs), the
        ``standard_error`` of sampling of the same shape (0 where exact), ``method``,
        ``n_evaluations``, ``response``, ``modality_names``, ``output_names``; with y ``score`` and
        ``projection_score``, else None; and ``to_frame()``. Regression is in y's units.

    Warns
    -----
    RelevanceWarning
        The model predicts one label in all rows, of which accuracy does not say what it rests on.

    Raises
    ------
    InputError, InputTypeError
        For names, columns and options that cannot be used, for more evaluations than
        ``method="exact"`` may take, and with y for outputs that do not say how the estimator
        predicts or scores (a threshold, a loss or a rule of its own).
    NotFittedError
        If the estimator is not fitted.

    References
    ----------
    .. [1] Hessel & Lee (2020), "Does my multimodal model learn cross-modal interactions? It's
       harder to tell than you might think!", section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> from sklearn_mmfusion.inspection import emap
    >>> X = np.random.default_rng(0).normal(size=(60, 4))
    >>> forest = RandomForestRegressor(20, random_state=0).fit(X, X[:, 0] * X[:, 2])
    >>> found = emap(forest, X, X[:, 0] * X[:, 2], modalities={"a": [0, 1], "b": [2, 3]})
    >>> found.projection.shape, found.projection_score < found.score
    ((60, 1), True)
    """
    check_counts(n_draws=n_draws, max_evaluations=max_evaluations)
    rng = as_generator(random_state)
    evaluator = make_evaluator(
        estimator, X, modalities=modalities, response=response, background=background, rng=rng
    )
    if y is None and (scoring is not None or sample_weight is not None):
        raise InputError("y is None: scoring and sample_weight need the target")
    check_target(y, evaluator.n_samples)
    n_modalities = len(evaluator.names)
    quantity = {1 << m: 1.0 for m in range(n_modalities)}
    quantity[0] = 1.0 - n_modalities
    found = estimate(
        evaluator,
        [quantity],
        method=method,
        n_draws=n_draws,
        max_evaluations=max_evaluations,
        rng=rng,
    )
    projection, outputs = found.values[:, 0], evaluator.own_outputs()
    scores: list[float | None] = [None, None]
    if y is not None:
        score = score_outputs(evaluator.response, scoring)
        own = score(outputs, X, y, sample_weight)
        check_own_score(evaluator.response, scoring, own, X, y, sample_weight)
        kind = evaluator.response.kind
        hint = one_label_hint(estimator, scoring, own, X, y, sample_weight, response=kind)
        if hint:
            warn(hint, RelevanceWarning)
        scores = [own, score(projection, X, y, sample_weight)]
    return AdditiveProjection(
        projection=projection,
        outputs=outputs,
        standard_error=found.errors[:, 0],
        score=scores[0],
        projection_score=scores[1],
        method=found.method,
        n_evaluations=found.n_evaluations,
        response=evaluator.response.kind,
        modality_names=evaluator.names,
        output_names=evaluator.output_names,
    )
