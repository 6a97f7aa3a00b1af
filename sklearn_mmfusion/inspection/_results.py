"""What the functions of this package share: numbers of users, and long tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state

from sklearn_mmfusion._errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_generator", "check_counts", "check_target", "long_frame", "set_name"]


def as_generator(random_state: Any) -> Callable[[], np.random.Generator]:
    """Return a function that returns one generator, seeded from what scikit-learn takes.

    Where nothing is drawn, no state of the user's moves.
    """

    @cache
    def generator() -> np.random.Generator:
        return np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))

    return generator


def check_counts(**counts: Any) -> None:
    """Check that parameters are integers of at least 1."""
    for name, count in counts.items():
        whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
        if not whole or count < 1:
            raise InputError(f"{name}: expected an integer of at least 1, got {count!r}")


def check_target(y: Any, n_samples: int) -> None:
    """Check that there is one target per row."""
    if y is not None and len(y) != n_samples:
        raise InputError(f"y: expected {n_samples} values, one per row of X, got {len(y)}")


def set_name(members: Sequence[int], names: Sequence[str]) -> str:
    """Return the name of modalities that are taken together."""
    return " + ".join(names[m] for m in members)


def long_frame(axes: Mapping[str, Sequence[Any]], columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return arrays that share their axes as a long table.

    Parameters
    ----------
    axes : mapping of str to sequence
        Name of each axis and the labels along it.
    columns : mapping of str to ndarray
        Arrays of the shape of the axes, or of one that broadcasts to it.

    Raises
    ------
    ImportError
        If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "to_frame needs pandas: pip install 'sklearn-mmfusion[frames]'"
        ) from error
    shape = tuple(len(labels) for labels in axes.values())
    positions = np.indices(shape).reshape(len(shape), -1)
    table: dict[str, Any] = {}
    for (name, labels), position in zip(axes.items(), positions, strict=True):
        table[name] = np.array([*labels, None], dtype=object)[:-1][position]
    for name, values in columns.items():
        table[name] = np.broadcast_to(values, shape).ravel()
    return pd.DataFrame(table).infer_objects()
