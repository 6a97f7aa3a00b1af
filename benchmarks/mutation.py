"""Do the tests notice? Change one operator, comparison or number of a module at a time.

Every mutant runs in a process of its own, in which the code of the module's functions is replaced,
against the fast tests of that module. The tests are collected once, the process is forked from
there, and what noticed the mutants before comes first. A mutant that no test notices is listed:
it wants a test, or a reason. The reasons are in ``mutation_reasons.csv``, found by module, line of
code and change.

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
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from _common import FOLDER, Cache, Report, make_parser

ROOT = FOLDER.parent
# Module -> the files under tests that pytest is to run.
TARGETS = {
    "functional": ["test_functional.py"],
    "_inputs.absence": ["inputs/test_absence.py", "inputs/test_validation.py"],
    "_inputs.modality_values": ["inputs/test_modality_values.py", "inputs/test_validation.py"],
    "_inputs.modality_spec": ["inputs/test_modality_spec.py", "inputs/test_validation.py"],
    "_inputs.forms": ["inputs/test_forms.py", "inputs/test_validation.py"],
    "_inputs.validation_targets": ["inputs/test_validation_targets.py"],
    "_inputs.terms": ["inputs/test_terms.py"],
    "_inputs.validation": ["inputs/test_validation.py", "inputs/test_validation_rows.py"],
    "_rows.scaling": ["rows/test_scaling.py"],
    "_persistence.files": ["persistence/test_files.py", "state/test_hostile_files.py"],
    "_persistence.checks": ["persistence/test_checks.py"],
    "_state.tensor_files": ["state/test_tensor_files.py"],
}
OPTIONS = [
    *("-q", "-n0", "-s", "-x", "-m", "not slow", "--tb=no", "--assert=plain"),
    *("-p", "no:cacheprovider", "-o", "tmp_path_retention_policy=none"),
]
SECONDS = 300  # an endless wait is noticed too
CPU_TIMES = 3  # and an endless loop: so many times what all the tests take
MEMORY = 8 * 2**30
FIRST = 40  # tests that noticed something are tried before the rest

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


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes
    ----------
    line : int
        Where it is.
    change : str
        What it is, with the column where the line has several of the same.
    tree : ast.Module
        The changed module.
    """

    line: int
    change: str
    tree: ast.Module


def mutants(source: str) -> list[Mutant]:
    """Return every mutant of a module."""
    tree = ast.parse(source)
    # Annotations are never evaluated.
    ignored = {id(part) for node in ast.walk(tree) for part in _annotation(node)}
    found = []
    for position, original in enumerate(ast.walk(tree)):
        if id(original) in ignored or not isinstance(
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
            found.append((node.col_offset, Mutant(node.lineno, text, changed)))
    counts = Counter((mutant.line, mutant.change) for _, mutant in found)
    return [
        mutant
        if counts[mutant.line, mutant.change] == 1
        else replace(mutant, change=f"{mutant.change}, column {column + 1}")
        for column, mutant in found
    ]


def _annotation(node: ast.AST) -> Iterator[ast.AST]:
    for name in ("annotation", "returns"):
        if annotation := getattr(node, name, None):
            yield from ast.walk(annotation)


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
        elif isinstance(new, types.FunctionType) and old is None and isinstance(target, type):
            setattr(target, name, new)
        elif isinstance(new, type) and isinstance(old, type) and new.__module__ == old.__module__:
            gone = vars(old).keys() - vars(new).keys()
            for method in [
                name for name in gone if isinstance(vars(old)[name], types.FunctionType)
            ]:
                delattr(old, method)
            _copy(dict(vars(new)), old)
        elif isinstance(new, int | float | str | tuple | frozenset) and not name.startswith("__"):
            setattr(target, name, new)


class Trial:
    """The tests of a module, collected and ready to be run in child processes."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._items = list(session.items)
        self._first: list[str] = []
        self._cpu_seconds = 600.0
        session.config._tmp_path_factory.getbasetemp()  # one for all children

    def run(self, change: Callable[[], None]) -> tuple[bool, str]:
        """Run the tests in a child process that was changed; say whether one failed, and which."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            signal.alarm(SECONDS)
            # In the child the processor's time counts from the fork on.
            seconds = int(self._cpu_seconds) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            name: str | None = "the change itself"
            with contextlib.suppress(BaseException):
                change()
                name = self._failed()
            os.write(writer, (name or "").encode())
            os._exit(int(name is not None))
        os.close(writer)
        with open(reader, encoding="utf-8") as pipe:
            name = pipe.read()
        failed = os.waitpid(child, 0)[1] != 0
        if failed and name:
            self.prefer(name)
        return failed, name or ("no end, or a crash" if failed else "")

    def measure(self) -> None:
        """Run all tests without a change, and allow a mutant a few times what they took."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        failed, name = self.run(lambda: None)
        if failed:
            raise SystemExit(f"the tests fail without any change: {name}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"  {len(self._items)} tests: {taken:.1f} s", flush=True)
        self._cpu_seconds = 10 + CPU_TIMES * taken

    def prefer(self, name: str) -> None:
        """Try a test before the others from now on."""
        self._first = [name, *(other for other in self._first if other != name)]

    def _failed(self) -> str | None:
        order = {name: i for i, name in enumerate(self._first[:FIRST])}
        items = sorted(self._items, key=lambda item: order.get(item.nodeid, FIRST))
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._session.testsfailed:
                return str(item.nodeid)
        return None


class Collected:
    """A plugin of pytest that hands the collected tests over instead of running them."""

    def __init__(self, use: Callable[[Trial], None]) -> None:
        self._use = use

    def pytest_runtestloop(self, session: Any) -> bool:
        """Hand over."""
        self._use(Trial(session))
        return True


def _without_shrinking() -> None:
    """Let hypothesis end with the first failure: to find the smallest takes most of the time."""
    from hypothesis.internal.conjecture.engine import ConjectureRunner

    # Settings are frozen, and those of the tests are the tests' own.
    ConjectureRunner.shrink_interesting_examples = lambda self: None


class Outcomes:
    """What became of a module's mutants, in this run and before."""

    def __init__(self, module: str, source: str, tests: list[str], *, fresh: bool) -> None:
        texts = [(ROOT / name).read_text(encoding="utf-8") for name in tests]
        here = hashlib.sha256(source.encode()).hexdigest()[:12]
        with_tests = hashlib.sha256("\0".join([source, *tests, *texts]).encode()).hexdigest()[:12]
        self._module = module
        self._noticed = Cache("mutation", here, fresh=fresh)
        self._missed = Cache("mutation", with_tests, fresh=fresh)

    def of(self, mutant: Mutant) -> bool | None:
        """Return whether a mutant was noticed, None if it has not run."""
        task = self._task(mutant)
        if self._noticed.get(task) is not None:
            return True
        return None if self._missed.get(task) is None else False

    def put(self, mutant: Mutant, noticed: bool, by: str) -> None:
        """Keep an outcome, and the test that noticed the mutant."""
        cache = self._noticed if noticed else self._missed
        cache.put(self._task(mutant), {"noticed": noticed, "by": by})

    def _task(self, mutant: Mutant) -> dict[str, Any]:
        return {"module": self._module, "line": mutant.line, "change": mutant.change}


def read_reasons() -> dict[tuple[str, str, str], str]:
    """Return why some mutants may survive."""
    path = FOLDER / "mutation_reasons.csv"
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return {(row["module"], row["code"], row["change"]): row["reason"] for row in rows}


def run_mutants(
    module: types.ModuleType, missing: list[Mutant], outcomes: Outcomes, end: float, trial: Trial
) -> None:
    """Try mutants until the time is over."""
    name = module.__name__.partition(".")[2]
    trial.measure()
    for mutant in missing:
        if time.monotonic() > end:
            return
        noticed, by = trial.run(partial(replace_code, module, mutant.tree))
        outcomes.put(mutant, noticed, by)
        if not noticed:
            print(f"  survives: {name}:{mutant.line}: {mutant.change}", flush=True)


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
    import torch._dynamo  # a second and a half, in which the first optimiser would import it

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
        tests = [f"tests/{file}" for file in TARGETS[name]]
        module = importlib.import_module(f"sklearn_mmfusion.{name}")
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        outcomes = Outcomes(name, source, tests, fresh=args.fresh)
        found = mutants(source)
        if args.sample:
            found = random.Random(args.first_seed).sample(found, min(args.sample, len(found)))
        missing = [mutant for mutant in found if outcomes.of(mutant) is None]
        if missing and time.monotonic() < end:
            print(f"{name}: {len(missing)} of {len(found)} mutants to run", flush=True)
            use = partial(run_mutants, module, missing, outcomes, end)
            if ended := pytest.main([*OPTIONS, *tests], plugins=[Collected(use)]):
                raise SystemExit(ended)
        known = [(mutant, outcomes.of(mutant)) for mutant in found]
        missed = []
        for mutant, noticed in known:
            if noticed is False:
                code = source.splitlines()[mutant.line - 1].strip()
                reason = reasons.get((name, code, mutant.change), "none yet")
                where = {"module": name, "line": mutant.line, "code": code}
                missed.append({**where, "change": mutant.change, "reason": reason})
        rows.append(
            {
                "module": name,
                "mutants": len(found),
                "run": sum(noticed is not None for _, noticed in known),
                "noticed": sum(noticed is True for _, noticed in known),
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
