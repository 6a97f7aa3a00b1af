"""Every public classifier and regressor, at settings that take milliseconds.

Found by ``all_estimators``: what is tested here is tested for a new method on the day it is
written. A setting is used by every estimator that has a parameter of its name; ``OWN`` has those
that differ.
"""

import inspect

from sklearn.base import is_classifier

from sklearn_mmfusion import LinearEncoder, MulTEncoder, RAVENEncoder
from sklearn_mmfusion.utils import all_estimators

ESTIMATORS = [cls for _, cls in all_estimators(["classifier", "regressor"])]
CLASSIFIERS = [cls for cls in ESTIMATORS if is_classifier(cls())]
REGRESSORS = [cls for cls in ESTIMATORS if not is_classifier(cls())]

SMALL = {
    "encoders": LinearEncoder(),
    "max_epochs": 2,
    "feature_dim": 4,
    "concept_dim": 4,
    "hidden_dim": 4,
    "latent_dim": 2,
    "max_iter": 20,
    "polish": False,
    "random_state": 0,
}
RAVEN = {"encoders": RAVENEncoder(hidden_dim=4)}
MULT = {"encoders": MulTEncoder(hidden_dim=4, n_heads=1, n_layers=1, dropout=0.0)}
OWN = {
    "MulTClassifier": MULT,
    "MulTRegressor": MULT,
    "RAVENClassifier": RAVEN,
    "RAVENRegressor": RAVEN,
}


def small(cls, **changes):
    """Return an estimator that is fitted within milliseconds, and learns nothing."""
    settings = SMALL | OWN.get(cls.__name__, {}) | changes
    known = inspect.signature(cls).parameters
    return cls(**{name: value for name, value in settings.items() if name in known})


def family(cls):
    """Return the name of a method, which its classifier and its regressor share."""
    return cls.__name__.removesuffix("Classifier").removesuffix("Regressor")
