"""Other models that a fit tries beside its first, and what they have to do to be taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sklearn_mmfusion._fitting.data import FitResult
from sklearn_mmfusion._fitting.held_fit import HeldFit
from sklearn_mmfusion._model.plan import FusionPlan

__all__ = ["Alternative"]


@dataclass(frozen=True)
class Alternative:
    """What another model has in place of parts of the best one so far; None: the same.

    Attributes
    ----------
    terms : tuple of tuple of int or None
        Terms, in the plan's order.
    encoders : tuple of object or None
        Encoder of each modality, in the plan's order.
    lr : float or None
        Learning rate.
    vote : bool
        Whether its weights are a weighted sum of log-posteriors.
    margin : float or None
        Standard errors of the held-out loss by which it has to be better, or below 0 may be worse,
        since it is simpler. None: as encoders are compared.
    is_linear : bool or None
        Whether its encoders have no hidden layers; None: as before, or of other encoders that they
        have some.
    after_gain : bool
        Whether many rows leave it out where no other encoders before it had a lower loss.
    """

    terms: tuple[tuple[int, ...], ...] | None = None
    encoders: tuple[Any, ...] | None = None
    lr: float | None = None
    vote: bool = False
    margin: float | None = None
    is_linear: bool | None = None
    after_gain: bool = False

    def plan(self, plan: FusionPlan, best: FitResult) -> FusionPlan:
        """Return the plan of this model, which is otherwise that of the best one so far."""
        return replace(
            plan,
            terms=best.plan.terms if self.terms is None else self.terms,
            encoders=best.plan.encoders if self.encoders is None else self.encoders,
        )

    def becomes_linear(self, is_linear: bool) -> bool:
        """Whether its encoders have no hidden layers, where those of the best one do or do not."""
        if self.is_linear is not None:
            return self.is_linear
        return is_linear and self.encoders is None

    def wins(self, held: HeldFit, best: HeldFit, is_linear: bool, small: bool) -> bool:
        """Whether it takes the place of the best one so far.

        Parameters
        ----------
        held, best : HeldFit
            What the two say of held-out rows.
        is_linear : bool
            Whether the encoders of the best one have no hidden layers.
        small : bool
            Whether there are few rows.
        """
        return held.beats(best, self._margin(is_linear, small))

    def _margin(self, is_linear: bool, small: bool) -> float:
        """Return by how many standard errors it has to be better."""
        if self.margin is not None:
            return self.margin
        becomes_linear = self.becomes_linear(is_linear)
        if small and becomes_linear != is_linear:  # perceptrons find something in noise, too
            return -1.0 if becomes_linear else 1.0
        return 0.0 if small else 2.0
