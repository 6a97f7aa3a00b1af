"""Intervals and nulls of relevance, from refits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import delayed
from scipy.stats import t as student
from sklearn.base import is_classifier
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, check_cv
from sklearn.utils import check_random_state

from sklearn_mmfusion._block_norm import fixed_strength
from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._fitting.held_out import row_frame, step_remedy
from sklearn_mmfusion._inputs.validation import check_fit_inputs, check_sample_weight
from sklearn_mmfusion._relevance.null_targets import (
    additive_fits,
    draw_target,
    without_interactions,
)
from sklearn_mmfusion._relevance.refits import (
    Refit,
    in_companies,
    refit,
    take_rows,
    warn_of_refits,
)
from sklearn_mmfusion._relevance.results import RelevanceIntervals
from sklearn_mmfusion._rows.groups import check_groups
from sklearn_mmfusion._training.told_parallel import ToldParallel, check_verbose

__all__ = ["relevance_intervals"]

Floats = npt.NDArray[np.float64]

_NULL_FOLDS = 5  # of the out-of-fold predictions behind the null


def relevance_intervals(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    n_refits: int = 20,
    method: str = "bootstrap",
    confidence: float = 0.95,
    null: bool = True,
    cv: Any = 5,
    groups: Any = None,
    sample_weight: Any = None,
    n_jobs: int | None = None,
    random_state: Any = None,
    verbose: int = 0,
) -> RelevanceIntervals:
    r"""Refit an estimator many times to see how far its relevance scores can be trusted.

    Relevance from one fit is one draw. What the interval covers depends on what is varied: the
    method says it.

    Parameters
    ----------
    estimator : estimator
        With ``relevance_scores_`` after ``fit``: MNL, InTense, routing and its ablation, MKL.
        Clones of it are fitted.
    X : mapping, ModalityFrame, DataFrame or array-like
        Rows in any form that ``fit`` takes.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Target.
    n_refits : int, default=20
        Refits, at least 2; as many again for the null. Of method "cv" a multiple of the number of
        folds.
    method : {"seeds", "bootstrap", "cv"}, default="bootstrap"
        What varies between refits.

        - "seeds": ``random_state`` alone, the rows stay. Covers where the scores of one more fit
          to these rows would lie: noise of initial weights, batches and held-out rows. It says
          nothing of other samples, and shrinks towards 0 width for a convex model.
        - "bootstrap": rows get exponential weights, and the seed varies. Covers noise of sampling
          and of training: where the scores of a fit to the whole population would lie.
        - "cv": fits to the training parts of cross-validation. Covers the same as the bootstrap,
          by the delete-d jackknife; use it with `cv` and `groups` that keep the rows of a person
          together.
    confidence : float, default=0.95
        Level of the interval, and of the quantile of the null, in (0, 1).
    null : bool, default=True
        Whether to refit on targets without interactions, see the notes. Estimators without
        interactions have no null in any case.
    cv : int, splitter or iterable, default=5
        Folds of method "cv". An int is shuffled folds (stratified for classes, of whole groups
        where there are some), repeated up to ``n_refits``; of anything else every split is one
        refit.
    groups : array-like of shape (n_samples,), default=None
        Groups of rows that belong together: one weight for each group, and folds of whole groups.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    n_jobs : int, default=None
        Processes over the refits, one thread in each. Small fits are trained five together in a
        process, see the user guide; how many processes there are changes no fit.
    random_state : int, RandomState instance or None, default=None
        Seed of fits, weights and folds.
    verbose : int, default=0
        1 prints about twenty lines of how many refits are done and how long the rest may take, more
        prints a line whenever a task ends; of any number of processes.

    Returns
    -------
    RelevanceIntervals
        Estimate, refits, interval and null of every term.

    Raises
    ------
    InputError, InputTypeError
        For an estimator without relevance scores, "seeds" where there is no ``random_state``, and a
        null where a classifier has no probabilities.

    Warns
    -----
    RelevanceWarning
        More than half of the refits are not shown to predict better than a constant.
    ConvergenceWarning
        Refits whose loss was still falling at ``max_epochs``.

    Notes
    -----
    **Weights instead of copies.** A bootstrap by drawing rows repeats some of them, and copies of a
    row then lie on both sides of the split on which a fit chooses its epochs, its penalty and its
    interactions. Here a row stays one row, and its weight varies (exponential weights, the Bayesian
    bootstrap [1]_). No row and no class drops out either.

    **Interval.** For "bootstrap" and "cv" it is

    .. math:: \hat\beta_t \pm q \sqrt{\frac cR \sum_r (\beta_{rt} - \hat\beta_t)^2}

    around the estimate from all rows, clipped to [0, 1]; q is Student's quantile with R degrees of
    freedom. Deviations are taken from the estimate and not from the mean of the refits, so that
    the bias of refits, which see less (a bootstrap stands for n/2 distinct rows), widens the
    interval instead of moving it. :math:`c = 1` for the bootstrap; :math:`c = m / (n - m)` for fits
    to m of n rows [2]_, 4 at five folds, since such fits differ less from the estimate than
    estimates do from each other. This also multiplies the noise of training, on the safe side. For
    "seeds" it is :math:`\bar\beta_t \pm q s_t \sqrt{1 + 1/R}` with R - 1 degrees of freedom.

    **What no method covers.** Bias that all fits share: the penalty takes the same amount from
    every norm and so share from weak terms; an encoder that reads a modality badly lowers its
    relevance.
    An interval of [0, 0] says that no refit used the term, not that it is not there.

    **Null.** For each interaction, relevance from refits on targets in which there is none by
    construction: out-of-fold predictions of the additive model (``interactions=1``) plus their
    residuals in random order, for regression; classes drawn from its out-of-fold probabilities, for
    classification; with ``reg="auto"`` taken at its number, so that no interaction is left out. X
    stays as it is, and with it every dependence between modalities, so that
    what dependence alone makes of an interaction is in the null; permuting the rows of modalities
    against each other would take it out. Out of fold, since residuals of training rows are too
    small.

    **Bent effects.** What the additive model misses of a modality alone belongs to the null as
    well: where modalities are correlated an interaction can stand in for it, and where they are not
    its size goes along with that of products, so that in random order it moves them less. So bent
    effects of each modality, of its flat values and its encoding as in ``relevance_test``, join the
    predictions: those that the residuals of the other folds follow most closely, up to one for each
    10 rows (or groups; or twice the rows of the rarer class).

    References
    ----------
    .. [1] Rubin (1981), *The Bayesian bootstrap*, Annals of Statistics 9.
    .. [2] Shao and Wu (1989), *A general theory for jackknife variance estimation*, Annals of
       Statistics 17.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import MNLRegressor, relevance_intervals
    >>> rng = np.random.default_rng(0)
    >>> X = {"a": rng.normal(size=(80, 2)), "b": rng.normal(size=(80, 2))}
    >>> y = X["a"][:, 0] + 0.3 * X["b"][:, 0]
    >>> est = MNLRegressor(max_epochs=40, early_stopping=False)
    >>> result = relevance_intervals(est, X, y, n_refits=4, random_state=0)
    >>> bool(result.low[0] > result.high[1])
    True
    """
    if method not in ("seeds", "bootstrap", "cv"):
        raise InputError(f"method is {method!r}; expected 'seeds', 'bootstrap' or 'cv'")
    if n_refits < 2 or not 0 < confidence < 1:
        raise InputError(
            "expected n_refits of at least 2 and confidence in (0, 1), got "
            f"n_refits={n_refits}, confidence={confidence}"
        )
    if (
        hasattr(estimator, "steps") or getattr(estimator, "_explains", _SCORES) != _SCORES
    ):  # before anything is fitted
        raise InputTypeError(_no_scores(estimator))
    if method == "seeds" and "random_state" not in estimator.get_params(deep=False):
        raise InputError(f"{type(estimator).__name__} has no random_state: no seeds to vary")
    parallel = ToldParallel(n_jobs, "relevance_intervals", check_verbose(verbose))
    X = row_frame(X)
    _, data, _, _, _ = check_fit_inputs(
        estimator, X, y, sample_weight, classifier=is_classifier(estimator)
    )
    n = len(y)
    groups = check_groups(groups, n)
    weight = check_sample_weight(sample_weight, n_samples=n)
    rng = check_random_state(random_state)
    first = int(rng.randint(2**31 - 1))
    jobs: list[tuple[Any, Any]]
    if method == "cv":
        parts, scale = _folds(estimator, n, y, groups, cv, int(n_refits), rng)
        jobs = [(rows, weight) for rows in parts]
    elif method == "bootstrap":
        scale = 1.0
        jobs = [(None, _drawn_weight(weight, groups, n, rng)) for _ in range(n_refits)]
    else:
        scale = 1.0
        jobs = [(None, weight)] * int(n_refits)
    seeds = rng.randint(2**31 - 1, size=len(jobs)).tolist()
    jobs, seeds = [(None, weight), *jobs], [first, *seeds]
    fits = _all_scores(
        [
            Refit(estimator, X, y, w, rows, seed, groups=groups)
            for (rows, w), seed in zip(jobs, seeds, strict=True)
        ],
        parallel,
        "fits",
    )
    names, modalities = fits[0][:2]
    warn_of_refits([fit[3] for fit in fits])
    estimate, scores = fits[0][2], np.array([fit[2] for fit in fits[1:]])
    low, high = _interval(estimate, scores, method, float(confidence), scale)
    null_scores, quantile = None, np.full(len(names), np.nan)
    interactions = [i for i, members in enumerate(modalities) if len(members) > 1]
    if null and interactions:
        null_scores = _null_scores(
            estimator, X, y, weight, groups, int(n_refits), rng, parallel, len(names)
        )
        null_scores[:, [i for i in range(len(names)) if i not in interactions]] = np.nan
        upper = np.quantile(null_scores[:, interactions], confidence, axis=0, method="higher")
        quantile[interactions] = upper
    return RelevanceIntervals(
        {
            "term_names": names,
            "term_modalities": modalities,
            "estimate": estimate,
            "scores": scores,
            "mean": scores.mean(axis=0),
            "std": scores.std(axis=0, ddof=1),
            "low": low,
            "high": high,
            "null_scores": null_scores,
            "null_quantile": quantile,
            "method": method,
            "confidence": float(confidence),
            "n_refits": len(scores),
        }
    )


_SCORES = "relevance scores"
Scores = tuple[list[str], list[tuple[str, ...]], Floats, Any]


def _all_scores(jobs: list[Refit], parallel: ToldParallel, what: str) -> list[Scores]:
    """Return what :func:`_scores` says of each refit."""
    companies = in_companies(jobs)
    calls = (delayed(_scores)(company) for company in companies)
    parts = parallel.run(calls, what, [len(company) for company in companies])
    return [scores for part in parts for scores in part]


def _no_scores(estimator: Any) -> str:
    return (
        f"{type(estimator).__name__} has no relevance_scores_; take an estimator that has, such as "
        f"MNL, InTense or Routing{step_remedy(estimator, fitted=False)}"
    )


def _scores(jobs: list[Refit]) -> list[Scores]:
    """Return term names, their modalities, the scores and the warnings of refits."""
    found = []
    for fitted, warned in refit(jobs):
        if not hasattr(fitted, "relevance_scores_"):
            raise InputTypeError(_no_scores(fitted))
        scores = np.array(list(fitted.relevance_scores_.values()))
        found.append((list(fitted.term_names_), list(fitted.term_modalities_), scores, warned))
    return found


def _interval(
    estimate: Floats, scores: Floats, method: str, confidence: float, scale: float
) -> tuple[Floats, Floats]:
    n = len(scores)
    level = (1 + confidence) / 2
    if method == "seeds":
        centre = scores.mean(axis=0)
        half = student.ppf(level, n - 1) * scores.std(axis=0, ddof=1) * np.sqrt(1 + 1 / n)
    else:
        centre = estimate
        spread = np.sqrt(np.square(scores - estimate).mean(axis=0) * scale)
        half = student.ppf(level, n) * spread
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def _drawn_weight(weight: Floats | None, groups: Any, n: int, rng: np.random.RandomState) -> Floats:
    """Exponential weights of the rows, or of the groups, with mean 1, times those given."""
    if groups is None:
        drawn = rng.exponential(size=n)
    else:
        drawn = rng.exponential(size=groups.max() + 1)[groups]
    drawn = drawn / drawn.mean()
    return drawn if weight is None else drawn * weight


def _folds(
    estimator: Any,
    n: int,
    y: Any,
    groups: Any,
    cv: Any,
    n_refits: int,
    rng: np.random.RandomState,
) -> tuple[list[npt.NDArray[np.intp]], float]:
    """Return the training rows of every split, and the factor of the squared deviations."""
    blank = np.zeros(n)
    if isinstance(cv, int | np.integer):
        if cv < 2 or n_refits % cv:
            raise InputError(f"cv={cv}: expected at least 2 folds, and n_refits a multiple of it")
        parts = []
        for _ in range(n_refits // int(cv)):
            splitter = _shuffled_folds(estimator, y, groups, int(cv), int(rng.randint(2**31 - 1)))
            parts += [train for train, _ in splitter.split(blank, y, groups)]
    else:
        splitter = check_cv(cv, y, classifier=is_classifier(estimator))
        parts = [train for train, _ in splitter.split(blank, y, groups)]
        if len(parts) < 2:
            raise InputError("cv: expected at least 2 splits")
    kept = float(np.mean([len(rows) for rows in parts]))
    return parts, kept / (n - kept)


def _shuffled_folds(estimator: Any, y: Any, groups: Any, n_folds: int, seed: int) -> Any:
    if groups is not None:
        return GroupKFold(n_folds, shuffle=True, random_state=seed)
    labels = np.asarray(y)
    by_class = is_classifier(estimator) and labels.ndim == 1
    if by_class and np.unique(labels, return_counts=True)[1].min() >= n_folds:
        return StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    return KFold(n_folds, shuffle=True, random_state=seed)


# -- the null ---------------------------------------------------------------------------------


def _null_scores(
    estimator: Any,
    X: Any,
    y: Any,
    weight: Floats | None,
    groups: Any,
    n_refits: int,
    rng: np.random.RandomState,
    parallel: ToldParallel,
    n_terms: int,
) -> Floats:
    """Return the scores of refits on targets without interactions, (n_refits, n_terms)."""
    seed = int(rng.randint(2**31 - 1))
    splitter = _shuffled_folds(estimator, y, groups, _NULL_FOLDS, seed)
    folds = list(splitter.split(np.zeros(len(y)), y, groups))
    if is_classifier(estimator) and not hasattr(estimator, "predict_proba"):
        raise InputTypeError(
            f"{type(estimator).__name__} has no predict_proba to draw classes from; pass null=False"
        )
    additive = {"interactions": 1}
    jobs = [Refit(estimator, X, y, weight, train, seed, additive, groups) for train, _ in folds]
    tests = iter([take_rows(X, test) for _, test in folds])
    companies = in_companies(jobs)
    calls = (
        delayed(additive_fits)(company, [next(tests) for _ in company], X, y)
        for company in companies
    )
    sizes = [len(company) for company in companies]
    found = parallel.run(calls, "fits without interactions, for the null", sizes)
    fits = [fit for part in found for fit in part]
    whole = without_interactions(estimator, y, fits, folds, weight, groups)
    seeds = rng.randint(2**31 - 1, size=n_refits).tolist()
    targets = [draw_target(estimator, y, whole, rng) for _ in seeds]
    # An interaction that was kept is set against others that were: with "auto" strength nearly all
    # of these fits would leave them out, and any that the fit has would be above the null.
    kept = fixed_strength(estimator, X, y)
    fits = _all_scores(
        [
            Refit(estimator, X, target, weight, None, seed, kept, groups)
            for target, seed in zip(targets, seeds, strict=True)
        ],
        parallel,
        "fits of the null",
    )
    return np.array([fit[2] for fit in fits])
