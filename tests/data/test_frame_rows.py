"""ModalityFrame: rows, taken as from a DataFrame, by users and by scikit-learn's tools."""

import numpy as np
import pytest
import torch
from frame_values import AUDIO, RAGGED, TEXT, VALUES, N, dense, pd
from hypothesis import given
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.utils import _safe_indexing, resample, shuffle

from sklearn_mmfusion.data import ModalityFrame


def _assert_rows(value, expected):
    got = dense(value)
    assert len(got) == len(expected)
    for row, expected_row in zip(got, expected, strict=True):
        np.testing.assert_array_equal(row, expected_row)


@pytest.fixture
def frame():
    return ModalityFrame({"text": TEXT, "audio": AUDIO})


# Rows --------------------------------------------------------------------------------------

ROW_KEYS = {
    "slice": slice(1, 4),
    "step": slice(None, None, -2),
    "list": [4, 0, 0],
    "negative": np.array([-1, 2]),
    "mask": np.array([True, False, True, False, False, True]),
    "mask as list": [True, False, True, False, False, True],
    "empty": [],
}


@pytest.mark.parametrize("key", ROW_KEYS.values(), ids=ROW_KEYS)
@pytest.mark.parametrize("kind", VALUES)
def test_rows_are_those_of_each_row_by_itself(kind, key):
    value = VALUES[kind]
    positions = key if isinstance(key, slice) else np.asarray(key, dtype=None if len(key) else int)
    expected = [dense(value)[i] for i in np.arange(N)[positions]]
    frame = ModalityFrame({"a": value})
    accessors = [frame[key], frame[key, ...], frame.iloc[key]]
    accessors.append(_safe_indexing(frame, key))
    for taken in accessors:
        assert isinstance(taken, ModalityFrame)
        assert len(taken) == len(expected)
        _assert_rows(taken["a"], expected)


@pytest.mark.parametrize("row", [2, -1, np.int64(3)])
def test_one_row_keeps_its_axis(frame, row):
    for taken in (frame.iloc[row], frame[row, ...], _safe_indexing(frame, row)):
        assert taken.shape == (1, 2)
        np.testing.assert_array_equal(taken["text"][0], TEXT[row])


@pytest.mark.parametrize("start", [None, -2, 0, 2, 4, 9])
@pytest.mark.parametrize("stop", [None, -1, 0, 3, 5, 9])
@pytest.mark.parametrize("step", [None, 1, 2, -1, -2])
def test_slices_of_loc_are_those_of_pandas(start, stop, step):
    table = pd.DataFrame({"a": np.arange(6.0)})
    frame = ModalityFrame({"a": table.to_numpy()})
    key = slice(start, stop, step)
    np.testing.assert_array_equal(frame.loc[key]["a"], table.loc[key].to_numpy())


def test_labels_that_are_not_there_are_refused():
    frame = ModalityFrame({"a": np.arange(6.0)[:, None]})
    with pytest.raises(KeyError, match="no row -1: labels are 0 to 5"):
        frame.loc[[-1]]
    assert frame.iloc[[-1]]["a"].tolist() == [[5.0]]


def test_take_and_loc_follow_pandas(frame):
    pandas = pd.DataFrame({"text": range(N), "audio": range(N)})
    assert len(frame.loc[1:3]) == len(pandas.loc[1:3]) == 3
    assert len(frame.iloc[1:3]) == len(pandas.iloc[1:3]) == 2
    assert frame.take([1], axis=1).columns == list(pandas.take([1], axis=1))
    assert frame.loc[:, ["audio"]].columns == ["audio"]
    assert frame.loc[frame.index > 2, "audio"].shape == (3, 5)
    assert frame.iloc[:, [True, False]].columns == ["text"]
    assert frame.iloc[:, -1].name == "audio"
    assert frame.iloc[:, 0:1].columns == ["text"]
    assert frame[["audio"]].columns == ["audio"]
    assert _safe_indexing(frame, [1, 0], axis=1).columns == ["audio", "text"]


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ([6], IndexError),
        ([-7], IndexError),
        ([True, False], IndexError),
        ([0.5], IndexError),
        ([[0, 1]], IndexError),
        (3, KeyError),
        ((0, 1), KeyError),
        (["text", "smell"], KeyError),
    ],
)
def test_rows_that_do_not_exist_are_errors(frame, key, error):
    with pytest.raises(error):
        frame[key]


def test_labels_of_rows_are_refused_with_the_way_to_their_positions():
    frame = ModalityFrame({"a": pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=["p1", "p2", "p3"])})
    with pytest.raises(IndexError, match=r"get_indexer\(labels\)"):
        frame.loc[["p3", "p1"]]
    rows = frame["a"].index.get_indexer(["p3", "p1"])
    assert frame.iloc[rows]["a"]["x"].tolist() == [3.0, 1.0]


@pytest.mark.parametrize(("key", "error"), [(5, IndexError), ("audio", IndexError)])
def test_iloc_refuses_modalities_that_are_no_position(frame, key, error):
    with pytest.raises(error):
        frame.iloc[:, key]


@pytest.mark.parametrize("key", [0, slice(0, 1), ["smell"]])
def test_loc_refuses_modalities_that_are_no_name(frame, key):
    with pytest.raises(KeyError):
        frame.loc[:, key]


def test_slices_are_views_and_indexed_rows_are_copies(frame):
    assert np.shares_memory(frame[1:3]["text"], TEXT)
    assert not np.shares_memory(frame[[1, 2]]["text"], TEXT)


def test_memory_map_gives_rows_in_memory(tmp_path):
    path = tmp_path / "audio.npy"
    np.save(path, AUDIO)
    frame = ModalityFrame({"audio": np.load(path, mmap_mode="r")})
    rows = frame[[4, 1]]["audio"]
    np.testing.assert_array_equal(rows, AUDIO[[4, 1]])
    assert rows.nbytes == 2 * AUDIO[0].nbytes
    assert isinstance(frame[1:3]["audio"], np.memmap)


def test_read_only_index_takes_rows_of_a_tensor():
    index = np.array([1, 0])
    index.setflags(write=False)
    taken = ModalityFrame({"a": torch.tensor(AUDIO)})[index]["a"]
    np.testing.assert_array_equal(taken.numpy(), AUDIO[[1, 0]])


def test_sequence_that_is_none_becomes_one_without_steps():
    frame = ModalityFrame({"a": [np.ones((2, 3)), None, np.ones((1, 3))]})
    assert frame["a"][1].shape == (0, 3)
    assert np.isnan(frame.to_2d()[1]).all()


@given(st.lists(st.integers(-N, N - 1)), st.lists(st.integers(-N, N - 1)))
def test_taking_rows_twice_is_taking_the_rows_of_the_rows(first, second):
    frame = ModalityFrame({"text": TEXT, "ragged": RAGGED})
    second = [i % len(first) for i in second] if first else []
    once = np.arange(N)[np.array(first, dtype=int)][np.array(second, dtype=int)]
    assert frame[first][second] == frame[once]


# scikit-learn ------------------------------------------------------------------------------


class _AudioSign(ClassifierMixin, BaseEstimator):
    """Predict from the first feature of audio; text means nothing."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return (np.asarray(X["audio"])[:, 0] > 0).astype(int)


def _labelled(n_samples=200):
    rng = np.random.default_rng(1)
    audio = rng.normal(size=(n_samples, 2))
    X = ModalityFrame({"text": rng.normal(size=(n_samples, 3, 2)), "audio": audio})
    return X, (audio[:, 0] > 0).astype(int)


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("max_samples", [1.0, 150])
def test_permutation_importance_permutes_whole_modalities(n_jobs, max_samples):
    X, y = _labelled()
    before = X.copy()
    result = permutation_importance(
        _AudioSign().fit(X, y), X, y, n_repeats=5, random_state=0, n_jobs=n_jobs,
        max_samples=max_samples,
    )  # fmt: skip
    assert result.importances.shape == (2, 5)
    assert (result.importances[0] == 0).all()
    # A shuffled label is right half of the time.
    assert result.importances_mean[1] == pytest.approx(0.5, abs=0.1)
    assert before == X


def test_permuted_modality_keeps_its_rows_together():
    X = ModalityFrame({"text": TEXT, "ragged": RAGGED, "tensor": torch.tensor(AUDIO)})
    order = np.array([3, 1, 0, 2, 5, 4])
    for j, name in enumerate(X.columns):
        permuted = X.copy()
        column = permuted.iloc[order, j]
        column.index = permuted.index
        permuted[permuted.columns[j]] = column
        _assert_rows(permuted[name], [dense(X[name])[i] for i in order])
        assert len(column) == N


def test_splitters_split_every_modality_alike():
    X, y = _labelled()
    train, test, _, y_test = train_test_split(X, y, random_state=0)
    assert isinstance(train, ModalityFrame)
    assert (len(train), len(test)) == (150, 50)
    np.testing.assert_array_equal(test["audio"][:, 0] > 0, y_test == 1)
    assert len(resample(X, random_state=0)) == len(X)
    shuffled, y_shuffled = shuffle(X, y, random_state=0)
    np.testing.assert_array_equal(shuffled["audio"][:, 0] > 0, y_shuffled == 1)
    assert (cross_val_score(_AudioSign(), X, y) == 1).all()


def test_array_api_dispatch_takes_the_frame():
    X, y = _labelled()
    with config_context(array_api_dispatch=True):
        assert (cross_val_score(_AudioSign(), X, y) == 1).all()
