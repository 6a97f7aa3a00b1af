"""Numbers of each modality that a model reads, for bent effects of it alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sklearn_mmfusion._fitted import FittedFusion
from sklearn_mmfusion._fitting.stand_ins import leading_components, standardized
from sklearn_mmfusion._inputs.lazy_blocks import is_lazy
from sklearn_mmfusion._inputs.validation import check_X
from sklearn_mmfusion.data import ModalityBlock, ModalityData
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork

__all__ = ["modality_features"]

Floats = npt.NDArray[np.float64]

_N_VALUES = 32  # flat features, or components of more
_N_ENCODED = 16  # components of an encoding


def modality_features(estimator: Any, X: Any) -> dict[str, Floats]:
    """Return standardised features of each modality, 0 in rows without it.

    Its values where they are flat, and components of its encoding where it has one of its own.

    Parameters
    ----------
    estimator : fitted additive estimator
        The model.
    X : object
        Rows in the form of ``fit``.

    Returns
    -------
    dict of str to ndarray of shape (n_samples, n_features)
        Features by modality; none of one that is not flat and has no encoding.
    """
    _, data = check_X(
        X,
        estimator=estimator,
        modalities=getattr(estimator, "modalities", None),
        missing=getattr(estimator, "missing", "raise"),
        only=getattr(estimator, "modality", None),
        schema=getattr(estimator, "_schema", None),
        lazy=True,
    )
    encodings = _encodings(estimator, X)
    return {block.name: _features(block, encodings.get(block.name)) for block in data.blocks}


def _features(block: ModalityBlock, encoding: Floats | None) -> Floats:
    n = len(block.values)
    there = np.ones(n, bool) if block.present is None else block.present
    parts = []
    if not is_lazy(ModalityData([block])) and block.values.ndim == 2 and not block.codes:
        values = np.asarray(block.values[there], np.float64)
        few = values.shape[1] <= _N_VALUES
        parts.append(standardized(values) if few else leading_components(values, _N_VALUES))
    if encoding is not None:
        parts.append(leading_components(encoding[there], _N_ENCODED))
    found = np.zeros((n, sum(part.shape[1] for part in parts)))
    if parts:
        found[there] = np.hstack(parts)
    return found


def _encodings(estimator: Any, X: Any) -> dict[str, Floats]:
    """Return encodings by modality, of all members side by side; none of a joint encoder."""
    if not isinstance(estimator, FittedFusion) or estimator._result.plan.is_joint:
        return {}
    data, names = estimator._check_rows(X), estimator._result.plan.names
    found: dict[str, list[Floats]] = {}
    for module in estimator._modules():
        used = sorted(module.used)
        widths: list[int] = []

        def compute(
            network: FusionNetwork,
            batch: FusionBatch,
            used: list[int] = used,
            widths: list[int] = widths,
        ) -> torch.Tensor:
            encodings = network.encode(batch, batch.present)
            widths[:] = [encodings[m].shape[1] for m in used]
            return torch.cat([encodings[m] for m in used], 1)

        whole = estimator._map_data(data, module, compute)
        parts = np.split(whole, np.cumsum(widths)[:-1], axis=1)
        for m, part in zip(used, parts, strict=True):
            found.setdefault(names[m], []).append(part)
    return {name: np.hstack(parts) for name, parts in found.items()}
