"""What is followed from commit to commit: it runs, and it can tell better from worse."""

import json
import re
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def tracked(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    from tracked import quality, ratios

    yield {"quality": quality, "ratios": ratios}
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    sys.path[:] = [path for path in sys.path if path != str(BENCHMARKS)]


def _suites(module):
    return [c for c in vars(module).values() if isinstance(c, type) and hasattr(c, "unit")]


def test_the_configuration_names_what_is_there():
    text = (BENCHMARKS / "asv.conf.json").read_text()
    settings = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    assert (BENCHMARKS / settings["benchmark_dir"] / "__init__.py").is_file()
    assert (BENCHMARKS / settings["repo"] / "pyproject.toml").is_file()


def test_every_figure_has_a_unit_and_a_name_for_each_parameter(tracked):
    suites = [suite for module in tracked.values() for suite in _suites(module)]
    assert len(suites) == 7
    for suite in suites:
        assert [name for name in vars(suite) if name.startswith("track_")]
        assert len(getattr(suite, "params", [])) == len(getattr(suite, "param_names", []))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
@pytest.mark.parametrize("module", ["ratios", "quality"])
def test_every_figure_is_a_positive_number(module, tracked, monkeypatch):
    monkeypatch.setattr(tracked[module], "N_ROWS", 300)
    if module == "ratios":
        monkeypatch.setattr(tracked[module], "REPETITIONS", 1)
    for cls in _suites(tracked[module]):
        suite = cls()
        given = [suite.setup_cache()] if hasattr(cls, "setup_cache") else []
        for case in product(*getattr(cls, "params", [])):
            if hasattr(suite, "setup"):
                suite.setup(*given, *case)
            for name in vars(cls):
                if name.startswith("track_"):
                    value = getattr(suite, name)(*given, *case)
                    assert isinstance(value, float)
                    assert np.isfinite(value)
                    assert value > 0
