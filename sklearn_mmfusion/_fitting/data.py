"""What goes into the fit of a network, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._fitting.held_fit import HeldFit
from sklearn_mmfusion._inputs.lazy_blocks import take_rows
from sklearn_mmfusion._model.plan import FusionPlan, State
from sklearn_mmfusion._training.epochs import TrainingResult
from sklearn_mmfusion._training.progress import FitTask
from sklearn_mmfusion._training.stages import ProgressFile
from sklearn_mmfusion.data._blocks import ModalityData

__all__ = ["FitInput", "FitResult", "TargetScale"]

Floats = npt.NDArray[np.float64]


@dataclass
class TargetScale:
    """Mean and scale of regression targets; 0 and 1 for classification."""

    mean: Floats
    scale: Floats


@dataclass
class FitInput:
    """Validated data of a fit.

    Attributes
    ----------
    data : ModalityData
        Modalities in the order of the plan.
    target : ndarray
        Encoded target.
    weight : ndarray or None
        Row weights, class weights included.
    kind : str
        Kind of the target.
    counted : ndarray or None
        Row weights without those of classes, which stand for no rows; None where there are none
        of classes.
    groups : ndarray of int or None
        Number of the group of each row; None: every row is its own.
    task : FitTask or None
        Who is told how far the fit is.
    is_part : bool
        Whether these are some of the rows of a fit.
    checkpoint : ProgressFile or None
        Where the trainings on these rows are kept.
    """

    data: ModalityData
    target: npt.NDArray[Any]
    weight: Floats | None
    kind: str
    counted: Floats | None = None
    groups: npt.NDArray[np.intp] | None = None
    task: FitTask | None = None
    checkpoint: ProgressFile | None = None
    is_part: bool = False

    def take(self, rows: npt.NDArray[np.intp], weight: Floats | None = None) -> FitInput:
        """Return some rows, with weights of their own or those that they have."""
        counted = None if self.counted is None else self.counted[rows]
        if self.weight is not None:
            had = self.weight[rows]
            weight = had if weight is None else weight
            if counted is not None:  # of some repetitions of a row as many
                counted = counted * np.divide(weight, had, out=np.zeros(len(had)), where=had > 0)
        data, target = take_rows(self.data, rows), self.target[rows]
        groups = None if self.groups is None else self.groups[rows]
        return FitInput(
            data, target, weight, self.kind, counted, groups, self.task, self.checkpoint, True
        )


@dataclass
class FitResult:
    """What a fit leaves: arrays and plain Python.

    Attributes
    ----------
    plan : FusionPlan
        Plan with the scalings of the training rows.
    state : dict of str to ndarray
        Arrays of the network.
    target_scale : TargetScale
        Units of the outputs.
    training : TrainingResult
        Epochs.
    readings : dict of str to ndarray
        What the fusion says of its terms over the training rows: ``norms``, block norms in
        standardised units of the target, and ``least_norms``, those of the smallest weights that
        make the same contributions; or the summaries of routing.
    contribution_std : ndarray of shape (n_terms, n_outputs)
        Weighted standard deviation of each contribution over the training rows, y's units; no
        rows where outputs are no sums of contributions.
    reg : float
        Strength of the penalty that chose the terms.
    polish_gap : float
        Relative duality gap of the weights before their factor; nan where they are not polished.
    relaxation : tuple of float
        Penalty behind the final weights as a multiple of ``reg``, and what they were then
        multiplied by.
    gain, gain_error : float
        Share of the held-out loss of the best constant that the model takes away, and its
        standard error; nan without held-out rows.
    validation_history : list of dict
        Epochs of the fit that had the held-out rows of ``gain``; empty without such rows.
    held : HeldFit or None
        What it says of held-out rows, until the fit is chosen.
    n_rows : int
        Number of training rows.
    is_vote : bool
        Whether the fusion is a weighted sum of log-posteriors.
    only_class : int
        Position of the class that all rows of a stream so far were of; -1 where they were not.
    """

    no_longer: ClassVar[frozenset[str]] = frozenset(
        {"held_share", "n_held", "held_losses", "held_errors"}
    )

    plan: FusionPlan
    state: State
    target_scale: TargetScale
    training: TrainingResult
    readings: dict[str, Floats]
    contribution_std: Floats
    reg: float
    polish_gap: float
    gain: float
    gain_error: float
    validation_history: list[dict[str, object]] = field(default_factory=list)
    held: HeldFit | None = None
    n_rows: int = 0
    is_vote: bool = False
    relaxation: tuple[float, float] = (1.0, 1.0)
    only_class: int = -1
