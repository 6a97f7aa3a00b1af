"""A container of modalities that scikit-learn can split, search over and permute."""

from __future__ import annotations

import difflib
import html
import math
from collections.abc import ItemsView, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from sklearn_mmfusion._errors import FusionError, InputError, InputTypeError
from sklearn_mmfusion.data._indexing import Column, Indexer, as_names, as_rows
from sklearn_mmfusion.data._row_labels import check_row_labels, labelled_like, take_all
from sklearn_mmfusion.data._values import (
    Rows,
    as_dense,
    as_value,
    copy_value,
    describe,
    equal_values,
    raise_faults,
    row_shape,
)

__all__ = ["ModalityFrame", "check_modality_name"]

_ARRAY_RECIPE = (
    "A ModalityFrame is not one array: its modalities have shapes of their own. In front of an "
    "estimator that takes no modalities put a ModalityConcatenator: "
    "make_pipeline(ModalityConcatenator(), LogisticRegression()).fit(X, y). For "
    "meta-estimators around ours that insist on an array (BaggingClassifier, OneVsOneClassifier, "
    "ClassifierChain, SelfTrainingClassifier, OutputCodeClassifier, stacking with "
    "passthrough=True) use X.to_2d() with modalities=X.layout(): "
    "BaggingClassifier(InTenseClassifier(modalities=X.layout())).fit(X.to_2d(), y). "
    "ClassifierChain appends columns: leave the slice of the last modality open, "
    "slice(start, None)"
)


class ModalityFrame(MutableMapping[str, Any]):
    """Modalities of the same samples, as a mapping with the manners of a DataFrame.

    A plain dict works in ``fit`` and ``predict``, but scikit-learn's splitters take its number
    of modalities for the number of samples. Wrap it once, and cross-validation, searches,
    calibration, stacking and permutation importance work unmodified.

    Iterating gives names, ``len`` and ``shape[0]`` count samples, ``keys()`` counts names, and
    ``==`` compares the arrays (NaN equals NaN). Rows are taken as from a DataFrame
    (``X.iloc[rows]``, ``X.loc[mask]``, ``X.take(rows)``) or an array (``X[10:20]``,
    ``X[mask]``): slices are views, and nothing but the asked rows is copied. One integer
    gives a frame of one row, since estimators need the sample axis.

    Rows of different modalities are matched by position. DataFrames among them must have equal
    labels, where they have any: row numbers from 0, as by default, are none.

    Parameters
    ----------
    modalities : mapping of str to array-like, default=empty
        Name and values of each modality, one row per sample: numpy arrays of any number of
        axes, memory maps, torch tensors, DataFrames and Series, sparse matrices (kept as CSR),
        lists of rows, and ragged sequences as lists or object arrays of ``(T_i, d)``. Names are
        non-empty strings without ``"."``, ``"__"`` and ``" x "``. Arrays are not copied.

    Raises
    ------
    InputTypeError
        If the argument is no mapping, a name is no string, or a value has no rows.
    InputError
        If a name is invalid, modalities differ in their number of rows, or DataFrames have
        different labels, or the same in different orders. All faults of all modalities are
        listed in one error.

    Notes
    -----
    :func:`sklearn.inspection.permutation_importance` permutes whole modalities of a frame,
    which gives a relevance of each modality for any estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion.data import ModalityFrame
    >>> X = ModalityFrame({"text": np.zeros((6, 4, 3)), "audio": np.ones((6, 5))})
    >>> len(X), X.shape, list(X)
    (6, (6, 2), ['text', 'audio'])
    >>> X[:2]
    ModalityFrame: 2 samples, 2 modalities
      'text'   (2, 4, 3)  float64
      'audio'  (2, 5)     float64
    """

    ndim = 2
    device = "cpu"  # read by array_api_dispatch=True, beside __array_namespace__

    def __init__(self, modalities: Mapping[str, Any] | None = None, /) -> None:
        modalities = {} if modalities is None else modalities
        # scipy.sparse.dok_array is a dict, so sparse goes first.
        if issparse(modalities) or not isinstance(modalities, Mapping):
            is_table = hasattr(modalities, "columns")
            raise InputTypeError(
                "X: expected a mapping of modality names to arrays, got "
                f"{type(modalities).__name__}. Name the modalities: ModalityFrame("
                + (
                    "{'lab': X[lab_columns], 'scan': X[scan_columns]})"
                    if is_table
                    else "{'text': text, 'audio': audio})"
                )
            )
        self._data: dict[str, Any] = {}
        faults: list[FusionError] = []
        for name, value in modalities.items():
            try:
                check_modality_name(name)
                self._data[name] = _as_modality(name, value)
            except FusionError as fault:
                faults.append(fault)
        counts = {name: value.shape[0] for name, value in self._data.items()}
        if len(set(counts.values())) > 1:
            faults.append(_different_rows("modalities", counts))
        faults += check_row_labels(self._data.items())
        raise_faults(faults)

    # Mapping -----------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        """Return a modality (a name), some modalities (names) or some rows (anything else)."""
        if isinstance(key, str):
            if key not in self._data:
                raise KeyError(_unknown_name(key, self.columns))
            return self._data[key]
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            return self._take(as_rows(key[0], self.n_samples))
        if isinstance(key, tuple) or (not isinstance(key, slice) and np.ndim(key) == 0):
            raise KeyError(
                f"expected a modality name of {self.columns}, a list of names, or rows as a "
                f"slice, mask or index array, got {key!r}. One row is X[i:i + 1] or X.iloc[i]."
            )
        names = as_names(key)
        if names is not None:
            return type(self)({name: self[name] for name in names})
        return self._take(as_rows(key, self.n_samples))

    def __setitem__(self, name: str, value: Any) -> None:
        """Set a modality; all other modalities must have as many rows."""
        check_modality_name(name)
        is_column = isinstance(value, Column)
        value = _as_modality(name, value)
        others = {other: v for other, v in self._data.items() if other != name}
        if others and value.shape[0] != self.n_samples:
            counts = {other: v.shape[0] for other, v in others.items()}
            raise _different_rows(f"modality {name!r}", counts | {name: value.shape[0]})
        # The rows of a column, permuted or not, take the places of those that they replace.
        if is_column:
            value = labelled_like(value, self._data.get(name))
        raise_faults(check_row_labels([*others.items(), (name, value)]))
        self._data[name] = value

    def __delitem__(self, name: str) -> None:
        """Remove a modality."""
        if name not in self:
            raise KeyError(_unknown_name(name, self.columns))
        del self._data[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._data)

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.n_samples

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a modality of this name."""
        return isinstance(name, str) and name in self._data

    # The views of collections.abc count with len(mapping), which here means samples; those of
    # the inner dict count names.
    def keys(self) -> KeysView[str]:
        """Return a view of the names, whose length is the number of modalities."""
        return self._data.keys()

    def values(self) -> ValuesView[Any]:
        """Return a view of the arrays."""
        return self._data.values()

    def items(self) -> ItemsView[str, Any]:
        """Return a view of (name, array) pairs."""
        return self._data.items()

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        """Tell whether the other mapping has the same names and equal arrays, NaN included."""
        if not isinstance(other, Mapping):
            return NotImplemented
        theirs = dict(other.items())
        if self._data.keys() != theirs.keys():
            return False
        if not isinstance(other, ModalityFrame):  # its values may be lists, or have no rows at all
            try:
                theirs = {name: _as_modality(name, value) for name, value in theirs.items()}
            except FusionError:
                return False
        return all(equal_values(value, theirs[name]) for name, value in self._data.items())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the class and its arrays, so that joblib can memory-map each of them."""
        return type(self), (self._data,)

    # DataFrame ---------------------------------------------------------------------------

    @property
    def n_samples(self) -> int:
        """Number of rows of every modality; 0 without modalities."""
        return next((int(value.shape[0]) for value in self._data.values()), 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of samples and number of modalities."""
        return self.n_samples, len(self._data)

    @property
    def columns(self) -> list[str]:
        """Names of the modalities."""
        return list(self._data)

    @property
    def index(self) -> npt.NDArray[np.intp]:
        """Labels of the rows, which are their positions."""
        return np.arange(self.n_samples)

    @property
    def iloc(self) -> Indexer:
        """Rows and modalities by position: ``X.iloc[rows]``, ``X.iloc[rows, j]``.

        Its presence sends scikit-learn's row indexing the way of DataFrames.
        """
        return Indexer(self._data, type(self), by_name=False)

    @property
    def loc(self) -> Indexer:
        """Rows by mask or label, modalities by name: ``X.loc[mask, ["text"]]``."""
        return Indexer(self._data, type(self), by_name=True)

    def take(self, indices: Any, axis: int = 0) -> ModalityFrame:
        """Return the rows (``axis=0``) or modalities (``axis=1``) at integer positions."""
        key = indices if axis == 0 else (slice(None), np.atleast_1d(indices))
        taken: ModalityFrame = self.iloc[key]
        return taken

    def copy(self, deep: bool = True) -> ModalityFrame:
        """Return a frame with arrays of its own, or with the same arrays if ``deep=False``."""
        copied = {name: copy_value(v) if deep else v for name, v in self._data.items()}
        return type(self)(copied)

    def _take(self, rows: Rows) -> ModalityFrame:
        return type(self)(take_all(self._data, self._data, rows))

    # Array -------------------------------------------------------------------------------

    def __array_namespace__(self, api_version: str | None = None) -> ModuleType:
        """Return numpy, as scikit-learn asks under ``array_api_dispatch=True``."""
        return np

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse the conversion, which would give an array of no use, and say what to do."""
        raise InputTypeError(_ARRAY_RECIPE)

    def layout(self) -> dict[str, slice | tuple[slice, tuple[int, ...]]]:
        """Return where each modality lies in :meth:`to_2d`.

        Returns
        -------
        dict
            Name to a slice of columns, or to ``(slice, shape)`` for a modality that is not
            flat: the value of an estimator's ``modalities`` that fits ``to_2d()``.

        Examples
        --------
        >>> import numpy as np
        >>> X = ModalityFrame({"text": np.zeros((6, 4, 3)), "audio": np.ones((6, 5))})
        >>> X.layout()
        {'text': (slice(0, 12, None), (4, 3)), 'audio': slice(12, 17, None)}
        """
        layout: dict[str, slice | tuple[slice, tuple[int, ...]]] = {}
        start = 0
        for name, value in self._data.items():
            shape = row_shape(name, value)
            columns = slice(start, start + math.prod(shape))
            layout[name] = (columns, shape) if len(shape) > 1 else columns
            start = columns.stop
        return layout

    def to_2d(self) -> npt.NDArray[Any]:
        """Return all modalities side by side in one array.

        Returns
        -------
        ndarray of shape (n_samples, n_columns)
            Flattened modalities in the order of the frame, in the smallest dtype that holds
            them all. Ragged sequences are padded with NaN to the longest one.

        Raises
        ------
        InputError
            If a modality holds something else than real numbers.
        """
        arrays = [as_dense(name, value) for name, value in self._data.items()]
        widths = [math.prod(array.shape[1:]) for array in arrays]
        flat = [
            array.reshape(self.n_samples, size) for array, size in zip(arrays, widths, strict=True)
        ]
        return np.concatenate(flat, axis=1) if flat else np.empty((0, 0))

    # Display -----------------------------------------------------------------------------

    def _table(self) -> list[tuple[str, str, str]]:
        # repr escapes line breaks and control characters in names.
        return [(repr(name), *describe(value)) for name, value in self._data.items()]

    def _caption(self) -> str:
        words = [
            f"{count} {word if count == 1 else plural}"
            for count, word, plural in zip(
                self.shape, ("sample", "modality"), ("samples", "modalities"), strict=True
            )
        ]
        return f"{type(self).__name__}: {', '.join(words)}"

    def __repr__(self) -> str:
        """Return names, shapes and dtypes as a table."""
        table = self._table()
        pads = [max((len(row[i]) for row in table), default=0) for i in range(2)]
        lines = [f"  {row[0]:<{pads[0]}}  {row[1]:<{pads[1]}}  {row[2]}" for row in table]
        return "\n".join([self._caption(), *lines])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
            for row in self._table()
        )
        head = "<tr><th>modality</th><th>shape</th><th>dtype</th></tr>"
        caption = f"<caption>{html.escape(self._caption())}</caption>"
        return f"<table>{caption}<thead>{head}</thead><tbody>{cells}</tbody></table>"


def check_modality_name(name: object) -> None:
    """Check that a name can serve as a modality's.

    Raises
    ------
    InputTypeError
        If the name is no string.
    InputError
        If it is empty, or holds ``"."``, ``"__"`` or ``" x "``.
    """
    if not isinstance(name, str):
        raise InputTypeError(
            f"modality names must be str, got {name!r} of type {type(name).__name__}. Write it "
            f"as a string: {str(name)!r}."
        )
    if not name.strip() or any(mark in name for mark in (".", "__", " x ")):
        raise InputError(
            f"modality {name!r}: invalid modality name. Expected a non-empty string without '.' "
            "and '__', which separate the parts of nested parameters, and without ' x ', which "
            "joins the names of a term. Rename the modality."
        )


def _as_modality(name: str, value: Any) -> Any:
    return as_value(name, value.values if isinstance(value, Column) else value)


def _different_rows(subject: str, counts: Mapping[str, int]) -> InputError:
    listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
    return InputError(
        f"{subject}: expected the same number of rows in every modality, got {listed}. Give one "
        "row per sample; rows of a missing modality are NaN."
    )


def _unknown_name(name: object, known: list[str]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"no modality {name!r}; the modalities are {known}.{hint}"
