"""Start-up and footprint: import time, prediction of one row, size of a pickle.

Process CPU time. Imports run in processes of their own, skorch's and ours in turns, with byte code
that an import before them has left, as an installed package has it; the prediction of one row is
compared with the forward pass of its module, in turns too.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
import warnings
from tempfile import TemporaryDirectory

import numpy as np
import torch
from _common import Report, make_parser, mean_std

from sklearn_mmfusion import InTenseClassifier
from sklearn_mmfusion._training.devices import intra_op_threads
from sklearn_mmfusion.modules.network import FusionBatch

IMPORT = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"


def import_seconds(module: str, byte_code: str) -> float:
    """Return the CPU time of an import in a new process, with the byte code of a folder."""
    command = [sys.executable, "-c", IMPORT.format(module)]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": byte_code}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


def import_pairs(repetitions: int) -> list[tuple[float, float]]:
    """Return (skorch, ours) in seconds, in turns."""
    modules = ("skorch", "sklearn_mmfusion")
    with TemporaryDirectory() as folder:
        for module in modules:
            import_seconds(module, folder)
        return [
            (import_seconds(modules[0], folder), import_seconds(modules[1], folder))
            for _ in range(repetitions)
        ]


def fitted(n: int) -> tuple[InTenseClassifier, dict[str, np.ndarray]]:
    """Return a fit on n rows of three modalities."""
    rng = np.random.default_rng(0)
    X = {name: rng.standard_normal((n, 32)) for name in ("a", "b", "c")}
    estimator = InTenseClassifier(max_epochs=2, random_state=0, reg=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, (X["a"][:, 0] * X["b"][:, 0] > 0).astype(int))
    return estimator, X


def one_row(repetitions: int, n_calls: int) -> list[tuple[float, float]]:
    """Return (module's forward, predict_proba) of one row in milliseconds, in turns."""
    estimator, X = fitted(300)
    row = {name: values[:1] for name, values in X.items()}
    module = estimator.module_
    batch = FusionBatch([torch.from_numpy(row[n]) for n in sorted(row)], [None] * 3, [None] * 3)
    pairs = []
    for _ in range(repetitions):
        start = time.process_time()
        with torch.inference_mode():
            for _ in range(n_calls):
                module(batch)
        middle = time.process_time()
        for _ in range(n_calls):
            estimator.predict_proba(row)
        end = time.process_time()
        scale = 1000 / n_calls
        pairs.append((scale * (middle - start), scale * (end - middle)))
    return pairs


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=1)
    args = parser.parse_args()
    repetitions = 2 if args.quick else 5
    imports = import_pairs(repetitions)
    with intra_op_threads(1):
        rows = one_row(repetitions, 50 if args.quick else 200)
        sizes = {n: len(pickle.dumps(fitted(n)[0])) for n in (200, 2000)}
    import_ratios = np.array([ours / theirs for theirs, ours in imports])
    row_ratios = np.array([ours / bare for bare, ours in rows])
    growth = sizes[2000] / sizes[200]
    report = Report("footprint", "Start-up and footprint", args)
    checks = [
        ("import, against skorch", float(np.median(import_ratios)), "<= 1.2"),
        ("predict_proba of one row, against forward", float(np.median(row_ratios)), "< 3"),
        ("pickle of a fit on 2000 rows, against 200", growth, "<= 1.05"),
    ]
    limits, spreads = (1.2, 3.0, 1.05), (import_ratios, row_ratios, [growth])
    report.targets(
        [
            (*check, check[1] <= limit, ratios)
            for check, limit, ratios in zip(checks, limits, spreads, strict=True)
        ]
    )
    report.table(
        "Figures",
        [
            {
                "figure": "import, CPU s",
                "reference": mean_std((a for a, _ in imports), 2),
                "ours": mean_std((b for _, b in imports), 2),
                "lowest ratio": float(import_ratios.min()),
                "highest": float(import_ratios.max()),
            },
            {
                "figure": "one row, CPU ms",
                "reference": mean_std((a for a, _ in rows), 3),
                "ours": mean_std((b for _, b in rows), 3),
                "lowest ratio": float(row_ratios.min()),
                "highest": float(row_ratios.max()),
            },
        ],
    )
    report.text(f"Pickles: {sizes[200]} bytes after 200 rows, {sizes[2000]} after 2000.")
    report.write()


if __name__ == "__main__":
    main()
