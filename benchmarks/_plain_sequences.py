"""Models of sequences in plain torch: what `plain_torch.py` compares the package with.

A modality is (b, T, d), NaN where a row has fewer steps, or (b, d). Letters: b batch, T steps,
d features, k classes, h width of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from _plain_training import CODE, DROPOUT, WIDTH, mlp
from torch import Tensor, nn
from torch.nn import functional as nnf
from torch.nn.utils.rnn import pack_padded_sequence

__all__ = ["HEADS", "LAYERS", "STATE", "STREAM", "EarlyLSTM", "LateLSTM", "MulT", "RAVEN"]

STATE = 32  # of every LSTM
STREAM, HEADS, LAYERS = 16, 2, 1  # of MulT

Shapes = Sequence[tuple[int, ...]]


def split_steps(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return steps (b, T, d), 0 where there are none, and their number (b,)."""
    steps = x if x.ndim == 3 else x.unsqueeze(1)
    return steps.nan_to_num(0.0), (~steps.isnan().any(2)).sum(1)


def last_valid(x: Tensor, lengths: Tensor) -> Tensor:
    """Return the last valid step of every row; the first of a row without any."""
    return x[torch.arange(len(x)), lengths.clamp(min=1) - 1]


class LastState(nn.Module):
    """An LSTM on packed steps, normalised over them if so wished; its last state."""

    def __init__(self, d: int, *, normalises: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(d) if normalises else nn.Identity()
        self.lstm = nn.LSTM(d, STATE, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Shape: (b, T, d), (b,) -> (b, STATE)."""
        packed = pack_padded_sequence(
            steps, lengths.clamp(min=1), batch_first=True, enforce_sorted=False
        )
        _, (state, _) = self.lstm(packed._replace(data=self.norm(packed.data)))
        return self.dropout(state[-1])


class Predictor(nn.Module):
    """A model that is trained by cross-entropy."""

    def loss(self, x: list[Tensor], y: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        return nnf.cross_entropy(self(x), y)


class LateLSTM(Predictor):
    """LF-LSTM: an LSTM each (a small network for flat features), concatenation, linear."""

    def __init__(self, shapes: Shapes, k: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            LastState(s[-1], normalises=True, dropout=DROPOUT)
            if len(s) == 2
            else mlp(s[0], WIDTH, CODE)
            for s in shapes
        )
        self.out = nn.Linear(sum(STATE if len(s) == 2 else CODE for s in shapes), k)

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        codes = []
        for encoder, part in zip(self.encoders, x, strict=True):
            if part.ndim == 2:
                codes.append(encoder(part))
                continue
            steps, lengths = split_steps(part)
            codes.append(encoder(steps, lengths) * (lengths > 0)[:, None])
        return self.out(torch.cat(codes, 1))


class EarlyLSTM(Predictor):
    """EF-LSTM: concatenation in every step, LSTM, linear."""

    def __init__(self, shapes: Shapes, k: int) -> None:
        super().__init__()
        width = sum(s[-1] for s in shapes)
        self.encoder = LastState(width, normalises=True, dropout=DROPOUT)
        self.out = nn.Linear(STATE, k)

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        parts, lengths = zip(*map(split_steps, x), strict=True)
        n_steps = max(part.shape[1] for part in parts)
        joined = torch.cat([part.expand(-1, n_steps, -1) for part in parts], 2)
        length = torch.stack(lengths).amax(0)
        there = torch.arange(n_steps) < length[:, None]
        return self.out(self.encoder(joined * there[:, :, None], length))


class RAVEN(Predictor):
    """The steps of the first modality, shifted by gated states of the others, under an LSTM."""

    def __init__(self, shapes: Shapes, k: int) -> None:
        super().__init__()
        width, *others = (s[-1] for s in shapes)
        self.lstms = nn.ModuleList(nn.LSTM(d, STATE, batch_first=True) for d in others)
        self.gates = nn.ModuleList(nn.Linear(STATE + width, 1) for _ in others)
        self.shift = nn.Linear(STATE * len(others), width)
        self.reader = LastState(width, normalises=False)
        self.out = nn.Linear(STATE, k)

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        (e, length), *others = map(split_steps, x)
        lengths, gated = [length], []
        for i, (steps, n) in enumerate(others):
            h, _ = self.lstms[i](steps.expand(-1, e.shape[1], -1))
            gate = self.gates[i](torch.cat([h, e], 2)).sigmoid()
            gated.append(gate * h * (n > 0)[:, None, None])
            if x[i + 1].ndim == 3:
                lengths.append(n)
        shift = self.shift(torch.cat(gated, 2))
        size = shift.norm(dim=2, keepdim=True).clamp_min(1e-12)
        alpha = (e.norm(dim=2, keepdim=True) / size).clamp(max=1.0)
        return self.out(self.reader(e + alpha * shift, torch.stack(lengths).amax(0)))


class Block(nn.Module):
    """x + attention, then + a feed-forward network of four times the width, each of LayerNorm."""

    def __init__(self, h: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(h) for _ in range(2))
        self.attention = nn.MultiheadAttention(h, HEADS, batch_first=True)
        self.inner = nn.Sequential(
            nn.Linear(h, 4 * h), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(4 * h, h)
        )
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, source: Tensor | None, padded: Tensor) -> Tensor:
        """Shape: x (b, T, h), source (b, S, h) or None for x itself, padded (b, S)."""
        query = self.norms[0](x)
        key = query if source is None else self.norms[0](source)
        found, _ = self.attention(query, key, key, key_padding_mask=padded, need_weights=False)
        x = x + self.dropout(found)
        return x + self.dropout(self.inner(self.norms[1](x)))


def positions(n_steps: int, h: int) -> Tensor:
    """Return sines and cosines of the steps' numbers in turn, (T, h)."""
    angle = torch.arange(n_steps)[:, None] / 10000 ** (torch.arange(0, h, 2) / h)
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)


class MulT(Predictor):
    """Every modality through all others, a memory of what was read, and a residual network."""

    def __init__(self, shapes: Shapes, k: int) -> None:
        super().__init__()
        m, wide = range(len(shapes)), STREAM * (len(shapes) - 1)
        self.maps = nn.ModuleList(nn.Linear(s[-1], STREAM, bias=False) for s in shapes)
        self.pairs = [(a, b) for a in m for b in m if a != b]
        self.streams = nn.ModuleList(
            nn.ModuleList(Block(STREAM) for _ in range(LAYERS)) for _ in self.pairs
        )
        self.norms = nn.ModuleList(nn.LayerNorm(STREAM) for _ in self.pairs)
        self.memories = nn.ModuleList(Block(wide) for _ in m)
        self.memory_norms = nn.ModuleList(nn.LayerNorm(wide) for _ in m)
        n = wide * len(shapes)
        self.residual = nn.Sequential(
            nn.Linear(n, n), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(n, n)
        )
        self.out = nn.Linear(n, k)

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        parts, lengths = zip(*map(split_steps, x), strict=True)
        embedded = [
            linear(part) * STREAM**0.5 + positions(part.shape[1], STREAM)
            for linear, part in zip(self.maps, parts, strict=True)
        ]
        # Softmax needs a key: a row without any sees its first step, and what it says is dropped.
        padded = [
            torch.arange(part.shape[1]) >= n.clamp(min=1)[:, None]
            for part, n in zip(parts, lengths, strict=True)
        ]
        read: list[list[Tensor]] = [[] for _ in x]
        for (a, b), blocks, norm in zip(self.pairs, self.streams, self.norms, strict=True):
            stream = embedded[a]
            for block in blocks:
                stream = block(stream, embedded[b], padded[b])
            read[a].append(norm(stream) * (lengths[b] > 0)[:, None, None])
        summaries = []
        for a, memory in enumerate(self.memories):
            remembered = memory(torch.cat(read[a], 2), None, padded[a])
            last = self.memory_norms[a](last_valid(remembered, lengths[a]))
            summaries.append(last * (lengths[a] > 0)[:, None])
        joined = torch.cat(summaries, 1)
        return self.out(joined + self.residual(joined))
