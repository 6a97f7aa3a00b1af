"""Choosing encoders: by shape, by name, and through nested parameters.

The one place from which the rest of the package imports encoder parameter objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from sklearn.base import clone
from torch import nn

from sklearn_mmfusion._encoders.convolutions import Conv1dEncoder, Conv2dEncoder
from sklearn_mmfusion._encoders.mult import MulTEncoder
from sklearn_mmfusion._encoders.sequences import GRUEncoder, LSTMEncoder, TransformerEncoder
from sklearn_mmfusion._encoders.specs import (
    AT_LEAST_ONE,
    PROBABILITY,
    BaseEncoder,
    IdentityEncoder,
    LinearEncoder,
    MLPEncoder,
    ModuleEncoder,
    SummaryEncoder,
)
from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._inputs.modality_spec import no_modality
from sklearn_mmfusion._inputs.nested_params import by_modality, nested_params, take_nested
from sklearn_mmfusion._rows.splitting import SPARE_ROWS
from sklearn_mmfusion.data._blocks import ModalityLayout

__all__ = [
    "SMALL_SAMPLE",
    "BaseEncoder",
    "Conv1dEncoder",
    "Conv2dEncoder",
    "EncoderByShape",
    "EncodersMixin",
    "GRUEncoder",
    "IdentityEncoder",
    "LSTMEncoder",
    "LinearEncoder",
    "MLPEncoder",
    "ModuleEncoder",
    "MulTEncoder",
    "SummaryEncoder",
    "TransformerEncoder",
    "as_fixed",
    "on_components",
    "resolve_encoders",
]

SMALL_SAMPLE = 1000
"""Up to this many rows the choice by shape keeps to encoders that have little to learn."""

_SUMMARY_WIDTH = 32  # of a linear map behind a summary, at most
_N_COMPONENTS = 16  # tried in place of more than twice as many features

_FLAT = {"hidden_dim": 128, "skip": True, "dropout": 0.5, "input_dropout": 0.2, "n_quantiles": 32}

_WANTED = (
    "an encoder such as MLPEncoder(), 'auto', a torch.nn.Module or a callable layout -> nn.Module"
)
_LONGEST = 80  # characters of an estimator in a message


class EncoderByShape(BaseEncoder):
    """Choose the encoder by the shape of the modality and the number of rows.

    This is what ``encoders="auto"`` means. Name it where something of the choice should be
    other than the default, or searched, without fixing the kind of encoder.

    ==================================  =====================  =====================
    shape                               up to 1000 rows        more rows
    ==================================  =====================  =====================
    (n, d)                              MLPEncoder             MLPEncoder
    (n, T, d)                           SummaryEncoder         GRUEncoder
    (n, H, W) uint8, (n, C, H, W),      Conv2dEncoder          Conv2dEncoder
    (n, H, W, C)
    ==================================  =====================  =====================

    The MLPEncoder has 128 hidden units, a linear path beside them (``skip=True``), dropout 0.5
    and 0.2 on its inputs, and takes each feature's place among 32 quantiles of the training rows
    beside its value. The SummaryEncoder puts the same network behind the summary.

    Up to 5000 rows other encoders are tried too, and kept if their loss on held-out rows is lower,
    above 1000 rows by two standard errors. Where a modality has more than 32 flat features,
    estimators with an encoder for each modality are fitted to its first 16 principal components as
    well (``n_components=16``); up to 1000 rows, where one has more than 2000, no perceptron of all
    of them is tried. MNL and InTense try linear encoders, on features and on components:
    a LinearEncoder for the MLPEncoder and a SummaryEncoder without the network. Up to 1000 rows
    those on features are kept unless perceptrons are better by a standard error, and where a
    modality is wide, components that no encoder maps (an IdentityEncoder of each modality) unless
    what was kept before is. ``encoders_`` has what was kept.

    Parameters
    ----------
    hidden_dim : int, default=None
        Hidden width. A number makes it MLPEncoder, or GRUEncoder, whatever the number of rows,
        and no others are tried; for images it is the number of channels of the last
        layer. None: chosen.
    output_dim : int, default=None
        Width of the representation. None: chosen.
    dropout : float, default=None
        Dropout probability of the encoder, from 0 to 1. None: chosen.

    Examples
    --------
    >>> from sklearn_mmfusion import EncoderByShape
    >>> EncoderByShape(hidden_dim=64)
    EncoderByShape(hidden_dim=64)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_dim": [AT_LEAST_ONE, None],
        "output_dim": [AT_LEAST_ONE, None],
        "dropout": [PROBABILITY, None],
    }

    def __init__(
        self,
        *,
        hidden_dim: int | None = None,
        output_dim: int | None = None,
        dropout: float | None = None,
    ) -> None:
        self.hidden_dim = hidden_dim
        self.output_dim = output_dim
        self.dropout = dropout

    def resolve(
        self, layout: ModalityLayout, n_samples: int, *, linear: bool = False
    ) -> BaseEncoder:
        """Return the encoder chosen.

        Parameters
        ----------
        layout : ModalityLayout
            Name, shape and dtype of the modality.
        n_samples : int
            Number of training rows.
        linear : bool, default=False
            Whether to return the linear encoder that is tried beside it, if there is one.

        Returns
        -------
        BaseEncoder
            A new parameter object of one of the other classes.

        Raises
        ------
        InputError
            If a parameter is invalid, or no encoder is for the shape.
        """
        try:
            self._validate_params()
        except ValueError as error:
            raise InputError(f"modality {layout.name!r}: {error}") from error
        given: dict[str, Any] = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if value is not None and name != "hidden_dim"
        }
        is_free = self.hidden_dim is None
        is_small = is_free and n_samples <= SMALL_SAMPLE
        hidden: dict[str, Any] = {} if self.hidden_dim is None else {"hidden_dim": self.hidden_dim}
        n_axes = len(layout.shape)
        flat = MLPEncoder(**{**_FLAT, **hidden, **given})
        if n_axes == 1:
            linear = linear and is_free and n_samples <= SPARE_ROWS
            return LinearEncoder(**given) if linear else flat
        if n_axes == 3 or (n_axes == 2 and layout.dtype == "uint8"):
            if self.hidden_dim is not None:
                given["channels"] = tuple(max(1, self.hidden_dim // part) for part in (4, 2, 1))
            return Conv2dEncoder(**given)
        if n_axes == 2:
            if not is_small:
                return GRUEncoder(**hidden, **given)
            # A learned map is as wide as it has to be: relevance is not that of 5 d numbers then.
            mapped = {"output_dim": min(5 * layout.shape[-1], _SUMMARY_WIDTH), **given}
            return SummaryEncoder(**mapped) if linear else SummaryEncoder(head=flat)
        raise self._refuse(
            layout,
            "2-D (n, d), 3-D (n, T, d) or (n, H, W), and 4-D (n, C, H, W) or (n, H, W, C)",
            "name an encoder for it, such as ModuleEncoder(module=...)",
        )

    def _build(self, layout: ModalityLayout) -> nn.Module:
        # Called on its own it does not know the number of rows; an estimator resolves it first.
        return self.resolve(layout, SMALL_SAMPLE + 1).build(layout)


def resolve_encoders(
    encoders: Any, layouts: Sequence[ModalityLayout], n_samples: int, *, linear: bool = False
) -> list[BaseEncoder]:
    """Return one concrete encoder for each modality.

    Parameters
    ----------
    encoders : object
        "auto"; one encoder, module or factory for all modalities; a mapping or a list of pairs
        name -> encoder | "auto" | nn.Module | factory. Modalities that are not named are "auto".
    layouts : sequence of ModalityLayout
        The modalities in the order of the model.
    n_samples : int
        Number of training rows.
    linear : bool, default=False
        Whether a choice by shape is the linear encoder, where there is one.

    Returns
    -------
    list of BaseEncoder
        New parameter objects in the order of ``layouts``; nothing of the user's is changed.

    Raises
    ------
    InputError
        For unknown or repeated names, and where no encoder takes a shape. The faults of all
        modalities come in one message.
    InputTypeError
        For an entry that is no encoder.
    """
    names = [layout.name for layout in layouts]
    if _is_container(encoders):
        pairs = _pairs(encoders)
        _check_names([name for name, _ in pairs], names)
        by_name = dict(pairs)
    else:
        by_name = dict.fromkeys(names, encoders)
    resolved: list[BaseEncoder] = []
    faults: list[str] = []
    for layout in layouts:
        encoder = by_name.get(layout.name, "auto")
        if not _is_encoder(encoder):
            raise InputTypeError(
                f"modality {layout.name!r}: expected {_WANTED}; got {_describe(encoder)}"
                f"{_wrapped(encoder)}"
            )
        try:
            resolved.append(_resolve_one(encoder, layout, n_samples, linear))
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))
    return resolved


def on_components(
    encoders: Sequence[BaseEncoder],
    free: Sequence[bool],
    layouts: Sequence[ModalityLayout],
) -> list[BaseEncoder]:
    """Return encoders of principal components where there are many features.

    Parameters
    ----------
    encoders : sequence of BaseEncoder
        The encoders of the modalities.
    free : sequence of bool
        Whether each was chosen by shape, and not by the user.
    layouts : sequence of ModalityLayout
        The modalities.
    """
    found = []
    for encoder, is_free, layout in zip(encoders, free, layouts, strict=True):
        # With an encoder for each order of terms the kind is a parameter.
        kind, prefix = getattr(encoder, "encoder", None), "encoder__"
        if not isinstance(kind, BaseEncoder):
            kind, prefix = encoder, ""
        is_flat = isinstance(kind, MLPEncoder | LinearEncoder)
        if is_free and is_flat and layout.shape[0] > 2 * _N_COMPONENTS:
            encoder = clone(encoder).set_params(**{f"{prefix}n_components": _N_COMPONENTS})
        found.append(encoder)
    return found


def as_fixed(encoder: BaseEncoder) -> BaseEncoder:
    """Return the encoder that hands on what a linear one would map, if nothing speaks for the map.

    Parameters
    ----------
    encoder : BaseEncoder
        An encoder that was chosen by shape.
    """
    if not isinstance(encoder, LinearEncoder) or encoder.output_dim or encoder.dropout:
        return encoder
    return IdentityEncoder(n_components=encoder.n_components)


def _resolve_one(encoder: Any, layout: ModalityLayout, n_samples: int, linear: bool) -> BaseEncoder:
    """Return the concrete encoder of one modality."""
    if isinstance(encoder, str):
        encoder = EncoderByShape()
    if isinstance(encoder, EncoderByShape):
        return encoder.resolve(layout, n_samples, linear=linear)
    if hasattr(encoder, "build"):
        copied: BaseEncoder = clone(encoder)
        return copied
    return ModuleEncoder(module=encoder)


def _is_encoder(value: Any) -> bool:
    """Return whether a value can stand for the encoder of one modality."""
    if isinstance(value, str):
        return value == "auto"
    if isinstance(value, type):  # GRUEncoder instead of GRUEncoder(); a Module class is a factory
        return issubclass(value, nn.Module)
    if hasattr(value, "get_params"):
        return hasattr(value, "build")
    return callable(value)


def _is_container(encoders: Any) -> bool:
    """Return whether encoders are given by name."""
    return isinstance(encoders, (Mapping, list, tuple))


def _pairs(encoders: Any) -> list[tuple[str, Any]]:
    """Return (name, encoder) pairs of a mapping or list."""
    if isinstance(encoders, Mapping):
        return list(encoders.items())
    for item in encoders:
        if not (isinstance(item, (tuple, list)) and len(item) == 2):
            raise InputTypeError(
                "encoders: a list must hold pairs (modality name, encoder), got the item "
                f"{_describe(item)}"
            )
    return [(name, encoder) for name, encoder in encoders]


def _check_names(given: Iterable[Any], known: Sequence[str]) -> None:
    """Refuse names that no modality has, or that come twice."""
    faults = []
    seen = set()
    for name in given:
        if name in seen:
            faults.append(f"encoders: {name!r} is named twice")
        elif name not in known:
            faults.append(no_modality(name, known))
        seen.add(name)
    if faults:
        raise InputError("\n".join(faults))


def _describe(value: Any) -> str:
    """Return a short text for error messages."""
    if isinstance(value, type):
        return f"the class {value.__name__} (an instance is needed: {value.__name__}())"
    return repr(value) if isinstance(value, str) else f"{type(value).__name__} {value!r:.60}"


def _wrapped(value: Any) -> str:
    """Return how to use an estimator of scikit-learn as an encoder; else ""."""
    if isinstance(value, type) or not (hasattr(value, "fit") and hasattr(value, "get_params")):
        return ""
    written = " ".join(repr(value).split())
    written = written if len(written) <= _LONGEST else f"{type(value).__name__}(...)"
    return f". An estimator is wrapped: EstimatorEncoder({written})"


class EncodersMixin:
    """Nested parameters through the ``encoders`` of an estimator, by modality name.

    With it ``encoders__text__hidden_dim`` can be read, set and searched, whether ``encoders`` is
    "auto", a mapping or a list of pairs, and ``encoders__text`` replaces an encoder. Put it
    before ``BaseEstimator`` among the bases.

    Notes
    -----
    The user's container is never changed: a new one takes its place. Encoders inside it are
    changed in place, as scikit-learn does with nested estimators (``clone`` first, as searches
    do). A modality that is "auto" or not named becomes an :class:`EncoderByShape`.
    """

    encoders: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Whether the encoders and their parameters are in the result, too.

        Returns
        -------
        dict
            Parameter names mapped to their values.
        """
        params: dict[str, Any] = super().get_params(deep=deep)  # type: ignore[misc]
        if not (deep and _is_container(self.encoders)):
            return params
        try:
            pairs = _pairs(self.encoders)
        except InputTypeError:  # fit says what is wrong with it
            return params
        return params | nested_params("encoders", pairs)

    def set_params(self, **params: Any) -> Any:
        """Set parameters, those of encoders included.

        Parameters
        ----------
        **params : dict
            ``encoders__<modality>=encoder`` and ``encoders__<modality>__<parameter>=value``
            beside the estimator's own.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        nested = take_nested("encoders", params)
        super().set_params(**params)  # type: ignore[misc]
        if nested:
            self._set_encoder_params(nested)
        return self

    def _set_encoder_params(self, nested: Mapping[str, Any]) -> None:
        """Set ``<modality>`` and ``<modality>__<parameter>``, replacements first."""
        encoders = self.encoders
        if hasattr(encoders, "set_params") and not isinstance(encoders, type):
            encoders.set_params(**nested)
            return
        by_name = dict(_pairs(encoders)) if _is_container(encoders) else {}
        if not (_is_container(encoders) or (isinstance(encoders, str) and encoders == "auto")):
            raise self._invalid(next(iter(nested)))
        replaced, changed = by_modality(nested)
        for name, encoder in replaced.items():
            if not _is_encoder(encoder):
                raise self._invalid(name)
            by_name[name] = encoder
        for name, parameters in changed.items():
            encoder = by_name.get(name, "auto")
            if isinstance(encoder, str):
                encoder = by_name[name] = EncoderByShape()
            if not hasattr(encoder, "set_params") or isinstance(encoder, type):
                raise self._invalid(f"{name}__{next(iter(parameters))}")
            encoder.set_params(**parameters)
        if isinstance(encoders, (list, tuple)):
            self.encoders = type(encoders)(by_name.items())
        else:
            self.encoders = by_name

    def _invalid(self, key: str) -> ValueError:
        """Return the error for a parameter that does not exist."""
        return ValueError(
            f"Invalid parameter 'encoders__{key}' for estimator {self!r}: use "
            f"encoders__<modality>=<encoder> with {_WANTED}, or "
            "encoders__<modality>__<parameter of its encoder>=<value>"
        )
