"""Time and memory of the routing layer against plain three-operand einsums.

All 63 terms of six modalities, ten concepts, features and concepts of 64, batches of 256, float32:
forward and backward of the layer alone. The plain one computes every agreement and every concept
by one ``torch.einsum`` over features, weights and concepts or coefficients, as the formulas are
written. Process CPU time of one thread; the two take turns, and each round gives one ratio.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _common import Report, make_parser, mean_std
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from sklearn_mmfusion._training.devices import intra_op_threads
from sklearn_mmfusion.modules.routing import Routing

N_TERMS, N_CONCEPTS, BATCH_SIZE, DIM = 63, 10, 256, 64
BOUND = 3.0
MIB = 2**20

Step = Callable[[], tuple[Tensor, ...]]


# ---------------------------------------------------------------------------------------------
# The two layers
# ---------------------------------------------------------------------------------------------


def plain_logits(features: Tensor, module: Routing) -> Tensor:
    """Return the logits by the formulas of the paper: (b, t, d + 1) -> (b, j)."""
    f, p = features[..., :-1], torch.sigmoid(features[..., -1])
    weight = module.weight.view(len(module.weight), -1, module.n_concepts, module.concept_dim)
    r = torch.full((*p.shape, module.n_concepts), 1.0 / module.n_concepts, dtype=f.dtype)
    c = torch.einsum("btj,btd,tdjc->bjc", p[..., None] * r, f, weight)
    for _ in range(module.n_routing_iter):
        agreement = torch.einsum("btd,tdjc,bjc->btj", f, weight, c)
        r = torch.softmax(agreement * module.scale, 2)
        c = torch.einsum("btj,btd,tdjc->bjc", p[..., None] * r, f, weight)
    return torch.einsum("bjc,jc->bj", c, module.readout) + module.bias


def make_inputs(
    n_routing_iter: int, n_terms: int, batch_size: int
) -> tuple[Routing, Tensor, Tensor]:
    """Return the module, features and the gradient that comes from above."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = Routing(n_terms, DIM, N_CONCEPTS, DIM, n_routing_iter=n_routing_iter)
    features = torch.randn(batch_size, n_terms, DIM + 1, generator=generator)
    above = torch.randn(batch_size, N_CONCEPTS, generator=generator)
    return module, features, above


def step_of(forward: Callable[[Tensor], Tensor], module: Routing, x: Tensor, above: Tensor) -> Step:
    """Return a function that runs forward and backward and returns logits and gradients."""
    x = x.detach().clone().requires_grad_()
    leaves = [x, *module.parameters()]

    def run() -> tuple[Tensor, ...]:
        logits = forward(x)
        return (logits.detach(), *torch.autograd.grad(logits, leaves, above))

    return run


def make_steps(
    n_routing_iter: int, n_terms: int, batch_size: int, dtype: torch.dtype = torch.float32
) -> tuple[Step, Step]:
    """Return the steps of the plain layer and of ours, of equal weights and inputs."""
    module, x, above = make_inputs(n_routing_iter, n_terms, batch_size)
    module, x, above = module.to(dtype), x.to(dtype), above.to(dtype)
    plain = step_of(lambda x: plain_logits(x, module), module, x, above)
    return plain, step_of(module, module, x, above)


def largest_difference(n_routing_iter: int, n_terms: int, batch_size: int) -> float:
    """Return the largest difference of logits and gradients in float64, by the largest value."""
    plain, ours = make_steps(n_routing_iter, n_terms, batch_size, torch.float64)
    pairs = zip(ours(), plain(), strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


# ---------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------


class LiveBytes(TorchDispatchMode):
    """Count the bytes of the tensors that operations made and that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = self.largest = 0
        self._storages = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count the storages of its results."""
        found = func(*args, **(kwargs or {}))
        for value in found if isinstance(found, tuple | list) else (found,):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage(), args)
        return found

    def _count(self, storage: torch.UntypedStorage, args: Any) -> None:
        given = [a.untyped_storage() for a in args if isinstance(a, Tensor)]
        if storage in self._storages or any(storage is other for other in given):
            return
        n_bytes = storage.nbytes()
        self._storages[storage] = n_bytes
        weakref.finalize(storage, self._release, n_bytes)
        self.now += n_bytes
        self.peak, self.largest = max(self.peak, self.now), max(self.largest, n_bytes)

    def _release(self, n_bytes: int) -> None:
        self.now -= n_bytes


def saved_mib(forward: Callable[[Tensor], Tensor], module: Routing, x: Tensor) -> float:
    """Return the size of what is kept for backward, each storage once, less inputs and weights."""
    given = {t.untyped_storage().data_ptr() for t in (x, *module.parameters())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in given:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = forward(x)
    del logits
    return sum(kept.values()) / MIB


def memory(n_routing_iter: int, n_terms: int, batch_size: int) -> list[dict[str, Any]]:
    """Return what each layer keeps for backward, and what it holds at most, in MiB."""
    module, x, above = make_inputs(n_routing_iter, n_terms, batch_size)
    forwards = {"plain": lambda x: plain_logits(x, module), "ours": module}
    rows = []
    for name, forward in forwards.items():
        live = LiveBytes()
        run = step_of(forward, module, x, above)
        with live:
            run()
        x_free = x.detach().clone().requires_grad_()
        rows.append(
            {
                "adjustments": n_routing_iter,
                "layer": name,
                "kept for backward, MiB": saved_mib(forward, module, x_free),
                "held at most, MiB": live.peak / MIB,
                "largest tensor, MiB": live.largest / MIB,
            }
        )
    return rows


# ---------------------------------------------------------------------------------------------
# Time
# ---------------------------------------------------------------------------------------------


def timed(step: Step) -> float:
    """Return CPU seconds of one step."""
    start = time.process_time()
    step()
    return time.process_time() - start


def measure(plain: Step, ours: Step, repetitions: int) -> list[tuple[float, float]]:
    """Return (plain, ours) CPU seconds of forward and backward, in turns."""
    plain(), ours()
    pairs = []
    for repetition in range(repetitions):
        # The order changes, so that a machine that slows down favours neither.
        if repetition % 2:
            ours_s, plain_s = timed(ours), timed(plain)
        else:
            plain_s, ours_s = timed(plain), timed(ours)
        pairs.append((plain_s, ours_s))
    return pairs


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--repetitions", type=int, default=31)
    args = parser.parse_args()
    n_terms, batch_size = (15, 64) if args.quick else (N_TERMS, BATCH_SIZE)
    repetitions = 5 if args.quick else args.repetitions
    votes = n_terms * N_CONCEPTS * batch_size * DIM * 4 / MIB
    report = Report("routing_speed", "The routing layer against three-operand einsums", args)
    checks, rows, memory_rows = [], [], []
    with intra_op_threads(1):
        for n_routing_iter in (0, 1, 2):
            difference = largest_difference(n_routing_iter, n_terms, 32)
            pairs = measure(*make_steps(n_routing_iter, n_terms, batch_size), repetitions)
            found = memory(n_routing_iter, n_terms, batch_size)
            ratios = np.array([plain / ours for plain, ours in pairs])
            median = float(np.median(ratios))
            rows.append(
                {
                    "adjustments": n_routing_iter,
                    "plain, ms": mean_std((1000 * plain for plain, _ in pairs), 0),
                    "ours, ms": mean_std((1000 * ours for _, ours in pairs), 0),
                    "times faster, median": median,
                    "lowest": float(ratios.min()),
                    "highest": float(ratios.max()),
                    "largest difference, float64": f"{difference:.1e}",
                }
            )
            memory_rows += found
            if n_routing_iter:
                what = f"{n_routing_iter} adjustment(s)"
                largest = found[1]["largest tensor, MiB"]
                checks += [
                    (f"{what}: times faster", median, f">= {BOUND}", median >= BOUND, ratios),
                    (f"{what}: largest tensor, MiB", largest, f"< {votes:.1f}, all votes",
                     largest < votes),
                ]  # fmt: skip
    report.targets(checks)
    report.table(f"CPU time of forward and backward, {repetitions} repetitions", rows)
    report.table("Memory, besides weights and inputs", memory_rows, 1)
    report.text(
        f"Float32, {n_terms} terms, {N_CONCEPTS} concepts, features and concepts of {DIM}, batches "
        f"of {batch_size}; all votes together are {votes:.1f} MiB. Adjustments are "
        "n_routing_iter; 0 is Routing*. Differences are those of logits and of the gradients of "
        "features and weights, relative to the largest value. Kept for backward: storages that "
        "autograd saves, each once; held at most: tensors that operations of forward and backward "
        "made and that were alive together, gradients among them, without what an operation needs "
        "inside; the largest tensor is one of these."
    )
    report.write()


if __name__ == "__main__":
    main()
