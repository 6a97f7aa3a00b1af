"""The reader of pickles: equal to Python's on plain files, and unmoved by hostile ones."""

import collections
import copyreg
import datetime
import functools
import os
import pickle
import random
import struct
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sklearn_mmfusion import InputError
from sklearn_mmfusion.datasets import _restricted_pickle
from sklearn_mmfusion.datasets._restricted_pickle import MAX_INSTRUCTIONS, read_pickle

PROTOCOLS = range(6)
PLAIN_TYPES = (type(None), bool, int, float, str, bytes, list, tuple, dict, np.ndarray, np.generic)


def _content():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(2, 3, 4))
    return {
        "train": {
            "text": shared,
            "again": shared,
            "large": rng.normal(size=(100, 100)),
            "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            "strided": np.arange(20, dtype=np.int16)[::3],
            "big_endian": np.arange(3, dtype=">i4"),
            "single": np.float32([1.5, -np.inf, np.nan]),
            "flags": np.array([True, False]),
            "complex": np.array([1 + 2j]),
            "empty": np.empty((0, 5, 3)),
            "no_dimension": np.array(7.0),
            "objects": np.array([["a", b"\xff"], [None, (1, "b")]], dtype=object),
            "names": np.array(["häß", "z"]),
            "bytes": np.array([b"ab", b"c"]),
            "scalar": np.float32(2.5),
            3: [1, -3, 70_000, 2**40, -(2**63), 2**64 - 1, 2.5, float("inf"), None, True, False],
        },
        "plain": [b"", b"x\xff\n", "ü\\ \n ☃ 😀", ("a",), (), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "long": ["t" * 300, b"t" * 300, "ä" * 70_000, b"\x80" * 70_000, list(range(3000))],
    }


def _assert_equal(left, right):
    assert type(left) is type(right)
    if isinstance(left, np.ndarray) and left.dtype == object:
        assert left.shape == right.shape
        _assert_equal(left.ravel().tolist(), right.ravel().tolist())
    elif isinstance(left, np.ndarray | np.generic):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    elif isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            _assert_equal(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for pair in zip(left, right, strict=True):
            _assert_equal(*pair)
    else:
        assert left == right


def _assert_plain(value):
    """Go through all of a value, which may contain itself."""
    pending, seen = [value], set()
    while pending:
        value = pending.pop()
        assert isinstance(value, PLAIN_TYPES)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list | tuple):
            pending.extend(value)
        elif isinstance(value, np.ndarray) and value.dtype == object:
            pending.extend(value.ravel())


@pytest.fixture
def write(tmp_path):
    def write(content):
        file = tmp_path / "file.pkl"
        file.write_bytes(content)
        return file

    return write


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_read_pickle_plain_content_equals_what_was_written(write, protocol):
    _assert_equal(read_pickle(write(pickle.dumps(_content(), protocol))), _content())


@pytest.mark.parametrize("protocol", range(4))
@pytest.mark.parametrize("core", [b"numpy.core.", b"numpy._core."])
def test_read_pickle_knows_the_modules_of_numpy_1_and_2(write, protocol, core):
    content = pickle.dumps(_content(), protocol)
    other = content.replace(b"numpy._core.", b"numpy.core.").replace(b"numpy.core.", core)
    assert core in other
    _assert_equal(read_pickle(write(other)), _content())


def test_read_pickle_protocol_5_uses_frombuffer_and_both_kinds_of_buffer(write):
    writeable = np.arange(5.0)
    readonly = np.arange(5.0)
    readonly.flags.writeable = False
    content = pickle.dumps([writeable, readonly], 5)
    assert b"_frombuffer" in content
    _assert_equal(read_pickle(write(content)), [writeable, readonly])


@pytest.mark.parametrize("n_values", [2, 10_000])
@pytest.mark.parametrize("quoted", [False, True])
def test_read_pickle_of_python_2_equals_pythons_own_reader(write, n_values, quoted):
    values = np.random.default_rng(0).normal(size=n_values)
    data = values.tobytes()
    if quoted:  # protocol 0 writes the repr of the string
        data = b"S" + repr(data)[1:].encode("ascii") + b"\n"
    else:
        data = b"T" + struct.pack("<i", len(data)) + data
    content = (
        b"(dq\x00U\x05trainq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02(cnumpy\nndarray\n"
        b"q\x03(I0\ntU\x01btRq\x04(I1\n(I" + str(n_values).encode() + b"\ntcnumpy\ndtype\nq\x05"
        b"(S'f8'\nI0\nI1\ntRq\x06(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n" + data + b"tbs"
        b"S'name'\nS'caf\\xc3\\xa9'\ns."
    )
    expected = pickle.loads(content, encoding="latin1")
    result = read_pickle(write(content))
    np.testing.assert_array_equal(result["train"], expected["train"])
    np.testing.assert_array_equal(result["train"], values)
    assert list(result) == list(expected)
    assert result["name"] == "café".encode()  # not ASCII: stays bytes


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_read_pickle_array_is_a_view_of_the_file(write, protocol):
    values = np.random.default_rng(0).normal(size=2_000_000)
    file = write(pickle.dumps({"a": values}, protocol))
    tracemalloc.start()
    try:
        array = read_pickle(file)["a"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000 < values.nbytes
    assert not array.flags.owndata
    assert not array.flags.writeable
    np.testing.assert_array_equal(array, values)


class _Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class _State:
    pass


FORBIDDEN = {
    "a class": (_State(), "_State|copyreg|reconstructor"),
    "a function": (os.getcwd, "getcwd"),
    "a partial": (functools.partial(int, "7"), "functools.partial"),
    "eval": (_Call(eval, "1 + 1"), "eval"),
    "getattr": (_Call(getattr, "a", "upper"), "getattr"),
    "numpy.load": (_Call(np.load, "x.npy"), "numpy.*load"),
    "a type of numpy": (np.float64, "numpy.float64"),
    "an ordered dict": (collections.OrderedDict(a=1), "OrderedDict"),
    "a default dict": (collections.defaultdict(list), "defaultdict"),
    "a date": (datetime.date(2020, 1, 1), "datetime.date"),
    "a set": ({1, 2}, "a set|builtin.*set"),
    "a frozen set": (frozenset({1}), "a frozenset|builtin.*frozenset"),
    "a complex number": (1j, "complex"),
    "a long number": (2**64, "64 bits"),
    "a structured array": (np.zeros(2, dtype=[("a", "f8")]), "dtype"),
    "an array of dates": (np.zeros(2, dtype="M8[s]"), "dtype"),
    "an array of functions": (np.array([len, max], dtype=object), "len"),
    "a masked array": (np.ma.masked_array([1.0]), "numpy.ma"),
    "a dtype as value": ([np.dtype("f8")], "a type or an unfinished array"),
    "a dtype with metadata": (np.zeros(2, np.dtype("f8", metadata={"a": 1})), "metadata"),
    "a key that is a tuple": ({(1, 2): 3}, "a key of a dict that is a tuple"),
}


@pytest.mark.filterwarnings("ignore:metadata on a dtype:UserWarning")
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("what", FORBIDDEN)
def test_read_pickle_anything_else_is_refused_and_named(write, what, protocol):
    value, pattern = FORBIDDEN[what]
    file = write(pickle.dumps([np.arange(3.0), value], protocol))
    with pytest.raises(InputError, match=rf"file\.pkl: refused at byte \d+: .*({pattern})"):
        read_pickle(file)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_read_pickle_hostile_call_is_not_made_and_nothing_is_imported(write, tmp_path, protocol):
    canary = tmp_path / "canary"
    assert "this" not in sys.modules  # a module of Python that nothing imports
    for content in (
        pickle.dumps(_Call(os.system, f"touch {canary}"), protocol),
        pickle.dumps({"train": _Call(open, str(canary), "w")}, protocol),
        b"cthis\ns\n.",
        b"(S'touch " + bytes(canary) + b"'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch " + bytes(canary) + b"'\no.",
        b"\x80\x04\x8c\x04this\x8c\x01s\x93.",
    ):
        with pytest.raises(InputError, match="refused at byte"):
            read_pickle(write(content))
    assert not canary.exists()
    assert "this" not in sys.modules


def _array_pickle(dtype=b"f8", shape=b"K\x02\x85", data=b"C\x10" + bytes(16), state=b""):
    """Return a pickle of one array, with parts that can be replaced."""
    return (
        b"\x80\x03cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR(K\x01"
        + shape + b"cnumpy\ndtype\n(X" + struct.pack("<I", len(dtype)) + dtype
        + b"\x89\x88tR(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + data + b"tb" + state + b"."
    )  # fmt: skip


def test_read_pickle_hand_made_array_is_read(write):
    np.testing.assert_array_equal(read_pickle(write(_array_pickle())), [0.0, 0.0])


BOMBS = {
    "bytes of 2**62": (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"a.", "cut short"),
    "bytearray of 2**62": (b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"a.", "cut short"),
    "text of 2**62": (b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.", "cut short"),
    "text of negative size": (b"T\xff\xff\xff\xff.", "cut short"),
    "number of 2**30 bytes": (b"\x8b" + struct.pack("<i", 2**30) + b"a.", "64 bits"),
    "number of many digits": (b"L" + b"9" * 10_000 + b"L\n.", "damaged"),
    "shape of 2**40": (_array_pickle(shape=b"\x8a\x06" + bytes(5) + b"\x01\x85"), "fill"),
    "negative shape": (_array_pickle(shape=b"J\xff\xff\xff\xff\x85"), "whole numbers"),
    "33 dimensions": (_array_pickle(shape=b"(" + b"K\x01" * 33 + b"t"), "whole numbers"),
    "shape of text": (_array_pickle(shape=b"X\x01\x00\x00\x00a\x85"), "whole numbers"),
    "no bytes": (_array_pickle(data=b"N"), "without bytes"),
    "too many bytes": (_array_pickle(data=b"C\x11" + bytes(17)), "fill"),
    "dtype of 10**9 letters": (_array_pickle(dtype=b"U1000000000"), "dtype"),
    "dtype of size 0": (_array_pickle(dtype=b"S0"), "without size"),
    "structured dtype": (_array_pickle(dtype=b"f8,f8"), "dtype"),
    "objects from bytes": (_array_pickle(dtype=b"O8"), "fill"),
    "state twice": (_array_pickle(state=b"(K\x01K\x00\x85Ntb"), "a state for something else"),
    "bytes copied over and over": (
        b"(B" + struct.pack("<I", 2**20) + bytes(2**20) + b"q\x000" + b"h\x00\x85" * 100 + b"l.",
        "times the file's size",
    ),
    "text encoded over and over": (
        b"(X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\x00" + b"c_codecs\nencode\nh\x00"
        b"X\x06\x00\x00\x00latin1\x86R" * 100 + b"l.",
        "times the file's size",
    ),
    "text encoded as something else": (
        b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00zlib\x86R.",
        "a call of encode",
    ),
    "a newer protocol": (b"\x80\x06N.", "protocol 6"),
    "a registered extension": (b"\x80\x02\x82\x01.", "private registry"),
    "a persistent object": (b"P1\n.", "stored elsewhere"),
    "a buffer outside the file": (b"\x80\x05\x97.", "stored elsewhere"),
    "a new object": (b"\x80\x02)\x81.", "an object"),
    "a call of a list": (b"])R.", "a call of something else"),
    "no value": (b".", "damaged"),
    "two values": (b"NN.", "damaged"),
    "a value below the stack": (b"0.", "damaged"),
    "a mark that is missing": (b"t.", "damaged"),
    "nothing in the memo": (b"h\x00.", "damaged"),
    "items of a number": (b"K\x01K\x02a.", "damaged"),
    "an unknown instruction": (b"\xff", "damaged"),
    "an unknown escape": (b"S'\\d'\n.", "damaged"),
    "a string without quotes": (b"Sa\n.", "damaged"),
    "no end": (b"N", "damaged"),
    "plain text": (b"date,value\n1,2\n", "damaged|refused"),
    "a zip archive": (b"PK\x03\x04aaaa", "a zip archive"),
    "an npy file": (b"\x93NUMPY\x01\x00", "an npy file"),
    "an HDF5 file": (b"\x89HDF\r\n", "an HDF5 file"),
    "a compressed file": (b"\x1f\x8b\x08", "compressed"),
    "nothing": (b"", "empty"),
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_read_pickle_bomb_is_refused_within_little_memory(write, what):
    content, pattern = BOMBS[what]
    file = write(content)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=rf"file\.pkl: .*({pattern})"):
            read_pickle(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60_000_000


@pytest.mark.parametrize("endless", [b"]", b"}", b"(", b"\x85", b"Nq\x00", b"]a", b"h\x00"])
def test_read_pickle_instructions_without_end_are_refused(write, monkeypatch, endless):
    monkeypatch.setattr(_restricted_pickle, "MAX_INSTRUCTIONS", 10_000)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="more than 10000 instructions"):
            read_pickle(write(b"]q\x00" + endless * 10_000 + b"."))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_read_pickle_most_instructions_are_enough_for_the_largest_file(write):
    rows = [[f"video{row}", f"{row}.5", f"{row}.75"] for row in range(23_000)]
    _assert_equal(read_pickle(write(pickle.dumps(rows, 0))), rows)
    with pytest.raises(InputError, match="more than 500000 instructions"):
        read_pickle(write(b"}" * (MAX_INSTRUCTIONS + 1) + b"."))


def test_read_pickle_objects_shared_by_many_arrays_are_counted(write):
    one = pickle.dumps(np.full(1000, None, dtype=object), 2)
    # The same list of elements for each of many arrays.
    start, stop = one.index(b"]"), one.rindex(b"e") + 1
    elements, once = one[start:stop], one[2:-1]
    again = once.replace(elements, b"j\xff\xff\x00\x00", 1)
    content = b"\x80\x02(" + elements + b"r\xff\xff\x00\x000" + again * 1000 + b"l."
    with pytest.raises(InputError, match="instructions or elements"):
        read_pickle(write(content))


def test_read_pickle_hostile_name_is_escaped_in_the_message(write):
    with pytest.raises(InputError) as raised:
        read_pickle(write(b"c\x1b[31mos" + b"x" * 10_000 + b"\nsystem\n."))
    assert "\x1b" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_read_pickle_array_that_contains_itself_is_refused(write):
    array = np.empty(1, dtype=object)
    array[0] = array
    with pytest.raises(InputError, match="contains itself"):
        read_pickle(write(pickle.dumps(array, 4)))


def test_read_pickle_error_names_the_remedy(write):
    with pytest.raises(InputError, match="save a dict of numpy arrays") as raised:
        read_pickle(write(pickle.dumps(print)))
    assert isinstance(raised.value, ValueError)


def test_read_pickle_private_registry_is_not_asked(write):
    copyreg.add_extension("os", "getcwd", 240)
    try:
        content = pickle.dumps(os.getcwd, 2).replace(b"cposix\ngetcwd\n", b"\x82\xf0")
    finally:
        copyreg.remove_extension("os", "getcwd", 240)
    with pytest.raises(InputError, match="private registry"):
        read_pickle(write(content))


def test_read_pickle_irregular_path_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_pickle(tmp_path / "none.pkl")
    with pytest.raises(InputError, match="not a regular file"):
        read_pickle(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    with pytest.raises(InputError, match="not a regular file"):
        read_pickle(tmp_path / "pipe")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_read_pickle_cut_anywhere_raises(write, protocol):
    content = pickle.dumps({"a": np.arange(3.0), "b": ["x", (1, b"y")]}, protocol)
    for stop in range(protocol % 3, len(content), 3):
        with pytest.raises(InputError):
            read_pickle(write(content[:stop]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    protocol=st.sampled_from(PROTOCOLS),
    changes=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 2), st.binary(min_size=1, max_size=4)),
        min_size=1,
        max_size=4,
    ),
)
def test_read_pickle_changed_file_gives_plain_values_or_an_input_error(write, protocol, changes):
    small = {"a": np.arange(3.0), "o": np.array(["x", 1], object), "b": ["x", (1, b"y"), 2.5, None]}
    content = bytearray(pickle.dumps(small, protocol))
    for place, kind, new in changes:
        place %= len(content) + 1
        content[place : place + (0, len(new), 8)[kind]] = new
    try:
        result = read_pickle(write(bytes(content) or b"."))
    except InputError:
        return
    _assert_plain(result)


# What published attacks on pickle scanners call, as (module, name): each would run code, read a
# file or open a connection.
GADGETS = [
    ("builtins", "exec"),
    ("builtins", "compile"),
    ("builtins", "__import__"),
    ("builtins", "open"),
    ("__builtin__", "eval"),
    ("posix", "system"),
    ("nt", "system"),
    ("os", "popen"),
    ("subprocess", "Popen"),
    ("importlib", "import_module"),
    ("runpy", "run_path"),
    ("pty", "spawn"),
    ("pickle", "loads"),
    ("joblib", "load"),
    ("torch", "load"),
    ("torch.hub", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("numpy", "load"),
    ("numpy", "fromfile"),
    ("numpy.testing._private.utils", "runstring"),
    ("numpy.f2py.crackfortran", "getlincoef"),
    ("numpy.core.multiarray", "_reconstruct.__globals__"),
    ("numpy.core", "multiarray.os.system"),
    ("operator", "attrgetter"),
    ("operator", "methodcaller"),
    ("functools", "reduce"),
    ("types", "CodeType"),
    ("code", "interact"),
    ("timeit", "timeit"),
    ("cProfile", "run"),
    ("webbrowser", "open"),
    ("urllib.request", "urlopen"),
    ("shutil", "rmtree"),
    ("ctypes", "CDLL"),
    ("sklearn_mmfusion.datasets._restricted_pickle", "read_pickle"),
]


@pytest.mark.parametrize(("module", "name"), GADGETS)
def test_read_pickle_known_gadget_is_refused_before_it_is_looked_up(write, module, name):
    before = set(sys.modules)
    for content in (
        f"c{module}\n{name}\n(S'1'\ntR.".encode(),
        b"\x80\x04" + b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, name))
        + b"\x93\x8c\x011\x85R.",
    ):  # fmt: skip
        with pytest.raises(InputError, match="refused at byte"):
            read_pickle(write(content))
    assert set(sys.modules) == before


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_read_pickle_mutations_of_plain_and_hostile_files(write, tmp_path, protocol):
    from mutations import mutated

    canary = tmp_path / "canary"
    generator = random.Random(protocol)
    contents = [
        pickle.dumps(_content()["train"]["objects"], protocol),
        pickle.dumps({"a": np.arange(50.0), "b": [1, "x", None, 2.5] * 5}, protocol),
        pickle.dumps({"a": np.arange(5.0), "b": _Call(os.system, f"touch {canary}")}, protocol),
    ]
    outcomes = collections.Counter()
    before = set(sys.modules)
    for i in range(600):
        try:
            result = read_pickle(write(mutated(contents[i % 3], generator) or b"."))
        except InputError:
            outcomes["refused"] += 1
        else:
            _assert_plain(result)
            outcomes["read"] += 1
    assert outcomes["refused"] > outcomes["read"] > 0
    assert not canary.exists()
    # Text needs the codec that its protocol wrote it with.
    assert {
        name for name in set(sys.modules) - before if not name.startswith("encodings.")
    } == set()
