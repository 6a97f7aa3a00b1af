"""Tools for authors of multimodal estimators."""

from sklearn_mmfusion.utils._discovery import all_estimators
from sklearn_mmfusion.utils.estimator_checks import check_multimodal_estimator

__all__ = ["all_estimators", "check_multimodal_estimator"]
