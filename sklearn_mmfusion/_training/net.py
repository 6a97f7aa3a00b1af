"""The skorch net that trains a network: fast batches, every hook of skorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import ClassifierMixin
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.dataset import Dataset
from torch import Tensor, nn

from sklearn_mmfusion._model.seeds import seed_for
from sklearn_mmfusion._training.compiled import CompiledForward
from sklearn_mmfusion._training.dataset import Batches, FusionDataset
from sklearn_mmfusion._training.distributed import DataParallel
from sklearn_mmfusion._training.epochs import (
    EpochKeeper,
    EpochLog,
    TrainingResult,
    raised_by_callback,
)
from sklearn_mmfusion._training.graphed import GraphedSteps, can_be_graphed
from sklearn_mmfusion._training.progress import FitTask
from sklearn_mmfusion._training.solving import Relaxation
from sklearn_mmfusion._training.stages import ProgressFile
from sklearn_mmfusion.modules.losses import link
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork

__all__ = ["FusionNet", "TrainingOptions", "make_net", "parameter_groups", "penalty_ramp"]


@dataclass
class TrainingOptions:
    """What a fit tells the loop; everything is resolved, nothing is "auto"."""

    max_epochs: int
    batch_size: int
    lr: float
    lr_decay: float
    reg: float
    reg_factors: tuple[float, ...]
    p: float
    loss: Callable[[Tensor, Tensor], Tensor]
    build_optimizer: Callable[..., torch.optim.Optimizer]
    weight_decay: float
    seed: int
    kind: str = "regression"  # of the target
    relaxation: Relaxation | None = None  # of the fusion weights; None: held-out rows choose it
    ramp_epochs: int = 0
    dropout_epochs: int = 100
    patience: int | None = None
    callbacks: list[object] | None = None
    net_params: dict[str, object] = field(default_factory=dict)
    verbose: int = 0
    device: str = "cpu"
    compile: bool | str = False
    bfloat16: bool = False  # matrix products of the encoders
    n_phases: int = 1  # orders that are trained one after the other
    phase_epochs: tuple[int, ...] | None = None  # of each; None: max_epochs
    task: FitTask | None = None
    title: str = "training"
    # Epochs so far -> what a fit that ends here would leave.
    so_far: Callable[[TrainingResult], object] | None = None
    checkpoint: ProgressFile | None = None
    parallel: DataParallel | None = None  # place among the processes that train together


class FusionNet(NeuralNet):
    """skorch net for a :class:`FusionNetwork`: every hook of skorch, none of its overhead.

    The loss is summed as a tensor and read once per epoch, batch hooks run only where a callback
    listens to them, and the module's training flag is set only when it changes.
    """

    def __init__(self, *args: object, options: TrainingOptions, **kwargs: object) -> None:
        self.options = options
        super().__init__(*args, **kwargs)

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        return [("epochs", EpochKeeper()), ("print_log", EpochLog())]

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> FusionNet:
        options, module = self.options, self.module_
        trained, bias = module.trained_parameters(), module.fusion.bias
        groups = parameter_groups(trained, bias, module.decays, options.weight_decay)
        self.optimizer_ = options.build_optimizer(groups, lr=options.lr)
        return self

    def get_iterator(self, dataset: FusionDataset, training: bool = False) -> Batches:
        if training:
            return Batches(dataset, self.options.batch_size, self.shuffler_)
        return Batches(dataset, max(self.options.batch_size, 1024))

    def initialize_module(self) -> FusionNet:
        super().initialize_module()
        self.shuffler_ = torch.Generator().manual_seed(seed_for(self.options.seed, "shuffle"))
        options = self.options
        self._compiled = self._graphed = None
        if options.compile is True:
            self._compiled = CompiledForward(self.module_, options.batch_size)
        elif options.compile and can_be_graphed(self.module_, options):
            self._graphed = GraphedSteps(self.module_, options.batch_size)
        return self

    def release(self) -> None:
        """Give back what was compiled or recorded; the net trains no more."""
        self._compiled = self._graphed = None
        self.module_.set_tape(None)

    def _set_training(self, training: bool = True) -> None:
        if self.module_.training is not training:
            super()._set_training(training)

    def infer(self, x: FusionBatch, **fit_params: object) -> Tensor:
        if self._compiled is None:
            return self.module_(x)
        parallel = self.options.parallel
        return self._compiled(x, None if parallel is None else parallel.n_global)

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: FusionBatch | None = None, training: bool = False
    ) -> Tensor:
        # (b, k), or (b, o, k): one prediction for each order of terms.
        if y_pred.ndim == 2:
            losses = self.options.loss(y_pred, y_true)
        else:
            parts = [self.options.loss(part, y_true) for part in y_pred.unbind(1)]
            losses = torch.stack(parts).sum(0)
        if X is not None and X.weight is not None:
            losses = losses * X.weight
        parallel = self.options.parallel if training else None
        if parallel is None:
            loss = losses.mean()
            self.data_loss_ = loss.detach()
        else:
            # Summed over the processes, the mean over the whole batch.
            loss = losses.sum() / parallel.n_global
            self.data_loss_ = losses.detach().sum() / max(1, len(losses))
        if training and self.options.reg:
            penalty = self.module_.fusion.penalty(self.options.p)
            if parallel is not None:
                penalty = penalty / parallel.world
            loss = loss + self._penalty_factor() * penalty.to(loss.dtype)
        return loss

    def _penalty_factor(self) -> float | Tensor:
        """Strength of the penalty at present: an XOR has no signal to hold against it at first."""
        if self._graphed is not None and self._graphed.is_in_graph:
            return self._graphed.factor
        ramp = penalty_ramp(len(self.history) - 1, self.options.ramp_epochs)
        return ramp * self.options.reg

    def run_single_epoch(
        self,
        iterator: Batches | None,
        training: bool,
        prefix: str,
        step_fn: Callable[..., dict[str, Tensor]],
        **fit_params: object,
    ) -> None:
        if iterator is None:
            return
        parallel = self.options.parallel if training else None
        batches = iterator if parallel is None else parallel.shares(iterator)
        listens = self._listens("on_batch_begin"), self._listens("on_batch_end")
        total, rows = None, 0.0
        self.history.new_batch()  # one for all, where nobody asks for each
        for batch in batches:
            if rows and any(listens):
                self.history.new_batch()
            if listens[0]:
                self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            if listens[1]:
                self.history.record_batch(f"{prefix}_loss", float(self.data_loss_))
                self.history.record_batch(f"{prefix}_batch_size", len(batch[1]))
                self.notify("on_batch_end", batch=batch, training=training, **step)
            part = self.data_loss_ * len(batch[1])
            total = part if total is None else total + part
            rows += len(batch[1])
        if parallel is not None and total is not None:
            total, rows = parallel.add(torch.stack([total, torch.full_like(total, rows)])).cpu()
        if total is not None:
            self.history.record(f"{prefix}_loss", float(total) / float(rows))

    def _listens(self, method: str) -> bool:
        return any(
            getattr(type(callback), method, None) is not getattr(Callback, method)
            for _, callback in self.callbacks_
        )

    def train_step(
        self, batch: tuple[FusionBatch, Tensor], **fit_params: object
    ) -> dict[str, Tensor]:
        # skorch's closure form is for optimisers that evaluate the loss several times per step.
        if not self._listens_to_gradients():
            self.optimizer_.zero_grad()
            step = self.train_step_single(batch, **fit_params)
            self.optimizer_.step()
            return step
        return super().train_step(batch, **fit_params)

    def train_step_single(
        self, batch: tuple[FusionBatch, Tensor], **fit_params: object
    ) -> dict[str, Tensor]:
        if self._graphed is not None:
            self._set_training(True)
            step = self._graphed(self._step, batch, self._penalty_factor())
            self.data_loss_ = step.pop("data_loss")
            if self._listens("on_batch_end"):  # who may keep what the next step overwrites
                step = {name: tensor.clone() for name, tensor in step.items()}
            return step
        step = super().train_step_single(batch, **fit_params)
        if self.options.parallel is not None:
            self.options.parallel.reduce_gradients(self.module_)
        return step

    def _step(self, batch: tuple[FusionBatch, Tensor]) -> dict[str, Tensor]:
        """Compute loss and gradients of a batch."""
        return super().train_step_single(batch) | {"data_loss": self.data_loss_}

    def _listens_to_gradients(self) -> bool:
        if not hasattr(self, "_gradient_listener"):
            self._gradient_listener = self._listens("on_grad_computed")
        return self._gradient_listener

    def fit_loop(self, X: FusionDataset, y: object = None, **kwargs: object) -> FusionNet:
        self.interrupted_ = self.stopped_ = False
        try:
            return super().fit_loop(X, y, **kwargs)
        except KeyboardInterrupt as error:
            # skorch's callbacks end a fit by this exception, and so does the user's Ctrl-C.
            self.stopped_ = raised_by_callback(error)
            self.interrupted_ = not self.stopped_
        return self


class FusionClassifierNet(ClassifierMixin, FusionNet):
    """The net of a classifier: scorers of scikit-learn, in skorch's callbacks, find its classes.

    They are numbered in the order of the estimator's ``classes_``, as the target of its rows is.
    """

    @property
    def classes_(self) -> npt.NDArray[np.intp]:
        n_outputs = self.module_.fusion.bias.numel()
        return np.arange(2 if self.options.kind == "binary" else n_outputs)

    def predict(self, X: FusionDataset) -> npt.NDArray[np.intp]:
        probabilities = self.predict_proba(X)
        if self.options.kind == "multilabel":
            return (probabilities > 0.5).astype(np.intp)
        return probabilities.argmax(1)

    def _get_predict_nonlinearity(self) -> Callable[[Tensor], Tensor]:
        return partial(_probabilities, self.options.kind)


def _probabilities(kind: str, outputs: Tensor) -> Tensor:
    """Return probabilities of outputs (b, k), or of all orders together, (b, o, k)."""
    return link(kind, outputs if outputs.ndim == 2 else outputs[:, -1])


def parameter_groups(
    trained: Iterable[tuple[str, nn.Parameter, bool]],
    bias: nn.Parameter,
    decays: Callable[[str], bool],
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Group parameters for the optimiser.

    Parameters
    ----------
    trained : iterable of (name, parameter, whether it is a matrix)
        What training moves.
    bias : Parameter
        The intercept, which is one of them.
    decays : callable
        Says of a name whether weight decay reaches it, where it is a matrix.
    weight_decay : float
        Weight decay.
    """
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter, is_matrix in trained:
        if parameter is not bias:
            (decayed if is_matrix and decays(name) else plain).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in ((decayed, weight_decay), (plain, 0.0))
        if parameters
    ]
    # The intercept starts at its optimum, where the gradient is round-off: Adam would scale that
    # up to whole steps. A large eps keeps it in proportion.
    groups.append({"params": [bias], "weight_decay": 0.0, "eps": 1e-2})
    return groups


def penalty_ramp(n_epochs: int, ramp_epochs: int) -> float:
    """Share of the penalty in force after some epochs."""
    return 1.0 if n_epochs >= ramp_epochs else float((n_epochs / ramp_epochs) ** 2)


def make_net(module: FusionNetwork, options: TrainingOptions) -> FusionNet:
    """Return the net that trains a module."""
    parameters: dict[str, object] = {
        "criterion": nn.Identity,
        "dataset": Dataset,
        "callbacks": options.callbacks,
        "device": None,
        "verbose": options.verbose,
        "max_epochs": options.max_epochs,
    }
    parameters.update(options.net_params)
    cls = FusionNet if options.kind == "regression" else FusionClassifierNet
    net = cls(module, options=options, **parameters)
    return net.initialize()
