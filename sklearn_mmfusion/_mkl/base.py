"""What multiple kernel learning of labels and of numbers share: kernels, solver, contributions."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, _fit_context, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion import functional as F
from sklearn_mmfusion._errors import InputError, RelevanceWarning, warn
from sklearn_mmfusion._explained import ExplainedTerms
from sklearn_mmfusion._fitting.wild_cells import warn_of_wild_cells
from sklearn_mmfusion._inputs.validation import (
    InputSchema,
    TargetSchema,
    check_fit_inputs,
    check_sample_weight,
    check_terms,
    check_X,
    set_input_attributes,
    term_name,
)
from sklearn_mmfusion._mkl.kernels import FittedKernels, check_kernels, fit_kernels
from sklearn_mmfusion._mkl.solver import MKLSolution, solve_mkl
from sklearn_mmfusion._persistence.savable import SavableMixin
from sklearn_mmfusion._rows.moments import weighted_std
from sklearn_mmfusion._training.progress import CallbackSupport, FitTask

__all__ = ["BaseMKL"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Fitted:
    """What prediction needs, in the units of y."""

    kernels: FittedKernels
    weights: Floats
    coefficients: Floats
    n_rows: int
    scale: Floats | None = None  # of each target; None in files of earlier versions


class BaseMKL(ExplainedTerms, SavableMixin, CallbackSupport, BaseEstimator):
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
        for block, layout, spec in zip(data.blocks, schema.layouts, specs, strict=True):
            if spec.standardizes:
                warn_of_wild_cells(block, layout, weight, sample_weight)
        counted = np.flatnonzero(weight > 0)  # a class may have the weight 0
        if len(counted) < data.n_samples:
            data, encoded, weight = data.take(counted), encoded[counted], weight[counted]
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
        self._result = _Fitted(kernels, solution.weights, coefficients, data.n_samples, scale)
        outputs = np.stack([matrix @ coefficients for matrix in matrices], axis=1)
        self.contribution_std_ = weighted_std(outputs * solution.weights[:, None], weight)
        set_input_attributes(self, schema)
        if target.classes is not None:
            self.classes_ = target.classes
        self.term_names_ = [term_name(term, schema.names) for term in terms]
        self.term_modalities_ = [tuple(schema.names[m] for m in term) for term in terms]
        self.intercept_ = solution.intercept * scale + mean
        used = solution.coefficients.any(axis=1)
        # Rows of weight zero were left out, first those of sample_weight.
        given = check_sample_weight(sample_weight, n_samples=len(np.asarray(y)))
        rows = counted if given is None else np.flatnonzero(given)[counted]
        self.support_ = rows[used]
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
            warn(
                f"the duality gap is {solution.duality_gap:.1e} of the objective after "
                f"{solution.n_iter} of at most {self.max_iter} iterations, tol={self.tol:.1e}: "
                "weights and zeros are only known to that accuracy; raise max_iter or tol, or "
                "check that the kernels are positive semi-definite",
                ConvergenceWarning,
            )
        if not solution.norms.any():
            warn(
                "the model is a constant: no kernel lowers the loss by more than it costs, and "
                "all relevance scores are 0; raise C, or take other kernels where these are not "
                "positive semi-definite (such as 'sigmoid')",
                RelevanceWarning,
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
    def _output_units(self) -> Floats:
        scale = self._result.scale
        return super()._output_units if scale is None else scale

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
