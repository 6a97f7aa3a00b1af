"""Constructors and constraints of the baselines that have no parameters of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from sklearn.utils._param_validation import StrOptions

from sklearn_mmfusion._base import BaseFusion
from sklearn_mmfusion._target_mixins import FusionClassifierMixin, FusionRegressorMixin

__all__ = ["JointFusion", "PlainClassifier", "PlainRegressor"]


class JointFusion(BaseFusion):
    """Base of the estimators that encode all modalities together: one term holds them all."""

    def _make_terms(self, names: Sequence[str]) -> list[tuple[int, ...]]:
        return [tuple(range(len(names)))]

    def _set_readings(self) -> None:
        """Set nothing: such a model is no sum of terms."""


class PlainClassifier(FusionClassifierMixin, BaseFusion):
    """Classifiers with the parameters of every estimator alone."""

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BaseFusion._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        *,
        modalities: Any = None,
        encoders: Any = "auto",
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        lr: float | str = "auto",
        lr_decay: float = 0.98,
        optimizer: Any = None,
        weight_decay: float = 0.01,
        early_stopping: bool | str = "auto",
        validation_fraction: float | str = "auto",
        n_iter_no_change: int = 12,
        class_weight: Any = None,
        missing: str = "raise",
        modality_dropout: float = 0.0,
        device: str = "auto",
        distributed: str | None = None,
        dtype: str = "auto",
        n_threads: int | None = 1,
        compile: bool | str = False,
        warm_start: bool = False,
        callbacks: list[Any] | None = None,
        net_params: dict[str, Any] | None = None,
        checkpoint: Any = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.encoders = encoders
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.lr_decay = lr_decay
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.missing = missing
        self.modality_dropout = modality_dropout
        self.device = device
        self.distributed = distributed
        self.dtype = dtype
        self.n_threads = n_threads
        self.compile = compile
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose


class PlainRegressor(FusionRegressorMixin, BaseFusion):
    """Regressors with the parameters of every estimator alone."""

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BaseFusion._parameter_constraints,
        "loss": [StrOptions({"squared_error", "absolute_error", "huber"})],
    }

    def __init__(
        self,
        *,
        modalities: Any = None,
        encoders: Any = "auto",
        loss: str = "squared_error",
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        lr: float | str = "auto",
        lr_decay: float = 0.98,
        optimizer: Any = None,
        weight_decay: float = 0.01,
        early_stopping: bool | str = "auto",
        validation_fraction: float | str = "auto",
        n_iter_no_change: int = 12,
        missing: str = "raise",
        modality_dropout: float = 0.0,
        device: str = "auto",
        distributed: str | None = None,
        dtype: str = "auto",
        n_threads: int | None = 1,
        compile: bool | str = False,
        warm_start: bool = False,
        callbacks: list[Any] | None = None,
        net_params: dict[str, Any] | None = None,
        checkpoint: Any = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.encoders = encoders
        self.loss = loss
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.lr_decay = lr_decay
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.missing = missing
        self.modality_dropout = modality_dropout
        self.device = device
        self.distributed = distributed
        self.dtype = dtype
        self.n_threads = n_threads
        self.compile = compile
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose
