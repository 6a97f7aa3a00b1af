"""estimate_memory against the measured peak of fit, and that peak against the data.

Each fit runs in a process of its own: InTense with the encoders that "auto" chooses, one epoch;
three sizes of X, and few rows of many columns, for which several encoders are tried. The measured
memory is the peak during the fit less what was resident just before, X included there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
from _common import Report, make_parser
from _memory import peak_bytes, resident_bytes

from sklearn_mmfusion import InTenseClassifier
from sklearn_mmfusion._training.devices import intra_op_threads

SHAPES = {"flat": (64,), "wide": (256,), "sequence": (20, 16)}
ROW_BYTES = 4 * sum(int(np.prod(shape)) for shape in SHAPES.values())
SIZES = (50, 150, 400)  # megabytes of X
WIDE = {"wide rows": (1500, 8000), "widest rows": (300, 20_000)}  # rows and columns
METHODS = {"InTense": InTenseClassifier}
TOLERANCE, LARGEST_RATIO = 0.30, 2.2


def work(method: str, size: str) -> dict[str, Any]:
    """Fit in this process."""
    rng = np.random.default_rng(0)
    if size in WIDE:
        n, n_columns = WIDE[size]
        shapes: dict[str, tuple[int, ...]] = {"flat": (20,), "wide": (n_columns,)}
    else:
        n, shapes = int(size) * 1_000_000 // ROW_BYTES, SHAPES
    X = {name: rng.standard_normal((n, *shape), np.float32) for name, shape in shapes.items()}
    y = (X["flat"][:, 0] + X["wide"][:, 0] > 0).astype(np.int64)
    estimator = METHODS[method](max_epochs=1, random_state=0)
    estimate = estimator.estimate_memory(X, y)
    before = resident_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, y)
    data = sum(values.nbytes for values in X.values())
    return {
        "method": method,
        "n": n,
        "data": data,
        "estimate": estimate,
        "measured": peak_bytes() - before,
    }


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--worker", default=None, help="used by the script itself")
    args = parser.parse_args()
    if args.worker:
        method, size = args.worker.split(":")
        with intra_op_threads(1):
            print(json.dumps(work(method, size)))
        return
    found = []
    for method in METHODS:
        for size in (20,) if args.quick else (*SIZES, *WIDE):
            command = [sys.executable, __file__, "--worker", f"{method}:{size}"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(found[-1], flush=True)
    report = Report("memory", "Memory of fit: estimate, measurement, data", args)
    errors = [row["estimate"]["total"] / row["measured"] - 1 for row in found]
    ratios = [
        (row["data"] + row["measured"] - row["estimate"]["model"]) / row["data"] for row in found
    ]
    report.targets(
        [
            (
                "largest error of estimate_memory",
                max(errors, key=abs),
                f"within {TOLERANCE}",
                max(map(abs, errors)) <= TOLERANCE,
            ),
            (
                "peak of fit less the model, in units of the data, largest size",
                max(ratio for ratio, row in zip(ratios, found, strict=True) if row["n"] == max(
                    other["n"] for other in found)),
                f"<= {LARGEST_RATIO}",
                max(ratio for ratio, row in zip(ratios, found, strict=True) if row["n"] == max(
                    other["n"] for other in found)) <= LARGEST_RATIO,
            ),
        ]
    )  # fmt: skip
    report.table(
        "Bytes beside X, MiB",
        [
            {
                "method": row["method"],
                "rows": row["n"],
                "X": round(row["data"] / 2**20),
                **{key: round(value / 2**20, 1) for key, value in row["estimate"].items()},
                "measured": round(row["measured"] / 2**20, 1),
                "estimate / measured": 1 + error,
                "(X + measured - model) / X": ratio,
            }
            for row, error, ratio in zip(found, errors, ratios, strict=True)
        ],
    )
    report.write()


if __name__ == "__main__":
    main()
