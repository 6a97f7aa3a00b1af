"""Tensor fusion: a network on the product of all modalities, TFN."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_mmfusion._base import BaseFusion
from sklearn_mmfusion._docs import share_parameter_docs
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._inputs.validation import TargetSchema
from sklearn_mmfusion._model.plain_heads import TensorHead
from sklearn_mmfusion._target_mixins import FusionClassifierMixin, FusionRegressorMixin

__all__ = ["TensorFusionClassifier", "TensorFusionRegressor"]

_MAX_FEATURES = 1_000_000


class _TensorFusion(BaseFusion):
    """Terms and head of TFN."""

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BaseFusion._parameter_constraints,
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "hidden_dim": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }

    def _make_terms(self, names: Sequence[str]) -> list[tuple[int, ...]]:
        size = (1 + int(self.latent_dim)) ** len(names)
        if size > _MAX_FEATURES:
            raise InputError(
                f"the product of {len(names)} modalities has {size:_} elements at "
                f"latent_dim={self.latent_dim} (limit {_MAX_FEATURES:_}): lower latent_dim, or use "
                "InTenseClassifier with interactions=2"
            )
        return [(m,) for m in range(len(names))]

    def _make_head(self, target: TargetSchema, n_samples: int) -> TensorHead:
        return TensorHead(int(self.latent_dim), int(self.hidden_dim), float(self.dropout))

    def _set_readings(self) -> None:
        """Set nothing: such a model is no sum of terms."""


@share_parameter_docs
class TensorFusionClassifier(FusionClassifierMixin, _TensorFusion):
    r"""Tensor fusion network (TFN): a classifier.

    A network on the tensor product of all modalities, each with a constant 1 before it, which holds
    every interaction of every order. Use it as a baseline with few modalities: its size grows as
    a power of their number, and it says nothing of terms.

    .. math:: f(x) = \mathrm{MLP}\Big(\bigotimes_m [1;\, U_m \phi_m(x_m)]\Big)

    Takes binary, multiclass (softmax) and multilabel (one logit per label) targets.

    Parameters
    ----------
    {first}
    latent_dim : int, default=8
        Length of each modality's vector in the product, which has
        ``(1 + latent_dim) ** n_modalities`` elements; a million at most.
    hidden_dim : int, default=64
        Width of the two hidden layers behind it.
    dropout : float, default=0.2
        Probability, in [0, 1), with which a hidden unit is zeroed in training; it falls to 0 over
        ``max_epochs``.
    {training}
    class_weight : dict or "balanced", default=None
        Factor of each class in the loss; "balanced" gives every class the same total weight. Not
        for multilabel targets.
    {last}

    Attributes
    ----------
    {attributes_fit_joint}
    classes_ : ndarray
        Labels; ``arange(n_labels)`` for multilabel targets.

    Warns
    -----
    ConvergenceWarning
        The loss was still falling at ``max_epochs``.
    FitInterruptedWarning
        The fit was interrupted; the last whole epoch is kept.

    References
    ----------
    .. [1] Zadeh et al. (2017), "Tensor Fusion Network for Multimodal Sentiment Analysis",
       section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import TensorFusionClassifier
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    >>> est = TensorFusionClassifier(max_epochs=30, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, 0] + b[:, 0] > 0)
    >>> est.predict({"a": a, "b": b}).shape
    (200,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **_TensorFusion._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        *,
        modalities: Any = None,
        encoders: Any = "auto",
        latent_dim: int = 8,
        hidden_dim: int = 64,
        dropout: float = 0.2,
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
        self.latent_dim = latent_dim
        self.hidden_dim = hidden_dim
        self.dropout = dropout
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


@share_parameter_docs
class TensorFusionRegressor(FusionRegressorMixin, _TensorFusion):
    r"""Tensor fusion network (TFN): a regressor.

    A network on the tensor product of all modalities, each with a constant 1 before it, which holds
    every interaction of every order. Use it as a baseline with few modalities: its size grows as
    a power of their number, and it says nothing of terms.

    .. math:: f(x) = \mathrm{MLP}\Big(\bigotimes_m [1;\, U_m \phi_m(x_m)]\Big)

    Takes one or several targets, standardised inside.

    Parameters
    ----------
    {first}
    latent_dim : int, default=8
        Length of each modality's vector in the product, which has
        ``(1 + latent_dim) ** n_modalities`` elements; a million at most.
    hidden_dim : int, default=64
        Width of the two hidden layers behind it.
    dropout : float, default=0.2
        Probability, in [0, 1), with which a hidden unit is zeroed in training; it falls to 0 over
        ``max_epochs``.
    loss : {"squared_error", "absolute_error", "huber"}, default="squared_error"
        Loss on standardised targets. The Huber loss bends at one standard deviation; for it and the
        absolute error that is read off the median absolute deviation, which bears outliers.
    {training}
    {last}

    Attributes
    ----------
    {attributes_fit_joint}

    Warns
    -----
    ConvergenceWarning
        The loss was still falling at ``max_epochs``.
    FitInterruptedWarning
        The fit was interrupted; the last whole epoch is kept.

    References
    ----------
    .. [1] Zadeh et al. (2017), "Tensor Fusion Network for Multimodal Sentiment Analysis",
       section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import TensorFusionRegressor
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    >>> est = TensorFusionRegressor(max_epochs=80, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, 0] + b[:, 0])
    >>> est.predict({"a": a, "b": b}).shape
    (200,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **_TensorFusion._parameter_constraints,
        "loss": [StrOptions({"squared_error", "absolute_error", "huber"})],
    }

    def __init__(
        self,
        *,
        modalities: Any = None,
        encoders: Any = "auto",
        latent_dim: int = 8,
        hidden_dim: int = 64,
        dropout: float = 0.2,
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
        self.latent_dim = latent_dim
        self.hidden_dim = hidden_dim
        self.dropout = dropout
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
