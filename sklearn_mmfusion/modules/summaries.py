"""What routing says over many rows: means with intervals, relevance, shares of contribution.

Letters: b row, t term, j concept, k output.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["activation_summary", "contribution_shares", "mean_interval", "routing_summary"]

_NORMAL_QUANTILE = 1.959963984540054  # of 0.975


def mean_interval(
    values: Tensor, present: Tensor, share: Tensor, n_counted: float
) -> tuple[Tensor, Tensor]:
    r"""Weighted mean over the rows in which a term is present, and its 95 % interval.

    .. math:: \bar x \pm 1.96\, s / \sqrt n, \qquad
              s^2 = \frac{n}{n - 1} \sum_b w_b (x_b - \bar x)^2

    Parameters
    ----------
    values : Tensor of shape (b, t, ...)
        Values.
    present : Tensor of bool of shape (b, t)
        Rows that count for each term.
    share : Tensor of shape (b,)
        Row weights that sum to 1.
    n_counted : float
        Number of rows that the weights stand for.

    Returns
    -------
    mean : Tensor of shape (t, ...)
        NaN for a term that no row has.
    interval : Tensor of shape (t, ..., 2)
        Lower and upper end; NaN where fewer than two rows count.

    References
    ----------
    Tsai et al. (2020), *Multimodal Routing*, section 3.2.
    """
    weight = present.to(values.dtype) * share.to(values.dtype)[:, None]
    total = weight.sum(0)
    weight = (weight / total).reshape(weight.shape + (1,) * (values.ndim - 2))
    mean = (weight * values).sum(0)
    n = (n_counted * total).reshape(total.shape + (1,) * (values.ndim - 2))
    variance = (weight * (values - mean).square()).sum(0) * n / (n - 1)
    half = _NORMAL_QUANTILE * (variance / n).sqrt()
    half = torch.where(n > 1, half, torch.nan)
    return mean, torch.stack([mean - half, mean + half], -1)


def contribution_shares(contributions: Tensor, share: Tensor) -> Tensor:
    """Share of each term in the mean absolute contribution, (t,); they sum to 1.

    Shape: contributions (b, t, k), share (b,). All zero where nothing contributes.
    """
    size = torch.einsum("b,btk->t", share.to(contributions.dtype), contributions.abs())
    return size / size.sum().clamp_min(torch.finfo(size.dtype).tiny)


def predicted_concepts(logits: Tensor, is_multilabel: bool) -> Tensor:
    """Weight of each concept among those predicted in a row, (b, j); rows sum to 1.

    One label of a row, or all whose logit is positive; the largest where none is. A single
    logit is that of the second of two concepts.
    """
    if logits.shape[1] == 1:
        second = (logits > 0).to(logits.dtype)
        return torch.cat([1 - second, second], 1)
    chosen = torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)
    if is_multilabel:
        positive = (logits > 0).to(logits.dtype)
        chosen = torch.where(positive.any(1, keepdim=True), positive, chosen)
    return chosen / chosen.sum(1, keepdim=True)


def _normalised(scores: Tensor) -> Tensor:
    return scores / scores.sum().clamp_min(torch.finfo(scores.dtype).tiny)


def routing_summary(
    coefficients: Tensor,
    activations: Tensor,
    contributions: Tensor,
    logits: Tensor,
    share: Tensor,
    n_counted: float,
    *,
    is_multilabel: bool = False,
) -> dict[str, Tensor]:
    r"""Global interpretation of routing.

    Parameters
    ----------
    coefficients : Tensor of shape (b, t, j)
        Routing coefficients r.
    activations : Tensor of shape (b, t)
        Activations p, 0 where a term is absent.
    contributions : Tensor of shape (b, t, k)
        Contributions to the logits.
    logits : Tensor of shape (b, k)
        Logits; k = 1 for two concepts.
    share : Tensor of shape (b,)
        Row weights that sum to 1.
    n_counted : float
        Number of rows that they stand for.
    is_multilabel : bool, default=False
        Whether a row may have several labels.

    Returns
    -------
    dict of str to Tensor
        ``routing_coefficients`` (t, j), ``activations`` (t,) and ``routed_activations`` (t, j),
        means over the rows in which the term is present, each with ``<name>_intervals``;
        ``relevance`` (t,), the mean of :math:`p_i r_{i\hat y}`, normalised to sum to 1; and
        ``contribution_share`` (t,).
    """
    routed = activations[..., None] * coefficients
    present = activations > 0
    found = {}
    for name, values in {
        "routing_coefficients": coefficients,
        "activations": activations,
        "routed_activations": routed,
    }.items():
        mean, interval = mean_interval(values, present, share, n_counted)
        found[name], found[f"{name}_intervals"] = mean, interval
    chosen = predicted_concepts(logits, is_multilabel)
    found["relevance"] = _normalised(torch.einsum("b,btj,bj->t", share, routed, chosen))
    found["contribution_share"] = contribution_shares(contributions, share)
    return found


def activation_summary(
    activations: Tensor,
    contributions: Tensor,
    share: Tensor,
    n_counted: float,
) -> dict[str, Tensor]:
    """Global interpretation without routing; see :func:`routing_summary`.

    The relevance is the mean activation, normalised to sum to 1: routing would be uniform.
    """
    mean, interval = mean_interval(activations, activations > 0, share, n_counted)
    return {
        "activations": mean,
        "activations_intervals": interval,
        "relevance": _normalised(share @ activations),
        "contribution_share": contribution_shares(contributions, share),
    }
