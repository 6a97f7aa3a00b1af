"""The functional ANOVA of a model over its modalities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import Bunch

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._inputs.validation import term_name
from sklearn_mmfusion.inspection._evaluator import make_evaluator
from sklearn_mmfusion.inspection._expectations import estimate
from sklearn_mmfusion.inspection._results import as_generator, check_counts, long_frame
from sklearn_mmfusion.inspection._sets import component, sets_up_to

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InteractionDecomposition", "interaction_decomposition"]


class InteractionDecomposition(Bunch):
    """What :func:`interaction_decomposition` returns: a Bunch, with a table.

    Parameters
    ----------
    **kwargs : object
        What was found; listed there.
    """

    def to_frame(self) -> pd.DataFrame:
        """Return one row per term and output: ``std`` and ``variance_share`` of the term."""
        return long_frame(
            {"term": self.term_names, "output": self.output_names},
            {"std": self.std, "variance_share": self.variance_share[:, None]},
        )


def interaction_decomposition(
    estimator: Any,
    X: Any,
    *,
    modalities: Any = None,
    max_order: int | None = None,
    response: str = "auto",
    background: Any = None,
    method: str = "auto",
    n_draws: int = 100,
    max_evaluations: int = 1_000_000,
    random_state: Any = None,
) -> InteractionDecomposition:
    r"""Split the outputs of a model over sets of modalities (functional ANOVA).

    Use it to see what single modalities, pairs, triples, ... add to each prediction, and how much
    of what the model says is interaction.

    .. math:: f(x) = f_\emptyset + \sum_{S \ne \emptyset} f_S(x_S), \qquad
              f_S = \sum_{T \subseteq S} (-1)^{|S| - |T|}\, E_b\, f(x_T, b_{\bar T})

    with every modality of :math:`b` drawn on its own from the background. The mean of a component
    over the background of any one of its modalities is 0.

    Parameters
    ----------
    estimator : object
        A fitted estimator with ``decision_function``, ``predict_proba`` or ``predict``: ours, or
        any of scikit-learn's interface. Ours with one encoder per modality run on cached encodings.
    X : mapping, ModalityFrame, DataFrame or array-like
        Rows to explain.
    modalities : mapping or list of str, default=None
        Columns of each modality for 2-D ``X``: name to slice, list of positions or of column
        names, together covering every column once. For a mapping: the order of its names. None
        takes what our estimators know.
    max_order : int, default=None
        Most modalities of a term, above 0; None is all of them. What higher orders hold is the
        ``residual``.
    response : str, default="auto"
        What is split: "decision_function", "log_proba", "predict_proba" or
        "predict". "auto" takes the decision function (logits), else log-probabilities
        (floored at those of 1e-12), else the prediction.
    background : int or data of the form of ``X``, default=None
        Rows that expectations run over: None are those of ``X``, a number are that many of them
        at random.
    method : {"auto", "exact", "sampled"}, default="auto"
        Whether expectations run over all combinations of background rows or over ``n_draws``
        random ones. "auto" is exact where ``max_evaluations`` suffices; of our additive estimators
        each term counts on its own.
    n_draws : int, default=100
        Random combinations of background rows, the same for every row of ``X``.
    max_evaluations : int, default=1_000_000
        Largest number of evaluations of the model in exact mode.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    InteractionDecomposition
        A Bunch with

        - ``components`` (n_samples, n_terms, n_outputs), ``intercept`` (n_outputs,) and
          ``residual`` (n_samples, n_outputs), which add up to ``outputs``;
        - ``standard_error`` of sampling of the components, 0 where exact;
        - ``term_names`` ("text x audio") and ``term_modalities`` (tuples of names);
        - ``std`` (n_terms, n_outputs), standard deviations of the components over the rows, which
          hold the noise of sampling too;
        - ``variance_share`` (n_terms,), ``order_share`` (dict of order to share) and
          ``residual_share``: variances of components over the rows, added up over the outputs, as
          shares of their sum;
        - ``method``, ``n_evaluations``, ``response``, ``modality_names``, ``output_names``, and
          ``to_frame()``.

    Raises
    ------
    InputError, InputTypeError
        For names, columns and options that cannot be used, and for more evaluations than
        ``method="exact"`` may take.
    NotFittedError
        If the estimator is not fitted.

    References
    ----------
    .. [1] Hooker (2007), "Generalized functional ANOVA diagnostics for high-dimensional functions
       of dependent variables", section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn_mmfusion.inspection import interaction_decomposition
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> model = LinearRegression().fit(X, X[:, 0] + X[:, 2])
    >>> found = interaction_decomposition(model, X, modalities={"a": [0, 1], "b": [2, 3]})
    >>> found.term_names, round(found.order_share[1], 6)
    (['a', 'b', 'a x b'], 1.0)
    """
    check_counts(n_draws=n_draws, max_evaluations=max_evaluations)
    rng = as_generator(random_state)
    evaluator = make_evaluator(
        estimator, X, modalities=modalities, response=response, background=background, rng=rng
    )
    names = evaluator.names
    highest = len(names) if max_order is None else max_order
    check_counts(max_order=highest)
    if highest > len(names):
        raise InputError(f"max_order={max_order} is more than the {len(names)} modalities {names}")
    sets = sets_up_to(len(names), highest)
    found = estimate(
        evaluator,
        [{0: 1.0}, *(component(members) for members in sets)],
        method=method,
        n_draws=n_draws,
        max_evaluations=max_evaluations,
        rng=rng,
    )
    outputs = evaluator.own_outputs()
    components, intercept = found.values[:, 1:], found.values[0, 0]
    residual = outputs - intercept - components.sum(1)
    if highest == len(names):
        residual = np.zeros_like(residual)
    variances = components.var(0).sum(1)
    total = float(variances.sum() + residual.var(0).sum())
    shares = variances / total if total > 0 else np.zeros_like(variances)
    order_share = {
        order: float(
            sum(s for s, members in zip(shares, sets, strict=True) if len(members) == order)
        )
        for order in range(1, highest + 1)
    }
    return InteractionDecomposition(
        components=components,
        intercept=intercept,
        residual=residual,
        outputs=outputs,
        standard_error=found.errors[:, 1:],
        term_names=[term_name(members, names) for members in sets],
        term_modalities=[tuple(names[m] for m in members) for members in sets],
        std=components.std(0),
        variance_share=shares,
        order_share=order_share,
        residual_share=float(residual.var(0).sum()) / total if total > 0 else 0.0,
        method=found.method,
        n_evaluations=found.n_evaluations,
        response=evaluator.response.kind,
        modality_names=names,
        output_names=evaluator.output_names,
    )
