"""Encoders of flat features, summaries of sequences, and the user's own module.

Every encoder is called as ``encoder(values, lengths=None, weight=None)`` and returns (b,
``output_dim``). ``lengths`` (b,) is the number of valid steps, ``weight`` (b,) the weight of each
row in batch statistics. Where the first part of an encoder never changes in training, ``prepare``
computes it, once for all epochs, and ``forward_prepared`` the rest. Recurrent, attention and
convolutional encoders have files of their own.

Letters: b batch, T steps, d features, k output_dim.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.modules.activations import make_activation
from sklearn_mmfusion.modules.batchnorm import WeightedBatchNorm
from sklearn_mmfusion.modules.dropout import BorrowsDraws, Dropout
from sklearn_mmfusion.modules.failures import failure_of
from sklearn_mmfusion.modules.quantiles import QuantileFeatures
from sklearn_mmfusion.modules.sequences import last_step, step_mask
from sklearn_mmfusion.modules.torch_norms import TorchNorm, trained_norms

__all__ = ["IdentityModule", "LinearModule", "MLPModule", "SummaryModule", "UserModule"]


class IdentityModule(nn.Module):
    """Hand flat features on as they are.

    Parameters
    ----------
    input_dim : int
        Number of features d, which is also ``output_dim``.
    """

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self.output_dim = input_dim

    def forward(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Shape: values (b, d) -> (b, d)."""
        return values


class LinearModule(nn.Module):
    """Map flat features linearly.

    Parameters
    ----------
    input_dim, output_dim : int
        Numbers of features d and k.
    dropout : float, default=0.0
        Probability of dropping an input feature.
    """

    def __init__(self, input_dim: int, output_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(input_dim, output_dim)
        self.output_dim = output_dim

    def forward(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Shape: values (b, d) -> (b, k)."""
        encoded: Tensor = self.linear(self.dropout(values))
        return encoded


class MLPModule(nn.Module):
    """Map flat features by a multilayer perceptron, optionally beside a linear map.

    Parameters
    ----------
    input_dim, output_dim : int
        Numbers of features d and k.
    hidden_dims : sequence of int, default=(64,)
        Widths of the hidden layers.
    dropout, input_dropout : float, default=0.0
        Probabilities of dropping a hidden unit and an input feature.
    skip : bool, default=False
        Whether the result is MLP(x) + Linear(x), so that linear structure need not pass through
        the hidden layers. Both see the same dropped inputs.
    activation : str, default="relu"
        See :data:`~sklearn_mmfusion.modules.activations.ACTIVATIONS`.
    n_quantiles : int, optional
        Number of knots of the places that are appended to the features, see
        :class:`~sklearn_mmfusion.modules.quantiles.QuantileFeatures`; None appends nothing.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden_dims: Sequence[int] = (64,),
        *,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        skip: bool = False,
        activation: str = "relu",
        n_quantiles: int | None = None,
    ) -> None:
        super().__init__()
        self.quantiles = None
        if n_quantiles is not None:
            self.quantiles = QuantileFeatures(input_dim, n_quantiles)
            input_dim *= 2
        self.input_dropout = Dropout(input_dropout)
        layers: list[nn.Module] = []
        width = input_dim
        for hidden_dim in hidden_dims:
            layers += [nn.Linear(width, hidden_dim), make_activation(activation)]
            if dropout > 0.0:
                layers.append(Dropout(dropout))
            width = hidden_dim
        self.layers = nn.Sequential(*layers, nn.Linear(width, output_dim))
        self.skip = nn.Linear(input_dim, output_dim, bias=False) if skip else None
        self.output_dim = output_dim

    def forward(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Shape: values (b, d) -> (b, k)."""
        return self.forward_prepared(self.prepare(values))

    def prepare(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return what training leaves as it is: the features, and their places if asked for."""
        return values if self.quantiles is None else self.quantiles(values)

    def forward_prepared(
        self, x: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Return the encoding of prepared values."""
        x = self.input_dropout(x)
        encoded: Tensor = self.layers(x)
        return encoded if self.skip is None else encoded + self.skip(x)

    def fit_inputs(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> None:
        """Learn what depends on the distribution of the inputs, before training."""
        if self.quantiles is not None:
            self.quantiles.fit_inputs(values, weight)


class SummaryModule(nn.Module):
    """Describe a sequence by moments and extremes of each feature over its valid steps.

    The summary is (mean, standard deviation, minimum, maximum, last - first), 5 d numbers; flat
    features are their own summary. It has nothing to train, which makes it a strong encoder of
    few rows.

    Parameters
    ----------
    input_dim : int
        Number of features d.
    is_flat : bool, default=False
        Whether the values are (b, d) rather than (b, T, d).
    batch_norm : bool, default=False
        Whether each number of a sequence's summary is standardised over the batch (without a
        learned scale): minimum and maximum are far from zero else.
    dropout : float, default=0.0
        Probability of dropping a number of the summary.
    output_dim : int, optional
        Width of a linear map behind the summary; None means no map.
    head : callable, optional
        Makes the module behind the summary from its width, in place of dropout and linear map.

    Notes
    -----
    The places that a perceptron appends to its features (:class:`QuantileFeatures`) are those of
    the summary before it is standardised. They are the same numbers, without the noise of a
    batch's statistics, and computed once for all epochs.
    """

    def __init__(
        self,
        input_dim: int,
        is_flat: bool = False,
        *,
        batch_norm: bool = False,
        dropout: float = 0.0,
        output_dim: int | None = None,
        head: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        width = input_dim if is_flat else 5 * input_dim
        self.is_flat = is_flat
        self.norm = WeightedBatchNorm(width, affine=False) if batch_norm and not is_flat else None
        self.dropout = Dropout(dropout)
        self.head: nn.Module = nn.Identity() if output_dim is None else nn.Linear(width, output_dim)
        self.output_dim = width if output_dim is None else output_dim
        if head is not None:
            made: Any = head(width)
            self.head, self.output_dim = made, made.output_dim

    @property
    def _quantiles(self) -> QuantileFeatures | None:
        """Places that the head appends to its features."""
        return self.head.quantiles if isinstance(self.head, MLPModule) else None

    def forward(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Shape: values (b, T, d) or (b, d); lengths (b,); weight (b,) -> (b, output_dim)."""
        return self.forward_prepared(self.prepare(values, lengths), None, weight)

    def prepare(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return what training leaves as it is: the summary, and its places if asked for."""
        summary = values if self.is_flat else _summary(values, lengths)
        return summary if self._quantiles is None else self._quantiles(summary)

    def forward_prepared(
        self, x: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Return the encoding of prepared values."""
        if self._quantiles is None:
            encoded: Tensor = self.head(self.dropout(self._normalised(x, weight)))
            return encoded
        summary, places = x.chunk(2, 1)
        head: Any = self.head
        encoded = head.forward_prepared(torch.cat([self._normalised(summary, weight), places], 1))
        return encoded

    def _normalised(self, x: Tensor, weight: Tensor | None) -> Tensor:
        return x if self.norm is None else self.norm(x, weight)

    @torch.no_grad()
    def fit_inputs(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> None:
        """Learn what depends on the distribution of the summaries, before training."""
        summary = values if self.is_flat else _summary(values, lengths)
        if self._quantiles is not None:
            self._quantiles.fit_inputs(summary, weight)
        elif (fit_head := getattr(self.head, "fit_inputs", None)) is not None:
            fit_head(self._normalised(summary, weight), None, weight)


def _summary(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return mean, deviation, extremes and change over valid steps: (b, T, d) -> (b, 5 d)."""
    if lengths is None:
        mean, var = x.mean(1), x.var(1, correction=0)
        low, high = x.amin(1), x.amax(1)
        change = x[:, -1] - x[:, 0]
    else:
        padded = ~step_mask(lengths, x.shape[1]).unsqueeze(2)
        some = lengths.unsqueeze(1) > 0
        n = lengths.clamp(min=1).unsqueeze(1)
        mean = x.masked_fill(padded, 0.0).sum(1) / n
        var = (x - mean.unsqueeze(1)).masked_fill(padded, 0.0).square().sum(1) / n
        low = torch.where(some, x.masked_fill(padded, torch.inf).amin(1), 0.0)
        high = torch.where(some, x.masked_fill(padded, -torch.inf).amax(1), 0.0)
        change = torch.where(some, last_step(x, lengths) - x[:, 0], 0.0)
    varies = var > 0  # the slope of the square root at 0 is infinite
    deviation = torch.where(varies, torch.where(varies, var, 1.0).sqrt(), 0.0)
    return torch.cat([mean, deviation, low, high, change], 1)


class UserModule(BorrowsDraws):
    """Make an encoder of a module that the user wrote.

    Parameters
    ----------
    module : nn.Module
        Called with the values, and with ``lengths`` and ``weight`` by keyword if its ``forward``
        names them; returns (b, k). It is used itself, not a copy.
    input_shape : tuple of int
        Shape of the values of one row.
    output_dim : int, optional
        Width k of what the module returns; None means that a batch of two rows of zeros is sent
        through a copy to see.
    trainable : bool, default=True
        False freezes the module: no gradients, and evaluation mode for good.
    codes : bool, default=False
        Whether the values are integer codes.
    label : str, default="encoder"
        What messages call it, such as "modality 'audio'".

    Raises
    ------
    ValueError
        If the module does not return a matrix with one row per sample; at a call, also if the
        matrix has not ``output_dim`` columns.
    """

    def __init__(
        self,
        module: nn.Module,
        input_shape: tuple[int, ...],
        *,
        output_dim: int | None = None,
        trainable: bool = True,
        codes: bool = False,
        label: str = "encoder",
    ) -> None:
        super().__init__()
        self.module = module
        self.label = label
        self.trainable = trainable
        names = inspect.signature(module.forward).parameters
        self.takes_lengths = "lengths" in names
        self.takes_weight = "weight" in names
        self.takes_codes = codes
        # A lazy module has no parameters before its first call.
        has_all = not any(is_lazy(parameter) for parameter in module.parameters())
        if output_dim is None or not has_all:
            found = self._find_width(input_shape, codes)
            output_dim = found if output_dim is None else output_dim
        self.output_dim = output_dim
        if not trainable:
            module.requires_grad_(False)
        self.train(self.training)

    def forward(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Shape: values (b, ...); lengths (b,); weight (b,) -> (b, k)."""
        return self._encode(values, lengths, weight)

    @property
    def _is_fixed(self) -> bool:
        return not self.trainable and not self.takes_weight

    def prepare(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return what training leaves as it is: all that a frozen module does."""
        return self._encode(values, lengths, None) if self._is_fixed else values

    def forward_prepared(
        self, x: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Return the encoding of prepared values."""
        return x if self._is_fixed else self._encode(x, lengths, weight)

    def train(self, mode: bool = True) -> UserModule:
        """Set the training mode; a frozen module stays in evaluation mode."""
        super().train(mode)
        if not self.trainable:
            self.module.eval()
        return self

    def trained_norms(self) -> list[TorchNorm]:
        """Return torch's batch norms within the module whose averages training moves."""
        if not self.trainable:
            return []
        before = self.training
        found = trained_norms(self.train(True).module)
        self.train(before)
        return found

    def _encode(self, values: Tensor, lengths: Tensor | None, weight: Tensor | None) -> Tensor:
        encoded = self._call_named(values, lengths, weight)
        shape = tuple(encoded.shape) if isinstance(encoded, Tensor) else None
        if shape == (len(values), self.output_dim):
            return encoded
        wanted = f"{self.label}: expected output_dim={self.output_dim} values per row from the "
        wanted += f"module {type(self.module).__name__}, got "
        if shape is None or len(shape) != 2 or shape[0] != len(values):
            what = type(encoded).__name__ if shape is None else f"shape {shape}"
            raise InputError(f"{wanted}{what} for {len(values)} row(s); correct its forward")
        raise InputError(f"{wanted}{shape[1]}; give output_dim={shape[1]}, or leave output_dim out")

    def _call_named(self, values: Tensor, lengths: Tensor | None, weight: Tensor | None) -> Tensor:
        """Call the module; its errors name the modality."""
        if torch.compiler.is_compiling():  # which would have to compile the handling as well
            return self._call(self.module, values, lengths, weight)
        try:
            return self._call(self.module, values, lengths, weight)
        except Exception as error:  # a user's forward may raise anything
            extra = {"lengths": lengths} if self.takes_lengths else {}
            extra |= {"weight": weight} if self.takes_weight else {}
            failure = failure_of(error, self.module, self.label, values, **extra)
            if failure is None:
                raise
            raise failure from error

    def _call(
        self, module: nn.Module, values: Tensor, lengths: Tensor | None, weight: Tensor | None
    ) -> Tensor:
        extra = {}
        if self.takes_lengths:
            extra["lengths"] = lengths
        if self.takes_weight:
            extra["weight"] = weight
        if self.takes_codes:
            values = values.long()  # what embeddings take, whatever whole numbers came
        with self.borrowed():
            encoded: Tensor = module(values, **extra)
        return encoded

    def _find_width(self, input_shape: tuple[int, ...], codes: bool) -> int:
        """Return the width of the module's output, leaving its buffers and torch's seed alone."""
        parameters = list(self.module.parameters())
        # A lazy module learns its shapes on the first call, which must be its own.
        lazy = any(is_lazy(parameter) for parameter in parameters)
        probe = self.module if lazy else copy.deepcopy(self.module)
        floats = [p.dtype for p in parameters if p.is_floating_point()]
        dtype = torch.int64 if codes else (floats or [torch.float32])[0]
        device = parameters[0].device if parameters else torch.device("cpu")
        zeros = torch.zeros((2, *input_shape), dtype=dtype, device=device)
        state = None if lazy else torch.get_rng_state()
        try:
            with torch.no_grad():
                encoded = self._call(probe.eval(), zeros, None, None)
        finally:
            if state is not None:
                torch.set_rng_state(state)
        if not isinstance(encoded, Tensor) or encoded.dim() != 2 or encoded.shape[0] != 2:
            got = tuple(encoded.shape) if isinstance(encoded, Tensor) else type(encoded).__name__
            raise ValueError(
                f"the module must return a tensor of shape (n, output_dim); "
                f"for 2 rows it returned {got}"
            )
        return int(encoded.shape[1])
