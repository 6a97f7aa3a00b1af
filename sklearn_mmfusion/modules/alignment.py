"""Modalities side by side, step by step: what early fusion and RAVEN read.

Letters: b batch, m modality, T steps, d features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sklearn_mmfusion.modules.sequences import last_step, step_mask

__all__ = ["EarlyModule", "RAVENModule", "aligned_lengths"]


def aligned_lengths(
    lengths: Sequence[Tensor | None], present: Sequence[Tensor | None], n_steps: int
) -> Tensor | None:
    """Return the number of steps in which any modality is valid, (b,); None for all steps."""
    longest: list[Tensor] = []
    for length, mask in zip(lengths, present, strict=True):
        if length is None and mask is None:
            return None
        if length is None:
            assert mask is not None  # noqa: S101 for mypy
            longest.append(mask.long() * n_steps)
        else:
            longest.append(length if mask is None else length * mask)
    return torch.stack(longest).amax(0)


class EarlyModule(nn.Module):
    """Concatenate all modalities, and encode the result by one encoder (early fusion).

    Sequences are concatenated step by step; flat modalities beside them are repeated in every
    step, and make one step where a row has none. What is padded or absent is 0, the mean of the
    training rows.

    Parameters
    ----------
    encoder : nn.Module
        Encoder of the concatenated modalities.
    is_sequence : sequence of bool
        Which modalities have steps.
    """

    def __init__(self, encoder: nn.Module, is_sequence: Sequence[bool]) -> None:
        super().__init__()
        self.encoder = encoder
        self.is_sequence = list(is_sequence)
        self.output_dims = [int(encoder.output_dim)]  # type: ignore[arg-type]

    def forward(
        self,
        values: Sequence[Tensor],
        lengths: Sequence[Tensor | None],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the one encoding of a row, (b, output_dim).

        Shape: values (b, T, d_m) or (b, d_m), scaled and 0 where padded or absent; lengths and
        present (b,) or None.
        """
        joined, length = self.join(values, lengths, present)
        return [self.encoder(joined, length, weight)]

    def join(
        self,
        values: Sequence[Tensor],
        lengths: Sequence[Tensor | None],
        present: Sequence[Tensor | None],
    ) -> tuple[Tensor, Tensor | None]:
        """Return the concatenated modalities and the number of valid steps."""
        if not any(self.is_sequence):
            return torch.cat(list(values), 1), None
        n_steps = values[self.is_sequence.index(True)].shape[1]
        # A flat modality counts as one step: a row without a valid step of any sequence has it.
        steps = [
            length if is_sequence else torch.ones(len(v), dtype=torch.long, device=v.device)
            for v, length, is_sequence in zip(values, lengths, self.is_sequence, strict=True)
        ]
        length = aligned_lengths(steps, present, n_steps)
        parts = [
            v if is_sequence else v.unsqueeze(1).expand(-1, n_steps, -1)
            for v, is_sequence in zip(values, self.is_sequence, strict=True)
        ]
        joined = torch.cat(parts, 2)
        if length is not None:
            joined = joined * step_mask(length, n_steps)[:, :, None]
        return joined, length

    def fit_inputs(
        self,
        values: Sequence[Tensor],
        lengths: Sequence[Tensor | None],
        present: Sequence[Tensor | None],
        weight: Tensor | None,
    ) -> None:
        """Let the encoder learn what depends on the distribution of its inputs alone."""
        fit = getattr(self.encoder, "fit_inputs", None)
        if fit is not None:
            fit(*self.join(values, lengths, present), weight)

    def values_per_row(self, shapes: Sequence[tuple[int, ...]]) -> int:
        """Numbers that a row takes, about."""
        steps = max((s[0] for s in shapes if len(s) > 1), default=1)
        return 8 * steps * sum(s[-1] for s in shapes)


class RAVENModule(nn.Module):
    r"""Shift the words of the language by what is seen and heard with them (RAVEN).

    .. math::

        g_m = \sigma(G_m [h_m; e]), \quad s = S [g_1 h_1; \dots], \quad
        \alpha = \min(\|e\| / \|s\| \cdot \beta, 1), \quad e' = e + \alpha s

    in every step, with :math:`e` the step of the main modality and :math:`h_m` what a recurrent
    network has of modality m up to this step; an LSTM reads the shifted steps.

    Parameters
    ----------
    step_dims : sequence of int
        Features of a step of each modality.
    main : int
        Position of the main modality.
    hidden_dim : int
        Width of the LSTM, and of each other modality's.
    shift_scale : float, default=1.0
        Largest length of a shift, relative to that of the step.
    is_sequence : sequence of bool
        Which modalities have steps; flat ones are the same in every step.

    References
    ----------
    Wang et al. (2019), "Words Can Shift: Dynamically Adjusting Word Representations Using
    Nonverbal Behaviors", section 3.
    """

    def __init__(
        self,
        step_dims: Sequence[int],
        main: int,
        hidden_dim: int,
        *,
        is_sequence: Sequence[bool],
        shift_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.main, self.shift_scale = main, shift_scale
        self.is_sequence = list(is_sequence)
        self.others = [m for m in range(len(step_dims)) if m != main]
        width = step_dims[main]
        self.recurrent = nn.ModuleDict(
            {str(m): nn.LSTM(step_dims[m], hidden_dim, batch_first=True) for m in self.others}
        )
        self.gates = nn.ModuleDict({str(m): nn.Linear(hidden_dim + width, 1) for m in self.others})
        self.shift = nn.Linear(hidden_dim * len(self.others), width) if self.others else None
        self.reader = nn.LSTM(width, hidden_dim, batch_first=True)
        self.output_dims = [hidden_dim]

    def forward(
        self,
        values: Sequence[Tensor],
        lengths: Sequence[Tensor | None],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the state after the last valid step, (b, hidden_dim).

        Shape: values (b, T, d_m) or (b, d_m), 0 where padded or absent; lengths and present (b,)
        or None. There are no batch statistics: ``weight`` is not used.
        """
        words = values[self.main]
        words = words if self.is_sequence[self.main] else words.unsqueeze(1)
        n_steps = words.shape[1]
        if self.shift is not None:
            gated = []
            for m in self.others:
                x = values[m]
                x = x if self.is_sequence[m] else x.unsqueeze(1).expand(-1, n_steps, -1)
                h, _ = self.recurrent[str(m)](x)
                gate = torch.sigmoid(self.gates[str(m)](torch.cat([h, words], 2)))
                mask = present[m]
                gated.append(gate * h if mask is None else gate * h * mask[:, None, None])
            shift = self.shift(torch.cat(gated, 2))
            length = words.norm(dim=2, keepdim=True)
            size = shift.norm(dim=2, keepdim=True).clamp_min(1e-12)
            words = words + (length / size * self.shift_scale).clamp(max=1.0) * shift
        states, _ = self.reader(words)
        pick = [m for m, is_sequence in enumerate(self.is_sequence) if is_sequence]
        if not pick:
            return [states[:, -1]]
        ends = aligned_lengths([lengths[m] for m in pick], [present[m] for m in pick], n_steps)
        return [last_step(states, ends)]

    def values_per_row(self, shapes: Sequence[tuple[int, ...]]) -> int:
        """Numbers that a row takes, about."""
        steps = max((s[0] for s in shapes if len(s) > 1), default=1)
        return 12 * steps * (self.reader.hidden_size * len(shapes) + sum(s[-1] for s in shapes))
