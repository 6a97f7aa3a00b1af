"""Validated modalities: what every later floor computes with.

``_inputs`` turns whatever a user passes into these three plain classes; nothing behind it
sees a DataFrame, a ragged list or a NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["ModalityBlock", "ModalityData", "ModalityLayout"]


@dataclass(frozen=True)
class ModalityLayout:
    """What ``fit`` remembers of one modality.

    Attributes
    ----------
    name : str
        Name of the modality.
    shape : tuple of int
        Shape of one row: ``(d,)`` flat features, ``(T, d)`` a sequence or ``(H, W)`` an image in
        grey, ``(C, H, W)`` or ``(H, W, C)`` an image in colour. ``T`` is that of the data seen in
        ``fit``.
    dtype : str
        Name of the numpy dtype of the values (``"float64"``, ``"float32"``, ``"uint8"``, ...).
    feature_names : tuple of str or None
        Column names, where the modality came with some.
    codes : bool
        Whether the values are integer codes, whose encoder has a vocabulary: then ``(T,)`` is the
        number of steps, and other rows may have more or fewer.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    feature_names: tuple[str, ...] | None = None
    codes: bool = False

    @property
    def ndim(self) -> int:
        """Number of axes of the whole modality, the sample axis included."""
        return len(self.shape) + 1


@dataclass
class ModalityBlock:
    """The rows of one modality after validation.

    Attributes
    ----------
    name : str
        Name of the modality.
    values : ndarray of shape (n_samples, ...)
        Finite values; 0 at padded steps and in the rows of a missing modality, -1 among codes.
    lengths : ndarray of shape (n_samples,) or None
        Number of valid steps of each sequence; None when every step is valid, and for codes.
    present : ndarray of bool of shape (n_samples,) or None
        False where the modality is missing; None when it is there in every row.
    codes : bool
        Whether the values are integer codes, of which those below 0 are padding.
    """

    name: str
    values: npt.NDArray[np.generic]
    lengths: npt.NDArray[np.int64] | None = None
    present: npt.NDArray[np.bool_] | None = None
    codes: bool = False

    def take(self, rows: npt.NDArray[np.intp] | slice) -> ModalityBlock:
        """Return the block of some rows."""
        return ModalityBlock(
            self.name,
            self.values[rows],
            None if self.lengths is None else self.lengths[rows],
            None if self.present is None else self.present[rows],
            self.codes,
        )

    def read(self) -> ModalityBlock:
        """Return the block in memory: itself."""
        return self


class ModalityData:
    """The validated rows of all modalities, in the order of the model.

    Parameters
    ----------
    blocks : sequence of ModalityBlock
        At least one block; all with the same number of rows.
    """

    def __init__(self, blocks: Sequence[ModalityBlock]) -> None:
        self.blocks = list(blocks)

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.blocks[0].values.shape[0])

    @property
    def names(self) -> list[str]:
        """Names of the modalities."""
        return [block.name for block in self.blocks]

    def take(self, rows: npt.NDArray[np.intp] | slice) -> ModalityData:
        """Return some rows of every modality."""
        return ModalityData([block.take(rows) for block in self.blocks])

    def read(self) -> ModalityData:
        """Return the rows in memory."""
        return ModalityData([block.read() for block in self.blocks])
