"""The affect loaders, on small files of the papers' formats that the tests write."""

import pickle

import numpy as np
import pytest

from sklearn_mmfusion import InputError, ModalityFrame
from sklearn_mmfusion.datasets import (
    load_iemocap,
    load_mosei,
    load_mosi,
    load_mustard,
    load_ur_funny,
)

WIDTHS = {"text": 4, "audio": 3, "vision": 2}
SIZES = {"train": 5, "valid": 2, "test": 3}
LOADERS = {
    "mosi": load_mosi,
    "mosei": load_mosei,
    "ur_funny": load_ur_funny,
    "mustard": load_mustard,
    "iemocap": load_iemocap,
}


def _labels(name, n_rows, rng):
    """Return labels with the shape that the file of a data set has."""
    if name == "mosi":
        return np.round(rng.uniform(-3, 3, size=(n_rows, 1, 1)), 1)
    if name == "mosei":  # sentiment and six emotions, as in the data set's SDK
        emotions = rng.choice([0, 0, 1 / 3, 2], size=(n_rows, 1, 6))
        return np.concatenate([rng.uniform(-3, 3, size=(n_rows, 1, 1)), emotions], axis=2)
    if name == "ur_funny":
        return rng.integers(0, 2, size=(n_rows, 1))
    if name == "mustard":
        return rng.choice([-1.0, 1.0], size=(n_rows, 1, 1))
    present = rng.integers(0, 2, size=(n_rows, 4))
    return np.stack([1 - present, present], axis=2).astype(np.float64)


def _file(name="mosi", *, aligned=True, seed=0, front=True, dtype=np.float64):
    """Return a dict as the projects pickle it, and the sequences without padding."""
    rng = np.random.default_rng(seed)
    steps = {"text": 7, "audio": 7 if aligned else 11, "vision": 7 if aligned else 9}
    content, sequences = {}, {modality: [] for modality in WIDTHS}
    for split, n_rows in SIZES.items():
        arrays = content[split] = {"labels": _labels(name, n_rows, rng)}
        lengths = rng.integers(1, 7, size=n_rows)
        for modality, width in WIDTHS.items():
            arrays[modality] = np.zeros((n_rows, steps[modality], width), dtype)
            for row in range(n_rows):
                length = lengths[row] if aligned else rng.integers(1, steps[modality] + 1)
                sequence = rng.normal(size=(length, width)).astype(dtype)
                sequences[modality].append(sequence)
                if front:
                    arrays[modality][row, steps[modality] - length :] = sequence
                else:
                    arrays[modality][row, :length] = sequence
        if name == "mosi":
            arrays["id"] = np.array(
                [[f"{split}{row}".encode(), b"0.5", b"1.5"] for row in range(n_rows)]
            )
        elif name != "iemocap":  # whose file has no names
            arrays["id"] = [f"{split}[{row}]" for row in range(n_rows)]
    return content, sequences


@pytest.fixture
def write(tmp_path):
    def write(content, protocol=4):
        path = tmp_path / "data.pkl"
        path.write_bytes(pickle.dumps(content, protocol))
        return path

    return write


def _assert_sequences(data, sequences, dtype=np.float32):
    for modality, rows in sequences.items():
        values = data[modality]
        assert values.dtype == dtype
        assert len(values) == len(rows)
        for value, row in zip(values, rows, strict=True):
            np.testing.assert_array_equal(value[: len(row)], row.astype(dtype))
            assert np.isnan(value[len(row) :]).all()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("front", [True, False])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("name", LOADERS)
def test_affect_sequences_begin_at_step_0_and_end_in_nan(write, name, aligned, front, protocol):
    content, sequences = _file(name, aligned=aligned, front=front)
    bunch = LOADERS[name](write(content, protocol))
    assert list(bunch.data) == ["text", "audio", "vision"]
    _assert_sequences(bunch.data, sequences)
    assert bunch.n_replaced == {"text": 0, "audio": 0, "vision": 0}


@pytest.mark.parametrize("name", LOADERS)
def test_affect_splits_are_rows_of_the_whole(write, name):
    content, _ = _file(name)
    bunch = LOADERS[name](write(content))
    assert {split: rows.tolist() for split, rows in bunch.splits.items()} == {
        "train": [0, 1, 2, 3, 4],
        "valid": [5, 6],
        "test": [7, 8, 9],
    }
    assert len(bunch.target) == 10
    test = ModalityFrame(bunch.data).iloc[bunch.splits["test"]]
    last = content["test"]["text"]
    np.testing.assert_allclose(
        np.nansum(test["text"], axis=1), last.sum(axis=1), rtol=1e-5, atol=1e-5
    )
    assert "NaN" in bunch.DESCR


def _stacked(content):
    return np.concatenate([content[split]["labels"] for split in SIZES])


@pytest.mark.parametrize("shape", [(-1, 1, 1), (-1, 1), (-1,)])
def test_load_mosi_target_is_the_sentiment(write, shape):
    content, _ = _file("mosi")
    expected = _stacked(content).ravel()
    for split in SIZES:
        content[split]["labels"] = content[split]["labels"].reshape(shape)
    bunch = load_mosi(write(content))
    assert bunch.target.dtype == np.float64
    np.testing.assert_array_equal(bunch.target, expected)
    assert "target_names" not in bunch


def test_load_mosei_seven_columns_are_sentiment_and_emotions(write):
    content, _ = _file("mosei")
    labels = _stacked(content)[:, 0]
    path = write(content)
    np.testing.assert_array_equal(load_mosei(path).target, labels[:, 0])
    emotions = load_mosei(path, target="emotions")
    np.testing.assert_array_equal(emotions.target, np.where(labels[:, 1:] > 0, 1, 0))
    assert emotions.target.dtype == np.int64
    assert emotions.target_names == ["happy", "sad", "anger", "surprise", "disgust", "fear"]


def test_load_mosei_one_or_six_columns_are_what_they_are(write):
    content, _ = _file("mosei")
    labels = _stacked(content)[:, 0]
    for split in SIZES:
        content[split]["labels"] = content[split]["labels"][:, 0, 1:, np.newaxis]
    path = write(content)
    np.testing.assert_array_equal(load_mosei(path, target="emotions").target, labels[:, 1:] > 0)
    with pytest.raises(InputError, match=r"expected 1 or 7 of them in a row, got shape \(10, 6, 1"):
        load_mosei(path)
    content, _ = _file("mosi")
    with pytest.raises(InputError, match="expected 6 or 7 of them"):
        load_mosei(write(content), target="emotions")


@pytest.mark.parametrize(
    ("name", "target_names"),
    [("ur_funny", ["serious", "humorous"]), ("mustard", ["sincere", "sarcastic"])],
)
def test_load_binary_target_is_0_and_1(write, name, target_names):
    content, _ = _file(name)
    labels = _stacked(content).ravel()
    bunch = LOADERS[name](write(content))
    assert bunch.target.tolist() == [1 if label > 0 else 0 for label in labels]
    assert set(bunch.target) == {0, 1}
    assert bunch.target_names == target_names
    content["train"]["labels"] = content["train"]["labels"] + 0.5
    with pytest.raises(InputError, match="expected 0 and 1, or -1 and 1"):
        LOADERS[name](write(content))


def test_load_iemocap_target_is_the_second_of_each_pair(write):
    content, _ = _file("iemocap")
    bunch = load_iemocap(write(content))
    np.testing.assert_array_equal(bunch.target, _stacked(content)[:, :, 1])
    assert bunch.target.dtype == np.int64
    assert bunch.target_names == ["neutral", "happy", "sad", "angry"]
    assert bunch.ids is None
    content["valid"]["labels"][0, 0] = 1
    with pytest.raises(InputError, match="pairs"):
        load_iemocap(write(content))


def test_affect_ids_are_text_in_one_part_or_three(write):
    three = load_mosi(write(_file("mosi")[0])).ids
    assert three.shape == (10, 3)
    assert three[5].tolist() == ["valid0", "0.5", "1.5"]
    one = load_mosei(write(_file("mosei")[0])).ids
    assert one.tolist()[4:7] == ["train[4]", "valid[0]", "valid[1]"]
    numbers = _file("ur_funny")[0]
    for split in SIZES:
        numbers[split]["id"] = np.arange(SIZES[split])[:, np.newaxis]
    assert load_ur_funny(write(numbers)).ids.tolist() == [*"01234", *"01", *"012"]
    numbers["test"]["id"] = ["a", "b"]
    with pytest.raises(InputError, match="entry 'id'"):
        load_ur_funny(write(numbers))


def test_affect_alignment_keeps_a_step_that_some_modality_has(write):
    content, sequences = _file("mosi", aligned=True)
    # A silent first word: no sound at a step that text and vision have.
    length = len(sequences["audio"][0])
    first = 7 - length
    content["train"]["audio"][0, first] = 0
    aligned = load_mosi(write(content))
    np.testing.assert_array_equal(aligned.data["audio"][0, 0], 0)
    np.testing.assert_array_equal(np.isnan(aligned.data["audio"][0]).all(axis=1).sum(), first)
    separate = load_mosi(write(content), padding="separate")
    assert np.isnan(separate.data["audio"][0]).all(axis=1).sum() == first + 1
    np.testing.assert_array_equal(separate.data["text"], aligned.data["text"])


def test_affect_zeros_between_two_steps_are_data(write):
    content, _ = _file("mosi", aligned=False)
    content["train"]["audio"][0] = 0
    content["train"]["audio"][0, [3, 6]] = 1
    audio = load_mosi(write(content)).data["audio"][0]
    np.testing.assert_array_equal(audio[:4, 0], [1, 0, 0, 1])
    assert np.isnan(audio[4:]).all()


@pytest.mark.parametrize("aligned", [True, False])
def test_affect_row_without_any_step_is_a_missing_modality(write, aligned):
    content, _ = _file("mosi", aligned=aligned)
    content["test"]["text"][1] = 0
    content["test"]["vision"][2] = np.nan
    data = load_mosi(write(content)).data
    missing = {name: np.isnan(values).all(axis=(1, 2)) for name, values in data.items()}
    assert {name: np.flatnonzero(rows).tolist() for name, rows in missing.items()} == {
        "text": [8],
        "audio": [],
        "vision": [9],
    }


def test_affect_values_that_are_not_finite_become_0_and_are_counted(write):
    content, sequences = _file("mosi", aligned=False)
    audio = content["train"]["audio"]
    audio[0, -1] = -np.inf  # a step of silence at the very end is no padding
    audio[1, -1, 0] = np.nan
    content["test"]["vision"][0, -1, 1] = 1e300  # too large for float32
    bunch = load_mosi(write(content))
    assert bunch.n_replaced == {"text": 0, "audio": 4, "vision": 1}
    length = len(sequences["audio"][0])
    np.testing.assert_array_equal(bunch.data["audio"][0, length - 1], 0)
    assert np.isnan(bunch.data["audio"][0, length:]).all()
    assert bunch.data["audio"][1, len(sequences["audio"][1]) - 1, 0] == 0
    assert all(not np.isinf(values).any() for values in bunch.data.values())
    assert load_mosi(write(content), dtype="float64").n_replaced["vision"] == 0


def test_affect_padding_keep_leaves_the_file_as_it_is(write):
    content, _ = _file("mosi")
    data = load_mosi(write(content), padding="keep", dtype="float64").data
    for modality in WIDTHS:
        expected = np.concatenate([content[split][modality] for split in SIZES])
        np.testing.assert_array_equal(data[modality], expected)


def test_affect_padding_aligned_needs_equal_steps(write):
    content, sequences = _file("mosi", aligned=False)
    with pytest.raises(InputError, match="needs as many steps"):
        load_mosi(write(content), padding="aligned")
    content, sequences = _file("mosi", aligned=True)
    _assert_sequences(load_mosi(write(content), padding="aligned").data, sequences)


def test_affect_splits_of_different_lengths_are_padded_to_the_longest(write):
    content, sequences = _file("mosi", aligned=False, front=False)
    longest = max(len(row) for row in sequences["audio"][7:])
    content["test"]["audio"] = content["test"]["audio"][:, :longest]
    data = load_mosi(write(content)).data
    assert data["audio"].shape == (10, 11, 3)
    _assert_sequences(data, sequences)


def test_affect_one_long_row_does_not_ask_for_much_memory(write):
    content, _ = _file("mosi", aligned=False)
    content["test"]["audio"] = np.ones((3, 1000, 3))
    with pytest.raises(InputError, match="too different for one array"):
        load_mosi(write(content))


@pytest.mark.parametrize("name", LOADERS)
def test_affect_memmap_folder_gives_the_same_on_the_disk(write, tmp_path, name):
    content, sequences = _file(name, aligned=False, dtype=np.float32)
    folder = tmp_path / "new" / "folder"
    bunch = LOADERS[name](write(content), memmap_folder=folder, dtype="float64")
    assert sorted(file.name for file in folder.iterdir()) == ["audio.npy", "text.npy", "vision.npy"]
    assert all(isinstance(values, np.memmap) for values in bunch.data.values())
    _assert_sequences(bunch.data, sequences, np.float64)
    np.testing.assert_array_equal(np.load(folder / "audio.npy"), bunch.data["audio"])


def test_affect_more_rows_than_are_converted_at_a_time(write):
    rng = np.random.default_rng(0)
    content, _ = _file("mosi")
    n_rows, steps = 1001, 7
    lengths = rng.integers(0, steps + 1, size=n_rows)
    used = np.arange(steps) >= steps - lengths[:, np.newaxis]
    content["train"] = {
        modality: rng.normal(size=(n_rows, steps, width)) * used[:, :, np.newaxis]
        for modality, width in WIDTHS.items()
    }
    content["train"]["labels"] = rng.normal(size=(n_rows, 1))
    for split in ("valid", "test"):
        content[split]["labels"] = content[split]["labels"][:, 0]
        del content[split]["id"]
    data = load_mosi(write(content)).data
    for row in range(n_rows):
        raw = content["train"]["audio"][row, steps - lengths[row] :]
        np.testing.assert_array_equal(data["audio"][row, : lengths[row]], raw.astype(np.float32))
        assert np.isnan(data["audio"][row, lengths[row] :]).all()


def _without(content, *keys):
    for split in content.values():
        for key in keys:
            del split[key]
    return content


FAULTS = {
    "a list": (lambda content: [content], r"expected a dict .* got list"),
    "no validation": (
        lambda content: {"train": content["train"], "test": content["test"]},
        r"expected a dict with the splits .* got \[\"?'?'test'",
    ),
    "arrays in the place of splits": (
        lambda content: dict.fromkeys(content, np.ones(3)),
        "each a dict of arrays",
    ),
    "no text": (lambda content: _without(content, "text"), "train text: expected an array, got No"),
    "no text and labels": (
        lambda content: _without(content, "text", "labels"),
        "train text: .*; train labels: .*; test labels: expected an array",
    ),
    "flat text": (
        lambda content: content | {"test": content["test"] | {"text": np.ones((3, 4))}},
        r"test text: expected an array \(rows, steps, features\), got shape \(3, 4\)",
    ),
    "no steps": (
        lambda content: content | {"test": content["test"] | {"text": np.ones((3, 0, 4))}},
        r"got shape \(3, 0, 4\)",
    ),
    "words": (
        lambda content: content | {"test": content["test"] | {"text": np.full((3, 7, 4), "a")}},
        "test text: expected numbers, got dtype <U1",
    ),
    "objects": (
        lambda content: content
        | {"test": content["test"] | {"text": np.full((3, 7, 4), 1.0).astype(object)}},
        "test text: expected numbers, got dtype object",
    ),
    "a number as labels": (
        lambda content: content | {"test": content["test"] | {"labels": np.array(1.0)}},
        "test labels: expected an array with a row for each sample",
    ),
    "another number of rows": (
        lambda content: content | {"test": content["test"] | {"text": np.ones((4, 7, 4))}},
        "test: different numbers of rows, {'text': 4, 'audio': 3",
    ),
    "another number of features": (
        lambda content: content | {"test": content["test"] | {"text": np.ones((3, 7, 5))}},
        r"text: different shapes in the splits, \[\(4,\), \(5,\)\]",
    ),
    "labels that are NaN": (
        lambda content: content
        | {"test": content["test"] | {"labels": np.full((3, 1, 1), np.nan)}},
        "3 rows have NaN or infinite labels, the first is row 7",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_affect_file_of_another_form_raises(write, what):
    change, pattern = FAULTS[what]
    path = write(change(_file("mosi")[0]))
    with pytest.raises(InputError, match=pattern) as raised:
        load_mosi(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("name", LOADERS)
def test_affect_hostile_file_is_refused(write, name):
    content, _ = _file(name)
    content["train"]["text"] = print
    with pytest.raises(InputError, match=r"the name '.*\.print'"):
        LOADERS[name](write(content))


@pytest.mark.parametrize("name", LOADERS)
def test_affect_bad_parameter_raises(name):
    for parameters in ({"padding": "front"}, {"dtype": "int8"}, {"memmap_folder": 3}):
        with pytest.raises(ValueError, match=next(iter(parameters))):
            LOADERS[name]("none.pkl", **parameters)
    with pytest.raises(ValueError, match="'path' parameter"):
        LOADERS[name](3)
    with pytest.raises(FileNotFoundError):
        LOADERS[name]("none.pkl")
