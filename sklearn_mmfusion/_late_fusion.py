"""Late fusion: encodings concatenated under a linear layer (LF-Concat, LF-LSTM)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sklearn_mmfusion._base import BaseFusion
from sklearn_mmfusion._base_plain import PlainClassifier, PlainRegressor
from sklearn_mmfusion._docs import share_parameter_docs
from sklearn_mmfusion._fitted import AdditivePredictions
from sklearn_mmfusion._inputs.validation import TargetSchema
from sklearn_mmfusion._model.plain_heads import ConcatHead

__all__ = ["LateFusionClassifier", "LateFusionRegressor"]


class _LateFusion(AdditivePredictions, BaseFusion):
    """Terms and head of late fusion."""

    _explains: ClassVar[str] = "contributions"

    def _make_terms(self, names: Sequence[str]) -> list[tuple[int, ...]]:
        return [(m,) for m in range(len(names))]

    def _make_head(self, target: TargetSchema, n_samples: int) -> ConcatHead:
        return ConcatHead()

    def _set_readings(self) -> None:
        self._set_term_names()
        self.contribution_std_ = self._by_term(self._result.contribution_std)


@share_parameter_docs
class LateFusionClassifier(_LateFusion, PlainClassifier):
    r"""Late fusion: a linear layer on the concatenated encodings: a classifier.

    Every modality has an encoder of its own, and the outputs are linear in their results: the
    plain additive model, without normalisation or penalty. Use it as a baseline, and with
    ``modalities=["text"]`` for the model of a single modality. With ``encoders=LSTMEncoder()`` it
    is the LF-LSTM of the literature.

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
    contribution_std_ : ndarray of shape (n_terms, n_outputs)
        Standard deviation of each contribution over the training rows, in units of the output.
    {attributes_fit}
    classes_ : ndarray
        Labels; ``arange(n_labels)`` for multilabel targets.

    Warns
    -----
    RelevanceWarning
        The model is not shown to predict unseen rows better than a constant (its gain is at most
        two standard errors): contributions may mean nothing.
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
    >>> from sklearn_mmfusion import LateFusionClassifier
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    >>> est = LateFusionClassifier(max_epochs=30, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, 0] + b[:, 0] > 0)
    >>> est.predict({"a": a, "b": b}).shape
    (200,)
    """


@share_parameter_docs
class LateFusionRegressor(_LateFusion, PlainRegressor):
    r"""Late fusion: a linear layer on the concatenated encodings: a regressor.

    Every modality has an encoder of its own, and the outputs are linear in their results: the
    plain additive model, without normalisation or penalty. Use it as a baseline, and with
    ``modalities=["text"]`` for the model of a single modality. With ``encoders=LSTMEncoder()`` it
    is the LF-LSTM of the literature.

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
    contribution_std_ : ndarray of shape (n_terms, n_outputs)
        Standard deviation of each contribution over the training rows, in units of the output.
    {attributes_fit}

    Warns
    -----
    RelevanceWarning
        The model is not shown to predict unseen rows better than a constant (its gain is at most
        two standard errors): contributions may mean nothing.
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
    >>> from sklearn_mmfusion import LateFusionRegressor
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    >>> est = LateFusionRegressor(max_epochs=30, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a[:, 0] + b[:, 0])
    >>> est.predict({"a": a, "b": b}).shape
    (200,)
    """
