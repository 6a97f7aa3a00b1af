"""Transformers that select or concatenate modalities, and what all of ours share."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._inputs.modality_values import feature_names, names_fault, split_levels
from sklearn_mmfusion._training.progress import CallbackSupport, FitTask
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.data._values import as_dense, is_ragged, raise_faults, row_shape

__all__ = ["FrameTransformer", "ModalityConcatenator", "ModalitySelector", "as_frame"]


def as_frame(X):
    """Return X as a frame; it must be a mapping with at least one modality."""
    frame = X if isinstance(X, ModalityFrame) else ModalityFrame(split_levels(X))
    if not frame.columns:
        raise InputError("X: expected at least one modality, got none.")
    return frame


class FrameTransformer(CallbackSupport, TransformerMixin):
    """What transformers over modalities share: names are checked in one place."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.dict = True
        tags.input_tags.sparse = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        return tags

    def _start(self, X):
        """Remember the names of X, as scikit-learn remembers those of columns."""
        frame = as_frame(X)
        self.modality_names_ = frame.columns
        self.n_features_in_ = len(frame.columns)
        self.feature_names_in_ = np.asarray(frame.columns, dtype=object)
        self._feature_names = {name: feature_names(value) for name, value in frame.items()}
        return frame

    def _resume(self, X):
        """Return X in the order of fit; names of columns must be those of fit."""
        check_is_fitted(self)
        frame = as_frame(X)
        missing = [name for name in self.modality_names_ if name not in frame]
        unexpected = [name for name in frame if name not in self.modality_names_]
        if missing or unexpected:
            raise InputError(
                f"X: expected the modalities {self.modality_names_} of fit, missing: {missing}, "
                f"unexpected: {unexpected}. Pass all modalities under the names of fit; NaN rows "
                "stand for a missing one."
            )
        faults = [
            InputError(f"modality {name!r}: {fault}.")
            for name in self.modality_names_
            if (fault := names_fault(feature_names(frame[name]), self._feature_names[name]))
            is not None
        ]
        raise_faults(faults)
        return frame[self.modality_names_]

    def _check_names(self, input_features):
        """Refuse names of other modalities than those of fit."""
        if input_features is not None and list(input_features) != self.modality_names_:
            raise InputError(
                f"input_features is not equal to feature_names_in_: expected "
                f"{self.modality_names_}, got {list(input_features)}."
            )


# What comes out are modalities, in the containers in which they came in.
class ModalitySelector(  # type: ignore[call-arg]  # scikit-learn is untyped
    FrameTransformer, BaseEstimator, auto_wrap_output_keys=None
):
    """Keep some modalities, in the order asked for.

    Use it to compare models on subsets of the modalities, as a step whose ``names`` can be
    searched over.

    Parameters
    ----------
    names : str or list of str
        Modalities to keep. ``transform`` needs these only.

    Attributes
    ----------
    modality_names_ : list of str
        Names of the modalities seen in ``fit``.
    n_features_in_ : int
        Number of modalities seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_modalities,)
        Names of the modalities seen in ``fit``.

    Examples
    --------
    >>> from sklearn_mmfusion import ModalitySelector
    >>> ModalitySelector(["audio"]).fit_transform({"text": [[1.0]], "audio": [[2.0]]})
    ModalityFrame: 1 sample, 1 modality
      'audio'  (1, 1)  float64
    """

    _parameter_constraints = {"names": [str, "array-like"]}

    def __init__(self, names):
        self.names = names

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check that the modalities are there.

        Parameters
        ----------
        X : mapping of str to array-like or DataFrame
            Modalities: a dict, a ModalityFrame, a SliceDict, a DataFrame with the columns
            (modality, feature).
        y : None
            Ignored.

        Returns
        -------
        self : ModalitySelector
            The fitted selector.
        """
        task = FitTask(self, X, y)
        task.begin(0)
        self._select(as_frame(X))
        self._start(X)
        task.end()
        return self

    def transform(self, X):
        """Return the selected modalities.

        Parameters
        ----------
        X : mapping of str to array-like or DataFrame
            At least the selected modalities.

        Returns
        -------
        ModalityFrame
            The selected modalities, in the order of ``names``; arrays are not copied.
        """
        check_is_fitted(self)
        return self._select(as_frame(X))

    def set_output(self, *, transform=None):
        """Change nothing: modalities stay in their containers.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            Not used; so that a Pipeline with this step can be told its output.

        Returns
        -------
        self : ModalitySelector
            The selector itself.
        """
        return self

    def get_feature_names_out(self, input_features=None):
        """Return the names of the modalities that are kept.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Not used but checked: the names of the modalities, if given.

        Returns
        -------
        ndarray of str of shape (n_selected,)
            In the order of ``names``.
        """
        check_is_fitted(self)
        self._check_names(input_features)
        names = [self.names] if isinstance(self.names, str) else list(self.names)
        return np.asarray(names, dtype=object)

    def _select(self, frame):
        names = [self.names] if isinstance(self.names, str) else list(self.names)
        unknown = [name for name in names if name not in frame]
        if unknown or not names or len(set(names)) < len(names):
            raise InputError(
                f"names: expected different names of the modalities {frame.columns}, at least "
                f"one, got {names}{f', unknown: {unknown}' if unknown else ''}."
            )
        return frame[names]


class ModalityConcatenator(FrameTransformer, BaseEstimator):
    """Put all modalities side by side in one matrix, for estimators that take no modalities.

    Sequences and images are flattened, ragged sequences first padded with NaN to the longest of
    ``fit``. The usual early-fusion baseline is
    ``make_pipeline(ModalityConcatenator(), LogisticRegression())``; put a ``SimpleImputer``
    between the two where something is padded or missing.

    Attributes
    ----------
    layout_ : dict of str to slice or (slice, tuple)
        Columns of each modality, with the shape of one row where it is not flat.
    modality_names_ : list of str
        Names of the modalities seen in ``fit``.
    n_features_in_ : int
        Number of modalities seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_modalities,)
        Names of the modalities seen in ``fit``.

    Examples
    --------
    >>> from sklearn_mmfusion import ModalityConcatenator
    >>> concatenator = ModalityConcatenator()
    >>> concatenator.fit_transform({"text": [[1.0, 2.0]], "audio": [[3.0]]})
    array([[1., 2., 3.]])
    >>> concatenator.get_feature_names_out()
    array(['text__0', 'text__1', 'audio__0'], dtype=object)
    """

    _parameter_constraints: dict = {}

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Remember names and shapes of the modalities.

        Parameters
        ----------
        X : mapping of str to array-like or DataFrame
            Modalities: a dict, a ModalityFrame, a SliceDict, a DataFrame with the columns
            (modality, feature).
        y : None
            Ignored.

        Returns
        -------
        self : ModalityConcatenator
            The fitted transformer.
        """
        task = FitTask(self, X, y)
        task.begin(0)
        frame = as_frame(X)
        layout = frame.layout()
        columns = {name: getattr(value, "columns", None) for name, value in frame.items()}
        self._start(frame)
        self.layout_ = layout
        self._ragged = {name for name, value in frame.items() if is_ragged(value)}
        self._columns = {name: list(c) for name, c in columns.items() if c is not None}
        task.end()
        return self

    def transform(self, X):
        """Return the modalities as one matrix.

        Parameters
        ----------
        X : mapping of str to array-like or DataFrame
            The modalities of ``fit``, in any order.

        Returns
        -------
        ndarray of shape (n_samples, n_columns)
            Flattened modalities in the order of ``fit``.
        """
        frame = self._resume(X)
        padded = {name: self._pad(name, frame[name]) for name in frame}
        return ModalityFrame(padded).to_2d()

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Not used but checked: the names of the modalities, if given.

        Returns
        -------
        ndarray of str of shape (n_columns,)
            ``"audio__0"``, ``"audio__pitch"`` for columns of a DataFrame, ``"text__0_2"`` for
            the third feature of the first step of a sequence.
        """
        check_is_fitted(self)
        self._check_names(input_features)
        names = []
        for name in self.modality_names_:
            shape = self._row_shape(name)
            columns = self._columns.get(name) or [
                "_".join(map(str, position)) for position in np.ndindex(*shape)
            ]
            names += [f"{name}__{column}" for column in columns]
        return np.asarray(names, dtype=object)

    def _row_shape(self, name):
        place = self.layout_[name]
        return (place.stop - place.start,) if isinstance(place, slice) else place[1]

    def _pad(self, name, value):
        """Check the shape of a modality; fill ragged sequences up to the length of fit."""
        expected = self._row_shape(name)
        ragged = is_ragged(value)
        got = row_shape(name, value) or (1,)
        if got == expected and not ragged:
            return value
        # Ragged sequences that happen to be of one length may have become an array.
        if not (ragged or name in self._ragged) or got[1:] != expected[1:] or got[0] > expected[0]:
            raise InputError(
                f"modality {name!r}: expected rows of shape {expected} as in fit, got {got}. Give "
                "every row the same features, and pad sequences to one length before the split."
            )
        array = as_dense(name, value)
        filled = np.full((len(array), *expected), np.nan, dtype=array.dtype)
        filled[:, : got[0]] = array
        return filled
