"""Every public classifier and regressor, at settings for tests.

Found by ``all_estimators``: what is tested here is tested for a new method on the day it is
written. A setting is used by every estimator that has a parameter of its name; the tables of
families have those that differ.
"""

import inspect

from sklearn.base import is_classifier

from sklearn_mmfusion import LinearEncoder, MulTEncoder, RAVENEncoder, SummaryEncoder
from sklearn_mmfusion.utils import all_estimators

ALL_ESTIMATORS = [cls for _, cls in all_estimators(["classifier", "regressor"])]
# Those that read every modality. One that reads a single one is LateFusion on that modality, and
# looks at no other: see test_unimodal.py.
ESTIMATORS = [cls for cls in ALL_ESTIMATORS if "modality" not in inspect.signature(cls).parameters]
CLASSIFIERS = [cls for cls in ESTIMATORS if is_classifier(cls())]
REGRESSORS = [cls for cls in ESTIMATORS if not is_classifier(cls())]

# Two epochs of a few weights: fitted within milliseconds, and nothing is learned.
SMALL = {
    "encoders": SummaryEncoder(),
    "max_epochs": 2,
    "feature_dim": 4,
    "concept_dim": 4,
    "hidden_dim": 4,
    "latent_dim": 2,
    "polish": False,
    "early_stopping": True,  # one fit, in place of one that chooses and one on all rows
    "random_state": 0,
}
SMALL_OF_FAMILY = {
    "MulT": {"encoders": MulTEncoder(hidden_dim=4, n_heads=1, n_layers=1, dropout=0.0)},
    "RAVEN": {"encoders": RAVENEncoder(hidden_dim=4)},
    "MKL": {"max_iter": 20},
}

# The least with which the easy data of scikit-learn's checks are learned.
LEARNING = SMALL | {
    "encoders": LinearEncoder(),
    "early_stopping": "auto",
    "max_epochs": 8,
    "lr": 0.1,
    "hidden_dim": 16,
    "dropout": 0.0,
}
LEARNING_OF_FAMILY = {
    "MulT": {
        "encoders": MulTEncoder(hidden_dim=8, n_heads=1, n_layers=1, dropout=0.0),
        "max_epochs": 15,
        "lr": 0.05,
    },
    "RAVEN": {"encoders": RAVENEncoder(hidden_dim=8), "max_epochs": 20, "lr": 0.05},
    "TensorFusion": {"latent_dim": 8, "max_epochs": 15, "lr": 0.05},
}


def family(cls):
    """Return the name of a method, which its classifier and its regressor share."""
    return cls.__name__.removesuffix("Classifier").removesuffix("Regressor")


FAMILIES = sorted({family(cls) for cls in ESTIMATORS})
# Those whose encoder reads all modalities together, which no other encoder can replace.
JOINT = [name for name, settings in SMALL_OF_FAMILY.items() if "encoders" in settings]


def small(cls, **changes):
    """Return an estimator that is fitted within milliseconds, and learns nothing."""
    return _with_known(cls, SMALL | SMALL_OF_FAMILY.get(family(cls), {}) | changes)


def learning(cls, **changes):
    """Return an estimator that learns what is easy, in few epochs."""
    return _with_known(cls, LEARNING | LEARNING_OF_FAMILY.get(family(cls), {}) | changes)


def _with_known(cls, settings):
    known = inspect.signature(cls).parameters
    return cls(**{name: value for name, value in settings.items() if name in known})
