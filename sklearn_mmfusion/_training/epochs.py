"""What happens between the epochs of a training: its callbacks, and what the epochs leave."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from skorch.callbacks import Callback, PrintLog
from torch import Tensor, nn

from sklearn_mmfusion._errors import DivergedError
from sklearn_mmfusion._training.dataset import Batches
from sklearn_mmfusion._training.stages import MISFITS, Progress, capture, resume
from sklearn_mmfusion.modules.dropout import set_dropout_strength
from sklearn_mmfusion.modules.network import FusionNetwork

__all__ = [
    "EpochKeeper",
    "EpochLog",
    "TrainingResult",
    "divergence_text",
    "is_better",
    "raised_by_callback",
    "result_of",
]

Weights = Mapping[str, Tensor]

_BEST = {"train_loss": "train_loss_best", "valid_loss": "valid_loss_best"}


@dataclass
class TrainingResult:
    """What the loop leaves in the module it trained."""

    history: list[dict[str, object]]
    n_epochs: int
    best_epoch: int | None
    interrupted: bool
    stopped: bool
    used_held_out: bool
    net: Any
    phase_epochs: tuple[int, ...] | None = None

    @property
    def first_lr(self) -> float:
        """Learning rate of the first epoch."""
        lr: Any = self.history[0]["lr"]
        return float(lr)


class EpochLog(PrintLog):
    """skorch's table of epochs, printed where ``verbose`` asks for it."""

    def on_train_begin(self, net: Any, **kwargs: object) -> None:
        super().on_train_begin(net, **kwargs)
        if net.verbose and net.options.task is not None:
            self.sink(f"{net.options.title}, at most {net.options.max_epochs} epochs")

    def on_epoch_end(self, net: Any, **kwargs: object) -> None:
        if net.verbose:
            super().on_epoch_end(net, **kwargs)


class EpochKeeper(Callback):
    """Learning-rate decay, snapshots of whole epochs, best epoch, divergence, checkpoints."""

    key_: str | None = None  # of the training in the checkpoint
    progress_: Progress | None = None  # to go on from

    def initialize(self) -> EpochKeeper:
        self.last_: dict[str, Tensor] | None = None
        self.best_: dict[str, Tensor] | None = None
        self.best_loss_, self.best_epoch_, self.waited_ = math.inf, 0, 0
        self.lr_: float | None = None  # that we have set for the last epoch
        return self

    def on_train_begin(self, net: Any, **kwargs: object) -> None:
        self.initialize()
        self.last_ = _snapshot(net.module_)
        if self.progress_ is not None and net.options.checkpoint is not None:
            try:
                resume(net, self.progress_)
            except MISFITS as error:
                raise net.options.checkpoint.damaged(error) from error
        self.lowest_ = {
            name: min((epoch[name] for epoch in net.history if name in epoch), default=math.inf)
            for name in _BEST
        }
        task = net.options.task
        self.part_ = None
        if task is not None:
            self.part_ = task.begin_part(net.options.title, net.options.max_epochs)

    def on_train_end(self, net: Any, **kwargs: object) -> None:
        if self.part_ is not None:
            self.part_.end()

    def on_epoch_begin(self, net: Any, **kwargs: object) -> None:
        options = net.options
        if self.part_ is not None:
            self.part_.begin_step()
        lr = options.lr * options.lr_decay ** (len(net.history) - 1)
        for group in net.optimizer_.param_groups:
            # A scheduler among the callbacks has the word where it has set another rate.
            is_ours = self.lr_ is None or group["lr"] == self.lr_
            group["lr"] = lr if is_ours else group["lr"] * options.lr_decay
        self.lr_ = lr
        net.history.record("lr", net.optimizer_.param_groups[0]["lr"])
        # Dropout fades out: noisy data stop early, under much of it, clean data end without.
        epoch = len(net.history) - 1
        set_dropout_strength(net.module_, max(0.0, 1 - epoch / options.dropout_epochs))

    def on_epoch_end(self, net: Any, **kwargs: object) -> None:
        self._record_best(net.history)
        self._check_finite(net, kwargs["dataset_train"])
        self.last_ = _snapshot(net.module_)
        waited_enough = self._judge(net)
        if net.options.checkpoint is not None and self.key_ is not None:
            net.options.checkpoint.keep(self.key_, lambda: capture(net))
        if self._end_step(net) or waited_enough:
            raise _EnoughEpochs

    def _record_best(self, history: Any) -> None:
        """Say whether the losses of the last epoch are the lowest, as skorch's callbacks ask."""
        for name, flag in _BEST.items():
            if name in history[-1]:
                loss = history[-1][name]
                history.record(flag, loss < self.lowest_[name])
                self.lowest_[name] = min(self.lowest_[name], loss)

    def has_waited(self, options: Any) -> bool:
        """Whether there were as many epochs without a better one as there may be."""
        return options.patience is not None and self.waited_ >= options.patience

    def _judge(self, net: Any) -> bool:
        """Keep the best epoch, and return whether it is time to stop."""
        epoch, options = len(net.history), net.options
        if options.patience is None or "valid_loss" not in net.history[-1]:
            return False
        loss = net.history[-1]["valid_loss"]
        # The penalty is still growing in the first epochs, and the loss with it.
        if is_better(loss, self.best_loss_, self.best_epoch_):
            self.best_loss_, self.best_epoch_, self.waited_ = loss, epoch, 0
            self.best_ = self.last_
            return False
        self.waited_ += 1
        return self.has_waited(options)

    def _end_step(self, net: Any) -> bool:
        """Tell scikit-learn's callbacks, and return whether one wants the training to end."""
        so_far = net.options.so_far
        if self.part_ is None or so_far is None:
            return False
        return self.part_.end_step(lambda: so_far(result_of(net, self, used_held_out=False)))

    def _check_finite(self, net: Any, rows: Any) -> None:
        loss = net.history[-1]["train_loss"]
        # Statistics count too: with them a model predicts.
        values = net.module_.state_dict().values()
        arrays = [value for value in values if value.is_floating_point() and value.numel()]
        largest = nn.utils.get_total_norm(arrays, math.inf)
        if math.isfinite(loss) and bool(largest.isfinite()):
            return
        now = {name: value.detach().clone() for name, value in net.module_.named_parameters()}
        net.module_.load_state_dict(self.last_)
        batches = Batches(rows, net.options.batch_size)
        raise DivergedError(divergence_text(net.module_, net.history[-1], now, batches))


def is_better(loss: float, best_loss: float, best_epoch: int) -> bool:
    """Whether a held-out loss is below the best so far; ``best_epoch`` is 0 if there is none."""
    return loss < best_loss - 1e-6 * abs(best_loss if best_epoch else 0.0)


class _EnoughEpochs(KeyboardInterrupt):
    """Early stopping; skorch ends a fit by this exception."""


def raised_by_callback(error: KeyboardInterrupt) -> bool:
    """Whether it was not the user who ended a training: skorch's callbacks do by this exception."""
    if isinstance(error, _EnoughEpochs):
        return True
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    frame = traceback.tb_frame
    module = frame.f_globals.get("__name__", "")
    return frame.f_code.co_name == "on_epoch_end" and module.startswith("skorch.callbacks")


def divergence_text(
    module: FusionNetwork, last: Mapping[str, Any], now: Weights, batches: Batches
) -> str:
    """Say in which epoch a training diverged, and which encoder is the likely cause.

    Parameters
    ----------
    module : FusionNetwork
        The network with the weights before that epoch.
    last : mapping
        The entry of the epoch in the history.
    now : mapping of str to Tensor
        Parameters after the epoch.
    batches : Batches
        The training rows.
    """
    names = getattr(module, "modality_names", None)
    who = ""
    if names and not module.is_joint:
        who = _likely_cause(module, names, now, batches)
    return (
        f"training diverged in epoch {last['epoch']}: the loss or a weight is not finite "
        f"(loss {last['train_loss']}, lr {last['lr']:g}){who}. Lower lr, or look for extreme "
        "values in the data."
    )


def _likely_cause(module: FusionNetwork, names: list[str], now: Weights, batches: Batches) -> str:
    """Say whose encodings are not finite, or else whose weights moved most."""
    # After a loss of NaN every weight is NaN; what the encoders made of the rows before is not.
    sick = _not_finite_encodings(module, batches)
    if sick:
        return f"; {_encoders_of(names, sick)} gave values that are not finite"
    moved: dict[int, float] = {}
    before = module.state_dict()
    for name, value in now.items():
        if name.startswith("encoders."):
            modality = int(name.split(".")[1])
            change = (value - before[name]).abs().max()
            size = float(change) if bool(change.isfinite()) else math.inf
            moved[modality] = max(moved.get(modality, 0.0), size)
    largest = [m for m in moved if moved[m] == max(moved.values())]
    if len(largest) == 1:
        return f"; {_encoders_of(names, largest)} moved most"
    if largest and moved[largest[0]] == math.inf:
        return f"; {_encoders_of(names, largest)} have weights that are not finite"
    return ""


def _encoders_of(names: list[str], modalities: list[int]) -> str:
    if len(modalities) == 1:
        return f"the encoder of modality {names[modalities[0]]!r}"
    if len(modalities) == len(names):
        return "the encoders of all modalities"
    return "the encoders of modalities " + ", ".join(repr(names[m]) for m in sorted(modalities))


@torch.no_grad()
def _not_finite_encodings(module: FusionNetwork, batches: Batches) -> list[int]:
    """Return the modalities whose encodings are not finite in the first such batch."""
    was_training = module.training
    module.eval()
    found: list[int] = []
    for batch, _ in batches:
        encodings = module.encode(batch, batch.present)
        found = [m for m, values in enumerate(encodings) if not bool(values.isfinite().all())]
        if found:
            break
    module.train(was_training)
    return found


def _snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def result_of(net: Any, keeper: EpochKeeper, *, used_held_out: bool) -> TrainingResult:
    """Return what the epochs so far have left."""
    history = [dict(epoch) for epoch in net.history]
    for epoch in history:
        for name in ("batches", *_BEST.values()):
            epoch.pop(name, None)
    complete = [epoch for epoch in history if "train_loss" in epoch]
    return TrainingResult(
        history=complete,
        n_epochs=len(complete),
        best_epoch=keeper.best_epoch_ if keeper.best_ is not None else None,
        interrupted=net.interrupted_,
        stopped=net.stopped_,
        used_held_out=used_held_out,
        net=net,
    )
