"""Encoder parameter objects that read a sequence step by step, or all steps at a time."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from sklearn.utils._param_validation import StrOptions
from torch import nn

from sklearn_mmfusion._encoders.specs import AT_LEAST_ONE, PROBABILITY, BaseEncoder
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.data._blocks import ModalityLayout
from sklearn_mmfusion.modules.attention import TransformerModule
from sklearn_mmfusion.modules.recurrent import RecurrentModule

__all__ = ["CODES", "GRUEncoder", "LSTMEncoder", "SequenceEncoder", "TransformerEncoder"]

CODES: dict[str, list[Any]] = {
    "vocabulary_size": [AT_LEAST_ONE, None],
    "embedding_dim": [AT_LEAST_ONE, None],
}
"""Constraints of the parameters with which an encoder takes integer codes."""


class SequenceEncoder(BaseEncoder):
    """Base of the encoders that take (n, T, d), or codes (n, T)."""

    vocabulary_size: int | None
    embedding_dim: int | None

    def _step_width(self, layout: ModalityLayout) -> int:
        """Return the number of features of a step (1 for codes); refuse other shapes."""
        if self.vocabulary_size is None:
            if self.embedding_dim is not None:
                raise InputError(
                    f"modality {layout.name!r}: embedding_dim needs vocabulary_size, the number "
                    f"of integer codes; got embedding_dim={self.embedding_dim!r}"
                )
            if len(layout.shape) != 2:
                raise self._refuse(
                    layout,
                    "3-D (n, T, d), or integer codes (n, T) with vocabulary_size",
                    "use LinearEncoder or MLPEncoder for flat features, Conv2dEncoder for images",
                )
            return layout.shape[1]
        if len(layout.shape) != 1 or not layout.dtype.startswith(("int", "uint", "bool")):
            raise self._refuse(
                layout,
                "2-D (n, T) integer codes with vocabulary_size",
                f"the dtype is {layout.dtype}; leave vocabulary_size=None for numbers (n, T, d)",
            )
        return 1


class _RecurrentEncoder(SequenceEncoder):
    """What GRU and LSTM have in common."""

    _cell: ClassVar[Literal["gru", "lstm"]]
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_dim": [AT_LEAST_ONE],
        "n_layers": [AT_LEAST_ONE],
        "bidirectional": ["boolean"],
        "batch_norm": ["boolean"],
        "dropout": [PROBABILITY],
        "output_dim": [AT_LEAST_ONE, None],
        **CODES,
    }

    def __init__(
        self,
        *,
        hidden_dim: int = 32,
        n_layers: int = 1,
        bidirectional: bool = False,
        batch_norm: bool = True,
        dropout: float = 0.0,
        output_dim: int | None = None,
        vocabulary_size: int | None = None,
        embedding_dim: int | None = None,
    ) -> None:
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.bidirectional = bidirectional
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.output_dim = output_dim
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim

    def _build(self, layout: ModalityLayout) -> nn.Module:
        return RecurrentModule(
            self._step_width(layout),
            self.hidden_dim,
            cell=self._cell,
            n_layers=self.n_layers,
            bidirectional=self.bidirectional,
            batch_norm=self.batch_norm,
            dropout=self.dropout,
            output_dim=self.output_dim,
            vocabulary_size=self.vocabulary_size,
            embedding_dim=self.embedding_dim,
        )


class GRUEncoder(_RecurrentEncoder):
    """Read a sequence by gated recurrent units; the state at the last valid step encodes it.

    Use it on sequences (n, T, d) with a thousand rows or more, where order matters. Padding has
    no influence.

    Parameters
    ----------
    hidden_dim : int, default=32
        Number of hidden units, in each direction.
    n_layers : int, default=1
        Number of layers.
    bidirectional : bool, default=False
        Whether each layer also reads backwards, from the last valid step; doubles the width.
    batch_norm : bool, default=True
        Whether the input is normalised per feature over the valid steps of the batch; has no
        effect on codes.
    dropout : float, default=0.0
        Probability, from 0 to 1, with which an output of a layer is zeroed in training.
    output_dim : int, default=None
        Width of a linear map behind the state; None hands on the state.
    vocabulary_size : int, default=None
        Number of symbols, for values that are integer codes (n, T): one-hot per batch. Codes
        below 0 are padding, unknown ones (``vocabulary_size`` and above) a step of zeros. Rows may
        have any number of steps, and one of padding alone lacks the modality (``missing``).
    embedding_dim : int, default=None
        Width of a learned embedding of the codes instead of one-hot.

    References
    ----------
    Cho et al. (2014), "Learning Phrase Representations using RNN Encoder-Decoder", section 2.3.

    Examples
    --------
    >>> from sklearn_mmfusion import GRUEncoder
    >>> GRUEncoder(hidden_dim=64)
    GRUEncoder(hidden_dim=64)
    """

    _cell = "gru"


class LSTMEncoder(_RecurrentEncoder):
    """Read a sequence by a long short-term memory; its last valid state encodes it.

    It has a third more weights than :class:`GRUEncoder`, and keeps track over longer stretches.

    Parameters
    ----------
    hidden_dim : int, default=32
        Number of hidden units, in each direction.
    n_layers : int, default=1
        Number of layers.
    bidirectional : bool, default=False
        Whether each layer also reads backwards, from the last valid step; doubles the width.
    batch_norm : bool, default=True
        Whether the input is normalised per feature over the valid steps of the batch; has no
        effect on codes.
    dropout : float, default=0.0
        Probability, from 0 to 1, with which an output of a layer is zeroed in training.
    output_dim : int, default=None
        Width of a linear map behind the state; None hands on the state.
    vocabulary_size : int, default=None
        Number of symbols, for values that are integer codes (n, T); see :class:`GRUEncoder`.
    embedding_dim : int, default=None
        Width of a learned embedding of the codes instead of one-hot.

    References
    ----------
    Hochreiter & Schmidhuber (1997), "Long Short-Term Memory".

    Examples
    --------
    >>> from sklearn_mmfusion import LSTMEncoder
    >>> LSTMEncoder(bidirectional=True)
    LSTMEncoder(bidirectional=True)
    """

    _cell = "lstm"


class TransformerEncoder(SequenceEncoder):
    """Encode a sequence by self-attention among its valid steps.

    Use it on sequences (n, T, d) with several thousand rows. Memory grows with T squared only
    where torch has no memory-saving kernel for the device.

    Parameters
    ----------
    hidden_dim : int, default=32
        Width of every layer; a multiple of ``n_heads``.
    n_layers : int, default=1
        Number of blocks of attention and feed-forward network.
    n_heads : int, default=4
        Number of attention heads.
    feedforward_dim : int, default=None
        Width of the feed-forward networks; None means twice ``hidden_dim``.
    summary : {"mean", "last"}, default="mean"
        Whether the mean of the encoded steps stands for the sequence, or the last valid step.
    dropout : float, default=0.1
        Probability, from 0 to 1, with which an element of what each half block adds is zeroed
        in training.
    output_dim : int, default=None
        Width of a linear map behind the summary; None hands on the summary.
    vocabulary_size : int, default=None
        Number of symbols, for values that are integer codes (n, T); see :class:`GRUEncoder`.
    embedding_dim : int, default=None
        Width of a learned embedding of the codes instead of one-hot.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need"; Xiong et al. (2020), "On Layer
    Normalization in the Transformer Architecture" (the norm inside the residual branch).

    Examples
    --------
    >>> from sklearn_mmfusion import TransformerEncoder
    >>> TransformerEncoder(n_layers=2)
    TransformerEncoder(n_layers=2)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_dim": [AT_LEAST_ONE],
        "n_layers": [AT_LEAST_ONE],
        "n_heads": [AT_LEAST_ONE],
        "feedforward_dim": [AT_LEAST_ONE, None],
        "summary": [StrOptions({"mean", "last"})],
        "dropout": [PROBABILITY],
        "output_dim": [AT_LEAST_ONE, None],
        **CODES,
    }

    def __init__(
        self,
        *,
        hidden_dim: int = 32,
        n_layers: int = 1,
        n_heads: int = 4,
        feedforward_dim: int | None = None,
        summary: Literal["mean", "last"] = "mean",
        dropout: float = 0.1,
        output_dim: int | None = None,
        vocabulary_size: int | None = None,
        embedding_dim: int | None = None,
    ) -> None:
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.feedforward_dim = feedforward_dim
        self.summary = summary
        self.dropout = dropout
        self.output_dim = output_dim
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim

    def _build(self, layout: ModalityLayout) -> nn.Module:
        if self.hidden_dim % self.n_heads:
            raise InputError(
                f"modality {layout.name!r}: hidden_dim of TransformerEncoder must be a multiple "
                f"of n_heads, got {self.hidden_dim} and {self.n_heads}"
            )
        return TransformerModule(
            self._step_width(layout),
            self.hidden_dim,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            feedforward_dim=self.feedforward_dim,
            summary=self.summary,
            dropout=self.dropout,
            output_dim=self.output_dim,
            vocabulary_size=self.vocabulary_size,
            embedding_dim=self.embedding_dim,
        )
