"""Refits of an estimator: clones with their own seed, on some rows, with one thread each."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing

from sklearn_mmfusion._errors import RelevanceWarning
from sklearn_mmfusion._held_out import row_frame

__all__ = ["refit", "take_rows", "warn_of_refits"]


def take_rows(values: Any, rows: npt.NDArray[np.intp] | None) -> Any:
    """Return some rows of X, y or weights in any form; all of them for None."""
    if values is None or rows is None:
        return values
    return _safe_indexing(row_frame(values), rows)


def refit(
    estimator: Any, X: Any, y: Any, sample_weight: Any, seed: int, **changes: Any
) -> tuple[Any, Counter[str]]:
    """Fit a clone with a seed and other parameters; return it and what it warned of."""
    fitted = clone(estimator)
    known = fitted.get_params(deep=False)
    wanted = {"random_state": seed, "n_threads": 1, "warm_start": False, "verbose": 0, **changes}
    fitted.set_params(**{name: value for name, value in wanted.items() if name in known})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if sample_weight is None:
            fitted.fit(X, y)
        else:
            fitted.fit(X, y, sample_weight=sample_weight)
    return fitted, Counter(warning.category.__name__ for warning in caught)


def warn_of_refits(found: list[Counter[str]]) -> None:
    """Say once what many refits had to say."""
    n = len(found)
    constant = sum(warned["RelevanceWarning"] > 0 for warned in found)
    if 2 * constant > n:
        warnings.warn(
            f"{constant} of {n} refits predict held-out rows no better than a constant: relevance "
            "scores mean nothing",
            RelevanceWarning,
            stacklevel=3,
        )
    unfinished = sum(warned["ConvergenceWarning"] > 0 for warned in found)
    if unfinished:
        warnings.warn(
            f"training had not converged in {unfinished} of {n} refits; raise max_epochs or lr",
            ConvergenceWarning,
            stacklevel=3,
        )
