"""The gallery runs without a warning, keeps its form; Markdown is converted; code can be pasted."""

import ast
import builtins
import re
import runpy
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
import torch
from matplotlib import pyplot

import sklearn_mmfusion  # noqa: F401  the first import of scikit-learn draws a random number

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("plot_*.py"))
SHORT = [path for path in EXAMPLES if path.stem != "plot_quickstart"]


def _extension(name):
    return runpy.run_path(str(ROOT / "docs" / "_extensions" / f"{name}.py"))


def _names(paths):
    return [path.stem.removeprefix("plot_") for path in paths]


@pytest.fixture
def agg(monkeypatch):
    pyplot.switch_backend("Agg")
    monkeypatch.setattr(pyplot, "show", lambda: None)
    yield pyplot
    pyplot.close("all")


@pytest.mark.slow
@pytest.mark.parametrize("path", SHORT, ids=_names(SHORT))
def test_example_runs_without_warning_and_draws_one_figure(path, agg):
    with torch.random.fork_rng(devices=[]):  # an example may build a torch module of its own
        runpy.run_path(str(path), run_name="__main__")
    assert len(agg.get_fignums()) == 1


@pytest.mark.parametrize("path", SHORT, ids=_names(SHORT))
def test_example_asks_a_question_and_ends_in_one_sentence(path):
    source = path.read_text(encoding="utf-8")
    title = ast.get_docstring(ast.parse(source)).splitlines()[0]
    last = source.rstrip().rsplit("# %%\n", 1)[1].splitlines()
    assert "?" in title
    assert all(line.startswith("# ") for line in last)
    assert last[-1].endswith(".")
    assert " ".join(last).count(". ") == 0


def test_gallery_order_names_every_example_once():
    order = _extension("gallery_order")["READING_ORDER"]
    assert sorted(order) == sorted(_names(EXAMPLES))


def test_gallery_order_sorts_files_by_it_and_unknown_ones_last():
    key = _extension("gallery_order")["InReadingOrder"]("docs/examples")
    files = ["plot_zoo.py", "plot_saving.py", "plot_quickstart.py", "plot_ant.py"]
    expected = ["plot_quickstart.py", "plot_saving.py", "plot_ant.py", "plot_zoo.py"]
    assert sorted(files, key=key) == expected


def test_markdown_becomes_restructuredtext():
    markdown = """# Title

Run `tox -e docs`:

```bash
echo `date`
```

| a | b |
|---|---|
| `x` | 1, 2 |

1. One.
"""
    expected = """Title
=====

Run ``tox -e docs``:

.. code-block:: bash

   echo `date`


.. list-table::
   :header-rows: 1

   * - a
     - b
   * - ``x``
     - 1, 2


1. One.
"""
    assert _extension("markdown_pages")["to_rst"](markdown) == expected


def test_contributing_page_converts_every_heading_and_leaves_no_fence():
    markdown = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    text = _extension("markdown_pages")["to_rst"](markdown)
    assert "```" not in text
    assert not [line for line in text.splitlines() if line.startswith(("# ", "## ", "|"))]


def test_examples_import_the_core_matplotlib_and_tqdm_alone():
    allowed = set(sys.stdlib_module_names) | {
        "joblib", "matplotlib", "numpy", "sklearn", "sklearn_mmfusion", "torch", "tqdm",
    }  # fmt: skip
    for path in EXAMPLES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            else:
                continue
            assert {name.split(".")[0] for name in names} <= allowed, path.name


def _code_blocks():
    for page in sorted((ROOT / "docs" / "user_guide").glob("*.rst")):
        text = page.read_text(encoding="utf-8")
        for number, block in enumerate(
            re.findall(r"^\.\. code-block:: python\n\n((?: {4}.*\n|\n)+)", text, re.MULTILINE)
        ):
            yield pytest.param(textwrap.dedent(block), id=f"{page.stem}-{number}")


@pytest.mark.parametrize("block", list(_code_blocks()))
def test_code_that_is_not_run_imports_what_it_names(block):
    nodes = list(ast.walk(ast.parse(block)))
    known = {"X", "y", "customer_table", "audio", *dir(builtins)}  # the data are the reader's
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            known |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
    assert {node.id for node in nodes if isinstance(node, ast.Name)} <= known


def test_page_on_installation_lists_every_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "install.rst").read_text(encoding="utf-8")
    assert set(re.findall(r"^``(\w+)``", page, re.MULTILINE)) == set(
        project["optional-dependencies"]
    )
