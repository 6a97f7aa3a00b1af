"""Out of memory: one error with sizes and a remedy for the many that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sklearn_mmfusion._errors import FusionError, FusionMemoryError
from sklearn_mmfusion.data._blocks import ModalityData
from sklearn_mmfusion.modules.out_of_memory import is_of_memory

__all__ = ["memory_errors", "rows_text"]


@contextmanager
def memory_errors(describe: Callable[[], str]) -> Iterator[None]:
    """Raise a FusionMemoryError where numpy or torch has no memory left.

    Parameters
    ----------
    describe : callable
        Returns what was done, with sizes, and the remedy.
    """
    try:
        yield
    except FusionError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_of_memory(error):
            raise
        text = f"out of memory while {describe()} ({_first_line(error)})"
        raise FusionMemoryError(text) from error


def rows_text(data: ModalityData) -> str:
    """Return rows, shapes and bytes of modalities, for errors."""
    shapes = ", ".join(f"{block.name!r} {block.values.shape[1:]}" for block in data.blocks)
    size = sum(block.values.nbytes for block in data.blocks) / 2**20
    return f"{data.n_samples} rows of {shapes} ({size:.1f} MiB)"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
