"""Nothing in the package unpickles, evaluates, or imports a name that comes from a file."""

import ast
from pathlib import Path

import pytest

import sklearn_mmfusion

ROOT = Path(sklearn_mmfusion.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}

MODULES = {
    *("pickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "skops", "subprocess"),
    *("importlib", "imp", "pkgutil", "runpy", "code", "codeop", "ctypes"),
}
NAMES = {"eval", "exec", "compile", "__import__", "breakpoint"}
# Whatever they are attributes of: joblib.load, torch.load, pickle.loads, np.load.
ATTRIBUTES = {"load", "loads", "Unpickler", "hub", "import_module", "system", "popen"}
ALLOWED = {
    ("_state/tensor_files.py", "json.loads"),
    ("datasets/_enrico.py", "json.loads"),
    ("datasets/_avmnist.py", "np.load"),  # with allow_pickle=False, see below
    ("datasets/_multiple_features.py", "np.load"),
    ("datasets/_multiple_features.py", "importlib.resources"),  # the package's own data
    # Versions of installed packages, by names that are written there.
    ("report/_sections_model.py", "importlib.metadata.PackageNotFoundError"),
    ("report/_sections_model.py", "importlib.metadata.version"),
    # The public checks pickle and unpickle a model that they have just fitted.
    ("utils/_contract_checks.py", "pickle"),
    ("utils/_contract_checks.py", "pickle.loads"),
    ("utils/_input_checks.py", "np.load"),  # of a file that the check has just written
}


def _own(tree):
    """Return the nodes below functions that have an argument of a name that is searched for."""
    nodes = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            for name in NAMES & {argument.arg for argument in arguments}:
                body = (below for part in node.body for below in ast.walk(part))
                nodes |= {
                    below for below in body if isinstance(below, ast.Name) and below.id == name
                }
    return nodes


def _calls(tree):
    """Yield the name of everything that runs, or could run, what a file says."""
    own = _own(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for alias in node.names:
                is_risky = alias.name in ATTRIBUTES and "sklearn_mmfusion" not in module
                if module.partition(".")[0] in MODULES or is_risky:
                    yield f"{module}.{alias.name}"
        elif isinstance(node, ast.Name) and node.id in NAMES and node not in own:
            if not isinstance(node.ctx, ast.Store):  # a field of that name
                yield node.id
        elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            yield ast.unparse(node)


@pytest.mark.parametrize("name", FILES)
def test_file_runs_nothing_that_a_file_says(name):
    found = set(_calls(ast.parse(FILES[name].read_text(encoding="utf-8"))))
    assert {call for call in found if (name, call) not in ALLOWED} == set()


@pytest.mark.parametrize(("name", "call"), sorted(ALLOWED))
def test_allowed_call_is_there(name, call):
    found = set(_calls(ast.parse(FILES[name].read_text(encoding="utf-8"))))
    assert call in found, "delete it from ALLOWED"


@pytest.mark.parametrize("name", sorted({file for file, call in ALLOWED if call == "np.load"}))
def test_numpy_files_are_read_without_pickle(name):
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            # numpy's own default is False, too.
            assert given.get("allow_pickle", "False") == "False"


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from torch import load", "torch.load(f)", "eval(x)", "__import__(x)"),
        *("joblib.load(f)", "from importlib import import_module", "os.system(x)"),
    ],
)
def test_the_search_finds(source):
    assert list(_calls(ast.parse(source)))


def test_the_search_tells_an_argument_from_the_builtin_of_its_name():
    assert not list(_calls(ast.parse("def f(compile=False):\n    return not compile")))
    assert list(_calls(ast.parse("def f(text=compile('1', '', 'eval')):\n    return text")))
    assert list(_calls(ast.parse("def f(text):\n    return compile(text, '', 'eval')")))
