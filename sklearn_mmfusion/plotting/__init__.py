"""Pictures of fitted models; matplotlib is imported when something is drawn."""

from sklearn_mmfusion.plotting._relevance import RelevanceDisplay

__all__ = ["RelevanceDisplay"]
