"""Explanation objects: the numbers behind a fitted model, as arrays, table, picture and HTML."""

from sklearn_mmfusion._explanation_base import Explanation
from sklearn_mmfusion._explanation_global import GlobalExplanation
from sklearn_mmfusion._explanation_local import LocalExplanation

__all__ = ["Explanation", "GlobalExplanation", "LocalExplanation"]
