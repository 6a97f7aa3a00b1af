"""Save a fitted estimator as arrays and JSON, and load it without running anything of the file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from sklearn_mmfusion._errors import FusionError, InputTypeError, UnsafeFileError
from sklearn_mmfusion._persistence.checks import check_parts
from sklearn_mmfusion._state.atomic_files import check_target, remove_leftovers
from sklearn_mmfusion._state.decoder import Decoder
from sklearn_mmfusion._state.encoder import Encoder
from sklearn_mmfusion._state.hints import Mismatch
from sklearn_mmfusion._state.tensor_files import read_file, write_file
from sklearn_mmfusion._version import __version__

__all__ = ["FORMAT_VERSION", "load", "save_estimator"]

KIND = "sklearn-mmfusion model"
FORMAT_VERSION = 1
_ENTRIES = {"version", "package", "class", "params", "fitted"}
_OLD_LEFTOVER = 3600.0  # seconds after which a temporary file can't be of a save at work

# The estimators that can be saved. A file names one of them and nothing else.
ESTIMATORS = (
    "EarlyFusionClassifier",
    "EarlyFusionRegressor",
    "GAMClassifier",
    "InTenseClassifier",
    "InTenseRegressor",
    "LateFusionClassifier",
    "LateFusionRegressor",
    "MKLClassifier",
    "MKLRegressor",
    "MNLClassifier",
    "MNLRegressor",
    "MROClassifier",
    "MRORegressor",
    "MulTClassifier",
    "MulTRegressor",
    "RAVENClassifier",
    "RAVENRegressor",
    "RoutingClassifier",
    "TensorFusionClassifier",
    "TensorFusionRegressor",
    "UnimodalClassifier",
    "UnimodalRegressor",
)


def _estimator_class(name: Any) -> Any:
    """Return the class of an estimator by its name in the table, None for any other name."""
    import sklearn_mmfusion

    return getattr(sklearn_mmfusion, name) if name in ESTIMATORS else None


def save_estimator(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to a file; see :meth:`FittedFusion.save`."""
    name = type(estimator).__name__
    if _estimator_class(name) is not type(estimator):
        raise InputTypeError(
            f"save writes the estimators of this package, {name} is none of them; use skops for it"
        )
    check_target(path)
    encoder = Encoder()
    params = estimator.get_params(deep=False)
    # A path of this machine, to which loading a file must not make anybody write.
    params.pop("checkpoint", None)
    document = {
        "version": FORMAT_VERSION,
        "package": __version__,
        "class": name,
        "params": {key: encoder.encode(value, Any, key) for key, value in params.items()},
        "fitted": {
            key: encoder.encode(value, hint, key)
            for key, (value, hint) in estimator._saved_parts().items()
        },
    }
    remove_leftovers(path, min_age=_OLD_LEFTOVER)
    write_file(path, KIND, document, encoder.arrays)


def load(path: str | os.PathLike[str], *, trust: Iterable[Any] = ()) -> Any:
    """Load an estimator that ``save`` wrote.

    Nothing in the file is run or imported: it holds arrays and plain values, its class is one of
    this package, and its parameters are checked as ``fit`` checks them. Use it instead of pickle
    for every file that you did not write yourself.

    Parameters
    ----------
    path : str or path-like
        A regular file.
    trust : iterable of class or function, default=()
        Encoders of your own that the file may use: the classes or functions themselves, which
        must be those whose import paths the file names. They are called.

    Returns
    -------
    estimator : object
        The fitted estimator: predictions, contributions and relevance scores are bit for bit
        those of the one that was saved. Its ``checkpoint`` is None.

    Raises
    ------
    UnsafeFileError
        If the file is no model, is damaged, was written by a newer version, holds NaN or infinite
        weights, or names anything that is neither in this package nor in ``trust``; a ValueError.
    FileNotFoundError, PermissionError
        If there is no such file, or it may not be read.

    Examples
    --------
    >>> import numpy as np, sklearn_mmfusion, tempfile
    >>> rng = np.random.default_rng(0)
    >>> X = {"a": rng.normal(size=(200, 4)), "b": rng.normal(size=(200, 5))}
    >>> est = sklearn_mmfusion.MNLClassifier(max_epochs=30, random_state=0)
    >>> est = est.fit(X, X["a"][:, 0] > 0)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     est.save(f"{directory}/model.safetensors")
    ...     loaded = sklearn_mmfusion.load(f"{directory}/model.safetensors")
    >>> bool((loaded.predict_proba(X) == est.predict_proba(X)).all())
    True
    """
    document, arrays = read_file(path, KIND)
    try:
        return _restored(document, Decoder(arrays, trust))
    except Mismatch as error:
        fault: Exception = error
    except FusionError as error:
        fault = error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Parts that are valid one by one and do not fit together.
        fault = error
    except RuntimeError as error:
        fault = error
    raise UnsafeFileError(f"{os.fspath(path)!r} holds no valid model: {fault}") from fault


def _restored(document: dict[str, Any], decoder: Decoder) -> Any:
    version = document.get("version")
    if type(version) is not int or version < 1:
        raise Mismatch(f"its format version is {str(version)[:40]!r}")
    if version > FORMAT_VERSION:
        raise Mismatch(
            f"it was written in format version {version} by sklearn-mmfusion "
            f"{str(document.get('package'))[:40]}, this is {__version__}, which reads up to "
            f"{FORMAT_VERSION}: update the package"
        )
    if document.keys() != _ENTRIES:
        raise Mismatch("entries are missing or unknown")
    kind = _estimator_class(document["class"])
    if kind is None:
        raise Mismatch(f"there is no estimator {str(document['class'])[:40]!r}")
    params, fitted = document["params"], document["fitted"]
    if not isinstance(params, dict) or not isinstance(fitted, dict):
        raise Mismatch("entries are of the wrong type")
    known = set(kind._get_param_names()) - {"checkpoint"}
    if unknown := sorted(key[:40] for key in params.keys() - known):
        raise Mismatch(f"{kind.__name__} has no parameters {unknown[:5]}")
    estimator = kind(**{key: decoder.decode(node, Any, key) for key, node in params.items()})
    estimator._validate_params()
    hints = estimator._saved_hints()
    if fitted.keys() != hints.keys():
        raise Mismatch("fitted parts are missing or unknown")
    parts = {key: decoder.decode(fitted[key], hint, key) for key, hint in hints.items()}
    if decoder.arrays:
        raise Mismatch(f"arrays that nothing uses: {[n[:40] for n in list(decoder.arrays)[:3]]}")
    check_parts(parts)
    estimator._restore(parts)
    return estimator
