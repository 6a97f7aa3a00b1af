"""Tests of values as JSON and arrays: what comes back equal, and what is refused."""

import json
from typing import Any, TypeVar, get_origin

import numpy as np
import numpy.typing as npt
import pytest
from typing_extensions import TypeAliasType

from sklearn_mmfusion._errors import InputTypeError
from sklearn_mmfusion._state.decoder import Decoder
from sklearn_mmfusion._state.encoder import Encoder
from sklearn_mmfusion._state.hints import Mismatch, meaning


def there_and_back(value, hint=object):
    encoder = Encoder()
    node = json.loads(json.dumps(encoder.encode(value, hint, "v"), allow_nan=False))
    decoder = Decoder(encoder.arrays)
    found = decoder.decode(node, hint, "v")
    assert not decoder.arrays  # every array has been used
    return found


ROWS = [{"epoch": i, "loss": 1.0 / i, "best": i == 2} for i in range(1, 6)]


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, -3, 2.5, float("inf"), "text", "é\n\x1b", (), [], {}),
        *((1, (2, [3])), {1: "a", None: "b", (1, 2): "c"}, slice(1, None, 2), slice(None)),
        ROWS,
        ROWS[:2],  # too few for columns
        [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4.5}],  # of two types
        [{"a": 1}, {"a": 2}, {"a": 3}, {"b": 4}],
        [{}, {}, {}, {}],
        [{1: 2}] * 4,
        [{"a": 2**70}] * 4,  # fits no column
    ],
    ids=repr,
)
def test_plain_values_come_back_equal_and_of_their_types(value):
    found = there_and_back(value)
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3),
        np.array([1, 2], np.uint8),
        np.array(["b", "long text"]),
        np.array(["b", "é"], dtype=object),
        np.array([1, "x", None, 2.5], dtype=object),
        np.array([], dtype=str),
    ],
    ids=lambda value: str(value.dtype),
)
def test_arrays_come_back_equal(value):
    found = there_and_back(value)
    assert found.dtype.kind == value.dtype.kind
    np.testing.assert_array_equal(found, value)


def test_nan_comes_back():
    assert np.isnan(there_and_back(float("nan")))


def test_random_state_goes_on_where_it_was():
    state = np.random.RandomState(3)  # noqa: NPY002 - what scikit-learn takes
    state.normal(size=3)  # half of a pair is kept
    found = there_and_back(state)
    np.testing.assert_array_equal(found.normal(size=5), state.normal(size=5))


def test_many_texts_become_arrays_and_come_back():
    names = [f"gene {i} é" for i in range(100)]
    encoder = Encoder()
    assert set(encoder.encode(names, list[str], "names")) == {"text", "lengths"}
    assert there_and_back(names, list[str]) == names


def test_names_of_arrays_that_would_collide_are_told_apart():
    value = {"a": np.zeros(2), "a.b": 1, "c": {"x": np.ones(2)}, "c.x": np.full(2, 2.0)}
    found = there_and_back(value)
    np.testing.assert_array_equal(found["c"]["x"], np.ones(2))
    np.testing.assert_array_equal(found["c.x"], np.full(2, 2.0))


@pytest.mark.parametrize(
    ("value", "hint", "error"),
    [
        (1 + 2j, object, InputTypeError),
        (lambda: 1, object, InputTypeError),
        (np.array([1 + 2j]), object, InputTypeError),
        (np.array([["a"], [1]], dtype=object), object, InputTypeError),
        ([np.datetime64("2026-01-01")], object, InputTypeError),
        ("half \ud800", object, ValueError),
        (1.5, int, Mismatch),
        (True, int, Mismatch),
        ("a", float | None, Mismatch),
        (1, slice, Mismatch),
        ([1], dict[str, int], Mismatch),
        (1, tuple[int, ...], Mismatch),
    ],
)
def test_what_is_no_data_or_of_another_type_is_not_written(value, hint, error):
    with pytest.raises(error):
        Encoder().encode(value, hint, "v")


TEXT = np.frombuffer(b"ab\xff", np.uint8)


@pytest.mark.parametrize(
    ("node", "arrays"),
    [
        ({"dict": [[[1], 2]]}, {}),  # a list as a key
        ({"dict": [[{"tuple": [[1]]}, 2]]}, {}),  # a tuple that cannot be hashed
        ({"dict": [[1, 2, 3]]}, {}),
        ({"dict": 3}, {}),
        ({"float": "1e3"}, {}),
        ({"slice": [1, 2]}, {}),
        ({"slice": [1, 2, True]}, {}),
        ({"random_state": ["MT19937", [1, 2], 3, 0, 0.0]}, {}),
        ({"random_state": 7}, {}),
        ({"random_state": []}, {}),
        ({"random_state": ["MT19937", {"array": "x"}, 2**70, 0, 0.0]}, {"x": np.zeros(624)}),
        ({"records": {"dict": [["a", [1, 2]]]}}, {}),
        ({"records": {"dict": [["a", {"array": "x"}]]}}, {"x": np.zeros((2, 2))}),
        ({"array": {"text": "t", "lengths": "n", "dtype": "str"}},
         {"t": TEXT, "n": np.array([2, 1])}),  # not UTF-8
        ({"array": {"text": "t", "lengths": "n", "dtype": "str"}},
         {"t": TEXT[:2], "n": np.array([2, 1])}),  # too short
        ({"array": {"text": "t", "lengths": "n", "dtype": "str"}},
         {"t": TEXT[:2], "n": np.array([3, -1])}),
        ({"array": {"text": "t", "lengths": "n", "dtype": "bytes"}},
         {"t": TEXT[:2], "n": np.array([2])}),
        ({"array": {"objects": [[1]]}}, {}),
        ({"array": "x"}, {}),  # missing
        ({"tuple": [{"array": "x"}, {"array": "x"}]}, {"x": np.zeros(2)}),  # twice
        ({"object": "Popen", "content": {}}, {}),
        ({"object": ["MLPEncoder"], "content": {}}, {}),
        ({"object": "MLPEncoder", "content": {"hidden_dim": -1}}, {}),
        ({"object": "MLPEncoder", "content": {"__class__": 1}}, {}),
        ({"object": "MLPEncoder", "content": 3}, {}),
        ({"trusted": "os.system"}, {}),
        ({"trusted": ["os.system"], "content": {}}, {}),
        ({"unknown": 1}, {}),
    ],
)  # fmt: skip
def test_other_json_is_refused_by_the_place_where_it_is(node, arrays):
    with pytest.raises(Mismatch, match=r"^state\.x"):
        Decoder(arrays).decode(node, object, "state.x")


@pytest.mark.parametrize(
    ("node", "hint"),
    [
        ("a", int), (1.0, int), (True, int), (1, bool), (None, int), ("1", float), ({}, str),
        ([1], dict[str, int]), ({}, list[int]), ([1, 2, 3], tuple[int, int]), ([1], slice),
        (None, list[int]), ("a", int | None),
    ],
)  # fmt: skip
def test_json_of_another_type_is_refused(node, hint):
    with pytest.raises(Mismatch, match=r"^state\.x"):
        Decoder({}).decode(node, hint, "state.x")


def test_array_of_another_dtype_is_refused():
    hint = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    with pytest.raises(Mismatch, match="expected float64, got dtype float32"):
        Decoder({"x": np.zeros(2, np.float32)}).decode("x", hint, "state.x")


def test_a_named_alias_stands_for_what_it_names():
    # npt.NDArray is one from numpy 2.5 on.
    scalar = TypeVar("scalar", bound=np.generic)
    array = TypeAliasType("array", np.ndarray[Any, np.dtype[scalar]], type_params=(scalar,))
    assert meaning(array[np.float64]) == np.ndarray[Any, np.dtype[np.float64]]
    assert meaning(TypeAliasType("number", int)) is int
    assert meaning(dict[str, int]) == dict[str, int]
    assert get_origin(meaning(npt.NDArray[np.float64])) is np.ndarray
