"""What all encoders of sequences share: codes, masks, the last valid step.

Letters: b batch, T steps, d features, V size of the vocabulary. A sequence is valid in its first
``lengths`` steps; the rest is padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SequenceInput", "flip_steps", "last_step", "step_mask", "step_weights"]


class SequenceInput(nn.Module):
    """Turn a batch of sequences, or of integer codes, into features and lengths.

    Steps that are padding in every row of the batch are cut off, and lengths that say nothing
    (all steps valid) become None, so that what follows need not mask.

    Parameters
    ----------
    input_dim : int
        Number of features d; not used with ``vocabulary_size``.
    vocabulary_size : int, optional
        The values are codes (b, T): 0 to V - 1 stand for a symbol, a code below 0 for padding.
        Codes become one-hot rows for this batch only, or embeddings.
    embedding_dim : int, optional
        Width of the learned embedding; None means one-hot.

    Attributes
    ----------
    output_dim : int
        Number of features after expansion.

    Notes
    -----
    A code of V and above, such as a character that the alphabet does not have, is a step of
    zeros (Zhang, Zhao & LeCun 2015, section 2.2), as is a code below 0 before the last symbol.
    """

    symbols: Tensor | None
    unit: Tensor | None

    def __init__(
        self,
        input_dim: int,
        vocabulary_size: int | None = None,
        embedding_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.embedding: nn.Embedding | None = None
        self.output_dim = input_dim
        symbols = unit = None
        if vocabulary_size is not None:
            if embedding_dim is None:
                symbols, unit = torch.arange(vocabulary_size), torch.ones(())
                self.output_dim = vocabulary_size
            else:
                # The extra row is the zero of padding and of unknown symbols; it is not trained.
                self.embedding = nn.Embedding(
                    vocabulary_size + 1, embedding_dim, padding_idx=vocabulary_size
                )
                self.output_dim = embedding_dim
        self.register_buffer("symbols", symbols, persistent=False)
        self.register_buffer("unit", unit, persistent=False)  # its dtype is the module's

    def forward(
        self, values: Tensor, lengths: Tensor | None = None, channels_first: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Return features (b, T', d), or (b, d, T') where channels come first, and lengths.

        Shape: values (b, T, d), or codes (b, T); lengths (b,) or None.
        """
        if self.vocabulary_size is not None:
            lengths = _code_lengths(values, lengths)
        values, lengths = _trim(values, lengths)
        if self.vocabulary_size is None:
            return (values.transpose(1, 2) if channels_first else values), lengths
        if self.embedding is not None:
            known = (values >= 0) & (values < self.vocabulary_size)
            rows = torch.where(known, values.long(), self.vocabulary_size)
            embedded = self.embedding(rows)
            return (embedded.transpose(1, 2) if channels_first else embedded), lengths
        assert self.symbols is not None and self.unit is not None  # noqa: S101 for mypy
        # Comparing gives zeros for any other code, and the channels where they are wanted.
        if channels_first:
            hot = values.unsqueeze(1) == self.symbols.unsqueeze(1)
        else:
            hot = values.unsqueeze(2) == self.symbols
        return hot.to(self.unit.dtype), lengths


def _may_look_at(x: Tensor) -> bool:
    """Whether Python may depend on numbers in a tensor.

    On an accelerator that would wait for all that is under way there, in every batch; what is
    compiled would be compiled anew for every number. Padding is masked there, not cut off.
    """
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _code_lengths(codes: Tensor, lengths: Tensor | None) -> Tensor | None:
    """Return the number of steps before the trailing negative codes, at most ``lengths``."""
    if _may_look_at(codes) and not bool((codes[:, -1] < 0).any()):
        return lengths
    steps = torch.arange(1, codes.shape[1] + 1, device=codes.device)
    found = torch.where(codes >= 0, steps, 0).amax(1)
    return found if lengths is None else torch.minimum(found, lengths)


def _trim(values: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Cut off the steps that no row needs; drop lengths if nothing is left to mask."""
    if lengths is None or lengths.numel() == 0 or not _may_look_at(lengths):
        return values, lengths
    shortest, longest = (int(bound) for bound in torch.aminmax(lengths))
    longest = max(longest, 1)
    if longest < values.shape[1]:
        values = values[:, :longest]
    return values, None if shortest >= values.shape[1] else lengths


def step_mask(lengths: Tensor, n_steps: int) -> Tensor:
    """Return where the steps are valid.

    Shape: lengths (b,) -> bool (b, T).
    """
    return torch.arange(n_steps, device=lengths.device) < lengths.unsqueeze(1)


def step_weights(
    x: Tensor, n_steps: int, lengths: Tensor | None, weight: Tensor | None
) -> Tensor | None:
    """Return the weight of every step in batch statistics: 0 if padded, else that of its row.

    Shape: lengths (b,), weight (b,) -> (b, T), in the dtype of x; None if every step counts 1.
    """
    if weight is not None:
        weight = weight.to(x.dtype).unsqueeze(1)
    if lengths is None:
        return None if weight is None else weight.expand(-1, n_steps)
    mask = step_mask(lengths, n_steps).to(x.dtype)
    return mask if weight is None else mask * weight


def last_step(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the last valid step of each row; zeros where no step is valid.

    Shape: x (b, T, d), lengths (b,) -> (b, d).
    """
    if lengths is None:
        return x[:, -1]
    rows = torch.arange(x.shape[0], device=x.device)
    last = x[rows, (lengths - 1).clamp(min=0)]
    return torch.where(lengths.unsqueeze(1) > 0, last, 0.0)


def flip_steps(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse the valid steps of each row; padding stays where it is.

    Shape: x (b, T, d), lengths (b,) -> (b, T, d).
    """
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths.unsqueeze(1) - 1 - steps
    source = torch.where(mirrored >= 0, mirrored, steps)
    return x.gather(1, source.unsqueeze(2).expand_as(x))
