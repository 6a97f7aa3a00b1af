"""The classes whose names may stand in a file: encoders, heads and optimisers."""

from __future__ import annotations

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
from sklearn_mmfusion._encoders.joint import (
    EarlyEncoder,
    OrderEncoder,
    RAVENEncoder,
    TransformerOfAll,
)
from sklearn_mmfusion._model.block_head import BlockNormHead
from sklearn_mmfusion._model.plain_heads import ConcatHead, OrderHead, ResidualHead, TensorHead
from sklearn_mmfusion._model.routing_heads import ActivationHead, RoutingHead
from sklearn_mmfusion._optimizers import SGD, AdamW

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
