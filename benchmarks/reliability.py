"""The figures of reliability in one list: each with its target and what was read.

A figure is read off the tests that hold it, which run here (in all their parts, so allow for half
an hour), or off the table of another benchmark, which has to be run before: ``mutation.py``,
``reliability_faults.py`` and ``reliability_files.py``.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from _common import FOLDER, Report, make_parser

ROOT = FOLDER.parent


@dataclass(frozen=True)
class Figure:
    """What must hold, and the tests that say so.

    Attributes
    ----------
    text, target : str
        Name and target.
    tests : tuple of str
        Files; those that are not there are left out, and the figure is not reached.
    chosen : str
        Expression of pytest's ``-k``.
    slow : bool
        Whether the slow part is needed.
    """

    text: str
    target: str
    tests: tuple[str, ...]
    chosen: str = ""
    slow: bool = False


FIGURES = [
    Figure(
        "1. scikit-learn's checks of every estimator",
        "all passed, counts asserted, 0 skipped",
        ("tests/test_sklearn_checks.py",),
        slow=True,
    ),
    Figure(
        "2a. own checks on mappings, 34 for each estimator",
        "all passed",
        ("tests/utils/test_estimator_checks.py",),
        "public_estimator",
        slow=True,
    ),
    Figure(
        "2b. scenarios of scikit-learn's tools, each family",
        "all passed",
        ("tests/test_meta_estimators.py",),
        slow=True,
    ),
    Figure(
        "2c. bad input: every row, estimator and method; 3. fitted state kept",
        "all passed",
        ("tests/test_bad_input.py",),
        slow=True,
    ),
    Figure(
        "4, 5. checkpoints: kills, full disks, damage",
        "all passed",
        ("tests/test_checkpoint.py",),
        slow=True,
    ),
    Figure(
        "6, 7. divergence and interruption",
        "all passed",
        ("tests/test_training.py",),
        "divergence or interrupt or callback",
    ),
    Figure(
        "8. files: attacks and mutations", "all passed", ("tests/test_persistence.py",), "", True
    ),
    Figure(
        "9. laws of the formulas, 200 examples each",
        "all passed",
        ("tests/test_functional.py", "tests/test_polish.py", "tests/test_scaling.py"),
    ),
    Figure(
        "10. gradients of formulas and modules, every weight",
        "all passed",
        ("tests/test_functional.py", "tests/modules"),
        "gradient",
        slow=True,
    ),
    Figure(
        "11. determinism: processes, threads, seeds",
        "all passed",
        ("tests/test_training.py", "tests/test_numbers.py"),
        "same or equal_their_serial or threads or random_states",
    ),
    Figure("12. numbers: extreme scales and sizes", "all passed", ("tests/test_numbers.py",)),
]


def run_tests(figure: Figure) -> tuple[str, bool]:
    """Run a figure's tests and return what was read."""
    files = [name for name in figure.tests if (ROOT / name).exists()]
    if not files:
        return "no such tests", False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={path}", *files]
        command += ["-k", figure.chosen] if figure.chosen else []
        command += [] if figure.slow else ["-m", "not slow"]
        # Installed or not, what is tested is what lies here.
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False)
        if not path.exists():
            return "pytest did not run", False
        suite = ElementTree.parse(path).getroot().find("testsuite")
    assert suite is not None
    total, *bad = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    reached = total > 0 and not any(bad) and len(files) == len(figure.tests)
    return f"{total - sum(bad)} of {total} passed, {bad[2]} skipped", reached


def read_table(name: str, folder: Path) -> list[tuple[str, str, str, bool]]:
    """Return the targets in the table of another benchmark."""
    path = folder / f"{name}.csv"
    if not path.exists():
        return [(name, "not run", f"run benchmarks/{name}.py", False)]
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("table") == "Targets"]
    return [
        (f"{name}: {row['figure']}", row["measured"], row["target"], row["reached"] == "True")
        for row in rows
    ]


def read_mutants(folder: Path) -> list[tuple[str, str, str, bool]]:
    """Return how many mutants were noticed, of each module."""
    path = folder / "mutation.csv"
    if not path.exists():
        return [("13. mutants noticed", "not run", "run benchmarks/mutation.py", False)]
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == "Mutants"]
    return [
        (
            f"13. mutants of {row['module']} noticed",
            f"{row['noticed']} of {row['mutants']}",
            "all, or listed with a reason",
            row["noticed"] == row["mutants"],
        )
        for row in rows
    ]


def measure_coverage() -> list[tuple[str, str, str, bool]]:
    """Run the fast part in one process under coverage.py."""
    with tempfile.TemporaryDirectory() as folder:
        data, report = Path(folder) / "data", Path(folder) / "report.json"
        environment = os.environ | {"COVERAGE_FILE": str(data), "PYTHONPATH": str(ROOT)}
        start = [sys.executable, "-m", "coverage"]
        tests = ["run", "-m", "pytest", "-q", "-n0", "-m", "not slow"]
        for arguments in (tests, ["json", "-o", str(report)]):
            subprocess.run(
                [*start, *arguments],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.DEVNULL,
                check=False,
            )
        totals = json.loads(report.read_text(encoding="utf-8"))["totals"]
    lines = totals["covered_lines"] / totals["num_statements"]
    branches = totals["covered_branches"] / totals["num_branches"]
    return [
        ("13. lines covered by the fast part", f"{lines:.1%}", "95 %", lines >= 0.95),
        ("13. branches covered by the fast part", f"{branches:.1%}", "90 %", branches >= 0.90),
    ]


def main() -> None:
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--only", nargs="+", help="figures whose names hold one of these")
    parser.add_argument("--coverage", action="store_true", help="measure coverage too: minutes")
    args = parser.parse_args()
    figures = FIGURES[-1:] if args.quick else FIGURES
    if args.only:
        figures = [f for f in figures if any(part in f.text for part in args.only)]
    report = Report("reliability", "Figures of reliability", args, is_part=bool(args.only))
    checks = []
    for figure in figures:
        read, reached = run_tests(figure)
        print(f"  {figure.text}: {read}", flush=True)
        checks.append((figure.text, read, figure.target, reached))
    if not args.only:
        checks += measure_coverage() if args.coverage else []
        checks += read_mutants(args.output)
        for name in ("reliability_faults", "reliability_files"):
            checks += read_table(name, args.output)
    report.targets(checks)
    report.write()


if __name__ == "__main__":
    main()
