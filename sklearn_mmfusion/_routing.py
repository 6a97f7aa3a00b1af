"""Multimodal routing: which term speaks for which class, in every single sample."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._base_routing import BaseActivatedFusion
from sklearn_mmfusion._docs import share_parameter_docs
from sklearn_mmfusion._inputs.validation import TargetSchema
from sklearn_mmfusion._model.routing_heads import ActivationHead, RoutingHead
from sklearn_mmfusion.modules.routing import FEW_CONCEPTS
from sklearn_mmfusion.modules.summaries import routing_summary

__all__ = ["GAMClassifier", "RoutingClassifier"]

Floats = npt.NDArray[np.float64]


_WIDTHS = (16, 64)  # fewest, and what the paper has with 16,000 rows
_ROWS_PER_FEATURE = 50


def auto_width(n_samples: int, n_outputs: int = 1) -> int:
    """Length of features and concepts for this many training rows, a power of two.

    Every term has a map of its own from features to the votes for each concept: with few rows, 64
    of each learn the rows by heart in two or three epochs. Features have to tell as many outputs
    apart as there are.
    """
    width = 2 ** round(math.log2(max(1, n_samples) / _ROWS_PER_FEATURE))
    needed = 2 ** math.ceil(math.log2(n_outputs))
    return int(min(max(width, needed, _WIDTHS[0]), _WIDTHS[1]))


@share_parameter_docs
class RoutingClassifier(BaseActivatedFusion):
    r"""Multimodal routing: a classifier that says which term spoke for which class in each row.

    Every term (a modality, or an interaction of modalities) has a feature and an activation
    :math:`p_i`, and votes for every class. A term's weight for a class, the routing coefficient
    :math:`r_{ij}`, is computed anew in each row from how well its vote agrees with those of the
    others. Use it where the explanation of a single prediction matters;
    :class:`InTenseClassifier` gives relevance scores that compare terms over a data set.

    .. math::

        v_{ij} = f_i W_{ij}, \quad r_{ij} = 1/J, \quad c_j = \sum_i p_i r_{ij} v_{ij};
        \quad \text{repeat:}\quad
        r_{ij} = \mathrm{softmax}_j (s \langle v_{ij}, c_j\rangle), \quad
        c_j = \sum_i p_i r_{ij} v_{ij}; \quad
        \mathrm{logit}_j = \langle o_j, c_j\rangle + b_j

    Takes binary, multiclass (softmax) and multilabel (one logit per label) targets. There is a
    concept :math:`c_j` for every class or label; binary targets have two, and one output,
    concept 1 minus concept 0.

    Parameters
    ----------
    {first_joint}
    interactions : int, "all" or list of tuples of str, default=2
        Highest order of the terms, all orders, or the interactions by the names of their
        modalities; every modality has a term of its own besides.
    n_routing_iter : int, default=1
        Adjustments of the routing coefficients after the uniform pass, at least 0. 0 leaves them
        uniform (Routing* of the paper); 1 is what the authors ran, 2 their Procedure 1 read
        literally.
    feature_dim : int or "auto", default="auto"
        Length of the features of the terms. "auto" is the power of two next to a feature for
        every 50 rows, at least 16, at least as many as there are classes or labels, and at most
        the paper's 64.
    concept_dim : int or "auto", default="auto"
        Length of votes and concepts; "auto" as for the features, whatever the number of classes.
    routing_scale : float, default=None
        Factor :math:`s`, at least 0; None is ``1 / sqrt(concept_dim)``, the authors' code. 1 is
        the paper's procedure: sharper, and harder to train.
    dropout : float, default=0.5
        Probability, in [0, 1), with which an element of a hidden feature or a concept is zeroed
        in training; it falls to 0 over ``max_epochs``.
    {training}
    class_weight : dict or "balanced", default=None
        Factor of each class in the loss; "balanced" gives every class the same total weight. Not
        for multilabel targets.
    {last}

    Attributes
    ----------
    routing_coefficients_ : ndarray of shape (n_terms, n_concepts)
        Mean of the routing coefficients over the training rows in which the term is present.
        Rows sum to 1; a term that plays no part stays at ``1 / n_concepts``.
    routing_intervals_ : ndarray of shape (n_terms, n_concepts, 2)
        95 % intervals of these means. They speak of this model and other rows, not of other fits.
    routed_activations_ : ndarray of shape (n_terms, n_concepts)
        Mean of :math:`p_i r_{ij}`.
    routed_activation_intervals_ : ndarray of shape (n_terms, n_concepts, 2)
        95 % intervals of these means.
    {attributes_activated}
    {attributes_fit}
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

    Notes
    -----
    The paper's settings are ``encoders=MulTEncoder(...)``, ``interactions=3``,
    ``feature_dim=64``, ``concept_dim=64``, ``dropout=0.5``, ``lr=1e-4`` and ``batch_size=32``.

    ``relevance_scores_`` is the mean over rows of :math:`p_i r_{i\hat y}`, where
    :math:`\hat y` is the predicted class (multilabel: the mean over predicted labels, or the
    most probable one where none is), normalised over the terms. A term that the model ignores may
    still be half active, so ``contribution_shares_`` stands beside it.

    References
    ----------
    .. [1] Tsai et al. (2020), *Multimodal Routing: Improving Local and Global Interpretability of
       Multimodal Language Analysis*, arXiv:2004.14198, section 3 and Procedure 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import RoutingClassifier
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    >>> est = RoutingClassifier(max_epochs=30, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, 0] + b[:, 0] > 0)
    >>> est.routing_coefficients({"a": a, "b": b}).shape
    (200, 3, 2)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BaseActivatedFusion._parameter_constraints,
        "n_routing_iter": [Interval(Integral, 0, None, closed="left")],
        "feature_dim": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "concept_dim": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "routing_scale": [Interval(Real, 0, None, closed="left"), None],
    }
    _kind = "routing"

    def __init__(
        self,
        *,
        modalities: Any = None,
        encoders: Any = "auto",
        interactions: Any = 2,
        n_routing_iter: int = 1,
        feature_dim: int | str = "auto",
        concept_dim: int | str = "auto",
        routing_scale: float | None = None,
        dropout: float = 0.5,
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
        self.n_routing_iter = n_routing_iter
        self.feature_dim = feature_dim
        self.concept_dim = concept_dim
        self.routing_scale = routing_scale
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

    def _make_head(self, target: TargetSchema, n_samples: int) -> RoutingHead:
        return RoutingHead(
            feature_dim=self._width("feature_dim", n_samples, target.n_outputs),
            dropout=float(self.dropout),
            concept_dim=self._width("concept_dim", n_samples),
            n_routing_iter=int(self.n_routing_iter),
            scale=None if self.routing_scale is None else float(self.routing_scale),
            kind=target.kind,
        )

    def _small_rate(self, n_outputs: int) -> float:
        # Each class has 1/J of the votes: what a step changes is small where there are many.
        return 0.01 if n_outputs > FEW_CONCEPTS else super()._small_rate(n_outputs)

    def _width(self, name: str, n_samples: int, n_outputs: int = 1) -> int:
        """Value of a parameter that says how long features or concepts are."""
        value = getattr(self, name)
        return auto_width(n_samples, n_outputs) if value == "auto" else int(value)

    def _set_readings(self) -> None:
        super()._set_readings()
        found = self._result.readings
        self.routing_coefficients_ = self._by_term(found["routing_coefficients"])
        self.routing_intervals_ = self._by_term(found["routing_coefficients_intervals"])
        self.routed_activations_ = self._by_term(found["routed_activations"])
        self.routed_activation_intervals_ = self._by_term(found["routed_activations_intervals"])

    def routing_coefficients(self, X: Any) -> Floats:
        """Return the weight of each term for each class in each row.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows to explain, in any form that ``predict`` takes.

        Returns
        -------
        ndarray of shape (n_samples, n_terms, n_concepts)
            Routing coefficients :math:`r_{ij}`, in the order of ``term_names_`` and
            ``classes_``; they sum to 1 over the concepts. They are uniform where a modality of
            the term is missing.
        """
        check_is_fitted(self, "_result")
        values = self._map_rows(
            X,
            lambda module, batch: module.fusion.coefficients(
                module.term_features(batch, batch.present)
            ),
        )
        return self._by_term(values, axis=1)

    def _explain_rows(self, X: Any) -> dict[str, Any]:
        n_terms, n_outputs = len(self._result.plan.terms), len(self.intercept_)
        n_concepts = self.module_.fusion.n_concepts

        def compute(module: Any, batch: Any) -> torch.Tensor:
            features = module.term_features(batch, batch.present)
            parts = [part.flatten(1) for part in module.fusion.explain(features)]
            return torch.cat([module.fusion(features), *parts], 1)

        ends = np.cumsum([n_outputs, n_terms * n_concepts, n_terms])
        decision, r, p, flat = np.split(self._map_rows(X, compute), ends, axis=1)
        r = self._by_term(r.reshape(len(r), n_terms, n_concepts), axis=1)
        p = self._by_term(p, axis=1)
        return {
            "routing_coefficients": r,
            "activations": p,
            "routed_activations": p[..., None] * r,
            "contributions": self._by_term(flat.reshape(len(flat), n_terms, -1), axis=1),
            "decision": decision,
        }

    def _summarise(self, parts: dict[str, Any]) -> dict[str, Floats]:
        tensors = {name: torch.from_numpy(value) for name, value in parts.items()}
        n = len(tensors["activations"])
        found = routing_summary(
            tensors["routing_coefficients"],
            tensors["activations"],
            tensors["contributions"],
            tensors["decision"],
            torch.full((n,), 1.0 / n, dtype=torch.float64),
            float(n),
            is_multilabel=self._target.kind == "multilabel",
        )
        return {name: value.numpy() for name, value in found.items()}


@share_parameter_docs
class GAMClassifier(BaseActivatedFusion):
    r"""Activated features of modalities and interactions added up: routing without routing.

    The ablation of the routing paper: every term adds its activated feature, and all share one
    readout. Use it to see what routing adds; :class:`RoutingClassifier` with
    ``n_routing_iter=0`` is the other ablation, with a vote of its own for every class.

    .. math:: \mathrm{logit}_j = \Big\langle o_j, \sum_i p_i f_i \Big\rangle + b_j

    Takes binary, multiclass (softmax) and multilabel (one logit per label) targets.

    Parameters
    ----------
    {first_joint}
    interactions : int, "all" or list of tuples of str, default=2
        Highest order of the terms, all orders, or the interactions by the names of their
        modalities; every modality has a term of its own besides.
    feature_dim : int, default=64
        Length of the features of the terms.
    dropout : float, default=0.5
        Probability, in [0, 1), with which an element of a hidden feature is zeroed in training;
        it falls to 0 over ``max_epochs``.
    {training}
    class_weight : dict or "balanced", default=None
        Factor of each class in the loss; "balanced" gives every class the same total weight. Not
        for multilabel targets.
    {last}

    Attributes
    ----------
    {attributes_activated}
    {attributes_fit}
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

    Notes
    -----
    ``relevance_scores_`` is the mean activation, normalised over the terms. It does not know how
    large a term's feature is: ``contribution_shares_`` does.

    References
    ----------
    .. [1] Tsai et al. (2020), *Multimodal Routing: Improving Local and Global Interpretability of
       Multimodal Language Analysis*, arXiv:2004.14198, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import GAMClassifier
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    >>> est = GAMClassifier(max_epochs=30, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, 0] + b[:, 0] > 0)
    >>> est.activations({"a": a, "b": b}).shape
    (200, 3)
    """

    _kind = "activation"

    def __init__(
        self,
        *,
        modalities: Any = None,
        encoders: Any = "auto",
        interactions: Any = 2,
        feature_dim: int = 64,
        dropout: float = 0.5,
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
        self.feature_dim = feature_dim
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

    def _make_head(self, target: TargetSchema, n_samples: int) -> ActivationHead:
        return ActivationHead(feature_dim=int(self.feature_dim), dropout=float(self.dropout))
