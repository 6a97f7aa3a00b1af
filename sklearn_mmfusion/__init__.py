"""Interpretable multimodal fusion with scikit-learn's interface.

Fit a dict of arrays, and read off which modality, and which interaction of modalities, mattered::

    from sklearn_mmfusion import InTenseClassifier

    est = InTenseClassifier(interactions=2, random_state=0).fit({"text": text, "audio": audio}, y)
    est.relevance_scores_
"""

from sklearn_mmfusion._early_fusion import EarlyFusionClassifier, EarlyFusionRegressor
from sklearn_mmfusion._encoders import (
    Conv1dEncoder,
    Conv2dEncoder,
    EncoderByShape,
    GRUEncoder,
    IdentityEncoder,
    LinearEncoder,
    LSTMEncoder,
    MLPEncoder,
    ModuleEncoder,
    MulTEncoder,
    SummaryEncoder,
    TransformerEncoder,
)
from sklearn_mmfusion._errors import (
    CheckpointError,
    CheckpointWarning,
    DivergedError,
    FileError,
    FitInterruptedWarning,
    FusionError,
    FusionMemoryError,
    InputError,
    InputTypeError,
    NumericalWarning,
    RelevanceWarning,
    UnsafeFileError,
)
from sklearn_mmfusion._estimator_encoder import EstimatorEncoder
from sklearn_mmfusion._explanations import GlobalExplanation, LocalExplanation
from sklearn_mmfusion._intense import InTenseClassifier, InTenseRegressor
from sklearn_mmfusion._joint_encoders import RAVENEncoder
from sklearn_mmfusion._late_fusion import LateFusionClassifier, LateFusionRegressor
from sklearn_mmfusion._late_voting import LateVotingClassifier
from sklearn_mmfusion._mkl import MKLClassifier, MKLRegressor
from sklearn_mmfusion._mnl import MNLClassifier, MNLRegressor
from sklearn_mmfusion._mult import MulTClassifier, MulTRegressor
from sklearn_mmfusion._optimizers import SGD, AdamW
from sklearn_mmfusion._persistence import load
from sklearn_mmfusion._raven import RAVENClassifier, RAVENRegressor
from sklearn_mmfusion._residual import MROClassifier, MRORegressor
from sklearn_mmfusion._routing import GAMClassifier, RoutingClassifier
from sklearn_mmfusion._tensor_fusion import TensorFusionClassifier, TensorFusionRegressor
from sklearn_mmfusion._transformers import (
    ModalityConcatenator,
    ModalitySelector,
    ModalityTransformer,
)
from sklearn_mmfusion._version import __version__
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.plotting import RelevanceDisplay, RoutingDisplay

__all__ = [
    "MKLClassifier",
    "MKLRegressor",
    "LateVotingClassifier",
    "EstimatorEncoder",
    "EarlyFusionClassifier",
    "EarlyFusionRegressor",
    "RAVENEncoder",
    "LateFusionClassifier",
    "LateFusionRegressor",
    "MulTClassifier",
    "MulTRegressor",
    "RAVENClassifier",
    "RAVENRegressor",
    "MROClassifier",
    "MRORegressor",
    "TensorFusionClassifier",
    "TensorFusionRegressor",
    "SGD",
    "AdamW",
    "CheckpointError",
    "CheckpointWarning",
    "Conv1dEncoder",
    "Conv2dEncoder",
    "DivergedError",
    "EncoderByShape",
    "FileError",
    "FitInterruptedWarning",
    "FusionError",
    "FusionMemoryError",
    "GAMClassifier",
    "GRUEncoder",
    "GlobalExplanation",
    "IdentityEncoder",
    "InTenseClassifier",
    "InTenseRegressor",
    "InputError",
    "InputTypeError",
    "LSTMEncoder",
    "LinearEncoder",
    "LocalExplanation",
    "MLPEncoder",
    "MNLClassifier",
    "MNLRegressor",
    "ModalityConcatenator",
    "ModalityFrame",
    "ModalitySelector",
    "ModalityTransformer",
    "ModuleEncoder",
    "MulTEncoder",
    "NumericalWarning",
    "RelevanceDisplay",
    "RelevanceWarning",
    "RoutingClassifier",
    "RoutingDisplay",
    "SummaryEncoder",
    "TransformerEncoder",
    "UnsafeFileError",
    "__version__",
    "load",
]
