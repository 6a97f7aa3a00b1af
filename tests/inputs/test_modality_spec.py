"""Which columns of 2-D input make up which modality, and what is said of those that cannot."""

import re

import numpy as np
import pytest
from sklearn.compose import make_column_selector

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._inputs.modality_spec import ColumnGroup, check_names, hint, resolve_columns

LETTERS = list("abcdefghij")


def columns_of(spec, n_columns=10, names=None):
    """Return the columns of the one modality."""
    (group,) = resolve_columns({"a": spec}, n_columns, names)
    return group.columns


def refused(modalities, text, n_columns=10, names=None):
    with pytest.raises(InputError, match=f"^{re.escape(text)}$"):
        resolve_columns(modalities, n_columns, names)


@pytest.mark.parametrize("spec", [slice(0, 4), range(4), [-4, -3, -2, -1], [0, -3, 2, 3]])
def test_neighbouring_columns_are_a_slice_so_that_no_copy_is_made(spec):
    assert columns_of(spec, 4) == slice(0, 4)


@pytest.mark.parametrize("spec", [[1, 0, 2], [0, 2, 1], slice(None, None, -1)])
def test_columns_in_another_order_are_positions_in_that_order(spec):
    expected = np.arange(3)[spec].tolist()
    assert columns_of(spec, 3) == tuple(expected)


def test_one_column_is_a_slice_wherever_it_is():
    groups = resolve_columns({"a": [2], "b": 0, "c": [1]}, 3, None)
    assert [group.columns for group in groups] == [slice(2, 3), slice(0, 1), slice(1, 2)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (slice("c", "e"), slice(2, 5)),
        (slice(None, "e"), slice(0, 5)),
        (slice("c", None), slice(2, 10)),
        (slice("c", "c"), slice(2, 3)),
        (slice("j", "j"), slice(9, 10)),
    ],
)
def test_slice_of_names_has_both_ends_and_may_leave_one_out(spec, expected):
    rest = [i for i in range(10) if not expected.start <= i < expected.stop]
    group, _ = resolve_columns({"a": spec, "b": rest}, 10, LETTERS)
    assert group.columns == expected


@pytest.mark.parametrize(
    "spec", [slice(0, 11), slice(11, None), slice(11, 12), slice(-11, None), slice(0, -11)], ids=str
)
def test_slice_that_begins_or_ends_beyond_the_columns_is_refused(spec):
    refused({"a": spec}, f"modality 'a': {spec} reaches beyond the 10 columns of X")


def test_slice_from_one_end_of_the_columns_to_the_other_is_not_too_long():
    assert columns_of(slice(-10, 10)) == slice(0, 10)
    for empty in (slice(10, None), slice(0, -10)):
        text = "modality 'a': 0 feature(s) while a minimum of 1 is required"
        refused({"a": empty}, text)


@pytest.mark.parametrize("spec", [slice(0.5, 3), slice(0, 3, 0), slice(0, [3])], ids=str)
def test_slice_that_is_none_is_refused(spec):
    with pytest.raises(InputError, match="modality 'a': slice.* is no slice of columns: slice "):
        resolve_columns({"a": spec}, 10, None)


def test_shape_has_a_product_and_sides_that_are_whole_and_positive():
    (group,) = resolve_columns({"a": (slice(0, 6), (1, 6))}, 6, None)
    assert group == ColumnGroup("a", slice(0, 6), (1, 6))
    for shape in [(-2, -3), (2.0, 3), (4, 2), (0, 6), (6, 0)]:
        refused(
            {"a": (slice(0, 6), shape)}, f"modality 'a': 6 columns cannot take the shape {shape}", 6
        )


def test_pair_of_a_position_and_a_tuple_is_no_shape():
    with pytest.raises(InputError, match="modality 'a': columns are a slice, a list of positions"):
        resolve_columns({"a": (0, (1,))}, 1, None)


def test_selector_of_columns_is_to_be_called():
    with pytest.raises(InputError, match=r"modality 'a': columns are .*; call a selector of col"):
        resolve_columns({"a": make_column_selector("^a_")}, 1, ["a_0"])


def test_many_columns_are_shown_by_their_first_ten():
    ten, eleven = str(list(range(10))), f"{list(range(10))}"[:-1] + ", ...]"
    text = "the columns {} of X belong to no modality: modalities= must cover all {} columns"
    refused({"a": 10, "b": 11}, text.format(ten, 12), 12)
    refused({"a": 11, "b": 12}, text.format(eleven, 13), 13)


def test_columns_behind_the_last_modality_may_be_those_of_a_chain():
    message = (
        "belong to no modality: .*Chain and Reg.* leave the slice of the last modality open, slice"
    )
    with pytest.raises(InputError, match=message):
        resolve_columns({"a": slice(0, 2), "b": slice(2, 4)}, 5, None)
    (_, last) = resolve_columns({"a": slice(0, 2), "b": slice(2, None)}, 5, None)
    assert last.columns == slice(2, 5)


def test_only_names_that_come_twice_are_called_so():
    with pytest.raises(InputError, match=r"got twice: \['a', 'c'\]$"):
        check_names(["c", "a", "b", "a", "c"])


def test_hint_has_the_closest_name_of_each_unknown_one():
    known = ["text_long", "text_short", "audio"]
    assert hint(["text_lon", "audi", "zzz"], known) == (
        "; did you mean 'text_long' instead of 'text_lon', 'audio' instead of 'audi'?"
    )
    assert hint(["zzz"], known) == ""


def test_groups_are_values_that_do_not_change():
    group = ColumnGroup("a", slice(0, 2))
    with pytest.raises(AttributeError):
        group.name = "b"
