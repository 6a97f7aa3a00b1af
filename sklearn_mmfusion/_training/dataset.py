"""Rows as tensors, and the fast batches that training runs over."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_mmfusion._inputs.lazy_blocks import LazyBlock
from sklearn_mmfusion._training.transfer import ahead, fits, line_to, pinned
from sklearn_mmfusion.data._blocks import ModalityData
from sklearn_mmfusion.modules.network import FusionBatch

__all__ = ["GATHER_BYTES", "Batches", "FusionDataset", "to_dataset"]

# Rows gathered at a time, from disk; a quarter of it from memory, where small pieces are as fast.
GATHER_BYTES = 64 * 2**20


class FusionDataset(torch.utils.data.Dataset):
    """All rows of a data set as tensors, with targets.

    ``n_counted`` is the number of rows that the weights stand for, ``group`` the number of the
    group of each row, on the CPU, or None. ``goes_to`` is the device to which batches go where the
    rows are too many for it; None: they are where they are used.
    """

    goes_to: torch.device | None = None
    group: Tensor | None = None

    def __init__(self, batch: FusionBatch, target: Tensor) -> None:
        self.batch, self.target = batch, target
        self.n_counted = float(len(target))

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, rows: Tensor | slice) -> tuple[FusionBatch, Tensor]:
        def pick(tensors: list[Tensor | None]) -> list[Tensor | None]:
            return [None if t is None else t[rows] for t in tensors]

        batch = self.batch
        values = [value[rows] for value in batch.values]
        weight = None if batch.weight is None else batch.weight[rows]
        present = pick(batch.present)
        picked = FusionBatch(values, pick(batch.lengths), present, weight, batch.prepared)
        return picked, self.target[rows]

    def batches(self, batch_size: int) -> Iterator[tuple[FusionBatch, Tensor]]:
        """Consecutive rows, as views."""
        for start in range(0, len(self), batch_size):
            yield self[start : start + batch_size]

    def chunks(self, batch_size: int) -> Chunks:
        """Consecutive rows without targets, to be gone through as often as needed."""
        return Chunks(self, batch_size)

    def sample(self, n_rows: int, seed: int) -> FusionDataset:
        """Return some rows at random, in their order; all if there are no more than that.

        Values are gathered when they are asked for.
        """
        n = len(self)
        if n <= n_rows:
            return self
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(n, generator=generator)[:n_rows].sort().values
        values = [TensorRows(value, rows.to(value.device)) for value in self.batch.values]

        def pick(tensors: list[Tensor | None]) -> list[Tensor | None]:
            return [None if t is None else t[rows.to(t.device)] for t in tensors]

        (weight,), (target,) = pick([self.batch.weight]), pick([self.target])
        batch = FusionBatch(
            values,  # type: ignore[arg-type]  # what makes tensors counts as one
            pick(self.batch.lengths),
            pick(self.batch.present),
            weight,
            self.batch.prepared,
        )
        part = FusionDataset(batch, target)  # type: ignore[arg-type]  # never None
        part.n_counted = self.n_counted * n_rows / n
        part.group = None if self.group is None else self.group[rows]
        return part

    def to(self, device: torch.device | str, dtype: torch.dtype) -> FusionDataset:
        """Move to a device; weights and real targets take the dtype, values keep theirs."""
        batch, target = self.batch.to(device), self.target.to(device)
        if batch.weight is not None:
            batch.weight = batch.weight.to(dtype)
        target = target.to(dtype) if target.is_floating_point() else target
        return FusionDataset(batch, target)._with_counts_of(self)

    def on_device(self, device: torch.device | str) -> FusionDataset:
        """Return the rows on a device; where they do not fit, those that go there in batches."""
        device = torch.device(device)
        tensors = [v for v in self.batch.values if isinstance(v, Tensor)]
        if fits(sum(t.numel() * t.element_size() for t in tensors), device):
            moved = FusionDataset(self.batch.to(device), self.target.to(device))
            return moved._with_counts_of(self)
        self.goes_to = device
        return self

    def _with_counts_of(self, other: FusionDataset) -> FusionDataset:
        self.n_counted, self.group = other.n_counted, other.group
        return self

    @property
    def is_large(self) -> bool:
        """Whether a modality is on disk, or so large that little memory may be left."""
        values = self.batch.values
        return any(isinstance(value, LazyTensor) and value.block.is_large for value in values)

    def row_bytes(self) -> int:
        """Bytes of one row."""
        return sum(v.dtype.itemsize * math.prod(v.shape[1:]) for v in self.batch.values)


def to_dataset(
    data: ModalityData,
    target: np.ndarray | None,
    weight: np.ndarray | None,
    dtype: torch.dtype,
) -> FusionDataset:
    """Turn validated rows into tensors that share memory with them where that is possible."""

    def tensor(array: np.ndarray | None) -> Tensor | None:
        return None if array is None else as_tensor(array)

    values = [
        LazyTensor(block) if isinstance(block, LazyBlock) else tensor(block.values)
        for block in data.blocks
    ]
    batch = FusionBatch(
        values,  # type: ignore[arg-type]  # values are never None
        [tensor(block.lengths) for block in data.blocks],
        [tensor(block.present) for block in data.blocks],
        None if weight is None else torch.as_tensor(np.array(weight), dtype=dtype),
    )
    if target is None:
        target = np.zeros(data.n_samples)
    y = torch.as_tensor(np.array(target))
    y = y.to(dtype) if y.is_floating_point() else y
    return FusionDataset(batch, y)


def as_tensor(array: np.ndarray) -> Tensor:
    """Return an array as a tensor, which shares its memory where that is possible."""
    array = np.ascontiguousarray(array)
    if not array.flags.writeable or array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype in (np.uint16, np.uint32, np.uint64):
        array = array.astype(np.int64)
    return torch.from_numpy(array)


class Chunks(Sequence[FusionBatch]):
    """Consecutive rows of a data set as batches, made anew each time."""

    def __init__(self, dataset: FusionDataset, batch_size: int) -> None:
        self.dataset, self.batch_size = dataset, batch_size

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __getitem__(self, i: Any) -> Any:
        if not 0 <= i < len(self):
            raise IndexError(i)
        return self.dataset[i * self.batch_size : (i + 1) * self.batch_size][0]


class TensorRows:
    """Some rows of a tensor, or of what stands for one, that are gathered when asked for."""

    def __init__(self, values: Any, rows: Tensor) -> None:
        self.values, self.rows = values, rows
        self.shape = (len(rows), *values.shape[1:])
        self.dtype, self.device = values.dtype, values.device

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        gathered: Tensor = self.values[self.rows[rows]]
        return gathered

    def to(self, device: torch.device | str, non_blocking: bool = False) -> TensorRows:
        """Return the same rows on another device."""
        return TensorRows(self.values.to(device), self.rows.to(device))


class LazyTensor:
    """What a batch of all rows holds for a modality on disk: some rows make a tensor.

    Parameters
    ----------
    block : LazyBlock
        The rows.
    device : torch.device or str, default="cpu"
        Where tensors go.
    """

    def __init__(self, block: LazyBlock, device: torch.device | str = "cpu") -> None:
        self.block, self.device = block, device
        self.shape = tuple(block.values.shape)
        self.dtype = as_tensor(np.empty(0, block.value_dtype)).dtype
        self.block_size: int = block.values.block_size  # type: ignore[attr-defined]  # LazyArray

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        wanted = rows if isinstance(rows, slice) else rows.cpu().numpy()
        return as_tensor(self.block.take(wanted).read().values).to(self.device)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> LazyTensor:
        """Return the same rows on the way to a device."""
        return LazyTensor(self.block, device)


class Batches:
    """Iterate over a data set in slices of rows gathered many batches at a time.

    In training the rows are permuted by the net's own generator each epoch; a last batch of one
    row joins the one before it, since a batch statistic of one row means nothing.
    """

    def __init__(
        self,
        dataset: FusionDataset,
        batch_size: int,
        generator: torch.Generator | None = None,
    ) -> None:
        self.dataset, self.batch_size, self.generator = dataset, batch_size, generator

    def __iter__(self) -> Iterator[tuple[FusionBatch, Tensor]]:
        device = self.dataset.goes_to
        return self._slices() if device is None else ahead(self._slices(), line_to(device))

    def _slices(self) -> Iterator[tuple[FusionBatch, Tensor]]:
        n, size = len(self.dataset), self.batch_size
        if self.generator is None or n <= size:
            yield from self.dataset.batches(max(size, 1))
            return
        order = self._order(self.generator)
        starts = list(range(0, n, size))
        if n - starts[-1] == 1 and len(starts) > 1:
            starts.pop()
        ends = [*starts[1:], n]
        per_gather = self._per_gather()
        for first in range(0, len(starts), per_gather):
            last = min(first + per_gather, len(starts))
            begin, end = starts[first], ends[last - 1]
            rows = order[begin:end].to(self.dataset.target.device)
            picked = self.dataset[rows]
            if self.dataset.goes_to is not None:
                picked = pinned(picked, self.dataset.goes_to)
            gathered = FusionDataset(*picked)
            for i in range(first, last):
                yield gathered[starts[i] - begin : ends[i] - begin]

    def _per_gather(self) -> int:
        values: list[Any] = list(self.dataset.batch.values)
        on_disk = any(isinstance(v, LazyTensor) and not v.block.in_memory for v in values)
        # From disk rows are read in order and then put into theirs, which takes them twice.
        factor = 2 if on_disk else 4
        return max(1, GATHER_BYTES // (factor * self.batch_size * max(1, self.dataset.row_bytes())))

    def _order(self, generator: torch.Generator) -> Tensor:
        """Return the rows of an epoch; those of a chunk on disk stay near each other."""
        n = len(self.dataset)
        size = max(getattr(value, "block_size", 1) for value in self.dataset.batch.values)
        if size == 1:
            return torch.randperm(n, generator=generator)
        starts = torch.randperm(-(-n // size), generator=generator) * size
        order = (starts[:, None] + torch.arange(size)).flatten()
        windows = order[order < n].split(max(size, self._per_gather() * self.batch_size))
        return torch.cat([rows[torch.randperm(len(rows), generator=generator)] for rows in windows])
