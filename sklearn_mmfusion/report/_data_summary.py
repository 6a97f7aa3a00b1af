"""What the modalities and the target hold: shapes, ranges, what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion.data._blocks import ModalityBlock
from sklearn_mmfusion.report._subject import Subject, part, spreads

__all__ = ["ModalitySummary", "n_shared_rows", "summarise_modality", "target_rows"]

_CHUNK_VALUES = 4_000_000
_SHAPES = {1: "features", 2: "sequence", 3: "image"}


@dataclass
class ModalitySummary:
    """One modality in numbers.

    Attributes
    ----------
    name, kind, shape, dtype : str
        Shape is that of one row.
    missing : float
        Share of the rows that lack the modality.
    padding : float or None
        Share of the steps that are padding, in rows that have the modality; None for modalities
        without steps.
    minimum, maximum, mean, std : float
        Over all values that are there; NaN where there are none.
    """

    name: str
    kind: str
    shape: str
    dtype: str
    missing: float
    padding: float | None
    minimum: float
    maximum: float
    mean: float
    std: float


def summarise_modality(block: ModalityBlock) -> ModalitySummary:
    """Return the numbers of one modality; padding and missing rows count in no range."""
    values = block.values
    n, shape = len(values), values.shape[1:]
    is_image = len(shape) == 2 and values.dtype == np.uint8
    present = np.ones(n, bool) if block.present is None else block.present
    padding = None
    if block.codes or (len(shape) == 2 and not is_image):
        lengths = _lengths(block)
        steps = int(present.sum()) * shape[0]
        padding = 1 - float(lengths[present].sum()) / steps if steps else float("nan")
    low, high, total, squares, count = np.inf, -np.inf, 0.0, 0.0, 0
    step = max(1, _CHUNK_VALUES // max(1, int(np.prod(shape))))
    offset = None
    for start in range(0, n, step):
        rows = slice(start, start + step)
        there = _there(block, rows, present[rows])
        if not there.size:
            continue
        low, high = min(low, float(there.min())), max(high, float(there.max()))
        # Around a value of the data: the squares of large numbers would lose the spread.
        offset = float(there.flat[0]) if offset is None else offset
        shifted = there.astype(np.float64) - offset
        total += float(shifted.sum())
        squares += float(np.square(shifted).sum())
        count += there.size
    mean = std = float("nan")
    if count:
        shift = total / count
        mean = shift + (offset or 0.0)
        std = float(np.sqrt(max(squares / count - shift**2, 0.0)))
    return ModalitySummary(
        name=block.name,
        kind="codes"
        if block.codes
        else "image"
        if is_image
        else _SHAPES.get(len(shape), f"{len(shape)} axes"),
        shape=" × ".join(map(str, shape)),
        dtype=values.dtype.name,
        missing=1 - float(present.mean()),
        padding=padding,
        minimum=low if count else float("nan"),
        maximum=high if count else float("nan"),
        mean=mean,
        std=std,
    )


def _lengths(block: ModalityBlock) -> npt.NDArray[np.int64]:
    """Return the number of steps of each row without its padding."""
    values = block.values
    if block.codes:
        steps = np.arange(1, values.shape[1] + 1)
        return np.where(np.asarray(values) >= 0, steps, 0).max(axis=1)
    return np.full(len(values), values.shape[1]) if block.lengths is None else block.lengths


def _there(block: ModalityBlock, rows: slice, present: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Return the values of some rows that are neither padding nor missing."""
    values = np.asarray(block.values[rows])
    if block.codes:
        return values[values >= 0]
    if block.lengths is None:
        return values if present.all() else values[present]
    steps = np.arange(values.shape[1])
    return values[(steps < block.lengths[rows][:, None]) & present[:, None]]


def target_rows(subject: Subject) -> tuple[list[str], list[list[Any]]]:
    """Return the columns and rows of a table of the target."""
    y, share = subject.y, subject.share
    if subject.kind == "multilabel":
        return ["label", "rows with it", "share"], [
            [label, int(np.count_nonzero(y[:, k])), part(share @ (y[:, k] != 0))]
            for k, label in enumerate(subject.classes)
        ]
    if subject.kind == "regression":
        columns = y.reshape(len(y), -1)
        table = []
        for name, values in zip(subject.output_names, columns.T, strict=True):
            low, high = float(values.min()), float(values.max())
            mean = min(max(float(share @ values), low), high)
            table.append([name, low, mean, high, float(spreads(values[:, None], share)[0])])
        return ["output", "minimum", "mean", "maximum", "standard deviation"], table
    labels = list(dict.fromkeys([*subject.classes, *np.unique(y).tolist()]))
    return ["class", "rows", "share"], [
        [str(label), int((y == label).sum()), part(share @ (y == label))] for label in labels
    ]


def n_shared_rows(subject: Subject, other: Subject) -> int:
    """Return how many rows of a subject are, bit by bit, rows of another."""
    seen = set(_fingerprints(other))
    return sum(row in seen for row in _fingerprints(subject))


def _fingerprints(subject: Subject) -> list[int]:
    """Return a hash of each row over all its modalities."""
    blocks = subject.data.blocks
    lengths = [_lengths(block) if block.codes else block.lengths for block in blocks]
    found = []
    for i in range(subject.n_samples):
        parts = []
        for block, steps in zip(blocks, lengths, strict=True):
            row = block.values[i]
            if block.codes:
                row = row.astype(np.int64)
            # Padding is zeros at the end, and as long as the longest sequence that came along.
            length = len(row) if steps is None else int(steps[i])
            parts.append(np.ascontiguousarray(row[:length]).tobytes())
        found.append(hash(tuple(parts)))
    return found
