"""Labels of the affect files in the form of scikit-learn's targets, and the Bunch around all."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.datasets._affect_files import AffectFile

__all__ = ["bunch_of", "columns_of", "sentiment_of", "yes_or_no"]

_ON_THE_FORM = """
Sequences of text, audio and vision, (rows, steps, features), begin at step 0; steps of NaN at the
end are padding, and a row of NaN is a modality that the file has no step of.
"""


def bunch_of(
    file: AffectFile, description: str, target: NDArray[Any], names: tuple[str, ...] = ()
) -> Bunch:
    """Return what the loaders return."""
    bunch = Bunch(
        data=file.data,
        target=target,
        splits=file.splits,
        ids=file.ids,
        n_replaced=file.n_replaced,
        DESCR=description + "\n" + _ON_THE_FORM,
    )
    if names:
        bunch["target_names"] = list(names)
    return bunch


def columns_of(
    path: str | os.PathLike[str], labels: NDArray[Any], allowed: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return labels (n, k), (n, k, 1), (n, 1, k) as finite (n, k), if k is allowed."""
    columns = labels.reshape(len(labels), -1).astype(np.float64)
    if columns.shape[1] not in allowed:
        raise InputError(
            f"{path}: labels: expected {' or '.join(map(str, allowed))} of them in a row, got "
            f"shape {labels.shape}. This is another file, or asks for another `target`."
        )
    bad = np.flatnonzero(~np.isfinite(columns).all(axis=1))
    if len(bad):
        raise InputError(
            f"{path}: labels: {len(bad)} rows have NaN or infinite labels, the first is row "
            f"{bad[0]}. Remove them from the file."
        )
    return columns


def sentiment_of(path: str | os.PathLike[str], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return the first column: alone, or followed by the emotions."""
    return columns_of(path, labels, (1, 7))[:, 0]


def yes_or_no(path: str | os.PathLike[str], labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return 0 and 1; in some releases no is -1."""
    column = columns_of(path, labels, (1,))[:, 0]
    if not np.isin(column, (-1, 0, 1)).all():
        raise InputError(
            f"{path}: labels: expected 0 and 1, or -1 and 1, got values from {column.min()} to "
            f"{column.max()}. This is the file of another data set."
        )
    return (column > 0).astype(np.int64)
