"""Where the rows of a training are: on its device while they fit there, else on the CPU.

From the CPU they go batch by batch: each is on its way while the one before it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from sklearn_mmfusion.modules.network import FusionBatch

__all__ = ["ahead", "fits", "line_to", "pinned"]

# The other half is for what the network keeps for its gradients, and for other processes.
_SHARE = 0.5

Rows = tuple[FusionBatch, Tensor]


def free_bytes(device: torch.device) -> float:
    """Return how many bytes a device could take; infinite where that is no question."""
    if device.type != "cuda":
        return math.inf
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds without using it is free for tensors, though not for the driver.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def fits(n_bytes: int, device: torch.device) -> bool:
    """Return whether rows of this size are to be on a device for the whole training."""
    return n_bytes <= _SHARE * free_bytes(device)


class Line(Protocol):
    """How batches get to a device."""

    def send(self, rows: Rows) -> Any:
        """Begin to copy a batch."""
        ...  # pragma: no cover - a protocol

    def arrived(self, sent: Any) -> Rows:
        """Return it, for use after what is under way."""
        ...  # pragma: no cover - a protocol


def line_to(device: torch.device) -> Line:
    """Return the way to a device."""
    return _CudaLine(device) if device.type == "cuda" else _PlainLine(device)


def ahead(batches: Iterable[Rows], line: Line) -> Iterator[Rows]:
    """Yield batches on a device, each sent before the one before it is used."""
    waiting: list[Any] = []
    for rows in batches:
        waiting.append(line.send(rows))
        if len(waiting) > 1:
            yield line.arrived(waiting.pop(0))
    for sent in waiting:
        yield line.arrived(sent)


def pinned(rows: Rows, device: torch.device) -> Rows:
    """Return rows in memory from which they can be copied while the CPU goes on."""
    if device.type != "cuda":
        return rows
    return _map(rows, lambda t: t if t.is_pinned() else t.pin_memory())


def _map(rows: Rows, function: Any) -> Rows:
    batch, target = rows

    def each(tensors: list[Tensor | None]) -> list[Tensor | None]:
        return [None if t is None else function(t) for t in tensors]

    values = [function(value) for value in batch.values]
    (weight,) = each([batch.weight])
    made = FusionBatch(values, each(batch.lengths), each(batch.present), weight, batch.prepared)
    return made, function(target)


class _PlainLine:
    """Copies when it is asked to."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def send(self, rows: Rows) -> Rows:
        return rows[0].to(self.device), rows[1].to(self.device)

    def arrived(self, sent: Rows) -> Rows:
        return sent


class _Sent(NamedTuple):
    rows: Rows
    event: torch.cuda.Event


class _CudaLine:
    """Copies on a stream of its own, beside the computation."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def send(self, rows: Rows) -> _Sent:
        rows = pinned(rows, self.device)
        with torch.cuda.stream(self.stream):
            moved = _map(rows, lambda t: t.to(self.device, non_blocking=True))
            return _Sent(moved, self.stream.record_event())

    def arrived(self, sent: _Sent) -> Rows:
        current = torch.cuda.current_stream(self.device)
        current.wait_event(sent.event)

        def use(tensor: Tensor) -> Tensor:
            tensor.record_stream(current)  # its memory is of the other stream
            return tensor

        return _map(sent.rows, use)
