"""Counts of scikit-learn's estimator checks and of the package's own multimodal checks."""

from __future__ import annotations

import os

# scikit-learn skips its array API check unless this is set before scipy is imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

import warnings
from collections import Counter
from typing import Any

from _common import Report, make_parser, run_tasks
from sklearn.utils.estimator_checks import check_estimator

from sklearn_mmfusion import (
    InTenseClassifier,
    InTenseRegressor,
    MNLClassifier,
    MNLRegressor,
)
from sklearn_mmfusion.utils.estimator_checks import check_multimodal_estimator

ESTIMATORS = {
    cls.__name__: cls for cls in (MNLClassifier, MNLRegressor, InTenseClassifier, InTenseRegressor)
}


def check(task: dict[str, Any]) -> dict[str, Any]:
    """Run one set of checks on one estimator."""
    estimator = ESTIMATORS[task["estimator"]](**task["params"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if task["checks"] == "scikit-learn":
            found = check_estimator(estimator, on_fail=None, on_skip=None)
        else:
            found = check_multimodal_estimator(estimator, on_fail=None)
    return {
        "counts": dict(Counter(result["status"] for result in found)),
        "others": [
            f"{result['check_name']} ({result['status']}): {result['exception']}"
            for result in found
            if result["status"] != "passed"
        ],
    }


def main() -> None:
    """Run."""
    args = make_parser(__doc__, seeds=1).parse_args()
    names = ["MNLClassifier"] if args.quick else list(ESTIMATORS)
    tasks = [
        {"checks": checks, "estimator": name, "params": params}
        for checks, params in (("scikit-learn", {}), ("multimodal", {"max_epochs": 5}))
        for name in names
    ]
    results = run_tasks(check, tasks, name="sklearn_checks", args=args)
    report = Report("sklearn_checks", "Estimator checks", args)
    statuses = ("passed", "failed", "skipped", "xfail")
    report.targets(
        [
            (f"{r['estimator']}, {r['checks']} checks",
             f"{r['counts'].get('passed', 0)} of {sum(r['counts'].values())}", "all of them",
             set(r["counts"]) == {"passed"})
            for r in results
        ]
    )  # fmt: skip
    report.table(
        "Counts",
        [
            {
                "checks": r["checks"],
                "estimator": r["estimator"],
                **{status: r["counts"].get(status, 0) for status in statuses},
                "CPU s": r["cpu_s"],
            }
            for r in results
        ],
    )
    for result in results:
        for line in result["others"]:
            report.text(f"{result['estimator']}: {line}")
    report.text("SCIPY_ARRAY_API=1; the checks of scikit-learn run with default parameters.")
    report.write()


if __name__ == "__main__":
    main()
