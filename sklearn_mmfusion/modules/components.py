"""Principal components of the training rows, in front of an encoder of flat features.

Letters: b batch row, n training row, d feature, r component.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ComponentsModule", "PrincipalComponents", "principal_directions"]

_EXACT = 1500  # up to so many rows or features the decomposition is exact
_OVERSAMPLING, _N_PASSES = 10, 8  # of the iteration above
_NEGLIGIBLE = 1e-10  # share of the largest variance below which there is no direction


def principal_directions(
    values: Tensor, weight: Tensor | None, n_components: int
) -> tuple[Tensor, Tensor]:
    """Directions of largest weighted variance, divided by the standard deviation along them.

    Parameters
    ----------
    values : Tensor of shape (n, d)
        Training rows.
    weight : Tensor of shape (n,) or None
        Row weights; rows of weight zero do not count. Whole numbers do what repeated rows do.
    n_components : int
        Number of components r.

    Returns
    -------
    mean : Tensor of shape (d,)
        Weighted mean.
    directions : Tensor of shape (r, d)
        In the order of variance, the largest loading of each positive; float64, on the CPU. Rows
        of zeros where there are fewer directions in which the rows differ.
    """
    values = values.detach().cpu()
    n, d = values.shape
    share = torch.ones(n, dtype=torch.float64) if weight is None else weight.cpu().double()
    directions = torch.zeros(n_components, d, dtype=torch.float64)
    if n == 0 or float(share.sum()) <= 0:
        return torch.zeros(d, dtype=torch.float64), directions
    if not bool((share > 0).all()):
        values, share = values[share > 0], share[share > 0]
    share = share / share.sum()
    rows = values.to(torch.float64, copy=True)  # the one copy that there is
    mean = share @ rows
    rows.sub_(mean).mul_(share.sqrt().unsqueeze(1))  # their squares sum to the variances
    found, variances = _leading(rows, n_components)
    if len(variances) == 0 or float(variances[0]) <= 0:
        return mean, directions
    keep = variances > _NEGLIGIBLE * variances[0]
    found, variances = found[keep], variances[keep]
    largest = found.gather(1, found.abs().argmax(1, keepdim=True))
    directions[: len(found)] = found * largest.sign() / variances.sqrt().unsqueeze(1)
    return mean, directions


def _leading(rows: Tensor, n_components: int) -> tuple[Tensor, Tensor]:
    """Return leading right singular vectors as rows, and the squares of the singular values."""
    n, d = rows.shape
    if min(n, d) > _EXACT:
        # Subspace iteration: what it depends on is the covariance, not the order of the rows.
        generator = torch.Generator().manual_seed(0)
        width = min(n_components + _OVERSAMPLING, n, d)
        basis = torch.randn(d, width, generator=generator, dtype=rows.dtype)
        for _ in range(_N_PASSES):
            basis = torch.linalg.qr(rows.T @ (rows @ basis)).Q
        small = rows @ basis
        variances, vectors = torch.linalg.eigh(small.T @ small)
        found = basis @ vectors
    elif d <= n:
        variances, found = torch.linalg.eigh(rows.T @ rows)
    else:
        variances, vectors = torch.linalg.eigh(rows @ rows.T)
        # Those in front alone: all of them would take as much memory as the rows once more.
        variances, vectors = variances[-n_components:], vectors[:, -n_components:]
        found = (rows.T @ vectors).div_(variances.clamp_min(1e-300).sqrt())
    order = torch.arange(len(variances) - 1, -1, -1)[:n_components]
    return found.T[order], variances[order].clamp_min(0.0)


class PrincipalComponents(nn.Module):
    """Project features on principal components of the training rows, with variance 1 each.

    Parameters
    ----------
    input_dim : int
        Number of features d.
    n_components : int
        Number of components r.

    Notes
    -----
    Shape: (b, d) -> (b, r). Call :meth:`fit_inputs` before training; the mean and the directions
    are buffers and part of the state.
    """

    mean: Tensor
    directions: Tensor

    def __init__(self, input_dim: int, n_components: int) -> None:
        super().__init__()
        self.output_dim = n_components
        self.register_buffer("mean", torch.zeros(input_dim))
        self.register_buffer("directions", torch.eye(n_components, input_dim))

    @torch.no_grad()
    def fit_inputs(self, values: Tensor, weight: Tensor | None = None) -> None:
        """Learn the components from training rows (n, d)."""
        mean, directions = principal_directions(values, weight, self.output_dim)
        self.mean.copy_(mean)
        self.directions.copy_(directions)

    def forward(self, values: Tensor) -> Tensor:
        """Return the components."""
        projected: Tensor = (values - self.mean) @ self.directions.T
        return projected


class ComponentsModule(nn.Module):
    """Encode principal components of flat features.

    Parameters
    ----------
    input_dim : int
        Number of features d.
    n_components : int
        Number of components r.
    encoder : nn.Module
        Encoder of r flat features.
    """

    def __init__(self, input_dim: int, n_components: int, encoder: Any) -> None:
        super().__init__()
        self.components = PrincipalComponents(input_dim, n_components)
        self.encoder = encoder
        self.output_dim = int(encoder.output_dim)

    def forward(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Shape: values (b, d) -> (b, k)."""
        return self.forward_prepared(self.prepare(values))

    def prepare(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return what training leaves as it is: the components, as the encoder prepares them."""
        found = self.components(values)
        has_more = hasattr(self.encoder, "prepare")
        prepared: Tensor = self.encoder.prepare(found) if has_more else found
        return prepared

    def forward_prepared(
        self, x: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Return the encoding of prepared values."""
        run = getattr(self.encoder, "forward_prepared", self.encoder)
        encoded: Tensor = run(x)
        return encoded

    @torch.no_grad()
    def fit_inputs(
        self, values: Tensor, lengths: Tensor | None = None, weight: Tensor | None = None
    ) -> None:
        """Learn what depends on the distribution of the inputs, before training."""
        self.components.fit_inputs(values, weight)
        fit = getattr(self.encoder, "fit_inputs", None)
        if fit is not None:
            fit(self.components(values), None, weight)
