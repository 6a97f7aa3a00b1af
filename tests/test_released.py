"""What a fit no longer needs is gone when it returns: rows and weights may fill a GPU."""

import gc

import numpy as np
import pytest
import torch
from fleet import ALL_ESTIMATORS, JOINT, family, small
from sklearn.base import is_classifier

from sklearn_mmfusion import InTenseClassifier

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion.RelevanceWarning"),
]

N = 40
RNG = np.random.default_rng(0)
FLAT = {name: RNG.normal(size=(N, 4)) for name in "ab"}
LABELS = np.arange(N) % 2


@pytest.fixture(scope="module")
def no_old_objects():
    """Leave what was there before out of what is looked through."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def no_collector(no_old_objects):
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _n_tensors():
    return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())


def _use(estimator, X, y):
    estimator.fit(X, y).predict(X)


@pytest.mark.parametrize("cls", ALL_ESTIMATORS, ids=lambda cls: cls.__name__)
def test_a_fit_leaves_no_tensor_for_the_collector(cls, no_collector):
    changes = {"modality": "a"} if family(cls) == "Unimodal" else {}
    X = FLAT
    if family(cls) in JOINT:
        X = {name: values[:, None].repeat(3, 1) for name, values in FLAT.items()}
    y = LABELS if is_classifier(cls()) else FLAT["a"][:, 0]
    _use(small(cls, **changes), X, y)  # fills what torch keeps of its own
    before = _n_tensors()
    _use(small(cls, **changes), X, y)
    assert _n_tensors() == before


@pytest.mark.parametrize(
    "changes", [{"n_bags": 2}, {"batch_size": 15}, {"checkpoint": True}], ids=str
)
@pytest.mark.slow
def test_nor_does_one_in_parts(changes, no_collector, tmp_path):
    if "checkpoint" in changes:
        changes = {"checkpoint": tmp_path / "fit"}
    params = {"max_epochs": 2, "random_state": 0} | changes
    _use(InTenseClassifier(**params), FLAT, LABELS)
    before = _n_tensors()
    _use(InTenseClassifier(**params), FLAT, LABELS)
    assert _n_tensors() == before


def test_partial_fit_keeps_what_it_goes_on_with_alone(no_collector):
    before = _n_tensors()
    est = small(InTenseClassifier)
    for _ in range(3):
        est.partial_fit(FLAT, LABELS)
    assert _n_tensors() > before
    del est
    assert _n_tensors() == before
