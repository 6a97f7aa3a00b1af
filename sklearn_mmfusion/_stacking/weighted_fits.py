"""Fits with sample weights of estimators that take them, or parts of which do."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

__all__ = ["fit_weighted"]


def fit_weighted(
    estimator: Any,
    inputs: npt.NDArray[Any],
    y: npt.NDArray[Any],
    weight: npt.NDArray[np.float64] | None,
) -> Any:
    """Fit with weights where the estimator, or the steps of a pipeline, take them.

    Parameters
    ----------
    estimator : estimator
        A clone of the user's. Where scikit-learn routes metadata, the weights are requested for
        those of its parts that take them and of which the user has not said whether they should.
    inputs, y : ndarray
        What to fit it to.
    weight : ndarray of shape (n_samples,) or None
        Row weights.

    Returns
    -------
    estimator
        The same, fitted.

    Raises
    ------
    ValueError
        If it takes weights, but not where metadata are routed.
    """
    if weight is None:
        return estimator.fit(inputs, y)
    if get_config()["enable_metadata_routing"]:
        _request_weights(estimator)
        places = ["sample_weight"] if _consumes_weights(estimator) else []
    else:
        places = _places(estimator)
    return estimator.fit(inputs, y, **dict.fromkeys(places, weight))


def _places(estimator: Any, prefix: str = "") -> list[str]:
    """Return the arguments of ``fit`` that are weights, those of steps by their names."""
    if isinstance(estimator, Pipeline):
        steps = [_places(step, f"{prefix}{name}__") for name, step in estimator.steps]
        return [place for places in steps for place in places]
    return [f"{prefix}sample_weight"] if has_fit_parameter(estimator, "sample_weight") else []


def _request_weights(estimator: Any) -> None:
    """Request weights for each part that takes them, unless the user has decided.

    Searches hand them on to the score of what they search, too.
    """
    for part in [estimator, *estimator.get_params(deep=True).values()]:
        if isinstance(part, type) or not hasattr(part, "_get_metadata_request"):
            continue
        request = part._get_metadata_request()
        for method, asked in (("fit", request.fit), ("score", request.score)):
            if asked.requests.get("sample_weight", "not taken") is None:
                getattr(part, f"set_{method}_request")(sample_weight=True)


def _consumes_weights(estimator: Any) -> bool:
    if not hasattr(estimator, "get_metadata_routing"):
        return bool(has_fit_parameter(estimator, "sample_weight"))
    try:
        return bool(get_routing_for_object(estimator).consumes("fit", ["sample_weight"]))
    except NotImplementedError as error:  # AdaBoost, for one
        if not _places(estimator):
            return False
        raise ValueError(
            "scikit-learn does not route sample weights to it; fit with metadata routing off"
        ) from error
