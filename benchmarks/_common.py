"""What every benchmark shares: arguments, one cached fit per line, tables with their conditions."""

from __future__ import annotations

import argparse
import ast
import csv
import hashlib
import json
import os
import platform
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

import sklearn_mmfusion

__all__ = ["Cache", "Check", "Report", "make_parser", "mean_std", "run_tasks", "seeds_of", "shown"]

FOLDER = Path(__file__).parent
_PACKAGES = ("scikit-learn", "torch", "skorch", "numpy", "scipy")

Task = dict[str, Any]
Result = dict[str, Any]
Check = tuple[str, Any, str, bool] | tuple[str, Any, str, bool, Sequence[float]]


# ---------------------------------------------------------------------------------------------
# Arguments
# ---------------------------------------------------------------------------------------------


def make_parser(description: str | None, *, seeds: int) -> argparse.ArgumentParser:
    """Return a parser with the arguments of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a small version, to try the script")
    parser.add_argument("--seeds", type=int, default=seeds, help=f"number of seeds ({seeds})")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--n-jobs", type=int, default=1, help="processes (1); one thread in each")
    parser.add_argument("--output", type=Path, default=FOLDER / "results", help="folder of tables")
    parser.add_argument("--fresh", action="store_true", help="do not use cached fits")
    parser.add_argument(
        "--any-code", action="store_true", help="use cached fits of other versions of the code too"
    )
    return parser


def seeds_of(args: argparse.Namespace) -> list[int]:
    """Return the seeds in a row; only the first in the quick version."""
    return list(range(args.first_seed, args.first_seed + (1 if args.quick else args.seeds)))


# ---------------------------------------------------------------------------------------------
# Fits, each kept as one line
# ---------------------------------------------------------------------------------------------


def code_fingerprint() -> str:
    """Return a hash of the package's code that comments and docstrings do not change."""
    root = Path(sklearn_mmfusion.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if parts[0] in ("plotting", "utils"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            first = body[0] if isinstance(body, list) and body else None
            is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            if is_text and isinstance(first.value.value, str):
                first.value.value = ""
        digest.update(f"{parts}{ast.dump(tree)}".encode())
    return digest.hexdigest()[:12]


class Cache:
    """Results of fits in a file of JSON lines, found by their task and by the code that ran.

    Parameters
    ----------
    name : str
        Name of the file.
    code : str
        Fingerprint of the code; "" for results that do not depend on the package.
    fresh : bool
        Whether to begin anew (results are still written).
    any_code : bool
        Whether results of other code count, the newest first.
    """

    def __init__(self, name: str, code: str, *, fresh: bool = False, any_code: bool = False):
        self.path = FOLDER / "cache" / f"{name}.jsonl"
        self.code = code
        self._found: dict[str, Result] = {}
        if fresh or not self.path.exists():
            return
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:  # the last line of a run that was killed
                    continue
                if any_code or entry["code"] == code:
                    self._found[_key(entry["task"])] = entry["result"]

    def get(self, task: Task) -> Result | None:
        """Return the result of a task if there is one."""
        return self._found.get(_key(task))

    def put(self, task: Task, result: Result) -> None:
        """Add a result to the file."""
        self._found[_key(task)] = result
        self.path.parent.mkdir(exist_ok=True)
        entry = {"task": task, "code": self.code, "result": result}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, default=_plain) + "\n")


def _key(task: Task) -> str:
    return json.dumps(task, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    """Turn numpy values into what JSON knows."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no plain value")


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    name: str,
    args: argparse.Namespace,
    depends_on_code: bool = True,
) -> list[Result]:
    """Run a function on every task that is not cached, with a line of progress for each.

    Parameters
    ----------
    function : callable
        Task to result, both plain dictionaries.
    tasks : sequence of dict
        Tasks.
    name : str
        Name of the cache.
    args : argparse.Namespace
        Arguments of the benchmark.
    depends_on_code : bool, default=True
        False for baselines, which other code of the package would not change.

    Returns
    -------
    list of dict
        Task and result merged, with ``cpu_s`` (process time) and ``warnings`` (names and
        counts), in the order of the tasks.
    """
    code = code_fingerprint() if depends_on_code else ""
    cache = Cache(name, code, fresh=args.fresh, any_code=args.any_code)
    missing = [task for task in tasks if cache.get(task) is None]
    if len(missing) < len(tasks):
        print(f"{name}: {len(tasks) - len(missing)} of {len(tasks)} are cached", flush=True)
    jobs = Parallel(n_jobs=args.n_jobs, return_as="generator_unordered")(
        delayed(_run_one)(function, task) for task in missing
    )
    start = time.monotonic()
    for done, (task, result) in enumerate(jobs, start=1):
        cache.put(task, result)
        left = (time.monotonic() - start) / done * (len(missing) - done)
        what = " ".join(str(v) for v in task.values() if not isinstance(v, dict))
        print(
            f"[{done}/{len(missing)}, {left / 60:.1f} min left] {name} {what}: "
            f"{result['cpu_s']:.1f} s{_short(result)}",
            flush=True,
        )
    return [{**task, **(cache.get(task) or {})} for task in tasks]


def _run_one(function: Callable[[Task], Result], task: Task) -> tuple[Task, Result]:
    start = time.process_time()
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always")
        result = function(task)
    counts = Counter(warning.category.__name__ for warning in caught)
    cpu_s = round(time.process_time() - start, 2)
    return task, {**result, "cpu_s": cpu_s, "warnings": dict(counts)}


def _short(result: Result) -> str:
    """Return the plain numbers of a result for the line of progress."""
    numbers = [
        f"{key} {value:.3f}"
        for key, value in result.items()
        if isinstance(value, float) and key != "cpu_s"
    ]
    return "".join(f", {number}" for number in [*numbers, *result["warnings"]])


# ---------------------------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------------------------


def shown(value: Any, digits: int = 3) -> str:
    """Return a cell: floats rounded, None as a dash."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "-"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "NO"
    if isinstance(value, float | np.floating):
        return f"{value:.{digits}f}" if value == 0 or abs(value) >= 10**-digits else f"{value:.1e}"
    return str(value)


def mean_std(values: Iterable[float], digits: int = 3) -> str:
    """Return mean and standard deviation as one cell."""
    array = np.array([value for value in values if value is not None], dtype=float)
    if not array.size:
        return "-"
    spread = array.std(ddof=1) if array.size > 1 else 0.0
    return f"{array.mean():.{digits}f} ± {spread:.{digits}f}"


class Report:
    """Lines and tables that go to the screen and to ``results/<name>.md`` and ``.csv``.

    Parameters
    ----------
    name : str
        Name of the files; the quick version writes ``<name>-quick``.
    title : str
        First line.
    args : argparse.Namespace
        Arguments of the benchmark.
    is_part : bool, default=False
        Whether something was left out: ``<name>-part``, so that the whole table stays.
    """

    def __init__(
        self, name: str, title: str, args: argparse.Namespace, *, is_part: bool = False
    ) -> None:
        self.name = name + "-part" * is_part + "-quick" * args.quick
        self.output: Path = args.output
        self.lines = [f"# {title}", "", *_conditions(args)]
        self.rows: list[dict[str, Any]] = []
        print("\n".join(["", *self.lines]))

    def text(self, line: str) -> None:
        """Add a paragraph."""
        self._add(["", line])

    def table(self, heading: str, rows: Sequence[dict[str, Any]], digits: int = 3) -> None:
        """Add a table of rows that have the same keys."""
        if not rows:
            return
        keys = list(dict.fromkeys(key for row in rows for key in row))
        cells = [keys, *[[shown(row.get(key), digits) for key in keys] for row in rows]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(keys))]
        padded = [
            "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
            for row in cells
        ]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        self._add(["", f"## {heading}", "", padded[0], rule, *padded[1:]])
        self.rows += [{"table": heading, **row} for row in rows]

    def targets(self, checks: Sequence[Check]) -> None:
        """Add the table of targets.

        Each is (figure, value, target, whether it is reached), and the ratios of the repetitions
        where the value is their median.
        """
        rows = []
        for figure, measured, target, reached, *ratios in checks:
            spread = f"{min(ratios[0]):.3f} to {max(ratios[0]):.3f}" if ratios else None
            row = {"figure": figure, "measured": measured, "spread": spread, "target": target}
            rows.append({**row, "reached": reached})
        if not any(row["spread"] for row in rows):
            rows = [{k: v for k, v in row.items() if k != "spread"} for row in rows]
        self.table("Targets", rows)

    def write(self) -> None:
        """Write the files."""
        self.output.mkdir(parents=True, exist_ok=True)
        path = self.output / f"{self.name}.md"
        path.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        keys = list(dict.fromkeys(key for row in self.rows for key in row))
        with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, keys)
            writer.writeheader()
            writer.writerows(self.rows)
        print(f"\nwritten: {path.name} and {path.with_suffix('.csv').name}")

    def _add(self, lines: list[str]) -> None:
        self.lines += lines
        print("\n".join(lines), flush=True)


def _conditions(args: argparse.Namespace) -> list[str]:
    versions = [f"{package} {version(package)}" for package in _PACKAGES]
    found = [f"sklearn-mmfusion {sklearn_mmfusion.__version__}", *versions]
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *_shown_arguments()])
    return [
        f"- command: `{command}`",
        f"- date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; code {code_fingerprint()}",
        f"- Python {platform.python_version()}, {', '.join(found)}",
        f"- {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, "
        f"{args.n_jobs} process(es) of one thread",
        f"- seeds: {', '.join(map(str, seeds_of(args)))}",
    ]


def _shown_arguments() -> list[str]:
    """Return the arguments without folders, which say nothing about the figures."""
    kept, skip = [], False
    for argument in sys.argv[1:]:
        if skip or argument.startswith(("--output=", "--path=", "--folder=")):
            skip = False
        elif argument in ("--output", "--path", "--folder"):
            skip = True
        else:
            kept.append(argument)
    return kept
