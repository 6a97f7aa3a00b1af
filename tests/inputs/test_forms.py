"""What is a form of X, and what is said of a table that is none.

That every estimator refuses the catalogue of bad input is in ``test_bad_input.py``; here it goes
through the check alone.
"""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from bad_inputs import BAD_2D, BAD_AT_PREDICT, COLUMNS, good, matrix
from sklearn.base import BaseEstimator

from sklearn_mmfusion._errors import FusionError, InputError, InputTypeError
from sklearn_mmfusion._inputs.forms import as_known_form
from sklearn_mmfusion._inputs.validation import check_fit_inputs, check_X, set_input_attributes


class Estimator(BaseEstimator):
    """The part of an estimator that the check looks at."""


def fitted(X, **how):
    """Return an estimator with the attributes of a fit, and its schema."""
    est = Estimator()
    schema, _ = check_X(X, estimator=est, **how)
    set_input_attributes(est, schema)
    return est, schema


@pytest.mark.filterwarnings("ignore:X is a 2D array and modalities=None:UserWarning")
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("modalities", [None, COLUMNS], ids=["one modality", "columns"])
@pytest.mark.parametrize("row", [row[1:] for row in BAD_2D], ids=[row[0] for row in BAD_2D])
def test_catalogue_of_bad_tables_is_refused_by_the_check_alone(row, modalities):
    build, error, pattern = row
    with pytest.raises(error, match=re.compile(pattern, re.DOTALL)) as caught:
        check_X(build(), estimator=Estimator(), modalities=modalities)
    assert isinstance(caught.value, FusionError)


@pytest.mark.parametrize(
    "row", [row[1:] for row in BAD_AT_PREDICT], ids=[row[0] for row in BAD_AT_PREDICT]
)
def test_catalogue_of_faults_after_a_fit_is_refused_by_the_check_alone(row):
    build, error, pattern = row
    est, schema = fitted(good())
    with pytest.raises(error, match=re.compile(pattern, re.DOTALL)) as caught:
        check_X(build(), estimator=est, schema=schema)
    assert isinstance(caught.value, FusionError)


@pytest.mark.parametrize(
    "X", [np.float64(3), np.str_("a"), b"a", 3, object()], ids=lambda X: type(X).__name__
)
def test_single_values_are_no_form_of_X(X):
    with pytest.raises(InputTypeError, match=f"2D array, got {type(X).__name__}"):
        as_known_form(X)


def test_list_of_rows_is_a_table_and_one_of_tables_is_not():
    for rows in ([np.ones(3), np.ones(3)], [[1, 2], [3, 4]], [torch.ones(2)] * 2):
        assert as_known_form(rows) is rows
    with pytest.raises(InputTypeError, match="name the modalities"):
        as_known_form([np.ones(3), np.ones((3, 1))])


def test_columns_without_levels_have_one():
    class Frame:
        columns = ("a", "b")
        dtypes = iloc = None
        shape = (3, 2)

    frame = Frame()
    assert as_known_form(frame) is frame


def test_table_of_several_dtypes_is_read_by_modality():
    frame = pd.DataFrame(
        {"a": np.ones(3, np.float32), "b": np.ones(3), "c": np.eye(3, dtype=bool)[0]}
    )
    spec = {"one": ["a"], "two": ["b"], "three": ["c"]}
    schema, data = check_X(frame, estimator=Estimator(), modalities=spec)
    assert [layout.dtype for layout in schema.layouts] == ["float32", "float64", "bool"]
    assert [block.values.dtype for block in data.blocks] == ["float32", "float64", "bool"]


@pytest.mark.parametrize("is_frame", [False, True], ids=["array", "frame"])
def test_table_with_missing_rows_is_read_after_the_fit_too(is_frame):
    X = matrix()
    X[3, 6:] = np.nan
    X = pd.DataFrame(X, columns=list("abcdefghij")) if is_frame else X
    est, schema = fitted(X, modalities=COLUMNS, missing="mask")
    data = check_X(X, estimator=est, missing="mask", schema=schema)[1]
    np.testing.assert_array_equal(data.blocks[1].present, np.arange(8) != 3)


def test_fault_of_a_table_names_the_modality_where_there_are_some():
    X = matrix()
    X[2, 7] = np.nan
    with pytest.raises(InputError, match=r"^modality 'audio': contains NaN"):
        check_X(X, estimator=Estimator(), modalities=COLUMNS)
    with (
        pytest.warns(UserWarning, match="ONE modality"),
        pytest.raises(InputError, match="^Input X contains NaN"),
    ):
        check_X(X, estimator=Estimator())


def test_modalities_of_different_numbers_of_rows_are_refused_with_the_numbers():
    with pytest.raises(InputError, match="different numbers of samples: text: 8, audio: 7$"):
        check_X(good(audio=np.ones((7, 4))), estimator=Estimator())


def test_warning_of_one_modality_is_that_of_the_caller():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_fit_inputs(Estimator(), matrix(), np.arange(8), None, classifier=False)
    (warning,) = caught
    assert warning.filename == __file__


def test_modalities_of_a_mapping_are_a_list_of_names():
    for wrong in ("text", {"text": 0}, {"text"}, 3):
        with pytest.raises(InputTypeError, match=f"list of their names.*{type(wrong).__name__}"):
            check_X(good(), estimator=Estimator(), modalities=wrong)


def test_table_of_sequences_alone_is_no_table():
    frame = pd.DataFrame({"steps": [np.eye(2)] * 4})
    with pytest.raises(InputError, match=r"column 'steps' holds sequences; pass a mapping"):
        check_X(frame, estimator=object())
    _, data = check_X(frame, estimator=object(), modalities={"s": ["steps"]})
    assert data.blocks[0].values.shape == (4, 2, 2)


def test_series_and_none_are_refused_with_the_remedy():
    with pytest.raises(
        InputError, match=r"modality 'audio': Expected 2D.*; of a Series: .to_frame\(\)"
    ):
        check_X(good(audio=pd.Series(np.ones(8))), estimator=Estimator())
    with pytest.raises(InputTypeError, match=r"modality 'audio': .*NoneType.*\[None\] \* n_rows"):
        check_X(good(audio=None), estimator=Estimator())


def test_one_sample_is_refused_with_both_remedies():
    X = {"flat": np.ones((3, 4)), "steps": np.ones((3, 5, 2))}
    schema, _ = check_X(X, estimator=object())
    one = {name: value[0] for name, value in X.items()}
    with pytest.raises(InputError) as caught:
        check_X(one, estimator=object(), schema=schema)
    flat, steps = str(caught.value).split("\n")
    assert "reshape(-1, 1) if the modality has a single feature" in flat
    assert "reshape(1, -1) if it contains a single sample" in flat
    assert "one sample is array[None]" in steps
    fixed = {"flat": one["flat"].reshape(1, -1), "steps": one["steps"][None]}
    assert check_X(fixed, estimator=object(), schema=schema)[1].n_samples == 1
