"""What MNL and InTense share: the block-norm penalty, the polish, and relevance scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion import functional as F
from sklearn_mmfusion._base import BaseFusion
from sklearn_mmfusion._block_head import BlockNormHead
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._fitted import AdditivePredictions, ModuleCache
from sklearn_mmfusion._fitting import FitInput, FitResult
from sklearn_mmfusion._plan import FusionPlan
from sklearn_mmfusion._validation import TargetSchema

__all__ = ["BlockNormFusion"]

_AUTO_REG = 2e-2  # reg="auto" at p = 1, per output
_REG_FACTORS = (1.0, 3.0, 0.3, 0.1)  # strengths that the polish then tries in this order


class BlockNormFusion(AdditivePredictions, BaseFusion):
    """Base of the estimators with a block-linear layer under the block-norm penalty."""

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BaseFusion._parameter_constraints,
        "p": [Interval(Real, 1, None, closed="both")],
        "reg": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "polish": ["boolean"],
    }

    def _make_head(self, target: TargetSchema) -> BlockNormHead:
        return BlockNormHead(getattr(self, "latent_dim", 1))

    def _method_options(self, plan: FusionPlan) -> dict[str, Any]:
        if self.reg != "auto":
            return {"reg": float(self.reg), "reg_factors": (), "p": float(self.p)}
        # Block norms grow with the outputs that share them, and the penalty of the same norms
        # falls as p grows.
        reg = _AUTO_REG * (3.0 - 2.0 / float(self.p)) / plan.n_outputs**1.5
        return {"reg": reg, "reg_factors": _REG_FACTORS, "p": float(self.p)}

    def _run_best(self, plan: FusionPlan, kept: FitInput, held: FitInput, start: Any) -> FitResult:
        """Fit, and where ``reg`` is "auto" let a simpler model win unless held-out rows object.

        Interactions have to earn their place; and where all modalities are log-posteriors, so do
        weights that are more than one number per modality.
        """
        full = self._run_once(plan, kept, held, start)
        if full.training.interrupted:
            return replace(full, held_losses=None, held_share=None)
        single = tuple(term for term in plan.terms if len(term) == 1)
        if start is None and self.reg == "auto" and 0 < len(single) < len(plan.terms):
            simple = self._run_once(replace(plan, terms=single), kept, held, None)
            if not full.clearly_beats(simple):
                full = simple
        if start is None and self.reg == "auto" and self.polish and plan.votes:
            vote = self._run_once(replace(plan, terms=single), kept, held, None, vote=True)
            if not full.clearly_beats(vote):
                full = vote
        return replace(full, held_losses=None, held_share=None)

    def _chosen(self, inner: FitResult) -> dict[str, Any]:
        chosen = {"reg": inner.reg, "polish": not np.isnan(inner.polish_gap)}
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
    ) -> FitResult:
        polish = bool(self.polish) and polish
        if vote:
            # The weights are solved for at the end, and nothing else is there to train.
            chosen = {**chosen, "max_epochs": 1}
        result = super()._run_once(plan, kept, held, start, polish=polish, vote=vote, **chosen)
        if vote:
            result = replace(result, training=replace(result.training, stopped=True))
        return result

    def _set_readings(self) -> None:
        result = self._result
        self._p = float(self.p)
        self.reg_ = result.reg
        self.polish_gap_ = result.polish_gap
        self._set_terms()

    def _set_terms(self) -> None:
        """Set what depends on the terms."""
        self._set_term_names()
        norms = torch.from_numpy(self._by_term(self._result.readings["norms"]))
        scores = F.relevance(norms, self._p).tolist()
        self.relevance_scores_ = dict(zip(self.term_names_, scores, strict=True))
        self.fusion_norm_ = float(norms.sum())
        self.contribution_std_ = self._by_term(self._result.contribution_std)

    def remove_terms(self, terms: Iterable[str | tuple[str, ...]]) -> Any:
        """Take terms out of the fitted model.

        Parameters
        ----------
        terms : iterable of str or tuple of str
            Names such as ``"text x audio"`` (in either order) or tuples of modality names.

        Returns
        -------
        self : object
            The estimator: predictions, contributions, relevance scores and term names are those
            of the terms that are left. A new ``fit`` brings the terms back.
        """
        check_is_fitted(self, "_result")
        wanted = {frozenset(t.split(" x ") if isinstance(t, str) else t): t for t in terms}
        known = {frozenset(term): i for i, term in enumerate(self.term_modalities_)}
        unknown = [repr(name) for key, name in wanted.items() if key not in known]
        if unknown:
            raise InputError(f"no such terms: {', '.join(unknown)}; there are {self.term_names_}")
        gone = {self._display[known[key]] for key in wanted}
        if len(gone) == len(known):
            raise InputError("at least one term must be left")
        result = self._result
        sizes = self.module_.features.block_sizes
        columns = np.repeat(np.arange(len(sizes)), sizes)
        places = [i for i, term in enumerate(result.plan.terms) if term in gone]
        weight = result.state["fusion.weight"].copy()
        weight[:, np.isin(columns, places)] = 0
        self._result = replace(result, state={**result.state, "fusion.weight": weight})
        self._display = [term for term in self._display if term not in gone]
        self._cache = ModuleCache()
        self._set_terms()
        return self
