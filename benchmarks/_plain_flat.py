"""Models of flat modalities in plain torch: what `plain_torch.py` compares the package with."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from _plain_training import CODE, DROPOUT, LATENT, REG, WIDTH, mlp
from torch import Tensor, nn
from torch.nn import functional as nnf

__all__ = ["Activated", "Blocks", "Early", "Late", "Residual", "Tensors"]


def unit(h: Tensor) -> Tensor:
    """Return a centred batch whose mean squared norm is 1."""
    h = h - h.mean(0)
    return h / (h.square().sum(1).mean() + 1e-5).sqrt()


class Encoded(nn.Module):
    """One encoder per modality."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(mlp(d, WIDTH, CODE) for d in dims)
        m = range(len(dims))
        self.terms = [t for k in (1, 2) for t in combinations(m, k)]

    def encode(self, x: list[Tensor]) -> list[Tensor]:
        """Return the encodings."""
        return [encoder(part) for encoder, part in zip(self.encoders, x, strict=True)]

    def loss(self, x: list[Tensor], y: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        return nnf.cross_entropy(self(x), y)


class Late(Encoded):
    """Concatenation and a linear layer."""

    def __init__(self, dims: Sequence[int], k: int) -> None:
        super().__init__(dims)
        self.out = nn.Linear(CODE * len(dims), k)

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        return self.out(torch.cat(self.encode(x), 1))


class Early(Encoded):
    """One encoder on all features."""

    def __init__(self, dims: Sequence[int], k: int) -> None:
        super().__init__([sum(dims)])
        self.out = nn.Linear(CODE, k)

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        return self.out(self.encoders[0](torch.cat(x, 1)))


class Tensors(Encoded):
    """A network on the tensor product."""

    def __init__(self, dims: Sequence[int], k: int) -> None:
        super().__init__(dims)
        self.maps = nn.ModuleList(nn.Linear(CODE, LATENT) for _ in dims)
        self.out = nn.Sequential(
            nn.Linear((1 + LATENT) ** len(dims), 64), nn.ReLU(), nn.Dropout(DROPOUT),
            nn.Linear(64, 64), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(64, k),
        )  # fmt: skip

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        product = torch.ones(len(x[0]), 1)
        for h, linear in zip(self.encode(x), self.maps, strict=True):
            one = nnf.pad(linear(h), (1, 0), value=1.0)
            product = torch.einsum("bi,bj->bij", product, one).flatten(1)
        return self.out(product)


class Residual(nn.Module):
    """Order by order on what is left over, each with encoders of its own."""

    def __init__(self, dims: Sequence[int], k: int) -> None:
        super().__init__()
        self.orders = nn.ModuleList(Encoded(dims) for _ in range(2))
        terms = self.orders[0].terms
        self.nets = nn.ModuleList(mlp(CODE * len(t), WIDTH, k) for t in terms)
        self.terms = terms

    def by_order(self, x: list[Tensor]) -> list[Tensor]:
        """Return what each order adds."""
        codes = [order.encode(x) for order in self.orders]
        parts: list[list[Tensor]] = [[], []]
        for term, net in zip(self.terms, self.nets, strict=True):
            o = len(term) - 1
            parts[o].append(net(torch.cat([codes[o][m] for m in term], 1)))
        return [sum(part) for part in parts]

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        return sum(self.by_order(x))

    def loss(self, x: list[Tensor], y: Tensor) -> Tensor:
        """Return the loss of every order, those below it without gradient."""
        first, second = self.by_order(x)
        return nnf.cross_entropy(first, y) + nnf.cross_entropy(first.detach() + second, y)


class Activated(Encoded):
    """Features f and activations p of single modalities and pairs, added up (GAM) or routed."""

    def __init__(self, dims: Sequence[int], k: int, *, routed: bool, d: int = 64) -> None:
        super().__init__(dims)
        self.routed, self.d, self.k = routed, d, k
        self.nets = nn.ModuleList(
            nn.Sequential(
                nn.Linear(CODE * len(t), d), nn.ReLU(), nn.Dropout(0.5), nn.Linear(d, d + 1)
            )
            for t in self.terms
        )
        self.votes = nn.Parameter(torch.randn(len(self.terms), d, k, d) * d**-0.5)
        self.out = nn.Parameter(torch.randn(k, d) * d**-0.5)
        self.bias = nn.Parameter(torch.zeros(k))

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        codes = [unit(h) * CODE**0.5 for h in self.encode(x)]
        found = [
            net(torch.cat([codes[m] for m in t], 1))
            for t, net in zip(self.terms, self.nets, strict=True)
        ]
        stacked = torch.stack(found, 1)
        f, p = stacked[..., :-1], stacked[..., -1].sigmoid()
        if not self.routed:
            return self.bias + torch.einsum("bt,btd,kd->bk", p, f, self.out)
        v = torch.einsum("btd,tdjc->btjc", f, self.votes)
        r = torch.full(v.shape[:3], 1 / self.k)
        c = torch.einsum("bt,btj,btjc->bjc", p, r, v)
        r = torch.einsum("btjc,bjc->btj", v, c).mul(self.d**-0.5).softmax(2)
        c = nnf.dropout(torch.einsum("bt,btj,btjc->bjc", p, r, v), 0.5, self.training)
        return self.bias + torch.einsum("bjc,jc->bj", c, self.out)


class Blocks(Encoded):
    """Normalised blocks under a linear layer with a block-norm penalty; IterBN of pairs."""

    def __init__(self, dims: Sequence[int], k: int, *, pairs: bool) -> None:
        super().__init__(dims)
        self.terms = [t for t in self.terms if pairs or len(t) == 1]
        d = LATENT if pairs else CODE  # encodings that no pair shares are taken as they are
        self.maps = nn.ModuleList(
            nn.ModuleList(nn.Linear(CODE, d, bias=False) if pairs else nn.Identity() for _ in t)
            for t in self.terms
        )
        sizes = [d ** len(t) for t in self.terms]
        self.weights = nn.ParameterList(torch.randn(k, s) * 0.1 for s in sizes)
        self.bias = nn.Parameter(torch.zeros(k))

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        h = self.encode(x)
        total = self.bias
        for term, maps, weight in zip(self.terms, self.maps, self.weights, strict=True):
            us = [unit(linear(h[m])) for m, linear in zip(term, maps, strict=True)]
            z = us[0] if len(us) == 1 else unit(torch.einsum("bi,bj->bij", *us).flatten(1))
            total = total + z @ weight.T
        return total

    def loss(self, x: list[Tensor], y: Tensor) -> Tensor:
        """Return the mean loss and the penalty, the squared sum of the block norms (p = 1)."""
        norms = torch.stack([w.norm() for w in self.weights])
        return super().loss(x, y) + REG * norms.sum().square()
