"""Interpretable multimodal fusion with scikit-learn's interface.

Fit a dict of arrays, and read off which modality, and which interaction of modalities, mattered::

    from sklearn_mmfusion import InTenseClassifier

    est = InTenseClassifier(interactions=2, random_state=0).fit({"text": text, "audio": audio}, y)
    est.relevance_scores_
"""

from sklearn_mmfusion._compare_models import compare_models
from sklearn_mmfusion._comparison import ModelComparison
from sklearn_mmfusion._contribution_transformer import ContributionTransformer
from sklearn_mmfusion._early_fusion import EarlyFusionClassifier, EarlyFusionRegressor
from sklearn_mmfusion._encoders.choosing import (
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
from sklearn_mmfusion._encoders.joint import RAVENEncoder
from sklearn_mmfusion._errors import (
    CheckpointError,
    CheckpointWarning,
    CompileError,
    DivergedError,
    FileError,
    FitInterruptedWarning,
    FusionError,
    FusionMemoryError,
    InputError,
    InputTypeError,
    ModuleError,
    NumericalWarning,
    RelevanceWarning,
    UnsafeFileError,
)
from sklearn_mmfusion._explanations import GlobalExplanation, LocalExplanation
from sklearn_mmfusion._intense import InTenseClassifier, InTenseRegressor
from sklearn_mmfusion._late_fusion import LateFusionClassifier, LateFusionRegressor
from sklearn_mmfusion._late_voting import LateVotingClassifier
from sklearn_mmfusion._mkl.estimators import MKLClassifier, MKLRegressor
from sklearn_mmfusion._mnl import MNLClassifier, MNLRegressor
from sklearn_mmfusion._mult import MulTClassifier, MulTRegressor
from sklearn_mmfusion._optimizers import SGD, AdamW
from sklearn_mmfusion._persistence.files import load
from sklearn_mmfusion._raven import RAVENClassifier, RAVENRegressor
from sklearn_mmfusion._relevance.intervals import relevance_intervals
from sklearn_mmfusion._relevance.p_values import relevance_test
from sklearn_mmfusion._relevance.results import RelevanceIntervals, RelevanceTest
from sklearn_mmfusion._relevance.scores import relevance_scores
from sklearn_mmfusion._residual import MROClassifier, MRORegressor
from sklearn_mmfusion._routing import GAMClassifier, RoutingClassifier
from sklearn_mmfusion._stacking.estimator_encoder import EstimatorEncoder
from sklearn_mmfusion._tensor_fusion import TensorFusionClassifier, TensorFusionRegressor
from sklearn_mmfusion._transformers import (
    ModalityConcatenator,
    ModalitySelector,
    ModalityTransformer,
)
from sklearn_mmfusion._unimodal import UnimodalClassifier, UnimodalRegressor
from sklearn_mmfusion._version import __version__
from sklearn_mmfusion.data import LazyArray, ModalityFrame
from sklearn_mmfusion.plotting import (
    ComparisonDisplay,
    ContributionDisplay,
    InteractionDisplay,
    RelevanceDisplay,
    RoutingDisplay,
    TrainingCurveDisplay,
)
from sklearn_mmfusion.report import FusionReport, fusion_report

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
    "CompileError",
    "ComparisonDisplay",
    "ContributionDisplay",
    "ContributionTransformer",
    "Conv1dEncoder",
    "Conv2dEncoder",
    "DivergedError",
    "EncoderByShape",
    "FileError",
    "FitInterruptedWarning",
    "FusionError",
    "FusionMemoryError",
    "FusionReport",
    "GAMClassifier",
    "GRUEncoder",
    "GlobalExplanation",
    "IdentityEncoder",
    "InTenseClassifier",
    "InTenseRegressor",
    "InputError",
    "InputTypeError",
    "InteractionDisplay",
    "LSTMEncoder",
    "LazyArray",
    "LinearEncoder",
    "LocalExplanation",
    "MLPEncoder",
    "MNLClassifier",
    "MNLRegressor",
    "ModalityConcatenator",
    "ModalityFrame",
    "ModalitySelector",
    "ModalityTransformer",
    "ModelComparison",
    "ModuleEncoder",
    "ModuleError",
    "MulTEncoder",
    "NumericalWarning",
    "RelevanceDisplay",
    "RelevanceIntervals",
    "RelevanceTest",
    "RelevanceWarning",
    "RoutingClassifier",
    "RoutingDisplay",
    "SummaryEncoder",
    "TrainingCurveDisplay",
    "TransformerEncoder",
    "UnimodalClassifier",
    "UnimodalRegressor",
    "UnsafeFileError",
    "__version__",
    "fusion_report",
    "load",
    "relevance_intervals",
    "relevance_scores",
    "relevance_test",
    "compare_models",
]
