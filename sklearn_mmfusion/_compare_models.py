"""Cross-validation of several models on the same folds and seeds."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import delayed
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv, cross_validate

from sklearn_mmfusion._comparison import ModelComparison
from sklearn_mmfusion._errors import FitInterruptedWarning, InputError, InputTypeError
from sklearn_mmfusion._inputs.kept_warnings import kept_numerical, say_once
from sklearn_mmfusion._rows.groups import groups_for
from sklearn_mmfusion._training.told_parallel import ToldParallel, check_verbose
from sklearn_mmfusion.data import ModalityFrame

__all__ = ["compare_models"]

Floats = npt.NDArray[np.float64]


def compare_models(
    estimators: Mapping[str, Any] | Sequence[Any],
    X: Any,
    y: Any,
    *,
    cv: Any = 5,
    scoring: Any = None,
    seeds: int | Iterable[int] = 1,
    groups: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> ModelComparison:
    """Cross-validate models on the same folds, once per seed.

    Parameters
    ----------
    estimators : mapping of str to estimator, or sequence of estimators
        Any estimators, ours and scikit-learn's. Those of a sequence are named by their class,
        and numbered where a class comes twice. A model that takes no modalities needs a Pipeline
        that makes them a table: ``make_pipeline(ModalityConcatenator(), LogisticRegression())``.
    X : mapping, ModalityFrame, DataFrame or array-like
        Rows; a mapping becomes a ModalityFrame.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Target.
    cv : int, splitter or iterable, default=5
        Number of folds, stratified for classifiers and shuffled by the seed; or a splitter, whose
        ``random_state`` the seed sets if it shuffles; or splits, which are the same for all seeds.
        Seeds on the same folds are averaged fold by fold before intervals and tests.
    scoring : str, callable, list or dict, default=None
        As in :func:`~sklearn.model_selection.cross_validate`; None is each model's own ``score``.
    seeds : int or iterable of int, default=1
        Number of seeds, or the seeds. Each shuffles the folds and is set as every
        ``random_state`` of the models, whatever these were.
    groups : array-like of shape (n_samples,), default=None
        Groups of rows that belong together, for the splitter, and for models that take them.
    n_jobs : int, default=None
        Processes; None is 1. A task is one model on one fold with one seed.
    verbose : int, default=0
        1 prints about twenty lines of how many fits are done and how long the rest may take, more
        prints a line whenever a task ends; of any number of processes.

    Returns
    -------
    ModelComparison
        With ``to_frame()``, ``summary()`` and ``plot()``.

    Raises
    ------
    InputError, InputTypeError
        If there are no estimators or no seeds, or seeds come twice, or names are not strings.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_mmfusion import compare_models
    >>> X, y = make_classification(random_state=0)
    >>> comparison = compare_models([LogisticRegression(), DummyClassifier()], X, y, seeds=2)
    >>> comparison
    ModelComparison(n_models=2, n_seeds=2, n_folds=5, metrics=['score'])
    >>> comparison.best()
    'LogisticRegression'
    """
    parallel = ToldParallel(n_jobs, "compare_models", check_verbose(verbose))
    models = _named(estimators)
    chosen = _chosen(seeds)
    if isinstance(cv, Iterable) and not hasattr(cv, "split"):
        cv = list(cv)  # a generator has nothing left for the second seed
    X = ModalityFrame(X) if isinstance(X, Mapping) else X
    classifier = any(is_classifier(model) for model in models.values())
    splits = [_splits(cv, X, y, groups, seed, classifier=classifier) for seed in chosen]
    n_folds = len(splits[0])
    tasks = [
        (name, s, fold) for name in models for s in range(len(chosen)) for fold in range(n_folds)
    ]
    calls = (
        delayed(_cross_validated)(
            name, _with_seed(models[name], chosen[s]), X, y, groups, splits[s][fold], scoring
        )
        for name, s, fold in tasks
    )
    pairs = parallel.run(calls, "fits", [1] * len(tasks))
    found = [scores for scores, _ in pairs]
    say_once([said for _, said in pairs], of_parts=True)
    keys = [key for key in found[0] if key.startswith("test_")]
    renamed = scoring if isinstance(scoring, str) else "score"
    metrics = {renamed if key == "test_score" else key.removeprefix("test_"): key for key in keys}

    def collected(key: str) -> dict[str, Floats]:
        values = np.array([result[key][0] for result in found])
        by_model = values.reshape(len(models), len(chosen), n_folds)
        return dict(zip(models, by_model, strict=True))

    n_train, n_test = (sum(len(split[i]) for seed in splits for split in seed) for i in (0, 1))
    return ModelComparison(
        {metric: collected(key) for metric, key in metrics.items()},
        test_ratio=n_test / n_train,
        seeds=chosen,
        fit_times=collected("fit_time"),
        same_folds=all(_equal_splits(splits[0], other) for other in splits[1:]),
    )


def _cross_validated(
    name: str, model: Any, X: Any, y: Any, groups: Any, split: tuple[Any, Any], scoring: Any
) -> tuple[dict[str, Any], list[str]]:
    """Cross-validate a model on one fold, and return what it says of the numbers in X beside.

    An error says which model it was.

    A fit that is interrupted gives a model; its scores are none of this comparison, which ends.
    """
    try:
        with kept_numerical() as said:
            warnings.simplefilter("error", FitInterruptedWarning)
            found: dict[str, Any] = cross_validate(
                model,
                X,
                y,
                cv=[split],
                scoring=scoring,
                error_score="raise",
                params=groups_for(model, groups) or None,
            )
    except FitInterruptedWarning:
        raise KeyboardInterrupt from None
    except Exception as error:
        error.add_note(f"This was the model {name!r} of compare_models.")
        raise
    return found, said


def _chosen(seeds: int | Iterable[int]) -> list[int]:
    """Return the seeds."""
    if isinstance(seeds, Integral):
        chosen = list(range(int(seeds)))
    elif isinstance(seeds, Iterable):
        chosen = [int(seed) for seed in seeds]
    else:
        raise InputTypeError(f"seeds: expected a number of seeds or several, got {seeds!r}")
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(f"seeds: expected at least one, and each once, got {seeds!r}")
    return chosen


def _equal_splits(some: list[tuple[Any, Any]], others: list[tuple[Any, Any]]) -> bool:
    """Whether two lists of splits are the same folds."""
    return all(
        np.array_equal(own, other)
        for pair in zip(some, others, strict=True)
        for own, other in zip(*pair, strict=True)
    )


def _named(estimators: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    """Return the estimators by name."""
    if hasattr(estimators, "fit"):
        raise InputTypeError(
            f"estimators: expected several, by name or in a list, got {estimators!r}; one alone is "
            f"[{type(estimators).__name__}(...)]"
        )
    if isinstance(estimators, Mapping):
        models = dict(estimators)
    else:
        models, kinds = {}, [type(estimator).__name__ for estimator in estimators]
        for i, (kind, estimator) in enumerate(zip(kinds, estimators, strict=True)):
            many = kinds.count(kind) > 1
            models[f"{kind} {kinds[: i + 1].count(kind)}" if many else kind] = estimator
    if not models:
        raise InputError("estimators: expected at least one, got none")
    for name, model in models.items():
        if not isinstance(name, str) or not hasattr(model, "fit"):
            raise InputTypeError(
                f"estimators: expected names and estimators with fit, got {name!r}: {model!r}"
            )
    return models


def _splits(
    cv: Any, X: Any, y: Any, groups: Any, seed: int, *, classifier: bool
) -> list[tuple[Any, Any]]:
    splitter = check_cv(cv, np.asarray(y), classifier=classifier)
    if isinstance(cv, Integral) or cv is None:
        splitter.shuffle, splitter.random_state = True, seed
    elif hasattr(splitter, "random_state") and getattr(splitter, "shuffle", True):
        splitter = copy.copy(splitter)
        splitter.random_state = seed
    return list(splitter.split(X, y, groups))


def _with_seed(estimator: Any, seed: int) -> Any:
    """Return a clone whose random states are all the seed."""
    estimator = clone(estimator)
    keys = [
        key
        for key in estimator.get_params(deep=True)
        if key == "random_state" or key.endswith("__random_state")
    ]
    return estimator.set_params(**dict.fromkeys(keys, seed))
