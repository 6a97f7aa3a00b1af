"""The file of arrays and a JSON document: what it holds, and where each of its limits is."""

import hashlib
import json
import re
import struct

import numpy as np
import pytest
import safetensors.numpy

from sklearn_mmfusion._errors import FileError, UnsafeFileError
from sklearn_mmfusion._state.tensor_files import MAX_HEADER, parse_json, read_file, write_file

KIND = "kind of the tests"
DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


def entry(dtype="F64", shape=(1,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def digest(document, arrays):
    """Return the sum as the format says: lengths of eight bytes before every text."""
    found = hashlib.sha256()
    for text in (KIND, document):
        found.update(len(text.encode()).to_bytes(8, "little") + text.encode())
    for name, value in sorted(arrays.items()):
        label = json.dumps([name, value.dtype.str, list(value.shape)]).encode()
        found.update(len(label).to_bytes(8, "little") + label + value.tobytes())
    return found.hexdigest()


def forged(path, entries, payload, arrays, document="{}"):
    """Write a file by hand, whose sum is that of the arrays."""
    lines = f"{KIND}\n{digest(document, arrays)}\n{document}"
    header = json.dumps({"__metadata__": {"sklearn_mmfusion": lines}, **entries}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + payload)
    return path


def refused(path, text):
    with pytest.raises(UnsafeFileError, match=re.escape(text)) as caught:
        read_file(path, KIND)
    assert repr(str(path)) in str(caught.value)


# -- what comes back ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)], ids=str)
def test_arrays_of_every_dtype_and_shape_come_back_read_only(shape, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 2, shape).astype(name) for name in DTYPES}
    write_file(tmp_path / "f", KIND, {"a": [1, 2.5, None, "ü\n"]}, arrays)
    document, found = read_file(tmp_path / "f", KIND)
    assert document == {"a": [1, 2.5, None, "ü\n"]}
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(found[name], value)
        assert not found[name].flags.writeable
    others = safetensors.numpy.load_file(tmp_path / "f")
    assert all(np.array_equal(others[name], value) for name, value in arrays.items())


def test_other_orders_of_bytes_and_memory_are_written_as_the_format_has_them(tmp_path):
    value = np.arange(6, dtype=">f8").reshape(2, 3)
    write_file(tmp_path / "f", KIND, {}, {"big": value, "fortran": np.asfortranarray(value)})
    for found in read_file(tmp_path / "f", KIND)[1].values():
        assert found.dtype.str == "<f8"
        np.testing.assert_array_equal(found, value)


def test_file_by_hand_with_the_sum_of_the_format_is_read(tmp_path):
    arrays = {"x": np.array([1.5]), "y": np.array([[7, 8]], dtype=np.int16)}
    payload = arrays["x"].tobytes() + arrays["y"].tobytes()
    entries = {"x": entry(), "y": entry("I16", (1, 2), (8, 12))}
    document, found = read_file(forged(tmp_path / "f", entries, payload, arrays), KIND)
    assert document == {}
    assert all(np.array_equal(found[name], value) for name, value in arrays.items())


def test_file_without_arrays_is_read(tmp_path):
    write_file(tmp_path / "f", KIND, {"x": 1}, {})
    assert read_file(tmp_path / "f", KIND) == ({"x": 1}, {})


def test_document_that_json_cannot_hold_is_not_written(tmp_path):
    for value in (np.nan, -np.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_file(tmp_path / "f", KIND, {"x": value}, {})
    assert not list(tmp_path.iterdir())


# -- headers --------------------------------------------------------------------------------------


def test_header_of_the_longest_size_is_written_and_read_and_a_longer_one_is_not(tmp_path):
    def write(n):
        write_file(tmp_path / "f", KIND, {"x": "a" * n}, {})
        return struct.unpack("<Q", (tmp_path / "f").read_bytes()[:8])[0]

    # Headers are padded to multiples of eight.
    most = MAX_HEADER - write(0)
    assert write(most) == MAX_HEADER == 2**20
    assert len(read_file(tmp_path / "f", KIND)[0]["x"]) == most
    with pytest.raises(FileError, match="its header would take over 1048576 bytes"):
        write(most + 8)
    assert len(read_file(tmp_path / "f", KIND)[0]["x"]) == most  # the old file


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 1) + b"{}",
        struct.pack("<Q", 3) + b"{}",
        struct.pack("<Q", MAX_HEADER + 1) + b" " * (MAX_HEADER + 1),
    ],
    ids=["empty", "seven bytes", "one byte", "longer than the file", "over the limit"],
)
def test_file_without_a_whole_header_is_cut_short(content, tmp_path):
    (tmp_path / "f").write_bytes(content)
    refused(tmp_path / "f", "is not a kind of the tests file, or cut short")


@pytest.mark.parametrize("length", [2, MAX_HEADER], ids=["shortest", "longest"])
def test_header_that_is_whole_is_looked_into(length, tmp_path):
    header = b"{}".ljust(length)
    (tmp_path / "f").write_bytes(struct.pack("<Q", length) + header)
    refused(tmp_path / "f", "it lacks the entry of one")


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        3,
        {},
        {"sklearn_mmfusion": 3},
        {"sklearn_mmfusion": KIND + "\n{}"},
        {"sklearn_mmfusion": KIND + "\n\n{}", "more": "x"},
    ],
    ids=["none", "number", "empty", "number inside", "two lines", "two entries"],
)
def test_metadata_that_is_not_one_entry_of_three_lines_is_refused(metadata, tmp_path):
    header = json.dumps({} if metadata is None else {"__metadata__": metadata}).encode()
    (tmp_path / "f").write_bytes(struct.pack("<Q", len(header)) + header)
    refused(tmp_path / "f", "it lacks the entry of one")


def test_document_may_have_lines(tmp_path):
    path = forged(tmp_path / "f", {}, b"", {}, document='{"x":\n1}')
    assert read_file(path, KIND)[0] == {"x": 1}


def test_file_of_another_kind_says_so_by_forty_letters(tmp_path):
    write_file(tmp_path / "f", "b" * 41, {}, {})
    refused(tmp_path / "f", f"is not a {KIND} file but says it is {'b' * 40!r}")


def test_document_that_is_no_json_is_refused(tmp_path):
    refused(forged(tmp_path / "f", {}, b"", {}, document="[1]"), "document that is no valid JSON")


# -- places of arrays -----------------------------------------------------------------------------

EIGHT = {"x": np.zeros(1)}
PLACES = {
    "no entry": ({"x": 3}, 8, "array 'x' is not described as one"),
    "field too many": ({"x": {**entry(), "more": 1}}, 8, "array 'x' is not described as one"),
    "field missing": ({"x": {"dtype": "F64", "shape": [1]}}, 8, "is not described as one"),
    "dtype": ({"x": entry(dtype="F128" * 9)}, 8, "array 'x' has the dtype 'F128F128F128F128F128'"),
    "dtype of no text": ({"x": entry(dtype=["F64"])}, 8, "has the dtype \"['F64']\""),
    "negative size": ({"x": entry(shape=(-1,))}, 8, "has no valid shape or place"),
    "size of 2^62": ({"x": entry(shape=(2**62,))}, 8, "has no valid shape or place"),
    "size below 2^62": ({"x": entry(shape=(2**62 - 1,))}, 8, "bytes of array 'x' are not those"),
    "size that is no number": ({"x": entry(shape=(True,))}, 8, "has no valid shape or place"),
    "shape that is none": ({"x": entry() | {"shape": 1}}, 8, "has no valid shape or place"),
    "one offset": ({"x": entry(offsets=(0,))}, 8, "has no valid shape or place"),
    "three offsets": ({"x": entry(offsets=(0, 8, 8))}, 8, "has no valid shape or place"),
    "shape too large": ({"x": entry(shape=(2,))}, 8, "the bytes of array 'x' are not those"),
    "width of another dtype": ({"x": entry(dtype="F32")}, 8, "the bytes of array 'x' are not"),
    "33 axes": ({"x": entry(shape=[1] * 33)}, 8, "the bytes of array 'x' are not those"),
    "overlap": ({"x": entry(), "y": entry()}, 8, "overlap or leave gaps"),
    "gap": ({"x": entry(), "y": entry(offsets=(9, 17))}, 17, "overlap or leave gaps"),
    "late": ({"x": entry(offsets=(1, 9))}, 9, "overlap or leave gaps"),
    "longer": ({"x": entry()}, 9, "longer or shorter than its arrays"),
    "shorter": ({"x": entry()}, 7, "longer or shorter than its arrays"),
    "long name": ({"n" * 81: 3}, 8, f"array {'n' * 80!r} is not described as one"),
}


@pytest.mark.parametrize("name", PLACES)
def test_arrays_that_do_not_cover_the_file_exactly_are_refused(name, tmp_path):
    entries, size, text = PLACES[name]
    refused(forged(tmp_path / "f", entries, b"\0" * size, EIGHT), text)


@pytest.mark.parametrize(
    ("field", "text"),
    [("dtype", "has the dtype"), ("shape", "no valid shape"), ("data_offsets", "no valid shape")],
)
def test_long_names_of_arrays_are_shown_by_eighty_letters(field, text, tmp_path):
    entries = {"n" * 81: entry() | {field: None}}
    refused(forged(tmp_path / "f", entries, b"\0" * 8, EIGHT), f"array {'n' * 80!r} has")
    refused(tmp_path / "f", text)


def test_long_name_of_an_array_of_the_wrong_size_is_shown_by_eighty_letters(tmp_path):
    entries = {"n" * 81: entry(shape=(2,))}
    text = f"the bytes of array {'n' * 80!r} are not"
    refused(forged(tmp_path / "f", entries, b"\0" * 8, EIGHT), text)


def test_array_of_32_axes_and_arrays_in_any_order_are_read(tmp_path):
    arrays = {"x": np.ones([1] * 32), "y": np.full(1, 2.0)}
    entries = {"x": entry(shape=[1] * 32, offsets=(8, 16)), "y": entry()}
    payload = arrays["y"].tobytes() + arrays["x"].tobytes()
    found = read_file(forged(tmp_path / "f", entries, payload, arrays), KIND)[1]
    assert found["x"].shape == (1,) * 32
    assert (found["x"].item(), found["y"].item()) == (1, 2)


@pytest.mark.parametrize("where", ["kind", "document", "name", "dtype", "shape", "bytes"])
def test_sum_is_over_all_that_a_file_says(where, tmp_path):
    value = np.array([[1, 2]], dtype=np.int64)
    path = tmp_path / "f"
    write_file(path, KIND, {"x": "abc"}, {"name": value})
    content = path.read_bytes()
    changed = {
        "kind": (b"kind of the tests", b"kind of the testz"),
        "document": (b"abc", b"abx"),
        "name": (b'"name"', b'"nam_"'),
        "dtype": (b'"I64"', b'"U64"'),
        "shape": (b'"shape":[1,2]', b'"shape":[2,1]'),
        "bytes": (value.tobytes(), value[:, ::-1].tobytes()),
    }[where]
    assert content.count(changed[0]) == 1
    path.write_bytes(content.replace(*changed))
    refused(path, "says it is" if where == "kind" else "does not have its SHA-256")


# -- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('\ufeff{"x": 1}', "byte order mark"),
        ("[1]", "no object"),
        ('{"x": 1, "x": 1}', "a key that comes twice"),
        ('{"y": {"x": 1, "x": 1}}', "a key that comes twice"),
        ('{"x": NaN}', "the number NaN"),
        ('{"x": -Infinity}', "the number -Infinity"),
        ('{"x": 1e999}', "a number that is too large"),
        ('{"x": -1e999}', "a number that is too large"),
        ('{"x": "\\ud800"}', "surrogates not allowed"),
        ('{"\\ud800": 1}', "surrogates not allowed"),
        ('{"x": [{"y": ["\\udfff"]}]}', "surrogates not allowed"),
        ('{"x": ', "Expecting value"),
    ],
)
def test_json_that_others_read_in_their_own_way_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_json(text.encode())


def test_bytes_that_are_no_utf_8_are_refused():
    with pytest.raises(ValueError, match="utf-8"):
        parse_json(b'{"x": "\xff"}')


def test_numbers_of_400_letters_are_read_and_of_401_are_not():
    digits = "1" * 400
    assert parse_json(f'{{"x": {digits}}}'.encode()) == {"x": int(digits)}
    fraction = "1." + "0" * 398
    assert parse_json(f'{{"x": {fraction}}}'.encode()) == {"x": 1.0}
    with pytest.raises(ValueError, match="a number that is too long"):
        parse_json(f'{{"x": {digits}1}}'.encode())
    with pytest.raises(ValueError, match="a number that is too large"):
        parse_json(f'{{"x": {fraction}0}}'.encode())


@pytest.mark.parametrize(("opening", "closing"), ["[]", ('{"a":', "}")], ids=["list", "object"])
def test_json_of_64_levels_is_read_and_of_65_is_not(opening, closing):
    def nested(levels):
        return (
            b'{"x":'
            + opening.encode() * (levels - 1)
            + b"1"
            + closing.encode() * (levels - 1)
            + b"}"
        )

    before = b'{"lists":' + b"[" + b"[],{}," * 100 + b"[]],"
    for start in (b"{", before):
        assert parse_json(start + nested(64)[1:])["x"]
        with pytest.raises(ValueError, match="too deep"):
            parse_json(start + nested(65)[1:])


def test_brackets_in_texts_and_beside_each_other_are_no_depth():
    texts = {"x": "[{" * 100, "y": '\\"[' * 100, "z": [[[]]] * 50, "[" * 70: {}}
    assert parse_json(json.dumps(texts).encode()) == texts
