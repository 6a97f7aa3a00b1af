"""The papers' settings per data set, as parameters for the constructors.

A preset holds what its source publishes and this package has a parameter for. What the source does
not say stays at the default, and :func:`describe_preset` tells what differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from skorch.callbacks import GradientNormClipping

from sklearn_mmfusion._encoders.mult import MulTEncoder
from sklearn_mmfusion._encoders.sequences import GRUEncoder
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._inputs.modality_spec import hint

__all__ = ["available_presets", "describe_preset", "get_preset"]

Parameters = dict[str, Any]


@dataclass(frozen=True)
class _Source:
    """Where settings are from, and where they differ from there."""

    reference: str
    differences: str


_INTENSE = _Source(
    'Varshneya et al. (2024), "Interpretable Tensor Fusion": the settings in the training scripts '
    "that the authors publish",
    "the rate of the encoders' dropout is not named, and is 0 here; the learning rate falls by a "
    "tenth every 500 steps of a scheduler there, and not at all here.",
)
_MULT = _Source(
    'Tsai et al. (2019), "Multimodal Transformer for Unaligned Multimodal Language Sequences", '
    "table 5",
    "temporal convolutions have kernels of one step here (there 1, 3 or 5); text embedding (there "
    "0.2 or 0.3) and output (0.1) have the dropout of the attention blocks; the learning rate "
    "does not fall. Adam is AdamW without decay.",
)
_ROUTING = _Source(
    'Tsai et al. (2020), "Multimodal Routing", and the script that the authors publish for the '
    "sentiment of MOSEI",
    "weight decay is decoupled here, and part of the gradient there; the learning rate does not "
    "fall (there by a factor of 10 after 5 epochs without progress); unimodal streams have 7 "
    "layers, there 3. The script sets all activations to 1; the paper and this package learn them.",
)


def _epochs(n: int) -> Parameters:
    """Return settings for so many epochs, of which the best on held-out rows is kept."""
    return {"max_epochs": n, "n_iter_no_change": n, "early_stopping": True, "lr_decay": 1.0}


def _gru(**hidden_dims: int) -> Parameters:
    return {"encoders": {name: GRUEncoder(hidden_dim=h) for name, h in hidden_dims.items()}}


def _intense_mosi() -> Parameters:
    return {
        **_gru(text=64, audio=32, vision=32),
        "interactions": [("text", "vision")],
        "latent_dim": 8,
        "p": 1,
        "reg": 0.05,
        "loss": "absolute_error",
        "batch_size": 16,
        "lr": 5e-3,
        "weight_decay": 0.01,
        **_epochs(200),
    }


def _mnl_mustard() -> Parameters:
    return {
        **_gru(text=512, audio=128, vision=512),
        "p": 1,
        "reg": 0.01,
        "batch_size": 32,
        "lr": 1e-3,
        "weight_decay": 0.01,
        **_epochs(100),
    }


def _mult(batch_size: int, lr: float, n_heads: int, dropout: float, clip: float) -> Parameters:
    return {
        "encoders": MulTEncoder(hidden_dim=40, n_layers=4, n_heads=n_heads, dropout=dropout),
        "batch_size": batch_size,
        "lr": lr,
        "weight_decay": 0.0,
        "callbacks": [GradientNormClipping(clip)],
    }


def _mult_mosi() -> Parameters:
    return {**_mult(128, 1e-3, 10, 0.2, 0.8), "loss": "absolute_error", **_epochs(100)}


def _mult_mosei() -> Parameters:
    return {**_mult(16, 1e-3, 8, 0.1, 1.0), "loss": "absolute_error", **_epochs(20)}


def _mult_iemocap() -> Parameters:
    return {**_mult(32, 2e-3, 10, 0.25, 0.8), **_epochs(30)}


def _gam() -> Parameters:
    return {
        "encoders": MulTEncoder(hidden_dim=200, n_layers=7, n_heads=20, dropout=0.0),
        "feature_dim": 64,
        "dropout": 0.5,
        "batch_size": 32,
        "lr": 1e-4,
        "weight_decay": 1e-4,
        "callbacks": [GradientNormClipping(1.0)],
        **_epochs(20),
    }


def _routing() -> Parameters:
    return {**_gam(), "concept_dim": 64, "n_routing_iter": 1}


def _uniform_routing() -> Parameters:
    return {**_routing(), "n_routing_iter": 0}


def _slowly(make: Callable[[], Parameters]) -> Callable[[], Parameters]:
    return lambda: {**make(), "lr": 1e-5}


# (method, data set) -> what makes the parameters, and where they are from.
_PRESETS: dict[tuple[str, str], tuple[Callable[[], Parameters], _Source]] = {
    ("intense", "mosi"): (_intense_mosi, _INTENSE),
    ("mnl", "mustard"): (_mnl_mustard, _INTENSE),
    ("mult", "mosi"): (_mult_mosi, _MULT),
    ("mult", "mosei"): (_mult_mosei, _MULT),
    ("mult", "iemocap"): (_mult_iemocap, _MULT),
    ("routing", "mosei"): (_routing, _ROUTING),
    ("routing", "mosei_emotions"): (_slowly(_routing), _ROUTING),
    ("routing", "iemocap"): (_routing, _ROUTING),
    ("routing*", "mosei"): (_uniform_routing, _ROUTING),
    ("routing*", "mosei_emotions"): (_slowly(_uniform_routing), _ROUTING),
    ("routing*", "iemocap"): (_uniform_routing, _ROUTING),
    ("gam", "mosei"): (_gam, _ROUTING),
    ("gam", "mosei_emotions"): (_slowly(_gam), _ROUTING),
    ("gam", "iemocap"): (_gam, _ROUTING),
}


def available_presets() -> list[tuple[str, str]]:
    """Return the pairs of method and data set that have a preset.

    Returns
    -------
    list of (str, str)
        Method and data set, as :func:`get_preset` takes them.

    Examples
    --------
    >>> from sklearn_mmfusion.presets import available_presets
    >>> ("intense", "mosi") in available_presets()
    True
    """
    return list(_PRESETS)


def get_preset(method: str, data_set: str) -> Parameters:
    """Return the published settings of a method on a data set.

    Use them to repeat a paper; the defaults of the estimators do better on small data. Modalities
    are called ``"text"``, ``"audio"`` and ``"vision"``, as the loaders name them. The best epoch
    is chosen on held-out rows: pass the data set's own to ``fit`` as ``X_val`` and ``y_val``.

    Parameters
    ----------
    method : str
        ``"intense"`` or ``"mult"`` for the regressors of a sentiment (``"mult"`` on
        ``"iemocap"``: the classifier); ``"mnl"``, ``"routing"``, ``"routing*"`` (without
        iterations) or ``"gam"`` for the classifiers. Routing takes sentiment as seven classes.
    data_set : str
        ``"mosi"``, ``"mosei"`` (sentiment), ``"mosei_emotions"``, ``"iemocap"`` or
        ``"mustard"``.

    Returns
    -------
    dict of str to object
        Parameters of the constructor, with new encoders each time.

    Raises
    ------
    InputError
        For a pair without a preset: what the papers do not publish is not made up here.

    Examples
    --------
    >>> from sklearn_mmfusion import InTenseRegressor
    >>> from sklearn_mmfusion.presets import get_preset
    >>> InTenseRegressor(**get_preset("intense", "mosi"), random_state=0).reg
    0.05
    """
    return _find(method, data_set)[0]()


def describe_preset(method: str, data_set: str) -> str:
    """Say where a preset is from, and in what it differs from there.

    Parameters
    ----------
    method : str
        Method, see :func:`get_preset`.
    data_set : str
        Data set, see :func:`get_preset`.

    Returns
    -------
    str
        Two sentences or more.

    Raises
    ------
    InputError
        For a pair without a preset.

    Examples
    --------
    >>> from sklearn_mmfusion.presets import describe_preset
    >>> print(describe_preset("mult", "mosi").split(":")[0])
    mult on mosi
    """
    source = _find(method, data_set)[1]
    return f"{method} on {data_set}: {source.reference}. What differs: {source.differences}"


def _find(method: str, data_set: str) -> tuple[Callable[[], Parameters], _Source]:
    found = _PRESETS.get((method, data_set))
    if found is not None:
        return found
    names = [" on ".join(pair) for pair in _PRESETS]
    raise InputError(
        f"no preset for {method!r} on {data_set!r}: its settings are not published, or not known "
        f"here; there are {', '.join(names)}{hint([f'{method} on {data_set}'], names)}"
    )
