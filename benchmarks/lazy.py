"""Modalities on disk: resident memory of fit, predict, explanations and cross-validation.

A data set of the given size is generated in a folder as memory maps, used through LazyArray by
processes of its own, and deleted. One epoch of MNL with small encoders: what is measured is
reading, not learning; so most of a very large set may be holes in its files (--written), rows of
zeros that are read like all others but need neither disk nor the time to make them. The cost of a
batch is that of its rows from disk (in the page cache) and from memory, in turns.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import Report, make_parser, mean_std
from _memory import peak_bytes, resident_bytes

from sklearn_mmfusion import (
    LazyArray,
    LinearEncoder,
    MNLClassifier,
    ModalityFrame,
    SummaryEncoder,
)
from sklearn_mmfusion._inputs.lazy_blocks import scan
from sklearn_mmfusion._inputs.validation import check_X
from sklearn_mmfusion._training.dataset import Batches, to_dataset
from sklearn_mmfusion._training.devices import intra_op_threads

SHAPES = {"flat": (4096,), "sequence": (50, 64), "bytes": (8192,)}
DTYPES = {"flat": np.float32, "sequence": np.float32, "bytes": np.uint8}
ENCODERS = {
    "flat": LinearEncoder(output_dim=8),
    "sequence": SummaryEncoder(),
    "bytes": LinearEncoder(output_dim=8),
}
LIMIT = 2**30
ROW_BYTES = sum(
    int(np.prod(shape)) * np.dtype(DTYPES[name]).itemsize for name, shape in SHAPES.items()
)
BATCH_SIZE = 256


def generate(folder: Path, n: int, written: float) -> None:
    """Write the modalities and the target in blocks; the first blocks of every few."""
    rng = np.random.default_rng(0)
    block = 2000
    every = max(1, round(1 / written))
    y = rng.integers(0, 2, size=n) * (np.arange(n) // block % every == 0)
    np.save(folder / "y.npy", y)
    for name, shape in SHAPES.items():
        dtype = np.dtype(DTYPES[name])
        noise = rng.standard_normal((block, *shape), dtype=np.float32)
        values = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (n, *shape))
        for start in range(0, n, block * every):
            stop = min(start + block, n)
            # Rows and columns move against each other, so that no two blocks are equal.
            moved = np.roll(noise, (start // block, 7 * start // block), (0, 1))[: stop - start]
            moved = moved * np.float32(rng.uniform(0.8, 1.2))
            moved.reshape(stop - start, -1)[:, :8] += y[start:stop, None]
            if dtype == np.uint8:
                moved = np.clip(128 + 40 * moved, 0, 255)
            values[start:stop] = moved
            values.flush()
        del values


def opened(folder: Path) -> tuple[ModalityFrame, np.ndarray]:
    """Return the data without reading them."""
    arrays = {
        name: LazyArray(np.load(folder / f"{name}.npy", mmap_mode="r"))
        for name in SHAPES
    }  # fmt: skip
    return ModalityFrame(arrays), np.load(folder / "y.npy")


def work(task: str, folder: Path) -> list[dict[str, Any]]:
    """Run one task in this process; a row for each step, with the peak up to its end."""
    X, y = opened(folder)
    before = resident_bytes()
    estimator = MNLClassifier(encoders=ENCODERS, max_epochs=1, random_state=0, batch_size=512)
    rows = []

    def measured(step: str, function: Any) -> Any:
        cpu, wall = time.process_time(), time.monotonic()
        result = function()
        rows.append(
            {
                "step": step,
                "before": before,
                "peak": peak_bytes(),
                "cpu_s": time.process_time() - cpu,
                "wall_s": time.monotonic() - wall,
            }
        )
        return result

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if task == "fit":
            measured("fit", lambda: estimator.fit(X, y))
            predicted = measured("predict", lambda: estimator.predict(X))
            rows[-1]["accuracy"] = float((predicted == y).mean())
            measured("explain_global of all rows", lambda: estimator.explain_global(X))
            measured("explain_local of 1000 rows", lambda: estimator.explain_local(X[:1000]))
        else:
            from sklearn.model_selection import cross_validate

            scores = measured("cross_validate, 2 folds", lambda: cross_validate(
                estimator, X, y, cv=2, error_score="raise"
            )["test_score"])  # fmt: skip
            rows[-1]["accuracy"] = float(scores.mean())
    return rows


def run_worker(task: str, folder: Path) -> list[dict[str, Any]]:
    """Run a task in a process of its own, whose memory is nothing but the task's."""
    command = [sys.executable, __file__, "--worker", task, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def batch_cost(folder: Path, repetitions: int) -> dict[str, Any]:
    """Return CPU time of a batch from disk and from memory, in turns."""
    X, y = opened(folder)
    X, y = X[:8000], y[:8000]
    estimator = MNLClassifier()
    sources = {
        "disk": scan(check_X(X, estimator=estimator, lazy=True)[1]),
        "memory": check_X(X, estimator=estimator)[1],
    }
    datasets = {key: to_dataset(data, y, None, torch.float32) for key, data in sources.items()}
    times: dict[str, list[float]] = {key: [] for key in datasets}
    for i in range(repetitions):
        for key in sorted(datasets, reverse=bool(i % 2)):
            batches = Batches(datasets[key], BATCH_SIZE, torch.Generator().manual_seed(i))
            start = time.process_time()
            n = sum(1 for _ in batches)
            times[key].append(1000 * (time.process_time() - start) / n)
    ratios = np.array(times["disk"]) / np.array(times["memory"])
    return {
        "batch from disk, ms": mean_std(times["disk"], 2),
        "from memory, ms": mean_std(times["memory"], 2),
        "ratio, median": float(np.median(ratios)),
        "lowest": float(ratios.min()),
        "highest": float(ratios.max()),
    }


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--written", type=float, default=1.0, help="share of the rows, not holes")
    parser.add_argument("--folder", type=Path, default=None, help="where to generate the data")
    parser.add_argument("--worker", choices=["fit", "cv"], default=None)
    args = parser.parse_args()
    if args.worker:
        with intra_op_threads(1):
            print(json.dumps(work(args.worker, args.folder)))
        return
    n = int((0.2 if args.quick else args.gigabytes) * 1e9 / ROW_BYTES)
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        start = time.monotonic()
        generate(folder, n, args.written)
        print(f"{n} rows generated in {time.monotonic() - start:.0f} s", flush=True)
        with ThreadPoolExecutor(args.n_jobs) as pool:
            parts = list(pool.map(lambda task: run_worker(task, folder), ("fit", "cv")))
        found = [row for part in parts for row in part]
        with intra_op_threads(1):
            cost = batch_cost(folder, 5)
    finally:
        shutil.rmtree(folder)
    report = Report("lazy", "Modalities on disk", args)
    peaks = [row["peak"] for row in found]
    data_mb = n * ROW_BYTES / 1e6
    report.targets(
        [
            (
                f"peak resident memory over all steps, {data_mb:.0f} MB of data",
                f"{max(peaks) / 2**20:.0f} MiB",
                "<= 1024 MiB",
                max(peaks) <= LIMIT,
            )
        ]
    )
    report.table(
        "Resident memory",
        [
            {
                "step": row["step"],
                "before, MiB": round(row["before"] / 2**20),
                "peak so far, MiB": round(row["peak"] / 2**20),
                "CPU, s": round(row["cpu_s"], 1),
                "wall, s": round(row["wall_s"], 1),
                "accuracy": row.get("accuracy"),
            }
            for row in found
        ],
    )
    report.table(f"A shuffled batch of {BATCH_SIZE} rows of {ROW_BYTES} bytes, CPU time", [cost])
    report.text(
        f"{n} rows of {ROW_BYTES} bytes: flat float32, sequences of float32, unsigned bytes. fit "
        "and what follows run in one process, cross-validation in another; before is the process "
        "with everything imported and the files opened. MNL, one epoch, batches of 512. "
        f"{args.written:.0%} of the blocks of rows are written, the others are zeros of class 0."
    )
    report.write()


if __name__ == "__main__":
    main()
