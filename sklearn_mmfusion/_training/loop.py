"""The training loop: early stopping, guards, and trainings that an earlier process began.

Estimators hold a skorch net while they fit, and keep numpy arrays afterwards.
"""

from __future__ import annotations

import numpy as np
import torch
from skorch.helper import predefined_split

from sklearn_mmfusion._errors import DivergedError
from sklearn_mmfusion._model.seeds import seed_for
from sklearn_mmfusion._training.dataset import FusionDataset
from sklearn_mmfusion._training.devices import whole_float32
from sklearn_mmfusion._training.epochs import TrainingResult, result_of
from sklearn_mmfusion._training.net import FusionNet, TrainingOptions, make_net
from sklearn_mmfusion._training.stages import (
    MISFITS,
    FinishedStage,
    Progress,
    arrays_of,
    plain_history,
    stage_key,
)
from sklearn_mmfusion.modules.network import FusionNetwork

__all__ = ["train"]


def train(
    module: FusionNetwork,
    dataset: FusionDataset,
    valid: FusionDataset | None,
    options: TrainingOptions,
    net: FusionNet | None = None,
) -> TrainingResult:
    """Train a module in place; the weights of the best epoch, or of the last, are in it then.

    Parameters
    ----------
    module : FusionNetwork
        Module to train, on ``options.device``.
    dataset, valid : FusionDataset
        Training rows, and held-out rows for early stopping or None.
    options : TrainingOptions
        Resolved options.
    net : FusionNet, optional
        Net of an earlier call to go on with, optimiser state and all.

    Raises
    ------
    DivergedError
        Loss or weights are not finite; the module holds the last finite state.
    """
    generator = torch.Generator(device=options.device)
    generator.manual_seed(seed_for(options.seed, "dropout"))
    full_batch = options.batch_size >= len(dataset)
    module.set_generator(generator, shared=full_batch)
    module.encoders_in_bfloat16 = options.bfloat16
    if options.parallel is not None:
        options.parallel.prepare(module)
    if net is None:
        module.group()
    key, progress = None, None
    if options.checkpoint is not None:
        key = _key(module, dataset, valid, options)
        if (stage := options.checkpoint.finished(key)) is not None:
            try:
                return _replayed(module, stage, valid)
            except MISFITS as error:
                raise options.checkpoint.damaged(error) from error
        progress = options.checkpoint.progress(key)
    if net is None:
        net = make_net(module, options)
    net.set_params(train_split=predefined_split(valid) if valid is not None else None)
    keeper = dict(net.callbacks_)["epochs"]
    keeper.key_, keeper.progress_ = key, progress
    done = 0 if progress is None else len(progress.history)
    try:
        with whole_float32(options.device):
            net.partial_fit(dataset, None, epochs=_epochs_left(options, progress))
    except DivergedError as error:
        module.load_state_dict(keeper.last_)
        error.weights = arrays_of(keeper.last_)
        raise
    if progress is not None and len(net.history) == done and keeper.has_waited(options):
        net.stopped_ = True  # the process died between the last epoch and the end
    if keeper.best_ is not None:
        module.load_state_dict(keeper.best_)
    elif net.interrupted_:
        module.load_state_dict(keeper.last_)
    result = result_of(net, keeper, used_held_out=valid is not None)
    if options.checkpoint is not None and key is not None and not net.interrupted_:
        arrays = arrays_of(module.state_dict())
        epochs = plain_history(result.history)
        options.checkpoint.finish(
            key, FinishedStage(arrays, epochs, result.best_epoch, net.stopped_)
        )
    return result


def _epochs_left(options: TrainingOptions, progress: Progress | None) -> int:
    if progress is None:
        return options.max_epochs
    if options.patience is not None and progress.waited >= options.patience:
        return 0
    return max(0, options.max_epochs - len(progress.history))


def _key(
    module: FusionNetwork,
    dataset: FusionDataset,
    valid: FusionDataset | None,
    options: TrainingOptions,
) -> str:
    numbers = {
        name: value
        for name, value in vars(options).items()
        if isinstance(value, (int, float, str, tuple, type(None))) and name != "verbose"
    }
    return stage_key(module, dataset, valid, sorted(numbers.items()))


def _replayed(
    module: FusionNetwork, stage: FinishedStage, valid: FusionDataset | None
) -> TrainingResult:
    """Return the result of a training that an earlier process has finished."""
    module.load_state_dict({k: torch.tensor(np.array(v)) for k, v in stage.weights.items()})
    return TrainingResult(
        history=stage.history,
        n_epochs=len(stage.history),
        best_epoch=stage.best_epoch,
        interrupted=False,
        stopped=stage.stopped,
        used_held_out=valid is not None,
        net=None,
    )
