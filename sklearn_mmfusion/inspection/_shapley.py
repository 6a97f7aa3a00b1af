"""Shapley values and interaction indices with modalities as the players."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import Bunch

from sklearn_mmfusion._errors import InputError, RelevanceWarning, warn
from sklearn_mmfusion._inputs.validation import term_name
from sklearn_mmfusion.data._row_labels import row_labels
from sklearn_mmfusion.inspection._evaluator import make_evaluator
from sklearn_mmfusion.inspection._expectations import Estimates, estimate
from sklearn_mmfusion.inspection._index_scorer import make_index_scorer
from sklearn_mmfusion.inspection._one_label import one_label_hint
from sklearn_mmfusion.inspection._results import as_generator, check_counts, long_frame
from sklearn_mmfusion.inspection._sets import (
    Quantity,
    sets_up_to,
    shapley_interaction,
    shapley_taylor,
    shapley_value,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ModalityShapley", "modality_shapley"]

Floats = npt.NDArray[np.float64]

_MAX_MODALITIES = 12  # 4096 sets


class ModalityShapley(Bunch):
    """What :func:`modality_shapley` returns: a Bunch, with tables.

    Parameters
    ----------
    **kwargs : object
        What was found; listed there.
    """

    def to_frame(self) -> pd.DataFrame:
        """Return Shapley values as a long table.

        One row per sample, modality and output; of scores, one per modality. Samples have the
        labels of their rows, where X had some.
        """
        if self.value == "score":
            axes: dict[str, Sequence[Any]] = {"modality": self.modality_names}
        else:
            axes = {
                "sample": _labels(self),
                "modality": self.modality_names,
                "output": self.output_names,
            }
        return long_frame(
            axes, {"shapley": self.shapley_values, "standard_error": self.standard_error}
        )

    def to_shapiq(self, sample: int | None = None, output: int = 0) -> Any:
        """Return values and interactions in the form of shapiq, for its plots.

        Parameters
        ----------
        sample : int, default=None
            Row of X; None for the values of scores, which are of all rows.
        output : int, default=0
            Position of the output.

        Returns
        -------
        shapiq.InteractionValues
            Of index "SV", or of that of the interactions.

        Raises
        ------
        ImportError
            If shapiq is not installed.
        InputError
            If ``sample`` is missing, or there where the values are those of scores.
        """
        try:
            from shapiq import InteractionValues
        except ImportError as error:
            raise ImportError("to_shapiq needs shapiq: pip install shapiq") from error
        return InteractionValues(**self._shapiq_arguments(sample, output))

    def _shapiq_arguments(self, sample: int | None, output: int) -> dict[str, Any]:
        if (sample is None) != (self.value == "score"):
            wanted = "None: scores are of all rows" if self.value == "score" else "a row of X"
            raise InputError(f"sample={sample!r}: expected {wanted}")
        sets: list[tuple[int, ...]]
        where: Any = (slice(None),) if sample is None else (sample, slice(None), output)
        if self.index is None:
            sets, values = (
                [(m,) for m in range(len(self.modality_names))],
                self.shapley_values[where],
            )
        else:
            place = {name: m for m, name in enumerate(self.modality_names)}
            sets = [tuple(place[name] for name in names) for names in self.interaction_sets]
            values = self.interactions[where]
        baseline = float(self.base_value if sample is None else self.base_value[output])
        # The empty set comes first, with the value of the game without players.
        return {
            "values": np.concatenate([[baseline], values]),
            "interaction_lookup": {(): 0} | {s: i for i, s in enumerate(sets, start=1)},
            "index": self.index or "SV",
            "min_order": 0,
            "max_order": 1 if self.index is None else 2,
            "n_players": len(self.modality_names),
            "baseline_value": baseline,
            "estimated": self.method == "sampled",
        }


def modality_shapley(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    modalities: Any = None,
    value: str = "output",
    interactions: str | None = None,
    scoring: Any = None,
    sample_weight: Any = None,
    response: str = "auto",
    background: Any = None,
    method: str = "auto",
    n_draws: int = 100,
    max_evaluations: int = 1_000_000,
    n_jobs: int | None = None,
    random_state: Any = None,
) -> ModalityShapley:
    r"""Share each output, or the score, out over the modalities by Shapley values.

    Use it for one fair number per modality: an interaction is shared equally by its members, and
    the values of a row add up to its output less the expected output.

    .. math:: \phi_m = \sum_{T \not\ni m} \frac{|T|!\,(M - |T| - 1)!}{M!}\,
              \big(v(T \cup m) - v(T)\big), \qquad v(T) = E_b\, f(x_T, b_{\bar T})

    over all sets of modalities, with every absent modality drawn on its own from the background.

    Parameters
    ----------
    estimator : object
        A fitted estimator with ``decision_function``, ``predict_proba`` or ``predict``: ours, or
        any of scikit-learn's interface. Ours with one encoder per modality run on cached encodings.
    X : mapping, ModalityFrame, DataFrame or array-like
        Rows to explain; at most 12 modalities.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Target, for ``value="score"``.
    modalities : mapping or list of str, default=None
        Columns of each modality for 2-D ``X``: name to slice, list of positions or of column
        names, together covering every column once. For a mapping: the order of its names. None
        takes what our estimators know.
    value : {"output", "score"}, default="output"
        What is shared out: the outputs of each row, or the score over all rows, with absent
        modalities permuted across samples, each on its own, ``n_draws`` times.
    interactions : {None, "SII", "STII"}, default=None
        Interaction index of the pairs besides: the Shapley interaction index, or the
        Shapley-Taylor index, whose values of modalities and pairs add up as Shapley values do.
    scoring : str or callable, default=None
        Score for ``value="score"``; None is the estimator's own ``score``.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in the score.
    response : str, default="auto"
        The outputs: "decision_function", "log_proba", "predict_proba" or
        "predict". "auto" takes the decision function (logits), else log-probabilities (floored
        at those of 1e-12), else the prediction.
    background : int or data of the form of ``X``, default=None
        Rows that absent modalities are drawn from: None are those of ``X``, a number are that
        many of them at random. For outputs only.
    method : {"auto", "exact", "sampled"}, default="auto"
        Whether expectations run over all combinations of background rows or over ``n_draws``
        random ones. "auto" is exact where ``max_evaluations`` suffices. For outputs only; the sum
        over sets is always exact.
    n_draws : int, default=100
        Random combinations of background rows, the same for every row and set.
    max_evaluations : int, default=1_000_000
        Largest number of evaluations of the model in exact mode.
    n_jobs : int, default=None
        Processes for scores of estimators that are called row by row.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    ModalityShapley
        A Bunch with ``shapley_values`` (n_samples, n_modalities, n_outputs), or (n_modalities,) for
        scores, and their ``standard_error`` of sampling (0 where exact); ``base_value``, what there
        is without any modality, and ``full_value``, with all: outputs or score;
        ``mean_absolute`` (n_modalities, n_outputs), the mean of absolute values over rows (of
        outputs); ``interactions`` (n_samples, n_sets, n_outputs) or (n_sets,) with
        ``interaction_sets`` (modalities, then pairs), ``interaction_names`` and
        ``interaction_errors``, or None; ``value``, ``index``, ``method``, ``n_evaluations``,
        ``modality_names``, ``output_names``, ``sample_labels`` (None where X has no labels of
        rows); ``to_frame()`` and ``to_shapiq()``.

    Warns
    -----
    RelevanceWarning
        The model predicts one label in all rows, of which accuracy does not say what it rests on.

    Raises
    ------
    InputError, InputTypeError
        For names, columns and options that cannot be used, and for more evaluations than
        ``method="exact"`` may take.
    NotFittedError
        If the estimator is not fitted.

    References
    ----------
    .. [1] Lundberg & Lee (2017), "A Unified Approach to Interpreting Model Predictions".
    .. [2] Grabisch & Roubens (1999), "An axiomatic approach to the concept of interaction among
       players in cooperative games"; Sundararajan, Dhamdhere & Agarwal (2020), "The
       Shapley Taylor Interaction Index".

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn_mmfusion.inspection import modality_shapley
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> model = LinearRegression().fit(X, X[:, 0] + X[:, 2])
    >>> found = modality_shapley(model, X, modalities={"a": [0, 1], "b": [2, 3]})
    >>> total = found.base_value + found.shapley_values.sum(1)
    >>> np.allclose(total[:, 0], model.predict(X))
    True
    """
    check_counts(n_draws=n_draws, max_evaluations=max_evaluations)
    if value not in ("output", "score"):
        raise InputError(f"value must be 'output' or 'score', got {value!r}")
    if interactions not in (None, "SII", "STII"):
        raise InputError(f"interactions must be None, 'SII' or 'STII', got {interactions!r}")
    rng = as_generator(random_state)
    if value == "score":
        if y is None or background is not None:
            raise InputError("value='score' needs y, and permutes rows of X: leave background=None")
        scorer = make_index_scorer(
            estimator, X, y, modalities=modalities, scoring=scoring, sample_weight=sample_weight
        )
        names = scorer.rows.names
        quantities, sets = _quantities(names, interactions)
        found = _score_game(scorer, quantities, n_draws, n_jobs, rng())
        full = float(found.values[0, 1, 0])
        hint = one_label_hint(estimator, scoring, full, X, y, sample_weight, predict=scorer.predict)
        if hint:
            warn(hint, RelevanceWarning)
        return _result(names, None, sets, interactions, value, found, found.values[0, 1])
    if y is not None or scoring is not None or sample_weight is not None:
        raise InputError("y, scoring and sample_weight are for value='score'")
    evaluator = make_evaluator(
        estimator, X, modalities=modalities, response=response, background=background, rng=rng
    )
    names = evaluator.names
    quantities, sets = _quantities(names, interactions)
    found = estimate(
        evaluator,
        quantities,
        method=method,
        n_draws=n_draws,
        max_evaluations=max_evaluations,
        rng=rng,
    )
    outputs = evaluator.own_outputs()
    result = _result(names, evaluator.output_names, sets, interactions, value, found, outputs)
    result.sample_labels = row_labels(X)
    return result


def _labels(found: ModalityShapley) -> list[Any]:
    labels = found.get("sample_labels")
    return list(range(len(found.shapley_values))) if labels is None else labels.tolist()


def _quantities(
    names: Sequence[str], index: str | None
) -> tuple[list[Quantity], list[tuple[int, ...]]]:
    """Return the empty and the full set, Shapley values, and interactions with their sets."""
    n = len(names)
    if n > _MAX_MODALITIES:
        raise InputError(
            f"{n} modalities have {2**n:_} sets: Shapley values are for at most "
            f"{_MAX_MODALITIES}; join some modalities"
        )
    quantities: list[Quantity] = [{0: 1.0}, {(1 << n) - 1: 1.0}]
    quantities += [shapley_value(m, n) for m in range(n)]
    if index is None:
        return quantities, []
    sets = sets_up_to(n, min(2, n))
    if index == "SII":
        quantities += [shapley_interaction(members, n) for members in sets]
    else:
        quantities += [shapley_taylor(members, n, min(2, n)) for members in sets]
    return quantities, sets


def _score_game(
    scorer: Any,
    quantities: Sequence[Quantity],
    n_draws: int,
    n_jobs: int | None,
    rng: np.random.Generator,
) -> Estimates:
    """Return quantities of the score with absent modalities permuted, (1, q, 1)."""
    n, n_modalities = scorer.rows.n_samples, len(scorer.rows.names)
    masks = sorted({mask for quantity in quantities for mask in quantity})
    coefficients = np.array(
        [[quantity.get(mask, 0.0) for mask in masks] for quantity in quantities]
    )
    own = np.arange(n)
    per_draw = np.empty((n_draws, len(quantities)))
    for i in range(n_draws):
        permuted = rng.permuted(np.tile(own, (n_modalities, 1)), axis=1)
        indices = []
        for mask in masks:
            there = [bool(mask >> m & 1) for m in range(n_modalities)]
            indices.append(np.where(np.array(there)[None], own[:, None], permuted.T))
        per_draw[i] = coefficients @ np.array(scorer.scores(indices, n_jobs))
    values = per_draw.mean(0)
    spread = per_draw.std(0, ddof=1) if n_draws > 1 else np.full(len(values), np.nan)
    shape = (1, len(quantities), 1)
    errors = (spread / np.sqrt(n_draws)).reshape(shape)
    return Estimates(values.reshape(shape), errors, "sampled", n * len(masks) * n_draws)


def _result(
    names: list[str],
    output_names: list[Any] | None,
    sets: list[tuple[int, ...]],
    index: str | None,
    value: str,
    found: Estimates,
    full_value: Floats,
) -> ModalityShapley:
    n, is_score = len(names), value == "score"

    def shaped(values: Floats) -> Floats:
        return values[0, :, 0] if is_score else values

    shapley, games = slice(2, 2 + n), slice(2 + n, None)
    base: Any = found.values[0, 0]
    values = shaped(found.values[:, shapley])
    return ModalityShapley(
        shapley_values=values,
        standard_error=shaped(found.errors[:, shapley]),
        base_value=float(base[0]) if is_score else base,
        full_value=float(full_value[0]) if is_score else full_value,
        mean_absolute=np.abs(values) if is_score else np.abs(values).mean(0),
        interactions=None if index is None else shaped(found.values[:, games]),
        interaction_errors=None if index is None else shaped(found.errors[:, games]),
        interaction_sets=None if index is None else [tuple(names[m] for m in s) for s in sets],
        interaction_names=None if index is None else [term_name(s, names) for s in sets],
        value=value,
        index=index,
        method=found.method,
        n_evaluations=found.n_evaluations,
        modality_names=names,
        output_names=output_names,
    )
