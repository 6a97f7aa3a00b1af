"""Pictures of fitted models; matplotlib is imported when something is drawn."""

from sklearn_mmfusion.plotting._relevance import RelevanceDisplay
from sklearn_mmfusion.plotting._routing import RoutingDisplay

__all__ = ["RelevanceDisplay", "RoutingDisplay"]
