"""The public checks: they pass a sound estimator, and each of them fails on a faulty one."""

import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from fleet import ESTIMATORS, small
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion import MKLClassifier, MNLRegressor, MRORegressor, RoutingClassifier
from sklearn_mmfusion.utils.estimator_checks import check_multimodal_estimator


class _ToyBase(BaseEstimator):
    """Least squares on all modalities side by side, with a fault that can be switched on."""

    def __init__(self, modalities=None, fault=None, random_state=None):
        self.modalities = modalities
        self.fault = fault
        self.random_state = random_state

    def _arrays(self, X):
        """Return name -> float array for every form of input."""
        if hasattr(X, "columns") and getattr(X.columns, "nlevels", 1) == 2:
            X = {name: X[name] for name in X.columns.get_level_values(0).unique()}
        elif self.modalities is not None:
            columns = list(getattr(X, "columns", range(X.shape[1])))
            matrix = np.asarray(X)
            X = {}
            for name, place in self.modalities.items():
                if not isinstance(place, slice):
                    place = [columns.index(column) for column in place]
                X[name] = matrix[:, place]
        # C order: the digits of a matrix product depend on the layout.
        arrays = {name: np.ascontiguousarray(np.asarray(X[name]), dtype=float) for name in X}
        rows = {name: len(array) for name, array in arrays.items()}
        if len(set(rows.values())) > 1:
            raise ValueError(f"different rows: {rows}")
        for name, array in arrays.items():
            if not np.isfinite(array).all() and self.fault != "no finite check":
                raise ValueError(f"{name} is not finite")
        return arrays

    def _fit(self, X, y):
        if self.fault == "fit writes X":
            next(iter(X.values()))[0] = 0.0
        if self.fault == "fit writes a parameter":
            self.random_state = 7
        if self.fault == "refuses float32" and any("float32" in str(v.dtype) for v in X.values()):
            raise ValueError("float32")
        if self.fault == "forgets state first":
            vars(self).pop("coef_", None)
        arrays = self._arrays(X)
        names = list(arrays) if self.fault == "key order" else sorted(arrays)
        if len(y) != len(arrays[names[0]]):
            raise ValueError("rows of X and y")
        target = y - y.mean()
        if self.fault == "global random state":
            target = target + 1e-9 * np.random.normal(size=len(y))  # noqa: NPY002
        if self.fault == "python random state":
            random.random()
        if self.fault == "torch random state":
            torch.rand(1)
        if self.fault == "not idempotent" and hasattr(self, "coef_"):
            target = 2 * target
        design = np.hstack([arrays[name] for name in names])
        if self.fault == "key order":
            design = design * np.arange(1, design.shape[1] + 1)
        gram = design.T @ design + np.eye(design.shape[1])
        self.coef_ = np.linalg.solve(gram, design.T @ target)
        self.mean_ = float(y.mean())
        self._names = names
        self._widths = {name: arrays[name].shape[1] for name in names}
        self.n_features_in_ = len(names) + (self.fault == "n_features_in_")
        self.feature_names_in_ = np.asarray(names, dtype=object)
        return self

    def _decision(self, X):
        check_is_fitted(self)
        if self.fault == "predict writes X":
            next(iter(X.values()))[0] = 0.0
        if self.fault == "predict adds an attribute":
            self.cache_ = 1
        arrays = self._arrays(X)
        names = list(arrays) if self.fault == "positions instead of names" else self._names
        if set(arrays) != set(names) and self.fault != "no name check":
            raise ValueError(f"expected {names}, got {list(arrays)}")
        for name in names if self.fault != "no width check" else ():
            if arrays[name].shape[1] != self._widths[name]:
                raise ValueError(f"{name}: {arrays[name].shape[1]} not {self._widths[name]}")
        design = np.hstack([arrays[name] for name in names])
        if self.fault == "key order":
            design = design * np.arange(1, design.shape[1] + 1)
        # Sums row by row, so that the digits do not depend on the batch.
        value = (design * self.coef_).sum(axis=1) + self.mean_
        if self.fault == "batch statistics":
            value = value - value.mean()
        if self.fault == "position of rows":
            value = value + np.arange(len(value))
        return value

    def __getstate__(self):
        state = super().__getstate__()
        if self.fault == "loses state":
            state = {name: value for name, value in state.items() if name != "coef_"}
        return state


class ToyRegressor(RegressorMixin, _ToyBase):
    def fit(self, X, y):
        return self._fit(X, np.asarray(y, dtype=float))

    def predict(self, X):
        return self._decision(X)


class ToyClassifier(ClassifierMixin, _ToyBase):
    def fit(self, X, y):
        classes, codes = np.unique(y, return_inverse=True)
        self._fit(X, codes.astype(float))
        self.classes_ = classes
        return self

    def decision_function(self, X):
        return self._decision(X) - 0.5

    def predict_proba(self, X):
        positive = 1 / (1 + np.exp(-self.decision_function(X)))
        return np.column_stack([1 - positive, positive])

    def predict(self, X):
        return self.classes_[(self.decision_function(X) > 0).astype(int)]


# Fault of the toy -> a check that must find it.
FAULTS = {
    "fit writes X": "check_fit_changes_nothing",
    "fit writes a parameter": "check_fit_changes_nothing",
    "predict writes X": "check_predict_changes_nothing",
    "predict adds an attribute": "check_predict_changes_nothing",
    "refuses float32": "check_float32",
    "key order": "check_key_order_in_fit",
    "positions instead of names": "check_key_order_in_predict",
    "no name check": "check_modality_names",
    "no width check": "check_feature_count",
    "no finite check": "check_failed_fit",
    "forgets state first": "check_failed_fit",
    "global random state": "check_global_random_state",
    "python random state": "check_global_random_state",
    "torch random state": "check_global_random_state",
    "not idempotent": "check_idempotent",
    "n_features_in_": "check_fit_attributes",
    "batch statistics": "check_subsets",
    "position of rows": "check_sample_order",
    "loses state": "check_pickle",
}
RANDOM_FAULTS = {"global random state", "python random state", "torch random state"}


@contextmanager
def restored_random_states():
    """Put the global generators back, which a faulty estimator moves."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])


@pytest.mark.parametrize("toy", [ToyClassifier(), ToyRegressor()], ids=["classifier", "regressor"])
def test_sound_estimator_passes_every_check(toy):
    results = check_multimodal_estimator(toy)
    assert {result["status"] for result in results} == {"passed"}
    assert all(result["exception"] is None for result in results)


@pytest.mark.parametrize("toy", [ToyClassifier(), ToyRegressor()], ids=["classifier", "regressor"])
def test_number_of_checks_is_as_promised(toy):
    results = check_multimodal_estimator(toy, on_fail=None)
    assert len(results) == 34
    assert len({result["check_name"] for result in results}) == 34


# They share all that can be at fault.
@pytest.mark.parametrize("toy", [ToyClassifier, pytest.param(ToyRegressor, marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_estimator_fails_the_check_for_its_fault(toy, fault):
    with restored_random_states():
        results = check_multimodal_estimator(toy(fault=fault), on_fail=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    assert FAULTS[fault] in failed


def test_estimator_without_any_support_fails_most_checks():
    class Deaf(RegressorMixin, BaseEstimator):
        def fit(self, X, y):
            raise RuntimeError("no")

    results = check_multimodal_estimator(Deaf(), on_fail=None)
    assert {result["status"] for result in results} == {"failed"}


def test_on_fail_raise_raises_the_failure_and_names_the_check():
    with pytest.raises(AssertionError, match="n_features_in_") as caught:
        check_multimodal_estimator(ToyRegressor(fault="n_features_in_"))
    assert any("check_fit_attributes" in note for note in caught.value.__notes__)


def test_checks_of_dataframes_are_skipped_without_pandas(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    results = check_multimodal_estimator(ToyRegressor(), on_fail=None)
    skipped = [result["check_name"] for result in results if result["status"] == "skipped"]
    assert skipped == ["check_dataframe_with_modalities", "check_multiindex_dataframe"]


def test_other_value_of_on_fail_is_refused():
    with pytest.raises(ValueError, match="on_fail"):
        check_multimodal_estimator(ToyRegressor(), on_fail="warn")


def test_estimator_is_not_changed():
    toy = ToyRegressor(modalities={"a": slice(0, 1)})
    before = dict(vars(toy))
    check_multimodal_estimator(toy, on_fail=None)
    assert vars(toy) == before


# What the settings of the discovered ones leave out.
VARIANTS = [
    MKLClassifier(p=2, kernel="linear", interactions=2),
    MRORegressor(schedule="sequential", max_epochs=2),
    RoutingClassifier(max_epochs=2),
    MNLRegressor(max_epochs=2, encoders="auto", missing="mask"),
]
FAST = {"LateFusionClassifier", "MKLRegressor"}


@pytest.mark.parametrize(
    "estimator",
    [
        *[
            pytest.param(
                small(cls),
                id=cls.__name__,
                marks=() if cls.__name__ in FAST else pytest.mark.slow,
            )
            for cls in ESTIMATORS
        ],
        *[pytest.param(model, id=repr(model), marks=pytest.mark.slow) for model in VARIANTS],
    ],
)
def test_every_public_estimator_passes_every_check(estimator):
    results = check_multimodal_estimator(estimator, on_fail=None)
    assert {r["check_name"]: r["exception"] for r in results if r["status"] != "passed"} == {}
    assert len(results) == 34
