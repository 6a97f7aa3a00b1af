"""Finding the public estimators."""

import pytest
from sklearn.base import BaseEstimator

import sklearn_mmfusion
from sklearn_mmfusion.utils import all_estimators


def test_none_lists_everything_public_that_has_parameters():
    public = {
        name
        for name in sklearn_mmfusion.__all__
        if isinstance(value := getattr(sklearn_mmfusion, name), type)
        and issubclass(value, BaseEstimator)
    }
    found = all_estimators()
    assert public <= {name for name, _ in found}
    assert found == sorted(found)
    assert all(cls.__name__ == name and not name.startswith("_") for name, cls in found)


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        ("classifier", "MNLClassifier", "MNLRegressor"),
        ("regressor", "MNLRegressor", "MNLClassifier"),
        ("transformer", "ModalityTransformer", "MNLClassifier"),
        (["classifier", "regressor"], "MNLRegressor", "LinearEncoder"),
    ],
)
def test_kinds_are_told_apart(kind, inside, outside):
    names = [name for name, _ in all_estimators(kind)]
    assert inside in names and outside not in names


def test_kinds_together_are_their_union():
    both = all_estimators(["classifier", "regressor"])
    assert both == sorted(all_estimators("classifier") + all_estimators("regressor"))


def test_other_kinds_are_refused():
    with pytest.raises(ValueError, match="'cluster'"):
        all_estimators("cluster")
