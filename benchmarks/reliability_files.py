"""Mutated model files: every one predicts the same or is refused, in little time and memory."""

from __future__ import annotations

import copy
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from _common import Report, make_parser, run_tasks, seeds_of

import sklearn_mmfusion
from sklearn_mmfusion import FusionError, load
from sklearn_mmfusion._persistence.files import KIND
from sklearn_mmfusion._state.tensor_files import read_file, write_file

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))

from mutations import edit, mutated

ESTIMATORS = (
    "EarlyFusionClassifier", "InTenseClassifier", "MKLRegressor", "MRORegressor",
    "MulTClassifier", "RoutingClassifier", "TensorFusionRegressor",
)  # fmt: skip
_MEBIBYTE = 2**20


def fuzz(task: dict[str, Any]) -> dict[str, Any]:
    """Mutate one file again and again, and count what happens."""
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(40, 4)), "b": rng.normal(size=(40, 3, 5))}
    y = rng.integers(0, 3, 40)
    params = {} if task["estimator"].startswith("MKL") else {"max_epochs": 2, "random_state": 0}
    est = getattr(sklearn_mmfusion, task["estimator"])(**params).fit(X, y)
    expected = est.predict(X)
    generator = random.Random(task["seed"])
    outcomes: Counter[str] = Counter()
    slowest = grown = 0.0
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model"
        est.save(path)
        content = path.read_bytes()
        document, arrays = read_file(path, KIND)
        repr(load(path)).encode()  # what the first of these imports belongs to the libraries
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        modules = set(sys.modules)
        for i in range(task["n"]):
            valid_sum = task["kind"] == "document with a valid sum"
            if valid_sum:
                edited = copy.deepcopy(document)
                for _ in range(1 + i % 2):
                    edit(edited, generator)
                write_file(path, KIND, edited, arrays)
            else:
                path.write_bytes(mutated(content, generator))
            begin = time.process_time()
            try:
                found = load(path)
            except FusionError:
                outcome = "refused"
            except Exception as error:
                outcome = f"foreign: {type(error).__name__}"
            else:
                outcome = "loaded"
            slowest = max(slowest, time.process_time() - begin)
            if outcome == "loaded":
                try:
                    same = bool((found.predict(X) == expected).all())
                    outcome = "loaded" if same or valid_sum else "foreign: other predictions"
                except FusionError:
                    outcome = "refused"
                except Exception as error:
                    outcome = f"foreign: {type(error).__name__} in predict"
            outcomes[outcome] += 1
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        imported = sorted(set(sys.modules) - modules)
    return {
        "outcomes": dict(outcomes),
        "slowest": slowest,
        "grown": grown * 1024 / _MEBIBYTE,
        "imported": imported,
    }


def main() -> None:
    """Run."""
    args = make_parser(__doc__, seeds=1).parse_args()
    n = 40 if args.quick else 400
    tasks = [
        {"estimator": name, "kind": kind, "n": n, "seed": seed}
        for seed in seeds_of(args)
        for name in ESTIMATORS
        for kind in ("bytes", "document with a valid sum")
    ]
    results = run_tasks(fuzz, tasks, name="reliability_files", args=args)
    report = Report("reliability_files", "Mutated model files", args)
    total: Counter[str] = Counter()
    for result in results:
        total.update(result["outcomes"])
    foreign = sum(count for outcome, count in total.items() if outcome.startswith("foreign"))
    slowest = max(result["slowest"] for result in results)
    grown = max(result["grown"] for result in results)
    imported = sorted({name for result in results for name in result["imported"]})
    report.targets(
        [
            ("mutated files", sum(total.values()), "at least 5000", sum(total.values()) >= 5000),
            ("foreign exceptions or other predictions", foreign, "0", foreign == 0),
            ("slowest load, CPU seconds", slowest, "below 1", slowest < 1),
            ("growth of memory, MiB", grown, "below 200", grown < 200),
            ("modules imported by loading", len(imported), "0", not imported),
        ]
    )
    report.table(
        "Outcomes",
        [
            {
                "estimator": r["estimator"],
                "mutated": r["kind"],
                "loaded": r["outcomes"].get("loaded", 0),
                "refused": r["outcomes"].get("refused", 0),
                "foreign": sum(v for k, v in r["outcomes"].items() if k.startswith("foreign")),
                "slowest CPU s": r["slowest"],
                "memory MiB": r["grown"],
            }
            for r in results
        ],
    )
    report.text(
        "Bytes: flips, cuts, splices and insertions anywhere; what loads must predict the same. "
        "Documents: values, keys and types exchanged, and the sum made valid again, as somebody "
        "would who forges a file; what loads may predict something else, but nothing fails in "
        "another way than by an error of the package."
    )
    report.write()


if __name__ == "__main__":
    main()
