"""The Multimodal Transformer as an estimator."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from sklearn_mmfusion._base_plain import JointFusion, PlainClassifier, PlainRegressor
from sklearn_mmfusion._docs import share_parameter_docs
from sklearn_mmfusion._encoders.choosing import MulTEncoder
from sklearn_mmfusion._encoders.joint import TransformerOfAll
from sklearn_mmfusion._errors import InputTypeError
from sklearn_mmfusion._inputs.validation import TargetSchema
from sklearn_mmfusion._model.plain_heads import ResidualHead
from sklearn_mmfusion.data._blocks import ModalityLayout

__all__ = ["MulTClassifier", "MulTRegressor"]


class _MulT(JointFusion):
    """Encoder and head of MulT."""

    def _sizes(self) -> MulTEncoder:
        if isinstance(self.encoders, str) and self.encoders == "auto":
            return MulTEncoder()
        if isinstance(self.encoders, MulTEncoder):
            return clone(self.encoders)
        raise InputTypeError(
            f"{type(self).__name__} takes encoders='auto' or a MulTEncoder, got {self.encoders!r}; "
            "use LateFusionClassifier or RoutingClassifier for other encoders"
        )

    def _make_head(self, target: TargetSchema, n_samples: int) -> ResidualHead:
        return ResidualHead(float(self._sizes().dropout))

    def _resolve_encoders(
        self, layouts: tuple[ModalityLayout, ...], n_samples: int, *, linear: bool = False
    ) -> tuple[Any, ...]:
        return (TransformerOfAll(encoder=self._sizes()),)


@share_parameter_docs
class MulTClassifier(_MulT, PlainClassifier):
    r"""The Multimodal Transformer (MulT): a classifier.

    Every modality reads all others through cross-modal attention, self-attention remembers what was
    read, and a residual network on the summaries predicts. Use it where steps of different
    sequences, aligned or not, matter to each other; it says nothing of terms
    (:class:`RoutingClassifier` with ``encoders=MulTEncoder()`` does). ``encoders`` is a
    :class:`MulTEncoder` with the sizes; "auto" is one with its defaults.

    Takes binary, multiclass (softmax) and multilabel (one logit per label) targets.

    Parameters
    ----------
    {first}
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
    .. [1] Tsai et al. (2019), "Multimodal Transformer for Unaligned Multimodal Language
       Sequences", section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import MulTClassifier, MulTEncoder
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 3, 4)), rng.normal(size=(200, 2, 5))
    >>> small = MulTEncoder(hidden_dim=8, n_heads=2, n_layers=1)
    >>> est = MulTClassifier(encoders=small, max_epochs=30, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, -1, 0] > 0)
    >>> est.predict({"a": a, "b": b}).shape
    (200,)
    """


@share_parameter_docs
class MulTRegressor(_MulT, PlainRegressor):
    r"""The Multimodal Transformer (MulT): a regressor.

    Every modality reads all others through cross-modal attention, self-attention remembers what was
    read, and a residual network on the summaries predicts. Use it where steps of different
    sequences, aligned or not, matter to each other; it says nothing of terms
    (:class:`RoutingClassifier` with ``encoders=MulTEncoder()`` does). ``encoders`` is a
    :class:`MulTEncoder` with the sizes; "auto" is one with its defaults.

    Takes one or several targets, standardised inside.

    Parameters
    ----------
    {first}
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
    .. [1] Tsai et al. (2019), "Multimodal Transformer for Unaligned Multimodal Language
       Sequences", section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import MulTRegressor, MulTEncoder
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 3, 4)), rng.normal(size=(200, 2, 5))
    >>> small = MulTEncoder(hidden_dim=8, n_heads=2, n_layers=1)
    >>> est = MulTRegressor(encoders=small, max_epochs=30, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, -1, 0])
    >>> est.predict({"a": a, "b": b}).shape
    (200,)
    """
