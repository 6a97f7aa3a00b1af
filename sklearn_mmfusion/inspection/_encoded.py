"""Our own estimators from cached encodings: every modality of every row is encoded once.

Letters: n row, m modality, t term, k output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sklearn_mmfusion._fitted import FittedFusion
from sklearn_mmfusion._fitting.data import FitResult
from sklearn_mmfusion._training.devices import intra_op_threads, usual_device
from sklearn_mmfusion.inspection._parts import Part, table_part
from sklearn_mmfusion.inspection._products import Product, listed
from sklearn_mmfusion.inspection._routed_outputs import routed_function
from sklearn_mmfusion.inspection._rows import ModalityRows
from sklearn_mmfusion.inspection._tensor_outputs import tensor_function
from sklearn_mmfusion.inspection._term_functions import is_sum_of_terms, term_function
from sklearn_mmfusion.modules.concatenation import PerceptronFusion, TensorFeatures
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork
from sklearn_mmfusion.modules.routing import Routing
from sklearn_mmfusion.modules.term_vectors import TermVectors

__all__ = ["encoded_parts"]

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_VALUES = 2**18  # numbers within the fusion for a chunk of combinations: 2 MB, about a cache
_FLOOR = 1e-12
_LINKED_ROWS = 2**16  # combinations to turn into probabilities at a time


def encoded_parts(
    estimator: Any, kind: str, pool: Sequence[Any], rows: ModalityRows
) -> tuple[Floats, list[Part]] | None:
    """Return constant and parts of an estimator of this package.

    Parameters
    ----------
    estimator : object
        A fitted estimator.
    kind : str
        Kind of the response.
    pool : sequence of X
        Data whose rows an index counts, one after the other.
    rows : ModalityRows
        The same rows, for the order of the modalities and their columns.

    Returns
    -------
    tuple of ndarray and list of Part, or None
        None for estimators of others, for joint encoders, which have no encoding per modality,
        and for responses that are no function of the raw outputs.
    """
    wants_raw = kind == ("decision_function" if hasattr(estimator, "classes_") else "predict")
    if not hasattr(estimator, "_raw_outputs") or not _same_columns(estimator, rows):
        return None
    if kind in ("predict_proba", "log_proba"):
        raw = encoded_parts(estimator, "decision_function", pool, rows)
        return None if raw is None else _linked(estimator, kind, *raw)
    if not wants_raw:
        return None
    place = {name: i for i, name in enumerate(rows.names)}
    if isinstance(estimator, FittedFusion):
        if estimator._result.plan.is_joint:
            return None
        if not is_sum_of_terms(estimator.module_):
            return _whole(_encode(estimator, pool), place)
        modules = estimator._modules()
        if any(len(term) > 1 for module in modules for term in module.features.terms):
            parts = []
            for member in range(len(modules)):
                parts += _terms(_encode(estimator, pool, member), place)
            return np.array(estimator.intercept_, dtype=np.float64), parts
    elif any(len(term) > 1 for term in estimator.term_modalities_):
        return None
    contributions = np.concatenate([estimator.contributions(X) for X in pool])
    # An interaction that a network was fitted without, and left out, adds 0.
    parts = [
        table_part(place[term[0]], contributions[:, t])
        for t, term in enumerate(estimator.term_modalities_)
        if len(term) == 1
    ]
    return np.array(estimator.intercept_, dtype=np.float64), parts


def _same_columns(estimator: Any, rows: ModalityRows) -> bool:
    """Whether the modalities of 2-D input are those of the estimator, in any order."""
    schema = estimator._schema
    if not rows.groups or schema.column_spec is None:
        return not rows.groups and schema.form == "mapping"
    groups, known = rows.groups, schema.column_spec
    return len(groups) == len(known) and all(group in known for group in groups)


def _linked(
    estimator: Any, kind: str, constant: Floats, parts: list[Part]
) -> tuple[Floats, list[Part]]:
    """Return probabilities, which are no sum of parts, as one part."""
    members = sorted({m for part in parts for m in part.members})
    reads = [[members.index(m) for m in part.members] for part in parts]

    def compute(product: Product) -> Floats:
        outputs = np.tile(constant, (*product.shape, 1))
        for part, mine in zip(parts, reads, strict=True):
            values = part.evaluate_product(product.of(mine))
            outputs += product.spread(mine, values)
        flat = outputs.reshape(-1, len(constant))
        probabilities = np.asarray(estimator._probabilities(flat), dtype=np.float64)
        if kind == "log_proba":
            probabilities = np.log(np.maximum(probabilities, _FLOOR))
        return probabilities.reshape(*product.shape, -1)

    n_outputs = compute(listed(np.zeros((1, len(members)), dtype=np.intp))).shape[1]
    return np.zeros(n_outputs), [Part(tuple(members), compute, _LINKED_ROWS)]


@dataclass(frozen=True)
class _Encoded:
    """Encodings of all rows.

    Attributes
    ----------
    estimator : FittedFusion
        The estimator.
    member : int
        Which of its networks, whose outputs are averaged.
    encodings : list of Tensor of shape (n, d_m)
        In the order of the network; empty for modalities that no term uses.
    present : list of bool Tensor of shape (n,) or None
        Rows in which the modality is there.
    """

    estimator: FittedFusion
    member: int
    encodings: list[Tensor]
    present: list[Tensor | None]

    @property
    def module(self) -> FusionNetwork:
        return self.estimator._modules()[self.member]

    @property
    def result(self) -> FitResult:
        return self.estimator._results[self.member]

    def run(self, function: Callable[[], Tensor]) -> Floats:
        """Compute something in y's units, without its mean: the share of the member."""
        threads = intra_op_threads(self.estimator.n_threads)
        with threads, usual_device(), torch.inference_mode():
            values: Floats = function().numpy()
        return values * (self.result.target_scale.scale / len(self.estimator._results))


def _encode(estimator: FittedFusion, pool: Sequence[Any], member: int = 0) -> _Encoded:
    """Encode the rows of all data by one network."""
    network, names = estimator._modules()[member], estimator._result.plan.names
    used = network.used
    widths: list[int] = []

    def compute(module: FusionNetwork, batch: FusionBatch) -> Tensor:
        encodings = module.encode(batch, batch.present)
        columns = [encodings[m] for m in used]
        widths[:] = [column.shape[1] for column in columns]
        for mask in batch.present:
            there = torch.ones(len(batch)) if mask is None else mask
            columns.append(there.to(module.dtype)[:, None])
        return torch.cat(columns, 1)

    blocks = [estimator._map_data(estimator._check_rows(X), network, compute) for X in pool]
    found = torch.from_numpy(np.concatenate(blocks))
    by_modality = dict(zip(used, found[:, : sum(widths)].split(widths, 1), strict=True))
    encodings = [by_modality.get(m, found.new_empty(0)) for m in range(len(names))]
    masks = (found[:, sum(widths) :] > 0).T
    present = [None if bool(mask.all()) else mask.contiguous() for mask in masks]
    return _Encoded(estimator, member, [e.contiguous() for e in encodings], present)


def _whole(encoded: _Encoded, place: dict[str, int]) -> tuple[Floats, list[Part]]:
    """Return term features and fusion as one part."""
    module, result = encoded.module, encoded.result
    columns = [place[name] for name in result.plan.names]
    n_outputs = result.plan.n_outputs
    constant = np.broadcast_to(result.target_scale.mean, (n_outputs,)).astype(np.float64)
    with torch.inference_mode():
        function, width = _whole_function(module, encoded.encodings, encoded.present)
    return constant, [Part(tuple(columns), _computed(encoded, function), max(64, _VALUES // width))]


def _whole_function(
    module: FusionNetwork, encodings: Sequence[Tensor], present: Sequence[Tensor | None]
) -> tuple[Callable[[Product], Tensor], int]:
    """Return all outputs as a function of rows, and how many numbers a combination makes."""
    features, fusion = module.features, module.fusion
    if isinstance(fusion, Routing) and isinstance(features, TermVectors):
        return routed_function(features, fusion, encodings, present)
    plain = isinstance(fusion, PerceptronFusion) and not fusion.residual
    if plain and isinstance(features, TensorFeatures):
        return tensor_function(features, fusion, encodings, present)

    def function(rows: Product) -> Tensor:
        chosen = torch.from_numpy(np.ascontiguousarray(rows.written_out().T))
        own = [e[row] if e.ndim == 2 else e for e, row in zip(encodings, chosen, strict=True)]
        there = [m if m is None else m[row] for m, row in zip(present, chosen, strict=True)]
        outputs: Tensor = fusion(features(own, there, None))
        return outputs.reshape(*rows.shape, -1)

    return function, max(1, int(fusion.values_per_row))


def _terms(encoded: _Encoded, place: dict[str, int]) -> list[Part]:
    """Return one part per term; single modalities are tables."""
    module, names = encoded.module, encoded.result.plan.names
    features, fusion = module.features, module.fusion
    parts = []
    for t, term in enumerate(features.terms):
        members = tuple(place[names[m]] for m in term)
        with torch.inference_mode():
            function, width = term_function(features, fusion, encoded.encodings, encoded.present, t)
        if len(term) == 1:
            rows = torch.arange(len(encoded.encodings[term[0]]))
            part = Part(members, _computed(encoded, function), max(64, _VALUES // width))
            parts.append(table_part(members[0], part.evaluate(rows.numpy()[:, None])))
        else:
            parts.append(Part(members, _computed(encoded, function), max(64, _VALUES // width)))
    return parts


def _computed(
    encoded: _Encoded, function: Callable[[Product], Tensor]
) -> Callable[[Product], Floats]:
    return lambda rows: encoded.run(lambda: function(rows))
