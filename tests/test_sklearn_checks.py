"""scikit-learn's own checks on every public estimator: all pass, and their number is asserted.

A new estimator needs a line in ``COUNTS``. The fast part has what takes seconds; the other
estimators, and the default parameters, are in the slow part.
"""

import warnings
from collections import Counter
from unittest import SkipTest

import numpy as np
import pytest
import sklearn
from fleet import ALL_ESTIMATORS, CLASSIFIERS, learning, small
from sklearn.utils.estimator_checks import (
    check_class_weight_balanced_classifiers,
    check_dataframe_column_names_consistency,
    check_estimator,
    check_inplace_ensure_writeable,
    check_param_validation,
    estimator_checks_generator,
)
from sklearn.utils.fixes import parse_version

from sklearn_mmfusion import (
    GAMClassifier,
    InTenseClassifier,
    InTenseRegressor,
    MNLClassifier,
    MNLRegressor,
    RoutingClassifier,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
    pytest.mark.filterwarnings("ignore:X is a 2D array and modalities=None:UserWarning"),
]

# Number of checks by version of scikit-learn. Fewer: no partial_fit, no several labels.
COUNTS = {
    "1.9": {
        "EarlyFusionClassifier": 67,
        "EarlyFusionRegressor": 60,
        "GAMClassifier": 67,
        "InTenseClassifier": 67,
        "InTenseRegressor": 60,
        "LateFusionClassifier": 67,
        "LateFusionRegressor": 60,
        "LateVotingClassifier": 66,
        "MKLClassifier": 63,
        "MKLRegressor": 60,
        "MNLClassifier": 67,
        "MNLRegressor": 60,
        "MROClassifier": 67,
        "MRORegressor": 60,
        "MulTClassifier": 67,
        "MulTRegressor": 60,
        "RAVENClassifier": 67,
        "RAVENRegressor": 60,
        "RoutingClassifier": 67,
        "TensorFusionClassifier": 67,
        "TensorFusionRegressor": 60,
        "UnimodalClassifier": 67,
        "UnimodalRegressor": 60,
    }
}
VERSION = ".".join(map(str, parse_version(sklearn.__version__).release[:2]))

# In the fast part: training of either kind of target, and what takes less than a second.
FAST = {
    "LateFusionClassifier",
    "LateFusionRegressor",
    "LateVotingClassifier",
    "MKLClassifier",
    "MKLRegressor",
}
# The methods of the papers, at default parameters: most of a minute.
AT_DEFAULTS = [
    MNLClassifier,
    MNLRegressor,
    InTenseClassifier,
    InTenseRegressor,
    RoutingClassifier,
    GAMClassifier,
]
# What is passed by what a fit has learned: these fit for all the epochs that are the default.
LEARNING_CHECKS = {
    "check_class_weight_classifiers",
    "check_classifiers_classes",
    "check_classifiers_one_label",
    "check_classifiers_one_label_sample_weights",
    "check_classifiers_train",
    "check_regressors_int",
    "check_regressors_train",
    "check_sample_weight_equivalence_on_dense_data",
}


def named(classes, fast=None):
    """Return classes as parameters; those that are not in ``fast`` are slow."""
    return [
        pytest.param(
            cls,
            id=cls.__name__,
            marks=() if fast is None or cls.__name__ in fast else pytest.mark.slow,
        )
        for cls in classes
    ]


def run_all(estimator):
    """Run check_estimator and require that all has passed and nothing was left out."""
    with warnings.catch_warnings():
        # On the checks' tiny data sets fits neither converge nor find something.
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    others = [
        f"{r['check_name']} {r['status']}: {r['exception']}"
        for r in results
        if r["status"] != "passed"
    ]
    assert not others
    assert_count(Counter(r["status"] for r in results)["passed"], type(estimator))


def assert_count(count, cls):
    if VERSION in COUNTS:
        assert count == COUNTS[VERSION][cls.__name__]
    else:
        # The least that a release since 1.6 has had; add new releases to the table.
        assert count >= 50


@pytest.mark.parametrize("version", COUNTS)
def test_every_public_estimator_has_a_count(version):
    assert set(COUNTS[version]) == {cls.__name__ for cls in ALL_ESTIMATORS}


# The checks draw from numpy's global generator themselves, and some leave random_state=None.
@pytest.mark.draws_from_numpy
@pytest.mark.parametrize("cls", named(ALL_ESTIMATORS, FAST))
def test_all_checks_of_scikit_learn_pass(cls):
    run_all(learning(cls))


@pytest.mark.draws_from_numpy
@pytest.mark.slow
@pytest.mark.parametrize("cls", named(AT_DEFAULTS))
def test_all_checks_of_scikit_learn_pass_at_default_parameters(cls):
    others, count = [], 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Whether inputs are taken or refused, and results the same, is seen after a few epochs.
        for few, check in estimator_checks_generator(cls(max_epochs=10)):
            name = check.func.__name__
            try:
                check(cls() if name in LEARNING_CHECKS else few)
            except (Exception, SkipTest) as error:
                others.append(f"{name}: {error!r}")
            count += 1
    assert not others
    assert_count(count, cls)


# -- checks that scikit-learn has but does not generate ---------------------------------------


@pytest.mark.parametrize("cls", named(ALL_ESTIMATORS))
def test_parameters_are_validated(cls):
    check_param_validation(cls.__name__, small(cls))


@pytest.mark.parametrize(
    "check", [check_dataframe_column_names_consistency, check_inplace_ensure_writeable]
)
@pytest.mark.parametrize("cls", named(ALL_ESTIMATORS))
def test_further_check_of_scikit_learn_passes(cls, check):
    if check is check_dataframe_column_names_consistency:
        pytest.importorskip("pandas")
    check(cls.__name__, small(cls))


WEIGHTED = [cls for cls in CLASSIFIERS if "class_weight" in cls().get_params()]


def rare_class(mean, std):
    """Return 400 rows, a fifth of them of a class at another place in the first feature."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 5 == 0
    first = np.where(y, rng.normal(mean, std, 400), rng.normal(size=400))
    return np.column_stack([first, rng.normal(size=400)]), y


@pytest.mark.parametrize("cls", named(WEIGHTED))
def test_balanced_class_weights_find_more_of_the_rare_class(cls):
    X, y = rare_class(1.2, 1.0)
    found = [
        learning(cls, class_weight=weight).fit(X[::2], y[::2]).predict(X[1::2])[y[1::2]].mean()
        for weight in (None, "balanced")
    ]
    assert found[0] + 0.2 < found[1]


@pytest.mark.parametrize("cls", named([MNLClassifier, InTenseClassifier]))
def test_balanced_class_weights_pass_the_check_of_scikit_learn(cls):
    # The rare class is a heap in the tail of the other, which a plane at the most likely place
    # cuts through.
    X, y = rare_class(1.5, 0.2)
    check_class_weight_balanced_classifiers(
        cls.__name__, learning(cls), X[::2], y[::2], X[1::2], y[1::2], [0.8, 0.2]
    )
