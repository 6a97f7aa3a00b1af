"""LazyArray: a view of rows on disk that reads what it is asked for."""

import copy
import mmap
import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_mmfusion import InputError, InputTypeError, LazyArray, ModalityFrame
from sklearn_mmfusion.data import _lazy, _lazy_rows

VALUES = np.random.default_rng(0).normal(size=(40, 3, 2)).astype(np.float32)


@pytest.fixture
def memmap(tmp_path):
    np.save(tmp_path / "values.npy", VALUES)
    return np.load(tmp_path / "values.npy", mmap_mode="r")


@pytest.fixture(scope="module")
def zarr_array(tmp_path_factory):
    zarr = pytest.importorskip("zarr")
    path = tmp_path_factory.mktemp("zarr") / "values.zarr"
    array = zarr.create_array(path, shape=VALUES.shape, dtype=VALUES.dtype, chunks=(8, 3, 2))
    array[:] = VALUES
    return array


class SortedOnly:
    """Rows as h5py gives them: increasing positions and nothing else."""

    def __init__(self, values):
        self._values, self.shape, self.dtype = values, values.shape, values.dtype
        self.chunks = (5, *values.shape[1:])
        self.largest = 0

    def __getitem__(self, rows):
        if not isinstance(rows, slice):
            assert (np.diff(rows) > 0).all(), "positions must increase"
        found = self._values[rows]
        self.largest = max(self.largest, len(found))
        return found


KEYS = [
    slice(None),
    slice(3, 30),
    slice(30, 3, -4),
    slice(-5, None),
    slice(7, 7),
    np.array([5, 2, 2, 39, 0]),
    np.array([], dtype=int),
    [-1, -40],
    np.arange(40) % 3 == 0,
]


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("kind", ["memmap", "zarr_array", "sorted", "array"])
def test_rows_of_a_view_are_those_of_the_array(key, kind, request):
    own = {"sorted": SortedOnly(VALUES), "array": VALUES}
    array = own[kind] if kind in own else request.getfixturevalue(kind)
    view = LazyArray(array)[key]
    expected = VALUES[key]
    assert isinstance(view, LazyArray)
    assert (view.shape, view.dtype, view.ndim, len(view)) == (
        expected.shape,
        expected.dtype,
        3,
        len(expected),
    )
    assert view.nbytes == expected.nbytes
    np.testing.assert_array_equal(view.read(), expected)
    np.testing.assert_array_equal(np.asarray(view), expected)


@given(st.data())
def test_views_of_views_compose_like_numpy(data):
    view, expected = LazyArray(VALUES), VALUES
    for _ in range(data.draw(st.integers(1, 4))):
        n = len(expected)
        if n == 0:
            break
        if data.draw(st.booleans()):
            bounds = st.none() | st.integers(-n - 2, n + 2)
            step = data.draw(st.sampled_from([None, 1, 2, -1, -3]))
            key = slice(data.draw(bounds), data.draw(bounds), step)
        else:
            key = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=8)), dtype=int)
        view, expected = view[key], expected[key]
    np.testing.assert_array_equal(view.read(), expected)


def test_slices_take_no_memory_for_positions(memmap):
    view = LazyArray(memmap)[5:30][::2][3:]
    assert view._index == range(11, 30, 2)


def test_a_view_reads_nothing_until_asked():
    array = SortedOnly(VALUES)
    view = LazyArray(array)[np.arange(39, 0, -1)][:20]
    assert array.largest == 0
    view.read([3, 1])
    assert array.largest == 2


def test_an_integer_reads_the_row(memmap):
    view = LazyArray(memmap, [4, 7])
    np.testing.assert_array_equal(view[1], VALUES[7])
    np.testing.assert_array_equal(view[-2], VALUES[4])
    np.testing.assert_array_equal(list(view), VALUES[[4, 7]])
    np.testing.assert_array_equal(view[np.array([1]), ...].read(), VALUES[[7]])


@pytest.mark.parametrize("key", [[40], [-41], 40, np.ones(3, dtype=bool), [0.5]], ids=str)
def test_rows_that_do_not_exist_are_refused(memmap, key):
    with pytest.raises(IndexError):
        LazyArray(memmap)[key]


def test_astype_converts_rows_when_they_are_read(memmap):
    view = LazyArray(memmap).astype(np.float64)[[3, 1]]
    assert view.dtype == np.float64
    np.testing.assert_array_equal(view.read(), VALUES[[3, 1]].astype(np.float64))


def _variants(path):
    raw = np.arange(600, dtype="<f4")
    raw.tofile(path)
    kinds = {
        "whole": lambda: np.memmap(path, "<f4", "r", shape=(60, 10)),
        "offset": lambda: np.memmap(path, "<f4", "r", offset=4 * 44, shape=(50, 10)),
        "far offset": lambda: np.memmap(path, "<f4", "r+", offset=4 * 130, shape=(40, 10)),
        "fortran": lambda: np.memmap(path, "<f4", "r", shape=(60, 10), order="F"),
        "slice": lambda: np.memmap(path, "<f4", "r", shape=(60, 10))[7:50:3],
        "columns": lambda: np.memmap(path, "<f4", "r", offset=40, shape=(59, 10))[:, 2:9:2],
        "backwards": lambda: np.memmap(path, "<f4", "r", shape=(60, 10))[::-1],
        "flat": lambda: np.memmap(path, "<f4", "r"),
    }
    return {name: make() for name, make in kinds.items()}


@pytest.mark.parametrize(
    "kind",
    ["whole", "offset", "far offset", "fortran", "slice", "columns", "backwards", "flat"],
)
def test_pickle_of_a_memmap_names_its_file_and_finds_the_same_rows(tmp_path, kind):
    array = _variants(tmp_path / "raw.bin")[kind]
    view = LazyArray(array)[np.arange(len(array))[::-2]]
    dumped = pickle.dumps(view)
    again = pickle.loads(dumped)
    np.testing.assert_array_equal(again.read(), np.array(array)[::-1][::2])
    assert len(pickle.dumps(LazyArray(array))) < 700
    assert again.shape == view.shape


def test_pickle_does_not_grow_with_the_file(tmp_path):
    sizes = []
    for n in (10, 10_000):
        np.save(tmp_path / f"{n:05}.npy", np.zeros((n, 8)))
        view = LazyArray(np.load(tmp_path / f"{n:05}.npy", mmap_mode="r"))
        sizes.append(len(pickle.dumps(view)))
    assert abs(sizes[1] - sizes[0]) < 20


def test_pickle_of_zarr_names_its_store(zarr_array):
    view = pickle.loads(pickle.dumps(LazyArray(zarr_array)[[9, 3]]))
    np.testing.assert_array_equal(view.read(), VALUES[[9, 3]])


def test_copies_share_the_file(memmap):
    view = LazyArray(memmap)[:7]
    frame = ModalityFrame({"a": view}).copy()
    for again in (copy.copy(view), copy.deepcopy(view), frame["a"]):
        np.testing.assert_array_equal(again.read(), VALUES[:7])


def test_hash_of_joblib_tells_rows_apart(memmap):
    view = LazyArray(memmap)
    assert joblib.hash(view[:5]) == joblib.hash(LazyArray(memmap)[:5])
    assert joblib.hash(view[:5]) != joblib.hash(view[1:6])


def test_pages_of_a_map_in_another_order_are_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(_lazy_rows, "_RESIDENT_BYTES", 64 * 1024)
    monkeypatch.setattr(_lazy_rows, "_FAULT_BYTES", 4096)
    values = np.asfortranarray(np.arange(50_000.0).reshape(-1, 10))
    np.save(tmp_path / "values.npy", values)
    view = LazyArray(np.load(tmp_path / "values.npy", mmap_mode="r"))
    releases = []
    release = type(view._source)._release
    monkeypatch.setattr(
        type(view._source), "_release", lambda self: (releases.append(1), release(self))
    )
    np.testing.assert_array_equal(view.read(), values)
    assert len(releases) == 5000 // 16
    rows = np.arange(0, 5000, 500)
    np.testing.assert_array_equal(view.read(rows), values[rows])


@pytest.mark.parametrize("gap", [0, 100, 10**6])
@pytest.mark.parametrize("piece", [1, 1000, 10**6])
def test_rows_of_a_file_are_the_same_in_pieces_of_any_size(tmp_path, monkeypatch, gap, piece):
    monkeypatch.setattr(_lazy_rows, "_GAP_BYTES", gap)
    monkeypatch.setattr(_lazy_rows, "_PIECE_BYTES", piece)
    rows = np.array([0, 1, 2, 7, 9, 10, 14])
    for kind, array in _variants(tmp_path / "raw.bin").items():
        view, expected = LazyArray(array), np.array(array)
        np.testing.assert_array_equal(view.read(rows), expected[rows], err_msg=kind)
        np.testing.assert_array_equal(view.read(slice(3, 13)), expected[3:13], err_msg=kind)


def test_reading_a_file_maps_none_of_it_and_keeps_it_closed(tmp_path):
    np.save(tmp_path / "values.npy", np.arange(4_000_000.0).reshape(-1, 100))
    view = LazyArray(np.load(tmp_path / "values.npy", mmap_mode="r"))
    view[np.random.default_rng(0).permutation(40_000)[:5000]].read()
    view.read(slice(0, 5000))
    maps = Path("/proc/self/maps")
    if maps.exists():  # of other systems the next line is the whole test
        assert str(tmp_path) not in maps.read_text()
    assert not any(isinstance(value, mmap.mmap) for value in vars(view._source).values())


def test_a_chunked_store_shuffles_its_chunks_together(zarr_array, memmap):
    assert LazyArray(zarr_array).block_size == 8
    assert LazyArray(zarr_array)[::2].block_size == 8
    assert LazyArray(zarr_array, block_size=1).block_size == 1
    assert LazyArray(memmap).block_size == 1


def test_conversion_of_much_data_is_refused_and_says_what_to_do(memmap, monkeypatch):
    monkeypatch.setattr(_lazy, "_ARRAY_BYTES", 100)
    view = LazyArray(memmap)
    with pytest.raises(InputError, match=r"at most 100 bytes.*view\[:1000\]"):
        np.asarray(view)
    assert np.asarray(view[:2], dtype=np.float64).dtype == np.float64
    assert len(view.read()) == 40


def test_copy_on_write_is_refused(tmp_path):
    np.save(tmp_path / "values.npy", VALUES)
    with pytest.raises(InputError, match="mode 'c'.*open it with mode 'r'"):
        LazyArray(np.load(tmp_path / "values.npy", mmap_mode="c"))


def test_a_file_that_is_gone_is_named(tmp_path):
    np.save(tmp_path / "values.npy", VALUES)
    dumped = pickle.dumps(LazyArray(np.load(tmp_path / "values.npy", mmap_mode="r")))
    (tmp_path / "values.npy").unlink()
    with pytest.raises(InputError, match=r"values\.npy' cannot be read any more"):
        pickle.loads(dumped).read()


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
def test_another_array_in_place_of_the_file_is_not_read(tmp_path, order, pickled):
    path = tmp_path / "values.npy"
    np.save(path, np.asarray(VALUES[:, :, 0], order=order))
    view = LazyArray(np.load(path, mmap_mode="r"))
    np.testing.assert_array_equal(view[:2].read(), VALUES[:2, :, 0])
    view = pickle.loads(pickle.dumps(view)) if pickled or order == "F" else view  # F: a map is open
    larger = np.zeros((400, 7))
    np.save(tmp_path / "other.npy", larger)
    (tmp_path / "other.npy").replace(path)
    with pytest.raises(InputError, match=r"values\.npy' cannot .*another array was saved"):
        view[:2].read()
    # One of the same shape and type is what a user who writes the file anew wants to read.
    np.save(path, np.asarray(2 * VALUES[:, :, 0], order=order))
    np.testing.assert_array_equal(view[:2].read(), 2 * VALUES[:2, :, 0])


def test_rows_that_are_written_later_are_read(tmp_path):
    written = np.lib.format.open_memmap(tmp_path / "values.npy", "w+", np.float32, VALUES.shape)
    view = LazyArray(written)
    assert not view[:3].read().any()
    written[:] = VALUES
    written.flush()
    np.testing.assert_array_equal(view.read(), VALUES)


def test_masked_entries_are_refused():
    whole = np.ma.masked_array(VALUES[:, 0], mask=False)
    np.testing.assert_array_equal(LazyArray(whole)[[3, 1]].read(), VALUES[[3, 1], 0])
    with pytest.raises(InputError, match="no masked entries"):
        LazyArray(np.ma.masked_array(VALUES[:, 0], mask=VALUES[:, 0] > 1))


@pytest.mark.parametrize("key", [(1, 2), (slice(None), 0), ([0, 1], 1)])
def test_columns_are_refused(memmap, key):
    with pytest.raises(IndexError, match="takes rows alone"):
        LazyArray(memmap)[key]


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_that_became_shorter_is_named(tmp_path, order):
    np.save(tmp_path / "values.npy", np.asarray(VALUES[:, :, 0], order=order))
    view = LazyArray(np.load(tmp_path / "values.npy", mmap_mode="r"))
    with open(tmp_path / "values.npy", "r+b") as file:
        file.truncate(300)
    with pytest.raises(InputError, match=r"values\.npy' cannot be read any more"):
        view.read()


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_in_memory_are_taken_in_any_order_and_copied(order):
    values = np.asarray(VALUES, order=order).copy(order="K")
    view = LazyArray(values)
    rows = np.array([5, 2, 2, 39, 0])
    np.testing.assert_array_equal(view.read(rows), VALUES[rows])
    for read in (view.read(rows), view.read(slice(0, 3)), view.read()):
        assert not np.shares_memory(read, values)


@pytest.mark.parametrize(
    ("value", "error"), [([1, 2], InputTypeError), (np.array(1.0), InputError), (3, InputTypeError)]
)
def test_what_has_no_rows_is_refused(value, error):
    with pytest.raises(error, match="LazyArray: expected"):
        LazyArray(value)


def test_repr_names_shape_dtype_and_file(memmap):
    assert repr(LazyArray(memmap)) == "LazyArray of shape (40, 3, 2), float32, values.npy"
    assert "lazy float32" in repr(ModalityFrame({"a": LazyArray(memmap)}))


def test_tensor_is_refused_with_the_way_out():
    torch = pytest.importorskip("torch")
    with pytest.raises(InputTypeError, match=r"^LazyArray: .* numpy dtype, got Tensor of torch"):
        LazyArray(torch.zeros(3, 2))
    np.testing.assert_array_equal(LazyArray(torch.ones(3, 2).numpy()).read(), np.ones((3, 2)))
