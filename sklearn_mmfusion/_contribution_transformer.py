"""Contributions of the terms as features, for stacking and feature engineering."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    TransformerMixin,
    _fit_context,
    clone,
    is_classifier,
)
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._inputs.kept_warnings import kept_numerical
from sklearn_mmfusion._inputs.unwrap import check_will_have, unwrap
from sklearn_mmfusion._inputs.validation_targets import own_errors
from sklearn_mmfusion._rows.groups import fit_parameter, groups_for
from sklearn_mmfusion.data import ModalityFrame

__all__ = ["ContributionTransformer"]

Floats = npt.NDArray[np.float64]


class ContributionTransformer(MetaEstimatorMixin, TransformerMixin, BaseEstimator):
    """Turn modalities into what each term of a fitted model contributes.

    A table of a few columns with a meaning, whatever the modalities were: for a second model on
    top (stacking), beside other features, or for looking at.

    Parameters
    ----------
    estimator : estimator
        An estimator with ``contributions``, or a Pipeline or a search that ends in one. A clone
        is fitted.
    cv : int, splitter, iterable or "in_sample", default=None
        How ``fit_transform`` computes the contributions of the rows that it fits. With folds,
        each row's come from a fit that has not seen it, as in
        :class:`~sklearn.ensemble.StackingClassifier`: what is trained on top is not misled by how
        closely the model fits its own rows. None is 5 folds, an int their number, stratified for
        classifiers. The folds cost a fit each, besides the one that ``transform`` uses for
        other rows. "in_sample" takes that one, and ``fit_transform(X, y)`` equals
        ``fit(X, y).transform(X)``.
    n_jobs : int, default=None
        Processes for the folds; None is 1.

    Attributes
    ----------
    estimator_ : estimator
        The clone, fitted on all rows.
    n_features_in_ : int
        Modalities of a mapping, columns of a 2-D ``X``.
    feature_names_in_ : ndarray of str
        Names of the modalities of a mapping, or of the columns of a DataFrame.

    Raises
    ------
    InputTypeError
        If the estimator has no contributions.

    See Also
    --------
    EstimatorEncoder : The other way round: a scikit-learn estimator inside a fusion model.

    Notes
    -----
    Without the intercept of the model. ``set_output`` gives data frames of pandas or polars.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import ContributionTransformer, LateFusionClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(200, 4)), "audio": rng.normal(size=(200, 5))}
    >>> est = LateFusionClassifier(max_epochs=30, lr=0.01, random_state=0)
    >>> features = ContributionTransformer(est, cv=2)
    >>> features.fit_transform(X, X["text"][:, 0] > 0).shape
    (200, 2)
    >>> features.get_feature_names_out()
    array(['text', 'audio'], dtype=object)
    """

    # Metadata routing: as our estimators, which are what it fits.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit"])],
        "cv": ["cv_object", StrOptions({"in_sample"})],
        "n_jobs": [Integral, None],
    }

    def __init__(self, estimator: Any, *, cv: Any = None, n_jobs: int | None = None) -> None:
        self.estimator = estimator
        self.cv = cv
        self.n_jobs = n_jobs

    # The nested estimator checks parameters of its own.
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit the estimator.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows, in any form that the estimator takes.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, for estimators that take them.
        groups : array-like of shape (n_samples,), default=None
            Groups of rows that belong together, for estimators that take them.

        Returns
        -------
        self : ContributionTransformer
            The fitted transformer.
        """
        check_will_have(self.estimator, method="contributions")  # before it is fitted
        fitted = _fit(self.estimator, X, y, sample_weight, groups)
        inner, _ = unwrap(fitted, attribute="contributions")
        self._names = _column_names(inner)
        self.estimator_ = fitted
        # A Pipeline that begins with "passthrough" has none.
        self.n_features_in_ = getattr(fitted, "n_features_in_", inner.n_features_in_)
        if hasattr(fitted, "feature_names_in_"):
            self.feature_names_in_ = fitted.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def fit_transform(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
        """Fit the estimator, and return the contributions by ``cv``.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows, in any form that the estimator takes.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, for estimators that take them.
        groups : array-like of shape (n_samples,), default=None
            Groups of rows that belong together, such as those of one person, for estimators that
            take them, and for a ``cv`` that asks for them, such as
            :class:`~sklearn.model_selection.GroupKFold`.

        Returns
        -------
        ndarray or DataFrame of shape (n_samples, n_terms * n_outputs)
            Contributions of each row, unless ``cv="in_sample"`` by a fit that has not seen it.

        Raises
        ------
        InputError
            If the folds do not hold every row exactly once, or one lacks a class; and if ``cv``
            needs groups, and there are none or not as many as rows.
        """
        self.fit(X, y, sample_weight, groups)
        if isinstance(self.cv, str):
            return self._contributions(X)
        rows = ModalityFrame(X) if isinstance(X, Mapping) else X
        with own_errors():
            rows, labels, groups = indexable(rows, np.asarray(y), groups)
            cv = check_cv(self.cv, labels, classifier=is_classifier(self.estimator))
            splits = list(cv.split(rows, labels, groups))
        tested = np.concatenate([test for _, test in splits])
        n = len(labels)
        if len(tested) != n or len(np.unique(tested)) != n:
            raise InputError(
                f"cv: expected folds that hold every one of the {n} rows exactly once, got "
                f"{len(tested)} rows, {len(np.unique(tested))} of them different"
            )
        target = y if hasattr(y, "columns") else labels  # names of outputs are in the columns
        parts = Parallel(n_jobs=self.n_jobs)(
            delayed(_out_of_fold)(self.estimator, rows, target, sample_weight, groups, *split)
            for split in splits
        )
        result = np.empty((n, len(self._names)))
        for (_, test), (names, values) in zip(splits, parts, strict=True):
            if names != self._names:
                raise InputError(
                    f"cv: the fit of a fold has the columns {names}, that of all rows "
                    f"{self._names}; use folds that hold every class"
                )
            result[test] = values
        return result

    def transform(self, X: Any) -> Any:
        """Return what each term contributes to each output.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows, in any form that the estimator takes.

        Returns
        -------
        ndarray or DataFrame of shape (n_samples, n_terms * n_outputs)
            All outputs of the first term, then those of the second, and so on.
        """
        check_is_fitted(self, "estimator_")
        return self._contributions(X)

    def _contributions(self, X: Any) -> Floats:
        return _flat_contributions(self.estimator_, X)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Return the names of the columns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Unused, but has to match the ``X`` of ``fit`` where it is given.

        Returns
        -------
        ndarray of str
            Names of the terms; with several outputs ``"text x audio: happy"``.
        """
        check_is_fitted(self, "estimator_")
        _check_feature_names_in(self, input_features, generate_names=False)
        return np.array(self._names, dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        tags.target_tags.required = True
        return tags


def _fit(estimator: Any, X: Any, y: Any, sample_weight: Any, groups: Any) -> Any:
    of_rows = groups_for(estimator, groups)
    if sample_weight is not None:
        of_rows[fit_parameter(estimator, "sample_weight")] = sample_weight
    return clone(estimator).fit(X, y, **of_rows)


def _flat_contributions(fitted: Any, X: Any) -> Floats:
    inner, X = unwrap(fitted, X, attribute="contributions")
    values: Floats = inner.contributions(X)
    return values.reshape(len(values), -1)


def _out_of_fold(
    estimator: Any, X: Any, y: Any, sample_weight: Any, groups: Any, train: Any, test: Any
) -> tuple[list[str], Floats]:
    of_rows = (None if v is None else np.asarray(v) for v in (sample_weight, groups))
    weight, own = (None if v is None else _safe_indexing(v, train) for v in of_rows)
    with kept_numerical():  # the fit of all rows has said it
        fitted = _fit(estimator, _safe_indexing(X, train), _safe_indexing(y, train), weight, own)
    inner, _ = unwrap(fitted, attribute="contributions")
    return _column_names(inner), _flat_contributions(fitted, _safe_indexing(X, test))


def _column_names(inner: Any) -> list[str]:
    names = inner._explained_names()
    outputs = names["output_names"]
    if len(outputs) == 1:
        return list(names["term_names"])
    return [f"{term}: {output}" for term in names["term_names"] for output in outputs]
