"""Cost of one epoch: fit's loop, the bare loop over the same module, and a plain module.

Tabular: three modalities of 32 features, MLP encoders, latent_dim 8, 10,000 rows, batches of 64
and 512. Sequences: SynthGene-tri, 10,000 x 3 x 100 codes, Conv1d encoders, batches of 64.
Process CPU time of one thread; the loops take turns, and each round gives its ratios.

Bare loop: permute, slice, forward, backward, fused AdamW, nothing else. Plain module: encoders one
by one, every formula as it is read, gradients by autograd alone. Straightforward: the plain
module with a Dataset that makes one row at a time, one-hot, a DataLoader and default AdamW.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from _common import Report, make_parser, mean_std
from _synthetic import gene_encoder
from torch import Tensor

from sklearn_mmfusion import AdamW, MLPEncoder
from sklearn_mmfusion import functional as F
from sklearn_mmfusion._model.block_head import BlockNormHead
from sklearn_mmfusion._model.plan import FusionPlan, build_network
from sklearn_mmfusion._rows.scaling import block_moments
from sklearn_mmfusion._training.dataset import FusionDataset
from sklearn_mmfusion._training.devices import intra_op_threads
from sklearn_mmfusion._training.loop import train
from sklearn_mmfusion._training.net import TrainingOptions
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityLayout
from sklearn_mmfusion.datasets import make_synthgene_tri
from sklearn_mmfusion.modules.convolution import Conv1dModule
from sklearn_mmfusion.modules.losses import LOSSES
from sklearn_mmfusion.modules.network import FusionBatch, FusionNetwork
from sklearn_mmfusion.modules.normalization import RunningStatistics

N_FEATURES, LATENT_DIM = 32, 8
LR, REG, WEIGHT_DECAY = 0.003, 0.001, 0.01
ENCODER = MLPEncoder(hidden_dim=32, n_layers=2, output_dim=16)
TERMS = {2: ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2))}
TERMS[3] = (*TERMS[2], (0, 1, 2))
OF_BARE, MODULE, OF_STRAIGHT = 1.05, 0.7, 1 / 6.5

Loop = Callable[[int], None]


def tabular(n: int) -> tuple[list[Tensor], Tensor, tuple[ModalityLayout, ...]]:
    """Return modalities, a binary target and layouts."""
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((n, N_FEATURES)).astype(np.float32) for _ in range(3)]
    y = (X[0][:, 0] * X[1][:, 0] + X[2][:, 0] > 0).astype(np.int64)
    layouts = tuple(ModalityLayout(name, (N_FEATURES,), "float32", None) for name in "abc")
    return [torch.from_numpy(x) for x in X], torch.from_numpy(y), layouts


def sequences(n: int) -> tuple[list[Tensor], Tensor, tuple[ModalityLayout, ...]]:
    """Return codes (n, 100) in int8, a binary target and layouts."""
    data = make_synthgene_tri(n, 100, encoding="codes", random_state=0)
    X = [np.ascontiguousarray(values).astype(np.int8) for values in data.data.values()]
    layouts = tuple(ModalityLayout(name, (100,), "int8", None) for name in data.data)
    y = np.unique(data.target, return_inverse=True)[1].astype(np.int64)
    return [torch.from_numpy(x) for x in X], torch.from_numpy(y), layouts


def make_network(
    tensors: Sequence[Tensor],
    layouts: tuple[ModalityLayout, ...],
    order: int,
    *,
    plain: bool,
    one_hot: bool = False,
) -> FusionNetwork:
    """Return the network that InTense builds, float32; ``plain`` as its formulas say."""
    is_flat = tensors[0].is_floating_point()
    encoder = ENCODER if is_flat else gene_encoder().set_params(vocabulary_size=4)
    if one_hot:
        encoder = gene_encoder()
        layouts = tuple(ModalityLayout(layout.name, (100, 4), "float32") for layout in layouts)
    blocks = [
        ModalityBlock(layout.name, tensor.numpy(), None, None)
        for layout, tensor in zip(layouts, tensors, strict=True)
    ]
    scalings = tuple(block_moments(block, None) if is_flat else None for block in blocks)
    plan = FusionPlan(layouts, (encoder,) * 3, TERMS[order], scalings, BlockNormHead(LATENT_DIM), 1)
    network = build_network(plan).float()
    network.set_generator(torch.Generator().manual_seed(0))
    if not plain:
        network.group()
        return network

    def mean(x: Tensor, weight: Tensor | None = None) -> Tensor:
        return F.weighted_mean(x, weight)

    for module in network.modules():
        if isinstance(module, RunningStatistics):
            module.mean = mean  # another mean than the default one: no fused form
        if isinstance(module, Conv1dModule):
            module.only_maximum = False  # torch's convolution and maximum, with their gradients
    return network


def optimizer_of(network: FusionNetwork, **settings: Any) -> torch.optim.Optimizer:
    """Return AdamW with the groups of fit."""
    decayed: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter, is_matrix in network.trained_parameters():
        (decayed if is_matrix and name.startswith("encoders.") else others).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=LR, **settings)


def step_of(network: FusionNetwork, *, plain: bool, **settings: Any) -> Callable[..., None]:
    """Return a function that takes one step on a batch."""
    optimizer, loss_function = optimizer_of(network, **settings), LOSSES["binary"]
    fusion: Any = network.fusion

    def step(values: Sequence[Tensor], target: Tensor) -> None:
        optimizer.zero_grad()
        nothing = [None] * len(values)
        output = network(FusionBatch(list(values), nothing, nothing))
        penalty = F.block_norm_penalty(fusion.norms(), 1.0) if plain else fusion.penalty(1.0)
        (loss_function(output, target).mean() + REG * penalty).backward()
        optimizer.step()

    return step


def bare_loop(
    network: FusionNetwork, tensors: Sequence[Tensor], y: Tensor, batch_size: int, *, plain: bool
) -> Loop:
    """Return a function that trains some epochs: permute, slice, step, nothing else."""
    step = step_of(network, plain=plain, fused=True)
    generator = torch.Generator().manual_seed(0)

    def run(n_epochs: int) -> None:
        network.train()
        for _ in range(n_epochs):
            order = torch.randperm(len(y), generator=generator)
            parts = [t[order].split(batch_size) for t in (*tensors, y)]
            for *values, target in zip(*parts, strict=True):
                step(values, target)

    return run


class Rows(torch.utils.data.Dataset):
    """One row at a time, codes one-hot: what is written first."""

    def __init__(self, tensors: Sequence[Tensor], y: Tensor) -> None:
        self.tensors, self.y = list(tensors), y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[list[Tensor], Tensor]:
        rows = [t[i] for t in self.tensors]
        one_hot = torch.nn.functional.one_hot
        values = [r if r.is_floating_point() else one_hot(r.long(), 4).float() for r in rows]
        return values, self.y[i]


def straightforward_loop(
    network: FusionNetwork, tensors: Sequence[Tensor], y: Tensor, batch_size: int
) -> Loop:
    """Return a function that trains some epochs from a DataLoader."""
    step = step_of(network, plain=True)
    loader = torch.utils.data.DataLoader(
        Rows(tensors, y), batch_size, shuffle=True, generator=torch.Generator().manual_seed(0)
    )

    def run(n_epochs: int) -> None:
        network.train()
        for _ in range(n_epochs):
            for values, target in loader:
                step(values, target)

    return run


def our_loop(network: FusionNetwork, tensors: Sequence[Tensor], y: Tensor, batch_size: int) -> Loop:
    """Return a function that trains some epochs as the estimators do."""
    nothing = [None] * len(tensors)
    dataset = FusionDataset(FusionBatch(list(tensors), nothing, nothing), y)
    options = TrainingOptions(
        max_epochs=1, batch_size=batch_size, lr=LR, lr_decay=1.0, reg=REG, reg_factors=(),
        p=1.0,
        loss=LOSSES["binary"], build_optimizer=AdamW().build, weight_decay=WEIGHT_DECAY, seed=0,
    )  # fmt: skip
    state: dict[str, Any] = {"net": None}

    def run(n_epochs: int) -> None:
        options.max_epochs = n_epochs
        state["net"] = train(network, dataset, None, options, state["net"]).net

    return run


def timed(loop: Loop, n_epochs: int) -> float:
    """Return CPU milliseconds per epoch."""
    start = time.process_time()
    loop(n_epochs)
    return 1000 * (time.process_time() - start) / n_epochs


def measure(loops: dict[str, Loop], repetitions: int, n_epochs: int) -> dict[str, np.ndarray]:
    """Return milliseconds per epoch of each loop, in turns; the first begins every other time."""
    for loop in loops.values():
        loop(1)
    times: dict[str, list[float]] = {name: [] for name in loops}
    for repetition in range(repetitions):
        names = list(loops) if repetition % 2 else list(loops)[::-1]
        for name in names:
            times[name].append(timed(loops[name], n_epochs))
        print({name: round(values[-1]) for name, values in times.items()}, flush=True)
    return {name: np.array(values) for name, values in times.items()}


def make_loops(kind: str, n: int, order: int, batch_size: int) -> dict[str, Loop]:
    """Return the loops to compare."""
    tensors, y, layouts = (tabular if kind == "tabular" else sequences)(n)
    loops = {
        "ours": our_loop(make_network(tensors, layouts, order, plain=False), tensors, y, batch_size)
    }
    for name, plain in (("bare", False), ("plain", True)):
        network = make_network(tensors, layouts, order, plain=plain)
        loops[name] = bare_loop(network, tensors, y, batch_size, plain=plain)
    if kind == "sequences":
        network = make_network(tensors, layouts, order, plain=True, one_hot=True)
        loops["straightforward"] = straightforward_loop(network, tensors, y, batch_size)
    return loops


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=2, help="epochs in each repetition")
    args = parser.parse_args()
    n, repetitions = (1000, 3) if args.quick else (10_000, args.repetitions)
    cases = [("tabular", order, size) for order in (2, 3) for size in (64, 512)]
    cases.append(("sequences", 3, 64))
    report = Report("epoch_speed", "One epoch against a bare loop, and against plain modules", args)
    checks, rows = [], []
    with intra_op_threads(1):
        for kind, order, size in cases:
            times = measure(make_loops(kind, n, order, size), repetitions, args.epochs)
            what = f"{kind}, order {order}, batch {size}"
            ratios = {
                "ours / bare": times["ours"] / times["bare"],
                "our module / plain module": times["bare"] / times["plain"],
            }
            bounds = {"ours / bare": OF_BARE, "our module / plain module": MODULE}
            if kind == "sequences":
                ratios["ours / straightforward"] = times["ours"] / times["straightforward"]
                bounds["ours / straightforward"] = OF_STRAIGHT
            row: dict[str, Any] = {"data": kind, "order": order, "batch": size}
            row |= {f"{name}, ms": mean_std(values, 1) for name, values in times.items()}
            for name, values in ratios.items():
                median, bound = float(np.median(values)), bounds[name]
                checks.append(
                    (f"{what}: {name}", median, f"<= {bound:.3g}", median <= bound, values)
                )
                row[name] = f"{median:.3f} ({values.min():.3f} to {values.max():.3f})"
            rows.append(row)
    report.targets(checks)
    report.table(
        f"CPU time per epoch, {repetitions} repetitions of {args.epochs} epochs; median ratios "
        "(lowest to highest)",
        rows,
    )
    report.text(
        f"{n} rows. Tabular: {ENCODER!r}; sequences: {gene_encoder()!r} on integer codes. All "
        "train with the same loss, penalty and groups of weights. Ours is the loop of fit: "
        "skorch's hooks, history, learning rate, snapshot and check of every epoch."
    )
    report.write()


if __name__ == "__main__":
    main()
