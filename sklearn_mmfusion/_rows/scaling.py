"""Means and scales of inputs and targets, over the rows and steps that are there.

Sums run over values divided by their largest magnitude, in float64: neither 1e300 nor 1e-300
over- or underflows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import NumericalWarning, warn
from sklearn_mmfusion.data._blocks import ModalityBlock
from sklearn_mmfusion.modules.network import LEFT_OUT

__all__ = ["CHUNK_VALUES", "LEFT_OUT", "block_moments", "column_moments", "warn_of_lost_digits"]

Floats = npt.NDArray[np.float64]

CHUNK_VALUES = 4_000_000
_FEWEST_DIGITS = 9  # that values have left once their mean is taken off


def block_moments(
    block: ModalityBlock, weight: Floats | None, *, of_constants: float | None = None
) -> tuple[Floats, Floats]:
    """Mean and scale of a modality, of a shape that broadcasts against one row.

    Flat features and the channels of a sequence are taken one by one, the pixels of an image
    (unsigned bytes, or four axes) together.

    Parameters
    ----------
    block : ModalityBlock
        The rows of the training set.
    weight : ndarray of shape (n_samples,) or None
        Row weights.
    of_constants : float, default=None
        Scale of what does not vary; None is its magnitude, 1 for zeros. With :data:`LEFT_OUT` it
        is 0 when it is standardised, in new rows too: nothing can be learned of it, and what it
        means that a new row differs, nobody knows.

    Returns
    -------
    mean, scale : ndarray
        Shape ``(d,)`` for flat and sequence inputs, ``()`` for images.
    """
    values = block.values
    pooled = values.ndim > 3 or (values.ndim == 3 and values.dtype == np.uint8)

    def chunks() -> Iterator[tuple[Floats, Floats]]:
        per_row = prod(values.shape[1:])
        step = max(1, CHUNK_VALUES // per_row)
        for start in range(0, len(values), step):
            rows = slice(start, start + step)
            part = block.take(rows).read().values.astype(np.float64)  # a copy, to compute in
            w = np.ones(len(part)) if weight is None else weight[rows]
            if block.present is not None:
                w = w * block.present[rows]
            if pooled:
                yield part.reshape(-1, 1), np.repeat(w, per_row)
            elif part.ndim == 3:
                w = np.repeat(w[:, None], part.shape[1], 1)
                if block.lengths is not None:
                    w = w * (np.arange(part.shape[1]) < block.lengths[rows, None])
                yield part.reshape(-1, part.shape[2]), w.ravel()
            else:
                yield part, w

    mean, scale = _moments(chunks, of_constants)
    return (mean.reshape(()), scale.reshape(())) if pooled else (mean, scale)


def column_moments(
    values: Floats, weight: Floats | None, *, of_constants: float | None = None
) -> tuple[Floats, Floats]:
    """Mean and scale of the columns of a 2-D array; see :func:`block_moments`."""
    w = np.ones(len(values)) if weight is None else weight
    return _moments(lambda: iter([(values.astype(np.float64), w)]), of_constants)


def warn_of_lost_digits(name: str, mean: Floats, scale: Floats) -> None:
    """Warn where a modality varies so little about its mean that float64 has few digits for it.

    Parameters
    ----------
    name : str
        Name of the modality.
    mean, scale : ndarray
        What :func:`block_moments` returned.

    Warns
    -----
    NumericalWarning
        Names the modality, the number of such features and the worst of them.
    """
    noise = np.finfo(np.float64).eps * np.abs(np.atleast_1d(mean)) / np.atleast_1d(scale)
    lost = noise > 10.0**-_FEWEST_DIGITS
    if not lost.any():
        return
    worst = int(noise.argmax())
    warn(
        f"modality {name!r}: {int(lost.sum())} of {noise.size} feature(s) vary so little that "
        f"rounding shows in their digits (feature {worst}: standard deviation "
        f"{np.atleast_1d(scale)[worst]:.3g} about {np.atleast_1d(mean)[worst]:.3g}); subtract the "
        "mean before the values are stored",
        NumericalWarning,
    )


def _moments(
    chunks: Callable[[], Iterator[tuple[Floats, Floats]]], of_constants: float | None
) -> tuple[Floats, Floats]:
    """Mean and scale of values that come in chunks, which are overwritten."""

    def counted() -> Iterator[tuple[Floats, Floats]]:
        for part, w in chunks():
            part[w == 0] = 0.0  # however extreme: neither their size nor their square counts
            yield part, w

    largest: Floats | float = 0.0
    total = 0.0
    for part, w in counted():
        np.abs(part, out=part)
        largest = np.maximum(largest, part.max(0))
        total += float(w.sum())
    largest = np.asarray(largest)
    unit = np.where(largest > 0, largest, 1.0)
    total = total or 1.0
    mean: Floats | float = 0.0
    for part, w in counted():
        part /= unit
        mean = mean + (w / total) @ part
    # The rounding of a sum grows with the rows: what the mean lacks is taken again of deviations.
    lacking: Floats | float = 0.0
    variance: Floats | float = 0.0
    for part, w in counted():
        part /= unit
        part -= mean
        lacking = lacking + (w / total) @ part
        np.square(part, out=part)
        variance = variance + (w / total) @ part
    mean = mean + lacking
    spread = np.sqrt(np.maximum(variance - np.square(lacking), 0.0))
    # Below the rounding of values, what is left of the variance is noise.
    constant = spread <= 8 * np.finfo(np.float64).eps * np.abs(mean)
    # A constant is divided by its own size: what rounding leaves of it stays rounding.
    scale = np.where(spread * unit > 0, spread * unit, 1.0)
    scale = np.where(constant, unit if of_constants is None else of_constants, scale)
    return np.asarray(mean * unit), scale
