"""Generators with known truth, and bundled real data."""

from ._multiple_features import load_multiple_features
from ._recovery import make_recovery
from ._synthgene import make_synthgene, make_synthgene_tri

__all__ = ["load_multiple_features", "make_recovery", "make_synthgene", "make_synthgene_tri"]
