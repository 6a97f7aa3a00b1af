"""Rows that the tests of the transformers share."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
N = 30
RNG = np.random.default_rng(0)
TEXT = RNG.normal(2.0, 3.0, size=(N, 4, 3))
AUDIO = RNG.normal(-1.0, 2.0, size=(N, 5))
Y = (AUDIO[:, 0] + TEXT[:, 0, 0] > 0).astype(int)
LENGTHS = RNG.integers(1, 5, size=N)
RAGGED = [steps[:length] for steps, length in zip(TEXT, LENGTHS, strict=True)]


def named_table(n=6, absent=()):
    table = pd.DataFrame({"b": np.arange(n, dtype=float), "a": np.arange(n) ** 2.0})
    table.iloc[list(absent)] = np.nan
    return table.set_axis([f"p{i}" for i in reversed(range(n))])
