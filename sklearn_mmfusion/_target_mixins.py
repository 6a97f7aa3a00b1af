"""What classifiers and regressors add to the shared template: losses, labels, units."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._inputs.validation import TargetSchema
from sklearn_mmfusion.modules.losses import link, log_link

__all__ = ["FusionClassifierMixin", "FusionRegressorMixin"]


class FusionClassifierMixin(ClassifierMixin):
    """Targets, probabilities and labels of classifiers."""

    def _loss_name(self, kind: str) -> str:
        return kind

    def _with_class_weight(
        self,
        target: TargetSchema,
        encoded: npt.NDArray[Any],
        weight: npt.NDArray[np.float64] | None,
    ) -> npt.NDArray[np.float64] | None:
        if self.class_weight is None:
            return weight
        if target.kind == "multilabel":
            raise InputError("class_weight is not defined for multilabel targets")
        assert target.classes is not None  # only multilabel and regression targets have none
        present = np.unique(encoded)
        if isinstance(self.class_weight, str):
            # "balanced": total weight of a class becomes the same for all of them.
            counts = np.bincount(encoded, weights=weight, minlength=len(target.classes))[present]
            factors = counts.sum() / (len(present) * counts)
        else:
            factors = compute_class_weight(
                self.class_weight, classes=target.classes[present], y=target.classes[encoded]
            )
            _check_factors(factors, target.classes[present])
        by_class = np.ones(len(target.classes))
        by_class[present] = factors
        rows = by_class[encoded]
        return rows if weight is None else rows * weight

    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:
        """Logits.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Binary: the logit of ``classes_[1]``; else one column per class or label.
        """
        check_is_fitted(self, "_result")
        outputs = self._raw_outputs(X)
        return outputs[:, 0] if self._target.kind == "binary" else outputs

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Probabilities of the classes, or of each label in a multilabel problem.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            Probabilities.
        """
        check_is_fitted(self, "_result")
        return self._probabilities(self._raw_outputs(X))

    def predict_log_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Logarithms of the probabilities, from the decision function: none is lost to underflow.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            Natural logarithms of ``predict_proba``; of several labels those that each is there.
        """
        check_is_fitted(self, "_result")
        outputs = torch.from_numpy(self._raw_outputs(X))
        return log_link(self._target.kind, outputs).numpy()

    def _probabilities(self, outputs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return link(self._target.kind, torch.from_numpy(outputs)).numpy()

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Most probable class, or the labels with a probability above one half.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels as in the ``y`` of ``fit``.
        """
        check_is_fitted(self, "_result")
        return self._labels(self._raw_outputs(X))

    def _labels(self, outputs: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        if self._target.kind == "multilabel":
            return (outputs > 0).astype(np.int64)
        if self._target.kind == "binary":
            return self.classes_[(outputs[:, 0] > 0).astype(np.int64)]
        return self.classes_[outputs.argmax(1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _check_factors(factors: npt.NDArray[Any], classes: npt.NDArray[Any]) -> None:
    """Refuse class weights that no row weight may be."""
    with np.errstate(invalid="ignore"):
        wrong = {
            label: factor
            for label, factor in zip(classes.tolist(), factors.tolist(), strict=True)
            if not 0 <= factor < np.inf
        }
    if wrong:
        raise InputError(f"class_weight: expected finite numbers of at least 0, got {wrong}")
    if not factors.any():
        raise InputError("class_weight: expected one above 0 at least, got 0 for all classes")


class FusionRegressorMixin(RegressorMixin):
    """Targets and predictions of regressors."""

    def _loss_name(self, kind: str) -> str:
        return self.loss

    def predict(self, X: Any) -> npt.NDArray[np.float64]:
        """Predicted target.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions in the units of ``y``, shaped as the ``y`` of ``fit``.
        """
        check_is_fitted(self, "_result")
        outputs = self._raw_outputs(X)
        return outputs[:, 0] if self._target.one_dimensional else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
