"""How sure a mean over held-out rows is, and whether one mean loss is below another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["RowClasses", "RowErrors"]

Floats = npt.NDArray[np.float64]


class RowClasses(NamedTuple):
    """Classes of rows.

    Attributes
    ----------
    label : Tensor of shape (n,)
        Class of each row.
    counts : ndarray of shape (n_classes,)
        Number of rows that the weights of each class stand for.
    """

    label: Tensor
    counts: Floats


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
    classes : RowClasses or None
        Classes, where there are some.
    group : Tensor of shape (n,) or None
        Number of the group of each row, from 0; None: every row is its own.
    by_ratio : bool
        Whether a ratio of two mean losses may say which is less, as of squared errors, which have
        long tails; see :meth:`clearly_less`.
    """

    share: Tensor
    n_counted: float
    classes: RowClasses | None = None
    group: Tensor | None = None
    by_ratio: bool = False

    def __post_init__(self) -> None:
        self.share = self.share.double()

    def mean(self, values: Tensor) -> float:
        """Weighted mean."""
        return float(self.share @ values.double())

    def variance(self, values: Tensor) -> float:
        """Variance of the mean, with the share of each class fixed."""
        if self.classes is not None:
            return self._of_classes(values, self.classes)[0]
        over_rows, over_groups = self._over_all(values)
        return max(over_rows, over_groups)

    def variance_over_all(self, values: Tensor) -> float:
        """Variance of the mean, with the share of each class left to chance."""
        if self.classes is not None:
            return self._of_classes(values, self.classes)[1]
        return self.variance(values)

    def design_effect(self, values: Tensor) -> float:
        """Return the variance of a mean as a multiple of that of independent rows, at least 1.

        Of a single group nobody knows it: its rows count as one.
        """
        if self.group is not None and len(torch.unique(self.group)) < 2:
            return self.n_counted
        over_rows, over_groups = self._over_all(values)
        return max(1.0, over_groups / over_rows) if over_rows > 0 else 1.0

    def _over_all(self, values: Tensor) -> tuple[float, float]:
        """Variance of the mean, whatever the classes: were rows independent, and by groups."""
        values = values.double()
        centred = values - self.share @ values
        over_rows = float(self.share @ centred.square()) / self.n_counted
        return over_rows, self._over_groups(centred)

    def _of_classes(self, values: Tensor, classes: RowClasses) -> tuple[float, float]:
        values = values.double()
        mean, within, over_all = self.share @ values, 0.0, 0.0
        centred = torch.zeros_like(values)
        for label, n in enumerate(classes.counts.tolist()):
            own = classes.label == label
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
        within_classes: bool = False,
    ) -> bool:
        r"""Whether a mean loss is below another by so many standard errors of the difference.

        Where ``by_ratio`` is set it is enough that :math:`\log(\bar\ell_2 / \bar\ell_1)` is above 0
        by so many errors, those of the mean of
        :math:`\ell_{2i} / \bar\ell_2 - \ell_{1i} / \bar\ell_1`. Of losses that are nearly equal
        both say the same. Squared errors have long tails: of 40 rows of a product of normal
        variables no model, however good, is better than the mean by 2.5 errors of a difference;
        where a few rows have large losses under both models, it is the difference that shows a
        gain in the others.

        Parameters
        ----------
        losses, others : Tensor of shape (n,)
            Losses of two models on the rows.
        n_errors : float
            Number of standard errors.
        within_classes : bool
            Whether the share of each class is fixed. What a rare class gains is then no matter of
            chance, and an interaction that it alone shows can be kept.
        """
        variance = self.variance if within_classes else self.variance_over_all
        difference = others - losses
        if self.mean(difference) > n_errors * math.sqrt(variance(difference)):
            return True
        one, two = self.mean(losses), self.mean(others)
        if not (self.by_ratio and two > one):
            return False
        if one <= 0:
            return True
        error = math.sqrt(variance(others / two - losses / one))
        return math.log(two / one) > n_errors * error
