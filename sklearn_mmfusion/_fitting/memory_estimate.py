"""What a fit takes of memory, before it takes it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from torch import Tensor

from sklearn_mmfusion._errors import FusionMemoryError, InputError
from sklearn_mmfusion._fitting.data import FitInput
from sklearn_mmfusion._fitting.finishing import FEATURE_BYTES, LAZY_FEATURE_BYTES
from sklearn_mmfusion._fitting.fit import PREPARED_BYTES, learning_rows, prepared_row_bytes
from sklearn_mmfusion._fitting.together import fits_at_a_time
from sklearn_mmfusion._inputs.lazy_blocks import LARGE_BYTES, VIEW_BYTES, LazyBlock, is_lazy
from sklearn_mmfusion._inputs.validation import TargetSchema, check_target, check_X
from sklearn_mmfusion._model.plan import FusionPlan, build_network, in_plan_order
from sklearn_mmfusion._rows.scaling import CHUNK_VALUES
from sklearn_mmfusion._rows.splitting import SPARE_ROWS
from sklearn_mmfusion._stacking.estimator_encoder import EstimatorEncoder
from sklearn_mmfusion._training.available_memory import available_memory
from sklearn_mmfusion._training.dataset import GATHER_BYTES, FusionDataset, to_dataset
from sklearn_mmfusion._training.net import TrainingOptions
from sklearn_mmfusion._training.network_rows import chunk_rows, feature_bytes
from sklearn_mmfusion.data._blocks import ModalityData
from sklearn_mmfusion.modules.network import FusionNetwork

__all__ = ["MemoryEstimates", "check_memory"]

_PROBE_ROWS = 16
_LARGE_BATCH = 256 * 2**20  # smaller batches fit anywhere
# What the first fit of a process loads, and what the allocator keeps of chunks that are done with.
_OVERHEAD = 96 * 2**20


def copied_bytes(data: ModalityData) -> int:
    """Bytes of the rows that a split into training and held-out rows copies."""
    sizes = (b.values.nbytes for b in data.blocks if not isinstance(b, LazyBlock))
    return sum(size for size in sizes if size <= VIEW_BYTES)


def spares_memory(data: ModalityData, options: TrainingOptions) -> bool:
    """Whether a fit keeps little beside its rows, since these are on disk or large."""
    if is_lazy(data):
        return True
    if options.patience is None or data.n_samples <= SPARE_ROWS:
        return False  # the last fit is one on all rows, of which no view is taken
    return any(block.values.nbytes > LARGE_BYTES for block in data.blocks)


def check_memory(
    plan: FusionPlan, options: TrainingOptions, dtype: torch.dtype, data: ModalityData
) -> None:
    """Refuse a fit that takes far more memory than there is, before it is allocated.

    Raises
    ------
    FusionMemoryError
        Where twice the memory that is available would not do: the estimate is no exact figure,
        and no fit should be refused that would have gone through.
    """
    latent_dim = getattr(plan.head, "latent_dim", 1)
    inputs = sum(math.prod(layout.shape) for layout in plan.layouts)
    features = sum(latent_dim ** len(term) for term in plan.terms)
    available = available_memory()
    if available is None or options.batch_size * (inputs + features) * 8 < _LARGE_BATCH:
        return
    needed = _estimate(plan, options, dtype, data)["total"]
    if needed <= 2 * available:
        return
    raise FusionMemoryError(
        f"fit would take about {needed / 2**20:.0f} MiB with batches of {options.batch_size} rows, "
        f"and {available / 2**20:.0f} MiB of memory are available. Lower batch_size, or choose "
        "smaller encoders"
        + (", a lower latent_dim or interactions of lower order." if features > inputs else ".")
    )


class MemoryEstimates:
    """Adds :meth:`estimate_memory` to an estimator with a plan."""

    def estimate_memory(self: Any, X: Any, y: Any = None) -> dict[str, int]:
        """Estimate what ``fit`` takes of memory beside X itself.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            What ``fit`` would be given. Of modalities on disk one row is read.
        y : array-like, default=None
            Target, for the number of outputs; None counts one.

        Returns
        -------
        dict of str to int
            Bytes: ``data`` (copies of rows that are in memory), ``batches`` (rows on their way to
            the network, and what it keeps for the gradients), ``model`` (weights, and the copies
            of the best and the last epoch), ``optimizer`` (its state and the gradients),
            ``polish`` (encodings and term features after training) and ``total``. Training and
            what comes after it do not need their share at the same time: ``total`` is less than
            the sum. On an accelerator the figures are those of the same fit on the CPU.

        Raises
        ------
        InputError, InputTypeError
            Input that cannot be used, or an :class:`EstimatorEncoder`, whose memory nobody knows.
        """
        schema, data = check_X(
            X,
            estimator=self,
            modalities=self.modalities,
            missing=self.missing,
            lazy=True,
        )
        target = TargetSchema("binary" if is_classifier(self) else "regression", None, 1, True)
        if y is not None:
            n = data.n_samples
            target, _ = check_target(y, estimator=self, classifier=is_classifier(self), n_samples=n)
        plan, _ = self._make_plan(schema, target, data.n_samples, 0)
        if not plan.is_joint and any(isinstance(e, EstimatorEncoder) for e in plan.encoders):
            raise InputError("the memory of an EstimatorEncoder is not known before fit")
        data = in_plan_order(plan, data)
        rows = FitInput(data, np.zeros(0), None, target.kind)
        options = self._options(plan, rows)
        n_fits = fits_at_a_time(plan, options, rows, self._n_members())
        dtype = self._training_dtype(data, options.device)
        return _estimate(plan, options, dtype, data, n_fits)


def _estimate(
    plan: FusionPlan,
    options: TrainingOptions,
    dtype: torch.dtype,
    data: ModalityData,
    n_fits: int = 1,
) -> dict[str, int]:
    """Estimate what fits of a plan take that run side by side.

    See :meth:`MemoryEstimates.estimate_memory`.
    """
    n, size = data.n_samples, dtype.itemsize
    unit = (np.zeros(()), np.ones(()))
    scalings = tuple(None if plan.takes_codes(m) else unit for m in range(len(plan.layouts)))
    network = build_network(replace(plan, scalings=scalings)).to(dtype)
    first = to_dataset(data.take(slice(0, _PROBE_ROWS)).read(), None, None, dtype)
    values = network.values_per_row(first.batch)
    batch = min(options.batch_size, n)
    weights = sum(p.numel() for p in network.parameters())
    state = weights + sum(b.numel() for b in network.buffers())
    # Weights, those of the best and the last epoch; then the whole once more, twice in float64.
    model = state * (3 * size + 16)
    if n <= SPARE_ROWS:
        model += state * 8  # the fit that chose on held-out rows stays until all rows are fitted
    optimizer = 3 * size * weights
    window = GATHER_BYTES // (1 if is_lazy(data) else 4)  # on disk with the sorted rows
    gathered = 0 if batch >= n else min(window, n * first.row_bytes())
    # A window is gathered while the one before it is still there.
    batches = 2 * gathered + batch * (first.row_bytes() + _kept_per_row(network, first))
    evaluated = min(n, max(batch, 1024)) * (first.row_bytes() + 3 * size * values)
    per_row, rows = feature_bytes(network, first), chunk_rows(network, first)
    is_large = spares_memory(data, options)
    features = min(LAZY_FEATURE_BYTES if is_large else FEATURE_BYTES, n * per_row)
    prepared = n * prepared_row_bytes(network, first)
    if is_large or prepared > PREPARED_BYTES:
        prepared = 0
    # Features and those that are not zero; or encodings and the products of latent vectors.
    polish = 2 * features + min(n, rows) * 8 * 4 * values
    scaled = 3 * 8 * min(CHUNK_VALUES, max(math.prod(b.values.shape) for b in data.blocks))
    learned = 0  # the rows that encoders see before training, scaled, and a modality in float64
    if network.learns_inputs or plan.reads_components:
        widest = max(math.prod(layout.shape) for layout in plan.layouts)
        learned = learning_rows(n, first.row_bytes()) * (2 * first.row_bytes() + 8 * widest)
    # Every fit has its rows and its network; what comes after training is done one by one.
    copies, model, optimizer = (n_fits * part for part in (copied_bytes(data), model, optimizer))
    batches = n_fits * max(batches, evaluated)
    training = optimizer + batches + n_fits * prepared
    return {
        "data": copies,
        "batches": batches,
        "model": model,
        "optimizer": optimizer,
        "polish": polish,
        "total": copies + model + max(training, polish, scaled, learned) + _OVERHEAD,
    }


def _kept_per_row(network: FusionNetwork, rows: FusionDataset) -> int:
    """Bytes that a row's gradients keep of the forward pass, and need on their way back."""
    kept: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    network.set_generator(torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = network.train()(rows.batch)
    del output
    return 2 * sum(kept.values()) // len(rows)
