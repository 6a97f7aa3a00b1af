"""What a fit says of rows that it has not seen, and whether that is better than another fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sklearn_mmfusion._fitting.recombination import Recombination
from sklearn_mmfusion._rows.row_errors import RowErrors

__all__ = ["SCORED", "HeldFit", "HeldParts"]

Floats = npt.NDArray[np.float64]

SCORED = ("binary", "multiclass", "multilabel", "squared_error")
"""Losses whose derivative is the target less its mean."""


@dataclass
class HeldFit:
    """Losses of a fit on held-out rows, and what its terms contribute to them.

    Attributes
    ----------
    losses : ndarray of shape (n_held,)
        Loss of each row.
    errors : RowErrors
        Standard errors of means over the rows.
    parts : HeldParts or None
        What its terms contribute; None where the fusion is no sum of terms, or the loss none of
        :data:`SCORED`.
    """

    losses: Floats
    errors: RowErrors
    parts: HeldParts | None = None

    def beats(self, other: HeldFit, margin: float, *, within_classes: bool = False) -> bool:
        """Whether the loss is lower by more than so many standard errors.

        Below 0 it may be higher by as many. See :meth:`RowErrors.clearly_less`.
        """
        one, two = (self, other) if margin >= 0 else (other, self)
        mine, others = map(torch.from_numpy, (one.losses, two.losses))
        is_clear = self.errors.clearly_less(
            mine, others, abs(margin), within_classes=within_classes
        )
        return is_clear if margin >= 0 else not is_clear

    def evidence(self, additive: HeldFit | None = None) -> list[float]:
        """How sure the rows are of each interaction, and of all; see :meth:`HeldParts.evidence`."""
        if self.parts is None:
            return [-math.inf]
        return self.parts.evidence(self.errors, None if additive is None else additive.parts)


@dataclass
class HeldParts:
    """What the terms of a fit contribute to held-out rows.

    Attributes
    ----------
    loss_name : str
        One of :data:`SCORED`.
    target : ndarray of shape (n_held,) or (n_held, n_outputs)
        Encoded target, in the units of the outputs.
    single : ndarray of shape (n_held, n_outputs)
        What the terms of one modality contribute together.
    joint : ndarray of shape (n_held, n_interactions, n_outputs)
        What each interaction contributes; of many, what they do together.
    shadows : ndarray of shape (n_held, n_interactions, n_members, n_outputs)
        What of that each modality says alone, see :mod:`sklearn_mmfusion._fitting.shadows`; without
        members where that is not known.
    """

    loss_name: str
    target: npt.NDArray[Any]
    single: Floats
    joint: Floats
    shadows: Floats

    def evidence(self, errors: RowErrors, additive: HeldParts | None = None) -> list[float]:
        r"""How sure the rows are of each interaction of this fit: z of a score test.

        The null hypothesis is that what the interaction contributes has no place beside the other
        interactions, the terms of one modality, and what each of its modalities alone says of it,
        with factors and intercepts of their own. A difference of losses is about half as sure: of
        an effect at :math:`z` standard errors the log-likelihoods differ by :math:`z^2 / 2`, with
        a standard deviation of :math:`z`.

        Parameters
        ----------
        errors : RowErrors
            Standard errors of means over the rows.
        additive : HeldParts, optional
            Those of a fit without interactions, whose terms are then among the others.

        Returns
        -------
        list of float
            Of each interaction, and last of all together. Normal under the null hypothesis with
            mean 0 and variance 1, about; minus infinity where nothing is contributed.
        """
        others = [self.single] if additive is None else [self.single, additive.single]
        whole = self.joint.sum(1)
        found = [
            self._evidence(errors, *others, whole - own, *shadow.swapaxes(0, 1), own)
            for own, shadow in zip(
                self.joint.swapaxes(0, 1), self.shadows.swapaxes(0, 1), strict=True
            )
        ]
        return [*found, self._evidence(errors, *others, self.shadows.sum((1, 2)), whole)]

    def _evidence(self, errors: RowErrors, *parts: Floats) -> float:
        """Evidence of the last of some contributions beside the others."""
        stacked = np.stack(parts, axis=1)
        n, n_parts, n_outputs = stacked.shape
        response = self.target.reshape(n, -1).astype(np.float64)
        if self.loss_name == "multiclass":
            stacked = stacked - stacked.mean(axis=2, keepdims=True)
            response = np.eye(n_outputs)[self.target]
        kind = "regression" if self.loss_name == "squared_error" else self.loss_name
        share, start = errors.share.numpy(), np.zeros(n_outputs)
        rows = Recombination(kind, stacked, response, start, share, errors.n_counted)
        if not rows.term_std[-1] > 0:
            return -math.inf
        scores = rows.effective_scores(n_parts - 1).values
        of_rows = np.divide(scores, share, out=np.zeros_like(scores), where=share > 0)
        values = torch.from_numpy(of_rows)
        error = math.sqrt(errors.variance_over_all(values))
        return errors.mean(values) / error if error > 0 else -math.inf
