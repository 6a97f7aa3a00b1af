"""What MNL and InTense share: the block-norm penalty, the polish, and relevance scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import is_classifier
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion import functional as F
from sklearn_mmfusion._base import BaseFusion
from sklearn_mmfusion._encoders.choosing import SMALL_SAMPLE
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._fitted import AdditivePredictions
from sklearn_mmfusion._fitting.alternatives import Alternative
from sklearn_mmfusion._fitting.data import FitInput, FitResult
from sklearn_mmfusion._fitting.fit import FitSteps
from sklearn_mmfusion._fitting.interaction_choice import MOST_LOOKS, choose_interactions
from sklearn_mmfusion._fitting.looks import Looks
from sklearn_mmfusion._inputs.validation import TargetSchema, check_fit_inputs
from sklearn_mmfusion._model.block_head import BlockNormHead
from sklearn_mmfusion._model.plan import FusionPlan
from sklearn_mmfusion._sweep import SweptTerms
from sklearn_mmfusion._training.solving import Relaxation

__all__ = ["BlockNormFusion", "auto_reg", "fixed_strength"]

Floats = npt.NDArray[np.float64]

_AUTO_REG = 2e-2  # reg="auto" at p = 1, per output
_FIXED_BINARY = 0.25  # of two classes that, where encodings learn nothing
_REG_FACTORS = (1.0, 3.0, 0.3, 0.1)  # strengths that the polish then tries in this order


class BlockNormFusion(SweptTerms, AdditivePredictions, BaseFusion):
    """Base of the estimators with a block-linear layer under the block-norm penalty."""

    _explains: ClassVar[str] = "relevance scores"
    _small_lr: ClassVar[float] = 0.01  # under the penalty few steps have to be long
    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BaseFusion._parameter_constraints,
        "p": [Interval(Real, 1, None, closed="both")],
        "reg": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "polish": ["boolean"],
        "n_bags": [Interval(Integral, 1, None, closed="left")],
    }

    _saved: ClassVar[dict[str, Any]] = {**BaseFusion._saved, "_p": float}

    def _make_head(self, target: TargetSchema, n_samples: int) -> BlockNormHead:
        return BlockNormHead(getattr(self, "latent_dim", 1))

    def _method_options(self, plan: FusionPlan, rows: FitInput) -> dict[str, Any]:
        if self.reg != "auto":
            return {"reg": float(self.reg), "reg_factors": (), "p": float(self.p)}
        curvature = target_curvature(rows.kind, rows.target, rows.weight)
        reg = auto_reg(float(self.p), plan.n_outputs, curvature)
        if plan.is_fixed:  # encodings cannot turn to the target
            reg *= fixed_factor(rows.kind, plan.n_outputs)
        return {"reg": reg, "reg_factors": _REG_FACTORS, "p": float(self.p)}

    def _others(self, plan: FusionPlan, n_rows: int, start: Any) -> list[Alternative]:
        """Return other models that are tried on held-out rows, in this order.

        Where ``reg`` is "auto" and all modalities are log-posteriors, weights that are more than
        one number per modality have to earn their place. Encoders without hidden layers are tried
        on features, where they win a draw on few rows, and on components.
        """
        if start is not None:
            return []
        tries = super()._others(plan, n_rows, start)
        if self.reg != 0 and self._polishes(plan):
            tries = [change for change in tries if change.lr is None]  # weights are solved for
        if plan.linear:
            tries.insert(0, Alternative(encoders=plan.linear, is_linear=True))
        if plan.reads_components:
            # Both changes at once: where neither helps by itself, they hardly do together.
            both = plan.on_components(plan.linear)
            tries.append(Alternative(encoders=both, is_linear=True, after_gain=True))
            fixed = replace(plan, encoders=plan.fixed())
            if n_rows <= SMALL_SAMPLE and fixed.is_fixed and self.reg and self._polishes(plan):
                # Maps that learn turn to what is random in few rows; these have nothing to learn.
                tries.append(Alternative(encoders=fixed.encoders, is_linear=True, margin=-1.0))
        single = tuple(term for term in plan.terms if len(term) == 1)
        if self.reg != "auto":
            return tries
        if self.polish and plan.votes:
            tries.append(Alternative(terms=single, vote=True, margin=-2.0))
        return tries

    def _polishes(self, plan: FusionPlan) -> bool:
        """Whether the weights are solved for at the end.

        On whole rows that would undo what hidden modalities have taught.
        """
        return bool(self.polish) and plan.modality_dropout == 0

    def _run_first(
        self, plan: FusionPlan, kept: FitInput, held: FitInput, start: Any, looks: Looks | None
    ) -> FitSteps:
        """Let interactions earn their place, where ``reg`` is "auto"."""
        if not self._chooses_interactions(plan, start):
            return (yield from super()._run_first(plan, kept, held, start, looks))

        def run(plan: FusionPlan, kept: FitInput, held: FitInput) -> FitSteps:
            return self._run_once(plan, kept, held, None)

        return (yield from choose_interactions(run, plan, kept, held, looks))

    def _chooses_interactions(self, plan: FusionPlan, start: Any) -> bool:
        n_single = sum(len(term) == 1 for term in plan.terms)
        return start is None and self.reg == "auto" and 0 < n_single < len(plan.terms)

    def _n_tries(
        self, plan: FusionPlan, n_rows: int, start: Any, looks: Looks | None = None
    ) -> int:
        n = super()._n_tries(plan, n_rows, start, looks)
        if self._chooses_interactions(plan, start):
            n += 2 + (0 if looks is None else min(MOST_LOOKS, looks.n_parts) - 1)
        return n

    def _terms_left(self, inner: FitResult) -> tuple[tuple[int, ...], ...]:
        """Leave out the interactions that a first fit has taken out.

        Those that a second fit alone lets in are false more often than not.
        """
        if self.reg != "auto":
            return inner.plan.terms
        pairs = zip(inner.plan.terms, inner.readings["norms"], strict=True)
        return tuple(term for term, norm in pairs if len(term) == 1 or norm > 0)

    def _chosen(self, inner: FitResult) -> dict[str, Any]:
        chosen = {
            "reg": inner.reg,
            "polish": not np.isnan(inner.polish_gap),
            "relaxation": Relaxation(*inner.relaxation),
        }
        return {**chosen, "vote": True} if inner.is_vote else chosen

    def _run_once(
        self,
        plan: FusionPlan,
        kept: FitInput,
        held: FitInput | None,
        start: Any,
        polish: bool = True,
        vote: bool = False,
        **chosen: Any,
    ) -> FitSteps:
        polish = polish and self._polishes(plan)
        if vote:
            # The weights are solved for at the end, and nothing else is there to train.
            chosen = {**chosen, "max_epochs": 1}
        steps = super()._run_once(plan, kept, held, start, polish=polish, vote=vote, **chosen)
        result = yield from steps
        if vote:
            result = replace(result, training=replace(result.training, stopped=True))
        return result

    def _set_readings(self) -> None:
        self._p = float(self.p)
        self.reg_ = float(np.mean([result.reg for result in self._results]))
        self.relaxed_reg_ = float(np.mean([r.reg * r.relaxation[0] for r in self._results]))
        self.calibration_factor_ = float(np.mean([r.relaxation[1] for r in self._results]))
        self.polish_gap_ = float(np.max([result.polish_gap for result in self._results]))
        self._set_terms()

    def _restore(self, parts: dict[str, Any]) -> None:
        super()._restore(parts)
        self._set_terms()  # with p at the fit, which the parameter may no longer be

    def _set_terms(self) -> None:
        """Set what depends on the terms."""
        self._set_term_names()
        # NOTE[DIFF] The paper takes the norms of the weights, which are larger where features hold
        # what no output takes from them. Streams, and fits of older versions, have no others.
        kinds = ["least_norms" if "least_norms" in r.readings else "norms" for r in self._results]
        least = [self._norms(*pair) for pair in zip(self._results, kinds, strict=True)]
        members = np.stack([F.relevance(part, self._p).numpy() for part in least])
        spread = np.full(len(self.term_names_), np.nan)
        scores = members[0]
        if len(members) > 1:
            spread = members.std(axis=0, ddof=1)
            scores = _unit_norm(members.mean(axis=0), self._p)
        self.relevance_scores_ = dict(zip(self.term_names_, scores.tolist(), strict=True))
        self.relevance_std_ = dict(zip(self.term_names_, spread.tolist(), strict=True))
        weights = [self._norms(result, "norms") for result in self._results]
        self.fusion_norm_ = float(np.mean([float(part.sum()) for part in weights]))
        self.contribution_std_ = np.mean(
            [self._by_term(r.contribution_std, result=r) for r in self._results], axis=0
        )

    def _norms(self, result: FitResult, kind: str) -> torch.Tensor:
        return torch.from_numpy(self._by_term(result.readings[kind], result=result))

    def remove_terms(self, terms: str | Iterable[str | tuple[str, ...]]) -> Any:
        """Take terms out of the fitted model.

        Parameters
        ----------
        terms : str, or iterable of str or tuple of str
            Names such as ``"text x audio"`` (in either order) or tuples of modality names; a
            string is the name of one term.

        Returns
        -------
        self : object
            The estimator: predictions, contributions, relevance scores and term names are those
            of the terms that are left. A new ``fit`` brings the terms back.
        """
        check_is_fitted(self, "_result")
        terms = [terms] if isinstance(terms, str) else terms
        wanted = {frozenset(t.split(" x ") if isinstance(t, str) else t): t for t in terms}
        known = {frozenset(term): i for i, term in enumerate(self.term_modalities_)}
        unknown = [repr(name) for key, name in wanted.items() if key not in known]
        if unknown:
            raise InputError(f"no such terms: {', '.join(unknown)}; there are {self.term_names_}")
        gone = {self._display[known[key]] for key in wanted}
        if len(gone) == len(known):
            raise InputError("at least one term must be left")
        self._set_results(
            [
                _without_terms(result, module.fusion.block_sizes, gone)
                for result, module in zip(self._results, self._modules(), strict=True)
            ]
        )
        self._display = [term for term in self._display if term not in gone]
        self._set_terms()
        return self


def auto_reg(p: float, n_outputs: int, curvature: float = 1.0) -> float:
    """Strength of the penalty that ``reg="auto"`` starts from."""
    # Block norms grow with the outputs that share them, and the penalty of the same norms falls
    # as p grows. Gradients of effects grow with the curvature, those of noise with its root.
    return float(_AUTO_REG * (3.0 - 2.0 / p) / n_outputs**1.5 * curvature**0.75)


def fixed_factor(kind: str, n_outputs: int) -> float:
    """Return by how much ``reg="auto"`` is stronger where encodings learn nothing."""
    if kind == "binary":
        return _FIXED_BINARY
    # Set on three and four classes; of more, each has fewer rows to show an effect.
    return max(1.0, min(n_outputs, 16 / n_outputs)) if kind == "multiclass" else 1.0


def target_curvature(kind: str, target: npt.NDArray[Any], weight: Floats | None) -> float:
    """Return the curvature of the loss at the best constant, of classes equally frequent 1.

    It is the variance of the target: with a rare class there is little loss to be saved, and a
    penalty that is right for two halves would take the terms out.

    Parameters
    ----------
    kind : str
        Kind of the target; of regression it is 1, since targets are standardised.
    target : ndarray
        Encoded target.
    weight : ndarray of shape (n,) or None
        Row weights.
    """
    if kind == "regression" or len(target) == 0:
        return 1.0
    if kind == "multiclass":
        counts = np.bincount(target.astype(np.intp), weight)
        shares = counts[counts > 0] / counts.sum()
        n = len(shares)
        return float((1.0 - np.square(shares).sum()) * n / (n - 1)) if n > 1 else 1.0
    rates = np.average(np.asarray(target, dtype=np.float64), axis=0, weights=weight)
    found = float(np.mean(4.0 * rates * (1.0 - rates)))
    return found if found > 0 else 1.0


def fixed_strength(estimator: Any, X: Any, y: Any) -> dict[str, Any]:
    """Return ``reg`` as a number where it is "auto": interactions are not chosen then."""
    known = estimator.get_params(deep=False)
    if known.get("reg") != "auto":
        return {}
    _, _, target, encoded, weight = check_fit_inputs(
        estimator, X, y, None, classifier=is_classifier(estimator)
    )
    curvature = target_curvature(target.kind, encoded, weight)
    return {"reg": auto_reg(float(known["p"]), target.n_outputs, curvature)}


def _without_terms(
    result: FitResult, block_sizes: list[int], gone: set[tuple[int, ...]]
) -> FitResult:
    """Set the fusion weights of some terms to zero."""
    columns = np.repeat(np.arange(len(block_sizes)), block_sizes)
    places = [i for i, term in enumerate(result.plan.terms) if term in gone]
    weight = result.state["fusion.weight"].copy()
    weight[:, np.isin(columns, places)] = 0
    return replace(result, state={**result.state, "fusion.weight": weight})


def _unit_norm(scores: Floats, p: float) -> Floats:
    """Scale scores to a p-norm of 1; zeros stay."""
    norm = np.linalg.norm(scores, ord=p)
    return scores / norm if norm > 0 else scores
