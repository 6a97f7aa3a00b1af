"""IterBN by order and latent size: folded, by recursion, and by ordered partitions.

Features of one term from its latent vectors, forward and backward, batches of 256, float32:

* ours, the layer of the package: orders 2 and 3 with gradients written out, above folded;
* the recursion of ``sklearn_mmfusion.functional``, 2 ** k products of d ** k numbers a row;
* the sum of the paper over ordered partitions of every subset into moments and one last part,
  whose number grows with the ordered Bell numbers, as it is written.

CPU time of one thread, the three in turns; memory is what autograd keeps and what tensors hold
together at most. Ways that would take too long, or more memory than there is, have a dash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import torch
from _common import Report, make_parser
from routing_speed import LiveBytes
from torch import Tensor

from sklearn_mmfusion import functional as F
from sklearn_mmfusion._training.devices import intra_op_threads
from sklearn_mmfusion.modules.normalization import IterBatchNorm

EPS = 1e-5
MIB = 2**20
MAX_VALUES = 600_000_000  # numbers that a way may write in one forward pass
Axes = tuple[int, ...]


def ordered_partitions(axes: Axes) -> Iterator[list[Axes]]:
    """Yield the ways to part a set into non-empty parts in order."""
    if not axes:
        yield []
    for size in range(1, len(axes) + 1):
        for first in combinations(axes, size):
            rest = tuple(axis for axis in axes if axis not in first)
            for others in ordered_partitions(rest):
                yield [first, *others]


def n_ordered_partitions(k: int) -> int:
    """Return the number of summands of the paper's sum for a term of order k."""
    return sum(1 for size in range(k + 1) for rest in combinations(range(k), k - size)
               for _ in ordered_partitions(rest))  # fmt: skip


def outer(parts: Sequence[tuple[Tensor, Axes]]) -> Tensor:
    """Return the outer product of tensors over disjoint axes, batch first, axes in order."""
    letters = ["z" + "".join(chr(97 + axis) for axis in axes) for _, axes in parts]
    every = "z" + "".join(sorted("".join(letters).replace("z", "")))
    return torch.einsum(",".join(letters) + "->" + every, *[tensor for tensor, _ in parts])


def by_partitions(us: Sequence[Tensor]) -> Tensor:
    """Return the features of a term (b, d ** k) as the paper sums them up."""
    k = len(us)
    every = tuple(range(k))
    moments: dict[Axes, Tensor] = {}
    for size in range(2, k + 1):
        for axes in combinations(every, size):
            moments[axes] = outer([(us[m], (m,)) for m in axes]).mean(0, keepdim=True)
    total: Any = 0.0
    for size in range(k + 1):
        for kept in combinations(every, size):
            rest = tuple(m for m in every if m not in kept)
            for parts in ordered_partitions(rest):
                if any(len(part) == 1 for part in parts):
                    continue  # first moments are zero
                factors = [(us[m], (m,)) for m in kept]
                factors += [(moments[part].expand(len(us[0]), *moments[part].shape[1:]), part)
                            for part in parts]  # fmt: skip
                total = total + (-1) ** len(parts) * outer(factors)
    return scaled(total)


def by_recursion(us: Sequence[Tensor]) -> Tensor:
    """Return the features of a term (b, d ** k) as ``functional`` does."""
    moments = F.interaction_moments(us, None, centred=True)
    return scaled(F.interaction_features(us, F.interaction_constants(moments, len(us))))


def scaled(features: Tensor) -> Tensor:
    """Scale features to mean squared norm 1."""
    flat = features.flatten(1)
    return F.scale_to_unit(flat, F.weighted_mean(flat.square().sum(-1)), EPS)


@lru_cache
def make_layer(k: int, d: int, dtype: torch.dtype) -> IterBatchNorm:
    """Return the layer for one term, in training."""
    return IterBatchNorm(k, 1, d, EPS).to(dtype)


def by_layer(us: Sequence[Tensor]) -> Tensor:
    """Return the features of a term (b, d ** k) of the package's layer."""
    layer = make_layer(len(us), us[0].shape[1], us[0].dtype)
    features: Tensor = layer([u.unsqueeze(1) for u in us])
    return features.squeeze(1)


WAYS: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "ours": by_layer,
    "recursion": by_recursion,
    "partitions": by_partitions,
}


def values_of(way: str, k: int, d: int, n_rows: int) -> int:
    """Return the numbers that a way writes in a forward pass, about."""
    if way == "ours":
        return n_rows * sum(d**j * (1 + d) ** (k - j) for j in range(1, k + 1))
    products = 2**k if way == "recursion" else n_ordered_partitions(k)
    return n_rows * products * d**k


def make_vectors(k: int, d: int, n_rows: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return dependent latent vectors as VBN leaves them."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(n_rows, d, generator=generator, dtype=torch.float64)
    us = [
        common + torch.randn(n_rows, d, generator=generator, dtype=torch.float64) for _ in range(k)
    ]
    return [F.vector_batch_norm(u)[0].to(dtype).requires_grad_() for u in us]


def step(way: str, us: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Run forward and backward; return the features and the gradients."""
    features = WAYS[way](us)
    above = torch.linspace(-1, 1, features.numel(), dtype=features.dtype).view_as(features)
    return (features.detach(), *torch.autograd.grad(features, list(us), above))


def largest_difference(ways: Sequence[str], k: int, d: int) -> float:
    """Return the largest difference of features and gradients from the recursion's, float64."""
    us = make_vectors(k, d, 64, torch.float64)
    expected = step("recursion", us)
    return max(
        float((a - b).abs().max() / b.abs().max())
        for way in ways
        for a, b in zip(step(way, us), expected, strict=True)
    )


def memory(way: str, us: Sequence[Tensor]) -> dict[str, float]:
    """Return MiB that are kept for backward, and held at most."""
    given = {u.untyped_storage().data_ptr() for u in us}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in given:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        features = WAYS[way](us)
    del features
    live = LiveBytes()
    with live:
        step(way, us)
    return {"kept": sum(kept.values()) / MIB, "held": live.peak / MIB}


def timed(way: str, us: Sequence[Tensor]) -> float:
    """Return CPU milliseconds of a forward and backward pass."""
    start = time.process_time()
    step(way, us)
    return 1000 * (time.process_time() - start)


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    orders, dims = ((2, 3, 4), (2, 4)) if args.quick else ((2, 3, 4, 5, 6), (2, 4, 6, 8))
    n_rows = 32 if args.quick else 256
    report = Report("iterbn_growth", "IterBN by order and latent size", args)
    times: dict[tuple[int, int], dict[str, float]] = {}
    rows, differences = [], []
    with intra_op_threads(1):
        for k in orders:
            for d in dims:
                ways = [w for w in WAYS if values_of(w, k, d, n_rows) <= MAX_VALUES]
                us = make_vectors(k, d, n_rows)
                if d**k <= 10_000:
                    differences.append(largest_difference(ways, k, d))
                for way in ways:
                    step(way, us)
                measured: dict[str, list[float]] = {way: [] for way in ways}
                for _ in range(args.repetitions):
                    for way in ways:
                        measured[way].append(timed(way, us))
                times[k, d] = {way: float(np.median(found)) for way, found in measured.items()}
                held = {way: memory(way, us) for way in ways}
                row: dict[str, Any] = {"order": k, "d": d, "features": d**k,
                                       "summands": n_ordered_partitions(k)}  # fmt: skip
                row |= {f"{way}, ms": times[k, d].get(way) for way in WAYS}
                row |= {f"{way}, kept MiB": held[way]["kept"] if way in held else None
                        for way in WAYS}  # fmt: skip
                row |= {f"{way}, held MiB": held[way]["held"] if way in held else None
                        for way in WAYS}  # fmt: skip
                rows.append(row)
                print(f"  order {k}, d {d}: {times[k, d]}", flush=True)
    checks = [
        (
            "largest difference of features and gradients, float64",
            f"{max(differences):.1e}",
            "< 1e-10",
            max(differences) < 1e-10,
        )
    ]
    growth = []
    for d in dims:
        for k in orders[1:]:
            ratio = times[k, d]["ours"] / times[k - 1, d]["ours"]
            bell = n_ordered_partitions(k) * d / n_ordered_partitions(k - 1)
            growth.append({"d": d, "orders": f"{k - 1} to {k}", "time grows by": ratio,
                           "(1 + d)": 1 + d, "partitions would by": bell})  # fmt: skip
    for d in dims:
        first, last = orders[-2], orders[-1]
        whole = times[last, d]["ours"] / times[first, d]["ours"]
        checks.append((f"d = {d}: growth from order {first} to {last}", whole,
                       f"<= {1.3 * (1 + d):.1f}, 1.3 (1 + d)", whole <= 1.3 * (1 + d)))  # fmt: skip
    for k in orders:
        for d in dims:
            if "recursion" in times[k, d] and k > 3:
                faster = times[k, d]["recursion"] / times[k, d]["ours"]
                checks.append((f"order {k}, d = {d}: faster than the recursion", faster, ">= 1",
                               faster >= 1))  # fmt: skip
    report.targets(checks)
    report.table(f"One term, batches of {n_rows}, {args.repetitions} repetitions: medians", rows)
    report.table("Growth of ours from one order to the next", growth)
    report.text(
        "Summands: ordered partitions of the rest of every subset, those with first moments "
        "among them; the sum leaves these out, as they are zero. Kept: storages that autograd "
        "saves, each once, less the vectors; held: tensors that were alive together in forward "
        f"and backward. A way that would write more than {MAX_VALUES:_} numbers has a dash."
    )
    report.write()


if __name__ == "__main__":
    main()
