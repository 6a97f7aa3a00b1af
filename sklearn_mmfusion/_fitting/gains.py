"""What a model takes off the loss of a constant on held-out rows, and how sure that is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sklearn_mmfusion._fitting.data import FitInput
from sklearn_mmfusion._fitting.scales import best_constant, row_shares
from sklearn_mmfusion._rows.row_errors import RowClasses, RowErrors
from sklearn_mmfusion._rows.weights import n_counted_by_class
from sklearn_mmfusion._training.dataset import FusionDataset
from sklearn_mmfusion.modules.losses import LOSSES

__all__ = ["class_counts", "held_out_gain", "row_errors"]

Floats = npt.NDArray[np.float64]


def class_counts(rows: FitInput) -> Floats | None:
    """Return how many rows of each class the weights stand for; None where there are no classes.

    Class weights stand for no rows: three rows of weight 16 are three, in balanced classes too.
    """
    if rows.kind not in ("binary", "multiclass"):
        return None
    weight = rows.weight if rows.counted is None else rows.counted
    return n_counted_by_class(weight, rows.target.astype(np.int64))


def row_errors(rows: FitInput, dataset: FusionDataset) -> RowErrors:
    """Return how sure a mean over some rows is, of which the data set is made."""
    counts = class_counts(rows)
    return RowErrors(
        share=row_shares(dataset).cpu(),
        n_counted=dataset.n_counted,
        classes=None if counts is None else RowClasses(dataset.target.cpu(), counts),
        group=dataset.group,
        by_ratio=rows.kind == "regression",
    )


def held_out_gain(
    losses: Tensor,
    rows: FusionDataset,
    held: FusionDataset,
    loss_name: str,
    n_outputs: int,
    errors: RowErrors,
) -> tuple[float, float]:
    """Return the share of the loss of a constant that a model takes away, and its standard error.

    The constant is the best one of the training rows. A split holds out as many rows of each class
    as there are in training, so that the error is that of the means within classes: a rare class
    gains much, and others little, and that is no matter of chance. What a constant would gain where
    the shares of the classes differ counts as error, unless it is more than that of rows drawn
    from all classes at once, as those of a user's may be.

    Parameters
    ----------
    losses : Tensor of shape (n_held,)
        Losses of the model.
    rows, held : FusionDataset
        Training rows and held-out rows.
    loss_name : str
        Loss.
    n_outputs : int
        Outputs of the model.
    errors : RowErrors
        Of means over the held-out rows.

    Returns
    -------
    tuple of float
        NaN where the constant has no loss.
    """

    def of_constant(dataset: FusionDataset) -> Tensor:
        constant = best_constant(dataset, loss_name, n_outputs)
        return LOSSES[loss_name](constant.expand(len(held), -1), held.target)

    before = of_constant(rows)
    gains, reference = before - losses, errors.mean(before)
    if reference <= 0:
        return float("nan"), float("nan")
    mean = errors.mean(gains)
    if errors.classes is None:
        # That of a ratio, which is smaller where a target with long tails makes both losses
        # uncertain; or of a difference, where a few rows have a large loss under both models.
        ratio = losses - (1 - mean / reference) * before
        variance = min(errors.variance(ratio), errors.variance(gains))
    else:
        by_shares = reference - errors.mean(of_constant(held))
        within, over_all = errors.variance(gains), errors.variance_over_all(gains)
        variance = min(within + by_shares**2, over_all)
    # A constant has a gain of rounding errors, and no error of its own.
    least = 1e-9 * reference
    return mean / reference, float(np.hypot(np.sqrt(variance), least)) / reference
