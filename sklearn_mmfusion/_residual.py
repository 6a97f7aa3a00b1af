"""Multimodal residual optimisation, MRO: every order learns what those below it leave over."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_mmfusion._base import BaseFusion
from sklearn_mmfusion._docs import share_parameter_docs
from sklearn_mmfusion._encoders.joint import OrderEncoder
from sklearn_mmfusion._fitted import AdditivePredictions
from sklearn_mmfusion._fitting.data import FitInput, FitResult
from sklearn_mmfusion._inputs.validation import TargetSchema, check_terms
from sklearn_mmfusion._model.plain_heads import OrderHead
from sklearn_mmfusion._model.plan import FusionPlan
from sklearn_mmfusion._target_mixins import FusionClassifierMixin, FusionRegressorMixin
from sklearn_mmfusion.data._blocks import ModalityLayout

__all__ = ["MROClassifier", "MRORegressor"]


class _MRO(AdditivePredictions, BaseFusion):
    """Terms, orders and head of MRO."""

    _explains: ClassVar[str] = "contributions and order importances"
    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BaseFusion._parameter_constraints,
        "interactions": "no_validation",
        "schedule": [StrOptions({"joint", "sequential"})],
        "hidden_dim": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }

    def _make_terms(self, names: Sequence[str]) -> list[tuple[int, ...]]:
        return check_terms(self.interactions, names)

    def _make_head(self, target: TargetSchema, n_samples: int) -> OrderHead:
        return OrderHead(int(self.hidden_dim), float(self.dropout))

    def _resolve_encoders(
        self, layouts: tuple[ModalityLayout, ...], n_samples: int, *, linear: bool = False
    ) -> tuple[Any, ...]:
        terms = self._make_terms([layout.name for layout in layouts])
        n_orders = len({len(term) for term in terms})
        encoders = super()._resolve_encoders(layouts, n_samples, linear=linear)
        return tuple(OrderEncoder(encoder=e, n_orders=n_orders) for e in encoders)

    def _method_options(self, plan: FusionPlan, rows: FitInput) -> dict[str, Any]:
        options = super()._method_options(plan, rows)
        if self.schedule == "sequential":
            options["n_phases"] = len({len(term) for term in plan.terms})
        return options

    def _chosen(self, inner: FitResult) -> dict[str, Any]:
        if self.early_stopping != "auto" or inner.training.phase_epochs is None:
            return {}
        return {"phase_epochs": inner.training.phase_epochs}

    def _set_readings(self) -> None:
        self._set_term_names()
        self.contribution_std_ = self._by_term(self._result.contribution_std)
        self.encoders_ = {name: spec.encoder for name, spec in self.encoders_.items()}
        orders = sorted({len(term) for term in self._result.plan.terms})
        spread = np.sqrt(self._result.readings["order_variances"])
        shares = spread / max(float(spread.sum()), np.finfo(np.float64).tiny)
        self.order_importances_ = dict(zip(orders, shares.tolist(), strict=True))


@share_parameter_docs
class MROClassifier(FusionClassifierMixin, _MRO):
    r"""Multimodal residual optimisation (MRO): a classifier.

    Single modalities explain what they can; pairs learn what is left over, triples what pairs
    leave, and so on. Use it to see how much the higher orders add: compare scores with
    ``interactions=1``. Every order has encoders of its own, so that what it needs does not move the
    predictions below it.

    .. math:: \hat y_o = \mathrm{stopgrad}\Big(\sum_{q < o} y_q\Big) + y_o, \qquad
              \min \sum_o \ell(\hat y_o, y), \qquad f(x) = \sum_o y_o(x)

    Takes binary, multiclass (softmax) and multilabel (one logit per label) targets.

    Parameters
    ----------
    {first}
    interactions : int, "all" or list of tuples of str, default=2
        Highest order of the terms, all orders, or the interactions by the names of their
        modalities; every modality has a term of its own besides.
    schedule : {"joint", "sequential"}, default="joint"
        Train all orders at once, each on what those below it leave over (their predictions
        without gradient), or one order after the other, those before it frozen.
        ``partial_fit`` always trains all at once.
    hidden_dim : int, default=64
        Width of the hidden layer of each term.
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
    order_importances_ : dict of int to float
        Standard deviation over the training rows of what the terms of each order add, as a share
        of the sum over orders; outputs are added up in square. Squares over their sum are shares
        of variance: a small one looks larger here (2 % of the variance are an eighth). Of classes
        they say little: once single modalities tell these apart, pairs lower the loss by making
        the same decision surer, and had shares of 0.3 to 0.6 on rows whose truth is additive.
    contribution_std_ : ndarray of shape (n_terms, n_outputs)
        Standard deviation of each contribution over the training rows, in units of the output.
    {attributes_fit}
    classes_ : ndarray
        Labels; ``arange(n_labels)`` for multilabel targets.

    Warns
    -----
    RelevanceWarning
        The model is not shown to predict unseen rows better than a constant (its gain is at most
        two standard errors): contributions and order importances may mean nothing.
    ConvergenceWarning
        The loss was still falling at ``max_epochs``.
    FitInterruptedWarning
        The fit was interrupted; the last whole epoch is kept.

    References
    ----------
    .. [1] Woertwein et al. (2022), "Beyond Additive Fusion: Learning Non-Additive Multimodal
       Interactions", section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import MROClassifier
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    >>> est = MROClassifier(max_epochs=30, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, 0] + b[:, 0] > 0)
    >>> est.predict({"a": a, "b": b}).shape
    (200,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **_MRO._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        *,
        modalities: Any = None,
        encoders: Any = "auto",
        interactions: Any = 2,
        schedule: str = "joint",
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
        self.interactions = interactions
        self.schedule = schedule
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
class MRORegressor(FusionRegressorMixin, _MRO):
    r"""Multimodal residual optimisation (MRO): a regressor.

    Single modalities explain what they can; pairs learn what is left over, triples what pairs
    leave, and so on. Use it to see how much the higher orders add: compare scores with
    ``interactions=1``. Every order has encoders of its own, so that what it needs does not move the
    predictions below it.

    .. math:: \hat y_o = \mathrm{stopgrad}\Big(\sum_{q < o} y_q\Big) + y_o, \qquad
              \min \sum_o \ell(\hat y_o, y), \qquad f(x) = \sum_o y_o(x)

    Takes one or several targets, standardised inside.

    Parameters
    ----------
    {first}
    interactions : int, "all" or list of tuples of str, default=2
        Highest order of the terms, all orders, or the interactions by the names of their
        modalities; every modality has a term of its own besides.
    schedule : {"joint", "sequential"}, default="joint"
        Train all orders at once, each on what those below it leave over (their predictions
        without gradient), or one order after the other, those before it frozen.
        ``partial_fit`` always trains all at once.
    hidden_dim : int, default=64
        Width of the hidden layer of each term.
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
    order_importances_ : dict of int to float
        Standard deviation over the training rows of what the terms of each order add, as a share
        of the sum over orders; outputs are added up in square. Squares over their sum are shares
        of variance: a small one looks larger here (2 % of the variance are an eighth).
    contribution_std_ : ndarray of shape (n_terms, n_outputs)
        Standard deviation of each contribution over the training rows, in units of the output.
    {attributes_fit}

    Warns
    -----
    RelevanceWarning
        The model is not shown to predict unseen rows better than a constant (its gain is at most
        two standard errors): contributions and order importances may mean nothing.
    ConvergenceWarning
        The loss was still falling at ``max_epochs``.
    FitInterruptedWarning
        The fit was interrupted; the last whole epoch is kept.

    References
    ----------
    .. [1] Woertwein et al. (2022), "Beyond Additive Fusion: Learning Non-Additive Multimodal
       Interactions", section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import MRORegressor
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    >>> est = MRORegressor(max_epochs=30, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, 0] + b[:, 0])
    >>> est.predict({"a": a, "b": b}).shape
    (200,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **_MRO._parameter_constraints,
        "loss": [StrOptions({"squared_error", "absolute_error", "huber"})],
    }

    def __init__(
        self,
        *,
        modalities: Any = None,
        encoders: Any = "auto",
        interactions: Any = 2,
        schedule: str = "joint",
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
        self.interactions = interactions
        self.schedule = schedule
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
