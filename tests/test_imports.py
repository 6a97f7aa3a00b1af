"""The floors of the architecture: imports only go down, and never in a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sklearn_mmfusion

PACKAGE = "sklearn_mmfusion"
ROOT = Path(sklearn_mmfusion.__file__).parent

# A module or subpackage, without the package's name -> its floor.
FLOORS = {
    "_version": 0,
    "_errors": 0,
    "functional": 0,
    "modules": 1,
    "data": 1,
    "datasets": 1,
    "metrics": 1,
    "_explained": 3,
    "_fitted": 3,
    "_sweep": 3,
    "_base": 3,
    "_block_norm": 3,
    "_base_routing": 3,
    "_base_plain": 3,
    "_base_mkl": 3,
    "_relevance_intervals": 4,
    "_modality_features": 4,
    "_relevance_test": 4,
    "_routing": 4,
    "_early_fusion": 4,
    "_late_fusion": 4,
    "_late_voting": 4,
    "_mult": 4,
    "_raven": 4,
    "_residual": 4,
    "_tensor_fusion": 4,
    "_unimodal": 4,
    "_mnl": 4,
    "_intense": 4,
    "_mkl": 4,
    "presets": 4,
    "inspection": 4,
    "_contribution_transformer": 4,
    "_comparison": 5,
    "_compare_models": 5,
    "plotting": 5,
    "report": 5,
    "utils": 5,
    "": 5,  # the package's own __init__.py
}

# Every other private module is a part of what floor 2 does; a new public one needs a line above.
PARTS_FLOOR = 2

# Imports that may go up, as (from, to), and only inside a function; each with its reason.
ALLOWED_UPWARD = frozenset(
    {
        ("_explanation_base", "plotting"),  # .plot() of an explanation makes its Display
        ("_persistence", ""),  # load() looks the class of an estimator up
    }
)


def _module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def _floor(module):
    head = module.split(".")[0]
    return FLOORS.get(head, PARTS_FLOOR) if head.startswith("_") else FLOORS[head]


def _nodes_run_on_import(tree):
    """Yield the nodes of a file that are not inside a function."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from _nodes_run_on_import(node)


def _imported(module, path, nodes=ast.walk):
    """Yield the modules of the package that `module` imports, at any place in its file."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                head, _, rest = alias.name.partition(".")
                if head == PACKAGE:
                    yield rest
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                parents = package.split(".") if package else []
                base = parents[: len(parents) - node.level + 1] + (node.module or "").split(".")
            elif node.module.partition(".")[0] == PACKAGE:
                base = node.module.split(".")[1:]
            else:
                continue
            base = ".".join(part for part in base if part)
            for alias in node.names:
                # `from . import functional` imports a module, `from . import name` the package.
                inner = f"{base}.{alias.name}".lstrip(".")
                yield inner if inner in MODULES else base


@pytest.fixture(scope="module")
def graph():
    """Return what each module imports."""
    return {module: set(_imported(module, path)) for module, path in MODULES.items()}


@pytest.mark.parametrize("module", MODULES, ids=lambda name: name or "__init__")
def test_every_public_module_stands_on_a_floor(module):
    head = module.split(".")[0]
    assert head.startswith("_") or head in FLOORS, f"give {head} a floor in FLOORS"


def test_every_floor_is_of_a_module_that_exists():
    assert set(FLOORS) <= {module.split(".")[0] for module in MODULES}


@pytest.mark.parametrize("module", MODULES, ids=lambda name: name or "__init__")
def test_imports_go_down(module, graph):
    upward = {
        target
        for target in graph[module]
        if _floor(target) > _floor(module) and (module, target) not in ALLOWED_UPWARD
    }
    assert not upward, f"{module} (floor {_floor(module)}) imports upward: {sorted(upward)}"


@pytest.mark.parametrize(("module", "target"), sorted(ALLOWED_UPWARD))
def test_allowed_upward_import_is_there_and_inside_a_function(module, target, graph):
    assert target in graph[module], "delete it from ALLOWED_UPWARD"
    assert target not in set(_imported(module, MODULES[module], _nodes_run_on_import))


def test_imports_are_not_circular(graph):
    # An allowed upward import runs when its function is called, after all modules are there.
    downward = {
        module: {target for target in targets if (module, target) not in ALLOWED_UPWARD}
        for module, targets in graph.items()
    }
    try:
        TopologicalSorter(downward).prepare()
    except CycleError as error:
        pytest.fail(f"circular import: {' -> '.join(error.args[1])}")
