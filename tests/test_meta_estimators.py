"""scikit-learn's tools around one classifier and one regressor of each family: 43 scenarios.

The fast part has LateFusion in both containers, whose fits take the least; InTense, two jobs and
the other families are slow.

A ModalityFrame passes all but the six that turn X into an array, which must answer with the
recipe; a matrix with ``modalities=`` passes all.
"""

import joblib
import numpy as np
import pytest
from fleet import ESTIMATORS, FAMILIES, family
from scenarios import BINARY, BY_NAME, NEED_AN_ARRAY, SCENARIOS, SIGNAL, setting
from sklearn.model_selection import (
    cross_val_score,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]


def _run(function, setting, tmp_path):
    takes_directory = "tmp_path" in function.__code__.co_varnames
    return function(setting, tmp_path) if takes_directory else function(setting)


def _check(name, container, family_name, tmp_path):
    run = SCENARIOS[name], setting(container, family_name), tmp_path
    if container == "frame" and name in NEED_AN_ARRAY:
        with pytest.raises(TypeError, match=r"X\.to_2d\(\) with modalities=X\.layout\(\)"):
            _run(*run)
    else:
        _run(*run)


@pytest.mark.parametrize("container", ["frame", "matrix"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_passes_or_answers_with_the_recipe(name, container, tmp_path):
    _check(name, container, "LateFusion", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("container", ["frame", "matrix"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_passes_with_interactions_and_two_jobs(name, container, n_jobs, tmp_path):
    # Tools whose n_jobs is None, the default, take it from here.
    with joblib.parallel_config(n_jobs=n_jobs):
        _check(name, container, "InTense", tmp_path)


def _has_what_it_takes(family_name, name):
    kinds = {"classifier", "probable", "regressor"} & set(SCENARIOS[name].__code__.co_names)
    needed = {"Regressor" if kind == "regressor" else "Classifier" for kind in kinds}
    return all(f"{family_name}{kind}" in BY_NAME for kind in needed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family_name", "name"),
    [
        (family_name, name)
        for family_name in FAMILIES
        for name in SCENARIOS
        if family_name not in ("LateFusion", "InTense") and _has_what_it_takes(family_name, name)
    ],
)
def test_scenario_passes_for_every_family(family_name, name, tmp_path):
    _check(name, "matrix" if name in NEED_AN_ARRAY else "frame", family_name, tmp_path)


def test_every_public_estimator_is_of_a_family_in_the_matrix():
    covered = {family_name for family_name in FAMILIES if _has_what_it_takes(family_name, "cloned")}
    assert {family(cls) for cls in ESTIMATORS} == covered


def test_table_has_43_scenarios_of_which_six_need_an_array():
    assert len(SCENARIOS) == 43
    assert sorted(NEED_AN_ARRAY) == [
        "bagging",
        "classifier_chain",
        "one_vs_one",
        "output_code",
        "self_training",
        "stacking_with_passthrough",
    ]


@pytest.mark.parametrize("make", ["classifier", "regressor"])
def test_frame_and_matrix_give_the_same_cross_validation(make):
    y = BINARY if make == "classifier" else SIGNAL
    frame, matrix = (
        cross_val_score(getattr(s, make)(), s.X, y, cv=3)
        for s in (setting("frame"), setting("matrix"))
    )
    np.testing.assert_array_equal(frame, matrix)
