"""The one file format of the affect data sets: a pickled dict of splits, each a dict of arrays.

Letters: n rows, t steps, d features. Files of fixed length are padded with steps of zeros, most
often at the front; here every sequence begins at step 0 and ends with steps of NaN.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.datasets._restricted_pickle import read_pickle

__all__ = ["AffectFile", "read_affect_file"]

MODALITIES = ("text", "audio", "vision")
SPLITS = ("train", "valid", "test")
# Rows that are converted at a time: 50 MB of the longest file.
ROWS_AT_A_TIME = 128


class AffectFile(NamedTuple):
    """The content of a file, all splits below each other."""

    data: dict[str, NDArray[Any]]  # modality -> (n, t, d)
    labels: NDArray[Any]  # (n, ...), as they stand in the file
    splits: dict[str, NDArray[np.intp]]
    ids: NDArray[np.str_] | None  # (n,), or (n, parts)
    n_replaced: dict[str, int]


def read_affect_file(
    path: str | os.PathLike[str],
    *,
    padding: str,
    dtype: DTypeLike,
    memmap_folder: str | os.PathLike[str] | None,
) -> AffectFile:
    """Read a file, check it as a whole, and bring its sequences into the package's form."""
    splits = _checked_splits(path, read_pickle(path))
    steps = {name: [split[name].shape[1] for split in splits.values()] for name in MODALITIES}
    aligned = len({tuple(lengths) for lengths in steps.values()}) == 1
    if padding == "aligned" and not aligned:
        raise InputError(
            f"{path}: padding='aligned' needs as many steps in all modalities, got {steps}. "
            f"Use padding='separate'."
        )
    extent = {
        "keep": _whole,
        "separate": _separate,
        "aligned": _common,
        "auto": _common if aligned else _separate,
    }[padding]
    sizes = [len(split["labels"]) for split in splits.values()]
    stops = np.cumsum(sizes)
    shapes = {}
    for name in MODALITIES:
        width = splits["train"][name].shape[2]
        shapes[name] = (int(stops[-1]), max(steps[name]), width)
        # A few short rows beside a single long one would ask for any amount of memory.
        if math.prod(shapes[name]) > 2 * sum(split[name].size for split in splits.values()):
            raise InputError(
                f"{path}: {name} has {steps[name]} steps in the splits {list(SPLITS)}, which is "
                f"too different for one array. Download it again."
            )
    data = {name: _allocate(name, shapes[name], dtype, memmap_folder) for name in MODALITIES}
    n_replaced = dict.fromkeys(MODALITIES, 0)
    for split, size, stop in zip(splits.values(), sizes, stops, strict=True):
        for rows in _chunks(size):
            block = {name: np.asarray(split[name][rows]) for name in MODALITIES}
            into = slice(int(stop) - size + rows.start, int(stop) - size + rows.stop)
            for name, (first, length) in extent(block).items():
                values, replaced = _moved(block[name], first, length, data[name].dtype)
                data[name][into, : values.shape[1]] = values
                n_replaced[name] += replaced
    return AffectFile(
        data=data,
        labels=np.concatenate([split["labels"] for split in splits.values()]),
        splits={
            name: np.arange(stop - size, stop)
            for name, size, stop in zip(SPLITS, sizes, stops, strict=True)
        },
        ids=_ids(path, list(splits.values())),
        n_replaced=n_replaced,
    )


def _checked_splits(path: str | os.PathLike[str], content: Any) -> dict[str, dict[str, Any]]:
    """Return the splits as dicts of arrays, or raise one error with all that is wrong."""
    if not isinstance(content, dict) or not all(
        isinstance(content.get(split), dict) for split in SPLITS
    ):
        found = sorted(map(ascii, content)) if isinstance(content, dict) else type(content).__name__
        raise InputError(
            f"{path}: expected a dict with the splits {list(SPLITS)}, each a dict of arrays, got "
            f"{found}. This may be another release of the data, see the docstring."
        )
    splits: dict[str, dict[str, Any]] = {split: content[split] for split in SPLITS}
    names = (*MODALITIES, "labels")
    faults = [
        f"{split} {name}: {fault}"
        for split, arrays in splits.items()
        for name in names
        if (fault := _array_fault(arrays.get(name), is_sequence=name != "labels"))
    ]
    if not faults:
        for split, arrays in splits.items():
            rows = {name: len(arrays[name]) for name in names}
            if len(set(rows.values())) > 1:
                faults.append(f"{split}: different numbers of rows, {rows}")
        for name in names:
            # The number of steps may differ, that of features and labels not.
            first = 2 if name in MODALITIES else 1
            widths = {arrays[name].shape[first:] for arrays in splits.values()}
            if len(widths) > 1:
                faults.append(f"{name}: different shapes in the splits, {sorted(widths)}")
    if faults:
        raise InputError(f"{path}: {'; '.join(faults)}. Download it again.")
    return splits


def _array_fault(values: Any, *, is_sequence: bool) -> str:
    """Return what is wrong with an entry of the file, or an empty text."""
    if not isinstance(values, np.ndarray):
        return f"expected an array, got {type(values).__name__}"
    if values.dtype.kind not in "biuf":
        return f"expected numbers, got dtype {values.dtype}"
    if is_sequence and (values.ndim != 3 or 0 in values.shape[1:]):
        return f"expected an array (rows, steps, features), got shape {values.shape}"
    if values.ndim == 0:
        return "expected an array with a row for each sample, got a number"
    return ""


def _allocate(
    name: str,
    shape: tuple[int, int, int],
    dtype: DTypeLike,
    memmap_folder: str | os.PathLike[str] | None,
) -> NDArray[Any]:
    """Return an array of NaN, in memory or as a new file of the folder."""
    if memmap_folder is None:
        return np.full(shape, np.nan, dtype)
    folder = Path(memmap_folder)
    folder.mkdir(parents=True, exist_ok=True)
    array: NDArray[Any] = np.lib.format.open_memmap(
        folder / f"{name}.npy", mode="w+", dtype=np.dtype(dtype), shape=shape
    )
    for rows in _chunks(len(array)):
        array[rows] = np.nan
    return array


def _chunks(size: int) -> Iterator[slice]:
    for start in range(0, size, ROWS_AT_A_TIME):
        yield slice(start, min(start + ROWS_AT_A_TIME, size))


_Extent = dict[str, tuple[NDArray[np.intp], NDArray[np.intp]]]


def _whole(block: dict[str, NDArray[Any]]) -> _Extent:
    """Take every step for data."""
    return {
        name: (np.zeros(len(values), np.intp), np.full(len(values), values.shape[1], np.intp))
        for name, values in block.items()
    }


def _separate(block: dict[str, NDArray[Any]]) -> _Extent:
    """Take the steps of each modality from its first to its last that is not empty."""
    return {name: _used(_empty_steps(values)) for name, values in block.items()}


def _common(block: dict[str, NDArray[Any]]) -> _Extent:
    """Take the steps from the first to the last that is not empty in some modality.

    So steps stay aligned, a modality that is silent in the first of them too. A modality without
    any step in a row is missing there.
    """
    empty = {name: _empty_steps(values) for name, values in block.items()}
    first, length = _used(np.logical_and.reduce(list(empty.values())))
    return {name: (first, np.where(steps.all(axis=1), 0, length)) for name, steps in empty.items()}


def _empty_steps(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (n, t), True where a step holds nothing but zeros and NaN.

    An infinite value is no padding: a step of silence has a logarithm of minus infinity.
    """
    empty: NDArray[np.bool_] = ((values == 0) | np.isnan(values)).all(axis=2)
    return empty


def _used(empty: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first used step and the number of steps up to the last used one, each (n,)."""
    first = np.argmin(empty, axis=1)
    last = empty.shape[1] - 1 - np.argmin(empty[:, ::-1], axis=1)
    return first, np.where(empty.all(axis=1), 0, last - first + 1)


def _moved(
    values: NDArray[Any],
    first: NDArray[np.intp],
    length: NDArray[np.intp],
    dtype: np.dtype[Any],
) -> tuple[NDArray[Any], int]:
    """Return sequences that start at step 0 and end in NaN, and how many values became 0."""
    steps = np.arange(values.shape[1])
    source = np.minimum(first[:, np.newaxis] + steps, len(steps) - 1)
    with np.errstate(over="ignore"):
        moved = np.take_along_axis(values, source[:, :, np.newaxis], axis=1).astype(dtype)
    valid = steps < length[:, np.newaxis]
    bad = ~np.isfinite(moved)
    moved[bad] = 0
    moved[~valid] = np.nan
    return moved, int(np.count_nonzero(bad[valid]))


def _ids(path: str | os.PathLike[str], splits: list[dict[str, Any]]) -> NDArray[np.str_] | None:
    """Return the names of the rows as text, or None if a split has none."""
    if any(split.get("id") is None for split in splits):
        return None
    try:
        parts = [_as_texts(split["id"], len(split["labels"])) for split in splits]
        ids = np.concatenate(parts)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: the entry 'id' is not one name, or one list of names, per row. "
            f"Download it again."
        ) from error
    return ids[:, 0] if ids.shape[1] == 1 else ids


def _as_texts(ids: Any, n_rows: int) -> NDArray[np.str_]:
    """Return the names of a split as text, (n_rows, parts)."""
    texts = [
        name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        for name in np.asarray(ids).ravel().tolist()
    ]
    return np.array(texts, dtype=str).reshape(n_rows, len(texts) // max(n_rows, 1))
