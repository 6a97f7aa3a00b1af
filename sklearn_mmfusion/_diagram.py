"""The diagram of an estimator in a notebook: modalities, their encoders, and the terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["DiagramMixin"]

_MOST_TERMS = 40  # names in the fold-out list of terms


class DiagramMixin:
    """Draws encoders side by side and the fusion below them, in scikit-learn's HTML diagram.

    scikit-learn asks ``_sk_visual_block_`` for the parts; where a future version has no such
    protocol, it draws the plain box of any estimator.
    """

    encoders: Any
    modalities: Any

    def _sk_visual_block_(self) -> Any:
        names, boxes, details = _encoder_boxes(self)
        encoders = _block("parallel", boxes, names=names, name_details=details)
        label, terms = _fusion_text(self)
        fusion = _block("single", None, names=label, name_details=terms)
        return _block(
            "serial",
            [encoders, fusion],
            # Names of boxes become prefixes of parameter names: encoders__<modality>__...
            names=["encoders", label],
            name_details=["One encoder for each modality", None],
            dash_wrapped=False,
        )


def _block(kind: str, parts: Any, **settings: Any) -> Any:
    """Return scikit-learn's description of a box."""
    try:
        from sklearn.utils._repr_html.estimator import _VisualBlock
    except ImportError:  # before 1.7
        from sklearn.utils._estimator_html_repr import _VisualBlock
    return _VisualBlock(kind, parts, **settings)


def _encoder_boxes(estimator: Any) -> tuple[list[str], list[Any], list[str]]:
    """Return labels, encoders and details of the boxes."""
    schema = getattr(estimator, "_schema", None)
    if schema is None:
        return _planned_boxes(estimator)
    plan, fitted = estimator._result.plan, estimator.encoders_
    if plan.is_joint:
        shapes = "\n".join(_layout_text(layout) for layout in schema.layouts)
        given = estimator.encoders
        return (
            ["all modalities"],
            [_box(given if hasattr(given, "build") else plan.encoders[0])],
            [shapes],
        )
    labels = [_printable(name) for name in schema.names]
    details = [_layout_text(layout) for layout in schema.layouts]
    return labels, [fitted[name] for name in schema.names], details


def _planned_boxes(estimator: Any) -> tuple[list[str], list[Any], list[str]]:
    """Return what is known before the fit."""
    encoders, modalities = estimator.encoders, estimator.modalities
    named: dict[str, Any] = {}
    if isinstance(modalities, Mapping | list | tuple):
        default = "auto" if isinstance(encoders, Mapping | list | tuple) else encoders
        named = dict.fromkeys(map(str, modalities), default)
    if isinstance(encoders, Mapping):
        named.update(encoders)
    elif isinstance(encoders, list | tuple):
        named.update(pair for pair in encoders if len(pair) == 2)
    labels = [_printable(str(name)) for name in named]
    boxes = [_box(encoder) for encoder in named.values()]
    if modalities is None:
        rest = "auto" if named else encoders
        labels.append("other modalities" if named else "each modality")
        boxes.append(_box(rest))
    return labels, boxes, ["Shape and type are known after fit"] * len(labels)


def _box(encoder: Any) -> Any:
    """Return an encoder, or a box that says what takes its place."""
    if hasattr(encoder, "get_params") and not isinstance(encoder, type):
        return encoder
    if isinstance(encoder, str):
        return _block("single", None, names="by shape", name_details="Chosen in fit by the shape")
    name = encoder.__name__ if isinstance(encoder, type) else type(encoder).__name__
    return _block("single", None, names=_printable(name), name_details=_printable(repr(encoder)))


def _layout_text(layout: Any) -> str:
    shape = ", ".join(["n", *map(str, layout.shape)])
    return f"{_printable(layout.name)}: ({shape}) {layout.dtype}"


def _fusion_text(estimator: Any) -> tuple[str, str]:
    """Return the label of the fusion, and the list of its terms."""
    names: Sequence[str] | None = getattr(estimator, "term_names_", None)
    if names is None:
        asked = getattr(estimator, "interactions", None)
        words = "" if asked is None else f"interactions={asked!r}"
        return "fusion", _printable(words) or "All modalities together"
    shown = [_printable(name) for name in names[:_MOST_TERMS]]
    if len(names) > _MOST_TERMS:
        shown.append(f"and {len(names) - _MOST_TERMS} more")
    word = "term" if len(names) == 1 else "terms"
    return f"fusion of {len(names)} {word}", "\n".join(shown)


def _printable(text: str) -> str:
    """Return text without control characters; scikit-learn escapes the rest."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
