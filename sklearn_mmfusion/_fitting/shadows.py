r"""What an interaction says of each of its modalities alone.

Where modalities are related, a product of two follows what is bent in one of them:
:math:`\mathbb{E}[ab \mid a]` is a square where :math:`\mathbb{E}[b \mid a]` is linear. So a product
can stand for a square that the encoder of the modality has missed, and is no interaction.

Letters: n row, d latent feature, k output, q column.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["shadow"]

_MOST_LATENT = 8  # principal components of a latent vector, of which squares and products are made
_RIDGE = 1e-3


def shadow(latent: Tensor, contribution: Tensor, share: Tensor, new_latent: Tensor) -> Tensor:
    """Predict what an interaction contributes from the latent vector of one of its modalities.

    Parameters
    ----------
    latent : Tensor of shape (n, d)
        Latent vectors of the modality in the term, of training rows.
    contribution : Tensor of shape (n, k)
        Contributions of the term there.
    share : Tensor of shape (n,)
        Row weights that sum to 1; 0 where the term is absent.
    new_latent : Tensor of shape (m, d)
        Latent vectors of other rows.

    Returns
    -------
    Tensor of shape (m, k)
        The best prediction from the features of the latent vector, their squares and products.
    """
    mean = share @ latent
    centred = latent - mean
    size, directions = torch.linalg.eigh(centred.T @ (share[:, None] * centred))
    there = size > 1e-6 * size[-1].clamp_min(1e-300)
    directions = (directions[:, there] / size[there].sqrt())[:, -_MOST_LATENT:]
    columns = _quadratic(centred @ directions)
    new = _quadratic((new_latent - mean) @ directions)
    centre = share @ columns
    columns, new = columns - centre, new - centre
    target = contribution - share @ contribution
    weighted = share[:, None] * columns
    gram = columns.T @ weighted
    # Of few rows the columns can say anything.
    ridge = _RIDGE + gram.shape[0] / max(1.0, 1.0 / float(share @ share))
    scale = gram.diagonal().mean().clamp_min(1e-300)
    gram = gram + ridge * scale * torch.eye(len(gram), dtype=gram.dtype)
    return new @ torch.linalg.solve(gram, weighted.T @ target)


def _quadratic(z: Tensor) -> Tensor:
    """Return the columns, their squares and their products, (n, q)."""
    first, second = torch.triu_indices(z.shape[1], z.shape[1])
    return torch.cat([z, z[:, first] * z[:, second]], 1)
