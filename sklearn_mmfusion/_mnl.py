"""Additive fusion of modalities with learned relevance, MNL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from sklearn.utils._param_validation import StrOptions

from sklearn_mmfusion._block_norm import BlockNormFusion
from sklearn_mmfusion._docs import share_parameter_docs
from sklearn_mmfusion._target_mixins import FusionClassifierMixin, FusionRegressorMixin

__all__ = ["MNLClassifier", "MNLRegressor"]


class _MNL(BlockNormFusion):
    """Terms of MNL: the modalities."""

    def _make_terms(self, names: Sequence[str]) -> list[tuple[int, ...]]:
        return [(m,) for m in range(len(names))]


@share_parameter_docs
class MNLClassifier(FusionClassifierMixin, _MNL):
    r"""Additive fusion with a learned relevance per modality, MNL: a classifier.

    A linear model over the normalised encodings of the modalities, trained with a block-norm
    penalty that gives each modality its relevance. Use it where modalities add up; if they may act
    together, :class:`InTenseClassifier` has their interactions too.

    .. math:: f(x) = b + \sum_m W_m\, \mathrm{VBN}(\phi_m(x_m)), \qquad
              \min \frac1n \sum_i \ell(f(x_i), y_i)
              + \mathrm{reg} \Big(\sum_m \|W_m\|_F^q\Big)^{2/q}, \quad q = \tfrac{2p}{p+1}

    Takes binary, multiclass (softmax) and multilabel (one logit per label) targets.

    Parameters
    ----------
    {first}
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
       section 3.1.
    .. [2] Kloft et al. (2011), *lp-norm multiple kernel learning*, JMLR 12.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import MNLClassifier
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    >>> est = MNLClassifier(max_epochs=50, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, 0] + b[:, 0] > 0)
    >>> list(est.relevance_scores_)
    ['a', 'b']
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BlockNormFusion._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        *,
        modalities: Any = None,
        encoders: Any = "auto",
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
class MNLRegressor(FusionRegressorMixin, _MNL):
    r"""Additive fusion with a learned relevance per modality, MNL: a regressor.

    A linear model over the normalised encodings of the modalities, trained with a block-norm
    penalty that gives each modality its relevance. Use it where modalities add up; if they may act
    together, :class:`InTenseRegressor` has their interactions too.

    .. math:: f(x) = b + \sum_m W_m\, \mathrm{VBN}(\phi_m(x_m)), \qquad
              \min \frac1n \sum_i \ell(f(x_i), y_i)
              + \mathrm{reg} \Big(\sum_m \|W_m\|_F^q\Big)^{2/q}, \quad q = \tfrac{2p}{p+1}

    Takes one or several targets, standardised inside.

    Parameters
    ----------
    {first}
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
       section 3.1.
    .. [2] Kloft et al. (2011), *lp-norm multiple kernel learning*, JMLR 12.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import MNLRegressor
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    >>> est = MNLRegressor(max_epochs=50, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, 0] + b[:, 0])
    >>> list(est.relevance_scores_)
    ['a', 'b']
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BlockNormFusion._parameter_constraints,
        "loss": [StrOptions({"squared_error", "absolute_error", "huber"})],
    }

    def __init__(
        self,
        *,
        modalities: Any = None,
        encoders: Any = "auto",
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
