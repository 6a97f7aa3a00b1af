"""How sure a mean over held-out rows is, and whether one mean loss is below another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["RowErrors"]

Floats = npt.NDArray[np.float64]


@dataclass
class RowErrors:
    """Standard errors of weighted means over rows.

    Rows of one group are no independent draws: the error is that of sums over groups where this is
    larger. (Of few groups it is often smaller, since one group alone differs from its own mean by
    nothing.)

    Attributes
    ----------
    share : Tensor of shape (n,)
        Row weights that sum to 1.
    n_counted : float
        Number of rows that the weights stand for.
    label : Tensor of shape (n,) or None
        Class of each row; None where there are no classes.
    counts : ndarray of shape (n_classes,) or None
        Number of rows that the weights of each class stand for.
    group : Tensor of shape (n,) or None
        Number of the group of each row, from 0; None: every row is its own.
    """

    share: Tensor
    n_counted: float
    label: Tensor | None = None
    counts: Floats | None = None
    group: Tensor | None = None

    def __post_init__(self) -> None:
        self.share = self.share.double()

    def mean(self, values: Tensor) -> float:
        """Weighted mean."""
        return float(self.share @ values.double())

    def variance(self, values: Tensor) -> float:
        """Variance of the mean, with the share of each class fixed."""
        if self.label is None or self.counts is None:
            values = values.double()
            centred = values - self.share @ values
            over_rows = float(self.share @ centred.square()) / self.n_counted
            return max(over_rows, self._over_groups(centred))
        return self._of_classes(values)[0]

    def variance_over_all(self, values: Tensor) -> float:
        """Variance of the mean, with the share of each class left to chance."""
        if self.label is None or self.counts is None:
            return self.variance(values)
        return self._of_classes(values)[1]

    def _of_classes(self, values: Tensor) -> tuple[float, float]:
        assert self.label is not None and self.counts is not None
        values = values.double()
        mean, within, over_all = self.share @ values, 0.0, 0.0
        centred = torch.zeros_like(values)
        for label, n in enumerate(self.counts.tolist()):
            own = self.label == label
            total = self.share[own].sum()
            if not total > 0:
                continue
            part, size = self.share[own] / total, float(total.square()) / max(n, 1.0)
            over_all += size * float(part @ (values[own] - mean).square())
            # A single row says nothing of its class's spread; what is left is the distance to
            # others.
            centre = part @ values[own] if n >= 2 else mean
            centred[own] = values[own] - centre
            within += size * float(part @ centred[own].square())
        return (
            max(within, self._over_groups(centred)),
            max(over_all, self._over_groups(values - mean)),
        )

    def _over_groups(self, centred: Tensor) -> float:
        if self.group is None:
            return 0.0
        sums = torch.zeros(int(self.group.max()) + 1, dtype=centred.dtype)
        sums.index_add_(0, self.group, self.share * centred)
        n_groups = int(torch.unique(self.group).numel())
        return float(sums.square().sum()) * n_groups / max(n_groups - 1, 1)

    def clearly_less(
        self,
        losses: Tensor,
        others: Tensor,
        n_errors: float = 1.0,
        *,
        by_ratio: bool = False,
        within_classes: bool = False,
    ) -> bool:
        r"""Whether a mean loss is below another by so many standard errors of the difference.

        Parameters
        ----------
        losses, others : Tensor of shape (n,)
            Losses of two models on the rows.
        n_errors : float
            Number of standard errors.
        by_ratio : bool
            Whether it is enough that :math:`\log(\bar\ell_2 / \bar\ell_1)` is above 0 by so many
            errors, those of the mean of
            :math:`\ell_{2i} / \bar\ell_2 - \ell_{1i} / \bar\ell_1`. Of losses that are nearly equal
            both say the same. Squared errors have long tails: of 40 rows of a product of normal
            variables no model, however good, is better than the mean by 2.5 errors of a
            difference; where a few rows have large losses under both models, it is the difference
            that shows a gain in the others.
        within_classes : bool
            Whether the share of each class is fixed. What a rare class gains is then no matter of
            chance, and an interaction that it alone shows can be kept.
        """
        variance = self.variance if within_classes else self.variance_over_all
        difference = others - losses
        if self.mean(difference) > n_errors * math.sqrt(variance(difference)):
            return True
        one, two = self.mean(losses), self.mean(others)
        if not (by_ratio and two > one):
            return False
        if one <= 0:
            return True
        error = math.sqrt(variance(others / two - losses / one))
        return math.log(two / one) > n_errors * error
