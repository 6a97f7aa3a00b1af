"""Words shifted by what is seen and heard with them, RAVEN."""

from __future__ import annotations

from typing import Any, ClassVar

from sklearn.base import clone

from sklearn_mmfusion._base_plain import JointFusion, PlainClassifier, PlainRegressor
from sklearn_mmfusion._docs import share_parameter_docs
from sklearn_mmfusion._encoders.joint import RAVENEncoder
from sklearn_mmfusion._errors import InputTypeError
from sklearn_mmfusion._inputs.validation import TargetSchema
from sklearn_mmfusion._model.plain_heads import ConcatHead
from sklearn_mmfusion.data._blocks import ModalityLayout

__all__ = ["RAVENClassifier", "RAVENRegressor"]


class _RAVEN(JointFusion):
    """Encoder and head of RAVEN."""

    _small_lr: ClassVar[float] = 0.01  # the steps of few rows end far from the optimum else

    def _make_head(self, target: TargetSchema, n_samples: int) -> ConcatHead:
        return ConcatHead()

    def _resolve_encoders(
        self, layouts: tuple[ModalityLayout, ...], n_samples: int, *, linear: bool = False
    ) -> tuple[Any, ...]:
        if isinstance(self.encoders, str) and self.encoders == "auto":
            return (RAVENEncoder(),)
        if isinstance(self.encoders, RAVENEncoder):
            return (clone(self.encoders),)
        raise InputTypeError(
            f"{type(self).__name__} takes encoders='auto' or a RAVENEncoder, got "
            f"{self.encoders!r}; use LateFusionClassifier for other encoders"
        )


@share_parameter_docs
class RAVENClassifier(_RAVEN, PlainClassifier):
    r"""Recurrent attended variation embedding network (RAVEN): a classifier.

    In every step the features of a main modality (language) are shifted by what the other
    modalities show at that moment, and an LSTM reads the shifted steps. Use it as a baseline on
    aligned sequences of spoken language. ``encoders`` is a :class:`RAVENEncoder`, which names the
    main modality and the sizes; "auto" is one with its defaults.

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
    .. [1] Wang et al. (2019), "Words Can Shift: Dynamically Adjusting Word Representations Using
       Nonverbal Behaviors", section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import RAVENClassifier
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 3, 4)), rng.normal(size=(200, 3, 5))
    >>> est = RAVENClassifier(max_epochs=30, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a.mean((1, 2)) > 0)
    >>> est.predict({"a": a, "b": b}).shape
    (200,)
    """


@share_parameter_docs
class RAVENRegressor(_RAVEN, PlainRegressor):
    r"""Recurrent attended variation embedding network (RAVEN): a regressor.

    In every step the features of a main modality (language) are shifted by what the other
    modalities show at that moment, and an LSTM reads the shifted steps. Use it as a baseline on
    aligned sequences of spoken language. ``encoders`` is a :class:`RAVENEncoder`, which names the
    main modality and the sizes; "auto" is one with its defaults.

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
    .. [1] Wang et al. (2019), "Words Can Shift: Dynamically Adjusting Word Representations Using
       Nonverbal Behaviors", section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import RAVENRegressor
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 3, 4)), rng.normal(size=(200, 3, 5))
    >>> est = RAVENRegressor(max_epochs=30, lr=0.01, random_state=0)
    >>> est = est.fit({"a": a, "b": b}, a.mean((1, 2)))
    >>> est.predict({"a": a, "b": b}).shape
    (200,)
    """
