"""Warnings point to the line of the user's that led to them."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, UndefinedMetricWarning
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion import MKLClassifier, ModalityFrame, NumericalWarning, RelevanceWarning
from sklearn_mmfusion import MNLClassifier as MNL
from sklearn_mmfusion._errors import warn
from sklearn_mmfusion.metrics import pearson_correlation

RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(40, 3))}
Y = np.arange(40) % 2


def _one_epoch(**params):
    return MNL(max_epochs=1, random_state=0, **params)


CASES = {
    "no mapping": (UserWarning, lambda: _one_epoch().fit(X["a"], Y)),
    "a column": (DataConversionWarning, lambda: _one_epoch().fit(X, Y[:, None])),
    "too few epochs": (ConvergenceWarning, lambda: _one_epoch().fit(X, Y)),
    "nothing learned": (RelevanceWarning, lambda: MNL(max_epochs=3, random_state=0).fit(X, Y)),
    "partial": (DataConversionWarning, lambda: _one_epoch().partial_fit(X, Y[:, None])),
    "kernels": (RelevanceWarning, lambda: MKLClassifier().fit({"a": np.ones((40, 2))}, Y)),
    "lost digits": (NumericalWarning, lambda: _one_epoch().fit({"a": 1e8 + 0.1 * X["a"]}, Y)),
    "constant": (UndefinedMetricWarning, lambda: pearson_correlation([1.0, 1.0], [1.0, 2.0])),
    "a pipeline": (
        UserWarning,
        lambda: make_pipeline(StandardScaler(), _one_epoch()).fit(X["a"], Y),
    ),
    "folds": (
        ConvergenceWarning,
        lambda: cross_val_score(_one_epoch(), ModalityFrame(X), Y, cv=2),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_warning_points_to_the_line_that_led_to_it(name):
    category, run = CASES[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    found = [warning for warning in caught if issubclass(warning.category, category)]
    assert found
    assert {warning.filename for warning in found} == {__file__}


def test_a_warning_without_a_user_points_to_where_the_program_begins(monkeypatch):
    monkeypatch.setitem(globals(), "__name__", "sklearn_mmfusion.anything")
    with pytest.warns(UserWarning, match="said") as caught:
        warn("said", UserWarning)
    assert caught[0].filename != __file__
