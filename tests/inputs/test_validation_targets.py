"""Targets and sample weights."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import DataConversionWarning

from sklearn_mmfusion._errors import FusionError
from sklearn_mmfusion._inputs.validation_targets import (
    check_same_classes,
    check_sample_weight,
    check_target,
)

N = 6
FLOATS = np.array([0.5, 1.5, -2.0, 0.1, 7.0, 3.0])


class Classifier(ClassifierMixin, BaseEstimator):
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class Regressor(RegressorMixin, BaseEstimator):
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class SingleLabel(ClassifierMixin, BaseEstimator):
    pass


class SingleOutput(RegressorMixin, BaseEstimator):
    pass


def labels(y, estimator=None, **kwargs):
    return check_target(
        y, estimator=estimator or Classifier(), classifier=True, n_samples=N, **kwargs
    )


def numbers(y, estimator=None, **kwargs):
    return check_target(
        y, estimator=estimator or Regressor(), classifier=False, n_samples=N, **kwargs
    )


E, T = ValueError, TypeError
BAD_LABELS = [
    ("47-none", None, E, "requires y to be passed, but the target y is None"),
    ("14-rows", [0, 1, 0], E, "X has 6 samples, y has 3"),
    ("48-continuous", FLOATS, E, "Unknown label type"),
    ("49-one-class", np.ones(N), E, "1 class"),
    ("50-nan", [0, 1, 0, 1, 0, np.nan], E, "Input y contains NaN"),
    ("50-nan-object", np.array([0, 1, 0, 1, 0, np.nan], object), E, "Input y contains NaN"),
    ("50-inf", [0, 1, 0, 1, 0, np.inf], E, "Input y contains infinity"),
    ("52-multioutput", np.arange(2 * N).reshape(N, 2) % 3, E, "multiclass-multioutput"),
    ("52-not-0-1", np.arange(2 * N).reshape(N, 2) % 2 + 1, E, "labels of a multilabel y are 0 or"),
    ("53-mixed-list", [1, "a"] * 3, T, "mixed types: int, str"),
    ("53-mixed-object", np.array([1, "a"] * 3, object), T, "mixed types: int, str"),
    ("53-none", np.array([None, "a"] * 3, object), T, "mixed types: NoneType, str"),
    ("object-bool", np.array([True, False] * 3, object), E, r"objects \(bool\).*y.astype\(bool\)"),
    ("object-int", pd.Series([0, 1] * 3, dtype=object), E, r"objects \(int\).*y.astype\(int\)"),
    ("named-sets", [{"a"}, {"b"}] * 3, E, r"objects \(set\).*MultiLabelBinarizer"),
    ("named-labels", [["a"], ["a", "b"], []] * 2, E, r"objects \(list\).*MultiLabelBinarizer"),
    ("0d", np.array(1), E, "1d array"),
    ("3d", np.ones((N, 2, 2)), E, r"y should be a 1d array, got an array of shape \(6, 2, 2\)"),
    ("no-column", np.ones((N, 0)), E, r"0 feature\(s\) \(shape=\(6, 0\)\) while a minimum of 1"),
    ("sparse", sparse.eye(N, format="csr"), T, "Sparse data was passed for y"),
]


@pytest.mark.parametrize(
    ("y", "error", "pattern"), [row[1:] for row in BAD_LABELS], ids=[r[0] for r in BAD_LABELS]
)
def test_check_target_bad_labels_raise(y, error, pattern):
    with pytest.raises(error, match=pattern) as caught:
        labels(y)
    assert isinstance(caught.value, FusionError)


BAD_NUMBERS = [
    ("47-none", None, E, "requires y to be passed, but the target y is None"),
    ("14-rows", FLOATS[:3], E, "X has 6 samples, y has 3"),
    ("50-nan", np.where(FLOATS > 5, np.nan, FLOATS), E, "Input y contains NaN"),
    ("50-inf", np.where(FLOATS > 5, np.inf, FLOATS), E, "Input y contains infinity"),
    ("text", list("abcdef"), E, "could not convert string to float"),
    ("complex", FLOATS * 1j, E, "Complex data not supported"),
    ("3d", np.ones((N, 2, 2)), E, "y should be a 1d array"),
]


@pytest.mark.parametrize(
    ("y", "error", "pattern"), [row[1:] for row in BAD_NUMBERS], ids=[r[0] for r in BAD_NUMBERS]
)
def test_check_target_bad_numbers_raise(y, error, pattern):
    with pytest.raises(error, match=pattern) as caught:
        numbers(y)
    assert isinstance(caught.value, FusionError)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (["no", "yes"] * 3, ["no", "yes"]),
        (np.array(["no", "yes"] * 3, object), ["no", "yes"]),
        (pd.Series(["no", "yes"] * 3), ["no", "yes"]),
        (pd.Series(["no", "yes"] * 3, dtype="category"), ["no", "yes"]),
        ([False, True] * 3, [False, True]),
        ([-1, 1] * 3, [-1, 1]),
        ([0.0, 1.0] * 3, [0.0, 1.0]),
        ([0, 2**62] * 3, [0, 2**62]),
        (torch.tensor([3, 8] * 3), [3, 8]),
        (pd.Series([1, 2] * 3, dtype="Int64"), [1, 2]),
    ],
)
def test_check_target_two_labels_are_binary(y, classes):
    schema, encoded = labels(y)
    assert (schema.kind, schema.n_outputs, schema.one_dimensional) == ("binary", 1, True)
    assert schema.classes.tolist() == classes
    assert encoded.dtype == np.int64
    np.testing.assert_array_equal(schema.classes[encoded], np.asarray(y))


def test_check_target_labels_with_gaps_are_multiclass():
    schema, encoded = labels([7, 0, 5, 5, 0, 7])
    assert (schema.kind, schema.n_outputs) == ("multiclass", 3)
    np.testing.assert_array_equal(schema.classes, [0, 5, 7])
    np.testing.assert_array_equal(encoded, [2, 0, 1, 1, 0, 2])


def test_check_target_column_of_labels_warns():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        schema, encoded = labels(np.arange(N).reshape(-1, 1) % 2)
    assert schema.kind == "binary" and encoded.shape == (N,)


@pytest.mark.parametrize("dtype", [int, float, bool])
def test_check_target_matrix_of_0_and_1_is_multilabel(dtype):
    y = np.eye(N, 3).astype(dtype)
    schema, encoded = labels(y)
    assert (schema.kind, schema.n_outputs, schema.one_dimensional) == ("multilabel", 3, False)
    np.testing.assert_array_equal(schema.classes, [0, 1, 2])
    assert encoded.dtype == np.float64
    np.testing.assert_array_equal(encoded, y)
    with pytest.raises(
        ValueError, match=r"not supported by SingleLabel.*MultiOutputClassifier\(Sin"
    ):
        labels(y, SingleLabel())


def test_check_target_given_classes_are_used():
    schema, encoded = labels([5, 0, 5, 0, 0, 5], classes=[9, 5, 0])
    assert schema.kind == "multiclass"
    np.testing.assert_array_equal(schema.classes, [0, 5, 9])
    np.testing.assert_array_equal(encoded, [1, 0, 1, 0, 0, 1])
    schema, encoded = labels(["b"] * N, classes=["a", "b"])
    np.testing.assert_array_equal(encoded, np.ones(N))
    with pytest.raises(ValueError, match=r"labels \[7\] that are not in classes \[0, 5\]"):
        labels([5, 0, 7, 0, 0, 5], classes=[0, 5])
    with pytest.raises(ValueError, match=r"3 labels \(columns\), but classes has 2"):
        labels(np.eye(N, 3), classes=[0, 1])
    with pytest.raises(ValueError, match="1 class"):
        labels(np.ones(N), classes=[1])


def test_check_target_shows_the_first_ten_of_many_labels():
    text = f"y has labels {list(range(10))} that are not in classes {list(range(50, 60))}"
    y = np.arange(11)
    with pytest.raises(ValueError, match=re.escape(text) + "$"):
        check_target(
            y, estimator=Classifier(), classifier=True, n_samples=11, classes=np.arange(50, 61)
        )


def test_target_schema_is_itself_alone_and_does_not_change():
    schema, other = labels([0, 1] * 3)[0], labels([0, 1] * 3)[0]
    assert schema != other
    assert len({schema, other}) == 2
    with pytest.raises(AttributeError):
        schema.kind = "regression"


def test_check_target_rows_of_weight_zero_are_left_out_of_the_classes():
    weights = np.array([1, 0, 1, 1, 0, 1.0])
    schema, encoded = labels([0, 9, 1, 0, 9, 1], sample_weight=weights)
    np.testing.assert_array_equal(schema.classes, [0, 1])
    np.testing.assert_array_equal(encoded, [0, 1, 0, 1])
    assert numbers(FLOATS, sample_weight=weights)[1].ravel().tolist() == [0.5, -2.0, 0.1, 3.0]


@pytest.mark.parametrize("kind", [list, pd.Series, torch.tensor, np.float32])
def test_check_target_numbers_become_a_float64_column(kind):
    schema, encoded = numbers(kind(FLOATS))
    assert (schema.kind, schema.classes, schema.n_outputs) == ("regression", None, 1)
    assert schema.one_dimensional
    assert encoded.dtype == np.float64
    np.testing.assert_allclose(encoded, FLOATS[:, None], rtol=1e-7)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_check_target_columns_of_numbers_are_outputs(n_outputs):
    y = pd.DataFrame(np.arange(N * n_outputs).reshape(N, n_outputs))
    schema, encoded = numbers(y)
    assert (schema.n_outputs, schema.one_dimensional) == (n_outputs, False)
    np.testing.assert_array_equal(encoded, y.to_numpy())


def test_check_target_columns_for_an_estimator_of_one_output():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        schema, _ = numbers(FLOATS.reshape(-1, 1), SingleOutput())
    assert schema.one_dimensional
    with pytest.raises(ValueError, match=r"y should be a 1d array, got an array of shape \(6, 2\)"):
        numbers(np.ones((N, 2)), SingleOutput())


@pytest.mark.parametrize(
    ("weights", "pattern"),
    [
        (np.ones(5), r"shape == \(5,\), expected \(6,\)"),
        (np.ones((N, 2)), r"must be 1D array or scalar, got an array of shape \(6, 2\)"),
        (np.ones((N, 2, 2)), r"must be 1D array or scalar, got an array of shape \(6, 2, 2\)"),
        ([], r"shape == \(0,\), expected \(6,\)"),
        ([1, 0, -0.5, 1, -2, 1], r"Negative values .*\(first in row 2\)"),
        (-np.ones(N), "Negative values"),
        ([1, 1, 1, 1, 1, np.nan], "NaN"),
        ([1, 1, 1, 1, 1, np.inf], "infinity"),
        (np.zeros(N), "at least one non-zero"),
        (-1.0, "Negative values"),
        (list("abcdef"), "could not convert string to float"),
    ],
)
def test_check_sample_weight_bad_weights_raise(weights, pattern):
    with pytest.raises(ValueError, match=pattern) as caught:
        check_sample_weight(weights, n_samples=N)
    assert isinstance(caught.value, FusionError)


@pytest.mark.parametrize(
    "kind", [list, np.float32, pd.Series, torch.tensor, lambda w: w], ids=lambda k: k.__name__
)
def test_check_sample_weight_becomes_float64(kind):
    weights = np.arange(N, dtype=float)
    checked = check_sample_weight(kind(weights), n_samples=N)
    assert checked.dtype == np.float64
    np.testing.assert_array_equal(checked, weights)


def test_check_sample_weight_none_and_number():
    assert check_sample_weight(None, n_samples=N) is None
    for number in (2, 0.5):
        weights = check_sample_weight(number, n_samples=N)
        np.testing.assert_array_equal(weights, np.full(N, float(number)))


@pytest.mark.parametrize(
    "values",
    [list("abcdef"), np.array(list("abcdef"), dtype=object), ["y", "sample_weight", *"abcd"]],
)
def test_texts_for_numbers_are_refused_by_the_name_of_the_argument(values):
    with pytest.raises(ValueError, match="^y: expected numbers, .*'[ay]'; pass numbers, or use a"):
        numbers(values)
    with pytest.raises(ValueError, match="^sample_weight: expected numbers, .*'[ay]'; pass one n"):
        check_sample_weight(values, n_samples=N)


def test_objects_for_numbers_are_refused_by_the_name_of_the_argument():
    with pytest.raises(TypeError, match="^sample_weight: expected numbers, .*'dict'; pass one"):
        check_sample_weight([{}] * N, n_samples=N)
    with pytest.raises(ValueError, match="^y: expected numbers, Complex data not supported"):
        numbers(FLOATS * 1j)
    with pytest.raises(ValueError, match="^Input sample_weight contains NaN"):
        check_sample_weight([np.nan] * N, n_samples=N)


def test_classes_of_a_later_call_are_those_of_the_first_or_an_error():
    first = labels([0, 5, 5, 0, 0, 5])[0]
    check_same_classes([5, 0, 5], first)
    pattern = r"^classes: expected the 2 labels .*, got 3 \(new: \[9\], missing: \[\]\).*last call"
    with pytest.raises(ValueError, match=pattern):
        check_same_classes([0, 5, 9], first)
    with pytest.raises(ValueError, match=r"got 1 \(new: \[\], missing: \[5\]\)"):
        check_same_classes([0], first)
    # The columns of a matrix of labels have no other name than their place.
    columns = labels(np.eye(N, 3), classes=["a", "b", "c"])[0]
    check_same_classes(["a", "b", "c"], columns)
    with pytest.raises(ValueError, match="expected the 3 labels .*, got 2: "):
        check_same_classes(["a", "b"], columns)
