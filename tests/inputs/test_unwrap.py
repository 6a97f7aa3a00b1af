"""The estimator inside pipelines and searches."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion._errors import InputTypeError
from sklearn_mmfusion._inputs.unwrap import unwrap

X, Y = np.arange(20.0).reshape(10, 2), np.arange(10) > 4


def test_rows_pass_through_every_pipeline_on_the_way():
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [1.0]}, cv=2).fit(X, Y)
    inner, rows = unwrap(search, X, attribute="coef_")
    assert inner is search.best_estimator_[-1]
    np.testing.assert_allclose(rows, (X - X.mean(0)) / X.std(0))


def test_an_estimator_that_has_it_is_returned_as_it_is():
    model = LogisticRegression().fit(X, Y)
    assert unwrap(model, attribute="coef_") == (model, None)


def test_what_is_not_there_is_said():
    with pytest.raises(InputTypeError, match="LogisticRegression has no contributions; expected"):
        unwrap(LogisticRegression().fit(X, Y), attribute="contributions")
    with pytest.raises(NotFittedError):
        unwrap(LogisticRegression(), attribute="contributions")
