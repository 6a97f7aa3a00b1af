"""Seeds of the parts of a fit, and modules whose initial weights come from one."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from sklearn_mmfusion.modules.dropout import DEFAULT_GENERATOR

__all__ = ["seed_for", "seeded_construction"]


def seed_for(seed: int, *names: str) -> int:
    """Derive a seed from a fit's seed and the name of a part, so that no order matters."""
    return zlib.crc32("\x1f".join(names).encode(), seed & 0xFFFFFFFF)


@contextmanager
def seeded_construction() -> Iterator[Callable[[int], None]]:
    """Let modules be built from torch's default generator without leaving a trace in it.

    Yields a function that seeds it. A lock keeps threads that fit at the same time apart;
    ``torch.manual_seed`` is not used, since it would reseed every accelerator too.
    """
    with DEFAULT_GENERATOR, torch.random.fork_rng(devices=[]):

        def seed_default(seed: int) -> None:
            torch.default_generator.manual_seed(seed)

        yield seed_default
