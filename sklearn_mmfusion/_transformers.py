"""Preprocessing of each modality by a transformer of its own."""

import numpy as np
from scipy.sparse import issparse
from sklearn.base import _fit_context, clone
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions
from sklearn.utils._set_output import _safe_set_output
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._errors import FusionMemoryError, InputError, InputTypeError
from sklearn_mmfusion._frame_transformers import (
    FrameTransformer,
    ModalityConcatenator,
    ModalitySelector,
    as_frame,
)
from sklearn_mmfusion._inputs.steps import as_steps
from sklearn_mmfusion._training.available_memory import available_memory
from sklearn_mmfusion._training.progress import FitTask
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.data._values import raise_faults

__all__ = ["ModalityConcatenator", "ModalitySelector", "ModalityTransformer"]


# What comes out are modalities: set_output is for the transformers inside.
class ModalityTransformer(  # type: ignore[call-arg]  # scikit-learn is untyped
    FrameTransformer, _BaseComposition, auto_wrap_output_keys=None
):
    """Apply a scikit-learn transformer of its own to each modality.

    Use it in a Pipeline in front of an estimator that takes modalities: scale one, reduce
    another by PCA, vectorise the texts of a third.

    Sequences ``(n, T, d)`` and ragged sequences are transformed step by step, as a matrix of
    shape ``(n_steps, d)``. Steps and rows that are NaN throughout are padding or missing: they
    are left out, and stay NaN in the output; ``absent="transform"`` is for transformers that fill
    such rows, above all where a modality has a single column.

    Parameters
    ----------
    transformers : list of (str, transformer) tuples
        Name of a modality and what to apply to it: a scikit-learn transformer,
        ``"passthrough"`` or ``"drop"``.
    remainder : {"passthrough", "drop"}, default="passthrough"
        What happens to modalities that are not named.
    sparse_output : bool, default=False
        Whether modalities that are sparse matrices, such as the output of ``TfidfVectorizer`` and
        ``OneHotEncoder``, stay sparse. By default they become arrays, which is what estimators of
        this package take.
    absent : {"keep", "transform"}, default="keep"
        What happens to rows that lack a modality: all their values are missing. "keep" leaves
        them out, so that they stay missing, for an estimator with ``missing="mask"``.
        "transform" shows them to the transformer as they are, so that a ``SimpleImputer`` fills
        them and a ``OneHotEncoder`` makes a category of them. Of a sequence, missing steps in
        front of the last one with a value are shown then; a sequence without any is an error.

    Attributes
    ----------
    transformers_ : list of (str, transformer) tuples
        The fitted transformers, in the order of the modalities seen in ``fit``.
    named_transformers_ : Bunch
        The same by name.
    modality_names_ : list of str
        Names of the modalities seen in ``fit``.
    n_features_in_ : int
        Number of modalities seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_modalities,)
        Names of the modalities seen in ``fit``.

    Notes
    -----
    The output is a :class:`~sklearn_mmfusion.ModalityFrame`, not a matrix:
    ``get_feature_names_out`` names modalities, and ``set_output`` is for the transformers inside.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_mmfusion import ModalityTransformer
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(6, 4, 3)), "audio": rng.normal(size=(6, 5))}
    >>> ModalityTransformer([("text", StandardScaler()), ("audio", PCA(2))]).fit_transform(X)
    ModalityFrame: 6 samples, 2 modalities
      'text'   (6, 4, 3)  float64
      'audio'  (6, 2)     float64

    Texts and categories:

    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.preprocessing import OneHotEncoder
    >>> X = {"notes": ["good film", "bad film"], "ward": [["A"], ["B"]]}
    >>> encode = ModalityTransformer([("notes", TfidfVectorizer()), ("ward", OneHotEncoder())])
    >>> encode.fit_transform(X)
    ModalityFrame: 2 samples, 2 modalities
      'notes'  (2, 3)  float64
      'ward'   (2, 2)  float64

    A gap in a modality of one column is a row without the modality, unless it is to be filled:

    >>> from sklearn.impute import SimpleImputer
    >>> impute = ModalityTransformer([("age", SimpleImputer())], absent="transform")
    >>> impute.fit_transform({"age": [[30.0], [np.nan], [50.0]]})["age"].ravel()
    array([30., 40., 50.])
    """

    _parameter_constraints = {
        "transformers": [list],
        "remainder": [StrOptions({"passthrough", "drop"})],
        "sparse_output": ["boolean"],
        "absent": [StrOptions({"keep", "transform"})],
    }

    def __init__(
        self, transformers, *, remainder="passthrough", sparse_output=False, absent="keep"
    ):
        self.transformers = transformers
        self.remainder = remainder
        self.sparse_output = sparse_output
        self.absent = absent

    def get_params(self, deep=True):
        """Return the parameters, with ``deep`` those of the transformers by modality.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return ``audio`` and ``audio__n_components`` beside ``transformers``.

        Returns
        -------
        dict
            Name of the parameter to its value.
        """
        return self._get_params("transformers", deep=deep)

    def set_params(self, **params):
        """Set parameters: ``remainder="drop"``, ``audio=PCA()``, ``audio__n_components=4``.

        Parameters
        ----------
        **params : dict
            Names as in :meth:`get_params`.

        Returns
        -------
        self : ModalityTransformer
            The transformer itself.
        """
        self._set_params("transformers", **params)
        return self

    @property
    def named_transformers_(self):
        """Fitted transformers by modality, as a Bunch."""
        check_is_fitted(self)
        return Bunch(**dict(self.transformers_))

    def fit(self, X, y=None):
        """Fit every transformer on its modality.

        Parameters
        ----------
        X : mapping of str to array-like or DataFrame
            Modalities: a dict, a ModalityFrame, a SliceDict, a DataFrame with the columns
            (modality, feature).
        y : array-like of shape (n_samples,), default=None
            Target, handed to the transformers; repeated for each step of a sequence.

        Returns
        -------
        self : ModalityTransformer
            The fitted transformer.
        """
        self.fit_transform(X, y)
        return self

    # The nested transformers check parameters of their own.
    @_fit_context(prefer_skip_nested_validation=False)
    def fit_transform(self, X, y=None):
        """Fit every transformer on its modality, and transform.

        Parameters
        ----------
        X : mapping of str to array-like or DataFrame
            Modalities: a dict, a ModalityFrame, a SliceDict, a DataFrame with the columns
            (modality, feature).
        y : array-like of shape (n_samples,), default=None
            Target, handed to the transformers; repeated for each step of a sequence.

        Returns
        -------
        ModalityFrame
            Transformed modalities, in the order of X.

        Raises
        ------
        FusionMemoryError
            A sparse matrix would not fit in memory as an array.
        InputError
            A transformer refuses its modality, or with ``absent="transform"`` a sequence has no
            step with a value.
        """
        task = FitTask(self, X, y)
        task.begin(0)
        steps = self._check_transformers()
        frame = as_frame(X)
        unknown = [name for name in steps if name not in frame]
        if unknown:
            raise InputError(
                f"transformers: expected names of the modalities {frame.columns}, got {unknown}. "
                "Rename the entries or pass these modalities."
            )
        fitted = [(name, clone(steps.get(name, self.remainder), safe=False)) for name in frame]
        widths = {}
        outputs = {}
        for name, transformer in fitted:
            if isinstance(transformer, str):
                outputs[name] = frame[name]
                continue
            matrix = as_steps(name, frame[name], self.absent)
            y_steps = None if y is None else np.asarray(y)[matrix.rows]
            output = _call(name, transformer, "fit_transform", matrix.values, y_steps)
            outputs[name] = matrix.restore(name, output)
            widths[name] = output.shape[1:]
        self._start(frame)
        self.transformers_ = fitted
        self._widths = widths
        task.end()
        return self._keep(outputs)

    def transform(self, X):
        """Transform every modality.

        Parameters
        ----------
        X : mapping of str to array-like or DataFrame
            The modalities of ``fit``, in any order.

        Returns
        -------
        ModalityFrame
            Transformed modalities, in the order of ``fit``.
        """
        frame = self._resume(X)
        outputs = {}
        for name, transformer in self.transformers_:
            if isinstance(transformer, str):
                outputs[name] = frame[name]
                continue
            matrix = as_steps(name, frame[name], self.absent)
            if len(matrix.rows):
                output = _call(name, transformer, "transform", matrix.values)
            else:  # scikit-learn refuses to transform nothing
                output = np.empty((0, *self._widths[name]))
            outputs[name] = matrix.restore(name, output)
        return self._keep(outputs)

    def set_output(self, *, transform=None):
        """Set the container that the transformers return for their modality.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            Container of each transformed modality; with "pandas" columns keep their names, also
            behind a :class:`ModalityConcatenator`. None changes nothing.

        Returns
        -------
        self : ModalityTransformer
            The transformer itself; its output is a ModalityFrame as before.
        """
        for _, step in [*self.transformers, *getattr(self, "transformers_", [])]:
            if not isinstance(step, str):
                _safe_set_output(step, transform=transform)
        return self

    def get_feature_names_out(self, input_features=None):
        """Return the names of the modalities that come out.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Not used but checked: the names of the modalities, if given.

        Returns
        -------
        ndarray of str of shape (n_modalities,)
            Names in the order of the output; :class:`ModalityConcatenator` names columns.
        """
        check_is_fitted(self)
        self._check_names(input_features)
        kept = [name for name, step in self.transformers_ if not _is_dropped(step)]
        return np.asarray(kept, dtype=object)

    def _check_transformers(self):
        """Return the transformers by name."""
        faults = []
        for entry in self.transformers:
            pair = isinstance(entry, list | tuple) and len(entry) == 2
            if not pair or not isinstance(entry[0], str):
                faults.append(
                    InputTypeError(
                        "transformers: expected pairs such as ('audio', StandardScaler()), got "
                        f"{entry!r}."
                    )
                )
            elif not _is_transformer(entry[1]):
                faults.append(
                    InputTypeError(
                        f"modality {entry[0]!r}: expected an instance with fit and transform, "
                        f"'passthrough' or 'drop', got {entry[1]!r}."
                    )
                )
        raise_faults(faults)
        self._validate_names([name for name, _ in self.transformers])
        return dict(self.transformers)

    def _keep(self, outputs):
        """Return the modalities that are not dropped."""
        steps = dict(self.transformers_)
        kept = {name: outputs[name] for name in outputs if not _is_dropped(steps[name])}
        if not kept:
            raise InputError("transformers: expected a modality to stay, got 'drop' for all.")
        if not self.sparse_output:
            kept = {name: _densified(name, value) for name, value in kept.items()}
        return ModalityFrame(kept)


def _is_transformer(step):
    if isinstance(step, str):
        return step in {"passthrough", "drop"}
    has_fit = hasattr(step, "fit") or hasattr(step, "fit_transform")
    return has_fit and hasattr(step, "transform") and not isinstance(step, type)


def _is_dropped(step):
    return isinstance(step, str) and step == "drop"


def _densified(name, value):
    """Return a sparse matrix as an array, where there is memory for one."""
    if not issparse(value):
        return value
    n_bytes = value.shape[0] * value.shape[1] * value.dtype.itemsize
    available = available_memory()
    if available is not None and n_bytes > available:
        raise FusionMemoryError(
            f"modality {name!r}: the sparse matrix of shape {value.shape} would take "
            f"{n_bytes / 2**20:.0f} MiB as an array, and {available / 2**20:.0f} MiB of memory "
            "are available. Keep fewer columns (max_features= of a vectorizer), reduce them by "
            "TruncatedSVD in a pipeline with it, or pass sparse_output=True."
        )
    return value.toarray()


def _call(name, transformer, method, *args):
    """Call a nested transformer; its errors get the name of the modality."""
    if method == "fit_transform" and not hasattr(transformer, method):
        return _call(name, _call(name, transformer, "fit", *args), "transform", args[0])
    try:
        return getattr(transformer, method)(*args)
    except (TypeError, ValueError) as error:
        kind = InputError if isinstance(error, ValueError) else InputTypeError
        raise kind(f"modality {name!r}, {type(transformer).__name__}: {error}") from error
