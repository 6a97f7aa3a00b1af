"""What a fitted estimator does with new rows: chunks, outputs, contributions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._dataset import to_dataset
from sklearn_mmfusion._estimator_encoder import represent
from sklearn_mmfusion._lazy_blocks import is_lazy
from sklearn_mmfusion._plan import build_network, in_plan_order, load_state
from sklearn_mmfusion._training import intra_op_threads
from sklearn_mmfusion._validation import check_X, term_name
from sklearn_mmfusion.data._blocks import ModalityData
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork

__all__ = ["AdditivePredictions", "FittedFusion", "ModuleCache"]

_PREDICT_VALUES = 16_000_000  # values per prediction chunk: about 128 MB in float64


class FittedFusion(BaseEstimator):
    """Prediction from the fitted arrays, without anything of training."""

    def _set_term_names(self) -> None:
        """Name the terms in the order in which the user sees them."""
        schema, names = self._schema, self._result.plan.names
        rank = {name: i for i, name in enumerate(schema.names)}
        positions = [sorted(rank[names[m]] for m in term) for term in self._display]
        self.term_modalities_ = [tuple(schema.names[m] for m in term) for term in positions]
        self.term_names_ = [term_name(term, schema.names) for term in positions]

    @property
    def module_(self) -> FusionNetwork:
        """The fitted torch module in float64 and evaluation mode, rebuilt on demand."""
        check_is_fitted(self, "_result")
        cache = self._cache
        if cache.module is None:
            network = build_network(self._result.plan).double()
            module = load_state(network, self._result.state).eval()
            cache.module = module.requires_grad_(False)
        return cache.module

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        if "_result" in state:
            training = replace(state["_result"].training, net=None)
            state["_result"] = replace(state["_result"], training=training)
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_result")

    def _map_rows(
        self, X: Any, compute: Callable[[FusionNetwork, FusionBatch], torch.Tensor]
    ) -> npt.NDArray[np.float64]:
        """Apply a function of the network to the rows of X in chunks."""
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
        representations = getattr(self, "representations_", {})
        if not is_lazy(data):
            data, representations = represent(representations, data), {}
        module = self.module_
        first = self._chunk(data, slice(0, 1), representations)
        step = max(16, _PREDICT_VALUES // max(1, 8 * module.values_per_row(first)))
        with intra_op_threads(self.n_threads), torch.inference_mode():
            parts = []
            for start in range(0, data.n_samples, step):
                batch = self._chunk(data, slice(start, start + step), representations)
                parts.append(compute(module, batch).numpy())
        return np.concatenate(parts)

    @staticmethod
    def _chunk(data: ModalityData, rows: slice, representations: dict[str, Any]) -> FusionBatch:
        """Return some rows, read where they are on disk, as tensors."""
        part = represent(representations, data.take(rows).read())
        return to_dataset(part, None, None, torch.float64).batch

    def _raw_outputs(self, X: Any) -> npt.NDArray[np.float64]:
        """Logits, or predictions in y's units, (n_samples, n_outputs)."""
        scale = self._result.target_scale
        return self._map_rows(X, lambda module, batch: module(batch)) * scale.scale + scale.mean

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        return tags


class AdditivePredictions(FittedFusion):
    """For estimators whose output is an intercept plus one contribution per term."""

    def contributions(self, X: Any) -> npt.NDArray[np.float64]:
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
        check_is_fitted(self, "_result")
        values = self._map_rows(X, lambda module, batch: module.contributions(batch))
        return self._by_term(values, axis=1) * self._result.target_scale.scale

    def _by_term(self, values: npt.NDArray[np.float64], axis: int = 0) -> npt.NDArray[np.float64]:
        """Arrange what the network has per term as the user sees it; 0 for terms left out."""
        terms = self._result.plan.terms
        place = {term: i for i, term in enumerate(terms)}
        index = [place.get(term, len(terms)) for term in self._display]
        padding = [(0, 0)] * values.ndim
        padding[axis] = (0, 1)
        return np.take(np.pad(values, padding), index, axis=axis)


class ModuleCache:
    """Holds a rebuilt module; copies and pickles of it are empty."""

    def __init__(self) -> None:
        self.module: FusionNetwork | None = None

    def __reduce__(self) -> tuple[type[ModuleCache], tuple[()]]:
        return ModuleCache, ()
