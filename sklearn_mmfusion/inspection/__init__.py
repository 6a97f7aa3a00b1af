"""Inspection of any fitted model with several modalities, ours or scikit-learn's.

A model is a function of its modalities; everything here asks what it says when some of them come
from other rows. Nothing is refitted.
"""

from sklearn_mmfusion.inspection._decomposition import (
    InteractionDecomposition,
    interaction_decomposition,
)
from sklearn_mmfusion.inspection._emap import AdditiveProjection, emap
from sklearn_mmfusion.inspection._perceptual_score import PerceptualScores, perceptual_score
from sklearn_mmfusion.inspection._shapley import ModalityShapley, modality_shapley

__all__ = [
    "AdditiveProjection",
    "InteractionDecomposition",
    "ModalityShapley",
    "PerceptualScores",
    "emap",
    "interaction_decomposition",
    "modality_shapley",
    "perceptual_score",
]
