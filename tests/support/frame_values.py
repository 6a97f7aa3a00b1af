"""A modality of every kind, and what its rows are."""

import numpy as np
import pytest
import torch
from scipy import sparse

pd = pytest.importorskip("pandas")
N = 6
RNG = np.random.default_rng(0)
TEXT = RNG.normal(size=(N, 4, 3))
AUDIO = RNG.normal(size=(N, 5))
RAGGED = [RNG.normal(size=(steps, 2)) for steps in (3, 1, 4, 2, 2, 3)]
VALUES = {
    "float64": AUDIO,
    "float32": AUDIO.astype(np.float32),
    "integer": np.arange(12).reshape(N, 2),
    "boolean": AUDIO > 0,
    "flat": AUDIO[:, 0],
    "sequence": TEXT,
    "image": RNG.normal(size=(N, 3, 4, 4)),
    "fortran": np.asfortranarray(AUDIO),
    "tensor": torch.tensor(AUDIO),
    "frame": pd.DataFrame(AUDIO, columns=list("abcde"), index=list("uvwxyz")),
    "series": pd.Series(AUDIO[:, 0], index=range(10, 10 + N)),
    "sparse": sparse.csr_array(AUDIO * (AUDIO > 0)),
    "ragged": RAGGED,
    "strings": np.array(list("abcdef"), dtype=object),
    "list": AUDIO.tolist(),
}


def dense(value):
    """Return rows as a list of arrays or objects, without the code under test."""
    if sparse.issparse(value):
        value = value.toarray()
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    return [np.asarray(row) for row in value]
