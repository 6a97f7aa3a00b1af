"""One model trained by several processes: each takes its share of every batch.

All processes hold all rows and draw the same batches. What depends on a whole batch is summed over
the processes: statistics of normalisations (with their gradients), the loss, the gradients. So the
fit is that of one process, up to the order of additions. Evaluation, exact statistics and the
polish are done by each process on all rows, and come out the same.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._training.dataset import FusionDataset
from sklearn_mmfusion.modules.batchnorm import WeightedBatchNorm
from sklearn_mmfusion.modules.dropout import Dropout, draw_noise
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork
from sklearn_mmfusion.modules.normalization import RunningStatistics

__all__ = ["DataParallel", "join_processes"]


def join_processes(distributed: str | None) -> DataParallel | None:
    """Return this process's place among those that ``torchrun`` started, or None if it is alone.

    Parameters
    ----------
    distributed : "auto" or None
        None trains alone whatever was started.
    """
    if distributed is None or not dist.is_available():
        return None
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
            return None
        dist.init_process_group(_take_device())
        atexit.register(dist.destroy_process_group)
    return DataParallel() if dist.get_world_size() > 1 else None


def _take_device() -> str:
    """Make the GPU of this process torch's current one, and return what the processes speak.

    NCCL wants a GPU for each process. Where processes share one, or there is none, gloo carries
    the tensors of all devices.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    n_here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    if not dist.is_nccl_available() or n_here > torch.cuda.device_count():
        return "gloo"
    torch.cuda.set_device(local_rank)
    return "cpu:gloo,cuda:nccl"


class DataParallel:
    """The place of a process among several, and what they do together.

    Attributes
    ----------
    rank, world : int
        Number of this process, and of all.
    """

    def __init__(self) -> None:
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.n_global = self._start = self._stop = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> DataParallel:
        return self

    def same_seed(self, seed: int) -> int:
        """Return the seed of the first process."""
        shared = [seed]
        dist.broadcast_object_list(shared)
        return shared[0]

    def prepare(self, network: FusionNetwork) -> None:
        """Make the statistics and masks of a network those of whole batches.

        Raises
        ------
        InputError
            Where a module has batch statistics or masks that cannot be shared.
        """
        for name, module in network.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                raise InputError(
                    f"distributed='auto': {name} is a {type(module).__name__}, whose statistics "
                    "would be those of each process alone; use the package's encoders with "
                    "batch_norm=True, or distributed=None"
                )
            if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
                raise InputError(
                    f"distributed='auto': {name} is a {type(module).__name__}, which draws from "
                    "the global generator of each process; use the package's encoders, or "
                    "distributed=None"
                )
            if isinstance(module, RunningStatistics):
                module.mean = self.mean
            elif isinstance(module, WeightedBatchNorm):
                module.add = self.add
            elif isinstance(module, Dropout | FusionNetwork):
                module.draw = self.draw

    def add(self, x: Tensor) -> Tensor:
        """Return the sum over all processes; gradients are summed on their way back."""
        total: Tensor = _Add.apply(x)
        return total

    def mean(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean over the first axis of all processes, see :func:`functional.weighted_mean`."""
        if weight is None:
            return self.add(x.sum(0)) / self.n_global
        total = self.add(weight.sum(0))
        total = torch.where(total > 0, total, torch.ones_like(total))
        share = (weight / total).reshape(weight.shape + (1,) * (x.ndim - weight.ndim))
        return self.add((x * share).sum(0))

    def draw(self, shape: torch.Size | tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw for the rows of the whole batch, and return those of this process."""
        n_rows, n_local = shape[0], self._stop - self._start
        if n_rows == 1 and n_local != 1:  # a mask that all rows share
            return draw_noise(shape, generator)
        if n_local and n_rows % n_local == 0:
            each = n_rows // n_local
            noise = draw_noise((self.n_global * each, *shape[1:]), generator)
            return noise[self._start * each : self._stop * each]
        draw_noise((self.n_global, *shape[1:]), generator)  # no row: but the others draw
        return torch.empty(shape, device=generator.device)

    def shares(
        self, batches: Iterable[tuple[FusionBatch, Tensor]]
    ) -> Iterator[tuple[FusionBatch, Tensor]]:
        """Return this process's share of each batch."""
        for batch, target in batches:
            n = len(target)
            bounds = [n * i // self.world for i in (self.rank, self.rank + 1)]
            self.n_global, (self._start, self._stop) = n, bounds
            yield FusionDataset(batch, target)[self._start : self._stop]

    def reduce_gradients(self, network: FusionNetwork) -> None:
        """Sum the gradients over all processes."""
        parameters = [parameter for _, parameter, _ in network.trained_parameters()]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        parts = flat.split([grad.numel() for grad in grads])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)


class _Add(torch.autograd.Function):
    """Sum over processes, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total
