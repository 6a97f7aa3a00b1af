"""The end of a fit: exact statistics, the polish, and what is read off the trained network."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sklearn_mmfusion import functional as F
from sklearn_mmfusion._errors import DivergedError
from sklearn_mmfusion._fitting.data import FitResult, TargetScale
from sklearn_mmfusion._fitting.gains import held_out_gain
from sklearn_mmfusion._fitting.held_outputs import held_fit
from sklearn_mmfusion._fitting.scales import best_constant, row_shares
from sklearn_mmfusion._fitting.vote import set_vote
from sklearn_mmfusion._model.plan import FusionPlan, network_state
from sklearn_mmfusion._model.seeds import seed_for
from sklearn_mmfusion._rows.row_errors import RowErrors
from sklearn_mmfusion._training.dataset import FusionDataset
from sklearn_mmfusion._training.epochs import TrainingResult
from sklearn_mmfusion._training.net import TrainingOptions
from sklearn_mmfusion._training.network_rows import chunk_of, chunk_rows, feature_bytes
from sklearn_mmfusion._training.polish import FusionProblem
from sklearn_mmfusion._training.solving import HeldFeatures, Relaxation, solve
from sklearn_mmfusion.modules.losses import smooth_loss
from sklearn_mmfusion.modules.network import FusionNetwork, joined

__all__ = ["FEATURE_BYTES", "LAZY_FEATURE_BYTES", "finish"]

Floats = npt.NDArray[np.float64]

# Encodings and features of the training rows, in float64, of which exact statistics, the polish
# and the readings are made; above, they are made of as many rows at random. Whoever has a modality
# on disk has little memory.
FEATURE_BYTES, LAZY_FEATURE_BYTES = 2 * 2**30, 64 * 2**20


def finish(
    plan: FusionPlan,
    network: FusionNetwork,
    rows: FusionDataset,
    held: FusionDataset | None,
    result: TrainingResult,
    scale: TargetScale,
    loss_name: str,
    options: TrainingOptions,
    held_errors: RowErrors | None = None,
    *,
    exact: bool,
    polish_weights: bool,
    vote: bool,
) -> FitResult:
    """Exact statistics, polish, and everything that is read off the trained network."""
    some = _some_rows(network, rows, plan.seed)
    if exact:
        network.recompute_statistics(some.chunks(chunk_rows(network, some)), some.batch)
    features = _features(network, some)
    _check_finite(plan, network, features)
    share = row_shares(some)
    fusion = network.fusion
    gap, reg, relaxation = float("nan"), options.reg, Relaxation()
    if vote:
        constant = best_constant(some, loss_name, plan.n_outputs)
        errors = RowErrors(share, some.n_counted, group=some.group)
        set_vote(network, features, some.target, constant, loss_name, errors)
    elif (polish_weights or options.relaxation is not None) and options.reg > 0:
        solution = solve(
            FusionProblem(
                features,
                some.target,
                share,
                smooth_loss(loss_name),
                fusion.term_of_column,
                len(fusion.block_sizes),
                options.p,
                options.reg,
            ),
            fusion.weight.detach().clone(),
            fusion.bias.detach().clone(),
            None if held is None else _held_features(network, held, plan.seed, loss_name),
            best_constant(some, loss_name, plan.n_outputs),
            options.reg_factors,
            polishes=polish_weights,
            relaxes=options.p == 1 or all(len(term) == 1 for term in plan.terms),
            relaxation=options.relaxation,
        )
        _set_fusion(network, solution.weight, solution.bias)
        gap, reg, relaxation = solution.gap, solution.reg, solution.relaxation
        _check_finite(plan, network)
    with torch.no_grad():
        readings = network.fusion.readings(features, share, some.n_counted)
        spread = torch.zeros(0, plan.n_outputs, dtype=torch.float64)
        if hasattr(network.fusion, "contributions"):
            centred = _centred_contributions(network, features, share)
            spread = torch.einsum("b,btk->tk", share, centred.square()).sqrt()
            if "norms" in readings and exact:  # one batch of a stream says little of them
                readings["least_norms"] = _least_norms(centred, share, loss_name)
    held_outputs, gain, error = None, float("nan"), float("nan")
    if held is not None and held_errors is not None:
        held_outputs = held_fit(network, rows, held, held_errors, loss_name, plan.seed)
        losses = torch.from_numpy(held_outputs.losses)
        gain, error = held_out_gain(losses, rows, held, loss_name, plan.n_outputs, held_errors)
    return FitResult(
        plan=plan,
        state=network_state(network),
        target_scale=scale,
        training=result,
        readings={name: value.numpy() for name, value in readings.items()},
        contribution_std=spread.numpy() * scale.scale,
        reg=reg,
        polish_gap=gap,
        relaxation=(relaxation.strength, relaxation.factor),
        gain=gain,
        gain_error=error,
        validation_history=[] if held is None else result.history,
        held=held_outputs,
        n_rows=len(rows),
        is_vote=vote,
    )


def _check_finite(plan: FusionPlan, network: FusionNetwork, features: Tensor | None = None) -> None:
    """Refuse a model that would predict NaN: statistics can overflow where weights do not."""
    sound = {name: bool(v.isfinite().all()) for name, v in network.state_dict().items()}
    if features is not None:
        # Minus infinity is the activation logit of a term that is not there.
        sound["features of terms"] = bool((features < math.inf).all())
    for name, is_sound in sound.items():
        if is_sound:
            continue
        parts = name.split(".")
        is_of_one = parts[0] == "encoders" and not plan.is_joint
        who = f" of modality {plan.names[int(parts[1])]!r}" if is_of_one else ""
        raise DivergedError(
            f"the fitted model is not finite ({name}{who}): look for extreme values in the data, "
            "or lower lr"
        )


@torch.no_grad()
def _set_fusion(network: FusionNetwork, weight: Tensor, bias: Tensor) -> None:
    network.fusion.weight.copy_(weight)
    network.fusion.bias.copy_(bias)


def _centred_contributions(network: FusionNetwork, features: Tensor, share: Tensor) -> Tensor:
    """Contributions of terms to outputs less their means, (b, t, k)."""
    rows = chunk_of(network.fusion.values_per_row)
    parts = [network.fusion.contributions(part) for part in features.split(rows)]
    contributions = torch.cat(parts)
    return contributions - torch.einsum("b,btk->tk", share, contributions)


def _least_norms(centred: Tensor, share: Tensor, loss_name: str) -> Tensor:
    """Norms of the smallest weights that make these contributions, (t,)."""
    if centred.shape[2] == 1:  # nothing is rounded on the way
        return torch.einsum("b,btk->tk", share, centred.square()).sqrt()[:, 0]
    if loss_name == "multiclass":  # what is common to all classes changes no probability
        centred = centred - centred.mean(dim=2, keepdim=True)
    return F.least_block_norms(torch.einsum("b,btk,btl->tkl", share, centred, centred))


@torch.no_grad()
def _some_rows(network: FusionNetwork, rows: FusionDataset, seed: int) -> FusionDataset:
    """Return as many rows as have encodings and features that fit in memory."""
    limit = LAZY_FEATURE_BYTES if rows.is_large else FEATURE_BYTES
    return rows.sample(limit // feature_bytes(network, rows), seed_for(seed, "features"))


def _held_features(
    network: FusionNetwork, held: FusionDataset, seed: int, loss_name: str
) -> HeldFeatures:
    """Return the features of held-out rows."""
    some = _some_rows(network, held, seed)
    features = _features(network, some)
    errors = RowErrors(row_shares(some), some.n_counted, group=some.group)
    return HeldFeatures(features, some.target, errors, loss_name)


@torch.no_grad()
def _features(network: FusionNetwork, rows: FusionDataset) -> Tensor:
    """Return the features of all terms in all rows."""
    chunks = rows.chunks(chunk_rows(network, rows))
    parts = ([network.term_features(batch, batch.present)] for batch in chunks)
    return joined(parts, len(rows))[0]
