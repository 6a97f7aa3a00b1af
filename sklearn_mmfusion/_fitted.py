"""What a fitted estimator does with new rows: chunks, outputs, contributions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._explained import ExplainedTerms
from sklearn_mmfusion._fitting.data import FitResult
from sklearn_mmfusion._inputs.lazy_blocks import is_lazy
from sklearn_mmfusion._inputs.validation import check_X, term_name
from sklearn_mmfusion._model.plan import build_network, in_plan_order, load_state
from sklearn_mmfusion._persistence.savable import SavableMixin
from sklearn_mmfusion._rows.moments import (
    ContributionMoments,
    contribution_moments,
    merge_moments,
)
from sklearn_mmfusion._stacking.estimator_encoder import represent
from sklearn_mmfusion._training.dataset import to_dataset
from sklearn_mmfusion._training.devices import (
    count_values,
    intra_op_threads,
    prediction_device,
    usual_device,
    usual_torch,
)
from sklearn_mmfusion._training.memory_errors import memory_errors, rows_text
from sklearn_mmfusion.data._blocks import ModalityData
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork

__all__ = ["AdditivePredictions", "FittedFusion", "ModuleCache", "without_net"]

Floats = npt.NDArray[np.float64]

_PREDICT_VALUES = 16_000_000  # values per prediction chunk: about 128 MB in float64


class FittedFusion(SavableMixin, BaseEstimator):
    """Prediction from the fitted arrays, without anything of training."""

    def _set_term_names(self) -> None:
        """Name the terms in the order in which the user sees them."""
        schema, names = self._schema, self._result.plan.names
        rank = {name: i for i, name in enumerate(schema.names)}
        positions = [sorted(rank[names[m]] for m in term) for term in self._display]
        self.term_modalities_ = [tuple(schema.names[m] for m in term) for term in positions]
        self.term_names_ = [term_name(term, schema.names) for term in positions]

    def _set_results(self, results: list[FitResult]) -> None:
        """Keep what a fit leaves: one result, or one per member of a bag."""
        self._results = results
        self._cache = ModuleCache()

    @property
    def _result(self) -> FitResult:
        """The only result, or that of the first member."""
        return self._results[0]

    @property
    def module_(self) -> FusionNetwork:
        """The fitted torch module in float64 and evaluation mode, rebuilt on demand.

        Of several members (``n_bags``) the first one.
        """
        return self._modules()[0]

    def _modules(self) -> list[FusionNetwork]:
        """Return the networks of all members."""
        check_is_fitted(self, "_result")
        cache = self._cache
        if not cache.modules:
            with usual_torch():
                cache.modules = [
                    load_state(build_network(result.plan).double(), result.state).requires_grad_(
                        False
                    )
                    for result in self._results
                ]
        for module in cache.modules:
            if module.training:  # whoever asked for module_ may have changed that
                module.eval()
        return cache.modules

    def __getstate__(self) -> dict[str, Any]:
        # A copy: Python 3.11 gives the attributes of the estimator themselves.
        state: dict[str, Any] = dict(super().__getstate__())
        if "_results" in state:
            state["_results"] = [without_net(result) for result in state["_results"]]
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_result")

    def _map_rows(
        self, X: Any, compute: Callable[[FusionNetwork, FusionBatch], torch.Tensor]
    ) -> Floats:
        """Apply a function of the network, of the first member's, to the rows of X in chunks."""
        return self._map_data(self._check_rows(X), self.module_, compute)

    def _check_rows(self, X: Any) -> ModalityData:
        """Validate new rows, and bring them into the form and order that the networks take."""
        check_is_fitted(self, "_result")
        _, data = check_X(
            X,
            estimator=self,
            modalities=self.modalities,
            missing=self.missing,
            schema=self._schema,
            lazy=True,
        )
        data = in_plan_order(self._result.plan, data)
        if is_lazy(data):  # what is on disk is represented chunk by chunk
            return data
        return represent(getattr(self, "representations_", {}), data)

    def _map_data(
        self,
        data: ModalityData,
        module: FusionNetwork,
        compute: Callable[[FusionNetwork, FusionBatch], torch.Tensor],
        n_rows: int | None = None,
    ) -> Floats:
        """Apply a function of a network to validated rows in chunks.

        ``n_rows`` are all rows that this is done to, where they come in parts: they decide
        together whether a GPU pays.
        """

        def describe() -> str:
            return f"predicting {rows_text(data)}: pass fewer rows at a time"

        shapes = (layout.shape for layout in self._result.plan.layouts)
        values = count_values(n_rows or data.n_samples, shapes)
        module = self._cache.on(module, prediction_device(getattr(self, "device", "cpu"), values))
        threads = intra_op_threads(self.n_threads)
        with memory_errors(describe), threads, usual_device(), torch.inference_mode():
            found: Floats | None = None
            for rows in self._chunks(data, module):
                part = compute(module, self._batch(data, rows)).numpy()
                if found is None:
                    found = np.empty((data.n_samples, *part.shape[1:]), part.dtype)
                # Into its place at once: small arrays that live on between large ones that do not
                # would hold the memory of both.
                found[rows] = part
            assert found is not None  # X without rows has been refused
            return found

    def _chunks(self, data: ModalityData, module: FusionNetwork) -> list[slice]:
        """Return the rows of each chunk that a network reads at a time."""
        first = self._batch(data, slice(0, 1))
        step = max(16, _PREDICT_VALUES // max(1, 8 * module.values_per_row(first)))
        return [slice(start, start + step) for start in range(0, data.n_samples, step)]

    def _batch(self, data: ModalityData, rows: slice) -> FusionBatch:
        """Return some rows, read where they are on disk, as tensors."""
        representations = getattr(self, "representations_", {}) if is_lazy(data) else {}
        part = represent(representations, data.take(rows).read())
        return to_dataset(part, None, None, torch.float64).batch

    def _mean_over_members(
        self,
        data: ModalityData,
        compute: Callable[[ModalityData, FusionNetwork, FitResult], Floats],
    ) -> Floats:
        """Average what each member says of validated rows, in y's units."""
        members = zip(self._modules(), self._results, strict=True)
        parts = [compute(data, module, result) for module, result in members]
        return parts[0] if len(parts) == 1 else np.mean(parts, axis=0)

    def _raw_outputs(self, X: Any) -> Floats:
        """Logits, or predictions in y's units, (n_samples, n_outputs)."""
        return self._data_outputs(self._check_rows(X))

    def _data_outputs(self, data: ModalityData) -> Floats:
        """Return the same of validated rows."""

        def outputs(data: ModalityData, module: FusionNetwork, result: FitResult) -> Floats:
            scale = result.target_scale
            found = self._map_data(data, module, lambda network, batch: network(batch))
            return found * scale.scale + scale.mean

        return self._mean_over_members(data, outputs)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        return tags


class AdditivePredictions(ExplainedTerms, FittedFusion):
    """For estimators whose output is an intercept plus one contribution per term."""

    def contributions(self, X: Any) -> Floats:
        """Return what each term adds to each output.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows to explain, in any form that ``predict`` takes.

        Returns
        -------
        ndarray of shape (n_samples, n_terms, n_outputs)
            Contributions in the order of ``term_names_``; exactly 0 where a modality of the term
            is missing. With ``intercept_`` they add up to the decision function (classifiers) or
            the prediction (regressors, in y's units).
        """
        data = self._check_rows(X)
        return self._mean_over_members(data, self._data_contributions)

    def _data_contributions(
        self,
        data: ModalityData,
        module: FusionNetwork,
        result: FitResult,
        n_rows: int | None = None,
    ) -> Floats:
        """Contributions of one member for validated rows, in y's units; see ``_map_data``."""
        values = self._map_data(data, module, lambda net, batch: net.contributions(batch), n_rows)
        return self._by_term(values, axis=1, result=result) * result.target_scale.scale

    def _explain_rows(self, X: Any) -> dict[str, Any]:
        n_outputs = len(self.intercept_)

        def compute(module: FusionNetwork, batch: FusionBatch) -> torch.Tensor:
            features = module.term_features(batch, batch.present)
            # Decisions on a way of their own, not by adding up: so the sum is checked, not made.
            parts = module.fusion(features), module.fusion.contributions(features).flatten(1)
            return torch.cat(parts, 1)

        def explain(data: ModalityData, module: FusionNetwork, result: FitResult) -> Floats:
            scale = result.target_scale
            both = self._map_data(data, module, compute)
            decision, flat = np.split(both, [n_outputs], axis=1)
            terms = self._by_term(flat.reshape(len(flat), -1, n_outputs), axis=1, result=result)
            decision = decision * scale.scale + scale.mean
            return np.concatenate([decision[:, None], terms * scale.scale], axis=1)

        found = self._mean_over_members(self._check_rows(X), explain)
        return {"decision": found[:, 0], "contributions": found[:, 1:]}

    @property
    def _output_units(self) -> Floats:
        return self._result.target_scale.scale

    def _contribution_moments(self, X: Any) -> ContributionMoments:
        data = self._check_rows(X)
        of_part = partial(self._data_contributions, n_rows=data.n_samples)
        return merge_moments(
            contribution_moments(self._mean_over_members(data.take(rows), of_part))
            for rows in self._chunks(data, self.module_)
        )

    def _by_term(self, values: Floats, axis: int = 0, result: FitResult | None = None) -> Floats:
        """Arrange what a network has per term as the user sees it; 0 for terms left out."""
        terms = (result or self._result).plan.terms
        place = {term: i for i, term in enumerate(terms)}
        index = [place.get(term, len(terms)) for term in self._display]
        padding = [(0, 0)] * values.ndim
        padding[axis] = (0, 1)
        return np.take(np.pad(values, padding), index, axis=axis)


def without_net(result: FitResult) -> FitResult:
    """Return a result without the net that ``partial_fit`` goes on with."""
    return replace(result, training=replace(result.training, net=None))


class ModuleCache:
    """Holds rebuilt modules; copies and pickles of it are empty."""

    def __init__(self) -> None:
        self.modules: list[FusionNetwork] = []
        self._placed: dict[tuple[FusionNetwork, torch.device], FusionNetwork] = {}

    def on(self, module: FusionNetwork, device: torch.device) -> FusionNetwork:
        """Return a module, or a copy of it that encodes on another device."""
        if device.type == "cpu":
            return module
        if (module, device) not in self._placed:
            placed = copy.deepcopy(module)
            placed.place_encoders(device)
            self._placed[module, device] = placed
        return self._placed[module, device]

    def __reduce__(self) -> tuple[type[ModuleCache], tuple[()]]:
        return ModuleCache, ()
