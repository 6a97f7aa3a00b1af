"""What the README tells people to run is what is run, and what it shows works."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


MAIN_JOB, TESTS = (block.strip() for block in _blocks("bash"))


def test_ci_runs_the_test_command_of_the_readme_and_nothing_else():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == [TESTS]


@pytest.mark.parametrize("command", [MAIN_JOB, TESTS], ids=["main job", "tests"])
def test_command_names_files_and_extras_that_exist(command):
    words = shlex.split(command)
    assert (ROOT / words[words.index("-c") + 1]).is_file()
    extras = re.fullmatch(r"\.\[(.+)\]", words[words.index("-e") + 1])[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    assert all((ROOT / word).is_file() for word in words if word.endswith(".py"))


def test_main_job_installs_all_that_the_example_draws_with():
    assert '".[plots,progress]"' in MAIN_JOB
    assert MAIN_JOB.endswith("docs/examples/plot_quickstart.py")


@pytest.mark.slow
def test_python_blocks_run_one_after_the_other(capsys):
    namespace = {}
    for block in _blocks("python"):
        exec(compile(block, "README.md", "exec"), namespace)
    estimator = namespace["est"]
    assert max(estimator.relevance_scores_, key=estimator.relevance_scores_.get) == "text"
    assert estimator.score(namespace["X"], namespace["y"]) > 0.9
    assert float(capsys.readouterr().out.splitlines()[-1]) > 0.8


def test_relative_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets
    assert all((ROOT / target).exists() for target in targets)


def _pins(text):
    return {
        name.lower().replace("_", "-"): Version(version)
        for name, version in re.findall(r"^\s*([\w.-]+)==(\S+)$", text, re.MULTILINE)
    }


def _requirements():
    extras = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + [line for lines in extras.values() for line in lines]
    requirements = [Requirement(line) for line in lines]
    return {r.name: r.specifier for r in requirements if r.name != PROJECT["name"]}


def test_constraints_pin_every_requirement_within_its_bounds():
    pins = _pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    for name, specifier in _requirements().items():
        assert specifier.contains(pins[name]), f"{name}: {pins[name]} is not {specifier}"


def test_lowest_environment_pins_the_lower_bounds_of_the_package():
    pins = _pins((ROOT / "tox.ini").read_text(encoding="utf-8"))
    extras = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + extras["frames"] + extras["plots"]
    lines += extras["progress"] + extras["images"] + extras["zarr"] + extras["datasets"]
    bounds = {r.name: next(iter(r.specifier)) for r in map(Requirement, lines)}
    assert all(bound.operator == ">=" for bound in bounds.values())
    assert pins == {name: Version(bound.version) for name, bound in bounds.items()}


def test_no_requirement_is_closed_upward():
    operators = {spec.operator for specifier in _requirements().values() for spec in specifier}
    assert operators == {">="}
