"""One fit of a network, from validated arrays to fitted arrays.

Pure: everything comes in as arguments and goes out as a :class:`FitResult`; the estimator decides
what to keep. Steps: scale, build, train, and what :mod:`sklearn_mmfusion._fitting.finishing` does.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import torch

from sklearn_mmfusion._encoders.choosing import SMALL_SAMPLE
from sklearn_mmfusion._fitting.data import FitInput, FitResult
from sklearn_mmfusion._fitting.finishing import finish
from sklearn_mmfusion._fitting.gains import row_errors
from sklearn_mmfusion._fitting.scales import (
    best_constant,
    input_scalings,
    scaled_target,
    target_scale,
)
from sklearn_mmfusion._model.plan import FusionPlan, State, build_network, load_state, network_state
from sklearn_mmfusion._rows.weights import n_counted
from sklearn_mmfusion._training.dataset import FusionDataset, to_dataset
from sklearn_mmfusion._training.devices import prediction_device
from sklearn_mmfusion._training.epochs import TrainingResult
from sklearn_mmfusion._training.loop import train
from sklearn_mmfusion._training.net import FusionNet, TrainingOptions
from sklearn_mmfusion._training.network_rows import chunk_rows
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork, joined
from sklearn_mmfusion.modules.residual import set_phase

__all__ = [
    "PREPARED_BYTES",
    "FitSteps",
    "Training",
    "fit_steps",
    "learning_rows",
    "prepared_row_bytes",
]

# Most rows from which encoders learn what depends on their inputs alone; of small samples all.
_INPUT_ROWS, _INPUT_BYTES = 20_000, 32 * 2**20
# Scaled values and fixed parts of encodings that are kept for all epochs.
PREPARED_BYTES = 64 * 2**20


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
    goes_on : bool
        Whether a later call is to go on with the net.
    """

    network: FusionNetwork
    rows: FusionDataset
    stopping: FusionDataset | None
    options: TrainingOptions
    net: FusionNet | None = None
    goes_on: bool = False

    def run(self) -> TrainingResult:
        """Train the network alone."""
        if self.options.n_phases > 1:
            return _train_in_phases(self.network, self.rows, self.stopping, self.options)
        result = train(self.network, self.rows, self.stopping, self.options, self.net)
        return result if self.goes_on else _without_net(result)


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
        plan = replace(
            plan, scalings=input_scalings(plan, train_input, more_to_come=one_epoch), linear=()
        )
        scale = target_scale(train_input, loss_name, more_to_come=one_epoch)
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
        weight = rows.weight
        if weight is not None and not one_epoch:  # in a stream they say how much a batch counts
            weight = weight / weight.mean()
        target = scaled_target(rows, scale)
        made = to_dataset(rows.data, target, weight, dtype).on_device(options.device)
        made.n_counted = n_counted(rows.weight, len(target))
        made.group = None if rows.groups is None else torch.from_numpy(rows.groups)
        return made

    rows = dataset(train_input)
    held = None if valid_input is None else dataset(valid_input)
    held_errors = None
    if valid_input is not None and held is not None:
        held_errors = row_errors(valid_input, held)
    if start is None:
        with torch.no_grad():
            constant = best_constant(rows, loss_name, plan.n_outputs, more_to_come=one_epoch)
            network.fusion.bias.copy_(constant)
        if network.learns_inputs:
            some = rows.sample(learning_rows(len(rows), rows.row_bytes()), plan.seed)
            network.fit_inputs(some[:][0].to(options.device))
    if not one_epoch and hasattr(network.features, "set_presence"):
        network.features.set_presence(rows.batch.present, rows.batch.weight)

    def finished(result: TrainingResult, polish_weights: bool) -> FitResult:
        trained = load_state(build_network(plan).double(), network_state(network)).eval()
        trained.place_encoders(prediction_device(options.device))
        return finish(
            plan,
            trained,
            rows.to("cpu", torch.float64),
            None if held is None else held.to("cpu", torch.float64),
            replace(result, net=result.net if one_epoch else None),
            scale,
            loss_name,
            options,
            held_errors,
            exact=not one_epoch,
            polish_weights=polish_weights,
            vote=vote,
        )

    # Under a name of its own: what refers to `finished` and is referred to by it would keep the
    # rows, those on a GPU too, until Python looks for circles.
    watched = replace(options, so_far=lambda result: finished(result, False))
    stopping = held if options.patience is not None else None
    if one_epoch:
        one = replace(watched, n_phases=1)
        result = yield Training(network, rows, stopping, one, net, goes_on=True)
    else:
        seen = _prepared(network, rows)
        stopping = None if stopping is None else _prepared(network, stopping)
        result = yield Training(network, seen, stopping, watched)
        del seen, stopping  # before the readings, which take memory of their own
    return finished(result, polish_weights)


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
        results.append(_without_net(train(network, rows, stopping, phase_options)))
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


def _without_net(result: TrainingResult) -> TrainingResult:
    """Leave the net behind, and at once what it holds of a GPU: Python looks for circles late."""
    if result.net is not None:
        result.net.release()
    return replace(result, net=None)


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


def learning_rows(n: int, row_bytes: int) -> int:
    """Return from how many rows encoders learn what depends on their inputs alone."""
    n_rows = min(_INPUT_ROWS, _INPUT_BYTES // max(1, row_bytes))
    return min(n, max(n_rows, SMALL_SAMPLE if n <= SMALL_SAMPLE else 256))


def prepared_row_bytes(network: FusionNetwork, rows: FusionDataset) -> int:
    """Bytes of the prepared values of a row."""
    return FusionDataset(network.prepare(rows[:1][0]), rows.target[:1]).row_bytes()
