"""What a user writes to choose an encoder: the base of all, and encoders of flat features.

An encoder here is a parameter object. ``build`` makes the torch module, once the shape of the
modality is known, so that ``clone``, grids and pickles deal in plain parameters only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion.data._blocks import ModalityLayout
from sklearn_mmfusion.modules.activations import ACTIVATIONS
from sklearn_mmfusion.modules.components import ComponentsModule
from sklearn_mmfusion.modules.encoders import (
    IdentityModule,
    LinearModule,
    MLPModule,
    SummaryModule,
    UserModule,
)

__all__ = [
    "BaseEncoder",
    "IdentityEncoder",
    "LinearEncoder",
    "MLPEncoder",
    "ModuleEncoder",
    "SummaryEncoder",
]

AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")
PROBABILITY = Interval(Real, 0, 1, closed="both")
ACTIVATION = StrOptions(set(ACTIVATIONS))
_DEFAULT_WIDTH = 32


class BaseEncoder(BaseEstimator):
    """Base class of the encoder parameter objects.

    A subclass checks the shape and makes the module in ``_build``.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    @property
    def takes_codes(self) -> bool:
        """Whether the values are integer codes, which are not standardised."""
        return getattr(self, "vocabulary_size", None) is not None

    @property
    def standardizes(self) -> bool:
        """Whether the values are standardised, where they are no codes."""
        return True

    def build(self, layout: ModalityLayout) -> nn.Module:
        """Return a new torch module for one modality.

        Parameters
        ----------
        layout : ModalityLayout
            Name and shape of the modality.

        Returns
        -------
        nn.Module
            Called as ``module(values, lengths=None, weight=None)``; has ``output_dim``.

        Raises
        ------
        InputError
            If a parameter is invalid or the encoder does not take this shape; the message
            begins with the name of the modality.
        """
        try:
            self._validate_params()
        except ValueError as error:
            raise InputError(f"modality {layout.name!r}: {error}") from error
        return self._build(layout)

    def _build(self, layout: ModalityLayout) -> nn.Module:
        raise NotImplementedError  # abstract

    def _refuse(self, layout: ModalityLayout, expected: str, remedy: str) -> InputError:
        """Return the error for a modality of the wrong shape."""
        shape = ", ".join(["n", *map(str, layout.shape)]) + ("," if not layout.shape else "")
        return InputError(
            f"modality {layout.name!r}: {type(self).__name__} takes {expected}, "
            f"got shape ({shape}) (dim {layout.ndim}); {remedy}"
        )

    def _flat_width(self, layout: ModalityLayout) -> int:
        """Return the number of features of a flat modality; refuse any other."""
        if len(layout.shape) != 1:
            raise self._refuse(
                layout,
                "2-D (n, d)",
                "flatten or encode first (GRUEncoder, Conv1dEncoder, SummaryEncoder, "
                "Conv2dEncoder)",
            )
        return layout.shape[0]


class IdentityEncoder(BaseEncoder):
    """Hand flat features on as they are, or their principal components.

    Use it where the features are representations already, such as embeddings of a large model,
    and with components where there are many features and few rows. It takes values of shape (n, d)
    and learns nothing from the target: the penalty of MNL and InTense sees every direction.

    Parameters
    ----------
    n_components : int, default=None
        Number of principal components of the training rows, with variance 1 each, that take the
        place of the features; all features where there are no more of them. None: the features.

    Examples
    --------
    >>> from sklearn_mmfusion import IdentityEncoder
    >>> IdentityEncoder()
    IdentityEncoder()
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"n_components": [AT_LEAST_ONE, None]}

    def __init__(self, *, n_components: int | None = None) -> None:
        self.n_components = n_components

    def _build(self, layout: ModalityLayout) -> nn.Module:
        return _behind_components(self._flat_width(layout), self.n_components, IdentityModule)


class LinearEncoder(BaseEncoder):
    """Map flat features linearly.

    Use it on few rows, and for models that stay linear: additive fusion of linear encoders is
    logistic or ridge regression. It takes values of shape (n, d).

    Parameters
    ----------
    output_dim : int, default=None
        Width of the representation. None means the number of features, 32 at most.
    dropout : float, default=0.0
        Probability, from 0 to 1, with which an input feature is zeroed in training.
    n_components : int, default=None
        Number of principal components of the training rows, with variance 1 each, that take the
        place of the features; all features where there are no more of them. It helps where there
        are many features and few rows. None: the features.

    Examples
    --------
    >>> from sklearn_mmfusion import LinearEncoder
    >>> LinearEncoder(output_dim=16)
    LinearEncoder(output_dim=16)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "output_dim": [AT_LEAST_ONE, None],
        "dropout": [PROBABILITY],
        "n_components": [AT_LEAST_ONE, None],
    }

    def __init__(
        self,
        *,
        output_dim: int | None = None,
        dropout: float = 0.0,
        n_components: int | None = None,
    ) -> None:
        self.output_dim = output_dim
        self.dropout = dropout
        self.n_components = n_components

    def _build(self, layout: ModalityLayout) -> nn.Module:
        return _behind_components(self._flat_width(layout), self.n_components, self._module)

    def _module(self, width: int) -> LinearModule:
        output_dim = min(width, _DEFAULT_WIDTH) if self.output_dim is None else self.output_dim
        return LinearModule(width, output_dim, self.dropout)


class MLPEncoder(BaseEncoder):
    """Map flat features by a multilayer perceptron.

    Use it on flat features of shape (n, d); on few rows give it dropout.

    Parameters
    ----------
    hidden_dim : int, default=64
        Width of each hidden layer.
    n_layers : int, default=1
        Number of hidden layers.
    output_dim : int, default=32
        Width of the representation.
    dropout : float, default=0.0
        Probability, from 0 to 1, with which a hidden unit is zeroed in training. Like every
        dropout of the package it falls to 0 over ``max_epochs``.
    input_dropout : float, default=0.0
        The same for input features.
    skip : bool, default=False
        Whether a linear map of the features is added to the result. With it the encoder is
        never worse at linear structure than :class:`LinearEncoder`.
    activation : {"relu", "elu", "gelu", "silu", "tanh"}, default="relu"
        Activation of the hidden layers.
    n_quantiles : int, default=None
        Append to each feature its place in the distribution of the training rows, a piecewise
        linear function with this many knots (at least 2). It helps where features have heavy
        tails. None appends nothing.
    n_components : int, default=None
        Number of principal components of the training rows, with variance 1 each, that take the
        place of the features; all features where there are no more of them. It helps where there
        are many features and few rows. None: the features.

    Examples
    --------
    >>> from sklearn_mmfusion import MLPEncoder
    >>> MLPEncoder(hidden_dim=128, skip=True)
    MLPEncoder(hidden_dim=128, skip=True)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_dim": [AT_LEAST_ONE],
        "n_layers": [AT_LEAST_ONE],
        "output_dim": [AT_LEAST_ONE],
        "dropout": [PROBABILITY],
        "input_dropout": [PROBABILITY],
        "skip": ["boolean"],
        "activation": [ACTIVATION],
        "n_quantiles": [Interval(Integral, 2, None, closed="left"), None],
        "n_components": [AT_LEAST_ONE, None],
    }

    def __init__(
        self,
        *,
        hidden_dim: int = 64,
        n_layers: int = 1,
        output_dim: int = 32,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        skip: bool = False,
        activation: str = "relu",
        n_quantiles: int | None = None,
        n_components: int | None = None,
    ) -> None:
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.output_dim = output_dim
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.skip = skip
        self.activation = activation
        self.n_quantiles = n_quantiles
        self.n_components = n_components

    def _build(self, layout: ModalityLayout) -> nn.Module:
        return self._module(self._flat_width(layout))

    def _module(self, width: int) -> nn.Module:
        return _behind_components(width, self.n_components, self._perceptron)

    def _perceptron(self, width: int) -> MLPModule:
        return MLPModule(
            width,
            self.output_dim,
            (self.hidden_dim,) * self.n_layers,
            dropout=self.dropout,
            input_dropout=self.input_dropout,
            skip=self.skip,
            activation=self.activation,
            n_quantiles=self.n_quantiles,
        )


def _behind_components(
    width: int, n_components: int | None, make: Callable[[int], nn.Module]
) -> nn.Module:
    """Make an encoder of flat features, or one of their principal components."""
    if n_components is None or n_components >= width:
        return make(width)
    return ComponentsModule(width, n_components, make(n_components))


class SummaryEncoder(BaseEncoder):
    """Describe a sequence by mean, deviation, minimum, maximum and change of each feature.

    Use it on sequences with few rows, where a recurrent encoder would learn the noise: there is
    nothing to train but ``output_dim``'s map. It takes values of shape (n, T, d), and (n, d),
    which are their own summary.

    Parameters
    ----------
    batch_norm : bool, default=True
        Whether the numbers of the summary are standardised.
    dropout : float, default=0.0
        Probability, from 0 to 1, with which a number of the summary is zeroed in training.
    output_dim : int, default=None
        Width of a linear map behind the summary; None hands on its 5 d numbers, whose relevance
        is larger than that of a map's output (see :class:`IdentityEncoder`).
    head : MLPEncoder, default=None
        Perceptron behind the summary, in place of ``dropout`` and ``output_dim``.

    Examples
    --------
    >>> from sklearn_mmfusion import SummaryEncoder
    >>> SummaryEncoder(dropout=0.2)
    SummaryEncoder(dropout=0.2)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "batch_norm": ["boolean"],
        "dropout": [PROBABILITY],
        "output_dim": [AT_LEAST_ONE, None],
        "head": [MLPEncoder, None],
    }

    def __init__(
        self,
        *,
        batch_norm: bool = True,
        dropout: float = 0.0,
        output_dim: int | None = None,
        head: MLPEncoder | None = None,
    ) -> None:
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.output_dim = output_dim
        self.head = head

    def _build(self, layout: ModalityLayout) -> nn.Module:
        if len(layout.shape) not in (1, 2):
            raise self._refuse(layout, "3-D (n, T, d) or 2-D (n, d)", "use Conv2dEncoder")
        return SummaryModule(
            layout.shape[-1],
            is_flat=len(layout.shape) == 1,
            batch_norm=self.batch_norm,
            dropout=0.0 if self.head is not None else self.dropout,
            output_dim=self.output_dim,
            head=None if self.head is None else self.head._module,
        )


class ModuleEncoder(BaseEncoder):
    """Use a torch module of your own, trained along or frozen.

    Parameters
    ----------
    module : nn.Module or callable
        A module, of which every fit takes a copy with its present weights; or a factory, called
        with the layout of the modality (``layout.name``, ``layout.shape``), that returns a new
        one. Its ``forward`` takes the values (b, ...), and ``lengths`` and ``weight`` (both may
        be None) if it names them, and returns (b, output_dim). A module with dropout of torch's
        own draws from torch's global generator. What it raises in a fit or in prediction comes as
        an error that names the modality: a ``ValueError`` or ``TypeError`` for one of these, else
        a :class:`ModuleError`, which is a ``RuntimeError``. Running averages of ``BatchNorm1d``
        to ``3d`` are replaced at the end of a fit by statistics of the training rows, unless the
        module is frozen, or the norm is: in evaluation mode by a ``train`` of the module's own,
        by ``momentum=0``, or by parameters without gradients.
    output_dim : int, default=None
        Width of what the module returns. None: two rows of zeros are sent through a copy to see.
    trainable : bool, default=True
        False freezes the module: its weights stay, and it is always in evaluation mode.
    codes : bool, default=False
        Whether the module wants integer values as they are instead of standardised numbers. Only
        the module knows what they mean: none of them makes a row one that lacks the modality.
    standardize : bool or "auto", default="auto"
        Whether the module gets values that are standardised over the training rows. False: it gets
        them as they are, in the dtype of training, and 0 for what is missing or padding. "auto"
        standardises for a module that is trained; a frozen one knows its inputs as it learned
        them. Give False to fine-tune a pretrained module.

    Examples
    --------
    >>> from sklearn_mmfusion import ModuleEncoder
    >>> from torch import nn
    >>> encoder = ModuleEncoder(module=lambda layout: nn.Linear(layout.shape[0], 4))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "module": [nn.Module, callable],
        "output_dim": [AT_LEAST_ONE, None],
        "trainable": ["boolean"],
        "codes": ["boolean"],
        "standardize": ["boolean", StrOptions({"auto"})],
    }

    def __init__(
        self,
        *,
        module: Any,
        output_dim: int | None = None,
        trainable: bool = True,
        codes: bool = False,
        standardize: bool | str = "auto",
    ) -> None:
        self.module = module
        self.output_dim = output_dim
        self.trainable = trainable
        self.codes = codes
        self.standardize = standardize

    @property
    def takes_codes(self) -> bool:
        """Whether the values are integer codes, which are not standardised."""
        return bool(self.codes)

    @property
    def standardizes(self) -> bool:
        """Whether the values are standardised, where they are no codes."""
        return bool(self.trainable if self.standardize == "auto" else self.standardize)

    def _build(self, layout: ModalityLayout) -> nn.Module:
        if isinstance(self.module, nn.Module):
            module = copy.deepcopy(self.module)
        else:
            module = self.module(layout)
            if not isinstance(module, nn.Module):
                raise InputTypeError(
                    f"modality {layout.name!r}: the encoder factory must return a torch.nn.Module, "
                    f"got {type(module).__name__}; pass a callable layout -> nn.Module"
                )
        try:
            return UserModule(
                module,
                layout.shape,
                output_dim=self.output_dim,
                trainable=self.trainable,
                codes=self.codes,
                label=f"modality {layout.name!r}",
            )
        # The user's forward may raise anything; ours adds which modality it was.
        except Exception as error:
            shape = ", ".join(map(str, (2, *layout.shape)))
            raise InputError(
                f"modality {layout.name!r}: the encoder module {type(module).__name__} failed on "
                f"zeros of shape ({shape}): {error}; correct its forward, or give output_dim"
            ) from error
