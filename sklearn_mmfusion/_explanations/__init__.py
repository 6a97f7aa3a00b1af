"""Explanation objects: the numbers behind a fitted model, as arrays, table, picture and HTML."""

from sklearn_mmfusion._explanations.base import Explanation
from sklearn_mmfusion._explanations.global_explanation import GlobalExplanation
from sklearn_mmfusion._explanations.local_explanation import LocalExplanation

__all__ = ["Explanation", "GlobalExplanation", "LocalExplanation"]
