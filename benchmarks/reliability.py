"""The figures of reliability in one list: each with its target and what was read.

A figure is read off the tests that hold it, which run here (about 20 minutes of processor time),
measured directly, or read off the table of another benchmark, which has to be run before:
``mutation.py``, ``reliability_faults.py`` and ``reliability_files.py``. Coverage and the runs of
the whole suite are measured apart and handed over as files. What is not there is not reached.

Outcomes of tests are kept: a run that ``--cpu-minutes`` ended goes on where it was. A run of the
whole suite that ``--latest`` names, made of this very tree, counts too: its tests do not run again.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from _common import FOLDER, Check, Report, code_fingerprint, make_parser
from _reliability_measures import measure_batches, measure_leaks
from _reliability_tests import FIGURES, node_key, read_outcomes, test_files

ROOT = FOLDER.parent
OUTCOMES = FOLDER / "cache" / "reliability_tests.jsonl"
NOT_MEASURED = "not measured"


def run_pytest(arguments: list[str]) -> str:
    """Run pytest in a process of its own and return what it printed."""
    environment = os.environ | {
        # Installed or not, what is tested is what lies here.
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(FOLDER)]),
        "OMP_NUM_THREADS": "1",
        "SCIPY_ARRAY_API": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-n0", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def take_over(path: Path, code: str) -> None:
    """Keep the outcomes in a JUnit file as those of tests that ran here."""
    lines = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        file = str(case.get("classname")).replace(".", "/") + ".py"
        if not (ROOT / file).exists():  # an example of the documentation
            continue
        passed = {child.tag for child in case} <= {"properties", "system-out", "system-err"}
        lines.append(
            {
                "key": node_key(f"{file}::{case.get('name')}", code),
                "outcome": "passed" if passed else "failed",
            }
        )
    OUTCOMES.parent.mkdir(exist_ok=True)
    with OUTCOMES.open("a", encoding="utf-8") as kept:
        kept.writelines(json.dumps(line) + "\n" for line in lines)


def read_tests(cpu_minutes: float, fresh: bool, latest: Path | None) -> list[Check]:
    """Run the tests that have not passed yet, and return what was read for every figure."""
    if fresh:
        OUTCOMES.unlink(missing_ok=True)
    code = code_fingerprint()
    if latest is not None:
        take_over(latest, code)
    options = [f"--outcomes={OUTCOMES}", f"--code={code}", f"--cpu-minutes={cpu_minutes}"]
    printed = run_pytest(["-p", "_reliability_tests", *options, *test_files()])
    print("\n".join(printed.splitlines()[-15:]), flush=True)
    collected, found = read_outcomes(OUTCOMES)
    checks = []
    for figure in FIGURES:
        nodes = sorted(node for node in collected if figure.holds(node))
        outcomes = [found.get(node_key(node, code), NOT_MEASURED) for node in nodes]
        n = {kind: outcomes.count(kind) for kind in dict.fromkeys(outcomes) if kind != "passed"}
        others = "".join(f", {count} {kind}" for kind, count in n.items())
        passed = outcomes.count("passed")
        text = f"{passed} of {len(nodes)} passed{others}" if nodes else NOT_MEASURED
        checks.append((figure.text, text, figure.target, bool(nodes) and passed == len(nodes)))
    return checks


def read_laws(quick: bool) -> list[Check]:
    """Run the laws of the formulas with 2000 examples each, or all that there are."""
    figure, target = "9. laws of the formulas, in the nightly run", "all, with 2000 examples each"
    if quick:
        return [(figure, NOT_MEASURED, target, False)]
    printed = run_pytest(
        [
            *("--hypothesis-profile=thorough", "--hypothesis-show-statistics"),
            *("-m", "not slow", "tests/test_functional.py"),
        ]
    )
    # "- 2000 passing, 0 failing, ..." and "- Stopped because ..." for each of them.
    laws = re.findall(
        r"(\d+) passing[^,]*, (\d+) failing.*?Stopped because ([^\n]+)", printed, re.S
    )
    held = [
        failing == "0" and (int(passing) >= 2000 or "nothing left" in reason)
        for passing, failing, reason in laws
    ]
    failed = re.search(r"\d+ (failed|error)", printed)
    text = f"{sum(held)} of {len(laws)} laws" if laws else NOT_MEASURED
    return [(figure, text, target, bool(laws) and all(held) and not failed)]


def read_table(figure: str, name: str, folder: Path) -> list[Check]:
    """Return the targets in the table of another benchmark."""
    path = folder / f"{name}.csv"
    if not path.exists():
        return [(f"{figure} benchmarks/{name}.py", NOT_MEASURED, "its targets", False)]
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("table") == "Targets"]
    return [
        (f"{figure} {row['figure']}", row["measured"], row["target"], row["reached"] == "True")
        for row in rows
    ]


def read_mutants(folder: Path) -> list[Check]:
    """Return how many mutants were noticed, of each module."""
    target = "all noticed, or listed with a reason"
    path = folder / "mutation.csv"
    if not path.exists():
        return [("13. mutants", NOT_MEASURED, target, False)]
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == "Mutants"]
    checks = []
    for row in rows:
        total, run, noticed, justified = (
            int(row[key]) for key in ("mutants", "run", "noticed", "justified")
        )
        text = f"{noticed} of {run} noticed, {justified} justified, {total - run} {NOT_MEASURED}"
        checks.append(
            (f"13. mutants of {row['module']}", text, target, noticed + justified == total)
        )
    return checks


def read_coverage(path: Path | None) -> list[Check]:
    """Return coverage from the JSON report of coverage.py."""
    shares = {"lines": NOT_MEASURED, "branches": NOT_MEASURED}
    reached = dict.fromkeys(shares, False)
    if path is not None:
        totals = json.loads(path.read_text(encoding="utf-8"))["totals"]
        lines = totals["covered_lines"] / totals["num_statements"]
        branches = totals["covered_branches"] / totals["num_branches"]
        shares = {"lines": f"{lines:.1%}", "branches": f"{branches:.1%}"}
        reached = {"lines": lines >= 0.95, "branches": branches >= 0.90}
    targets = {"lines": "at least 95 %", "branches": "at least 90 %"}
    return [(f"13. {key} covered", shares[key], targets[key], reached[key]) for key in shares]


def read_suite(figure: str, path: Path | None) -> list[Check]:
    """Return the result of a run of the suite from its JUnit file."""
    target = "all passed, 0 skipped"
    if path is None:
        return [(figure, NOT_MEASURED, target, False)]
    suite = ElementTree.parse(path).getroot().find("testsuite")
    assert suite is not None
    total, *bad = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    seconds = float(suite.get("time", 0))
    text = f"{total - sum(bad)} of {total} passed, {bad[2]} skipped, {seconds:.0f} s"
    return [(figure, text, target, total > 0 and not any(bad))]


def main() -> None:
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--cpu-minutes", type=float, default=60.0, help="begin no test after them")
    parser.add_argument("--coverage", type=Path, help="report of `coverage json`")
    parser.add_argument("--latest", type=Path, help="pytest --junitxml, latest dependencies")
    parser.add_argument("--lowest", type=Path, help="pytest --junitxml of tox -e lowest")
    args = parser.parse_args()
    report = Report("reliability", "Figures of reliability", args)
    checks = read_tests(0.5 if args.quick else args.cpu_minutes, args.fresh, args.latest)
    checks += read_laws(args.quick)
    checks += read_table("4.", "reliability_faults", args.output)
    checks += read_table("8.", "reliability_files", args.output)
    checks += measure_leaks()
    checks += read_mutants(args.output) + read_coverage(args.coverage)
    checks += read_suite("14. tests, warnings as errors, latest dependencies", args.latest)
    checks += read_suite("14. tests, warnings as errors, lowest dependencies", args.lowest)
    checks += measure_batches()
    # By number, and the last without one.
    checks.sort(key=lambda check: int((re.match(r"\d+", check[0]) or ["99"])[0]))
    report.targets(checks)
    missed = sum(not reached for *_, reached in checks)
    report.text(f"{len(checks) - missed} of {len(checks)} reached. What is not measured is missed.")
    report.write()


if __name__ == "__main__":
    main()
