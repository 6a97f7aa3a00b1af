"""Steps of a training on a GPU, recorded once as a CUDA graph and replayed as one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sklearn_mmfusion._errors import CompileError
from sklearn_mmfusion.modules.dropout import BorrowsDraws, MaskTape
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork

__all__ = ["GraphedSteps", "can_be_graphed"]

Rows = tuple[FusionBatch, Tensor]
Step = Callable[[Rows], dict[str, Tensor]]

_TYPES = {"cuda"}  # of devices that record

# What is recorded comes from one stream, where other fits may be in threads of their own: with each
# new stream cuBLAS would take memory that it never gives back.
_ON_STREAM = threading.Lock()
_STREAMS: dict[torch.device, torch.cuda.Stream] = {}


def can_be_graphed(network: FusionNetwork, options: Any) -> bool:
    """Whether the steps of a network can be recorded: on a GPU, and nothing unknown in them.

    A replay runs no Python, so that a module of the user's own would miss what its code decides at
    each call, and draw from another generator than the model's. Processes that share a batch wait
    for each other in the middle of a step.

    Parameters
    ----------
    network : FusionNetwork
        The network.
    options : TrainingOptions
        How it is trained.
    """
    is_known = not any(isinstance(module, BorrowsDraws) for module in network.modules())
    is_alone = options.parallel is None
    return is_known and is_alone and torch.device(options.device).type in _TYPES


class GraphedSteps:
    """Takes steps of a training: forward, loss and backward of whole batches from a CUDA graph.

    The first steps run as ever: one says which masks it draws, one more makes libraries ready.
    Then a step is recorded, and from there on its kernels are launched as one; rows and masks are
    copied to where it reads them. Batches of another shape, as the last one of an epoch, run as
    ever, and so does all that follows the gradients. The next step overwrites what one returns.

    Parameters
    ----------
    network : FusionNetwork
        The network, on its device.
    batch_size : int
        Rows of a whole batch.
    """

    def __init__(self, network: FusionNetwork, batch_size: int) -> None:
        self.network, self.batch_size = network, batch_size
        self.tape = MaskTape()
        network.set_tape(self.tape)
        bias = network.fusion.bias
        # Factor of the penalty, which a step that is recorded reads from here.
        self.factor: Tensor = bias.new_ones(())
        self.is_in_graph = False  # whether a step is being taken that reads it
        self._factor = 1.0
        self._device: torch.device = bias.device
        self._rows: Rows | None = None  # which the graph reads
        self._is_warm = False
        self._replay: Callable[[], object] | None = None
        self._found: dict[str, Tensor] = {}
        self._gradients: list[tuple[torch.nn.Parameter, Tensor]] = []

    def __call__(self, step: Step, rows: Rows, factor: Any) -> dict[str, Tensor]:
        """Take a step, and return what it makes.

        Parameters
        ----------
        step : callable
            Takes rows and leaves gradients in the parameters; returns tensors by name. It is not
            kept: a net that could reach itself would hold its graph until Python looks for cycles.
        rows : tuple of FusionBatch and Tensor
            Batch and target.
        factor : float
            Factor of the penalty, for steps that read it here.
        """
        if len(rows[0]) != self.batch_size or not self._has_the_form_of(rows):
            return _taken(step, rows)
        self._set_factor(factor)
        if self._rows is None:
            return self._first(step, rows)
        for place, tensor in zip(_tensors(self._rows), _tensors(rows), strict=True):
            place.copy_(tensor, non_blocking=True)
        self.tape.draw_in_place()
        if self._replay is None:
            if not self._is_warm:
                self._is_warm = True
                with _ON_STREAM, self._beside():
                    return self._step_in_place(step)
            self._record(step)
        assert self._replay is not None
        self._replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return dict(self._found)

    def _has_the_form_of(self, rows: Rows) -> bool:
        """Whether rows are as those that the graph reads."""
        if self._rows is None:
            return True
        forms = [[(t.shape, t.dtype) for t in _tensors(r)] for r in (self._rows, rows)]
        return forms[0] == forms[1]

    def _set_factor(self, factor: float) -> None:
        if factor != self._factor:
            self.factor.fill_(factor)
            self._factor = factor

    def _first(self, step: Step, rows: Rows) -> dict[str, Tensor]:
        """Take a step as ever, and keep which masks it draws."""
        self.tape.begin_recording()
        try:
            found = _taken(step, rows)
        finally:
            self.tape.is_recording = False
        self._rows = _copied(rows)
        return found

    def _step_in_place(self, step: Step) -> dict[str, Tensor]:
        """Take a step with the rows and masks that are in their places."""
        assert self._rows is not None
        self.tape.rewind()
        self.tape.is_playing = self.is_in_graph = True
        try:
            return _taken(step, self._rows)
        finally:
            self.tape.is_playing = self.is_in_graph = False

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """Run on a stream of our own, after what is under way and before what comes."""
        stream = _stream_of(self._device)
        if stream is None:
            yield
            return
        current = torch.cuda.current_stream(self._device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            yield
        current.wait_stream(stream)

    def _record(self, step: Step) -> None:
        parameters = [parameter for _, parameter, _ in self.network.trained_parameters()]
        for parameter in parameters:
            parameter.grad = None  # the graph is to write gradients, not to add to some

        def keep() -> None:
            self._found = self._step_in_place(step)

        try:
            with _ON_STREAM:
                self._replay = _recorded(keep, self._device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).strip().splitlines() or [""]
            raise CompileError(
                f"compile='cudagraphs': a step of this network cannot be recorded ({reason[0]}); "
                "set compile=False"
            ) from error
        self._gradients = [(p, p.grad) for p in parameters if p.grad is not None]


def _taken(step: Step, rows: Rows) -> dict[str, Tensor]:
    """Take a step, and leave nothing of autograd behind.

    A node that lived on would have the next step add to a gradient on the stream of this one,
    which cannot be recorded.
    """
    return {name: tensor.detach() for name, tensor in step(rows).items()}


def _stream_of(device: torch.device) -> torch.cuda.Stream | None:
    """Return the stream of a GPU that steps are recorded from; None on other devices."""
    if device.type != "cuda":
        return None
    if device not in _STREAMS:
        _STREAMS[device] = torch.cuda.Stream(device)
    return _STREAMS[device]


def _recorded(function: Callable[[], None], device: torch.device) -> Callable[[], object]:
    """Record the kernels of a function, and return what launches them; nothing has run then."""
    stream = _stream_of(device)
    if stream is None:  # where nothing can be recorded, the function is its own record
        return function
    graph = torch.cuda.CUDAGraph()
    with (
        torch.cuda.device(device),
        torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
    ):
        function()
    replay: Callable[[], object] = graph.replay
    return replay


def _tensors(rows: Rows) -> Iterable[Tensor]:
    batch, target = rows
    every = [*batch.values, *batch.lengths, *batch.present, batch.weight, target]
    return [tensor for tensor in every if tensor is not None]


def _copied(rows: Rows) -> Rows:
    """Return rows of their own memory."""
    batch, target = rows

    def each(tensors: list[Any]) -> list[Any]:
        return [
            None if t is None else t.clone(memory_format=torch.contiguous_format) for t in tensors
        ]

    (weight,) = each([batch.weight])
    made = FusionBatch(
        each(batch.values), each(batch.lengths), each(batch.present), weight, batch.prepared
    )
    return made, target.clone()
