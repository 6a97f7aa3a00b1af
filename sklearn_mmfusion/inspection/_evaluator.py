"""Outputs of a model for rows that are put together from the modalities of different rows.

Everything in this package asks one question: what would the model say if modality m came from
row i_m? An :class:`Evaluator` answers it for an index of rows per modality. Where outputs are
known to be a sum of parts that read some modalities each, the parts answer on their own, so that
an expectation over rows costs as many evaluations as the largest part has combinations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.inspection._encoded import encoded_parts
from sklearn_mmfusion.inspection._parts import Part, index_part
from sklearn_mmfusion.inspection._response import Response, choose_response
from sklearn_mmfusion.inspection._rows import ModalityRows, read_rows

__all__ = ["Evaluator", "fitted_modalities", "make_evaluator"]

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_CHUNK_VALUES = 2**23  # numbers of recombined inputs held at a time: 64 MB in float64


@dataclass
class Evaluator:
    """A model as a function of one row index per modality.

    Attributes
    ----------
    names : list of str
        Modalities, in the order of the columns of an index.
    n_samples : int
        Rows of X; they are rows 0, 1, ... of an index.
    background : ndarray of int
        Rows that expectations run over: those of X, some of them, or rows after those of X.
    constant : ndarray of shape (n_outputs,)
        What is added to the parts.
    parts : list of Part
        Functions of some modalities that add up to the outputs.
    response : Response
        What the outputs are.
    rows : ModalityRows
        The rows themselves.
    is_cached : bool
        Whether parts run on cached encodings.
    """

    names: list[str]
    n_samples: int
    background: Index
    constant: Floats
    parts: list[Part]
    response: Response
    rows: ModalityRows
    is_cached: bool

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return len(self.constant)

    @property
    def output_names(self) -> list[Any]:
        """Names of the outputs."""
        return self.response.names(self.n_outputs)

    @property
    def own_rows(self) -> Index:
        """Rows of X."""
        return np.arange(self.n_samples)

    def evaluate(self, index: Index) -> Floats:
        """Return outputs of recombined rows.

        Parameters
        ----------
        index : ndarray of int of shape (n_rows, n_modalities)
            Row of each modality.

        Returns
        -------
        ndarray of shape (n_rows, n_outputs)
        """
        outputs = np.tile(self.constant, (len(index), 1))
        for part in self.parts:
            outputs += part.evaluate(index[:, list(part.members)])
        return outputs

    @cached_property
    def own_index(self) -> Index:
        """Index of X itself, (n_samples, n_modalities)."""
        return np.repeat(self.own_rows[:, None], len(self.names), axis=1)

    def own_outputs(self) -> Floats:
        """Return the outputs of X itself, (n_samples, n_outputs)."""
        return self.evaluate(self.own_index)


def make_evaluator(
    estimator: Any,
    X: Any,
    *,
    modalities: Any = None,
    response: str = "auto",
    background: Any = None,
    rng: Callable[[], np.random.Generator] = np.random.default_rng,
    cached: bool = True,
) -> Evaluator:
    """Prepare a fitted estimator for inspection on some rows.

    Parameters
    ----------
    estimator : object
        A fitted estimator with predict_proba, decision_function or predict.
    X : mapping, ModalityFrame, DataFrame or array-like
        Rows.
    modalities : mapping, list of str or None, default=None
        Columns of each modality of 2-D input, or the order of those of a mapping.
    response : str, default="auto"
        See :func:`~sklearn_mmfusion.inspection._response.choose_response`.
    background : int, data of the form of X, or None, default=None
        Rows for expectations: None those of X, a number that many of X at random.
    rng : callable
        Returns the generator for a background of some rows.
    cached : bool, default=True
        Whether our own estimators run on cached encodings; False calls them row by row.

    Returns
    -------
    Evaluator
    """
    chosen = choose_response(estimator, response)
    names, groups = fitted_modalities(estimator)
    rows = read_rows(X, modalities, names, groups)
    n = rows.n_samples
    if n == 0:
        raise InputError("X has no rows")
    pool = [X]
    if background is None:
        reference = np.arange(n)
    elif isinstance(background, int | np.integer) and not isinstance(background, bool):
        if not 1 <= background <= n:
            raise InputError(f"background={background}: expected 1 to {n}, the rows of X")
        reference = np.sort(rng().choice(n, int(background), replace=False))
    else:
        other = read_rows(background, modalities, names, groups)
        if other.n_samples == 0:
            raise InputError("background has no rows")
        rows = rows.joined(other)
        reference = np.arange(n, n + other.n_samples)
        pool.append(background)
    if cached:
        found = encoded_parts(_innermost(estimator), chosen.kind, pool, rows)
        if found is not None:
            constant, parts = found
            return Evaluator(rows.names, n, reference, constant, parts, chosen, rows, True)
    part = _plain_part(chosen, rows)
    first = part.evaluate(np.zeros((1, len(rows.names)), dtype=np.intp))
    constant = np.zeros(first.shape[1])
    return Evaluator(rows.names, n, reference, constant, [part], chosen, rows, False)


def _plain_part(response: Response, rows: ModalityRows) -> Part:
    """Return all of a model as one part, which calls the estimator on recombined rows."""
    compute: Callable[[Index], Floats] = lambda index: response.outputs(rows.take(index))  # noqa: E731
    step = max(256, _CHUNK_VALUES // rows.values_per_row)
    return index_part(tuple(range(len(rows.names))), compute, step)


def _innermost(estimator: Any) -> Any:
    """Return the estimator that a search over parameters has refitted, else the estimator."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return estimator


def fitted_modalities(estimator: Any) -> tuple[list[str] | None, Any]:
    """Return names and columns of the modalities that the estimator itself knows."""
    inner = _innermost(estimator)
    schema = getattr(inner, "_schema", None)
    if schema is None or not hasattr(schema, "column_spec"):
        return None, None
    return list(schema.names), schema.column_spec
