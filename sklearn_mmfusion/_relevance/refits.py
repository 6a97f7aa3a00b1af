"""Refits of an estimator: clones with their own seed, on some rows, with one thread each."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing

from sklearn_mmfusion._errors import NumericalWarning, RelevanceWarning, warn
from sklearn_mmfusion._fitting.held_out import row_frame
from sklearn_mmfusion._fitting.together import Fitting, run_fittings
from sklearn_mmfusion._inputs.kept_warnings import say_once
from sklearn_mmfusion._rows.groups import groups_for

__all__ = ["Heard", "Refit", "in_companies", "refit", "take_rows", "warn_of_refits"]

_COMPANY = 5  # refits that are trained together: few enough for several processes to have work


def take_rows(values: Any, rows: npt.NDArray[np.intp] | None) -> Any:
    """Return some rows of X, y or weights in any form; all of them for None."""
    if values is None or rows is None:
        return values
    return _safe_indexing(row_frame(values), rows)


@dataclass
class Heard:
    """What a refit warned of.

    Attributes
    ----------
    counts : Counter of str
        Number of warnings by the name of their category.
    numerical : list of str
        What was said of the numbers in X.
    """

    counts: Counter[str] = field(default_factory=Counter)
    numerical: list[str] = field(default_factory=list)

    def add(self, caught: Sequence[warnings.WarningMessage]) -> None:
        """Take in some warnings."""
        self.counts.update(warning.category.__name__ for warning in caught)
        self.numerical += [str(w.message) for w in caught if w.category is NumericalWarning]


@dataclass
class Refit:
    """A fit of a clone with its own seed, one thread, and other parameters.

    Attributes
    ----------
    estimator : estimator
        What is cloned.
    X, y, sample_weight : object
        Rows; the weights may be None.
    rows : ndarray of int or None
        Which of them; None: all.
    seed : int
        Seed.
    changes : dict
        Parameters that differ from those of the estimator; unknown ones are left out.
    groups : array-like of shape (n_samples,) or None
        Groups of the rows, for estimators that take them.
    """

    estimator: Any
    X: Any
    y: Any
    sample_weight: Any
    rows: npt.NDArray[np.intp] | None
    seed: int
    changes: dict[str, Any] = field(default_factory=dict)
    groups: Any = None

    def part(self) -> tuple[Any, Any, Any, Any]:
        """Return X, y, weights and groups of the rows, which are taken now."""
        everything = self.X, self.y, self.sample_weight, self.groups
        X, y, weight, groups = (take_rows(values, self.rows) for values in everything)
        return X, y, weight, groups

    def make(self) -> Any:
        """Return the estimator to fit."""
        made = clone(self.estimator)
        known = made.get_params(deep=False)
        wanted = {"random_state": self.seed, "n_threads": 1, "warm_start": False, "verbose": 0}
        wanted |= self.changes
        return made.set_params(**{name: value for name, value in wanted.items() if name in known})


def in_companies(jobs: Sequence[Refit]) -> list[list[Refit]]:
    """Group refits of one estimator: those of a group are trained together, if any can be.

    The groups do not depend on the number of processes, and so neither do the fits.
    """
    size = _COMPANY if len(jobs) > 1 and _gain_together(jobs[0]) else 1
    parts = np.array_split(np.arange(len(jobs)), -(-len(jobs) // size))
    return [[jobs[i] for i in part] for part in parts]


def _gain_together(job: Refit) -> bool:
    estimator = job.make()
    if not _has_own_fit(estimator):
        return False
    return bool(estimator._refits_gain_together(*job.part()))


def _has_own_fit(estimator: Any) -> bool:
    """Whether ``fit`` of an estimator is that of the template, which can run beside others."""
    of_fit, of_steps = (
        next((cls for cls in type(estimator).__mro__ if name in vars(cls)), None)
        for name in ("fit", "_fitting")
    )
    return of_fit is of_steps is not None


def refit(jobs: Sequence[Refit]) -> list[tuple[Any, Heard]]:
    """Fit clones, together where they can be trained so; return each and what it warned of."""
    made = [job.make() for job in jobs]
    heard = [Heard() for _ in jobs]
    each = list(zip(made, jobs, heard, strict=True))
    if len(jobs) > 1 and _has_own_fit(made[0]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those that count are recorded
            run_fittings([_recorded(*one) for one in each])
    else:
        for estimator, job, warned in each:
            X, y, weight, groups = job.part()
            weighted = {} if weight is None else {"sample_weight": weight}
            with _recording(warned):
                estimator.fit(X, y, **weighted, **groups_for(estimator, groups))
    if any(warned.counts["FitInterruptedWarning"] for warned in heard):
        raise KeyboardInterrupt  # scores of a fit that was cut short are no draw
    return list(zip(made, heard, strict=True))


def _recorded(estimator: Any, job: Refit, warned: Heard) -> Fitting:
    """Fit an estimator as its ``fit`` does, with its warnings recorded."""
    estimator._validate_params()
    fitting: Fitting = estimator._fitting(*job.part())
    with _recording(warned):
        members = next(fitting)
    try:
        results = yield members
    except BaseException as error:
        fitting.throw(error)
        raise
    with _recording(warned), suppress(StopIteration):
        fitting.send(results)


@contextmanager
def _recording(warned: Heard) -> Iterator[None]:
    """Record warnings in place of showing them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    warned.add(caught)


def warn_of_refits(found: list[Heard]) -> None:
    """Say once what many refits had to say, of which the first had all rows."""
    n = len(found)
    say_once([warned.numerical for warned in found], of_parts=not found[0].numerical)
    constant = sum(warned.counts["RelevanceWarning"] > 0 for warned in found)
    if 2 * constant > n:
        warn(
            f"{constant} of {n} refits are not shown to predict held-out rows better than a "
            "constant: relevance scores may mean nothing",
            RelevanceWarning,
        )
    unfinished = sum(warned.counts["ConvergenceWarning"] > 0 for warned in found)
    if unfinished:
        warn(
            f"training had not converged in {unfinished} of {n} refits; raise max_epochs or lr",
            ConvergenceWarning,
        )
