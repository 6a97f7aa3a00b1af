"""The floors of the architecture: imports only go down, and never in a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sklearn_mmfusion

PACKAGE = "sklearn_mmfusion"
ROOT = Path(sklearn_mmfusion.__file__).parent

# From the ground up: modules and subpackages, without the package's name. A new file of the
# package's own folder, and a new folder, gets its place here.
FLOORS = (
    # formulas, errors, what stands for itself
    {"_version", "_errors", "_docs", "_diagram", "_optimizers", "functional"},
    # tensors and arrays
    {"modules", "data", "datasets", "metrics"},
    # from the user's words to one trained network
    {"_inputs"},
    {"_rows"},
    {"_encoders"},
    {"_model"},
    {"_stacking", "_state"},
    {"_training"},
    {"_fitting"},
    {"_persistence"},
    # what estimators share
    {"_explanations", "_explained", "_target_mixins", "_sweep"},
    {"_fitted"},
    {"_base"},
    {"_base_plain", "_base_routing", "_block_norm"},
    # estimators and transformers
    {"_mnl", "_intense", "_routing", "_residual", "_mkl", "_late_fusion", "_early_fusion"},
    {"_tensor_fusion", "_mult", "_raven", "_late_voting", "_unimodal", "presets"},
    {"_frame_transformers", "_transformers", "_contribution_transformer"},
    # questions to fitted estimators
    {"inspection", "_relevance"},
    {"plotting", "_comparison", "_compare_models", "report"},
    # the package's own __init__.py, and checks of everything in it
    {"", "utils"},
)

# Imports that may go up, as (from, to), and only inside a function; each with its reason.
ALLOWED_UPWARD = frozenset(
    {
        ("_explanations.base", "plotting"),  # .plot() of an explanation makes its Display
        ("_relevance.results", "plotting"),  # .plot() of intervals does, too
        ("_persistence.files", ""),  # load() looks the class of an estimator up
    }
)


def _module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


PLACES = {name: place for place, names in enumerate(FLOORS) for name in names}


def _floor(module):
    return PLACES[module.split(".")[0]]


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


def test_every_module_has_one_floor():
    assert sum(map(len, FLOORS)) == len(PLACES)
    assert set(PLACES) == {module.split(".")[0] for module in MODULES}


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
