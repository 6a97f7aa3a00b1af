"""The classes whose names may stand in a file: encoders, heads and optimisers."""

from __future__ import annotations

from sklearn_mmfusion._block_head import BlockNormHead
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
from sklearn_mmfusion._joint_encoders import (
    EarlyEncoder,
    OrderEncoder,
    RAVENEncoder,
    TransformerOfAll,
)
from sklearn_mmfusion._optimizers import SGD, AdamW
from sklearn_mmfusion._plain_heads import ConcatHead, OrderHead, ResidualHead, TensorHead
from sklearn_mmfusion._routing_heads import ActivationHead, RoutingHead

__all__ = ["CHOICES", "ENCODERS", "HEADS"]

ENCODERS: tuple[type, ...] = (
    Conv1dEncoder,
    Conv2dEncoder,
    EarlyEncoder,
    EncoderByShape,
    GRUEncoder,
    IdentityEncoder,
    LSTMEncoder,
    LinearEncoder,
    MLPEncoder,
    ModuleEncoder,
    MulTEncoder,
    OrderEncoder,
    RAVENEncoder,
    SummaryEncoder,
    TransformerEncoder,
    TransformerOfAll,
)
HEADS: tuple[type, ...] = (
    ActivationHead,
    BlockNormHead,
    ConcatHead,
    OrderHead,
    ResidualHead,
    RoutingHead,
    TensorHead,
)
CHOICES: dict[str, type] = {kind.__name__: kind for kind in (*ENCODERS, *HEADS, AdamW, SGD)}
