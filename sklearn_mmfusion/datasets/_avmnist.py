"""AV-MNIST: digits written and spoken, as a folder of npy files that stay on the disk."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions, validate_params

from sklearn_mmfusion._errors import InputError

__all__ = ["load_avmnist"]

IMAGE_SHAPE = (28, 28)
AUDIO_SHAPE = (112, 112)
# The last 5000 of 60,000 rows are for validation, in the protocol of MultiBench.
VALIDATION_SHARE = 12

_DESCRIPTION = """AV-MNIST: a written and a spoken digit

Images (28, 28) of handwritten digits with most of their variance taken away, and spectrograms
(112, 112) of spoken digits with added noise. Neither is enough alone. The values are those of the
files, from 0 to 255.
"""


@validate_params(
    {"path": [str, os.PathLike], "subset": [StrOptions({"train", "test"})]},
    prefer_skip_nested_validation=True,
)
def load_avmnist(path: str | os.PathLike[str], *, subset: str = "train") -> Any:
    """Load AV-MNIST: images of handwritten digits and spectrograms of spoken ones.

    Use it for images of two kinds, and for data that stays on the disk: the arrays are memory
    maps, so that only the rows in use are read.

    It reads the folder ``avmnist`` that MultiBench [2]_ distributes as ``avmnist.tar.gz``, to be
    downloaded by hand from the page that the project names. In it are ``image/train_data.npy``,
    ``audio/train_data.npy``, ``train_labels.npy`` and the same for ``test``.

    Parameters
    ----------
    path : str or path-like
        The folder.
    subset : {"train", "test"}, default="train"
        Which files to open. The training rows are divided in training and validation.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : dict of str to memmap
            ``"image"`` of shape (n_samples, 28, 28) and ``"audio"`` of shape
            (n_samples, 112, 112), read-only, with the values and types of the files.
        target : ndarray of shape (n_samples,), int64
            The digit.
        target_names : list of str
            ``"0"`` to ``"9"``.
        splits : dict of str to ndarray of int
            The rows of ``"train"`` and ``"valid"`` (the last twelfth: 5000 of 60,000), or those
            of ``"test"``.
        DESCR : str
            Description.

    Raises
    ------
    InputError
        If a file is missing or damaged, or its shape is another one.

    References
    ----------
    .. [1] Vielzeuf, Lechervy, Pateux & Jurie (2018), "CentralNet: a multilayer approach for
       multimodal fusion", ECCV workshops.
    .. [2] Liang et al. (2021), "MultiBench: Multiscale benchmarks for multimodal representation
       learning", NeurIPS Datasets and Benchmarks. https://github.com/pliang279/MultiBench

    Examples
    --------
    >>> from sklearn_mmfusion.datasets import load_avmnist
    >>> digits = load_avmnist("avmnist")  # doctest: +SKIP
    >>> few = {name: values[:500] for name, values in digits.data.items()}  # doctest: +SKIP
    """
    folder = Path(path)
    image = _mapped(folder / "image" / f"{subset}_data.npy", IMAGE_SHAPE)
    audio = _mapped(folder / "audio" / f"{subset}_data.npy", AUDIO_SHAPE)
    labels = _opened(folder / f"{subset}_labels.npy")
    if not len(image) == len(audio) == labels.size:
        raise InputError(
            f"{folder}: different numbers of rows, image: {len(image)}, audio: {len(audio)}, "
            f"labels: {labels.size}. Download it again."
        )
    if not np.isin(labels, range(10)).all():
        raise InputError(f"{folder}: labels: expected digits from 0 to 9. Download it again.")
    target = labels.ravel().astype(np.int64)
    rows = np.arange(len(target))
    split = len(rows) - len(rows) // VALIDATION_SHARE
    return Bunch(
        data={"image": image, "audio": audio},
        target=target,
        target_names=[str(digit) for digit in range(10)],
        splits=(
            {"train": rows[:split], "valid": rows[split:]} if subset == "train" else {"test": rows}
        ),
        DESCR=_DESCRIPTION,
    )


def _opened(file: Path) -> NDArray[Any]:
    """Return an npy file as a memory map of numbers."""
    if not file.is_file():
        raise InputError(
            f"{file}: no such file. `path` is the folder with image/, audio/ and the labels, "
            f"avmnist.tar.gz unpacked."
        )
    try:
        array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{file}: damaged, or not an npy file. Download it again.") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise InputError(f"{file}: expected an array of numbers. Download it again.")
    return array


def _mapped(file: Path, shape: tuple[int, int]) -> NDArray[Any]:
    """Return a file as (n, height, width), flat rows or not, without reading it."""
    array = _opened(file)
    if array.ndim == 0 or array.shape[1:] not in (shape, (shape[0] * shape[1],)):
        raise InputError(
            f"{file}: expected (rows, {shape[0]}, {shape[1]}) or flat rows, got shape "
            f"{array.shape}. Download it again."
        )
    # Files in Fortran's order would be copied by this; those of the data set are not in it.
    return array.reshape(len(array), *shape)
