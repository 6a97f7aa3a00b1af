"""Multiple kernel learning over modalities, with support vector machines."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, _fit_context, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion import functional as F
from sklearn_mmfusion._errors import InputError, RelevanceWarning
from sklearn_mmfusion._explained import ExplainedTerms
from sklearn_mmfusion._kernels import FittedKernels, check_kernels, fit_kernels
from sklearn_mmfusion._mkl_solver import MKLSolution, solve_mkl
from sklearn_mmfusion._moments import weighted_std
from sklearn_mmfusion._progress import CallbackSupport, FitTask
from sklearn_mmfusion._savable import SavableMixin
from sklearn_mmfusion._scaling import column_moments
from sklearn_mmfusion._target_mixins import FusionClassifierMixin, FusionRegressorMixin
from sklearn_mmfusion._validation import (
    InputSchema,
    TargetSchema,
    check_fit_inputs,
    check_sample_weight,
    check_terms,
    check_X,
    set_input_attributes,
    term_name,
)

__all__ = ["MKLClassifier", "MKLRegressor"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Fitted:
    """What prediction needs, in the units of y."""

    kernels: FittedKernels
    weights: Floats
    coefficients: Floats
    n_rows: int


class _BaseMKL(ExplainedTerms, SavableMixin, CallbackSupport, BaseEstimator):
    """Kernels, solver and contributions, for labels and for numbers."""

    _saved: ClassVar[dict[str, Any]] = {
        "_schema": InputSchema,
        "_target": TargetSchema,
        "_result": _Fitted,
        "term_names_": list[str],
        "term_modalities_": list[tuple[str, ...]],
        "intercept_": Floats,
        "support_": npt.NDArray[np.integer[Any]],
        "dual_coef_": Floats,
        "contribution_std_": Floats,
        "relevance_scores_": dict[str, float],
        "kernel_weights_": Floats,
        "objective_": float,
        "duality_gap_": float,
        "n_iter_": int,
    }

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        "modalities": "no_validation",
        "kernel": "no_validation",
        "interactions": "no_validation",
        "p": [Interval(Real, 1, None, closed="both")],
        "C": [Interval(Real, 0, None, closed="neither")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "missing": [StrOptions({"raise", "mask"})],
    }

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit the model.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Modalities with n_samples rows each; see the user guide for every form.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows, factors of ``C``.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        InputError, InputTypeError
            Input that cannot be used; a ValueError and a TypeError. Nothing is changed then.
        FusionMemoryError
            The kernel matrices would need over 8 GiB; a MemoryError.
        """
        schema, data, target, encoded, weight = check_fit_inputs(
            self, X, y, sample_weight, classifier=is_classifier(self)
        )
        task = FitTask(self, X, y, sample_weight)
        task.begin(0)
        terms = check_terms(self.interactions, schema.names)
        specs = check_kernels(self.kernel, schema.names)
        weight = self._with_class_weight(target, encoded, weight)
        weight = np.ones(data.n_samples) if weight is None else weight
        kernels, matrices = fit_kernels(data, terms, specs, weight)
        lower, upper, mean, scale = self._free_zone(target, encoded, weight)
        solution = solve_mkl(
            matrices,
            lower,
            upper,
            float(self.C) * weight,
            p=float(self.p),
            tol=float(self.tol),
            max_iter=int(self.max_iter),
        )
        self._schema, self._target = schema, target
        coefficients = solution.coefficients * scale
        self._result = _Fitted(kernels, solution.weights, coefficients, data.n_samples)
        outputs = np.stack([matrix @ coefficients for matrix in matrices], axis=1)
        self.contribution_std_ = weighted_std(outputs * solution.weights[:, None], weight)
        set_input_attributes(self, schema)
        if target.classes is not None:
            self.classes_ = target.classes
        self.term_names_ = [term_name(term, schema.names) for term in terms]
        self.term_modalities_ = [tuple(schema.names[m] for m in term) for term in terms]
        self.intercept_ = solution.intercept * scale + mean
        used = solution.coefficients.any(axis=1)
        self.support_ = np.flatnonzero(used)
        given = check_sample_weight(sample_weight, n_samples=len(np.asarray(y)))
        if given is not None:
            # Rows of weight zero were left out.
            self.support_ = np.flatnonzero(given)[used]
        self.dual_coef_ = self._result.coefficients[used].T
        self._set_readings(solution)
        task.end()
        return self

    def _set_readings(self, solution: MKLSolution) -> None:
        scores = F.relevance(torch.from_numpy(solution.norms), float(self.p)).tolist()
        self.relevance_scores_ = dict(zip(self.term_names_, scores, strict=True))
        self.kernel_weights_ = solution.weights
        self.objective_ = solution.objective
        self.duality_gap_ = solution.duality_gap
        self.n_iter_ = solution.n_iter
        if solution.duality_gap > self.tol:
            warnings.warn(
                f"the duality gap is {solution.duality_gap:.1e} of the objective after "
                f"{solution.n_iter} of at most {self.max_iter} iterations, tol={self.tol:.1e}: "
                "weights and zeros are only known to that accuracy; raise max_iter or tol, or "
                "check that the kernels are positive semi-definite",
                ConvergenceWarning,
                stacklevel=4,
            )
        if not solution.norms.any():
            warnings.warn(
                "the model is a constant: no kernel lowers the loss by more than it costs, and "
                "all relevance scores are 0; raise C",
                RelevanceWarning,
                stacklevel=4,
            )

    def _with_class_weight(
        self, target: TargetSchema, encoded: npt.NDArray[Any], weight: Floats | None
    ) -> Floats | None:
        return weight

    def _free_zone(
        self, target: TargetSchema, encoded: npt.NDArray[Any], weight: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Interval in which an output costs nothing, and mean and scale of the outputs."""
        raise NotImplementedError  # pragma: no cover - abstract

    @property
    def _n_training_rows(self) -> int:
        return self._result.n_rows

    def contributions(self, X: Any) -> Floats:
        """Return what each term adds to each output.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows to explain, in any form that ``predict`` takes.

        Returns
        -------
        ndarray of shape (n_samples, n_terms, n_outputs)
            Contributions in the order of ``term_names_``; exactly 0 where a modality of the term
            is missing. With ``intercept_`` they add up to the decision function (classifiers) or
            the prediction (regressors, in y's units). Their mean over the training rows is 0.
        """
        check_is_fitted(self, "_result")
        _, data = check_X(
            X,
            estimator=self,
            modalities=self.modalities,
            missing=self.missing,
            schema=self._schema,
        )
        fitted = self._result
        return fitted.kernels.contributions(data, fitted.coefficients, fitted.weights)

    def _raw_outputs(self, X: Any) -> Floats:
        outputs: Floats = self.contributions(X).sum(axis=1) + self.intercept_
        return outputs

    def _restore(self, parts: dict[str, Any]) -> None:
        super()._restore(parts)
        fitted, k = self._result, self._target.n_outputs
        fitted.kernels.check(self._schema.layouts, fitted.coefficients, fitted.weights)
        if fitted.coefficients.shape[1] != k or self.intercept_.shape != (k,):
            raise InputError("outputs of target and coefficients differ")
        set_input_attributes(self, self._schema)
        if self._target.classes is not None:
            self.classes_ = self._target.classes

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_result")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        return tags


_PARAMETERS = """\
modalities : mapping or list of str, default=None
    For 2-D ``X``: name to slice, list of positions or list of column names, or
    ``(columns, shape)`` for a modality that is not flat; together they cover every column
    exactly once. For a mapping: names to use, in the order of the terms. None takes a mapping
    as it is, and a 2-D ``X`` as one modality.
kernel : str, callable or mapping, default="rbf"
    A kernel of :func:`sklearn.metrics.pairwise.pairwise_kernels` by name, a callable that takes
    arrays of shape (r, d) and (n, d) and returns one of shape (r, n), or a mapping from
    every modality to one of these or to a dict with parameters, such as
    ``{"kernel": "rbf", "gamma": 0.1}``. ``gamma`` is 1 / d by default; "scale" is
    1 / (d * variance), which is the same where no feature is constant.
interactions : int, "all" or list of tuples of str, default=1
    Highest order of the terms, all orders, or the interactions by the names of their
    modalities; every modality has a term of its own besides. The kernel of an interaction is the
    product of the centred kernels of its modalities.
p : float, default=1
    Norm of the kernel weights, from 1 to infinity. 1 is sparse: terms that are not needed get a
    weight of exactly 0. Larger values spread the weights; infinity fixes all at 1.
"""

_SOLVER = """\
tol : float, default=1e-6
    Largest relative duality gap of a solution, above 0.
max_iter : int, default=200
    Largest number of kernel weights for which support vector machines are fitted.
"""

_LAST = """\
missing : {"raise", "mask"}, default="raise"
    What a modality that is NaN in a whole row is: an error, or a row without it. With "mask", the
    terms that hold an absent modality contribute exactly 0 there.
"""

_ATTRIBUTES = """\
relevance_scores_ : dict of str to float
    Relevance of each term; their p-norm is 1. They come from the norms of the terms' weight
    vectors by the same formula as those of :class:`MNLClassifier`.
kernel_weights_ : ndarray of shape (n_terms,)
    Weights of the kernels, of p-norm 1: the relevance, up to the duality gap. Terms whose kernel
    does not tell rows apart have none.
contribution_std_ : ndarray of shape (n_terms, n_outputs)
    Weighted standard deviation of each contribution over the training rows, in units of the
    output.
dual_coef_ : ndarray of shape (n_outputs, n_support)
    Coefficients of the support vectors, in y's units.
support_ : ndarray of shape (n_support,)
    Training rows that are support vectors of some output.
intercept_ : ndarray of shape (n_outputs,)
    Intercept; with the contributions it adds up to the output.
objective_ : float
    Value of the objective.
duality_gap_ : float
    How much a better solution could lower the objective at most, relative to it.
n_iter_ : int
    Kernel weights for which support vector machines were fitted.
term_names_ : list of str
    Names of the terms, such as ``"text x audio"``.
term_modalities_ : list of tuple of str
    Modalities of each term.
modality_names_ : list of str
    Modalities in the order of the terms.
n_features_in_ : int
    Modalities of a mapping, columns of a 2-D ``X``.
feature_names_in_ : ndarray of str
    Names of the modalities of a mapping, or of the columns of a DataFrame.
"""

_NOTES = """\
Flat features and images (their pixels) are standardised first, but for the kernels "chi2" and
"additive_chi2", which take non-negative features as they are. Sequences are described by mean,
standard deviation, minimum, maximum and last - first of each feature over their valid steps, as by
:class:`SummaryEncoder`. Kernels are centred and scaled to unit variance in feature space over the
(weighted) training rows.

Every kernel matrix has ``8 * n_samples**2`` bytes, and all are in memory at a time: three
modalities of 10 000 rows need 5.2 GiB with what is worked in, and above 8 GiB ``fit`` refuses. The
fitted model keeps all training rows. The zeros at p = 1 are exact and stand on the duality gap,
which takes the kernels of weight 0 into account.
"""


def _with_shared_docs(cls: Any) -> Any:
    for mark, text in {
        "{parameters}": _PARAMETERS,
        "{solver}": _SOLVER,
        "{last}": _LAST,
        "{attributes}": _ATTRIBUTES,
        "{notes}": _NOTES,
    }.items():
        cls.__doc__ = cls.__doc__.replace(mark, text.rstrip("\n").replace("\n", "\n    "))
    return cls


def _no_probabilities(estimator: Any) -> bool:
    raise AttributeError(
        f"{type(estimator).__name__} has no predict_proba: distances to a margin are no "
        "probabilities; wrap it in sklearn.calibration.CalibratedClassifierCV"
    )


@_with_shared_docs
class MKLClassifier(FusionClassifierMixin, _BaseMKL):
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
        **_BaseMKL._parameter_constraints,
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Without probabilities there is no format of theirs to agree on.
        tags.classifier_tags.multi_label = False
        return tags


@_with_shared_docs
class MKLRegressor(FusionRegressorMixin, _BaseMKL):
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
        **_BaseMKL._parameter_constraints,
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
