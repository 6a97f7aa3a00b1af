"""Relevance on rows that the model has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from sklearn_mmfusion._errors import InputError, RelevanceWarning, warn
from sklearn_mmfusion._fitting.held_out import HeldOut
from sklearn_mmfusion._fitting.warnings import MIN_EFFECT

__all__ = ["relevance_scores", "share_scores"]

Floats = npt.NDArray[np.float64]


def relevance_scores(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    kind: str = "contribution",
    sample_weight: Any = None,
    n_repeats: int = 10,
    return_std: bool = False,
    random_state: Any = None,
) -> dict[str, float] | tuple[dict[str, float], dict[str, float]]:
    r"""Compute the relevance of each term on given rows, best on rows held out of the fit.

    ``relevance_scores_`` of a fit is read from its training rows. Where features have seen the
    labels, or where a model is fitted too closely, a term has large contributions there that go
    along with nothing on new rows. Use this function to see what is left.

    Parameters
    ----------
    estimator : fitted estimator
        Any with ``contributions``, ``term_names_`` and ``intercept_``: MNL, InTense, MRO, routing
        and its ablation, late fusion and MKL.
    X : mapping, ModalityFrame, DataFrame or array-like
        Rows in any form that ``predict`` takes.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Target of the rows. None: shares of the contributions as they are.
    kind : {"contribution", "permutation"}, default="contribution"
        "contribution": share of each term in the size of the contributions, each
        multiplied by the factor that it deserves on these rows (see the notes). "permutation":
        how much the loss rises when the term's contributions are permuted over the rows; in nats
        of log-loss, or in shares of the target's variance. At about 0 the term does not help, and
        below 0 it does harm.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    n_repeats : int, default=10
        Permutations of each term; for "contribution" the reweightings behind the deviations.
    return_std : bool, default=False
        Also return standard deviations: over the permutations, or over reweightings of the rows
        with exponential weights (a Bayesian bootstrap of the rows, the model as it is).
    random_state : int, RandomState instance or None, default=None
        Seed of permutations and weights.

    Returns
    -------
    scores : dict of str to float
        Relevance of each term. Of kind "contribution" they sum to 1, or are all 0.
    stds : dict of str to float
        Only with ``return_std=True``.

    Raises
    ------
    InputError, InputTypeError
        For an estimator that is not additive, a target that does not fit it, and no target for
        permutations.

    Warns
    -----
    RelevanceWarning
        With a target and ``kind="contribution"``, where the rows do not show that contributions
        predict better than a constant: the shares add up to 1 all the same.

    Notes
    -----
    With a target, contributions are recombined as
    :math:`\hat y = b + \sum_t \gamma_t c_t(x), \gamma_t \ge 0`, with the factors that fit these
    rows best in the loss of the target (log-loss or squared error); this is stacking with
    non-negative weights [1]_. The score of a term is :math:`\gamma_t n_t / \sum_s \gamma_s n_s`,
    where :math:`n_t` is the size of its contributions :math:`c_t`, that of ``relevance_scores_`` at
    ``p=1``: their standard deviation, and of several outputs the nuclear norm of the signals
    (:func:`~sklearn_mmfusion.functional.least_block_norms`), of classes without what is common to
    all of them. A term that says nothing about these targets beyond the others gets a factor of
    about 0, whatever it contributes; of a model that is right about them all factors are 1.

    Permutation leaves the row's other contributions in place, so that unlike a permuted modality
    it makes no rows that do not exist. For MKL classifiers the margins are read as logits.

    References
    ----------
    .. [1] Breiman (1996), *Stacked regressions*, Machine Learning 24.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import MNLRegressor, relevance_scores
    >>> rng = np.random.default_rng(0)
    >>> X = {"a": rng.normal(size=(200, 4)), "b": rng.normal(size=(200, 5))}
    >>> y = X["a"][:, 0]
    >>> train, test = ({k: v[half] for k, v in X.items()} for half in np.split(np.arange(200), 2))
    >>> est = MNLRegressor(max_epochs=80, random_state=0).fit(train, y[:100])
    >>> max(scores := relevance_scores(est, test, y[100:]), key=scores.get)
    'a'
    """
    if kind not in ("contribution", "permutation"):
        raise InputError(f"kind is {kind!r}; expected 'contribution' or 'permutation'")
    if n_repeats < 1:
        raise InputError(f"n_repeats is {n_repeats}; expected at least 1")
    rng = check_random_state(random_state)
    rows = HeldOut(estimator, X, y, sample_weight)
    if kind == "permutation":
        if y is None:
            raise InputError("kind='permutation' needs y; kind='contribution' does without")
        scores, stds = _permutation(rows, int(n_repeats), rng)
    else:
        scores = share_scores(rows)
        if y is not None:
            _warn_of_chance(rows)
        stds = np.zeros_like(scores)
        if return_std:
            drawn = rng.exponential(size=(int(n_repeats), len(rows.share)))
            stds = np.std([share_scores(rows.reweighted(factors)) for factors in drawn], axis=0)
    names = estimator.term_names_
    named = dict(zip(names, scores.tolist(), strict=True))
    return (named, dict(zip(names, stds.tolist(), strict=True))) if return_std else named


def share_scores(rows: HeldOut) -> Floats:
    """Return the scores of kind "contribution", (n_terms,)."""
    norms = rows.term_norms
    if rows.response is not None:
        norms = norms * rows.best_factors()
    total = norms.sum()
    return norms / total if total > 0 else norms


def _warn_of_chance(rows: HeldOut) -> None:
    """Warn where even the best factors do not predict these rows better than a constant."""
    gain, error = rows.best_gain()
    if not gain > MIN_EFFECT * error:
        warn(
            f"on these {len(rows.share)} rows the contributions, each multiplied by the factor "
            "that it deserves, are not shown to predict y better than a constant (gain "
            f"{gain:.3f}, not above two standard errors of {error:.3f}): the scores may mean "
            "nothing",
            RelevanceWarning,
        )


def _permutation(
    rows: HeldOut, n_repeats: int, rng: np.random.RandomState
) -> tuple[Floats, Floats]:
    outputs = rows.contributions.sum(axis=1) + rows.intercept
    before = rows.mean_loss(outputs)
    rises = np.zeros((n_repeats, rows.contributions.shape[1]))
    for repeat in range(n_repeats):
        order = rng.permutation(len(outputs))
        for t, part in enumerate(rows.contributions.transpose(1, 0, 2)):
            rises[repeat, t] = rows.mean_loss(outputs - part + part[order]) - before
    return rises.mean(axis=0), rises.std(axis=0)
