"""Rows as tensors, and the fast batches that training runs over."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sklearn_mmfusion.data._blocks import ModalityData
from sklearn_mmfusion.modules.network import FusionBatch

__all__ = ["Batches", "FusionDataset", "to_dataset"]

_GATHER_BYTES = 64 * 2**20  # rows gathered at a time: large enough to be fast, small in memory


class FusionDataset(torch.utils.data.Dataset):
    """All rows of a data set as tensors, with targets.

    ``n_counted`` is the number of rows that the weights stand for.
    """

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
        picked = FusionBatch(values, pick(batch.lengths), pick(batch.present), weight)
        return picked, self.target[rows]

    def batches(self, batch_size: int) -> Iterator[tuple[FusionBatch, Tensor]]:
        """Consecutive rows, as views."""
        for start in range(0, len(self), batch_size):
            yield self[start : start + batch_size]

    def to(self, device: torch.device | str, dtype: torch.dtype) -> FusionDataset:
        """Move to a device; weights and real targets take the dtype, values keep theirs."""
        batch, target = self.batch.to(device), self.target.to(device)
        if batch.weight is not None:
            batch.weight = batch.weight.to(dtype)
        target = target.to(dtype) if target.is_floating_point() else target
        moved = FusionDataset(batch, target)
        moved.n_counted = self.n_counted
        return moved

    def row_bytes(self) -> int:
        """Bytes of one row."""
        values = self.batch.values
        return sum(v.element_size() * v[0].numel() for v in values) if len(self) else 1


def to_dataset(
    data: ModalityData,
    target: np.ndarray | None,
    weight: np.ndarray | None,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
) -> FusionDataset:
    """Turn validated rows into tensors that share memory with them where that is possible."""

    def tensor(array: np.ndarray | None) -> Tensor | None:
        if array is None:
            return None
        array = np.ascontiguousarray(array)
        if not array.flags.writeable or array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("="))
        if array.dtype in (np.uint16, np.uint32, np.uint64):
            array = array.astype(np.int64)
        return torch.from_numpy(array)

    values = [tensor(block.values) for block in data.blocks]
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
    return FusionDataset(batch.to(device), y.to(device))


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
        n, size = len(self.dataset), self.batch_size
        if self.generator is None or n <= size:
            yield from self.dataset.batches(max(size, 1))
            return
        order = torch.randperm(n, generator=self.generator)
        starts = list(range(0, n, size))
        if n - starts[-1] == 1 and len(starts) > 1:
            starts.pop()
        ends = [*starts[1:], n]
        per_gather = max(1, _GATHER_BYTES // (size * max(1, self.dataset.row_bytes())))
        for first in range(0, len(starts), per_gather):
            last = min(first + per_gather, len(starts))
            begin, end = starts[first], ends[last - 1]
            rows = order[begin:end].to(self.dataset.target.device)
            gathered = FusionDataset(*self.dataset[rows])
            for i in range(first, last):
                yield gathered[starts[i] - begin : ends[i] - begin]
