"""Training on a GPU: against a bare loop there, against the CPU, and against what the card can do.

Generated data: three flat modalities of 32 features in batches of 512 and 4096, sequences through
GRU and through Conv1d encoders, and MulT at the size of its paper. Seconds are wall time with all
kernels waited for; the two loops take turns over the same module. Operations are counted by torch
in a forward and a backward pass; the peak is that of dense products, from the data sheets of the
cards, or what ``--peak`` says. With ``--device cpu`` the script runs without a GPU.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from _common import Check, Report, make_parser, mean_std
from torch.utils.flop_counter import FlopCounterMode

from sklearn_mmfusion import (
    Conv1dEncoder,
    GRUEncoder,
    InTenseClassifier,
    MLPEncoder,
    MulTClassifier,
    MulTEncoder,
)
from sklearn_mmfusion._fitting import together as together_module
from sklearn_mmfusion._fitting.data import FitInput
from sklearn_mmfusion._fitting.scales import input_scalings
from sklearn_mmfusion._inputs.validation import check_fit_inputs
from sklearn_mmfusion._model.plan import build_network, in_plan_order
from sklearn_mmfusion._training.dataset import FusionDataset, to_dataset
from sklearn_mmfusion._training.devices import intra_op_threads
from sklearn_mmfusion._training.loop import train
from sklearn_mmfusion._training.net import TrainingOptions
from sklearn_mmfusion.modules.network import FusionNetwork

# Peak of dense products in TFLOP/s by a part of the card's name: float32, TF32, bfloat16.
CARDS = {
    "H200": (67.0, 494.0, 989.0),
    "H100": (67.0, 494.0, 989.0),
    "A100": (19.5, 156.0, 312.0),
    "L40S": (91.6, 183.0, 362.0),
    "L4": (30.3, 60.0, 121.0),
    "V100": (15.7, None, None),
    "T4": (8.1, None, None),
}
MODES = ("float32", "TF32", "bfloat16", "float32, CUDA graphs", "float32, compiled")
COMPILE = {"float32, CUDA graphs": "cudagraphs", "float32, compiled": True}
RATIOS = {"float32": "ours / bare", "float32, CUDA graphs": "ours from CUDA graphs / bare"}
LOOP_BOUND = 1.05
DIFFERENCE_BOUNDS = {"float64": 1e-6, "float32": 1e-4}
MULT_WIDTHS, MULT_STEPS = (300, 74, 35), 50


@dataclass
class Case:
    """Data and model of one line.

    Attributes
    ----------
    name : str
        Shown in the tables.
    shapes : tuple of tuple of int
        Shape of a row of each modality.
    n, quick_n : int
        Rows, and those of the quick version.
    batch_size : int
        Rows of a batch.
    make : callable
        Keywords to the estimator.
    compiles : bool
        Whether it is measured compiled too; recurrent kernels are not compiled.
    max_epochs : int
        Epochs at a time.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    n: int
    quick_n: int
    batch_size: int
    make: Callable[..., Any]
    compiles: bool = True
    max_epochs: int = 4


def _intense(encoder: Any) -> Callable[..., Any]:
    def make(**params: Any) -> Any:
        return InTenseClassifier(encoders=encoder, reg=0.001, polish=False, **params)

    return make


def _mult(**params: Any) -> Any:
    encoder = MulTEncoder(hidden_dim=40, n_heads=8, n_layers=5, dropout=0.0)
    return MulTClassifier(encoders=encoder, **params)


def make_cases() -> list[Case]:
    """Return the cases; without dropout, since a GPU draws other masks than a CPU."""
    mlp = MLPEncoder(hidden_dim=32, n_layers=2, output_dim=16, dropout=0.0, input_dropout=0.0)
    flat, steps = ((32,),) * 3, ((50, 16),) * 3
    widths = tuple((MULT_STEPS, width) for width in MULT_WIDTHS)
    return [
        Case("tabular, 512", flat, 100_000, 2000, 512, _intense(mlp)),
        Case("tabular, 4096", flat, 100_000, 8192, 4096, _intense(mlp)),
        Case(
            "GRU", steps, 10_000, 512, 256, _intense(GRUEncoder(hidden_dim=64, dropout=0.0)), False
        ),
        Case("Conv1d", steps, 10_000, 512, 256, _intense(Conv1dEncoder(dropout=0.0))),
        Case("MulT", widths, 320, 64, 32, _mult, max_epochs=2),
    ]


def make_data(case: Case, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return modalities and a binary target that depends on them."""
    rng = np.random.default_rng(0)
    X = {
        name: rng.standard_normal((n, *shape)).astype(np.float32)
        for name, shape in zip("abc", case.shapes, strict=True)
    }
    first = [values.reshape(n, -1)[:, -1] for values in X.values()]
    return X, (first[0] * first[1] + first[2] > 0).astype(int)


# ---------------------------------------------------------------------------------------------
# Loops
# ---------------------------------------------------------------------------------------------


def prepare(
    case: Case, n: int, device: torch.device, mode: str
) -> tuple[FusionNetwork, FusionDataset, TrainingOptions]:
    """Return a network, its rows and its options as ``fit`` has them."""
    X, y = make_data(case, n)
    estimator = case.make(
        batch_size=case.batch_size, max_epochs=1, early_stopping=False, random_state=0,
        device=str(device), compile=COMPILE.get(mode, False),
        dtype="bfloat16" if mode == "bfloat16" else "float32",
    )  # fmt: skip
    schema, data, target, encoded, _ = check_fit_inputs(estimator, X, y, None, classifier=True)
    plan, _ = estimator._make_plan(schema, target, n, 0)
    rows = FitInput(in_plan_order(plan, data), encoded, None, target.kind)
    plan = replace(plan, scalings=input_scalings(plan, rows))
    network = build_network(plan).float().to(device)
    options = replace(estimator._options(plan, rows), ramp_epochs=0)
    dataset = to_dataset(rows.data, rows.target, None, torch.float32).on_device(device)
    return network, dataset, options


def bare_loop(
    network: FusionNetwork, dataset: FusionDataset, options: TrainingOptions
) -> Callable[[int], None]:
    """Return a function that trains some epochs: permute, slice, step, nothing else."""
    device = dataset.target.device
    network.set_generator(torch.Generator(device=device).manual_seed(0))
    network.encoders_in_bfloat16 = options.bfloat16
    network.group()
    parameters = [parameter for _, parameter, _ in network.trained_parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=options.lr, fused=True)
    generator = torch.Generator().manual_seed(0)

    def run(n_epochs: int) -> None:
        network.train()
        for _ in range(n_epochs):
            order = torch.randperm(len(dataset), generator=generator).to(device)
            shuffled = FusionDataset(*dataset[order])
            for batch, target in shuffled.batches(options.batch_size):
                optimizer.zero_grad()
                loss = options.loss(network(batch), target).mean()
                if options.reg:
                    loss = loss + options.reg * network.fusion.penalty(options.p).to(loss.dtype)
                loss.backward()
                optimizer.step()

    return run


def our_loop(
    network: FusionNetwork, dataset: FusionDataset, options: TrainingOptions
) -> Callable[[int], None]:
    """Return a function that trains some epochs as ``fit`` does."""
    state: dict[str, Any] = {"net": None}

    def run(n_epochs: int) -> None:
        made = replace(options, max_epochs=n_epochs)
        state["net"] = train(network, dataset, None, made, state["net"]).net

    return run


def seconds(run: Callable[[int], None], device: torch.device, n_epochs: int = 1) -> float:
    """Return the seconds of an epoch, of several in a row; what was begun is waited for."""
    _wait(device)
    start = time.perf_counter()
    run(n_epochs)
    _wait(device)
    return (time.perf_counter() - start) / n_epochs


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def operations_per_row(case: Case) -> float:
    """Return floating-point operations of a row, forward and backward."""
    network, dataset, options = prepare(case, case.batch_size, torch.device("cpu"), "float32")
    network.set_generator(torch.Generator().manual_seed(0))
    network.train()
    with FlopCounterMode(display=False) as counter:
        batch, target = dataset[: case.batch_size]
        options.loss(network(batch), target).mean().backward()
    return counter.get_total_flops() / case.batch_size


# ---------------------------------------------------------------------------------------------
# Measurements
# ---------------------------------------------------------------------------------------------


def measure(
    case: Case, mode: str, device: torch.device, n: int, repetitions: int, peak: float | None
) -> dict[str, Any]:
    """Return a line: both loops on the device, memory, share of the peak."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if mode == "TF32" else "highest")
    torch.backends.cudnn.allow_tf32 = mode == "TF32"  # of the bare loop; fits see to it themselves
    try:
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        ours = our_loop(*prepare(case, n, device, mode))
        ours(2)  # compiled or recorded in the second or third step
        memory = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
        bare = bare_loop(*prepare(case, n, device, mode))
        bare(1)
        # A fit begins and ends once; with few steps an epoch that would be no small part of one.
        epochs = max(1, min(case.max_epochs, 200 * case.batch_size // n))
        pairs = []
        for repetition in range(repetitions):
            # The order changes, so that a machine that slows down favours neither.
            if repetition % 2:
                ours_s, bare_s = seconds(ours, device, epochs), seconds(bare, device, epochs)
            else:
                bare_s, ours_s = seconds(bare, device, epochs), seconds(ours, device, epochs)
            pairs.append((bare_s, ours_s))
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
    rate = n / float(np.median([ours_s for _, ours_s in pairs]))
    operations = operations_per_row(case)
    return {
        "case": case.name,
        "mode": mode,
        "bare, rows/s": mean_std((n / bare_s for bare_s, _ in pairs), 0),
        "ours, rows/s": mean_std((n / ours_s for _, ours_s in pairs), 0),
        "ours / bare, s": float(np.median([ours_s / bare_s for bare_s, ours_s in pairs])),
        "peak memory, MiB": memory,
        "kFLOP per row": operations / 1e3,
        "share of peak": None if peak is None else rate * operations / (peak * 1e12),
        "rate": rate,
    }


def cpu_rate(case: Case, n: int) -> float:
    """Return rows per second of our loop on the CPU, one epoch of a part of the rows."""
    device = torch.device("cpu")
    ours = our_loop(*prepare(case, n, device, "float32"))
    ours(1)
    return n / seconds(ours, device)


def differences(case: Case, device: torch.device, n: int) -> dict[str, Any]:
    """Return how far fits of two epochs are from that of the CPU in float64, in probabilities."""
    X, y = make_data(case, n)

    def fit(name: str, dtype: str) -> np.ndarray:
        estimator = case.make(
            batch_size=case.batch_size, max_epochs=2, early_stopping=False, random_state=0,
            device=name, dtype=dtype,
        )  # fmt: skip
        return estimator.fit(X, y).predict_proba(X)

    exact = fit("cpu", "float64")
    others = [(str(device), "float64"), (str(device), "float32"), ("cpu", "float32")]
    found = {f"{name}, {dtype}": np.abs(fit(name, dtype) - exact).max() for name, dtype in others}
    return {"case": case.name, "rows": n, **{key: float(value) for key, value in found.items()}}


def prediction(case: Case, device: torch.device, n: int) -> dict[str, Any]:
    """Return how fast new rows are predicted, encoded on the device and on the CPU, in float64."""
    X, y = make_data(case, n)
    estimator = case.make(
        batch_size=case.batch_size, max_epochs=1, early_stopping=False, random_state=0,
        device=str(device), dtype="float32",
    ).fit(X, y)  # fmt: skip
    rates, found = {}, {}
    for name in (str(device), "cpu"):
        estimator.set_params(device=name)
        estimator.predict_proba({key: values[:1] for key, values in X.items()})
        times = []
        for _ in range(3):
            start = time.perf_counter()
            found[name] = estimator.predict_proba(X)
            times.append(time.perf_counter() - start)
        rates[name] = n / float(np.median(times))
    return {
        "case": case.name,
        "rows": n,
        "on the device, rows/s": rates[str(device)],
        "on the CPU, rows/s": rates["cpu"],
        "times the CPU": rates[str(device)] / rates["cpu"],
        "apart": float(np.abs(found[str(device)] - found["cpu"]).max()),
    }


def members(device: torch.device, n: int, batch_size: int, n_members: int) -> dict[str, Any]:
    """Return seconds of a fit with members trained side by side, and one after the other."""
    X, y = make_data(make_cases()[0], n)
    seconds_of = {}
    ways = (
        ("together", together_module._MAX_FITS, False),
        ("one by one", 1, False),
        ("CUDA graphs", 1, "cudagraphs"),
    )
    for name, limit, compile_ in ways:
        with patch.object(together_module, "_MAX_FITS", limit):
            times = []
            for repetition in range(3):  # the first one warms up
                encoder = MLPEncoder(hidden_dim=32, output_dim=16, dropout=0.1)
                estimator = InTenseClassifier(
                    encoders=encoder, batch_size=batch_size, max_epochs=3, early_stopping=False,
                    reg=0.001, polish=False, n_bags=n_members, random_state=repetition,
                    device=str(device), dtype="float32", compile=compile_,
                )  # fmt: skip
                start = time.perf_counter()
                estimator.fit(X, y)
                times.append(time.perf_counter() - start)
        seconds_of[name] = min(times[1:])
    return {
        "members": n_members,
        "rows": n,
        "batch": batch_size,
        **{f"{name}, s": value for name, value in seconds_of.items()},
        "one by one / together": seconds_of["one by one"] / seconds_of["together"],
        "one by one / CUDA graphs": seconds_of["one by one"] / seconds_of["CUDA graphs"],
    }


def whole_fits(device: torch.device, n: int) -> list[dict[str, Any]]:
    """Return seconds of whole fits of flat data with dropout, as a user calls them."""
    X, y = make_data(make_cases()[0], n)
    rows: list[dict[str, Any]] = []
    for where, compile_ in (("cpu", False), (str(device), False), (str(device), "cudagraphs")):
        times = []
        for seed in range(1 if where == "cpu" else 2):  # the first one warms up
            estimator = InTenseClassifier(
                batch_size=512, max_epochs=10, early_stopping=False, reg=0.001, dtype="float32",
                device=where, compile=compile_, random_state=seed,
            )  # fmt: skip
            start = time.perf_counter()
            estimator.fit(X, y)
            times.append(time.perf_counter() - start)
        accuracy = float(estimator.score(X, y))
        rows.append(
            {
                "device": "CPU" if where == "cpu" else "GPU",
                "compile": repr(compile_),
                "rows": n,
                "seconds": times[-1],
                "training accuracy": accuracy,
            }
        )
    return rows


def peaks_of(device: torch.device, given: float | None) -> dict[str, float | None]:
    """Return the peak of each mode in TFLOP/s; None where it is not known."""
    if given is not None:
        return dict.fromkeys(MODES, given)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    found = next((peaks for part, peaks in CARDS.items() if part in name), (None, None, None))
    return dict(zip(MODES, (*found, found[0], found[0]), strict=True))


def parse() -> argparse.Namespace:
    """Return the arguments."""
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--device", default="cuda", help="device to measure (cuda)")
    parser.add_argument("--peak", type=float, help="peak of the card in TFLOP/s, for every mode")
    parser.add_argument("--cases", nargs="*", help="names of cases, to run only these")
    parser.add_argument("--modes", nargs="*", help=f"some of {', '.join(MODES)}")
    return parser.parse_args()


def main() -> None:
    """Run."""
    args = parse()
    device = torch.device(args.device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    repetitions = 2 if args.quick else 4
    modes = args.modes or [m for m in MODES if device.type == "cuda" or m != "TF32"]
    cases = [case for case in make_cases() if not args.cases or case.name in args.cases]
    is_part = bool(args.cases or args.modes)
    name = "gpu" if device.type == "cuda" else f"gpu-on-{device.type}"
    report = Report(name, f"Training on a GPU ({card})", args, is_part=is_part)
    peaks = peaks_of(device, args.peak)
    rows: list[dict[str, Any]] = []
    checks: list[Check] = []
    predictions: list[dict[str, Any]] = []
    apart: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    fits: list[dict[str, Any]] = []
    threads = None if device.type == "cuda" else 1
    try:
        with warnings.catch_warnings(), intra_op_threads(threads):
            warnings.simplefilter("ignore")
            for batch_size in () if args.cases else (64, 512):
                groups.append(members(device, 1000 if args.quick else 3000, batch_size, 5))
                print(groups[-1], flush=True)
            if not args.cases:
                fits = whole_fits(device, 2000 if args.quick else 100_000)
                print(fits, flush=True)
            for case in cases:
                n = case.quick_n if args.quick else case.n
                few = min(n, 4 * case.batch_size)
                on_cpu = cpu_rate(case, few)
                found = differences(case, device, few)
                apart.append(found)
                print(found, flush=True)
                for dtype, bound in DIFFERENCE_BOUNDS.items():
                    value = found[f"{device}, {dtype}"]
                    checks.append(
                        (f"{case.name}, {dtype}, apart from the CPU's float64", value,
                         f"<= {bound}", value <= bound)
                    )  # fmt: skip
                predictions.append(prediction(case, device, max(few, n // 5)))
                print(predictions[-1], flush=True)
                for mode in modes:
                    if mode.endswith("compiled") and not case.compiles:
                        continue
                    row = measure(case, mode, device, n, repetitions, peaks[mode])
                    row["times the CPU"] = row.pop("rate") / on_cpu
                    rows.append(row)
                    if mode in RATIOS:
                        ratio = row["ours / bare, s"]
                        checks.append(
                            (f"{RATIOS[mode]}, {case.name}", ratio,
                             f"<= {LOOP_BOUND}", ratio <= LOOP_BOUND)
                        )  # fmt: skip
                    print(row, flush=True)
    except KeyboardInterrupt:
        print("stopped: what has been measured follows", flush=True)
    report.targets(checks)
    report.table(f"One epoch, {repetitions} repetitions", rows)
    report.table("Probabilities after two epochs, apart from the CPU's in float64", apart)
    report.table("Prediction in float64, the same model", predictions)
    if groups:
        report.table("Fits of three epochs with several members (n_bags)", groups)
    if fits:
        report.table("Whole fits of ten epochs in batches of 512, default encoders", fits)
    report.text(
        "Both loops train the same module, encoders of equal shape side by side, with the same "
        "loss and penalty; the bare one permutes and slices on the device. CUDA graphs and "
        "compiled modules are in our loop alone. Times the CPU: our loop there, float32, "
        f"{torch.get_num_threads()} thread(s). Fits of two epochs are without dropout."
    )
    report.write()


if __name__ == "__main__":
    main()
