"""Early fusion: modalities concatenated step by step under one encoder (EF-LSTM)."""

from __future__ import annotations

from typing import Any

from sklearn_mmfusion._base_plain import JointFusion, PlainClassifier, PlainRegressor
from sklearn_mmfusion._docs import share_parameter_docs
from sklearn_mmfusion._encoders.joint import EarlyEncoder
from sklearn_mmfusion._errors import InputTypeError
from sklearn_mmfusion._inputs.validation import TargetSchema
from sklearn_mmfusion._model.plain_heads import ConcatHead
from sklearn_mmfusion.data._blocks import ModalityLayout

__all__ = ["EarlyFusionClassifier", "EarlyFusionRegressor"]


class _EarlyFusion(JointFusion):
    """Encoder and head of early fusion."""

    def _make_head(self, target: TargetSchema, n_samples: int) -> ConcatHead:
        return ConcatHead()

    def _resolve_encoders(
        self, layouts: tuple[ModalityLayout, ...], n_samples: int, *, linear: bool = False
    ) -> tuple[Any, ...]:
        if isinstance(self.encoders, (dict, list, tuple)):
            raise InputTypeError(
                f"{type(self).__name__} has one encoder for all modalities together, got "
                f"{self.encoders!r}; give a single encoder, such as LSTMEncoder()"
            )
        return (EarlyEncoder(encoder=self.encoders, n_samples=n_samples),)


@share_parameter_docs
class EarlyFusionClassifier(_EarlyFusion, PlainClassifier):
    r"""Early fusion: one encoder on all modalities together: a classifier.

    Flat modalities are concatenated; sequences are concatenated step by step and need the same
    number of steps, with flat modalities repeated in each. ``encoders`` is one encoder for the
    result: "auto" is an LSTM for sequences (EF-LSTM), and chosen by shape otherwise. What is
    missing counts as the mean of the training rows.

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
    .. [1] Baltrusaitis, Ahuja & Morency (2019), "Multimodal Machine Learning: A Survey and
       Taxonomy", section 6.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import EarlyFusionClassifier
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 3, 4)), rng.normal(size=(200, 3, 5))
    >>> est = EarlyFusionClassifier(max_epochs=30, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a.mean((1, 2)) > 0)
    >>> est.predict({"a": a, "b": b}).shape
    (200,)
    """


@share_parameter_docs
class EarlyFusionRegressor(_EarlyFusion, PlainRegressor):
    r"""Early fusion: one encoder on all modalities together: a regressor.

    Flat modalities are concatenated; sequences are concatenated step by step and need the same
    number of steps, with flat modalities repeated in each. ``encoders`` is one encoder for the
    result: "auto" is an LSTM for sequences (EF-LSTM), and chosen by shape otherwise. What is
    missing counts as the mean of the training rows.

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
    .. [1] Baltrusaitis, Ahuja & Morency (2019), "Multimodal Machine Learning: A Survey and
       Taxonomy", section 6.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import EarlyFusionRegressor
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 3, 4)), rng.normal(size=(200, 3, 5))
    >>> est = EarlyFusionRegressor(max_epochs=30, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a.mean((1, 2)))
    >>> est.predict({"a": a, "b": b}).shape
    (200,)
    """
