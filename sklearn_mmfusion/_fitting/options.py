"""Options of one training, from the parameters of an estimator and the rows."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from skorch.callbacks import BatchScoring, EpochScoring

from sklearn_mmfusion._encoders.choosing import SMALL_SAMPLE
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._fitting.data import FitInput
from sklearn_mmfusion._model.plan import FusionPlan
from sklearn_mmfusion._optimizers import AdamW
from sklearn_mmfusion._training.devices import count_values, training_device
from sklearn_mmfusion._training.distributed import join_processes
from sklearn_mmfusion._training.net import TrainingOptions
from sklearn_mmfusion.data._blocks import ModalityData
from sklearn_mmfusion.modules.losses import LOSSES

__all__ = ["FitOptions", "refuse_watchers", "watchers"]


# Parameters of skorch's net that an estimator has parameters of its own for.
_OF_THE_ESTIMATOR = {
    "lr", "max_epochs", "batch_size", "optimizer", "criterion", "module", "dataset", "train_split",
    "iterator_train", "iterator_valid",
}  # fmt: skip


class FitOptions:
    """Parameters of training, with their "auto" settled."""

    _small_lr: ClassVar[float] = 0.003  # of one step an epoch
    # Tried too where an encoder has no hidden layer: a weight of its own for each feature has
    # further to go than those of many hidden units.
    _long_lr: ClassVar[float] = 0.03
    batch_size: int | str
    max_epochs: int | str
    lr: float | str
    lr_decay: float
    optimizer: Any
    weight_decay: float
    n_iter_no_change: int
    callbacks: Any
    net_params: Any
    verbose: int
    distributed: str | None
    device: str
    dtype: str
    compile: bool | str
    early_stopping: bool | str

    def _loss_name(self, kind: str) -> str:
        """Key of the loss for a kind of target."""
        raise NotImplementedError  # pragma: no cover - abstract

    def _method_options(self, plan: FusionPlan, rows: FitInput) -> dict[str, Any]:
        """Options of training that only this method has."""
        return {"reg": 0.0, "reg_factors": (), "p": 1.0}

    def _options(self, plan: FusionPlan, rows: FitInput) -> TrainingOptions:
        n_rows = rows.data.n_samples
        small = n_rows <= SMALL_SAMPLE
        if self.batch_size == "auto":
            # About 30 steps an epoch, in powers of two; full batch on small data.
            size = 2 ** round(float(np.log2(max(n_rows, 2) / 30)))
            batch_size = n_rows if small else int(np.clip(size, 32, 512))
        else:
            batch_size = int(min(self.batch_size, n_rows))
        parallel = join_processes(self.distributed)
        max_epochs = (200 if small else 100) if self.max_epochs == "auto" else self.max_epochs
        auto = self._small_rate(plan.n_outputs) if small else 0.003
        lr = auto if self.lr == "auto" else float(self.lr)
        optimizer = AdamW() if self.optimizer is None else self.optimizer
        if self.early_stopping is False:
            patience = None
        else:
            # An epoch of one step says little: all of them are run, and the best is kept.
            patience = int(max_epochs) if batch_size >= n_rows else self.n_iter_no_change
        return TrainingOptions(
            max_epochs=int(max_epochs),
            batch_size=batch_size,
            lr=lr,
            lr_decay=float(self.lr_decay),
            **self._method_options(plan, rows),
            loss=LOSSES[self._loss_name(rows.kind)],
            build_optimizer=optimizer.build,
            weight_decay=float(self.weight_decay),
            seed=plan.seed,
            kind=rows.kind,
            ramp_epochs=min(10, int(max_epochs) // 3),
            dropout_epochs=int(max_epochs),
            patience=patience,
            callbacks=self.callbacks,
            net_params=_net_params(self.net_params or {}),
            verbose=0 if parallel is not None and parallel.rank else int(self.verbose),
            parallel=parallel,
            device=training_device(
                self.device, count_values(n_rows, (layout.shape for layout in plan.layouts))
            ),
            compile=self.compile,
            bfloat16=self.dtype == "bfloat16",
            task=rows.task,
            title=f"training on {'a part of the' if rows.is_part else 'all'} rows",
        )

    def _small_rate(self, n_outputs: int) -> float:
        """Return the learning rate of one step an epoch."""
        return self._small_lr

    def _training_dtype(self, data: ModalityData, device: str) -> torch.dtype:
        if self.dtype != "auto":
            return torch.float64 if self.dtype == "float64" else torch.float32
        double = any(block.values.dtype == np.float64 for block in data.blocks)
        return torch.float64 if double and device == "cpu" else torch.float32


def _net_params(net_params: dict[str, Any]) -> dict[str, Any]:
    """Refuse parameters of the net that the estimator sets, and that would change nothing."""
    ours = [key for key in net_params if str(key).split("__")[0] in _OF_THE_ESTIMATOR]
    if ours:
        raise InputError(
            f"net_params: {ours} are not for the net to say; set lr, max_epochs, batch_size, "
            "optimizer, loss, encoders, early_stopping and validation_fraction of the estimator"
        )
    return dict(net_params)


def watchers(callbacks: list[Any] | None) -> list[Any]:
    """Return the callbacks that look at held-out rows, as skorch's EarlyStopping.

    They monitor a score of such rows, or take one themselves (``EpochScoring``).
    """
    found = [entry[1] if isinstance(entry, tuple) else entry for entry in callbacks or []]
    return [c for c in found if _monitors_held_out(c) or _scores_held_out(c)]


def _monitors_held_out(callback: Any) -> bool:
    return str(getattr(callback, "monitor", "")).startswith("valid")


def _scores_held_out(callback: Any) -> bool:
    return isinstance(callback, EpochScoring | BatchScoring) and not callback.on_train


def refuse_watchers(callbacks: list[Any] | None, what: str) -> None:
    """Refuse callbacks that would look for a score of held-out rows where there are none."""
    for callback in watchers(callbacks):
        does, remedy = "takes a score of held-out rows", "on_train=True"
        if _monitors_held_out(callback):
            does, remedy = f"monitors {callback.monitor!r}", "monitor 'train_loss'"
        raise InputError(
            f"callbacks: {type(callback).__name__} {does}, and there are no held-out rows in "
            f"{what}, or {remedy}"
        )
