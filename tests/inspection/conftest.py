"""Models with a known formula, and the slow ways to the same numbers."""

from itertools import combinations, product

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin


class Formula(RegressorMixin, BaseEstimator):
    """Predict by a formula of the modalities, from a mapping or from single columns."""

    def __init__(self, formula):
        self.formula = formula

    def fit(self, X=None, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X):
        if hasattr(X, "values") and not hasattr(X, "iloc"):
            columns = [np.asarray(value).ravel() for value in X.values()]
        else:
            columns = list(np.asarray(X).T)
        return self.formula(*columns)


def expectation_by_loops(predict, columns, background, fixed, row):
    """Mean over all combinations of background rows of the modalities that are not fixed."""
    free = [m for m in range(len(columns)) if m not in fixed]
    total, count = 0.0, 0
    for rows in product(range(len(background[0])), repeat=len(free)):
        values = [None] * len(columns)
        for m in fixed:
            values[m] = columns[m][row]
        for m, b in zip(free, rows, strict=True):
            values[m] = background[m][b]
        total = total + predict(values)
        count += 1
    return total / count


def component_by_loops(predict, columns, background, members, row):
    """Component of a set by Moebius inversion of the expectations of its subsets."""
    return sum(
        (-1) ** (len(members) - size)
        * expectation_by_loops(predict, columns, background, part, row)
        for size in range(len(members) + 1)
        for part in combinations(members, size)
    )


@pytest.fixture(scope="session")
def formula():
    return Formula


@pytest.fixture(scope="session")
def expectation():
    return expectation_by_loops


@pytest.fixture(scope="session")
def component_oracle():
    return component_by_loops
