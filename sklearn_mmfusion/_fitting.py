"""One fit of a model, from validated arrays to fitted arrays.

Pure: everything comes in as arguments and goes out as a :class:`FitResult`; the estimator decides
what to keep. Steps: hold rows out, scale, build, train, exact statistics, polish, read off.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sklearn_mmfusion._dataset import FusionDataset, to_dataset
from sklearn_mmfusion._errors import DivergedError
from sklearn_mmfusion._lazy_blocks import take_rows
from sklearn_mmfusion._plan import FusionPlan, State, build_network, load_state, network_state
from sklearn_mmfusion._polish import FusionProblem, clearly_less, polish
from sklearn_mmfusion._progress import FitTask
from sklearn_mmfusion._scaling import block_moments, column_moments, warn_of_lost_digits
from sklearn_mmfusion._stages import ProgressFile
from sklearn_mmfusion._training import (
    FusionNet,
    TrainingOptions,
    TrainingResult,
    seed_for,
    train,
)
from sklearn_mmfusion._vote import set_vote
from sklearn_mmfusion.data._blocks import ModalityData
from sklearn_mmfusion.modules.losses import LOSSES, smooth_loss
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork, joined
from sklearn_mmfusion.modules.residual import set_phase

__all__ = [
    "FEATURE_BYTES",
    "LAZY_FEATURE_BYTES",
    "PREPARED_BYTES",
    "FitInput",
    "FitResult",
    "FitSteps",
    "TargetScale",
    "Training",
    "chunk_rows",
    "feature_bytes",
    "fit_steps",
    "prepared_row_bytes",
]

Floats = npt.NDArray[np.float64]

# Encodings and features of the training rows, in float64, of which exact statistics, the polish
# and the readings are made; above, they are made of as many rows at random. Whoever has a modality
# on disk has little memory.
FEATURE_BYTES, LAZY_FEATURE_BYTES = 2 * 2**30, 64 * 2**20
# Rows from which encoders learn what depends on their inputs alone.
_INPUT_ROWS, _INPUT_BYTES = 20_000, 32 * 2**20
# Scaled values and fixed parts of encodings that are kept for all epochs.
PREPARED_BYTES = 64 * 2**20
_CHUNK_ROWS = 4096
_CHUNK_VALUES = 2**22  # numbers within the network for a chunk of rows: 32 MB in float64
_SHRINKAGES = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
_ALLOWANCE = 0.02  # share of a constant's loss that exactness may cost on held-out rows


@dataclass
class TargetScale:
    """Mean and scale of regression targets; 0 and 1 for classification."""

    mean: Floats
    scale: Floats


@dataclass
class FitInput:
    """Validated data of a fit.

    Attributes
    ----------
    data : ModalityData
        Modalities in the order of the plan.
    target : ndarray
        Encoded target.
    weight : ndarray or None
        Row weights, class weights included.
    kind : str
        Kind of the target.
    task : FitTask or None
        Who is told how far the fit is.
    is_part : bool
        Whether these are some of the rows of a fit.
    checkpoint : ProgressFile or None
        Where the trainings on these rows are kept.
    """

    data: ModalityData
    target: npt.NDArray[Any]
    weight: Floats | None
    kind: str
    task: FitTask | None = None
    checkpoint: ProgressFile | None = None
    is_part: bool = False

    def take(self, rows: npt.NDArray[np.intp]) -> FitInput:
        """Return some rows."""
        weight = None if self.weight is None else self.weight[rows]
        data, target = take_rows(self.data, rows), self.target[rows]
        return FitInput(data, target, weight, self.kind, self.task, self.checkpoint, is_part=True)


@dataclass
class FitResult:
    """What a fit leaves: arrays and plain Python.

    Attributes
    ----------
    plan : FusionPlan
        Plan with the scalings of the training rows.
    state : dict of str to ndarray
        Arrays of the network.
    target_scale : TargetScale
        Units of the outputs.
    training : TrainingResult
        Epochs.
    readings : dict of str to ndarray
        What the fusion says of its terms over the training rows: ``norms``, block norms in
        standardised units of the target, or the summaries of routing.
    contribution_std : ndarray of shape (n_terms, n_outputs)
        Weighted standard deviation of each contribution over the training rows, y's units; no
        rows where outputs are no sums of contributions.
    reg : float
        Strength of the penalty behind the fusion weights.
    polish_gap : float
        Relative duality gap of the weights; nan where they are not polished.
    gain, gain_error : float
        Share of the held-out loss of the best constant that the model takes away, and its
        standard error; nan without held-out rows.
    held_losses, held_share : ndarray of shape (n_held,) or None
        Loss and weight of each held-out row.
    n_held : float
        Number of rows that the weights of the held-out rows stand for.
    n_rows : int
        Number of training rows.
    is_vote : bool
        Whether the fusion is a weighted sum of log-posteriors.
    """

    plan: FusionPlan
    state: State
    target_scale: TargetScale
    training: TrainingResult
    readings: dict[str, Floats]
    contribution_std: Floats
    reg: float
    polish_gap: float
    gain: float
    gain_error: float
    held_losses: Floats | None = None
    held_share: Floats | None = None
    n_held: float = 0.0
    n_rows: int = 0
    is_vote: bool = False

    def clearly_beats(self, other: FitResult) -> bool:
        """Whether the held-out loss is lower by more than two standard errors."""
        mine, others, share = map(
            torch.from_numpy, (self.held_losses, other.held_losses, self.held_share)
        )
        return clearly_less(mine, others, share, self.n_held, n_errors=2.0)


@dataclass
class Training:
    """What a fit asks for: epochs of a network on rows, alone or beside others.

    Attributes
    ----------
    network : FusionNetwork
        Network that is trained in place.
    rows, stopping : FusionDataset
        Training rows, and held-out rows for early stopping or None.
    options : TrainingOptions
        Options.
    net : FusionNet or None
        Net of an earlier call to go on with.
    """

    network: FusionNetwork
    rows: FusionDataset
    stopping: FusionDataset | None
    options: TrainingOptions
    net: FusionNet | None = None

    def run(self) -> TrainingResult:
        """Train the network alone."""
        if self.options.n_phases > 1:
            return _train_in_phases(self.network, self.rows, self.stopping, self.options)
        return train(self.network, self.rows, self.stopping, self.options, self.net)


# Trainings that a fit asks for, one after the other; it takes their results and returns its own.
FitSteps = Generator[Training, TrainingResult, FitResult]


def fit_steps(
    plan: FusionPlan,
    train_input: FitInput,
    valid_input: FitInput | None,
    *,
    options: TrainingOptions,
    loss_name: str,
    dtype: torch.dtype,
    polish_weights: bool,
    vote: bool = False,
    start: State | None = None,
    one_epoch: bool = False,
    last: FitResult | None = None,
) -> FitSteps:
    """Fit a plan to data.

    A generator: it yields the training of its network, is sent the result, and returns what the fit
    leaves. So whoever runs several fits can train their networks together.

    Parameters
    ----------
    plan : FusionPlan
        Plan; its scalings are filled in here.
    train_input, valid_input : FitInput
        Rows to train on, and rows to judge by (and to stop, where the options say so) or None.
    options : TrainingOptions
        Training options.
    loss_name : str
        Key of :data:`~sklearn_mmfusion.modules.losses.LOSSES`.
    dtype : torch.dtype
        Dtype of training.
    polish_weights : bool
        Whether to solve the convex problem in the fusion weights at the end.
    vote : bool, default=False
        Whether to set them to a weighted sum of log-posteriors instead.
    start : dict of str to ndarray, optional
        Arrays of an earlier fit of the same plan to start from.
    one_epoch : bool, default=False
        One step of ``partial_fit``: statistics stay running averages, and the net lives on.
    last : FitResult, optional
        The step before: its scalings, weights and optimiser go on.
    """
    if last is None:
        plan = replace(plan, scalings=_input_scalings(plan, train_input))
        scale = _target_scale(train_input)
    else:
        plan, scale, start = last.plan, last.target_scale, last.state
    net = None if last is None else last.training.net
    if net is None:
        network = build_network(plan).to(dtype)
        if start is not None:
            load_state(network, start)
        network.to(options.device)
    else:
        network = net.module_

    def dataset(rows: FitInput) -> FusionDataset:
        weight = None if rows.weight is None else rows.weight / rows.weight.mean()
        target = _scaled(rows, scale)
        made = to_dataset(rows.data, target, weight, dtype).on_device(options.device)
        made.n_counted = _n_counted(rows.weight, len(target))
        return made

    rows = dataset(train_input)
    held = None if valid_input is None else dataset(valid_input)
    if start is None:
        with torch.no_grad():
            network.fusion.bias.copy_(_prior(rows, loss_name, plan.n_outputs))
        if network.learns_inputs:
            n_rows = max(256, min(_INPUT_ROWS, _INPUT_BYTES // max(1, rows.row_bytes())))
            network.fit_inputs(rows[:: -(-len(rows) // n_rows)][0].to(options.device))

    def finished(result: TrainingResult, polish_weights: bool) -> FitResult:
        trained = load_state(build_network(plan).double(), network_state(network)).eval()
        return _finish(
            plan,
            trained,
            rows.to("cpu", torch.float64),
            None if held is None else held.to("cpu", torch.float64),
            replace(result, net=result.net if one_epoch else None),
            scale,
            loss_name,
            options,
            exact=not one_epoch,
            polish_weights=polish_weights,
            vote=vote,
        )

    options = replace(options, so_far=lambda result: finished(result, False))
    stopping = held if options.patience is not None else None
    if one_epoch:
        result = yield Training(network, rows, stopping, replace(options, n_phases=1), net)
    else:
        seen = _prepared(network, rows)
        stopping = None if stopping is None else _prepared(network, stopping)
        result = yield Training(network, seen, stopping, options)
        del seen, stopping  # before the readings, which take memory of their own
    return finished(result, polish_weights)


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


def _train_in_phases(
    network: FusionNetwork,
    rows: FusionDataset,
    stopping: FusionDataset | None,
    options: TrainingOptions,
) -> TrainingResult:
    """Train one order of terms after the other, those before it frozen."""
    results: list[TrainingResult] = []
    for phase in range(options.n_phases):
        set_phase(network, phase)
        epochs = options.phase_epochs[phase] if options.phase_epochs else options.max_epochs
        title = f"{options.title}, step {phase + 1} of {options.n_phases}"
        phase_options = replace(options, max_epochs=epochs, title=title)
        results.append(train(network, rows, stopping, phase_options))
        if results[-1].interrupted:
            break
    set_phase(network, None)
    history: list[dict[str, object]] = []
    for phase, part in enumerate(results):
        for epoch in part.history:
            history.append({**epoch, "epoch": len(history) + 1, "phase": phase + 1})
    last = results[-1]
    return replace(
        last,
        history=history,
        n_epochs=len(history),
        stopped=all(part.stopped for part in results),
        phase_epochs=tuple(part.best_epoch or part.n_epochs for part in results),
    )


def _finish(
    plan: FusionPlan,
    network: FusionNetwork,
    rows: FusionDataset,
    held: FusionDataset | None,
    result: TrainingResult,
    scale: TargetScale,
    loss_name: str,
    options: TrainingOptions,
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
    gap, reg = float("nan"), options.reg
    share = _share(some)
    if vote:
        prior = _prior(some, loss_name, plan.n_outputs)
        set_vote(network, features, some.target, share, prior, loss_name, some.n_counted)
    elif polish_weights and options.reg > 0:
        tried = None if held is None else _some_rows(network, held, plan.seed)
        gap, reg = _polish_in_place(network, features, some, tried, share, loss_name, options)
        _check_finite(plan, network)
    with torch.no_grad():
        readings = network.fusion.readings(features, share, some.n_counted)
        spread = torch.zeros(0, plan.n_outputs, dtype=torch.float64)
        if hasattr(network.fusion, "contributions"):
            spread = _contribution_std(network, features, share)
    held_losses, gain, error = _judged(network, rows, held, loss_name)
    return FitResult(
        plan=plan,
        state=network_state(network),
        target_scale=scale,
        training=result,
        readings={name: value.numpy() for name, value in readings.items()},
        contribution_std=spread.numpy() * scale.scale,
        reg=reg,
        polish_gap=gap,
        gain=gain,
        gain_error=error,
        held_losses=held_losses,
        held_share=None if held is None else _share(held).numpy(),
        n_held=0.0 if held is None else held.n_counted,
        n_rows=len(rows),
        is_vote=vote,
    )


@torch.no_grad()
def _prepared(network: FusionNetwork, rows: FusionDataset) -> FusionDataset:
    """Return rows with their values prepared for all epochs, where that takes little memory."""
    if rows.is_large or rows.goes_to is not None or len(rows) == 0:
        return rows
    if prepared_row_bytes(network, rows) * len(rows) > PREPARED_BYTES:
        return rows
    chunks = rows.chunks(chunk_rows(network, rows))
    values = joined((network.prepare(chunk).values for chunk in chunks), len(rows))
    batch = rows.batch
    made = FusionBatch(values, batch.lengths, batch.present, batch.weight, prepared=True)
    prepared = FusionDataset(made, rows.target)
    prepared.n_counted = rows.n_counted
    return prepared


def prepared_row_bytes(network: FusionNetwork, rows: FusionDataset) -> int:
    """Bytes of the prepared values of a row."""
    return FusionDataset(network.prepare(rows[:1][0]), rows.target[:1]).row_bytes()


@torch.no_grad()
def _some_rows(network: FusionNetwork, rows: FusionDataset, seed: int) -> FusionDataset:
    """Return as many rows as have encodings and features that fit in memory."""
    limit = LAZY_FEATURE_BYTES if rows.is_large else FEATURE_BYTES
    return rows.sample(limit // feature_bytes(network, rows), seed_for(seed, "features"))


@torch.no_grad()
def feature_bytes(network: FusionNetwork, rows: FusionDataset) -> int:
    """Bytes of the encodings and features of a row in float64."""
    first, _ = rows[:2]
    encodings = network.encode(first, first.present)
    features = network.features(encodings, first.present, first.weight)
    return 8 * sum(part[0].numel() for part in (*encodings, features) if len(part))


@torch.no_grad()
def _features(network: FusionNetwork, rows: FusionDataset) -> Tensor:
    """Return the features of all terms in all rows."""
    chunks = rows.chunks(chunk_rows(network, rows))
    parts = ([network.term_features(batch, batch.present)] for batch in chunks)
    return joined(parts, len(rows))[0]


def chunk_rows(network: FusionNetwork, rows: FusionDataset) -> int:
    """Rows that go through the network at a time."""
    return max(16, min(_CHUNK_ROWS, _CHUNK_VALUES // max(1, network.values_per_row(rows.batch))))


def _contribution_std(network: FusionNetwork, features: Tensor, share: Tensor) -> Tensor:
    """Weighted standard deviation of every contribution, (t, k)."""
    rows = max(1, min(_CHUNK_ROWS, _CHUNK_VALUES // network.fusion.values_per_row))
    parts = [network.fusion.contributions(part) for part in features.split(rows)]
    contributions = torch.cat(parts)
    centred = contributions - torch.einsum("b,btk->tk", share, contributions)
    return torch.einsum("b,btk->tk", share, centred.square()).sqrt()


def _polish_in_place(
    network: FusionNetwork,
    features: Tensor,
    rows: FusionDataset,
    held: FusionDataset | None,
    share: Tensor,
    loss_name: str,
    options: TrainingOptions,
) -> tuple[float, float]:
    """Replace the fusion weights by the exact solution, where that predicts as well.

    Returns the duality gap (nan where the trained weights stay) and the strength of the penalty.
    """
    fusion = network.fusion
    problem = FusionProblem(
        features,
        rows.target,
        share,
        smooth_loss(loss_name),
        fusion.term_of_column,
        len(fusion.block_sizes),
        options.p,
        options.reg,
    )
    weight, bias = fusion.weight.detach().clone(), fusion.bias.detach().clone()
    if held is None or not options.reg_factors:
        # A number for reg is the user's word.
        solution = polish(problem, weight, bias)
        _set_fusion(network, solution.weight, solution.bias)
        return solution.gap, options.reg
    held_features = _features(network, held)
    held_share = _share(held)

    def losses(w: Tensor, b: Tensor) -> Tensor:
        # At the best common factor of the contributions: the penalty shrinks them all, on
        # purpose, and only how well they tell rows apart is in question.
        signal = held_features @ w.T
        scaled = [LOSSES[loss_name](factor * signal + b, held.target) for factor in _SHRINKAGES]
        return min(scaled, key=lambda loss: float((loss * held_share).sum()))

    trained = losses(weight, bias)
    constant = torch.zeros_like(weight), _prior(rows, loss_name, len(bias))
    allowance = _ALLOWANCE * float((losses(*constant) * held_share).sum())
    for factor in options.reg_factors:
        reg = factor * options.reg
        solution = polish(replace(problem, reg=reg), weight, bias)
        # Features that were fitted too closely to the training rows mislead the exact solution.
        solved = losses(solution.weight, solution.bias) - allowance
        if not clearly_less(trained, solved, held_share, held.n_counted):
            _set_fusion(network, solution.weight, solution.bias)
            return solution.gap, reg
    return float("nan"), options.reg


@torch.no_grad()
def _set_fusion(network: FusionNetwork, weight: Tensor, bias: Tensor) -> None:
    network.fusion.weight.copy_(weight)
    network.fusion.bias.copy_(bias)


@torch.no_grad()
def _outputs(network: FusionNetwork, dataset: FusionDataset) -> Tensor:
    chunks = dataset.chunks(chunk_rows(network, dataset))
    return joined(([network(batch)] for batch in chunks), len(dataset))[0]


def _judged(
    network: FusionNetwork, rows: FusionDataset, held: FusionDataset | None, loss_name: str
) -> tuple[Floats | None, float, float]:
    """Losses of held-out rows, gain over the best constant of the training rows, its error."""
    if held is None:
        return None, float("nan"), float("nan")
    prior = _prior(rows, loss_name, len(network.fusion.bias)).expand(len(held), -1)
    loss = LOSSES[loss_name]
    before, after = loss(prior, held.target), loss(_outputs(network, held), held.target)
    share, difference = _share(held), before - after
    reference = float((before * share).sum())
    if reference <= 0:
        return after.numpy(), float("nan"), float("nan")
    mean = (difference * share).sum()
    variance = (share * (difference - mean).square()).sum() / held.n_counted
    return after.numpy(), float(mean) / reference, float(variance.sqrt()) / reference


def _n_counted(weight: Floats | None, n: int) -> float:
    """Rows that weights stand for: whole numbers count repetitions, others Kish's size."""
    if weight is None:
        return float(n)
    if (weight == np.round(weight)).all():
        return float(weight.sum())
    return float(weight.sum() ** 2 / np.square(weight).sum())


def _share(dataset: FusionDataset) -> Tensor:
    """Row weights that sum to 1, float64."""
    weight = dataset.batch.weight
    if weight is None:
        return torch.full((len(dataset),), 1.0 / len(dataset), dtype=torch.float64)
    weight = weight.double()
    return weight / weight.sum()


def _prior(rows: FusionDataset, loss_name: str, n_outputs: int) -> Tensor:
    """Return the best constant outputs: log-odds, log-frequencies, means or medians."""
    share, target = _share(rows).to(rows.target.device), rows.target
    tiny = 1e-12
    if loss_name == "binary":
        rate = (share * target.double()).sum().clamp(tiny, 1 - tiny)
        return torch.logit(rate)[None]
    if loss_name == "multiclass":
        counts = torch.zeros(n_outputs, dtype=torch.float64, device=target.device)
        counts = counts.index_add(0, target, share)
        logs = counts.clamp_min(tiny).log()
        return logs - logs.mean()
    if loss_name == "multilabel":
        return torch.logit((share @ target.double()).clamp(tiny, 1 - tiny))
    if loss_name == "absolute_error":
        return _weighted_median(target.double(), share)
    return share @ target.double()


def _weighted_median(target: Tensor, share: Tensor) -> Tensor:
    order = target.argsort(0)
    cumulative = share[order].cumsum(0)
    first = (cumulative >= 0.5 - 1e-12).to(torch.int8).argmax(0)
    return target.gather(0, order).gather(0, first[None])[0]


def _input_scalings(
    plan: FusionPlan, fit_input: FitInput
) -> tuple[tuple[Floats, Floats] | None, ...]:
    scalings: list[tuple[Floats, Floats] | None] = []
    for m, block in enumerate(fit_input.data.blocks):
        if plan.takes_codes(m):
            scalings.append(None)
            continue
        mean, scale = block_moments(block, fit_input.weight)
        warn_of_lost_digits(block.name, mean, scale)
        scalings.append((mean, scale))
    return tuple(scalings)


def _target_scale(fit_input: FitInput) -> TargetScale:
    if fit_input.kind == "regression":
        mean, scale = column_moments(fit_input.target.astype(np.float64), fit_input.weight)
        return TargetScale(mean, scale)
    return TargetScale(np.zeros(1), np.ones(1))


def _scaled(fit_input: FitInput, scale: TargetScale) -> npt.NDArray[Any]:
    if fit_input.kind != "regression":
        return fit_input.target
    return (fit_input.target - scale.mean) / scale.scale
