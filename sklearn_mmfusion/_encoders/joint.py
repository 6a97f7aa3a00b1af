"""Encoder parameter objects that read several modalities, or several orders, at a time."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import Interval
from torch import nn

from sklearn_mmfusion._encoders.choosing import (
    BaseEncoder,
    LSTMEncoder,
    MulTEncoder,
    resolve_encoders,
)
from sklearn_mmfusion._encoders.specs import AT_LEAST_ONE
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.data._blocks import ModalityLayout
from sklearn_mmfusion.modules.alignment import EarlyModule, RAVENModule
from sklearn_mmfusion.modules.multimodal_transformer import MultimodalTransformerModule
from sklearn_mmfusion.modules.residual import OrderEncoders

__all__ = ["EarlyEncoder", "OrderEncoder", "RAVENEncoder", "TransformerOfAll"]

Terms = Sequence[tuple[int, ...]]


def _steps_of_all(layouts: Sequence[ModalityLayout], who: str) -> int | None:
    """Return the common number of steps, None where all are flat; refuse anything else."""
    faults = []
    steps = {layout.name: layout.shape[0] for layout in layouts if len(layout.shape) == 2}
    for layout in layouts:
        shape = ", ".join(["n", *map(str, layout.shape)])
        if len(layout.shape) not in (1, 2):
            faults.append(
                f"modality {layout.name!r}: {who} takes 3-D (n, T, d) and 2-D (n, d), got shape "
                f"({shape}); reshape it to steps and features, or use late fusion"
            )
    if len(set(steps.values())) > 1:
        found = ", ".join(f"{name!r} has {count}" for name, count in steps.items())
        faults.append(
            f"{who} reads sequences step by step and needs the same number of steps: {found}; "
            "align them, or use LateFusionClassifier or MulTClassifier"
        )
    if faults:
        raise InputError("\n".join(faults))
    return next(iter(steps.values()), None)


class _JointEncoder(BaseEstimator):
    """Base of the encoders that read all modalities as numbers."""

    def takes_codes_of(self, name: str) -> bool:
        """Return whether a modality holds integer codes: never."""
        return False


class EarlyEncoder(_JointEncoder):
    """Concatenate all modalities and encode them by one encoder.

    Parameters
    ----------
    encoder : "auto", encoder, nn.Module or callable, default="auto"
        Encoder of the result. "auto" is an LSTM for sequences, and chosen by shape otherwise.
    n_samples : int, default=1000
        Number of training rows, for the choice.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        "encoder": "no_validation",
        "n_samples": [AT_LEAST_ONE],
    }

    def __init__(self, *, encoder: Any = "auto", n_samples: int = 1000) -> None:
        self.encoder = encoder
        self.n_samples = n_samples

    def build_joint(self, layouts: Sequence[ModalityLayout], terms: Terms) -> nn.Module:
        """Return a new module for all modalities."""
        n_steps = _steps_of_all(layouts, "early fusion")
        width = sum(layout.shape[-1] for layout in layouts)
        shape = (width,) if n_steps is None else (n_steps, width)
        joined = ModalityLayout("all modalities", shape, "float64")
        encoder = self.encoder
        if isinstance(encoder, str) and encoder == "auto" and n_steps is not None:
            encoder = LSTMEncoder()
        (resolved,) = resolve_encoders(encoder, [joined], self.n_samples)
        return EarlyModule(resolved.build(joined), [len(layout.shape) == 2 for layout in layouts])


class RAVENEncoder(_JointEncoder):
    """Read the words of a main modality, shifted in every step by the other modalities.

    Use it for spoken language with aligned audio and video: sequences (n, T, d) with the same
    steps. Flat modalities (n, d) count in every step; where all are flat there is one step.

    Parameters
    ----------
    main : str, default=None
        Name of the main modality; None is "text" where there is one, else the first sequence in
        alphabetical order.
    hidden_dim : int, default=32
        Width of the recurrent networks.
    shift_scale : float, default=1.0
        Largest length of a shift relative to that of the step, above 0.

    References
    ----------
    Wang et al. (2019), "Words Can Shift: Dynamically Adjusting Word Representations Using
    Nonverbal Behaviors", section 3.

    Examples
    --------
    >>> from sklearn_mmfusion import RAVENEncoder
    >>> RAVENEncoder(main="text", hidden_dim=64)
    RAVENEncoder(hidden_dim=64, main='text')
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "main": [str, None],
        "hidden_dim": [AT_LEAST_ONE],
        "shift_scale": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self, *, main: str | None = None, hidden_dim: int = 32, shift_scale: float = 1.0
    ) -> None:
        self.main = main
        self.hidden_dim = hidden_dim
        self.shift_scale = shift_scale

    def build_joint(self, layouts: Sequence[ModalityLayout], terms: Terms) -> nn.Module:
        """Return a new module for all modalities.

        Parameters
        ----------
        layouts : sequence of ModalityLayout
            Names and shapes of the modalities.
        terms : sequence of tuple of int
            Not used: there is one encoding of all.

        Returns
        -------
        nn.Module
            Called as ``module(values, lengths, present, weight=None)``; has ``output_dims``.

        Raises
        ------
        InputError
            If a parameter is invalid, the main modality is unknown or flat beside sequences, or
            numbers of steps differ.
        """
        try:
            self._validate_params()
        except ValueError as error:
            raise InputError(str(error)) from error
        _steps_of_all(layouts, "RAVENEncoder")
        names = [layout.name for layout in layouts]
        sequences = [layout.name for layout in layouts if len(layout.shape) == 2]
        # Without any sequence, every modality is a sequence of one step.
        eligible = sequences or names
        main = self.main
        if main is None:
            main = "text" if "text" in eligible else min(eligible)
        if main not in eligible:
            raise InputError(
                f"RAVENEncoder: main={main!r} is not a sequence among the modalities {names}; "
                f"choose one of {eligible}"
            )
        return RAVENModule(
            [layout.shape[-1] for layout in layouts],
            names.index(main),
            self.hidden_dim,
            is_sequence=[len(layout.shape) == 2 for layout in layouts],
            shift_scale=self.shift_scale,
        )


class TransformerOfAll(BaseEstimator):
    """The Multimodal Transformer as one encoder of everything, sized by a MulTEncoder.

    Parameters
    ----------
    encoder : MulTEncoder
        Sizes.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"encoder": [MulTEncoder]}

    def __init__(self, *, encoder: MulTEncoder) -> None:
        self.encoder = encoder

    def takes_codes_of(self, name: str) -> bool:
        """Return whether a modality holds integer codes."""
        return self.encoder.takes_codes_of(name)

    def build_joint(self, layouts: Sequence[ModalityLayout], terms: Terms) -> nn.Module:
        """Return a new module for all modalities."""
        return MultimodalTransformerModule(**self.encoder.sizes(layouts))


class OrderEncoder(BaseEncoder):
    """One encoder per order of terms, all of one kind.

    Parameters
    ----------
    encoder : BaseEncoder
        The kind.
    n_orders : int
        How many.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "encoder": [BaseEncoder],
        "n_orders": [AT_LEAST_ONE],
    }

    def __init__(self, *, encoder: BaseEncoder, n_orders: int) -> None:
        self.encoder = encoder
        self.n_orders = n_orders

    @property
    def takes_codes(self) -> bool:
        """Whether the values are integer codes."""
        return self.encoder.takes_codes

    def _build(self, layout: ModalityLayout) -> nn.Module:
        return OrderEncoders([clone(self.encoder).build(layout) for _ in range(self.n_orders)])
