"""A p-value for each term, from rows that did not train it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from sklearn.base import is_classifier
from sklearn.model_selection import GroupShuffleSplit
from sklearn.utils import check_random_state

from sklearn_mmfusion._block_norm import fixed_strength
from sklearn_mmfusion._errors import InputError, RelevanceWarning, warn
from sklearn_mmfusion._fitting.held_out import HeldOut, check_additive, row_frame
from sklearn_mmfusion._fitting.stand_ins import products_beside
from sklearn_mmfusion._inputs.kept_warnings import say_once
from sklearn_mmfusion._inputs.validation import check_fit_inputs, check_sample_weight
from sklearn_mmfusion._relevance.modality_features import modality_features
from sklearn_mmfusion._relevance.refits import Refit, in_companies, refit, take_rows
from sklearn_mmfusion._relevance.results import RelevanceTest
from sklearn_mmfusion._rows.effective_scores import EffectiveScores
from sklearn_mmfusion._rows.groups import check_groups
from sklearn_mmfusion._rows.splitting import split_by_content

__all__ = ["relevance_test"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

_LEVEL = 0.05  # that a p-value should be able to fall below
_DRAWS = 1000  # at a time
# Least gain of a bent effect that an interaction follows: small, since there is no noise in it, and
# what is missed is the product of what is left of the interaction and of the target.
_OF_INTERACTIONS = 0.25


def relevance_test(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    terms: Iterable[str | tuple[str, ...]] | None = None,
    test_size: float = 0.5,
    n_null: int = 999,
    n_splits: int = 1,
    groups: Any = None,
    sample_weight: Any = None,
    n_jobs: int | None = None,
    random_state: Any = None,
) -> RelevanceTest:
    r"""Test for each term whether it adds anything to all the others.

    The rows are split. A clone learns encoders and terms on one part; on the other part, which it
    has not seen, the contribution of a term is set against what the other terms leave over. One
    fit per split: the draws of the null cost milliseconds.

    Parameters
    ----------
    estimator : estimator
        An unfitted or fitted additive estimator, with ``contributions``; clones of it are fitted.
    X : mapping, ModalityFrame, DataFrame or array-like
        Rows in any form that ``fit`` takes.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Target.
    terms : iterable of str or tuple of str, default=None
        Terms to test and to adjust for, by name, the modalities in either order; None: all.
    test_size : float, default=0.5
        Share of the rows that test, in (0, 1).
    n_null : int, default=999
        Draws of the null: p-values are multiples of 1 / (n_null + 1), and no smaller.
    n_splits : int, default=1
        Random splits. With several the p-value is twice their median, which holds whatever their
        dependence, and rejects less often than it may; it depends less on the luck of one split.
    groups : array-like of shape (n_samples,), default=None
        Groups of rows that belong together, such as those of one person: they stay on one side of
        the split, and change sign together. None: every row is its own, equal rows apart, which
        stay on one side. A few groups can show nothing, see the notes.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, in training and test.
    n_jobs : int, default=None
        Processes over the splits; small fits of several splits are trained together in each.
    random_state : int, RandomState instance or None, default=None
        Seed of splits, fits and draws.

    Returns
    -------
    RelevanceTest
        Statistic, p-value and Holm-adjusted p-value of every term.

    Raises
    ------
    InputError, InputTypeError
        For an estimator that is not additive, an unknown term, or too few rows to split.

    Warns
    -----
    RelevanceWarning
        The smallest p-value that can be reached is above 0.05.

    Notes
    -----
    **Null hypothesis.** Given the other terms as learned on the training rows, with the factors and
    intercepts that fit the test rows best, the contribution of the term as learned there is of no
    use for the target in expectation. For an interaction this is a model in which it is not there
    by construction: the additive rest is fitted to the test rows without it.

    **Bent effects.** With dependent modalities, an interaction can stand in for what the model
    misses of a single effect: where a and b are correlated, a b is much like a² + b². So its rest
    has more than the other terms. Candidates are, of each modality, its flat values (32 at most,
    or components of more), the first 16 components of its encoding, all products of two of them,
    and from 100 test rows (or groups) the distance of each to its quartiles (what is bent sharply
    is no sum of squares); for a term of three and more modalities also products of components of
    two of its modalities, and cubic ones. Added are those that the residuals follow most closely,
    and those that the contribution of the term does [3]_: up to 100 of each, and up to one for
    each 10 test rows (or groups; or twice the rows of the rarer class), until the next would add
    less than chance does. A single effect is set against bent effects of the other modalities.
    What is missed is of the size of a product: what those columns leave of the misfit, times what
    they leave of the term.

    **Statistic.** :math:`T = \sum_i s_i`, with the effective score of a row
    :math:`s_i = \tilde c(x_i)^\top (y_i - \mu_i)`: what is left of the term's contribution after
    the other terms, times the residual of the model without it. Large positive values count. It
    is continuous, where relevance and the held-out loss with selection have ties at 0.

    **Draws.** The signs of the :math:`s_i` are flipped at random [1]_. Under the null they have
    mean 0, and so has every flip; each row keeps its own variance, so that residuals may be
    heteroscedastic. The other terms were fitted to the signs as they are, so that flipped sums
    vary less, much less where there are few rows for each term: each is divided by its standard
    deviation [2]_. :math:`p = (1 + \#\{T^* \ge T\}) / (1 + n_\text{null})`, T\* and T standardised.

    **The smallest p-value.** g test groups (without groups, test rows) have :math:`2^g` patterns of
    signs, one of which is that of the data: p is no smaller than
    :math:`(1 + n_\text{null} 2^{-g}) / (1 + n_\text{null})`, but for the luck of the draws, and
    twice that with several splits. Half of 6 groups test: 1/8. Five test groups are the fewest that
    can fall below 0.05, in one split.

    **What is conditioned on.** Training rows, and with them encoders and directions of the terms;
    and the X of the test rows. A p-value says nothing of whether other training rows would have
    found the term. The level is that of the number of test rows (or groups) going to infinity, with
    about one factor per term and one intercept per output to fit.

    **When it misleads.** "Additive" is meant on the scale of the output, log-odds for classes. Of
    strongly dependent modalities, a single effect that is far from sums of the products above can
    still pass for an interaction, the more so the more rows test: effects of sequences and images
    that the encoding does not show, and of few groups, which allow few columns. Of two terms
    that say the same, neither adds to the other: both may have large p-values; so may an
    interaction of correlated features, which is nearly a sum of bent effects.

    **The fit.** It is made with ``reg="auto"`` taken at its number, without the choice of
    interactions on held-out rows, and without the polish, so that no term is exactly 0. Its
    warnings are not shown: a fit that has learned nothing costs power, not validity. A term
    without any contribution has p = 1.

    References
    ----------
    .. [1] Hemerik, Goeman and Finos (2020), *Robust testing in generalized linear models by sign
       flipping score contributions*, JRSS B 82.
    .. [2] De Santis, Goeman, Hemerik, Davenport and Finos (2022), *Inference in generalized linear
       models with robustness to misspecified variances*.
    .. [3] Belloni, Chernozhukov and Hansen (2014), *Inference on treatment effects after selection
       among high-dimensional controls*, Review of Economic Studies 81.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import InTenseRegressor, relevance_test
    >>> rng = np.random.default_rng(1)
    >>> X = {name: rng.normal(size=(300, 2)) for name in ("a", "b", "c")}
    >>> y = X["a"][:, 0] + X["b"][:, 0] + X["a"][:, 1] * X["b"][:, 1] + rng.normal(size=300)
    >>> result = relevance_test(InTenseRegressor(max_epochs=60), X, y, random_state=0)
    >>> [name for name, p in zip(result.term_names, result.p_value) if p < 0.05]
    ['a', 'b', 'a x b']
    """
    check_additive(estimator, fitted=False)
    if n_null < 1 or n_splits < 1 or not 0 < test_size < 1:
        raise InputError(
            "expected n_null and n_splits of at least 1 and test_size in (0, 1), got "
            f"n_null={n_null}, n_splits={n_splits}, test_size={test_size}"
        )
    X = row_frame(X)
    groups = check_groups(groups, len(y))
    rng = check_random_state(random_state)
    seeds = rng.randint(2**31 - 1, size=int(n_splits)).tolist()
    weight = _checked_weight(sample_weight, y)
    splits = [_split(estimator, X, y, groups, float(test_size), seed) for seed in seeds]
    _warn_of_few_signs(splits, groups, int(n_null))
    changes = _without_selection(estimator, X, y)
    jobs = [
        Refit(estimator, X, y, weight, train, seed, changes, groups)
        for (train, _), seed in zip(splits, seeds, strict=True)
    ]
    tests = iter([test for _, test in splits])
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_test_splits)(company, [next(tests) for _ in company], X, y, weight, groups, n_null)
        for company in in_companies(jobs)
    )
    found = [split for part in parts for split in part]
    say_once([split[4] for split in found], of_parts=True)
    names, modalities = found[0][:2]
    statistics, p_values = (np.array([part[i] for part in found]) for i in (2, 3))
    p = p_values[0] if n_splits == 1 else np.minimum(1.0, 2 * np.median(p_values, axis=0))
    chosen = _positions(terms, names, modalities)
    return RelevanceTest(
        {
            "term_names": [names[i] for i in chosen],
            "statistic": np.median(statistics, axis=0)[chosen],
            "p_value": p[chosen],
            "adjusted": holm(p[chosen]),
            "n_train": len(splits[0][0]),
            "n_test": len(splits[0][1]),
            "n_null": int(n_null),
            "n_splits": int(n_splits),
        }
    )


def scores_of_terms(
    fitted: Any, X: Any, rows: HeldOut, label: Rows | None
) -> list[EffectiveScores]:
    """Return the scores of each term beside the others and bent effects of fewer modalities.

    Parameters
    ----------
    fitted : fitted additive estimator
        The model.
    X : object
        Rows that did not train it, in the form of ``fit``.
    rows : HeldOut
        Its contributions there, and the target.
    label : ndarray of int of shape (n_samples,) or None
        Groups of rows, from 0; None: every row is its own.

    Returns
    -------
    list of EffectiveScores
        Scores of the rows, or of the groups.
    """
    features = modality_features(fitted, X)
    n_units = rows.n_informative if label is None else min(rows.n_informative, label.max() + 1)
    scores = [
        rows.effective_scores(
            term,
            products_beside(members, features, n_units),
            n_units,
            threshold=1.0 if len(members) == 1 else _OF_INTERACTIONS,
        )
        for term, members in enumerate(fitted.term_modalities_)
    ]
    return scores if label is None else [term.of_groups(label) for term in scores]


def sign_flip_test(
    terms: Sequence[EffectiveScores],
    n_null: int,
    rng: np.random.RandomState,
) -> tuple[Floats, Floats]:
    """Test for each term whether its scores have a mean above 0.

    Parameters
    ----------
    terms : sequence of EffectiveScores
        Scores of n rows, or groups of rows, for each term.
    n_null : int
        Number of draws, the same signs for all terms.
    rng : RandomState
        Where the signs come from.

    Returns
    -------
    statistic, p_value : ndarray of shape (n_terms,)
        Sum over the root of the sum of squares, and the share of standardised sums that are no
        smaller.
    """
    scores = np.array([term.values for term in terms])
    size = np.sqrt(np.square(scores).sum(axis=1))
    total = scores.sum(axis=1)
    counts = np.ones(len(terms))
    tolerance = 1e-12 * size
    for start in range(0, n_null, _DRAWS):
        shape = (min(_DRAWS, n_null - start), scores.shape[1])
        signs = np.asarray(2.0 * rng.randint(0, 2, size=shape) - 1.0, np.float64)
        for t, term in enumerate(terms):
            bound = (total[t] - tolerance[t]) * term.relative_std(signs)
            counts[t] += (signs @ term.values >= bound - tolerance[t]).sum()
    statistic = np.divide(total, size, out=np.zeros_like(total), where=size > 0)
    return statistic, counts / (1 + n_null)


def holm(p: Floats) -> Floats:
    """Adjust p-values for their number, after Holm."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, stepped)
    return adjusted


def _checked_weight(sample_weight: Any, y: Any) -> Floats | None:
    return check_sample_weight(sample_weight, n_samples=len(y))


def _split(
    estimator: Any, X: Any, y: Any, groups: Any, test_size: float, seed: int
) -> tuple[Rows, Rows]:
    """Return training and test rows."""
    _, data, target, encoded, _ = check_fit_inputs(
        estimator, X, y, None, classifier=is_classifier(estimator)
    )
    if groups is not None:
        splitter = GroupShuffleSplit(1, test_size=test_size, random_state=seed)
        found = next(splitter.split(np.zeros(data.n_samples), groups=groups))
    else:
        split = split_by_content(data, encoded, target.kind, test_size, seed)
        found = None if split is None else (split.kept, split.held)
    if found is None or min(map(len, found)) < 5:
        raise InputError(f"{data.n_samples} rows cannot be split into training and test rows")
    return found


def _warn_of_few_signs(splits: list[tuple[Rows, Rows]], groups: Any, n_null: int) -> None:
    """Warn where no term can be shown, since there are too few patterns of signs."""
    test = splits[0][1]  # all splits have as many
    n_signs = len(test) if groups is None else len(np.unique(groups[test]))
    least = (1 + n_null * 0.5**n_signs) / (1 + n_null) * (1 if len(splits) == 1 else 2)
    if least > 1.01 * _LEVEL:  # 19 draws of many rows can fall to 0.05
        units = "rows" if groups is None else "groups"
        warn(
            f"no p-value can be small: with {n_signs} test {units}, n_null={n_null} and "
            f"n_splits={len(splits)} the smallest is about {least:.2g}; use more {units}, a larger "
            "test_size or n_null, or one split",
            RelevanceWarning,
        )


Tested = tuple[list[str], list[tuple[str, ...]], Floats, Floats, list[str]]


def _test_splits(
    jobs: list[Refit], tests: list[Rows], X: Any, y: Any, weight: Any, groups: Any, n_null: int
) -> list[Tested]:
    """Return what :func:`_test_split` says of some splits, and their fits of the numbers in X."""
    return [
        (*_test_split(fitted, test, X, y, weight, groups, int(n_null), job.seed), warned.numerical)
        for (fitted, warned), job, test in zip(refit(jobs), jobs, tests, strict=True)
    ]


def _test_split(
    fitted: Any, test: Rows, X: Any, y: Any, weight: Any, groups: Any, n_null: int, seed: int
) -> tuple[list[str], list[tuple[str, ...]], Floats, Floats]:
    """Return names and modalities of the terms, statistics and p-values of one split."""
    X_test = take_rows(X, test)
    rows = HeldOut(fitted, X_test, take_rows(y, test), take_rows(weight, test))
    label = None
    if groups is not None:
        _, label = np.unique(groups[test], return_inverse=True)
    scores = scores_of_terms(fitted, X_test, rows, label)
    statistic, p = sign_flip_test(scores, n_null, np.random.RandomState(seed))
    return list(fitted.term_names_), list(fitted.term_modalities_), statistic, p


def _without_selection(estimator: Any, X: Any, y: Any) -> dict[str, Any]:
    """Parameters with which no term is left out."""
    changes: dict[str, Any] = fixed_strength(estimator, X, y)
    if "polish" in estimator.get_params(deep=False):
        changes["polish"] = False
    return changes


def _positions(
    terms: Iterable[str | tuple[str, ...]] | None,
    names: list[str],
    modalities: list[tuple[str, ...]],
) -> list[int]:
    if terms is None:
        return list(range(len(names)))
    known = {frozenset(members): i for i, members in enumerate(modalities)}
    wanted = [frozenset(t.split(" x ") if isinstance(t, str) else t) for t in terms]
    unknown = [sorted(term) for term in wanted if term not in known]
    if unknown or not wanted:
        raise InputError(f"no such terms: {unknown}; there are {names}")
    return [known[term] for term in wanted]
