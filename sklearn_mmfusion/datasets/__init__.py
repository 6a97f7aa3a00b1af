"""Generators with known truth, bundled real data, and loaders of the papers' files."""

from ._affect import load_iemocap, load_mosei, load_mosi, load_mustard, load_ur_funny
from ._avmnist import load_avmnist
from ._enrico import load_enrico
from ._fetch_enrico import fetch_enrico
from ._multiple_features import load_multiple_features
from ._recovery import make_recovery
from ._synthgene import make_synthgene, make_synthgene_tri

__all__ = [
    "fetch_enrico",
    "load_avmnist",
    "load_enrico",
    "load_iemocap",
    "load_mosei",
    "load_mosi",
    "load_multiple_features",
    "load_mustard",
    "load_ur_funny",
    "make_recovery",
    "make_synthgene",
    "make_synthgene_tri",
]
