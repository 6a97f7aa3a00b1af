"""The perceptual score: what a model loses when a modality comes from other rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.utils import Bunch, check_random_state

from sklearn_mmfusion._errors import InputError, RelevanceWarning, warn
from sklearn_mmfusion._model.seeds import seed_for
from sklearn_mmfusion.inspection._index_scorer import IndexScorer, make_index_scorer
from sklearn_mmfusion.inspection._one_label import one_label_hint
from sklearn_mmfusion.inspection._results import check_counts, long_frame, set_name
from sklearn_mmfusion.inspection._sets import check_subsets

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PerceptualScores", "perceptual_score", "permutations"]

Index = npt.NDArray[np.intp]

_NORMALIZATIONS = (None, "model", "task")


class PerceptualScores(Bunch):
    """What :func:`perceptual_score` returns: a Bunch, with a table.

    Parameters
    ----------
    **kwargs : object
        What was found; listed there.
    """

    def to_frame(self) -> pd.DataFrame:
        """Return one row per set of modalities: ``modalities``, ``importance`` and ``std``."""
        return long_frame(
            {"modalities": self.names},
            {"importance": self.importances_mean, "std": self.importances_std},
        )


def perceptual_score(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    modalities: Any = None,
    scoring: Any = None,
    subsets: Any = None,
    n_repeats: int = 5,
    normalization: str | None = None,
    sample_weight: Any = None,
    n_jobs: int | None = None,
    random_state: Any = None,
) -> PerceptualScores:
    r"""Score of a model less its score with a modality permuted across samples.

    Use it to see how much a model relies on each modality, on rows it was not trained on: the model
    stays as it is, and a modality that says nothing to it scores exactly 0.

    .. math:: P_m = \frac1Z\, \big(\mathrm{score}(f, X, y) - E_\pi\,
              \mathrm{score}(f, X^{(m, \pi)}, y)\big)

    where rows of modality m are permuted by :math:`\pi`.

    Parameters
    ----------
    estimator : object
        A fitted estimator with ``decision_function``, ``predict_proba`` or ``predict``: ours, or
        any of scikit-learn's interface. Ours with one encoder per modality run on cached encodings.
    X : mapping, ModalityFrame, DataFrame or array-like
        Rows, best held out.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Target.
    modalities : mapping or list of str, default=None
        Columns of each modality for 2-D ``X``: name to slice, list of positions or of column
        names, together covering every column once. For a mapping: the order of its names. None
        takes what our estimators know.
    scoring : str or callable, default=None
        Score, the higher the better; None is the estimator's own ``score``. Of a rare class that
        is never predicted, accuracy says nothing: take "roc_auc" or "neg_log_loss".
    subsets : None, "all" or list, default=None
        What to permute: single modalities (None), every set of them ("all"), or a list of names
        and of tuples of names. The modalities of a set take the same permutation.
    n_repeats : int, default=5
        Permutations of each set.
    normalization : {None, "model", "task"}, default=None
        Divisor Z: none, the score itself ("model"), or its gain over the score of a constant
        prediction ("task"), which is the majority class or the mean of y. "task" makes different
        tasks comparable, and suits scores that are negative.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in the score; permutations take no notice of them.
    n_jobs : int, default=None
        Processes for estimators that are called row by row; cached encodings need none.
    random_state : int, RandomState instance or None, default=None
        Seed of the permutations, which do not depend on ``subsets`` and order of the modalities.

    Returns
    -------
    PerceptualScores
        A Bunch with ``importances`` (n_sets, n_repeats), their ``importances_mean`` and
        ``importances_std`` (n_sets,), ``score``, ``constant_score`` (with ``normalization="task"``,
        else None), ``names`` ("text", "text + audio"), ``sets`` (tuples of names),
        ``normalization``, and ``to_frame()``.

    Warns
    -----
    RelevanceWarning
        The divisor is not positive, so that importances are NaN; or the model predicts one label
        in all rows, of which accuracy does not say what it rests on.

    Raises
    ------
    InputError, InputTypeError
        For names, columns and options that cannot be used.
    NotFittedError
        If the estimator is not fitted.

    References
    ----------
    .. [1] Gat, Schwartz & Schwing (2021), "Perceptual Score: What Data Modalities Does Your Model
       Perceive?", section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_mmfusion.inspection import perceptual_score
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> model = LogisticRegression().fit(X, X[:, 0] > 0)
    >>> columns = {"text": [0, 1], "audio": [2, 3]}
    >>> found = perceptual_score(model, X, X[:, 0] > 0, modalities=columns, random_state=0)
    >>> found.names, found.importances_mean.round(1)
    (['text', 'audio'], array([0.5, 0. ]))
    """
    check_counts(n_repeats=n_repeats)
    if normalization not in _NORMALIZATIONS:
        raise InputError(
            f"normalization must be one of {list(_NORMALIZATIONS)}, got {normalization!r}"
        )
    scorer = make_index_scorer(
        estimator,
        X,
        y,
        modalities=modalities,
        scoring=scoring,
        sample_weight=sample_weight,
    )
    return _perceptual_score(scorer, subsets, n_repeats, normalization, n_jobs, random_state)


def _perceptual_score(
    scorer: IndexScorer,
    subsets: Any,
    n_repeats: int,
    normalization: str | None,
    n_jobs: int | None,
    random_state: Any,
) -> PerceptualScores:
    names, n = scorer.rows.names, scorer.rows.n_samples
    sets = check_subsets(subsets, names)
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    own = np.repeat(np.arange(n)[:, None], len(names), axis=1)
    indices = [own]
    for members in sets:
        for permutation in permutations(n, n_repeats, seed, [names[m] for m in members]):
            index = own.copy()
            for m in members:
                index[:, m] = permutation
            indices.append(index)
    score, *permuted = scorer.scores(indices, n_jobs)
    hint = one_label_hint(
        scorer.estimator,
        scorer.scoring,
        score,
        scorer.X,
        scorer.y,
        scorer.sample_weight,
        predict=scorer.predict,
    )
    importances = score - np.array(permuted).reshape(len(sets), n_repeats)
    constant_score = None
    if normalization is not None:
        divisor = score
        if normalization == "task":
            constant_score = _constant_score(scorer)
            divisor = score - constant_score
        if not divisor > 0:
            learned_nothing = ": the model has learned nothing to be shared out"
            warn(
                f"normalization={normalization!r}: "
                + (
                    f"the score {score:.3g} is not positive; use normalization='task'"
                    if normalization == "model"
                    else f"the score {score:.3g} is no better than that of a constant, "
                    f"{constant_score:.3g}{f'; {hint}' if hint else learned_nothing}"
                ),
                RelevanceWarning,
            )
            divisor, hint = np.nan, ""
        importances = importances / divisor
    if hint:
        warn(hint, RelevanceWarning)
    return PerceptualScores(
        importances=importances,
        importances_mean=importances.mean(1),
        importances_std=importances.std(1),
        score=score,
        constant_score=constant_score,
        names=[set_name(members, names) for members in sets],
        sets=[tuple(names[m] for m in members) for members in sets],
        normalization=normalization,
    )


def permutations(n: int, n_repeats: int, seed: int, names: list[str]) -> list[Index]:
    """Return permutations of n rows that depend on the names of the modalities, in any order."""
    rng = np.random.default_rng(seed_for(seed, "permutation", *sorted(names)))
    return [rng.permutation(n) for _ in range(n_repeats)]


def _constant_score(scorer: IndexScorer) -> float:
    """Return the score of the best constant: the majority and its frequencies, or the mean."""
    # The wrapped estimator decides: y may hold numbers that are labels.
    model = (
        DummyClassifier(strategy="prior") if is_classifier(scorer.estimator) else (DummyRegressor())
    )
    y = np.asarray(scorer.y)
    blank = np.zeros((len(y), 1))
    return scorer.score_of(model.fit(blank, y, sample_weight=scorer.sample_weight), blank)
