"""Tools for authors of multimodal estimators."""

from sklearn_mmfusion.utils.estimator_checks import check_multimodal_estimator

__all__ = ["check_multimodal_estimator"]
