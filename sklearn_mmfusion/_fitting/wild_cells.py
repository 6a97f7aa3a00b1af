"""Training rows with a value so far beyond all others that it alone sets the scale of its column.

Standardised by a scale of that size, the other rows are nearly equal: a linear encoder loses the
column, and a perceptron keeps the places of its values only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import NumericalWarning, warn
from sklearn_mmfusion._fitting.data import FitInput
from sklearn_mmfusion._inputs.lazy_blocks import LazyBlock
from sklearn_mmfusion._inputs.validation_targets import weighted_rows
from sklearn_mmfusion._model.plan import FusionPlan
from sklearn_mmfusion._rows.scaling import CHUNK_VALUES
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityLayout

__all__ = ["warn_of_wild_cells", "warn_of_wild_values"]

Values = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

_FEWEST = 20  # rows: of fewer nobody can say what their tail is like
_MOST = 0.02  # of the rows: more are no accidents
_CHANCE = 1e-5  # of a warning without a reason, over all columns of a modality
_TAIL_ROWS, _TAIL_SHARE = 25, 0.05  # rows by which the tail is judged: the larger number
_LIGHTEST, _HEAVIEST = 0.2, 0.5  # mean log excess of a tail; 0.5 has an infinite variance
_SHOWN = 3  # columns that are named


@dataclass(frozen=True)
class _WildCells:
    """Wild cells of one column: rows, the farthest first; its value; how far beyond the others."""

    column: int
    rows: Rows
    value: float
    ratio: float


def warn_of_wild_cells(
    block: ModalityBlock,
    layout: ModalityLayout,
    weight: Floats | None = None,
    sample_weight: Any = None,
    *,
    is_represented: bool = False,
) -> None:
    """Warn of columns whose scale is that of a handful of cells.

    The distances of the other rows from the median say how heavy the tail of a column is (Hill's
    estimate, of the farthest twentieth). Values are wild if those of a power law with that tail,
    or with one whose variance is infinite, are as far beyond the next in less than one of a hundred
    thousand such modalities. Lognormal and Student's t distributions have lighter tails. At most
    two per cent of the rows have wild values in a column. Of a sequence the farthest step counts,
    of an image the farthest pixel. What is the same in most rows, such as a flag, has no tail to
    go by, and modalities on disk are not read once more: neither is looked at.

    Parameters
    ----------
    block : ModalityBlock
        Training rows of a modality that will be standardised.
    layout : ModalityLayout
        Names of its columns.
    weight : ndarray of shape (n_samples,), default=None
        Row weights; rows of weight 0 do not count.
    sample_weight : array-like, default=None
        Weights as the user passed them. Rows of weight 0 may have been left out since, and the
        warning names rows by their number in the user's X.
    is_represented : bool, default=False
        Whether the columns are no longer the user's, but what an estimator makes of them.

    Warns
    -----
    NumericalWarning
        Names the modality, the columns, rows and values, and the remedy.
    """
    if block.codes or block.values.dtype == np.uint8 or isinstance(block, LazyBlock):
        return
    found = _found(block, weight)
    if found:
        numbers = weighted_rows(sample_weight)
        names = layout.feature_names if block.values.ndim < 4 else None
        where = "" if block.values.ndim > 3 else "column {}, "
        who = f"modality {block.name!r}"
        if is_represented:
            who += ", as its estimator represents it"
        warn(
            f"{who}: a few values are so far out that they set the scale of "
            "their columns, in which the other rows are then nearly equal: "
            f"{_described(found, where, names, numbers)}. Correct the values or "
            f"drop the rows, or take their ranks in a Pipeline, ModalityTransformer([("
            f"{block.name!r}, QuantileTransformer(output_distribution='normal'))])",
            NumericalWarning,
        )


def warn_of_wild_values(
    plan: FusionPlan,
    rows: FitInput,
    loss_name: str,
    sample_weight: Any,
    represented: Collection[str] = (),
    target_names: Sequence[str] | None = None,
) -> None:
    """Warn of wild cells of the modalities that a plan standardises, and of the target's.

    See :func:`warn_of_wild_cells`. Losses that bear outliers have a scale that they do not set.
    What estimators ``represented`` has other columns than X. Columns of the target may have names.
    """
    for m, (block, layout) in enumerate(zip(rows.data.blocks, plan.layouts, strict=True)):
        if plan.standardizes(m):
            warn_of_wild_cells(
                block,
                layout,
                rows.weight,
                sample_weight,
                is_represented=block.name in represented,
            )
    if rows.kind != "regression" or loss_name != "squared_error":
        return
    target = rows.target.reshape(len(rows.target), -1)
    found = _found(ModalityBlock("y", target), rows.weight)
    if found:
        where = "" if target.shape[1] == 1 else "column {}, "
        rows_of_user = weighted_rows(sample_weight)
        warn(
            "y: a few values are so far out that the model is theirs, and other rows are nearly "
            f"equal beside them: {_described(found, where, target_names, rows_of_user)}. "
            "Correct the values or drop the rows, or use loss='huber' or 'absolute_error'",
            NumericalWarning,
        )


def _found(block: ModalityBlock, weight: Floats | None) -> list[_WildCells]:
    """Return the columns of values in memory that have wild cells."""
    counts = np.ones(len(block.values), bool) if block.present is None else block.present
    if weight is not None:
        counts = counts & (weight > 0)
    rows = np.flatnonzero(counts)
    if len(rows) < _FEWEST:
        return []
    ends = _extremes(block)
    n_columns = ends[0].shape[1]
    width = max(1, CHUNK_VALUES // len(rows))
    return [
        replace(cells, column=start + cells.column, rows=rows[cells.rows])
        for start in range(0, n_columns, width)
        for cells in _wild_cells([end[rows, start : start + width] for end in ends], n_columns)
    ]


def _described(
    found: list[_WildCells], where: str, names: Sequence[str] | None, numbers: Rows | None
) -> str:
    """Say which values are wild; ``where`` has a place for the column."""

    def of_column(cells: _WildCells) -> str:
        shown = cells.rows if numbers is None else numbers[cells.rows]
        row = f"row {shown[0]}"
        if len(shown) > 1:
            row += f" and {len(shown) - 1} more"
        column = where.format(cells.column if names is None else repr(names[cells.column]))
        return (
            f"{column}{row}: {cells.value:.6g}, {cells.ratio:.2g} times as far from the median as "
            "any other"
        )

    text = "; ".join(of_column(cells) for cells in found[:_SHOWN])
    more = len(found) - _SHOWN
    return f"{text}; and {more} more columns" if more > 0 else text


def _extremes(block: ModalityBlock) -> list[Values]:
    """Value of each row, by column, or its least and largest; of an image over all pixels."""
    values = block.values
    if values.ndim < 3:
        return [values]
    if values.ndim > 3:
        values = values.reshape(len(values), -1, 1)
    elif block.lengths is not None:
        valid = np.arange(values.shape[1]) < block.lengths[:, None]
        values = np.where(valid[:, :, None], values, values[:, :1])
    return [values.min(axis=1), values.max(axis=1)]


def _wild_cells(ends: list[Values], n_columns: int) -> Iterator[_WildCells]:
    """Yield the wild cells of columns, of which each row has a value, or a range of them."""
    n = len(ends[0])
    most = max(1, int(_MOST * n))
    n_tail = min(max(_TAIL_ROWS, int(_TAIL_SHARE * n)), n // 4)
    scaled = [end.astype(np.float64) for end in ends]
    unit = np.max([[-end.min(axis=0), end.max(axis=0)] for end in scaled], axis=(0, 1))
    unit[unit == 0] = 1.0
    for end in scaled:
        end /= unit  # no size of numbers overflows
    # Whatever is wild is at least four deviations out; most columns end here.
    columns = np.flatnonzero(np.any([_peak(end) > 4 for end in scaled], axis=0))
    if not len(columns):
        return
    low, high = scaled[0][:, columns], scaled[-1][:, columns]
    middle = np.median(low / 2 + high / 2, axis=0)
    far = np.maximum(high - middle, middle - low)
    ordered = -np.sort(-far, axis=0)
    logs = np.log(np.maximum(ordered[: most + n_tail + 1], 1e-300))
    gaps = logs[:most] - logs[1 : most + 1]
    varies = ordered[n // 4] > 0  # what is the same in most rows has no tail to go by
    for i in np.flatnonzero(varies):
        n_wild = int(gaps[:, i].argmax()) + 1
        gap, rest = float(gaps[n_wild - 1, i]), logs[n_wild : n_wild + n_tail + 1, i]
        tail = max(_LIGHTEST, float((rest[:-1] - rest[-1]).mean()))
        log_chance = -n_tail * np.log1p(gap / tail / n_tail)
        allowed = float(np.log(_CHANCE / n_columns))
        if log_chance < allowed or gap > _HEAVIEST * -allowed:
            worst = int(far[:, i].argmax())
            others = np.flatnonzero(far[:, i] >= ordered[n_wild - 1, i])
            rows = np.r_[worst, others[others != worst]]
            is_above = high[worst, i] - middle[i] >= middle[i] - low[worst, i]
            value = (high if is_above else low)[worst, i] * unit[columns[i]]
            yield _WildCells(int(columns[i]), rows, float(value), float(np.exp(gap)))


def _peak(values: Floats) -> Floats:
    """Distance of the farthest value of each column from the mean, in standard deviations."""
    mean, spread = values.mean(axis=0), values.std(axis=0)
    peak = np.maximum(values.max(axis=0) - mean, mean - values.min(axis=0))
    return np.divide(peak, spread, out=np.zeros_like(peak), where=spread > 0)
