"""The values of one modality, in every form that a user has them in.

That every estimator refuses the catalogue of bad input is in ``test_bad_input.py``; here it goes
through the check alone.
"""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from bad_inputs import BAD, BAD_AT_FIT

from sklearn_mmfusion._errors import FusionError, InputError, InputTypeError
from sklearn_mmfusion._inputs.modality_values import as_numbers, column_names
from sklearn_mmfusion._inputs.validation import check_X

NAN = np.nan


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.filterwarnings("ignore:Casting complex")
@pytest.mark.parametrize("row", [row[1:] for row in BAD + BAD_AT_FIT], ids=lambda row: row[2][:40])
def test_catalogue_of_bad_input_is_refused_by_the_check_alone(row):
    build, error, pattern = row
    with pytest.raises(error, match=re.compile(pattern, re.DOTALL)) as caught:
        check_X(build(), estimator=object())
    assert isinstance(caught.value, FusionError)


def same(found, expected, dtype=np.float64):
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.asarray(expected, dtype=dtype))


# Lists of rows


@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize("absent", [None, NAN, pd.NA], ids=["None", "NaN", "NA"])
@pytest.mark.parametrize("shape", [(2,), (3, 2), (2, 3, 2)], ids=["flat", "sequence", "image"])
def test_row_without_value_among_rows_of_one_shape_is_nan(shape, absent, where):
    rows = [np.full(shape, 1), np.full(shape, 2)]
    rows.insert(where, absent)
    expected = np.insert(np.stack([np.full(shape, 1.0), np.full(shape, 2.0)]), where, NAN, axis=0)
    same(as_numbers(rows), expected)


@pytest.mark.parametrize("row", [[], np.empty((0,)), np.empty((0, 2))], ids=["list", "1d", "2d"])
def test_empty_row_among_sequences_is_missing(row):
    full = np.ones((2, 2))
    same(as_numbers([full, row]), [full, np.full((2, 2), NAN)])
    same(as_numbers([np.ones((1, 2)), full, row])[1:], [full, np.full((2, 2), NAN)])


def test_empty_row_among_images_is_missing():
    full = np.ones((2, 3, 2))
    same(as_numbers([full, np.empty((0, 3, 2))]), [full, np.full((2, 3, 2), NAN)])


def test_empty_row_among_flat_ones_is_a_row_of_another_length():
    with pytest.raises(InputError, match=r"rows of different length \(0 to 2\)"):
        as_numbers([[], [1, 2]])


def test_lengths_in_the_message_are_the_first_axes_from_shortest_to_longest():
    with pytest.raises(InputError, match=r"rows of different length \(1 to 3\)"):
        as_numbers([[1, 2], [1, 2, 3], [1]])
    with pytest.raises(InputError, match=r"rows of different length \(3 to 5\)"):
        as_numbers([np.ones((5, 2)), np.ones((3, 2, 2))])
    with pytest.raises(InputError, match=r"rows of different length \(0 to 2\)"):
        as_numbers([np.array(1.0), np.ones(2)])


def test_row_with_another_number_of_features_is_named():
    rows = [np.ones((3, 5)), None, np.ones((2, 5)), np.ones((4, 6))]
    with pytest.raises(InputError, match=r"expected 5 in every row.*got 6 in row 3 \(shape \(4, 6"):
        as_numbers(rows)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.float32])
def test_rows_of_one_shape_keep_their_dtype(dtype):
    rows = [np.ones((3, 2), dtype), np.zeros((3, 2), dtype)]
    same(as_numbers(rows), np.stack(rows), dtype)


def test_tensors_in_a_list_may_ask_for_gradients():
    row = torch.ones(3, 2, requires_grad=True)
    same(as_numbers([None, row, row])[1:], np.ones((2, 3, 2)), np.float32)
    same(as_numbers([row, row]), np.ones((2, 3, 2)), np.float32)


def test_masked_rows_of_a_list_are_refused_like_masked_arrays():
    row = np.ma.masked_array(np.ones((3, 2)), mask=np.eye(3, 2, dtype=bool))
    with pytest.raises(InputError, match="masked arrays are not supported"):
        as_numbers([row, row])


def test_no_rows_are_an_empty_array():
    assert as_numbers([]).shape == (0,)


# Arrays


def test_masked_array_without_a_mask_is_an_array():
    found = as_numbers(np.ma.masked_array(np.ones((3, 2))))
    assert type(found) is np.ndarray
    same(found, np.ones((3, 2)))


def test_raw_bytes_are_no_numbers():
    with pytest.raises(InputError, match="structured array"):
        as_numbers(np.zeros((3, 2), "V4"))


def test_pandas_na_among_objects_is_nan_and_the_rest_keeps_its_value():
    same(as_numbers(np.array([[1, pd.NA], [2, 3]], dtype=object)), [[1, NAN], [2, 3]])
    same(as_numbers(np.array([[1, 4], [2, 3]], dtype=object)), [[1, 4], [2, 3]])


# Frames


def test_frame_of_all_kinds_of_numbers_takes_the_smallest_dtype_that_holds_them():
    frame = pd.DataFrame(
        {
            "b": np.array([True, False]),
            "i": np.array([1, -2], np.int8),
            "u": np.array([3, 4], np.uint8),
            "f": np.array([0.5, 6], np.float32),
        }
    )
    same(as_numbers(frame), [[1, 1, 3, 0.5], [0, -2, 4, 6]], np.float32)


def test_frame_without_columns_has_no_features():
    assert as_numbers(pd.DataFrame(index=range(3))).shape == (3, 0)


def test_names_of_columns_that_are_only_partly_text_are_refused_with_their_types():
    with pytest.raises(InputTypeError, match=r"\['int', 'str'\] as feature name"):
        column_names(pd.DataFrame(np.ones((2, 2)), columns=["a", 1]))
    assert column_names(pd.DataFrame(np.ones((2, 2)))) is None


# What a message says of strings


def test_strings_in_a_frame_are_refused_with_their_columns_and_the_remedy():
    table = pd.DataFrame({"age": [30.0, 50.0], "ward": ["A", "B"], "sex": ["f", "m"]})
    with pytest.raises(InputError, match=r"'A' in columns 'ward', 'sex' .*OneHotEncoder"):
        as_numbers(table)
    with pytest.raises(InputError, match=r"'A' in column 'ward' \(strings"):
        as_numbers(table[["age", "ward"]].astype({"ward": "category"}))
    with pytest.raises(InputError, match=r"'a night' \(strings .*TfidfVectorizer"):
        as_numbers(["a night", "a day"])


@pytest.fixture
def pl():
    return pytest.importorskip("polars")  # it sets an environment variable when it is imported


def test_columns_of_polars_are_named_too(pl):
    table = pl.DataFrame({"age": [30.0, 50.0], "ward": ["A", "B"]})
    with pytest.raises(InputError, match=r"'A' in column 'ward' \(strings .*by .astype\(float\)"):
        as_numbers(table)
    gaps = pl.DataFrame({"age": [30.0, 50.0], "crp": [None, 1.0]})
    with pytest.raises(InputError, match=r"contains NaN \(1 value.*row 0, in column 'crp'\)"):
        check_X({"lab": gaps}, estimator=object())


def test_modality_that_is_absent_altogether_is_refused_with_the_remedy():
    X = {"text": np.ones((4, 2)), "audio": np.ones((4, 3))}
    schema, _ = check_X(X, estimator=object())
    with pytest.raises(InputError, match=r"missing: \['text'\].*Rows of NaN stand for"):
        check_X({"audio": X["audio"]}, estimator=object(), schema=schema, missing="mask")
    with pytest.raises(InputError) as caught:
        check_X({"audio": X["audio"]}, estimator=object(), schema=schema)
    assert "NaN" not in str(caught.value)


@pytest.mark.parametrize("dtype", [None, object])
@pytest.mark.parametrize("kind", [pd.to_datetime, lambda days: pd.to_timedelta(days, unit="D")])
def test_columns_of_dates_and_durations_are_named(kind, dtype):
    frame = pd.DataFrame({"age": [1.0, 2.0], "born": kind([3, 4]), "seen": kind([5, 6])})
    frame = frame if dtype is None else frame.astype(dtype)
    with pytest.raises(InputTypeError, match="^datetime values in columns 'born', 'seen' are not"):
        as_numbers(frame)
    with pytest.raises(InputTypeError, match="^datetime values in column 'seen' are not numbers"):
        as_numbers(frame.drop(columns="born"))
    with pytest.raises(InputTypeError, match="^datetime values are not numbers; convert them"):
        as_numbers(frame[["seen"]].to_numpy())


@pytest.mark.parametrize("lengths", [(3, 1, 2), (2, 2, 2)], ids=["ragged", "equal"])
def test_only_column_of_a_table_may_hold_sequences(lengths):
    rows = [np.arange(2.0 * n).reshape(n, 2) for n in lengths]
    expected = as_numbers(rows)
    assert expected.shape == (3, max(lengths), 2)
    held = np.empty((3, 1), dtype=object)
    held[:, 0] = rows
    lists = [row.tolist() for row in rows]
    for table in (pd.DataFrame({"s": rows}), pd.DataFrame({"s": lists}), held):
        np.testing.assert_array_equal(as_numbers(table), expected)
    frame = pd.DataFrame({"s": [rows[0], None, rows[2]]})
    np.testing.assert_array_equal(as_numbers(frame), as_numbers([rows[0], None, rows[2]]))


def test_sequences_beside_other_columns_are_refused_with_the_remedy():
    frame = pd.DataFrame({"s": [np.eye(2)] * 3, "age": [1, 2, 3]})
    with pytest.raises(InputError, match=r"column 's' hold sequences.* a modality of its own"):
        as_numbers(frame)
    with pytest.raises(InputError, match=r"^the cells hold sequences"):
        as_numbers(frame.to_numpy())
