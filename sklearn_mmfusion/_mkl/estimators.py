"""Multiple kernel learning over modalities, with support vector machines."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from sklearn_mmfusion._inputs.validation import TargetSchema
from sklearn_mmfusion._mkl.base import BaseMKL
from sklearn_mmfusion._mkl.docs import with_mkl_docs
from sklearn_mmfusion._rows.scaling import column_moments
from sklearn_mmfusion._target_mixins import FusionClassifierMixin, FusionRegressorMixin

__all__ = ["MKLClassifier", "MKLRegressor"]

Floats = npt.NDArray[np.float64]


def _no_probabilities(estimator: Any) -> bool:
    raise AttributeError(
        f"{type(estimator).__name__} has no predict_proba: distances to a margin are no "
        "probabilities; wrap it in sklearn.calibration.CalibratedClassifierCV"
    )


@with_mkl_docs
class MKLClassifier(FusionClassifierMixin, BaseMKL):
    r"""Multiple kernel learning with :math:`\ell_p`-norm kernel weights: a classifier.

    A support vector machine whose kernel is a weighted sum of one kernel per modality, with the
    weights learned along. Use it on few rows (its cost grows with their square) or as a convex
    counterpart of :class:`MNLClassifier`: no seed, no epochs, and a certificate of how close the
    solution is.

    .. math:: f_k(x) = b_k + \sum_m \langle w_{mk}, \phi_m(x)\rangle, \qquad
              \min_{w, b}\ \tfrac12 \Big(\sum_m \|w_m\|^q\Big)^{2/q}
              + C \sum_{i, k} \max(0, 1 - y_{ik} f_k(x_i)), \quad q = \tfrac{2p}{p+1}

    where :math:`y_{ik} = \pm 1` says whether row i is of class k: one against the rest, with
    :math:`\|w_m\|^2` summed over the classes, so that they share one set of kernel weights. Takes
    binary (one output) and multiclass targets; one model per label is what
    :class:`~sklearn.multioutput.MultiOutputClassifier` makes. There is no ``predict_proba``: wrap
    it in :class:`~sklearn.calibration.CalibratedClassifierCV`.

    Parameters
    ----------
    {parameters}
    C : float, default=1.0
        Cost of a row on the wrong side of its margin, above 0; more fits the rows more closely.
    {solver}
    class_weight : dict or "balanced", default=None
        Factor of each class in the cost; "balanced" gives every class the same total weight.
    {last}

    Attributes
    ----------
    {attributes}
    classes_ : ndarray
        Labels.

    Warns
    -----
    ConvergenceWarning
        The duality gap is above ``tol``.
    RelevanceWarning
        The model is a constant.

    Notes
    -----
    {notes}

    References
    ----------
    .. [1] Kloft et al. (2011), *lp-norm multiple kernel learning*, JMLR 12.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import MKLClassifier
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(100, 4)), rng.normal(size=(100, 5))
    >>> est = MKLClassifier(kernel="linear").fit({"a": a, "b": b}, a[:, 0] > 0)
    >>> max(est.relevance_scores_, key=est.relevance_scores_.get)
    'a'
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BaseMKL._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        *,
        modalities: Any = None,
        kernel: Any = "rbf",
        interactions: Any = 1,
        p: float = 1,
        C: float = 1.0,
        tol: float = 1e-6,
        max_iter: int = 200,
        class_weight: Any = None,
        missing: str = "raise",
    ) -> None:
        self.modalities = modalities
        self.kernel = kernel
        self.interactions = interactions
        self.p = p
        self.C = C
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.missing = missing

    def _free_zone(
        self, target: TargetSchema, encoded: npt.NDArray[Any], weight: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        if target.kind == "multiclass":
            positive = encoded[:, None] == np.arange(target.n_outputs)
        else:
            positive = encoded.reshape(len(encoded), -1) > 0
        lower, upper = np.where(positive, 1.0, -np.inf), np.where(positive, np.inf, -1.0)
        return lower, upper, np.zeros(target.n_outputs), np.ones(target.n_outputs)

    @available_if(_no_probabilities)
    def predict_proba(self, X: Any) -> Any:
        """Not available; see :class:`~sklearn.calibration.CalibratedClassifierCV`."""
        raise NotImplementedError  # pragma: no cover - available_if refuses the attribute

    @available_if(_no_probabilities)
    def predict_log_proba(self, X: Any) -> Any:
        """Not available, as ``predict_proba``."""
        raise NotImplementedError  # pragma: no cover - available_if refuses the attribute

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Without probabilities there is no format of theirs to agree on.
        tags.classifier_tags.multi_label = False
        return tags


@with_mkl_docs
class MKLRegressor(FusionRegressorMixin, BaseMKL):
    r"""Multiple kernel learning with :math:`\ell_p`-norm kernel weights: a regressor.

    Support vector regression whose kernel is a weighted sum of one kernel per modality, with the
    weights learned along. Use it on few rows (its cost grows with their square) or as a convex
    counterpart of :class:`MNLRegressor`: no seed, no epochs, and a certificate of how close the
    solution is.

    .. math:: f_k(x) = b_k + \sum_m \langle w_{mk}, \phi_m(x)\rangle, \qquad
              \min_{w, b}\ \tfrac12 \Big(\sum_m \|w_m\|^q\Big)^{2/q}
              + C \sum_{i, k} \max(0, |y_{ik} - f_k(x_i)| - \varepsilon), \quad q = \tfrac{2p}{p+1}

    Takes one or several targets, standardised inside; :math:`\|w_m\|^2` is summed over them, so
    that they share one set of kernel weights.

    Parameters
    ----------
    {parameters}
    C : float, default=1.0
        Cost of a standardised residual beyond ``epsilon``, above 0; more fits the rows more
        closely.
    epsilon : float, default=0.1
        Standardised residual that costs nothing, at least 0: 0.1 is a tenth of a target's standard
        deviation.
    {solver}
    {last}

    Attributes
    ----------
    {attributes}

    Warns
    -----
    ConvergenceWarning
        The duality gap is above ``tol``.
    RelevanceWarning
        The model is a constant.

    Notes
    -----
    {notes}

    References
    ----------
    .. [1] Kloft et al. (2011), *lp-norm multiple kernel learning*, JMLR 12.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import MKLRegressor
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(100, 4)), rng.normal(size=(100, 5))
    >>> est = MKLRegressor(kernel="linear").fit({"a": a, "b": b}, a[:, 0] + 0.1 * b[:, 0])
    >>> max(est.relevance_scores_, key=est.relevance_scores_.get)
    'a'
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        **BaseMKL._parameter_constraints,
        "epsilon": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        modalities: Any = None,
        kernel: Any = "rbf",
        interactions: Any = 1,
        p: float = 1,
        C: float = 1.0,
        epsilon: float = 0.1,
        tol: float = 1e-6,
        max_iter: int = 200,
        missing: str = "raise",
    ) -> None:
        self.modalities = modalities
        self.kernel = kernel
        self.interactions = interactions
        self.p = p
        self.C = C
        self.epsilon = epsilon
        self.tol = tol
        self.max_iter = max_iter
        self.missing = missing

    def _free_zone(
        self, target: TargetSchema, encoded: npt.NDArray[Any], weight: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        mean, scale = column_moments(encoded, weight)
        standardised, epsilon = (encoded - mean) / scale, float(self.epsilon)
        return standardised - epsilon, standardised + epsilon, mean, scale
