"""How torch and numpy say that there is no memory left."""

from __future__ import annotations

import torch

__all__ = ["is_of_memory"]

# torch on the CPU and parts of CUDA say so in the text of a RuntimeError alone.
_TEXTS = (
    "DefaultCPUAllocator",
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "cudaErrorMemoryAllocation",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_of_memory(error: Exception) -> bool:
    """Whether an error says that there is no memory left."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)
