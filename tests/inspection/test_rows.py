import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from sklearn_mmfusion import InputError, InputTypeError, ModalityFrame
from sklearn_mmfusion.inspection._rows import read_rows

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 3, 2))
INDEX = np.array([[0, 4], [1, 1], [3, 2]])


def read(X, modalities=None, names=None, groups=None):
    return read_rows(X, modalities, names, groups)


@pytest.mark.parametrize("form", [dict, ModalityFrame])
def test_mapping_rows_come_from_their_own_index(form):
    rows = read(form({"a": A, "b": B}))
    taken = rows.take(INDEX)
    assert type(taken) is form
    assert np.array_equal(taken["a"], A[[0, 1, 3]])
    assert np.array_equal(taken["b"], B[[4, 1, 2]])
    assert rows.n_samples == 5
    assert rows.values_per_row == 2 + 6


def test_mapping_order_follows_modalities_and_the_estimator_chooses_names():
    assert read({"a": A, "b": B}, ["b", "a"]).names == ["b", "a"]
    assert read({"a": A, "b": B, "c": A}, None, ["b", "a"]).names == ["b", "a"]


def test_array_columns_that_are_scattered_are_put_back_in_place():
    X = RNG.normal(size=(5, 4))
    taken = read(X, {"a": [0, 3], "b": slice(1, 3)}).take(INDEX)
    expected = X[[4, 1, 2]].copy()
    expected[:, [0, 3]] = X[[0, 1, 3]][:, [0, 3]]
    assert np.array_equal(taken, expected)


def test_dataframe_keeps_columns_dtypes_and_their_order():
    X = pd.DataFrame({"u": [1, 2, 3], "v": ["x", "y", "z"], "w": [0.5, 1.5, 2.5]}, index=[7, 8, 9])
    taken = read(X, {"b": ["v"], "a": ["u", "w"]}).take(np.array([[0, 1], [2, 0]]))
    expected = pd.DataFrame({"u": [2, 1], "v": ["x", "z"], "w": [1.5, 0.5]})
    pd.testing.assert_frame_equal(taken, expected)


def test_multiindex_frame_keeps_its_columns():
    columns = pd.MultiIndex.from_tuples([("a", "u"), ("b", "u"), ("a", "v")])
    X = pd.DataFrame(np.arange(9.0).reshape(3, 3), columns=columns)
    taken = read(X).take(np.array([[2, 0]]))
    assert taken.columns.equals(columns)
    assert taken.to_numpy().tolist() == [[6.0, 1.0, 8.0]]


def test_joined_rows_of_arrays_frames_tensors_and_sequences_follow_the_first():
    ragged = [np.ones((2, 3)), np.zeros((4, 3))]
    first = {"a": A, "b": torch.zeros(5, 2), "c": sparse.eye_array(5).tocsr(), "d": B}
    second = {"a": A + 1, "b": torch.ones(5, 2), "c": sparse.eye_array(5).tocsr(), "d": B + 1}
    joined = read(first).joined(read(second))
    assert joined.n_samples == 10
    taken = joined.take(np.array([[6, 6, 6, 6]]))
    assert np.array_equal(taken["a"][0], A[1] + 1)
    assert np.array_equal(np.asarray(taken["b"][0]), [1, 1])
    assert taken["c"].toarray()[0].argmax() == 1
    assert np.array_equal(taken["d"][0], B[1] + 1)
    longer = read({"d": ragged}).joined(read({"d": np.ones((2, 6, 3))}))
    assert [len(row) for row in longer.values["d"]] == [2, 4, 6, 6]
    shorter = read({"d": np.ones((2, 3, 3))}).joined(read({"d": np.ones((2, 5, 3))}))
    assert [len(row) for row in shorter.values["d"]] == [3, 3, 5, 5]


def test_joined_frames_are_one_frame():
    X = pd.DataFrame({"u": [1.0, 2.0], "v": [3.0, 4.0]})
    spec = {"a": ["u"], "b": ["v"]}
    taken = read(X, spec).joined(read(X + 10, spec)).take(np.array([[2, 1]]))
    assert taken.to_numpy().tolist() == [[11.0, 4.0]]


def test_joined_rows_of_different_features_are_refused_by_name():
    with pytest.raises(InputError, match=r"modality 'a'.*\(2,\).*\(3,\)"):
        read({"a": A}).joined(read({"a": np.ones((2, 3))}))


@pytest.mark.parametrize(
    ("X", "modalities", "names", "error", "message"),
    [
        (np.ones((3, 4)), None, None, InputError, "say which of them make up each modality"),
        (np.ones((3, 4)), {"a": [0], "b": [1, 2]}, None, InputError, r"\[3\].*no modality"),
        (np.ones((3, 4)), ["a", "b"], None, InputTypeError, "maps each name"),
        (np.ones((3, 4, 2)), {"a": [0]}, None, InputError, "3D"),
        ({"a": A, "b": B}, ["a"], None, InputError, r"left out: \['b'\]"),
        ({"a": A, "b": B}, ["a", "c", "b"], None, InputError, r"unknown: \['c'\]"),
        ({"a": A, "b": B}, {"a": [0]}, None, InputTypeError, "list of their names"),
        ({"a": A}, None, ["a", "z"], InputError, "modality 'z': X has no such"),
        ({"a": A, "b": B[:3]}, None, None, InputError, "a: 5, b: 3"),
        (sparse.eye_array(4), {"a": [0]}, None, InputTypeError, "dense"),
    ],
)
def test_read_rows_refuses(X, modalities, names, error, message):
    with pytest.raises(error, match=message):
        read(X, modalities, names)
