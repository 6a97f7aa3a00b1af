"""Do the tests notice? Change one operator, comparison or number of a module at a time.

Every mutant runs in a process of its own, in which the code of the module's functions is replaced,
against the fast tests of that module. A mutant that no test notices is listed: it wants a test, or
a reason. The reasons are in ``mutation_reasons.csv``, found by module, line of code and change.

Outcomes are kept, so that a run that ``--minutes`` ended goes on where it was. A mutant that was
noticed counts until its module changes (tests are only added), one that was missed until the
tests do.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import csv
import hashlib
import importlib
import os
import random
import resource
import signal
import sys
import time
import types
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from _common import FOLDER, Cache, Report, make_parser

ROOT = FOLDER.parent
# Module -> what pytest is to run.
TARGETS = {
    "functional": ["tests/test_functional.py"],
    "_absence": ["tests/test_validation.py"],
    "_modality_values": ["tests/test_validation.py", "tests/test_bad_input.py"],
    "_modality_spec": ["tests/test_validation.py"],
    "_input_forms": ["tests/test_validation.py", "tests/test_bad_input.py"],
    "_validation_targets": ["tests/test_validation_targets.py"],
    "_terms": ["tests/test_validation.py"],
    "_scaling": ["tests/test_scaling.py"],
    "_validation": ["tests/test_validation.py", "tests/test_validation_rows.py"],
    "_persistence": ["tests/test_persistence.py"],
    "_saved_checks": ["tests/test_persistence.py"],
    "_tensor_files": ["tests/test_persistence.py"],
}
OPTIONS = [
    *("-q", "-n0", "-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # imported before pytest began
]
SECONDS = 120  # an endless wait is noticed too
CPU_SECONDS = 60  # and an endless loop
MEMORY = 8 * 2**30

SWAPS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


def mutants(source: str) -> Iterator[tuple[int, str, ast.Module]]:
    """Yield line, description and tree of every mutant of a module."""
    tree = ast.parse(source)
    for position, original in enumerate(ast.walk(tree)):
        if not isinstance(
            original, ast.BinOp | ast.BoolOp | ast.Compare | ast.UnaryOp | ast.Constant
        ):
            continue
        for variant in range(2):
            if not _change(copy.deepcopy(original), variant):
                continue
            changed = copy.deepcopy(tree)
            node = next(islice(ast.walk(changed), position, None))
            _change(node, variant)
            assert isinstance(node, ast.expr)
            text = f"{ast.unparse(original)[:60]} -> {ast.unparse(node)[:60]}"
            yield node.lineno, text, changed


def _change(node: ast.AST, variant: int) -> bool:
    """Change a node in place; False where there is no such variant."""
    if isinstance(node, ast.BinOp | ast.BoolOp) and variant == 0 and type(node.op) in SWAPS:
        if isinstance(node.op, ast.BitOr) and isinstance(node.right, ast.Name):
            return False  # most often a union of types
        node.op = SWAPS[type(node.op)]()
    elif isinstance(node, ast.Compare) and variant == 0 and type(node.ops[0]) in SWAPS:
        node.ops[0] = SWAPS[type(node.ops[0])]()
    elif isinstance(node, ast.UnaryOp) and variant == 0 and isinstance(node.op, ast.USub | ast.Not):
        node.op = ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not()
        if isinstance(node.op, ast.Not):
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
    elif (
        isinstance(node, ast.Constant)
        and isinstance(node.value, int | float)
        and variant < 1 + isinstance(node.value, int)
    ):
        if isinstance(node.value, bool):
            node.value = not node.value
            return variant == 0
        node.value = node.value + 1 if variant == 0 else node.value - 1
    else:
        return False
    return True


def replace_code(module: types.ModuleType, tree: ast.Module) -> None:
    """Give the functions of a module, wherever they were imported to, the code of a mutant."""
    changed = types.ModuleType(module.__name__)
    changed.__dict__.update(__file__=module.__file__, __package__=module.__package__)
    sys.modules[module.__name__] = changed  # for dataclasses
    exec(compile(ast.fix_missing_locations(tree), str(module.__file__), "exec"), changed.__dict__)
    sys.modules[module.__name__] = module
    _copy(vars(changed), module)


def _copy(members: dict[str, Any], target: Any) -> None:
    for name, new in members.items():
        old = vars(target).get(name)
        if isinstance(new, types.FunctionType) and isinstance(old, types.FunctionType):
            if len(old.__code__.co_freevars) == len(new.__code__.co_freevars):
                old.__code__, old.__defaults__ = new.__code__, new.__defaults__
                old.__kwdefaults__ = new.__kwdefaults__
        elif isinstance(new, type) and isinstance(old, type) and new.__module__ == old.__module__:
            _copy(dict(vars(new)), old)
        elif isinstance(new, int | float | str | tuple | frozenset) and not name.startswith("__"):
            setattr(target, name, new)


def is_noticed(module: types.ModuleType, tree: ast.Module, tests: list[str]) -> bool:
    """Run the tests against a mutant in a child process."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        # In the child the processor's time counts from the fork on.
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
            code = 1
            with contextlib.suppress(BaseException):
                import pytest

                replace_code(module, tree)
                code = int(pytest.main([*OPTIONS, "-x", "-m", "not slow", *tests]))
        os._exit(code)
    return os.waitpid(child, 0)[1] != 0


def _without_shrinking() -> None:
    """Let hypothesis end with the first failure: to find the smallest takes most of the time."""
    from hypothesis.internal.conjecture.engine import ConjectureRunner

    # Settings are frozen, and those of the tests are the tests' own.
    ConjectureRunner.shrink_interesting_examples = lambda self: None


class Outcomes:
    """What became of a module's mutants, in this run and before."""

    def __init__(self, module: str, source: str, tests: list[str], *, fresh: bool) -> None:
        files = [name.partition("::")[0] for name in tests if name.startswith("tests/")]
        texts = [(ROOT / name).read_text(encoding="utf-8") for name in dict.fromkeys(files)]
        here = hashlib.sha256(source.encode()).hexdigest()[:12]
        with_tests = hashlib.sha256("\0".join([source, *tests, *texts]).encode()).hexdigest()[:12]
        self._module = module
        self._noticed = Cache("mutation", here, fresh=fresh)
        self._missed = Cache("mutation", with_tests, fresh=fresh)

    def of(self, i: int, line: int, change: str) -> bool | None:
        """Return whether a mutant was noticed, None if it has not run."""
        task = self._task(i, line, change)
        if self._noticed.get(task) is not None:
            return True
        return None if self._missed.get(task) is None else False

    def put(self, i: int, line: int, change: str, noticed: bool) -> None:
        """Keep an outcome."""
        cache = self._noticed if noticed else self._missed
        cache.put(self._task(i, line, change), {"noticed": noticed})

    def _task(self, i: int, line: int, change: str) -> dict[str, Any]:
        return {"module": self._module, "i": i, "line": line, "change": change}


def read_reasons() -> dict[tuple[str, str, str], str]:
    """Return why some mutants may survive."""
    path = FOLDER / "mutation_reasons.csv"
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return {(row["module"], row["code"], row["change"]): row["reason"] for row in rows}


def main() -> None:
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--modules", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--minutes", type=float, default=600, help="end after so many (600)")
    parser.add_argument("--sample", type=int, default=0, help="mutants of each module (all)")
    args = parser.parse_args()
    if args.quick:
        args.sample = 3
    os.environ.setdefault("SCIPY_ARRAY_API", "1")
    import pytest
    import torch

    torch.set_num_threads(1)
    _without_shrinking()
    os.chdir(ROOT)
    is_part = bool(args.sample) or args.modules != list(TARGETS)
    report = Report("mutation", "Mutants that the tests notice", args, is_part=is_part)
    survivors: list[dict[str, Any]] = []
    rows = []
    reasons = read_reasons()
    end = time.monotonic() + 60 * args.minutes
    for name in args.modules:
        module = importlib.import_module(f"sklearn_mmfusion.{name}")
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        outcomes = Outcomes(name, source, TARGETS[name], fresh=args.fresh)
        found = [(i, *mutant) for i, mutant in enumerate(mutants(source))]
        # Annotations are never evaluated.
        found = [mutant for mutant in found if " | None -> " not in mutant[2]]
        order = random.Random(args.first_seed).sample(found, len(found))
        found = sorted(order[: args.sample or None], key=lambda mutant: mutant[0])
        missing = [m for m in order if m in found and outcomes.of(*m[:3]) is None]
        if missing and time.monotonic() < end:
            # What the tests import is imported before the forks, once.
            pytest.main([*OPTIONS, "--collect-only", "-qq", *TARGETS[name]])
            if is_noticed(module, ast.parse(source), TARGETS[name]):
                raise SystemExit(f"the tests of {name} fail without any change")
        for i, line, change, tree in missing:
            if time.monotonic() > end:
                break
            noticed = is_noticed(module, tree, TARGETS[name])
            outcomes.put(i, line, change, noticed)
            if not noticed:
                print(f"  survives: {name}:{line}: {change}", flush=True)
        known = [(line, change, outcomes.of(i, line, change)) for i, line, change, _ in found]
        missed = []
        for line, change, noticed in known:
            if noticed is False:
                code = source.splitlines()[line - 1].strip()
                reason = reasons.get((name, code, change), "none yet")
                where = {"module": name, "line": line, "code": code}
                missed.append({**where, "change": change, "reason": reason})
        rows.append(
            {
                "module": name,
                "mutants": len(found),
                "run": sum(noticed is not None for *_, noticed in known),
                "noticed": sum(noticed is True for *_, noticed in known),
                "justified": sum(row["reason"] != "none yet" for row in missed),
            }
        )
        print(f"  {rows[-1]}", flush=True)
        survivors += missed
    report.table("Mutants", rows)
    report.table("Survivors", survivors)
    report.write()


if __name__ == "__main__":
    main()
