"""Interpretable tensor fusion, InTense: modalities and their interactions."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_mmfusion._block_norm import BlockNormFusion
from sklearn_mmfusion._docs import share_parameter_docs
from sklearn_mmfusion._inputs.validation import check_terms
from sklearn_mmfusion._target_mixins import FusionClassifierMixin, FusionRegressorMixin

__all__ = ["InTenseClassifier", "InTenseRegressor"]


class _InTense(BlockNormFusion):
    """Terms of InTense."""

    def _make_terms(self, names: Sequence[str]) -> list[tuple[int, ...]]:
        return check_terms(self.interactions, names, latent_dim=self.latent_dim)


@share_parameter_docs
class InTenseClassifier(FusionClassifierMixin, _InTense):
    r"""Interpretable tensor fusion, InTense: a classifier that scores modalities and interactions.

    A linear model over the normalised features of every term: each modality, and each chosen
    interaction of modalities. Interaction features are centred against everything that fewer
    modalities can express (IterBN), so that relevance is not drawn to high orders. Use it to find
    out whether modalities act together; :class:`MNLClassifier` is the model without interactions.

    .. math:: f(x) = b + \sum_S W_S\, z_S(x), \qquad
              \min \frac1n \sum_i \ell(f(x_i), y_i)
              + \mathrm{reg} \Big(\sum_S \|W_S\|_F^q\Big)^{2/q}, \quad q = \tfrac{2p}{p+1}

    Takes binary, multiclass (softmax) and multilabel (one logit per label) targets.

    Parameters
    ----------
    {first}
    interactions : int, "all" or list of tuples of str, default=2
        Highest order of the terms, all orders, or the interactions by the names of their
        modalities; every modality has a term of its own besides.
    latent_dim : int, default=8
        Length of the latent vector of a modality in an interaction; a term of order k has
        ``latent_dim ** k`` features.
    {fusion}
    {training}
    class_weight : dict or "balanced", default=None
        Factor of each class in the loss; "balanced" gives every class the same total weight. Not
        for multilabel targets.
    {last}

    Attributes
    ----------
    {attributes}
    classes_ : ndarray
        Labels; ``arange(n_labels)`` for multilabel targets.

    Warns
    -----
    RelevanceWarning
        The model is not shown to predict unseen rows better than a constant: its gain is at most
        two standard errors.
    ConvergenceWarning
        The loss was still falling at ``max_epochs``.
    FitInterruptedWarning
        The fit was interrupted; the last whole epoch is kept.

    References
    ----------
    .. [1] Varshneya et al. (2024), *Interpretable Tensor Fusion*, arXiv:2405.04671,
       section 3.3.
    .. [2] Kloft et al. (2011), *lp-norm multiple kernel learning*, JMLR 12.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import InTenseClassifier
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    >>> est = InTenseClassifier(max_epochs=80, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, 0] * b[:, 0] > 0)
    >>> max(est.relevance_scores_, key=est.relevance_scores_.get)
    'a x b'
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BlockNormFusion._parameter_constraints,
        "interactions": "no_validation",
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        *,
        modalities: Any = None,
        encoders: Any = "auto",
        interactions: Any = 2,
        latent_dim: int = 8,
        p: float = 1,
        reg: float | str = "auto",
        polish: bool = True,
        n_bags: int = 1,
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
        self.latent_dim = latent_dim
        self.p = p
        self.reg = reg
        self.polish = polish
        self.n_bags = n_bags
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
class InTenseRegressor(FusionRegressorMixin, _InTense):
    r"""Interpretable tensor fusion, InTense: a regressor that scores modalities and interactions.

    A linear model over the normalised features of every term: each modality, and each chosen
    interaction of modalities. Interaction features are centred against everything that fewer
    modalities can express (IterBN), so that relevance is not drawn to high orders. Use it to find
    out whether modalities act together; :class:`MNLRegressor` is the model without interactions.

    .. math:: f(x) = b + \sum_S W_S\, z_S(x), \qquad
              \min \frac1n \sum_i \ell(f(x_i), y_i)
              + \mathrm{reg} \Big(\sum_S \|W_S\|_F^q\Big)^{2/q}, \quad q = \tfrac{2p}{p+1}

    Takes one or several targets, standardised inside.

    Parameters
    ----------
    {first}
    interactions : int, "all" or list of tuples of str, default=2
        Highest order of the terms, all orders, or the interactions by the names of their
        modalities; every modality has a term of its own besides.
    latent_dim : int, default=8
        Length of the latent vector of a modality in an interaction; a term of order k has
        ``latent_dim ** k`` features.
    {fusion}
    loss : {"squared_error", "absolute_error", "huber"}, default="squared_error"
        Loss on standardised targets. The Huber loss bends at one standard deviation; for it and the
        absolute error that is read off the median absolute deviation, which bears outliers.
    {training}
    {last}

    Attributes
    ----------
    {attributes}

    Warns
    -----
    RelevanceWarning
        The model is not shown to predict unseen rows better than a constant: its gain is at most
        two standard errors.
    ConvergenceWarning
        The loss was still falling at ``max_epochs``.
    FitInterruptedWarning
        The fit was interrupted; the last whole epoch is kept.

    References
    ----------
    .. [1] Varshneya et al. (2024), *Interpretable Tensor Fusion*, arXiv:2405.04671,
       section 3.3.
    .. [2] Kloft et al. (2011), *lp-norm multiple kernel learning*, JMLR 12.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import InTenseRegressor
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    >>> est = InTenseRegressor(max_epochs=80, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, 0] * b[:, 0])
    >>> max(est.relevance_scores_, key=est.relevance_scores_.get)
    'a x b'
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BlockNormFusion._parameter_constraints,
        "interactions": "no_validation",
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "loss": [StrOptions({"squared_error", "absolute_error", "huber"})],
    }

    def __init__(
        self,
        *,
        modalities: Any = None,
        encoders: Any = "auto",
        interactions: Any = 2,
        latent_dim: int = 8,
        p: float = 1,
        reg: float | str = "auto",
        polish: bool = True,
        n_bags: int = 1,
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
        self.latent_dim = latent_dim
        self.p = p
        self.reg = reg
        self.polish = polish
        self.n_bags = n_bags
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
