"""Every public name is documented: on the API page, and in its docstring."""

import importlib
import inspect
import re
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator

import sklearn_mmfusion

API_PAGE = Path(__file__).parents[1] / "docs" / "api.rst"
# Estimators that score their terms.
SCORING = {
    f"{method}{kind}"
    for method in ("MNL", "InTense", "MKL", "Routing", "GAM")
    for kind in ("Classifier", "Regressor")
}

PUBLIC_MODULES = [
    "sklearn_mmfusion",
    "sklearn_mmfusion.datasets",
    "sklearn_mmfusion.functional",
    "sklearn_mmfusion.inspection",
    "sklearn_mmfusion.metrics",
    "sklearn_mmfusion.plotting",
    "sklearn_mmfusion.presets",
    "sklearn_mmfusion.report",
    "sklearn_mmfusion.utils",
    "sklearn_mmfusion.utils.estimator_checks",
]


def _public_objects():
    """Yield every public class and function as a parameter, named in full."""
    for module_name in PUBLIC_MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value):
                yield pytest.param(module_name, name, value, id=f"{module_name}.{name}")


PUBLIC_OBJECTS = list(_public_objects())


def _names_on_the_api_page():
    """Return the full names that the page's autosummary tables list."""
    names, module = set(), ""
    for line in API_PAGE.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\.\. (?:current)?module:: (\S+)", line):
            module = match[1]
        elif match := re.match(r" {3}(\w+)$", line):
            names.add(f"{module}.{match[1]}")
    return names


def _resolve(full_name):
    module_name, _, name = full_name.rpartition(".")
    return getattr(importlib.import_module(module_name), name)


@pytest.mark.parametrize("module_name", PUBLIC_MODULES)
def test_all_is_unique_and_complete(module_name):
    module = importlib.import_module(module_name)
    assert len(module.__all__) == len(set(module.__all__))
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize(("module_name", "name", "value"), PUBLIC_OBJECTS)
def test_public_object_is_on_the_api_page(module_name, name, value):
    documented = {id(_resolve(full_name)) for full_name in _names_on_the_api_page()}
    assert id(value) in documented, f"list {name} in docs/api.rst"


@pytest.mark.parametrize(("module_name", "name", "value"), PUBLIC_OBJECTS)
def test_public_object_has_a_docstring(module_name, name, value):
    doc = inspect.getdoc(value)
    assert doc
    summary = doc.splitlines()[0]
    assert summary.endswith("."), f"the first line is one sentence: {summary!r}"
    if isinstance(value, type) and issubclass(value, Exception):
        return
    parameters = inspect.signature(value).parameters.values()
    if not parameters:
        return
    assert re.search(r"^Parameters\n-{10}$", doc, re.MULTILINE)
    for parameter in parameters:
        pattern = rf"^\**{re.escape(parameter.name)}\b[^\n]*(:|,)|^\*+{parameter.name}"
        assert re.search(pattern, doc, re.MULTILINE), f"{name}: describe {parameter.name}"


@pytest.mark.parametrize(("module_name", "name", "value"), PUBLIC_OBJECTS)
def test_estimator_describes_its_fitted_attributes(module_name, name, value):
    if not (isinstance(value, type) and issubclass(value, BaseEstimator)):
        return
    doc = inspect.getdoc(value)
    if hasattr(value, "predict"):
        assert re.search(r"^Attributes\n-{10}$", doc, re.MULTILINE)
        assert re.search(r"^n_features_in_ :", doc, re.MULTILINE)
    if name in SCORING:
        assert re.search(r"^relevance_scores_ :", doc, re.MULTILINE)


def test_version_is_the_one_of_the_version_file():
    from sklearn_mmfusion import _version

    assert sklearn_mmfusion.__version__ == _version.__version__
