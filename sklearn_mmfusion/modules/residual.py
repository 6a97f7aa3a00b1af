"""Multimodal residual optimisation: what orders add to those below them.

Letters: b batch row, m modality, t term, o order, k output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from sklearn_mmfusion.modules.dropout import Dropout
from sklearn_mmfusion.modules.encoders import MLPModule, SummaryModule
from sklearn_mmfusion.modules.fusion import term_presence

__all__ = ["OrderEncoders", "OrderFusion", "TermOutputs", "set_phase"]


class OrderEncoders(nn.Module):
    """Encoders of one modality, one for each order of terms, with their encodings end to end.

    With an encoder in common, what a higher order needs would move the encodings that lower
    orders predict from.

    Parameters
    ----------
    encoders : sequence of nn.Module
        Encoders of equal output size.

    Attributes
    ----------
    output_dim : int
        Length of all encodings together.
    """

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        self.orders = nn.ModuleList(encoders)
        self.frozen: set[int] = set()
        # What is never trained, such as a module that the user froze, stays so in every phase.
        self.fixed = {name for name, p in self.orders.named_parameters() if not p.requires_grad}
        self.output_dim = sum(int(cast(Any, encoder).output_dim) for encoder in encoders)

    def forward(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Return the encodings of all orders, (b, output_dim)."""
        return torch.cat([encoder(values, lengths, weight) for encoder in self.orders], 1)

    def prepare(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return what training leaves as it is; the same for all orders, or the values."""
        first = cast(Any, self.orders[0])
        prepared: Tensor = first.prepare(values, lengths) if self._prepares else values
        return prepared

    def forward_prepared(
        self, x: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Return the encodings of prepared values."""
        if not self._prepares:
            return self.forward(x, lengths, weight)
        encoders = cast(Sequence[Any], list(self.orders))
        return torch.cat([e.forward_prepared(x, lengths, weight) for e in encoders], 1)

    @property
    def _prepares(self) -> bool:
        # A module of the user's own might differ from order to order.
        return all(isinstance(encoder, MLPModule | SummaryModule) for encoder in self.orders)

    def train(self, mode: bool = True) -> OrderEncoders:
        """Set the training mode; frozen orders stay in evaluation mode."""
        super().train(mode)
        for order in self.frozen:
            self.orders[order].eval()
        return self

    def of_order(self, order: int) -> Iterator[nn.Parameter]:
        """Return the parameters of an order that may be trained."""
        for name, parameter in self.orders[order].named_parameters(str(order)):
            if name not in self.fixed:
                yield parameter

    def fit_inputs(self, values: Tensor, lengths: Tensor | None, weight: Tensor | None) -> None:
        """Let encoders learn what depends on the distribution of their inputs alone."""
        for encoder in self.orders:
            fit = getattr(encoder, "fit_inputs", None)
            if fit is not None:
                fit(values, lengths, weight)


class TermOutputs(nn.Module):
    """What each term adds to each output, by a network on the encodings of its members.

    Parameters
    ----------
    encoding_dims : sequence of int
        Length of the encoding of each modality, for one order.
    terms : sequence of tuple of int
        Terms as positions of modalities, by order.
    hidden_dim : int
        Width of the hidden layer.
    n_outputs : int
        Number of outputs.
    dropout : float, default=0
        Probability of dropping a hidden unit in training.
    """

    def __init__(
        self,
        encoding_dims: Sequence[int],
        terms: Sequence[tuple[int, ...]],
        hidden_dim: int,
        n_outputs: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.terms = [tuple(term) for term in terms]
        self.encoding_dims = list(encoding_dims)
        sizes = sorted({len(term) for term in self.terms})
        self.order_of_term = [sizes.index(len(term)) for term in self.terms]
        widths = [sum(encoding_dims[m] for m in term) for term in self.terms]
        self.hidden = nn.ModuleList(nn.Linear(width, hidden_dim) for width in widths)
        self.readout = nn.ModuleList(
            nn.Linear(hidden_dim, n_outputs, bias=False) for _ in self.terms
        )
        for readout in self.readout:
            # An order adds nothing until it is trained.
            nn.init.zeros_(cast(nn.Linear, readout).weight)
        self.dropouts = nn.ModuleList(Dropout(dropout) for _ in sizes)
        self.frozen: set[int] = set()

    def forward(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return contributions, 0 where a term is absent.

        Shape: encodings (b, orders * d_m) -> (b, t, k).
        """
        outputs = []
        for t, term in enumerate(self.terms):
            o = self.order_of_term[t]
            members = [
                encodings[m][:, o * self.encoding_dims[m] : (o + 1) * self.encoding_dims[m]]
                for m in term
            ]
            hidden = self.dropouts[o](torch.relu(self.hidden[t](torch.cat(members, 1))))
            output = self.readout[t](hidden)
            mask = term_presence(present, term)
            outputs.append(output if mask is None else torch.where(mask[:, None], output, 0.0))
        return torch.stack(outputs, 1)

    def train(self, mode: bool = True) -> TermOutputs:
        """Set the training mode; frozen orders stay in evaluation mode."""
        super().train(mode)
        for order in self.frozen:
            self.dropouts[order].eval()
        return self

    def of_order(self, order: int) -> Iterator[nn.Parameter]:
        """Return the parameters of an order."""
        for t, o in enumerate(self.order_of_term):
            if o == order:
                yield from self.hidden[t].parameters()
                yield from self.readout[t].parameters()

    def set_exact(
        self,
        encodings: Sequence[Tensor],
        present: Sequence[Tensor | None],
        weight: Tensor | None = None,
    ) -> None:
        """Do nothing: there are no batch statistics."""


class OrderFusion(nn.Module):
    r"""Add the contributions up; in training, one prediction for each order.

    .. math:: \hat y_o = \mathrm{stopgrad}\Big(\sum_{q < o} y_q\Big) + y_o, \qquad
              \min \sum_o \ell(\hat y_o, y)

    so that an order learns what the orders below it leave over. The loss of every order is that
    of a model that ends with it.

    Parameters
    ----------
    order_of_term : sequence of int
        Order of each term, counted from 0.
    n_outputs : int
        Number of outputs.

    Attributes
    ----------
    phase : int or None
        In training, None predicts all orders; a number only that order (the others are frozen).

    References
    ----------
    Woertwein et al. (2022), "Beyond Additive Fusion: Learning Non-Additive Multimodal
    Interactions", section 3.
    """

    decays_all = True
    order_of_term: Tensor

    def __init__(self, order_of_term: Sequence[int], n_outputs: int) -> None:
        super().__init__()
        self.register_buffer("order_of_term", torch.tensor(order_of_term), persistent=False)
        self.n_orders = max(order_of_term) + 1
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        self.phase: int | None = None
        self.values_per_row = len(order_of_term) * n_outputs

    def by_order(self, features: Tensor) -> Tensor:
        """Sum the contributions of each order, (b, t, k) -> (b, o, k)."""
        sums = features.new_zeros(len(features), self.n_orders, features.shape[2])
        return sums.index_add(1, self.order_of_term, features)

    def forward(self, features: Tensor) -> Tensor:
        """Return outputs (b, k); in training (b, o, k), one prediction per order."""
        if not self.training:
            return features.sum(1) + self.bias
        parts = self.by_order(features)
        parts = torch.cat([parts[:, :1] + self.bias, parts[:, 1:]], 1)
        below = (parts.cumsum(1) - parts).detach()
        predictions = below + parts
        if self.phase is None:
            return predictions
        return predictions[:, self.phase : self.phase + 1]

    def contributions(self, features: Tensor) -> Tensor:
        """Return what every term adds, (b, t, k)."""
        return features

    def readings(self, features: Tensor, share: Tensor, n_counted: float) -> dict[str, Tensor]:
        """Return the weighted variance of what every order adds, (o,), summed over outputs."""
        parts = self.by_order(features)
        centred = parts - torch.einsum("b,bok->ok", share, parts)
        return {"order_variances": torch.einsum("b,bok->o", share, centred.square())}


def set_phase(network: Any, phase: int | None) -> None:
    """Train one order alone, all others frozen; None trains all of them.

    Parameters
    ----------
    network : FusionNetwork
        Network with :class:`OrderEncoders`, :class:`TermOutputs` and :class:`OrderFusion`.
    phase : int or None
        Order, counted from 0.
    """
    fusion, features = network.fusion, network.features
    fusion.phase = phase
    everything = set(range(fusion.n_orders))
    trained = everything if phase is None else {phase}
    for part in (features, *network.encoders):
        part.frozen = everything - trained
        for order in everything:
            for parameter in part.of_order(order):
                parameter.requires_grad_(order in trained)
    fusion.bias.requires_grad_(0 in trained)
    network.train(network.training)
