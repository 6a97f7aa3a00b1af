"""AV-MNIST, on a small folder of the same form that the tests write."""

import numpy as np
import pytest

from sklearn_mmfusion import InputError
from sklearn_mmfusion.datasets import load_avmnist


def _save(file, array):
    file.parent.mkdir(exist_ok=True)
    np.save(file, array, allow_pickle=False)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for subset, n_rows in (("train", 24), ("test", 5)):
        _save(tmp_path / "image" / f"{subset}_data.npy", rng.uniform(0, 255, size=(n_rows, 784)))
        audio = rng.integers(0, 256, size=(n_rows, 112, 112), dtype=np.uint8)
        _save(tmp_path / "audio" / f"{subset}_data.npy", audio)
        _save(tmp_path / f"{subset}_labels.npy", rng.integers(0, 10, size=n_rows).astype(float))
    return tmp_path


@pytest.mark.parametrize(("subset", "n_rows"), [("train", 24), ("test", 5)])
def test_load_avmnist_reads_what_the_files_hold(folder, subset, n_rows):
    digits = load_avmnist(folder, subset=subset)
    image = np.load(folder / "image" / f"{subset}_data.npy")
    assert digits.data["image"].shape == (n_rows, 28, 28)
    np.testing.assert_array_equal(digits.data["image"][:, 1, 0], image[:, 28])
    audio = np.load(folder / "audio" / f"{subset}_data.npy")
    np.testing.assert_array_equal(digits.data["audio"], audio)
    assert digits.data["audio"].dtype == np.uint8
    np.testing.assert_array_equal(digits.target, np.load(folder / f"{subset}_labels.npy"))
    assert digits.target.dtype == np.int64
    assert digits.target_names == list("0123456789")


def test_load_avmnist_stays_on_the_disk(folder):
    digits = load_avmnist(str(folder))
    for values in digits.data.values():
        assert isinstance(values, np.memmap)
        assert not values.flags.writeable
        assert not values.flags.owndata


def test_load_avmnist_last_twelfth_is_for_validation(folder):
    splits = load_avmnist(folder).splits
    assert list(splits) == ["train", "valid"]
    np.testing.assert_array_equal(splits["train"], range(22))
    np.testing.assert_array_equal(splits["valid"], [22, 23])
    splits = load_avmnist(folder, subset="test").splits
    assert list(splits) == ["test"]
    np.testing.assert_array_equal(splits["test"], range(5))
    # The protocol's numbers of rows, without its files.
    labels = np.zeros(60_000, dtype=np.uint8)
    np.save(folder / "train_labels.npy", labels)
    for name, shape in (("image", (60_000, 28, 28)), ("audio", (60_000, 112, 112))):
        file = folder / name / "train_data.npy"
        np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)  # a sparse file
    splits = load_avmnist(folder).splits
    assert (len(splits["train"]), len(splits["valid"])) == (55_000, 5_000)


def test_load_avmnist_images_with_height_and_width_are_read_too(folder):
    flat = load_avmnist(folder).data["image"]
    _save(folder / "image" / "train_data.npy", np.array(flat))
    np.testing.assert_array_equal(load_avmnist(folder).data["image"], flat)


def _replace(name, content):
    def change(folder):
        if content is None:
            (folder / name).unlink()
        elif isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            np.save(folder / name, content, allow_pickle=True)

    return change


HEADER = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (%s), }"
FAULTS = {
    "no image": (_replace("image/train_data.npy", None), "image.train_data.npy: no such file"),
    "no labels": (_replace("train_labels.npy", None), "train_labels.npy: no such file"),
    "an empty file": (_replace("train_labels.npy", b""), "damaged"),
    "text": (_replace("audio/train_data.npy", b"date,value"), "damaged"),
    "a shape beyond the file": (
        _replace("audio/train_data.npy", (HEADER % b"1099511627776, 112, 112").ljust(127) + b"\n"),
        "damaged",
    ),
    "objects": (_replace("train_labels.npy", np.array([print] * 24)), "damaged"),
    "words": (_replace("train_labels.npy", np.array(["a"] * 24)), "expected an array of numbers"),
    "wide images": (_replace("image/train_data.npy", np.ones((24, 783))), r"got shape \(24, 783\)"),
    "a number": (_replace("image/train_data.npy", np.array(1.0)), r"got shape \(\)"),
    "few rows": (_replace("audio/train_data.npy", np.ones((3, 112, 112))), "image: 24, audio: 3"),
    "few labels": (_replace("train_labels.npy", np.zeros(3)), "labels: 3"),
    "a class 10": (_replace("train_labels.npy", np.full(24, 10)), "digits from 0 to 9"),
    "half a class": (_replace("train_labels.npy", np.full(24, 0.5)), "digits from 0 to 9"),
    "NaN": (_replace("train_labels.npy", np.full(24, np.nan)), "digits from 0 to 9"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_load_avmnist_faulty_file_raises(folder, what):
    change, pattern = FAULTS[what]
    change(folder)
    with pytest.raises(InputError, match=pattern):
        load_avmnist(folder)


def test_load_avmnist_bad_parameter_raises(folder):
    with pytest.raises(ValueError, match="'subset' parameter"):
        load_avmnist(folder, subset="valid")
    with pytest.raises(InputError, match="no such file"):
        load_avmnist(folder / "none")
