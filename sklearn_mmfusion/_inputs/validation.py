"""The one place where the user's X, y and sample weights become arrays.

:func:`check_X` takes every form of X to one :class:`~sklearn_mmfusion.data._blocks.ModalityData`
and an :class:`InputSchema`, which a fitted estimator keeps and hands back at prediction.
:func:`check_fit_inputs` adds the target and the weights. Nothing here changes the estimator: a
``fit`` that fails leaves the old fit usable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import InputError, warn
from sklearn_mmfusion._inputs.forms import as_known_form, check_2d, check_mapping
from sklearn_mmfusion._inputs.lazy_blocks import scan
from sklearn_mmfusion._inputs.schema import InputSchema
from sklearn_mmfusion._inputs.terms import check_terms, term_name
from sklearn_mmfusion._inputs.validation_targets import (
    TargetSchema,
    check_sample_weight,
    check_target,
)
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData

__all__ = [
    "InputSchema",
    "TargetSchema",
    "check_X",
    "check_fit_inputs",
    "check_sample_weight",
    "check_target",
    "check_terms",
    "set_input_attributes",
    "term_name",
]

# A modality that fewer rows have, and less than this share of all, is warned of.
_FEW_ROWS, _FEW_SHARE = 10, 0.1


def set_input_attributes(estimator: Any, schema: InputSchema) -> None:
    """Set what scikit-learn and users look up about the X of ``fit``."""
    estimator.n_features_in_ = schema.n_features_in
    estimator.modality_names_ = schema.names
    if schema.feature_names_in is not None:
        estimator.feature_names_in_ = schema.feature_names_in
    elif hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_


def check_X(
    X: Any,
    *,
    estimator: Any,
    modalities: Any = None,
    missing: str = "raise",
    only: str | None = None,
    schema: InputSchema | None = None,
    lazy: bool = False,
) -> tuple[InputSchema, ModalityData]:
    """Check X and return its modalities as arrays.

    Parameters
    ----------
    X : mapping, DataFrame or array-like
        A mapping name to values (``ModalityFrame`` and skorch's ``SliceDict`` too), a DataFrame
        with columns (modality, feature), or a 2-D array or DataFrame.
    estimator : object
        For its name in messages; at prediction from 2-D input scikit-learn's ``n_features_in_``
        and ``feature_names_in_`` are read from it. It is not changed.
    modalities : mapping, list of str or None, default=None
        Columns of each modality for 2-D input, or order and selection for a mapping. Unused when
        ``schema`` is given.
    missing : {"raise", "mask"}, default="raise"
        What a row of NaN in a modality is: an error, or a row without that modality.
    only : str or None, default=None
        The one modality to read; the values of others are not looked at. Unused when ``schema``
        is given.
    schema : InputSchema or None, default=None
        None to infer the schema (``fit``); else that of the fit, which X has to match.
    lazy : bool, default=False
        Whether modalities on disk stay there, unchecked, until ``data.read()``.

    Returns
    -------
    schema : InputSchema
        The given one, or that of X.
    data : ModalityData
        Blocks in the model's order. They may be views of the user's memory.

    Raises
    ------
    InputError, InputTypeError
        With all faults of all modalities in one message.
    """
    X = as_known_form(X)
    if isinstance(X, Mapping):
        schema_out, data = check_mapping(X, estimator, modalities, missing, schema, only)
    else:
        schema_out, data = check_2d(X, estimator, modalities, missing, schema, only)
    if schema is None and data.n_samples == 1:
        raise InputError("n_samples = 1: fit needs at least 2 rows")
    return schema_out, data if lazy else data.read()


def check_fit_inputs(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    classifier: bool,
    schema: InputSchema | None = None,
    classes: Any = None,
    lazy: bool = False,
) -> tuple[InputSchema, ModalityData, TargetSchema, npt.NDArray[Any], npt.NDArray[Any] | None]:
    """Check everything that ``fit`` takes.

    Rows of weight zero are left out, so that they count as if they were not there.

    Parameters
    ----------
    estimator : object
        Its parameters ``modalities``, ``missing`` and ``modality`` are read; it is not changed.
    X, y, sample_weight : object
        As passed by the user.
    classifier : bool
        Whether y holds labels.
    schema : InputSchema or None, default=None
        Schema of an earlier fit that goes on (``partial_fit``, ``warm_start``).
    classes : array-like or None, default=None
        All labels, where known beforehand.
    lazy : bool, default=False
        Whether modalities on disk stay there; they are read through once to check them.

    Returns
    -------
    schema : InputSchema
    data : ModalityData
    target : TargetSchema
    encoded : ndarray
        See :func:`check_target`.
    weights : ndarray of shape (n_samples,) or None

    Raises
    ------
    InputError, InputTypeError
        See :func:`check_X`, :func:`check_target` and :func:`check_sample_weight`.

    Warns
    -----
    UserWarning
        A modality that less than ten rows, and less than a tenth of them, have.
    """
    first_fit = schema is None
    schema, data = check_X(
        X,
        estimator=estimator,
        modalities=getattr(estimator, "modalities", None),
        missing=getattr(estimator, "missing", "raise"),
        only=getattr(estimator, "modality", None),
        schema=schema,
        lazy=lazy,
    )
    weights = check_sample_weight(sample_weight, n_samples=data.n_samples)
    target, encoded = check_target(
        y,
        estimator=estimator,
        classifier=classifier,
        n_samples=data.n_samples,
        sample_weight=weights,
        classes=classes,
    )
    data = scan(data)
    if weights is not None and not weights.all():
        rows = np.flatnonzero(weights)
        data, weights = _drop_rows(data, rows), weights[rows]
    if first_fit:
        if data.n_samples == 1:
            raise InputError("n_samples = 1 with a positive weight: fit needs at least 2 rows")
        for block in data.blocks:
            if block.present is not None and not block.present.any():
                msg = f"modality {block.name!r}: missing in every row of the training data"
                raise InputError(msg)
            _warn_of_few(block)
    return schema, data, target, encoded, weights


def _warn_of_few(block: ModalityBlock) -> None:
    """Warn of a modality that a handful of many rows have."""
    if block.present is None:
        return
    n, n_present = len(block.present), int(block.present.sum())
    if n_present < _FEW_ROWS and n_present < _FEW_SHARE * n:
        warn(
            f"modality {block.name!r}: {n_present} of {n} training rows have it, too few to learn "
            "from: for new rows that have it the model goes by what these say. Leave the modality "
            "out, or collect more",
            UserWarning,
        )


def _drop_rows(data: ModalityData, rows: npt.NDArray[np.intp]) -> ModalityData:
    """Return the rows, without masks that these rows do not need."""
    kept = data.take(rows)
    for block in kept.blocks:
        if block.present is not None and block.present.all():
            block.present = None
        if block.lengths is not None:
            lengths = block.lengths if block.present is None else block.lengths[block.present]
            if (lengths == block.values.shape[1]).all():
                block.lengths = None
    return kept
