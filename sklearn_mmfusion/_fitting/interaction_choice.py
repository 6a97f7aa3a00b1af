"""Which interactions a fit keeps: those that rows show which trained nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from scipy.stats import norm

from sklearn_mmfusion._fitting.data import FitInput, FitResult
from sklearn_mmfusion._fitting.fit import FitSteps
from sklearn_mmfusion._fitting.held_fit import HeldFit
from sklearn_mmfusion._fitting.looks import Looks
from sklearn_mmfusion._model.plan import FusionPlan

__all__ = ["MOST_LOOKS", "choose_interactions"]

Term = tuple[int, ...]
Run = Callable[[FusionPlan, FitInput, FitInput], FitSteps]

_CHANCE = 2e-4  # that interactions which are not there are taken to be shown
MOST_LOOKS = 3  # more say little that is new: those before have seen most of their rows
_DOUBTED = 2.5  # standard errors of its score below which an interaction is taken out of others
_SHORT = 0.85  # standard errors by which one in five falls short of what is to be expected
_CLEAR = 2.5  # of the difference of losses, which shows interactions too


def choose_interactions(
    run: Run, plan: FusionPlan, kept: FitInput, held: FitInput, looks: Looks | None
) -> FitSteps:
    """Fit with interactions, and keep those that held-out rows show; of the others, none.

    What an interaction contributes to held-out rows is judged by a score test, see
    :meth:`HeldFit.evidence`. Where the rows are too few to tell, fits to other parts of the rows
    are asked about those that there is hope for, by the rows that these leave; what they say is
    added up.

    Parameters
    ----------
    run : callable
        Fits a plan to the first rows with the second ones held out.
    plan : FusionPlan
        Plan with interactions, and terms of one modality beside them.
    kept, held : FitInput
        Rows to train on and held-out rows.
    looks : Looks or None
        Other such parts of the same rows; None: there are none.
    """
    single = tuple(term for term in plan.terms if len(term) == 1)
    joint = yield from run(plan, kept, held)
    if joint.training.interrupted:
        return joint
    additive = yield from run(replace(plan, terms=single), kept, held)
    if additive.training.interrupted:
        return _interrupted(joint)
    evidence, together = _evidence(joint, additive)
    found = [*evidence.values(), together]
    threshold = float(norm.isf(_CHANCE / len(found)))
    shown = bool(evidence) and (max(found) >= threshold or _is_clearly_better(joint, additive))
    n_looks, error, n_parts = 1, 1.0, 1 if looks is None else looks.n_parts
    n_most = min(MOST_LOOKS, n_parts)
    hoped = _above(evidence, _hope(threshold, 1, n_most, n_parts))
    while looks is not None and hoped and not shown and n_looks < n_most:
        parts = looks.next()
        if parts is None:
            break
        hopeful = yield from run(replace(plan, terms=single + tuple(hoped)), *parts)
        if hopeful.training.interrupted:
            return _interrupted(additive)
        n_looks += 1
        again, _ = _evidence(hopeful)
        hoped = {term: total + again.get(term, -math.inf) for term, total in hoped.items()}
        error = _error(n_looks, n_parts)
        hoped = _above(hoped, _hope(threshold, n_looks, n_most, n_parts))
        shown = bool(_above(hoped, threshold * error))
    if not shown:
        return additive
    evidence = evidence if n_looks == 1 else hoped
    chosen = _above(evidence, _DOUBTED * error) or evidence
    if chosen.keys() != set(_active(joint)):
        terms = single + tuple(term for term in plan.terms if term in chosen)
        joint = yield from run(replace(plan, terms=terms), kept, held)
        if joint.training.interrupted:
            return joint
    return additive if _held(additive).beats(_held(joint), 1.0) else joint


def _held(result: FitResult) -> HeldFit:
    assert result.held is not None  # since there are such rows
    return result.held


def _evidence(
    joint: FitResult, additive: FitResult | None = None
) -> tuple[dict[Term, float], float]:
    """Return the evidence of each interaction that is there, and of all together."""
    *each, together = _held(joint).evidence(None if additive is None else additive.held)
    interactions = [term for term in joint.plan.terms if len(term) > 1]
    if len(each) != len(interactions):  # many were added up
        each = [together] * len(interactions)
    by_term = dict(zip(interactions, each, strict=True))
    return {term: by_term[term] for term in _active(joint)}, together


def _is_clearly_better(joint: FitResult, additive: FitResult) -> bool:
    return not _held(additive).beats(_held(joint), -_CLEAR, within_classes=True)


def _error(n_looks: int, n_parts: int) -> float:
    """Return the standard deviation of the summed evidence of looks, where there is nothing.

    Of an interaction that is not there, a fit learns what chance has put into the rows of its
    parts. Judging by one part what the others taught compares the part with each of them; two
    looks have one of these comparisons in common.
    """
    correlation = 1.0 / max(1, n_parts - 1)
    return math.sqrt(n_looks * (1.0 + (n_looks - 1) * correlation))


def _hope(threshold: float, n_looks: int, n_most: int, n_parts: int) -> float:
    """Return from which summed evidence on an interaction may still be shown by all looks."""
    per_look = threshold * _error(n_most, n_parts) / n_most
    return n_looks * per_look - _SHORT * math.sqrt(n_looks)


def _active(result: FitResult) -> list[Term]:
    pairs = zip(result.plan.terms, result.readings["norms"], strict=True)
    return [term for term, size in pairs if len(term) > 1 and size > 0]


def _above(evidence: dict[Term, float], least: float) -> dict[Term, float]:
    return {term: z for term, z in evidence.items() if z >= least}


def _interrupted(result: FitResult) -> FitResult:
    return replace(result, training=replace(result.training, interrupted=True))
