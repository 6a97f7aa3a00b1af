"""Do the tests notice? Change one operator, comparison or number of a module at a time.

Every mutant runs in a process of its own, in which the code of the module's functions is replaced,
against the tests of that module. A mutant that no test notices is listed: it wants a test, or a
reason.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib
import os
import random
import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _common import Report, make_parser

ROOT = Path(__file__).parents[1]
# Module -> files of tests that look at it.
TARGETS = {
    "functional": ["tests/test_functional.py"],
    "_absence": ["tests/test_validation.py"],
    "_modality_values": ["tests/test_validation.py", "tests/test_bad_input.py"],
    "_modality_spec": ["tests/test_validation.py"],
    "_input_forms": ["tests/test_validation.py", "tests/test_bad_input.py"],
    "_validation_targets": ["tests/test_validation_targets.py"],
    "_terms": ["tests/test_validation.py"],
    "_scaling": ["tests/test_scaling.py"],
}
SECONDS = 300

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
    n_nodes = sum(1 for _ in ast.walk(tree))
    for position in range(n_nodes):
        for variant in range(2):
            changed = copy.deepcopy(tree)
            node = list(ast.walk(changed))[position]
            before = ast.unparse(node) if isinstance(node, ast.expr) else ""
            if not _change(node, variant):
                continue
            yield node.lineno, f"{before[:60]} -> {ast.unparse(node)[:60]}", changed


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
        signal.alarm(SECONDS)  # an endless loop is noticed too
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
            code = 1
            with contextlib.suppress(BaseException):
                import pytest

                replace_code(module, tree)
                options = ["-q", "-x", "-n0", "-p", "no:cacheprovider", "-m", "not slow"]
                code = int(pytest.main([*options, *tests]))
        os._exit(code)
    return os.waitpid(child, 0)[1] != 0


def main() -> None:
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--modules", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--sample", type=int, default=0, help="mutants of each module (all)")
    args = parser.parse_args()
    if args.quick:
        args.sample = 3
    os.environ.setdefault("SCIPY_ARRAY_API", "1")
    import pandas  # noqa: F401  imported before the forks, once
    import skorch  # noqa: F401  likewise
    import torch

    torch.set_num_threads(1)
    os.chdir(ROOT)
    is_part = bool(args.sample) or args.modules != list(TARGETS)
    report = Report("mutation", "Mutants that the tests notice", args, is_part=is_part)
    survivors: list[dict[str, Any]] = []
    rows = []
    for name in args.modules:
        module = importlib.import_module(f"sklearn_mmfusion.{name}")
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        if is_noticed(module, ast.parse(source), TARGETS[name]):
            raise SystemExit(f"the tests of {name} fail without any change")
        found = list(mutants(source))
        if args.sample:
            found = random.Random(args.first_seed).sample(found, min(args.sample, len(found)))
        missed = []
        for line, change, tree in found:
            if not is_noticed(module, tree, TARGETS[name]):
                missed.append({"module": name, "line": line, "change": change})
                print(f"  survives: {name}:{line}: {change}", flush=True)
        rows.append({"module": name, "mutants": len(found), "noticed": len(found) - len(missed)})
        survivors += missed
    report.table("Mutants", rows)
    report.table("Survivors", survivors)
    report.write()


if __name__ == "__main__":
    main()
