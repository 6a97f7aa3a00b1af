"""The tests behind the figures of reliability, and a plugin of pytest that runs these alone.

With ``-p _reliability_tests --outcomes FILE`` pytest runs what a figure needs and has not passed
before, the fast part first, and adds a line for each test to the file. An outcome counts for the
code, the tests' file and the helpers that it came from.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1] / "tests"


@dataclass(frozen=True)
class Figure:
    """What must hold, and the tests that say so.

    Attributes
    ----------
    text, target : str
        Name and target.
    tests : tuple of (str, str)
        Files under ``tests`` (or folders, with a slash at their end) and a pattern of names.
    """

    text: str
    target: str
    tests: tuple[tuple[str, str], ...]

    def holds(self, node: str) -> bool:
        """Return whether a test belongs to it."""
        file, _, name = node.removeprefix("tests/").partition("::")
        return any(
            (file.startswith(part) if part.endswith("/") else file == part)
            and re.search(pattern, name)
            for part, pattern in self.tests
        )


_STATE_KEPT = "keeps_the_fitted_state|failed_fit_leaves|nothing_is_fitted"
FIGURES = [
    Figure(
        "1. scikit-learn's checks of every estimator, and three by hand",
        "all passed, counts asserted, 0 skipped",
        (("test_sklearn_checks.py", ""),),
    ),
    Figure(
        "2. own checks on mappings, 34 for each estimator",
        "all passed",
        (("utils/test_estimator_checks.py", "public_estimator"),),
    ),
    Figure(
        "2. 43 scenarios of scikit-learn's tools, each family",
        "all passed",
        (("test_meta_estimators.py", ""),),
    ),
    Figure(
        "2. bad input: every row, estimator and method",
        "all passed",
        (("test_bad_input.py", ""),),
    ),
    Figure(
        "3. fitted state kept after any failed fit or predict",
        "all passed",
        (("test_bad_input.py", _STATE_KEPT), ("training/test_callbacks.py", _STATE_KEPT)),
    ),
    Figure(
        "4. checkpoints: fits that die go on to the last bit",
        "all passed",
        (("training/test_checkpoint.py", "dies|go_on|goes_on|kept"),),
    ),
    Figure(
        "5. full disk, forbidden places, damage: our errors, old file intact",
        "all passed",
        (
            ("training/test_checkpoint.py", "refused|reported|never|no_checkpoint|place|full_disk"),
            ("state/test_atomic_files.py", ""),
        ),
    ),
    Figure(
        "6. divergence is noticed in its epoch, and no model predicts NaN",
        "all passed",
        (
            ("training/test_callbacks.py", "divergence"),
            ("test_faults.py", "divergence|infinite|not_finite"),
            ("test_numbers.py", "finite"),
        ),
    ),
    Figure(
        "7. interruption keeps the last whole epoch",
        "all passed",
        (("training/test_callbacks.py", "interrupt"), ("test_faults.py", "interrupt|termination")),
    ),
    Figure(
        "8. model files: attacks, mutations, round trips",
        "all passed",
        (
            ("persistence/test_files.py", ""),
            ("state/test_hostile_files.py", ""),
            ("persistence/test_checks.py", ""),
            ("state/test_tensor_files.py", ""),
            ("test_unsafe_calls.py", ""),
        ),
    ),
    Figure(
        "9. laws of the formulas, 200 examples each",
        "all passed",
        (("test_functional.py", ""), ("training/test_polish.py", ""), ("rows/test_scaling.py", "")),
    ),
    Figure(
        "10. gradients of formulas and modules, float64",
        "all passed",
        (("test_functional.py", "gradient"), ("modules/", "gradient|gradcheck")),
    ),
    Figure(
        "11. determinism: runs, processes, jobs, threads; global generators",
        "all passed",
        (
            (
                "training/test_determinism.py",
                "same_seed|equal|random_states|without_a_trace|threads",
            ),
            ("test_numbers.py", "same"),
            ("test_faults.py", "forked_and_spawned|switches"),
        ),
    ),
    Figure(
        "12. nothing outlives its estimator",
        "all passed",
        (("training/test_determinism.py", "end_with_their_last_reference"),),
    ),
    Figure(
        "numbers: extreme scales and sizes, every estimator",
        "all passed",
        (("test_numbers.py", ""), ("stacking/test_standardizer.py", "")),
    ),
]


def test_files() -> list[str]:
    """Return what pytest is to collect."""
    names = dict.fromkeys(name for figure in FIGURES for name, _ in figure.tests)
    return [f"tests/{name}" for name in names]


def node_key(node: str, code: str) -> str:
    """Return the node with a sum over what its outcome depends on."""
    return f"{_sum_of(node.partition('::')[0], code)} {node}"


@lru_cache
def _sum_of(file: str, code: str) -> str:
    parts = [TESTS.parent / file, TESTS / "conftest.py"]
    parts += sorted((TESTS / "support").glob("*.py")) + sorted((TESTS / "helpers").glob("*.py"))
    digest = hashlib.sha256(code.encode())
    for path in parts:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def read_outcomes(path: Path) -> tuple[set[str], dict[str, str]]:
    """Return the nodes of the last collection and the newest outcome of each key."""
    collected: set[str] = set()
    found: dict[str, str] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if "collected" in entry:
                collected = set(entry["collected"])
            else:
                found[entry["key"]] = entry["outcome"]
    return collected, found


def pytest_addoption(parser: Any) -> None:
    """Add the options of this plugin."""
    parser.addoption("--outcomes", type=Path, help="file of outcomes")
    parser.addoption("--code", default="", help="fingerprint of the package's code")
    parser.addoption("--cpu-minutes", type=float, default=60.0, help="begin no test after so many")


class _Runner:
    def __init__(self, config: Any) -> None:
        self.path: Path = config.getoption("--outcomes")
        self.code: str = config.getoption("--code")
        self.end = time.process_time() + 60 * config.getoption("--cpu-minutes")
        self.bad: dict[str, str] = {}

    def _write(self, entry: dict[str, Any]) -> None:
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        _, found = read_outcomes(self.path)
        needed = [i for i in items if any(figure.holds(i.nodeid) for figure in FIGURES)]
        self._write({"collected": [item.nodeid for item in needed]})
        left = [i for i in needed if found.get(node_key(i.nodeid, self.code)) != "passed"]
        left.sort(key=lambda item: item.get_closest_marker("slow") is not None)
        config.hook.pytest_deselected(items=[i for i in items if i not in left])
        items[:] = left

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.outcome != "passed":
            self.bad[report.nodeid] = report.outcome
        if report.when == "teardown":
            outcome = self.bad.get(report.nodeid, "passed")
            self._write({"key": node_key(report.nodeid, self.code), "outcome": outcome})

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        if time.process_time() > self.end:
            self.session.shouldstop = "the time is over"

    def pytest_sessionstart(self, session: Any) -> None:
        self.session = session


def pytest_configure(config: Any) -> None:
    """Take part where outcomes are asked for."""
    if config.getoption("--outcomes"):
        config.pluginmanager.register(_Runner(config))
