"""A network's forward pass in training, compiled by torch.compile."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sklearn_mmfusion._errors import CompileError
from sklearn_mmfusion.modules.dropout import MaskTape
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork

__all__ = ["CompiledForward"]

_REMEDY = "install a C++ compiler (on a GPU triton as well) that torch finds, or set compile=False"


class CompiledForward:
    """Calls a network: compiled in training on whole batches, eagerly on all others.

    The network itself stays as it is, state dictionary and all: what is compiled reads its
    parameters. The last batch of an epoch, which has other numbers of rows, and held-out rows go
    through it eagerly; compiled for any number of rows it would be slower for all of them.

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
        self._n_local: int | None = None  # rows of a whole batch that came to this process
        self._run: Callable[[FusionBatch], Tensor] | None = None
        self._is_warm = False

    def __call__(self, batch: FusionBatch, n_rows: int | None = None) -> Tensor:
        """Return the network's outputs.

        Parameters
        ----------
        batch : FusionBatch
            Rows.
        n_rows : int, optional
            Rows of the whole batch, where these are a share of it.
        """
        is_whole = (len(batch) if n_rows is None else n_rows) == self.batch_size
        if not self.network.training or not is_whole or len(batch) == 0:
            outputs: Tensor = self.network(batch)
            return outputs
        if self._run is None or self._n_local != len(batch):
            return self._record(batch)
        return self._compiled(self._run, batch)

    def _record(self, batch: FusionBatch) -> Tensor:
        """Take a step eagerly, and keep which masks it draws."""
        self.tape.begin_recording()
        try:
            outputs: Tensor = self.network(batch)
        finally:
            self.tape.is_recording = False
        self._n_local, self._is_warm = len(batch), False
        self._run = compiled(_step_of(self.network, self.tape), batch.values[0].device)
        return outputs

    def _compiled(self, run: Callable[[FusionBatch], Tensor], batch: FusionBatch) -> Tensor:
        from torch._dynamo.exc import TorchDynamoException

        self.tape.draw()
        self.tape.is_playing = True
        try:
            if self._is_warm:
                return run(batch)
            with _quiet_torch():
                outputs = run(batch)
            self._is_warm = True
            return outputs
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines() or [""]
            raise CompileError(
                f"compile=True: torch.compile could not compile the network "
                f"({type(error).__name__}: {reason[0]}); {_REMEDY}"
            ) from error
        finally:
            self.tape.is_playing = False


@contextmanager
def _quiet_torch() -> Iterator[None]:
    """Leave out what torch warns itself of while it compiles: nobody else could change it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch(\.|$)")
        yield


def compiled(
    function: Callable[[FusionBatch], Tensor], device: torch.device
) -> Callable[[FusionBatch], Tensor]:
    """Return a function compiled for batches of one size.

    On a GPU the kernels of a step are recorded as CUDA graphs and replayed as one.
    """
    # What mode="reduce-overhead" stands for, which cannot be given beside options. One thread: a
    # pool of processes would stay when the fit is over, in every worker of a search.
    options: Any = {"compile_threads": 1, "triton.cudagraphs": device.type == "cuda"}
    compile_function: Any = torch.compile  # whose types lack the last argument
    try:
        with _quiet_torch():  # the compiler is imported here
            made = compile_function(
                function, dynamic=False, options=options, isolate_recompiles=True
            )
    except RuntimeError as error:  # a version of Python that it does not know
        raise CompileError(f"compile=True: {error}; {_REMEDY}") from error
    run: Callable[[FusionBatch], Tensor] = made
    return run


def _step_of(network: FusionNetwork, tape: MaskTape) -> Callable[[FusionBatch], Tensor]:
    """Return a step as a function with code of its own.

    What is compiled hangs on the code object: with that of a method it would outlive the fit, and
    all fits of a process would share one limit on how often it is compiled.
    """

    def step(batch: FusionBatch) -> Tensor:
        tape.rewind()
        outputs: Tensor = network(batch)
        return outputs

    return types.FunctionType(
        step.__code__.replace(), step.__globals__, step.__name__, None, step.__closure__
    )
