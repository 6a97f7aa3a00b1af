"""Pictures of fitted models; matplotlib is imported when something is drawn."""

from sklearn_mmfusion.plotting._comparison import ComparisonDisplay
from sklearn_mmfusion.plotting._contribution import ContributionDisplay
from sklearn_mmfusion.plotting._interaction import InteractionDisplay
from sklearn_mmfusion.plotting._relevance import RelevanceDisplay
from sklearn_mmfusion.plotting._routing import RoutingDisplay
from sklearn_mmfusion.plotting._training_curve import TrainingCurveDisplay

__all__ = [
    "ComparisonDisplay",
    "ContributionDisplay",
    "InteractionDisplay",
    "RelevanceDisplay",
    "RoutingDisplay",
    "TrainingCurveDisplay",
]
