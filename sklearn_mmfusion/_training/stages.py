"""Where a training is after a whole epoch: all that decides how it goes on."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from skorch.history import History
from torch import Tensor, nn

from sklearn_mmfusion._training.dataset import FusionDataset

__all__ = [
    "MISFITS",
    "FinishedStage",
    "Progress",
    "ProgressFile",
    "arrays_of",
    "capture",
    "plain_history",
    "resume",
    "stage_key",
]

# What torch raises for arrays of another model.
MISFITS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)

_KEY_ROWS = 4096

State = dict[str, npt.NDArray[np.generic]]


@dataclass
class Progress:
    """A training after some epochs.

    Attributes
    ----------
    history : list of dict
        Epochs so far.
    weights : dict of str to ndarray
        Arrays of the network.
    best : dict of str to ndarray or None
        Those of the best epoch so far.
    best_loss, best_epoch, waited : float, int, int
        Its held-out loss, its number, and the epochs since.
    optimizer : dict of str to ndarray
        Averages of the optimiser, ``<parameter>.<name>``.
    optimizer_numbers : dict of str to object
        What of its state is no tensor.
    shuffler, dropout : ndarray of uint8
        States of the generators.
    """

    history: list[dict[str, Any]]
    weights: State
    best: State | None
    best_loss: float
    best_epoch: int
    waited: int
    optimizer: State
    optimizer_numbers: dict[str, Any]
    shuffler: npt.NDArray[np.uint8]
    dropout: npt.NDArray[np.uint8]


@dataclass
class FinishedStage:
    """A training that has ended.

    Attributes
    ----------
    weights : dict of str to ndarray
        Arrays of the network.
    history : list of dict
        Epochs.
    best_epoch : int or None
        Epoch that was kept.
    stopped : bool
        Whether it ended before the last epoch.
    """

    weights: State
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    stopped: bool = False


class ProgressFile(Protocol):
    """What keeps the progress of a fit, which consists of several trainings."""

    def finished(self, key: str) -> FinishedStage | None:
        """Return how a training ended, None if it has not."""
        ...  # pragma: no cover - a protocol

    def progress(self, key: str) -> Progress | None:
        """Return where a training is, None if it has not begun."""
        ...  # pragma: no cover - a protocol

    def keep(self, key: str, make: Callable[[], Progress]) -> None:
        """Keep where a training is, if it is time to."""
        ...  # pragma: no cover - a protocol

    def damaged(self, error: Exception) -> Exception:
        """Return what to raise for progress that does not fit the training it is of."""
        ...  # pragma: no cover - a protocol

    def finish(self, key: str, stage: FinishedStage) -> None:
        """Keep how a training ended."""
        ...  # pragma: no cover - a protocol


def arrays_of(tensors: dict[str, Tensor]) -> State:
    """Copy tensors to arrays."""
    return {name: value.detach().cpu().numpy().copy() for name, value in tensors.items()}


def capture(net: Any) -> Progress:
    """Return where a net is, right after its keeper has seen an epoch."""
    keeper = dict(net.callbacks_)["epochs"]
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for i, state in net.optimizer_.state_dict()["state"].items():
        for name, value in state.items():
            (tensors if isinstance(value, Tensor) else numbers)[f"{i}.{name}"] = value
    return Progress(
        history=plain_history(net.history),
        weights=arrays_of(keeper.last_),
        best=None if keeper.best_ is None else arrays_of(keeper.best_),
        best_loss=float(keeper.best_loss_),
        best_epoch=int(keeper.best_epoch_),
        waited=int(keeper.waited_),
        optimizer=arrays_of(tensors),
        optimizer_numbers=numbers,
        shuffler=net.shuffler_.get_state().numpy().copy(),
        dropout=net.module_.generator.get_state().numpy().copy(),
    )


def resume(net: Any, progress: Progress) -> None:
    """Bring a net that is about to train to where another was."""
    keeper, module = dict(net.callbacks_)["epochs"], net.module_

    def tensors(state: State) -> dict[str, Tensor]:
        # Copies: the arrays are views of the file.
        return {name: torch.tensor(np.array(value)) for name, value in state.items()}

    module.load_state_dict(tensors(progress.weights))
    here = {name: value.device for name, value in module.state_dict().items()}

    def kept(state: State) -> dict[str, Tensor]:
        return {name: value.to(here[name]) for name, value in tensors(state).items()}

    keeper.last_ = kept(progress.weights)
    keeper.best_ = None if progress.best is None else kept(progress.best)
    keeper.best_loss_, keeper.best_epoch_ = progress.best_loss, progress.best_epoch
    keeper.waited_ = progress.waited
    states: dict[int, dict[str, Any]] = {}
    for name, value in (*tensors(progress.optimizer).items(), *progress.optimizer_numbers.items()):
        i, _, key = name.partition(".")
        states.setdefault(int(i), {})[key] = value
    optimizer = net.optimizer_
    optimizer.load_state_dict(
        {"state": states, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    net.shuffler_.set_state(torch.tensor(np.array(progress.shuffler)))
    module.generator.set_state(torch.tensor(np.array(progress.dropout)))
    net.history_ = History({"batches": [], **epoch} for epoch in progress.history)


def plain_history(history: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the numbers and texts of a history."""
    return [
        {key: value for key, value in epoch.items() if isinstance(value, (bool, int, float, str))}
        for epoch in map(dict, history)
    ]


def stage_key(
    module: nn.Module, dataset: FusionDataset, valid: FusionDataset | None, numbers: Iterable[Any]
) -> str:
    """Return a sum over all that decides how a training goes.

    Two trainings of the same key end alike, so that one may stand for the other.

    Parameters
    ----------
    module : nn.Module
        Module with its initial weights.
    dataset, valid : FusionDataset
        Training rows, and held-out rows or None.
    numbers : iterable
        Options of the training, as plain values.
    """
    digest = hashlib.sha256()

    def add(label: str, value: Tensor | None) -> None:
        # Each with its size: nothing can be taken for something else.
        text = f"{label}:{None if value is None else (value.dtype, tuple(value.shape))}".encode()
        digest.update(struct.pack("<Q", len(text)) + text)
        if value is not None:
            array = np.ascontiguousarray(value.detach().cpu().numpy()).reshape(-1)
            digest.update(array.view(np.uint8).data)

    for name, value in module.state_dict().items():
        add(name, value)
    for name, parameter in module.named_parameters():
        add(f"{name} {parameter.requires_grad}", None)
    for part in (dataset, valid):
        if part is None:
            add("no rows", None)
            continue
        for rows, target in part.batches(_KEY_ROWS):  # what is on disk is read in pieces
            for tensor in (*rows.values, *rows.lengths, *rows.present, rows.weight, target):
                add("rows", tensor)
    add(repr(list(numbers)), None)
    return digest.hexdigest()
