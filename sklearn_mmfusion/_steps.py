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
        False where all features are NaN: padding, or a missing modality.
    shape : tuple of int
        (n,) for a flat modality, (n, T) for sequences of one length.
    lengths : ndarray of int of shape (n,) or None
        Number of steps of each ragged sequence.
    """

    values: object
    rows: np.ndarray
    valid: np.ndarray
    shape: tuple
    lengths: np.ndarray | None = None

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
            NaN where nothing was valid. A flat modality without missing rows keeps the
            container of the transformer: a sparse matrix, a DataFrame.

        Raises
        ------
        InputError
            If the transformer changed the number of rows.
        """
        if output.shape[0] != len(self.rows):
            raise InputError(
                f"modality {name!r}: expected a transformer that keeps the {len(self.rows)} rows "
                f"or steps, got {output.shape[0]}."
            )
        if len(self.shape) == 1 and self.lengths is None and self.valid.all():
            return output
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


def as_steps(name, value):
    """Return the valid rows or steps of a modality.

    Parameters
    ----------
    name : str
        Name of the modality, for errors.
    value : array-like of shape (n,), (n, d) or (n, T, d), or object array of (T_i, d)
        The modality, as a ModalityFrame holds it.

    Returns
    -------
    Steps
        Matrix of the valid rows or steps.

    Raises
    ------
    InputError
        If the modality has more than three axes, or is ragged in its features.
    """
    if is_ragged(value):
        row_shape(name, value)
        lengths = np.array([len(row) for row in value])
        steps = np.concatenate([np.asarray(row) for row in value])
        return _select(
            name, steps, np.repeat(np.arange(len(value)), lengths), (len(value),), lengths
        )
    n_samples = value.shape[0]
    if len(value.shape) < 3:
        values = as_dense(name, value) if hasattr(value, "detach") else value
        return _select(name, values, np.arange(n_samples), (n_samples,))
    if len(value.shape) > 3:
        raise InputError(
            f"modality {name!r}: expected shape (n, d) or (n, T, d), got {tuple(value.shape)}. "
            "Reshape it before, or leave it to the encoder with 'passthrough'."
        )
    array = as_dense(name, value)
    steps = array.reshape(-1, array.shape[2])
    rows = np.repeat(np.arange(n_samples), array.shape[1])
    return _select(name, steps, rows, array.shape[:2])


def _select(name, steps, rows, shape, lengths=None):
    """Leave out the steps that are NaN throughout."""
    if steps.shape[-1] == 0:
        raise InputError(f"modality {name!r}: expected at least one feature, got 0 feature(s).")
    if hasattr(steps, "isna"):
        missing = steps.isna().to_numpy()
    elif getattr(steps, "dtype", None) is not None and np.dtype(steps.dtype).kind == "f":
        missing = np.zeros(len(rows), bool) if issparse(steps) else np.isnan(steps)
    else:
        missing = np.zeros(len(rows), dtype=bool)
    valid = ~(missing.all(axis=1) if missing.ndim == 2 else missing)
    if not valid.all():
        steps, rows = take_rows(steps, np.flatnonzero(valid)), rows[valid]
    return Steps(steps, rows, valid, shape, lengths)
