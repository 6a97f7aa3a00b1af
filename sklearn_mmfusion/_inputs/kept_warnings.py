"""Warnings of the numbers in X, which many fits to nearly the same rows say once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sklearn_mmfusion._errors import NumericalWarning, warn

__all__ = ["kept_numerical", "say_once"]


@contextmanager
def kept_numerical() -> Iterator[list[str]]:
    """Collect what numerical warnings say in place of showing them; others are shown."""
    said: list[str] = []
    with warnings.catch_warnings():
        show = warnings.showwarning

        def keep(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, NumericalWarning):
                said.append(str(message))
            else:
                show(message, category, *where, **more)

        warnings.showwarning = keep
        yield said


def say_once(said: Sequence[Sequence[str]], *, of_parts: bool) -> None:
    """Warn once of the numbers that several fits have warned of.

    Parameters
    ----------
    said : sequence of sequences of str
        What each fit said.
    of_parts : bool
        Whether fits had some of the rows each, and number them in their own way.

    Warns
    -----
    NumericalWarning
        With the words of the first fit that had any.
    """
    spoke = [texts for texts in said if texts]
    if not spoke:
        return
    whose = f"{len(spoke)} of {len(said)} fits warn of their numbers, the first: "
    rows = " (rows by their number among those of this fit)"
    text = "; ".join(dict.fromkeys(spoke[0]))
    warn(f"{whose}{text}{rows}" if of_parts else text, NumericalWarning)
