"""Bad input to every public estimator: the error, its text, and a fitted state that stays.

Each test takes one row of the catalogue through all estimators and collects what is wrong.
"""

import copy
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from bad_inputs import (
    BAD,
    BAD_2D,
    BAD_AT_FIT,
    BAD_AT_PREDICT,
    BAD_PARAMETERS,
    BAD_TARGETS,
    BAD_WEIGHTS,
    COLUMNS,
    MULTILABEL,
    Y_CLASS,
    Y_REAL,
    N,
    good,
    matrix,
    put,
)
from fleet import CLASSIFIERS, ESTIMATORS, JOINT, family, small
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.utils import get_tags
from skorch.helper import SliceDict

from sklearn_mmfusion import FusionError, LinearEncoder, ModalityFrame

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
    pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Casting complex"),
    pytest.mark.filterwarnings("ignore:X is a 2D array and modalities=None:UserWarning"),
]

# Methods of a fitted estimator that take X, and those of them that take y.
METHODS = [
    "predict",
    "predict_proba",
    "decision_function",
    "score",
    "contributions",
    "routing_coefficients",
    "activations",
    "explain_global",
    "explain_local",
    "partial_fit",
    "transform",
    "relevance_scores",
]
WITH_TARGET = {"score", "partial_fit", "relevance_scores"}


def target(cls):
    return Y_CLASS if cls in CLASSIFIERS else Y_REAL


class Fitted:
    """Estimators fitted once, and whether they are still what they were."""

    def __init__(self, X, **changes):
        self.X, self.models, self.states = X, {}, {}
        for cls in ESTIMATORS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = small(cls, **changes).fit(X, target(cls))
            outputs = model.predict(X)
            self.models[cls] = model
            self.states[cls] = pickle.dumps(model), outputs

    def changed(self, cls):
        """Say whether a state has changed, and forget it."""
        state, _ = self.states[cls]
        if pickle.dumps(self.models[cls]) == state:
            return []
        self.models[cls] = pickle.loads(state)
        return ["state"]

    def check_predictions(self):
        """Check at the end that equal states predict as before, whatever else they hold."""
        changed = [
            cls.__name__
            for cls, (_, outputs) in self.states.items()
            if not np.array_equal(self.models[cls].predict(self.X), outputs)
        ]
        assert changed == []


@pytest.fixture(scope="module")
def fitted():
    models = Fitted(good())
    yield models
    models.check_predictions()


@pytest.fixture(scope="module")
def fitted_matrix():
    models = Fitted(matrix(), modalities=COLUMNS)
    yield models
    models.check_predictions()


def fault(call, error, pattern, own=True):
    """Return what is wrong with the error of a call, None if nothing is."""
    try:
        call()
    except Exception as caught:
        if not isinstance(caught, error):
            return f"raised {caught!r}, not a {error.__name__}"
        if own and not isinstance(caught, FusionError):
            return f"{caught!r} is not of the package"
        if not re.search(pattern, str(caught), re.DOTALL):
            return f"says {str(caught)!r}"
        return None
    return "raised nothing"


def rows(table):
    return pytest.mark.parametrize("row", [row[1:] for row in table], ids=[row[0] for row in table])


def methods_of(model):
    return [name for name in METHODS if hasattr(model, name)]


def call(model, name, X, y):
    """Call a method of a fitted model."""
    return getattr(model, name)(X, y) if name in WITH_TARGET else getattr(model, name)(X)


# -- X ----------------------------------------------------------------------------------------


@rows(BAD + BAD_AT_FIT)
def test_fit_refuses_and_keeps_the_fitted_state(row, fitted):
    build, error, pattern = row
    faults = {}
    for cls, model in fitted.models.items():
        said = fault(lambda m=model, c=cls: m.fit(build(), target(c)), error, pattern)
        faults[cls.__name__] = [*([said] if said else []), *fitted.changed(cls)]
    assert {name: found for name, found in faults.items() if found} == {}


@rows(BAD + BAD_AT_PREDICT)
def test_every_method_refuses_and_keeps_the_fitted_state(row, fitted):
    build, error, pattern = row
    faults = {}
    for cls, model in fitted.models.items():
        y = target(cls)
        for name in methods_of(model):
            X = build()
            if X is None and name == "explain_global":
                continue  # the training rows
            said = fault(lambda m=model, n=name, X=X, y=y: call(m, n, X, y), error, pattern)
            if said:
                faults[f"{cls.__name__}.{name}"] = said
        if changed := fitted.changed(cls):
            faults[cls.__name__] = changed
    assert faults == {}


@pytest.mark.parametrize("modalities", [None, COLUMNS], ids=["one modality", "columns"])
@rows(BAD_2D)
def test_fit_refuses_matrices_and_keeps_the_fitted_state(row, modalities, fitted_matrix):
    build, error, pattern = row
    faults = {}
    for cls, model in fitted_matrix.models.items():
        before = model.modalities
        model.set_params(modalities=modalities)
        said = fault(lambda m=model, c=cls: m.fit(build(), target(c)), error, pattern)
        model.set_params(modalities=before)
        faults[cls.__name__] = [*([said] if said else []), *fitted_matrix.changed(cls)]
    assert {name: found for name, found in faults.items() if found} == {}


def test_every_method_refuses_a_mapping_after_a_matrix(fitted_matrix):
    faults = {}
    for cls, model in fitted_matrix.models.items():
        for name in methods_of(model):
            said = fault(
                lambda m=model, n=name, c=cls: call(m, n, good(), target(c)),
                ValueError,
                "fitted on a 2D array with 10 columns, but got a mapping",
            )
            if said:
                faults[f"{cls.__name__}.{name}"] = said
        if changed := fitted_matrix.changed(cls):
            faults[cls.__name__] = changed
    assert faults == {}


def test_every_method_refuses_other_names_of_columns():
    X = good(audio=pd.DataFrame(good()["audio"], columns=list("abcd")))
    fitted = Fitted(X)
    faults = {}
    for columns, words in [
        ("abcx", "unseen: .'x'"),
        ("bacd", "in the same order, .'a', 'b', 'c', 'd'."),
    ]:
        other = good(audio=pd.DataFrame(good()["audio"], columns=list(columns)))
        for cls, model in fitted.models.items():
            for name in methods_of(model):
                said = fault(
                    lambda m=model, n=name, c=cls, o=other: call(m, n, o, target(c)),
                    ValueError,
                    f"modality 'audio': The feature names should match.*{words}",
                )
                if said:
                    faults[f"{cls.__name__}.{name}"] = said
            if changed := fitted.changed(cls):
                faults[cls.__name__] = changed
    assert faults == {}
    fitted.check_predictions()


def test_float32_refuses_what_it_cannot_hold():
    X = good(audio=put(1e300))
    known = [cls for cls in ESTIMATORS if "dtype" in small(cls).get_params()]
    pattern = r"modality 'audio': .*too large for dtype\('float32'\).*row 2"
    faults = {
        cls.__name__: said
        for cls in known
        if (
            said := fault(
                lambda c=cls: small(c, dtype="float32").fit(X, target(c)), ValueError, pattern
            )
        )
    }
    assert known and faults == {}


def test_a_sequence_for_an_encoder_of_flat_features_says_so():
    known = [cls for cls in ESTIMATORS if "encoders" in small(cls).get_params()]
    known = [cls for cls in known if family(cls) not in JOINT]
    faults = {
        cls.__name__: said
        for cls in known
        if (
            said := fault(
                lambda c=cls: small(c, encoders=LinearEncoder()).fit(good(), target(c)),
                ValueError,
                r"modality '(text|all modalities)': .*dim 3.*flatten or encode first",
            )
        )
    }
    assert known and faults == {}


# -- y and weights ------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [r[1:] for r in BAD_TARGETS], ids=[r[0] for r in BAD_TARGETS])
def test_fit_refuses_targets_and_keeps_the_fitted_state(row, fitted):
    for_classifier, for_regressor, error, pattern = row
    faults = {}
    for cls, model in fitted.models.items():
        y = for_classifier if cls in CLASSIFIERS else for_regressor
        if y is None:
            continue
        y = None if isinstance(y, str) else y
        said = fault(lambda m=model, y=y: m.fit(good(), y), error, pattern)
        faults[cls.__name__] = [*([said] if said else []), *fitted.changed(cls)]
    assert {name: found for name, found in faults.items() if found} == {}


def test_several_labels_are_refused_where_they_are_not_supported(fitted):
    faults = {}
    for cls, model in fitted.models.items():
        if cls not in CLASSIFIERS or get_tags(model).classifier_tags.multi_label:
            continue
        said = fault(lambda m=model: m.fit(good(), MULTILABEL), ValueError, "multilabel-indicator")
        faults[cls.__name__] = [*([said] if said else []), *fitted.changed(cls)]
    assert faults
    assert {name: found for name, found in faults.items() if found} == {}


@pytest.mark.parametrize("row", [r[1:] for r in BAD_WEIGHTS], ids=[r[0] for r in BAD_WEIGHTS])
def test_fit_refuses_weights_and_keeps_the_fitted_state(row, fitted):
    weights, pattern = row
    faults = {}
    for cls, model in fitted.models.items():
        said = fault(
            lambda m=model, c=cls: m.fit(good(), target(c), sample_weight=weights),
            ValueError,
            pattern,
        )
        faults[cls.__name__] = [*([said] if said else []), *fitted.changed(cls)]
    assert {name: found for name, found in faults.items() if found} == {}


# -- parameters and order of calls ----------------------------------------------------------------


@pytest.mark.parametrize("row", [r[1:] for r in BAD_PARAMETERS], ids=[r[0] for r in BAD_PARAMETERS])
def test_fit_refuses_parameters_and_keeps_the_fitted_state(row, fitted):
    parameters, error, pattern = row
    X = matrix() if "modalities" in parameters else good()
    faults = {}
    for cls, model in fitted.models.items():
        known = model.get_params()
        if not set(parameters) <= set(known):
            continue
        before = {name: known[name] for name in parameters}
        model.set_params(**parameters)
        own = "' parameter" not in pattern  # scikit-learn raises InvalidParameterError
        said = fault(lambda m=model, c=cls: m.fit(X, target(c)), error, pattern, own)
        model.set_params(**before)
        faults[cls.__name__] = [*([said] if said else []), *fitted.changed(cls)]
    assert faults
    assert {name: found for name, found in faults.items() if found} == {}


def test_unknown_parameters_are_refused():
    faults = {}
    for cls in ESTIMATORS:
        said = fault(
            lambda c=cls: small(c).set_params(typo=1), ValueError, "Invalid parameter 'typo'", False
        )
        if said:
            faults[cls.__name__] = said
    assert faults == {}


def test_every_method_needs_a_fit():
    faults = {}
    for cls in ESTIMATORS:
        model = small(cls)
        for name in methods_of(model):
            if name == "partial_fit":
                continue
            X = None if name == "explain_global" else good()
            said = fault(
                lambda m=model, n=name, c=cls, X=X: call(m, n, X, target(c)),
                NotFittedError,
                "not fitted yet",
                False,
            )
            if said:
                faults[f"{cls.__name__}.{name}"] = said
    assert faults == {}


# -- what must work -------------------------------------------------------------------------------


def as_memmap(X, directory):
    mapped = {}
    for name, values in X.items():
        values.tofile(directory / name)
        mapped[name] = np.memmap(directory / name, mode="r", shape=values.shape, dtype=values.dtype)
    return mapped


def read_only(X):
    for values in X.values():
        values.flags.writeable = False
    return X


# The same data in other forms; every one gives the bits of good().
ACCEPTED = {
    "11-order": lambda X, _: dict(reversed(X.items())),
    "34-objects": lambda X, _: {name: values.astype(object) for name, values in X.items()},
    "40-tensors": lambda X, _: {name: torch.tensor(values) for name, values in X.items()},
    "41-gradients": lambda X, _: {k: torch.tensor(v, requires_grad=True) for k, v in X.items()},
    "43-read-only": lambda X, _: read_only(X),
    "43-memmap": as_memmap,
    "43-fortran": lambda X, _: {name: np.asfortranarray(values) for name, values in X.items()},
    "43-strides": lambda X, _: {name: values[::-1].copy()[::-1] for name, values in X.items()},
    "lists": lambda X, _: {name: values.tolist() for name, values in X.items()},
    "ModalityFrame": lambda X, _: ModalityFrame(X),
    "SliceDict": lambda X, _: SliceDict(**X),
    "values in a frame": lambda X, _: X | {"audio": pd.DataFrame(X["audio"])},
}


@pytest.mark.parametrize("form", ACCEPTED)
def test_every_method_takes_other_forms(form, fitted, tmp_path):
    X = ACCEPTED[form](good(), tmp_path)
    faults = []
    for cls, model in fitted.models.items():
        if not np.array_equal(model.predict(X), fitted.states[cls][1]):
            faults.append(cls.__name__)
    assert faults == []


@pytest.mark.parametrize("form", ["11-order", "34-objects", "41-gradients", "43-memmap"])
def test_fit_takes_other_forms(form, fitted, tmp_path):
    X = ACCEPTED[form](good(), tmp_path)
    modalities = list(good()) if form == "11-order" else None
    faults = []
    for cls in ESTIMATORS:
        model = small(cls, modalities=modalities).fit(X, target(cls))
        if not np.array_equal(model.predict(good()), fitted.states[cls][1]):
            faults.append(cls.__name__)
    assert faults == []


def test_names_may_be_those_of_attributes():
    for cls in ESTIMATORS:
        X = dict(zip(["keys", "forward"], good().values(), strict=True))
        assert small(cls).fit(X, target(cls)).predict(X).shape == (N,), cls.__name__


def test_one_array_under_two_names_and_changes_by_the_caller(fitted):
    for cls in ESTIMATORS:
        values = good()["audio"]
        X = {"one": values, "two": values}
        model = small(cls).fit(X, target(cls))
        before = model.predict(X)
        kept = copy.deepcopy(X)
        values[:] = 7.0
        np.testing.assert_array_equal(model.predict(kept), before, err_msg=cls.__name__)


@pytest.mark.parametrize(
    "labels",
    [["no", "yes"], [False, True], [-1, 1], [10**15, 10**15 + 1], [5, 0]],
    ids=str,
)
def test_labels_come_back_as_they_were(labels):
    y = np.array(labels)[Y_CLASS]
    for cls in CLASSIFIERS:
        model = small(cls).fit(good(), y)
        predicted = model.predict(good())
        assert set(predicted) <= set(labels), cls.__name__
        np.testing.assert_array_equal(model.classes_, np.unique(y), err_msg=cls.__name__)
        assert predicted.dtype == y.dtype, cls.__name__


def test_a_column_of_labels_warns():
    for cls in CLASSIFIERS:
        with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
            model = small(cls).fit(good(), Y_CLASS[:, None])
        assert model.predict(good()).shape == (N,), cls.__name__


def test_columns_of_probabilities_follow_the_classes_of_the_fold():
    y = np.array([0, 5, 7, 0, 5, 7, 0, 5])
    some = np.flatnonzero(y != 5)
    X = {name: values[some] for name, values in good().items()}
    for cls in CLASSIFIERS:
        model = small(cls).fit(X, y[some])
        np.testing.assert_array_equal(model.classes_, [0, 7], err_msg=cls.__name__)
        if hasattr(model, "predict_proba"):
            assert model.predict_proba(good()).shape == (N, 2), cls.__name__


def test_one_row_alone_is_the_row_in_a_batch(fitted):
    for cls, model in fitted.models.items():
        for name in ("predict", "decision_function", "predict_proba", "contributions"):
            if not hasattr(model, name):
                continue
            together = getattr(model, name)(good())
            alone = getattr(model, name)({k: v[3:4] for k, v in good().items()})
            np.testing.assert_allclose(
                alone[0], together[3], rtol=1e-7, atol=1e-12, err_msg=f"{cls.__name__}.{name}"
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    "cls", [cls for cls in ESTIMATORS if family(cls) not in JOINT], ids=lambda cls: cls.__name__
)
def test_a_million_features_in_five_rows(cls):
    X = {"wide": np.random.default_rng(0).normal(size=(5, 1_000_000)), "audio": np.eye(5)}
    encoders = LinearEncoder(output_dim=2)
    model = small(cls, encoders=encoders, early_stopping=False).fit(X, target(cls)[:5])
    assert model.predict(X).shape == (5,)
