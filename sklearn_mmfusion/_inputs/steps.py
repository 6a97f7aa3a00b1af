"""A modality as a matrix of its valid rows or steps, and back."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import issparse

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.data._values import as_dense, is_ragged, row_shape, take_rows

__all__ = ["Steps", "as_steps"]


@dataclass
class Steps:
    """Valid rows of a flat modality, or valid steps of sequences.

    Attributes
    ----------
    values : array-like of shape (n_valid, d) or (n_valid,)
        What a scikit-learn transformer gets.
    rows : ndarray of int of shape (n_valid,)
        Sample that each of them belongs to.
    valid : ndarray of bool of shape (n_steps,)
        False for what the transformer does not get: padding, or a missing modality.
    shape : tuple of int
        (n,) for a flat modality, (n, T) for sequences of one length.
    lengths : ndarray of int of shape (n,) or None
        Number of steps of each ragged sequence.
    index : pandas.Index or None
        Names of the samples, where the modality is a pandas DataFrame.
    """

    values: object
    rows: np.ndarray
    valid: np.ndarray
    shape: tuple
    lengths: np.ndarray | None = None
    index: object = None

    def restore(self, name, output):
        """Return the output of a transformer in the shape of the modality.

        Parameters
        ----------
        name : str
            Name of the modality, for errors.
        output : array-like of shape (n_valid, d_out)
            What the transformer returned.

        Returns
        -------
        array-like of shape (n, d_out) or (n, T, d_out), or object array of (T_i, d_out)
            NaN where nothing was valid. A flat modality keeps the container of the transformer
            where it can: a pandas DataFrame, and without missing rows any, such as a sparse matrix.

        Raises
        ------
        InputError
            If the transformer changed the number of rows.
        """
        if output.shape[0] != len(self.rows):
            raise InputError(
                f"modality {name!r}: expected a transformer that keeps the {len(self.rows)} rows "
                f"or steps, got {output.shape[0]}. One of texts, such as TfidfVectorizer, takes no "
                "table: pass a column of it, frame['name'], or a list of texts."
            )
        if len(self.shape) == 1 and self.lengths is None:
            if self.valid.all():
                return output
            if hasattr(output, "reindex"):
                rows = output.set_axis(self.rows).reindex(np.arange(len(self.valid)))
                return rows if self.index is None else rows.set_axis(self.index)
        output = output.toarray() if issparse(output) else np.asarray(output)
        if not self.valid.all():
            dtype = output.dtype if output.dtype.kind == "f" else np.float64
            filled = np.full((len(self.valid), *output.shape[1:]), np.nan, dtype=dtype)
            filled[self.valid] = output
            output = filled
        if self.lengths is None:
            return output.reshape(*self.shape, *output.shape[1:])
        ragged = np.empty(len(self.lengths), dtype=object)
        ragged[:] = np.split(output, np.cumsum(self.lengths)[:-1])
        return ragged


def as_steps(name, value, absent="keep"):
    """Return the valid rows or steps of a modality.

    Parameters
    ----------
    name : str
        Name of the modality, for errors.
    value : array-like of shape (n,), (n, d) or (n, T, d), or object array of (T_i, d)
        The modality, as a ModalityFrame holds it.
    absent : {"keep", "transform"}, default="keep"
        Whether rows, and steps, that are NaN throughout are left out; "transform" leaves out the
        padding behind the last step with a value only.

    Returns
    -------
    Steps
        Matrix of the valid rows or steps.

    Raises
    ------
    InputError
        If the modality has more than three axes, or is ragged in its features; with
        ``absent="transform"`` also for a sequence without any step, whose length nobody knows.
    """
    if is_ragged(value):
        row_shape(name, value)
        lengths = np.array([len(row) for row in value])
        steps = np.concatenate([np.asarray(row) for row in value])
        rows = np.repeat(np.arange(len(value)), lengths)
        return _select(name, steps, rows, absent, (len(value),), lengths)
    n_samples = value.shape[0]
    if len(value.shape) < 3:
        values = as_dense(name, value) if hasattr(value, "detach") else value
        return _select(name, values, np.arange(n_samples), absent, (n_samples,))
    if len(value.shape) > 3:
        raise InputError(
            f"modality {name!r}: expected shape (n, d) or (n, T, d), got {tuple(value.shape)}. "
            "Reshape it before, or leave it to the encoder with 'passthrough'."
        )
    array = as_dense(name, value)
    steps = array.reshape(-1, array.shape[2])
    rows = np.repeat(np.arange(n_samples), array.shape[1])
    return _select(name, steps, rows, absent, array.shape[:2])


def _select(name, steps, rows, absent, shape, lengths=None):
    """Leave out the steps that are NaN throughout, or with absent="transform" the padding."""
    if steps.shape[-1] == 0:
        raise InputError(f"modality {name!r}: expected at least one feature, got 0 feature(s).")
    if hasattr(steps, "isna"):
        missing = steps.isna().to_numpy()
    elif getattr(steps, "dtype", None) is not None and np.dtype(steps.dtype).kind == "f":
        missing = np.zeros(len(rows), bool) if issparse(steps) else np.isnan(steps)
    elif isinstance(steps, np.ndarray) and steps.dtype == object:  # texts, categories
        missing = np.array([_is_gap(entry) for entry in steps.flat], bool).reshape(steps.shape)
    else:
        missing = np.zeros(len(rows), dtype=bool)
    valid = ~(missing.all(axis=1) if missing.ndim == 2 else missing)
    if absent == "transform":
        is_flat = len(shape) == 1 and lengths is None
        valid = np.ones_like(valid) if is_flat else _up_to_last(name, valid, rows, shape[0])
    index = steps.index if hasattr(steps, "reindex") else None  # lists have an index, too
    if not valid.all():
        steps, rows = take_rows(steps, np.flatnonzero(valid)), rows[valid]
    return Steps(steps, rows, valid, shape, lengths, index)


def _is_gap(entry):
    """Say whether an entry is None, NaN, or a missing value of pandas."""
    if isinstance(entry, str):
        return False
    return entry is None or type(entry).__name__ in ("NAType", "NaTType") or entry != entry


def _up_to_last(name, valid, rows, n_samples):
    """Return for each step whether it, or a later one of its sequence, has a value."""
    last = np.full(n_samples, -1)
    steps = np.flatnonzero(valid)
    np.maximum.at(last, rows[steps], steps)
    empty = np.flatnonzero(last < 0)
    if len(empty):
        raise InputError(
            f"modality {name!r}: expected sequences with a step each, as absent='transform' fills "
            f"steps, got {len(empty)} without any, first in row {empty[0]}: nothing says how long "
            "they should be. Give them steps before, or leave them missing: absent='keep', in a "
            "ModalityTransformer of its own if other modalities are to be filled."
        )
    return np.arange(len(valid)) <= last[rows]
