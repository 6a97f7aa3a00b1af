"""The training loop for several networks of equal shape at once.

It does what :func:`~sklearn_mmfusion._training.loop.train` does for each of them: its own order of
rows, dropout, best epoch, end. A network that has ended leaves the others.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sklearn_mmfusion._errors import DivergedError
from sklearn_mmfusion._fitting.fit import Training
from sklearn_mmfusion._model.seeds import seed_for
from sklearn_mmfusion._training.dataset import Batches, FusionDataset
from sklearn_mmfusion._training.devices import whole_float32
from sklearn_mmfusion._training.epochs import TrainingResult, divergence_text, is_better
from sklearn_mmfusion._training.net import parameter_groups, penalty_ramp
from sklearn_mmfusion._training.stages import arrays_of
from sklearn_mmfusion.modules.network import FusionBatch
from sklearn_mmfusion.modules.stacked import NetworkStack, can_be_stacked

__all__ = ["stack_key", "train_stack"]


def stack_key(training: Training) -> Hashable | None:
    """Return what trainings that can be done together have in common; None where one cannot be.

    Parameters
    ----------
    training : Training
        A training.
    """
    network, rows, held = training.network, training.rows, training.stopping
    parts = [rows] if held is None else [rows, held]
    is_flat = all(length is None for length in rows.batch.lengths)
    is_partial = getattr(network.features, "is_partial", False)
    if training.net is not None or not is_flat or is_partial or not can_be_stacked(network):
        return None
    if not all(part.batch.prepared for part in parts):
        return None
    options: Any = training.options
    numbers = (
        options.batch_size, options.lr, options.lr_decay, options.reg > 0, options.p,
        options.weight_decay, options.ramp_epochs, options.dropout_epochs, options.patience,
        network.modality_dropout,
    )  # fmt: skip
    arrays = network.state_dict().items()
    return (
        numbers,
        options.loss,
        repr(options.build_optimizer.__self__),
        repr(network.encoders),
        tuple(network.features.terms),
        tuple((name, tuple(value.shape), value.dtype) for name, value in arrays),
        tuple(map(_form, parts)),
    )


def _form(rows: FusionDataset) -> Hashable:
    """Return number and kinds of rows."""
    masked = tuple(mask is not None for mask in rows.batch.present)
    target = (rows.target.dtype, tuple(rows.target.shape[1:]))
    return len(rows), masked, rows.batch.weight is not None, target


def train_stack(trainings: Sequence[Training]) -> list[TrainingResult]:
    """Train networks of equal shape in place; each as it would be alone, to round-off.

    Parameters
    ----------
    trainings : sequence of Training
        Trainings of one :func:`stack_key`.

    Returns
    -------
    list of TrainingResult
        What each leaves. After an interruption all keep their last whole epoch, or the best.

    Raises
    ------
    DivergedError
        Loss or weights of one of them are not finite.
    """
    members = [_Member(training) for training in trainings]
    company: _Company | None = _Company(members)
    try:
        with whole_float32(members[0].training.options.device):
            while company is not None:
                company.run_epoch()
                company.keep_epoch()
                company = company.without_those_that_ended()
    except KeyboardInterrupt:
        if company is not None:
            company.give_back()
        for member in members:  # what those that had ended were trained for does not go on
            member.interrupted = True
    return [member.result() for member in members]


@dataclass(eq=False)
class _Member:
    """One of the trainings, and how far it is."""

    training: Training
    history: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float = math.inf
    best_epoch: int = 0
    waited: int = 0
    stopped: bool = False
    interrupted: bool = False

    def __post_init__(self) -> None:
        options, rows, network = self.training.options, self.training.rows, self.training.network
        generator = torch.Generator(device=options.device)
        generator.manual_seed(seed_for(options.seed, "dropout"))
        network.set_generator(generator, shared=options.batch_size >= len(rows))
        network.train()
        shuffler = torch.Generator().manual_seed(seed_for(options.seed, "shuffle"))
        self.batches = Batches(rows, options.batch_size, shuffler)

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing more to train."""
        return self.stopped or len(self.history) >= self.training.options.max_epochs

    def judge(self) -> bool:
        """Take note of the last epoch, and return whether it is the best so far."""
        patience = self.training.options.patience
        if patience is None or "valid_loss" not in self.history[-1]:
            return False
        loss = self.history[-1]["valid_loss"]
        if is_better(loss, self.best_loss, self.best_epoch):
            self.best_loss, self.best_epoch, self.waited = loss, len(self.history), 0
            return True
        self.waited += 1
        self.stopped = self.waited >= patience
        return False

    def result(self) -> TrainingResult:
        """Return what the epochs have left."""
        return TrainingResult(
            history=self.history,
            n_epochs=len(self.history),
            best_epoch=self.best_epoch or None,
            interrupted=self.interrupted,
            stopped=self.stopped,
            used_held_out=self.training.stopping is not None,
            net=None,
        )


class _Company:
    """Members that are still trained, as one stack."""

    def __init__(self, members: list[_Member]) -> None:
        self.members = members
        self.options = members[0].training.options
        reg = [m.training.options.reg for m in members]
        self.reg = torch.tensor(reg, dtype=torch.float64, device=self.options.device)
        self.stack = NetworkStack([member.training.network for member in members])
        self.optimizer = self._make_optimizer()
        held = [m.training.stopping for m in members if m.training.stopping is not None]
        size = max(self.options.batch_size, 1024)
        pieces = [list(Batches(rows, size)) for rows in held]
        self.held = [_stacked(parts) for parts in zip(*pieces, strict=True)]
        self.last = [array.clone() for array in self.stack.arrays]
        self.best = [array.clone() for array in self.stack.arrays]

    def _make_optimizer(self) -> torch.optim.Optimizer:
        stack, options = self.stack, self.options
        trained, decays = stack.trained_parameters(), stack.networks[0].decays
        groups = parameter_groups(trained, stack.bias, decays, options.weight_decay)
        return options.build_optimizer(groups, lr=options.lr)

    def run_epoch(self) -> None:
        """Train one epoch, and look at the held-out rows."""
        options, stack, epoch = self.options, self.stack, len(self.members[0].history)
        lr = options.lr * options.lr_decay**epoch
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        stack.dropout_strength = max(0.0, 1 - epoch / options.dropout_epochs)
        factor = penalty_ramp(epoch, options.ramp_epochs) * self.reg
        batches = zip(*(member.batches for member in self.members), strict=True)
        total, n_rows = self._nothing(), 0
        for batch, target in map(_stacked, batches):
            self.optimizer.zero_grad()
            loss = self._losses(stack.forward(batch, training=True), target, batch.weight)
            whole = loss.sum()
            if options.reg:
                whole = whole + (factor * stack.penalties(options.p)).sum().to(loss.dtype)
            whole.backward()
            self.optimizer.step()
            total = total + loss.detach() * target.shape[1]
            n_rows += target.shape[1]
        losses = {"train_loss": (total.double() / n_rows).tolist()}
        if self.held:
            losses["valid_loss"] = self._held_losses()
        for i, member in enumerate(self.members):
            found = {name: values[i] for name, values in losses.items()}
            member.history.append({"epoch": epoch + 1, "lr": lr, **found})

    @torch.no_grad()
    def _held_losses(self) -> list[float]:
        total, n_rows = self._nothing(), 0
        for batch, target in self.held:
            loss = self._losses(self.stack.forward(batch, training=False), target, batch.weight)
            total = total + loss * target.shape[1]
            n_rows += target.shape[1]
        found: list[float] = (total.double() / n_rows).tolist()
        return found

    def _nothing(self) -> Tensor:
        return torch.zeros(len(self.members), device=self.options.device)

    def _losses(self, outputs: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """Mean loss of each network over its rows, (n,)."""
        losses = self.options.loss(outputs.flatten(0, 1), target.flatten(0, 1))
        losses = losses.view(target.shape[:2])
        return (losses if weight is None else losses * weight).mean(1)

    @torch.no_grad()
    def keep_epoch(self) -> None:
        """Check that the epoch is sound and keep it, as the best too of those whose best it is."""
        # Zero times a number is 0, or NaN where the number is not finite.
        nothing = [(array * 0).sum(1).double() for array in self.stack.arrays]
        sound = (torch.stack(nothing).sum(0) == 0).tolist()
        for i, member in enumerate(self.members):
            if not (sound[i] and math.isfinite(member.history[-1]["train_loss"])):
                self._refuse(i, member)
        for copy, array in zip(self.last, self.stack.arrays, strict=True):
            copy.copy_(array)
        better = [i for i, member in enumerate(self.members) if member.judge()]
        if better:
            rows = torch.tensor(better, device=self.options.device)
            for copy, array in zip(self.best, self.last, strict=True):
                copy[rows] = array[rows]

    def _refuse(self, i: int, member: _Member) -> None:
        """Raise the error of a member that diverged; its network gets the last sound state."""
        network = member.training.network
        now = {name: value.detach().clone() for name, value in network.named_parameters()}
        self._give([i], self.last)
        before = network.state_dict()
        batches = Batches(member.training.rows, self.options.batch_size)
        error = DivergedError(divergence_text(network, member.history[-1], now, batches))
        error.weights = arrays_of(before)
        raise error

    @torch.no_grad()
    def _give(self, places: list[int], arrays: list[Tensor]) -> None:
        """Put arrays that were kept back into the networks at these places."""
        for array, kept in zip(self.stack.arrays, arrays, strict=True):
            for i in places:
                array[i].copy_(kept[i])

    def without_those_that_ended(self) -> _Company | None:
        """Return who goes on; those that leave have the weights of their best epoch."""
        left = [i for i, member in enumerate(self.members) if not member.has_ended]
        if len(left) == len(self.members):
            return self
        self._give(
            [i for i, m in enumerate(self.members) if m.has_ended and m.best_epoch], self.best
        )
        if not left:
            return None
        try:
            rest = _Company([self.members[i] for i in left])
        except KeyboardInterrupt:  # some may have moved already: all back to one place
            self.stack = NetworkStack([member.training.network for member in self.members])
            raise
        rest.best = [array[left] for array in self.best]
        _carry(self, rest, left)
        return rest

    def give_back(self) -> None:
        """Leave the best epoch in each network, where there is one, or else the last whole one."""
        judged = [i for i, member in enumerate(self.members) if member.best_epoch]
        self._give(judged, self.best)
        self._give([i for i in range(len(self.members)) if i not in judged], self.last)


def _stacked(parts: Sequence[tuple[FusionBatch, Tensor]]) -> tuple[FusionBatch, Tensor]:
    """Return rows of several data sets as one batch, networks first."""
    batches = [batch for batch, _ in parts]

    def stack(tensors: Sequence[Any]) -> Any:
        return None if tensors[0] is None else torch.stack(list(tensors))

    values = [stack(v) for v in zip(*(batch.values for batch in batches), strict=True)]
    present = [stack(p) for p in zip(*(batch.present for batch in batches), strict=True)]
    weight = stack([batch.weight for batch in batches])
    whole = FusionBatch(values, [None] * len(values), present, weight, prepared=True)
    return whole, torch.stack([target for _, target in parts])


def _carry(old: _Company, new: _Company, left: list[int]) -> None:
    """Let the optimiser of a company go on with the averages of those of another that are left."""
    pairs = zip(_leaves(old.optimizer), _leaves(new.optimizer), strict=True)
    for before, after in pairs:
        state = new.optimizer.state[after]
        for name, value in old.optimizer.state[before].items():
            if isinstance(value, Tensor) and value.shape == before.shape:
                value = value.unflatten(0, (len(old.members), -1))[left].flatten(0, 1)
            state[name] = value


def _leaves(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [leaf for group in optimizer.param_groups for leaf in group["params"]]
