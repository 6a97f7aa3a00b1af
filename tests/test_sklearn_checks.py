"""scikit-learn's own checks: every one passes, and how many there are is asserted.

check_estimator on the default parameters takes minutes: in the slow part. The fast part has it for
a classifier and a regressor with linear encoders, few epochs and no polish.
"""

import warnings
from collections import Counter

import pytest
import sklearn
from sklearn.base import is_classifier
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import (
    check_class_weight_balanced_classifiers,
    check_dataframe_column_names_consistency,
    check_estimator,
    check_inplace_ensure_writeable,
    check_param_validation,
)
from sklearn.utils.fixes import parse_version

from sklearn_mmfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    GAMClassifier,
    InTenseClassifier,
    InTenseRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
    LateVotingClassifier,
    LinearEncoder,
    MKLClassifier,
    MKLRegressor,
    MNLClassifier,
    MNLRegressor,
    MROClassifier,
    MRORegressor,
    MulTClassifier,
    MulTEncoder,
    MulTRegressor,
    RAVENClassifier,
    RAVENEncoder,
    RAVENRegressor,
    RoutingClassifier,
    TensorFusionClassifier,
    TensorFusionRegressor,
    UnimodalClassifier,
    UnimodalRegressor,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
    pytest.mark.filterwarnings("ignore:X is a 2D array and modalities=None:UserWarning"),
]

ESTIMATORS = [
    MNLClassifier,
    MNLRegressor,
    InTenseClassifier,
    InTenseRegressor,
    RoutingClassifier,
    GAMClassifier,
    LateVotingClassifier,
    MKLClassifier,
    MKLRegressor,
]

# Models without a method of their own, at settings that take seconds.
BASELINES = [
    (cls, changes)
    for pair, changes in [
        ((LateFusionClassifier, LateFusionRegressor), {}),
        ((UnimodalClassifier, UnimodalRegressor), {}),
        ((EarlyFusionClassifier, EarlyFusionRegressor), {}),
        ((TensorFusionClassifier, TensorFusionRegressor), {"hidden_dim": 16}),
        ((MROClassifier, MRORegressor), {"hidden_dim": 16}),
        (
            (RAVENClassifier, RAVENRegressor),
            {"encoders": RAVENEncoder(hidden_dim=8), "max_epochs": 40},
        ),
        (
            (MulTClassifier, MulTRegressor),
            {
                "encoders": MulTEncoder(hidden_dim=8, n_heads=2, n_layers=1, dropout=0.0),
                "lr": 0.01,
            },
        ),
    ]
    for cls in pair
]

# Number of checks by version of scikit-learn, for (classifiers, regressors).
COUNTS = {"1.9": (67, 60)}
# Those with fewer: no partial_fit, no several labels.
FEWER = {"LateVotingClassifier": 66, "MKLClassifier": 63}
VERSION = ".".join(map(str, parse_version(sklearn.__version__).release[:2]))


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
    count = Counter(r["status"] for r in results)["passed"]
    if VERSION in COUNTS:
        usual = COUNTS[VERSION][0 if is_classifier(estimator) else 1]
        assert count == FEWER.get(type(estimator).__name__, usual)
    else:
        # The least that a release since 1.6 has had; add new releases to the table.
        assert count >= 50


# The checks draw from numpy's global generator themselves, and some leave random_state=None.
@pytest.mark.draws_from_numpy
@pytest.mark.slow
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_all_checks_of_scikit_learn_pass(cls):
    run_all(cls())


@pytest.mark.draws_from_numpy
@pytest.mark.parametrize(
    ("cls", "changes"),
    [
        (MNLClassifier, {"polish": False, "max_epochs": 6, "lr": 0.1}),
        (InTenseRegressor, {"polish": False, "max_epochs": 6, "lr": 0.1}),
        (
            RoutingClassifier,
            {"feature_dim": 4, "concept_dim": 4, "dropout": 0.0, "max_epochs": 8, "lr": 0.1},
        ),
        *[pytest.param(cls, changes, marks=pytest.mark.slow) for cls, changes in BASELINES],
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_all_checks_of_scikit_learn_pass_with_few_epochs_of_linear_encoders(cls, changes):
    quick = {"encoders": LinearEncoder(), "max_epochs": 20, "lr": 0.05}
    run_all(cls(**quick | changes, random_state=0))


# -- checks that scikit-learn has but does not generate ---------------------------------------


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_parameters_are_validated(cls):
    settings = {"max_epochs": 2} if "max_epochs" in cls().get_params() else {}
    check_param_validation(cls.__name__, cls(**settings))


@pytest.mark.parametrize(
    "check", [check_dataframe_column_names_consistency, check_inplace_ensure_writeable]
)
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_further_check_of_scikit_learn_passes(cls, check):
    if check is check_dataframe_column_names_consistency:
        pytest.importorskip("pandas")
    known = cls().get_params()
    settings = {"max_epochs": 2, "random_state": 0, "reg": 0.001}
    check(cls.__name__, cls(**{k: v for k, v in settings.items() if k in known}))


@pytest.mark.parametrize("cls", [MNLClassifier, InTenseClassifier])
def test_balanced_class_weights_help_the_rare_class(cls):
    X, y = make_classification(n_samples=100, weights=[0.8, 0.2], random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    check_class_weight_balanced_classifiers(
        cls.__name__,
        cls(max_epochs=20, reg=0.1, random_state=0),
        X_train,
        y_train,
        X_test,
        y_test,
        [0.8, 0.2],
    )
