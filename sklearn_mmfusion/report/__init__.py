"""A report on a fitted model, as one HTML file; matplotlib is imported when it is made."""

from sklearn_mmfusion.report._report import FusionReport, fusion_report

__all__ = ["FusionReport", "fusion_report"]
