"""Exact statistics for batch norms of torch's, within modules of a user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_mmfusion.modules.batchnorm import Moments

__all__ = ["TorchNorm", "recompute_torch_norms", "trained_norms"]

TorchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def trained_norms(module: nn.Module) -> list[TorchNorm]:
    """Return the batch norms whose running averages training moves.

    Not those that the user keeps as they are: in evaluation mode by a ``train`` of the module's
    own, by a momentum of 0, or with frozen parameters. The module is in training mode here.
    """
    return [
        norm
        for norm in module.modules()
        if isinstance(norm, TorchNorm)
        and norm.training
        and norm.running_mean is not None
        and norm.momentum != 0
        and all(parameter.requires_grad for parameter in norm.parameters(recurse=False))
    ]


@torch.no_grad()
def recompute_torch_norms(norms: Sequence[TorchNorm], run_pass: Callable[[], object]) -> None:
    """Replace the running averages of torch's batch norms by statistics of a data set.

    They are what one batch of all rows would leave with a momentum of 1. In a pass of several
    batches each norm sees inputs that the norms before it have normalised batch by batch, as in
    training. That takes one pass where exact inputs would take one for each norm of a chain: a
    module of the user's may have fifty.

    Parameters
    ----------
    norms : sequence of torch batch norms
        Norms of modules in evaluation mode.
    run_pass : callable
        Called once, without arguments; must send the whole data set through the modules.
    """
    if not norms:
        return
    # The averages are there, or they would not be moved.
    averages: list[tuple[Any, Any]] = [(norm.running_mean, norm.running_var) for norm in norms]
    moments = {norm: Moments(mean) for norm, (mean, _) in zip(norms, averages, strict=True)}
    counts = [norm.num_batches_tracked for norm in norms]

    def look(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        (x,) = inputs
        moments[norm].update(x, None)
        norm.training = x.numel() > norm.num_features  # torch refuses one value per channel

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        for norm in norms:
            norm.num_batches_tracked = None  # or torch would count this pass
        run_pass()
    finally:
        for norm, hook, count in zip(norms, hooks, counts, strict=True):
            hook.remove()
            norm.training = False
            norm.num_batches_tracked = count
    for found, (mean, var) in zip(moments.values(), averages, strict=True):
        if found.total > 1:
            mean.copy_(found.mean)
            var.copy_(found.scatter / (found.total - 1))  # as torch divides
