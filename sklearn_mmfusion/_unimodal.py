"""One modality alone: the baselines that fusion has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from sklearn_mmfusion._base import BaseFusion
from sklearn_mmfusion._docs import share_parameter_docs
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._late_fusion import LateFusionClassifier, LateFusionRegressor

__all__ = ["UnimodalClassifier", "UnimodalRegressor"]


class _OneModality(BaseFusion):
    """Refuses to choose among modalities; validation reads the one that ``modality`` names."""

    def _make_terms(self, names: Sequence[str]) -> list[tuple[int, ...]]:
        if len(names) > 1:
            raise InputError(
                f"modality=None: expected X with a single modality, got {list(names)}; name the "
                f"one to use, as in {type(self).__name__}(modality={names[0]!r})"
            )
        return [(0,)]


@share_parameter_docs
class UnimodalClassifier(_OneModality, LateFusionClassifier):
    r"""One modality alone: a classifier.

    The encoder of one modality under a linear layer. Use it for the baselines of single
    modalities, beside fusion: it takes the same ``X``, uses one modality, and does not look at
    the others.

    Takes binary, multiclass (softmax) and multilabel (one logit per label) targets.

    Parameters
    ----------
    modality : str, default=None
        Name of the modality. None is the only one that there is, and an error where there are
        several.
    {first}
    {training}
    class_weight : dict or "balanced", default=None
        Factor of each class in the loss; "balanced" gives every class the same total weight. Not
        for multilabel targets.
    {last}

    Attributes
    ----------
    contribution_std_ : ndarray of shape (1, n_outputs)
        Standard deviation of the contribution over the training rows, in units of the output.
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

    See Also
    --------
    LateFusionClassifier : The same model of several modalities.
    EstimatorEncoder : Any scikit-learn estimator for a modality.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import UnimodalClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = {"a": rng.normal(size=(200, 4)), "b": rng.normal(size=(200, 5))}
    >>> est = UnimodalClassifier("a", max_epochs=30, random_state=0).fit(X, X["a"][:, 0] > 0)
    >>> est.modality_names_
    ['a']
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **LateFusionClassifier._parameter_constraints,
        "modality": [str, None],
    }

    def __init__(
        self,
        modality: str | None = None,
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
        super().__init__(
            modalities=modalities,
            encoders=encoders,
            max_epochs=max_epochs,
            batch_size=batch_size,
            lr=lr,
            lr_decay=lr_decay,
            optimizer=optimizer,
            weight_decay=weight_decay,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            class_weight=class_weight,
            missing=missing,
            modality_dropout=modality_dropout,
            device=device,
            distributed=distributed,
            dtype=dtype,
            n_threads=n_threads,
            compile=compile,
            warm_start=warm_start,
            callbacks=callbacks,
            net_params=net_params,
            checkpoint=checkpoint,
            random_state=random_state,
            verbose=verbose,
        )
        self.modality = modality


@share_parameter_docs
class UnimodalRegressor(_OneModality, LateFusionRegressor):
    r"""One modality alone: a regressor.

    The encoder of one modality under a linear layer. Use it for the baselines of single
    modalities, beside fusion: it takes the same ``X``, uses one modality, and does not look at
    the others.

    Takes one or several targets, standardised inside.

    Parameters
    ----------
    modality : str, default=None
        Name of the modality. None is the only one that there is, and an error where there are
        several.
    {first}
    loss : {"squared_error", "absolute_error", "huber"}, default="squared_error"
        Loss on standardised targets. The Huber loss bends at one standard deviation; for it and the
        absolute error that is read off the median absolute deviation, which bears outliers.
    {training}
    {last}

    Attributes
    ----------
    contribution_std_ : ndarray of shape (1, n_outputs)
        Standard deviation of the contribution over the training rows, in units of the output.
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

    See Also
    --------
    LateFusionRegressor : The same model of several modalities.
    EstimatorEncoder : Any scikit-learn estimator for a modality.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import UnimodalRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = {"a": rng.normal(size=(200, 4)), "b": rng.normal(size=(200, 5))}
    >>> est = UnimodalRegressor("a", max_epochs=30, random_state=0).fit(X, X["a"][:, 0])
    >>> est.modality_names_
    ['a']
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **LateFusionRegressor._parameter_constraints,
        "modality": [str, None],
    }

    def __init__(
        self,
        modality: str | None = None,
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
        super().__init__(
            modalities=modalities,
            encoders=encoders,
            loss=loss,
            max_epochs=max_epochs,
            batch_size=batch_size,
            lr=lr,
            lr_decay=lr_decay,
            optimizer=optimizer,
            weight_decay=weight_decay,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            missing=missing,
            modality_dropout=modality_dropout,
            device=device,
            distributed=distributed,
            dtype=dtype,
            n_threads=n_threads,
            compile=compile,
            warm_start=warm_start,
            callbacks=callbacks,
            net_params=net_params,
            checkpoint=checkpoint,
            random_state=random_state,
            verbose=verbose,
        )
        self.modality = modality
