"""ModalityFrame: a mapping of modalities, its faults, copies, 2-D form and display."""

import copy
import html
import pickle

import joblib
import numpy as np
import pytest
import torch
from frame_values import AUDIO, RAGGED, TEXT, VALUES, N, dense, pd
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from skorch.helper import SliceDict

from sklearn_mmfusion._errors import FusionError, InputError, InputTypeError
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.data._values import pad_ragged


@pytest.fixture
def frame():
    return ModalityFrame({"text": TEXT, "audio": AUDIO})


# Mapping -----------------------------------------------------------------------------------


def test_len_and_shape_count_rows_while_iteration_and_views_count_names(frame):
    assert len(frame) == frame.n_samples == N
    assert frame.shape == (N, 2)
    assert frame.ndim == 2
    assert list(frame) == frame.columns == ["text", "audio"]
    assert len(frame.keys()) == len(frame.values()) == len(frame.items()) == 2
    np.testing.assert_array_equal(frame.index, np.arange(N))


def test_mapping_protocol_gives_the_arrays_themselves(frame):
    assert frame["text"] is TEXT
    assert dict(frame)["audio"] is AUDIO
    assert {**frame}.keys() == {"text", "audio"}
    assert "text" in frame and "smell" not in frame and 0 not in frame
    assert frame.get("smell") is None
    assert frame.pop("text") is TEXT
    assert frame.columns == ["audio"]


def test_update_setdefault_and_delete_go_through_the_validation(frame):
    frame.update(video=AUDIO[:, :2])
    assert frame.setdefault("video", None) is not None
    del frame["video"]
    with pytest.raises(InputError, match="video: 5"):
        frame.setdefault("video", AUDIO[:5])
    with pytest.raises(InputError, match="video: 5"):
        frame.update(video=AUDIO[:5])
    frame.clear()
    assert frame.shape == (0, 0)
    frame["other"] = AUDIO[:3]
    assert len(frame) == 3


def test_the_only_modality_may_be_replaced_by_one_with_other_rows():
    frame = ModalityFrame({"a": AUDIO})
    frame["a"] = AUDIO[:2]
    assert len(frame) == 2


@pytest.mark.parametrize("name", ["keys", "self", "forward", "type", "modalities", "é", "a b"])
def test_names_of_attributes_are_fine(name):
    assert ModalityFrame({name: AUDIO})[name] is AUDIO


def test_unknown_name_is_a_key_error_with_a_hint(frame):
    with pytest.raises(KeyError, match="Did you mean 'audio'"):
        frame["adio"]
    with pytest.raises(KeyError, match="no modality"):
        del frame["smell"]


def test_constructor_takes_mappings_of_any_kind(frame):
    assert ModalityFrame(frame) == frame
    assert ModalityFrame(SliceDict(text=TEXT, audio=AUDIO)) == frame
    assert ModalityFrame().shape == (0, 0)


# Faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "error", "pattern"),
    [
        (None, None, None),
        ({0: AUDIO}, InputTypeError, "modality names must be str, got 0"),
        ({"": AUDIO}, InputError, "invalid modality name"),
        ({"a.b": AUDIO}, InputError, "invalid modality name"),
        ({"a__b": AUDIO}, InputError, "invalid modality name"),
        ({"a x b": AUDIO}, InputError, "invalid modality name"),
        ({"a": AUDIO, "b": AUDIO[:5]}, InputError, "a: 6, b: 5"),
        ({"a": 3.0}, InputTypeError, "modality 'a': expected an array .* got float"),
        ({"a": None}, InputTypeError, "modality 'a': .* NoneType"),
        ({"a": "text"}, InputTypeError, "modality 'a': .* str"),
        ({"a": {"b": AUDIO}}, InputTypeError, "modality 'a': .* dict"),
        ({"a": (row for row in AUDIO)}, InputTypeError, "modality 'a': .* generator"),
        ({"a": np.float64(3.0)}, InputError, "modality 'a': .*Expected 2D"),
        (AUDIO, InputTypeError, "X: expected a mapping .* Name the modalities"),
        ([TEXT, AUDIO], InputTypeError, "Name the modalities"),
        (sparse.dok_array((3, 3)), InputTypeError, "X: expected a mapping"),
        (pd.DataFrame({"a": [1]}), InputTypeError, r"DataFrame.*{'lab': X\[lab_columns\]"),
    ],
)
def test_bad_input_is_an_error_that_names_the_modality(mapping, error, pattern):
    if error is None:
        assert ModalityFrame(mapping).columns == []
        return
    with pytest.raises(error, match=pattern) as caught:
        ModalityFrame(mapping)
    assert isinstance(caught.value, FusionError)


def test_faults_of_all_modalities_are_listed_at_once():
    with pytest.raises(InputError) as caught:
        ModalityFrame({"a.b": AUDIO, "c": None, "d": AUDIO, "e": AUDIO[:2]})
    for part in ("'a.b'", "'c'", "d: 6, e: 2"):
        assert part in str(caught.value)


def test_setting_other_rows_names_modality_expected_and_got(frame):
    with pytest.raises(InputError, match="modality 'video': .* text: 6, audio: 6, video: 5"):
        frame["video"] = AUDIO[:5]
    assert frame.columns == ["text", "audio"]


def test_array_conversion_raises_the_recipe(frame):
    with pytest.raises(TypeError, match=r"X\.to_2d\(\) with modalities=X\.layout\(\)"):
        np.asarray(frame)
    with pytest.raises(InputTypeError, match=r"make_pipeline\(ModalityConcatenator\(\), Logistic"):
        LogisticRegression().fit(frame, [0, 1] * 3)


# Comparison, copies, pickles ----------------------------------------------------------------


@pytest.mark.parametrize("kind", VALUES)
def test_copies_are_equal_and_share_nothing(kind):
    frame = ModalityFrame({"a": VALUES[kind]})
    for other in (frame.copy(), pickle.loads(pickle.dumps(frame)), copy.deepcopy(frame)):
        assert isinstance(other, ModalityFrame)
        assert other == frame
        assert other["a"] is not frame["a"]
        assert type(other["a"]) is type(frame["a"])
    assert copy.copy(frame)["a"] is frame["a"]
    assert frame.copy(deep=False)["a"] is frame["a"]


def test_copy_is_writeable():
    audio = AUDIO.copy()
    audio.setflags(write=False)
    copied = ModalityFrame({"a": audio}).copy()
    copied["a"][0] = 1.0
    assert (audio[0] != 1.0).all()


def test_equality_compares_arrays_with_nan_and_ignores_order(frame):
    holes = AUDIO.copy()
    holes[2] = np.nan
    assert ModalityFrame({"a": holes}) == {"a": holes.copy()}
    assert frame == dict(reversed(frame.items()))
    assert frame != {"text": TEXT}
    assert frame != {"text": TEXT, "audio": AUDIO + 1e-12}
    assert frame != {"text": TEXT, "audio": AUDIO[:, :4]}
    assert frame != 3
    assert ModalityFrame({"r": RAGGED}) != ModalityFrame({"r": RAGGED[::-1]})
    with pytest.raises(TypeError, match="unhashable"):
        hash(frame)


def test_equality_with_a_mapping_of_lists_reads_them_as_a_frame_would():
    ragged = [np.arange(2.0 * n).reshape(n, 2) for n in (3, 1, 2)]
    frame = ModalityFrame({"steps": ragged, "flat": [[1, 2], [3, 4], [5, 6]]})
    same = {"steps": [row.tolist() for row in ragged], "flat": [[1, 2], [3, 4], [5, 6]]}
    assert frame == same and same == frame
    assert frame == {"steps": pd.DataFrame({"s": ragged}), "flat": same["flat"]}
    assert frame != same | {"steps": ragged[::-1]}
    assert frame != same | {"steps": ragged[:2]}
    for no_rows in (3, None, "abc", {"a": 1}):
        assert frame != same | {"steps": no_rows}


def test_column_of_sequences_is_padded_like_their_list():
    ragged = [np.arange(2.0 * n).reshape(n, 2) for n in (3, 1, 2)]
    expected = ModalityFrame({"steps": ragged})
    for column in (pd.DataFrame({"s": ragged}), pd.Series(ragged)):
        frame = ModalityFrame({"steps": column})
        assert frame.layout() == expected.layout() == {"steps": (slice(0, 6), (3, 2))}
        np.testing.assert_array_equal(frame.to_2d(), expected.to_2d())
        assert repr(frame) == repr(expected)
        assert frame[:1].to_2d().shape == (1, 6)


def test_sparse_equality_compares_entries():
    left = sparse.csr_array(np.eye(3))
    stored_zero = sparse.csr_array((np.array([1.0, 1, 1, 0]), ([0, 1, 2, 0], [0, 1, 2, 1])))
    assert ModalityFrame({"a": left}) == ModalityFrame({"a": stored_zero})
    assert ModalityFrame({"a": left}) != ModalityFrame({"a": 2 * left})
    assert ModalityFrame({"a": left}) != {"a": np.eye(3)}


def test_joblib_sees_the_arrays_and_not_an_opaque_object(frame, tmp_path):
    assert joblib.hash(frame) == joblib.hash(frame.copy())
    joblib.dump(frame, tmp_path / "frame")
    mapped = joblib.load(tmp_path / "frame", mmap_mode="r")
    assert isinstance(mapped["text"], np.memmap)
    assert mapped == frame


# The 2-D form ------------------------------------------------------------------------------


def test_layout_says_where_to_2d_puts_each_modality(frame):
    layout, matrix = frame.layout(), frame.to_2d()
    assert layout == {"text": (slice(0, 12), (4, 3)), "audio": slice(12, 17)}
    np.testing.assert_array_equal(matrix[:, layout["text"][0]].reshape(N, 4, 3), TEXT)
    np.testing.assert_array_equal(matrix[:, layout["audio"]], AUDIO)


@pytest.mark.parametrize("kind", sorted(set(VALUES) - {"ragged", "strings"}))
def test_matrix_of_one_modality_is_its_flattened_rows(kind):
    frame = ModalityFrame({"a": VALUES[kind]})
    expected = np.stack([row.reshape(-1) for row in dense(VALUES[kind])])
    np.testing.assert_array_equal(frame.to_2d(), expected)
    place = frame.layout()["a"]
    assert (place if isinstance(place, slice) else place[0]) == slice(0, expected.shape[1])


@pytest.mark.parametrize(
    ("kinds", "dtype"),
    [
        (["float32"], np.float32),
        (["float32", "float64"], np.float64),
        (["boolean"], np.bool_),
        (["integer"], np.int64),
        (["boolean", "float32"], np.float32),
    ],
)
def test_matrix_has_the_smallest_dtype_that_holds_all(kinds, dtype):
    assert ModalityFrame({kind: VALUES[kind] for kind in kinds}).to_2d().dtype == dtype


def test_ragged_sequences_are_padded_with_nan():
    frame = ModalityFrame({"ragged": RAGGED, "audio": AUDIO})
    assert frame.layout() == {"ragged": (slice(0, 8), (4, 2)), "audio": slice(8, 13)}
    padded = frame.to_2d()[:, :8].reshape(N, 4, 2)
    for row, sequence in zip(padded, RAGGED, strict=True):
        np.testing.assert_array_equal(row[: len(sequence)], sequence)
        assert np.isnan(row[len(sequence) :]).all()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(1, 3))
def test_padding_then_cutting_gives_the_sequences_back(lengths, width):
    rows = np.empty(len(lengths), dtype=object)
    rows[:] = [np.full((length, width), float(i)) for i, length in enumerate(lengths)]
    padded = pad_ragged("a", rows)
    assert padded.shape == (len(rows), max(1, *lengths, 1), width)
    for got, row in zip(padded, rows, strict=True):
        np.testing.assert_array_equal(got[: len(row)], row)
        assert np.isnan(got[len(row) :]).all()


def test_padding_keeps_float32_and_turns_integers_into_float64():
    single = [row.astype(np.float32) for row in RAGGED]
    assert ModalityFrame({"a": single}).to_2d().dtype == np.float32
    codes = [np.array([1, 2]), np.array([3])]
    np.testing.assert_array_equal(ModalityFrame({"a": codes}).to_2d(), [[1, 2], [3, np.nan]])


def test_missing_value_of_pandas_becomes_nan():
    table = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64")})
    np.testing.assert_array_equal(ModalityFrame({"m": table}).to_2d(), [[1], [np.nan], [3]])


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        (VALUES["strings"], "modality 'm': .*could not convert"),
        (np.array(list("ab")), "modality 'm': expected real numbers, got dtype <U1"),
        (np.array([1j]), "complex128"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "datetime64"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "1 masked"),
        ([np.ones((2, 3)), np.ones((2, 4))], "modality 'm': .*different length"),
        (torch.ones(2, 2, dtype=torch.bfloat16), "modality 'm': expected real numbers"),
    ],
)
def test_matrix_of_something_else_than_numbers_is_an_error(value, pattern):
    with pytest.raises(InputError, match=pattern):
        ModalityFrame({"m": value}).to_2d()


def test_matrix_of_a_tensor_with_gradient_is_that_of_its_values():
    tensor = torch.tensor(AUDIO, requires_grad=True)
    np.testing.assert_array_equal(ModalityFrame({"a": tensor}).to_2d(), AUDIO)


def test_matrix_without_rows_or_modalities_is_empty():
    assert ModalityFrame().to_2d().shape == (0, 0)
    assert ModalityFrame({"a": TEXT[:0], "b": AUDIO[:0]}).to_2d().shape == (0, 17)


# Display -----------------------------------------------------------------------------------


def test_repr_lists_names_shapes_and_dtypes():
    frame = ModalityFrame({"text": TEXT, "ragged": RAGGED, "table": VALUES["frame"]})
    assert repr(frame) == (
        "ModalityFrame: 6 samples, 3 modalities\n"
        "  'text'    (6, 4, 3)     float64\n"
        "  'ragged'  (6, 1..4, 2)  ragged float64\n"
        "  'table'   (6, 5)        float64"
    )
    assert repr(ModalityFrame()) == "ModalityFrame: 0 samples, 0 modalities"


def test_representations_escape_names():
    hostile = "<b>a\x1b[31m\n"
    frame = ModalityFrame({hostile: AUDIO, "s": VALUES["sparse"]})
    for text in (repr(frame), frame._repr_html_()):
        assert "\x1b" not in text
    assert repr(frame).count("\n") == 2
    markup = frame._repr_html_()
    assert "<b>" not in markup
    assert repr(hostile) in html.unescape(markup)
    assert "(6, 5)" in markup and "sparse float64" in markup


@pytest.mark.parametrize("kind", VALUES)
def test_every_kind_of_value_has_a_representation(kind):
    assert "(6" in repr(ModalityFrame({"a": VALUES[kind]}))
