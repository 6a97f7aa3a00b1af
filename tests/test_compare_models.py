"""compare_models: the same scores as cross_validate gives, fold by fold."""

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    PredefinedSplit,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_validate,
)
from sklearn.pipeline import make_pipeline

from sklearn_mmfusion import (
    LateFusionClassifier,
    LinearEncoder,
    ModalityConcatenator,
    compare_models,
)
from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion.data import ModalityFrame

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 60
RNG = np.random.default_rng(0)
X = {"text": RNG.normal(size=(N, 4)), "audio": RNG.normal(size=(N, 3))}
FLAT = np.hstack(list(X.values()))
Y = (X["text"][:, 0] + 0.5 * RNG.normal(size=N) > 0).astype(int)


def fusion():
    return LateFusionClassifier(encoders=LinearEncoder(), max_epochs=4, early_stopping=False)


def table():
    return make_pipeline(ModalityConcatenator(), LogisticRegression())


def test_scores_are_those_of_cross_validate_on_the_folds_of_each_seed():
    found = compare_models({"fusion": fusion(), "table": table()}, X, Y, cv=3, seeds=[4, 5])
    assert found.seeds == [4, 5] and found.model_names == ["fusion", "table"]
    for i, seed in enumerate([4, 5]):
        folds = StratifiedKFold(3, shuffle=True, random_state=seed)
        for name, model in (
            ("fusion", fusion().set_params(random_state=seed)),
            ("table", table().set_params(logisticregression__random_state=seed)),
        ):
            expected = cross_validate(model, ModalityFrame(X), Y, cv=folds)["test_score"]
            np.testing.assert_array_equal(found.scores["score"][name][i], expected)
    assert found.test_ratio == pytest.approx(0.5)
    assert found.fit_times["fusion"].shape == (2, 3)


def test_seeds_reach_the_models_whatever_their_random_state_was():
    models = {str(seed): RandomForestClassifier(5, random_state=seed) for seed in (1, 2)}
    found = compare_models(models, FLAT, Y, cv=2, seeds=3).scores["score"]
    np.testing.assert_array_equal(found["1"], found["2"])
    assert models["1"].random_state == 1


def test_several_metrics_are_kept_apart():
    found = compare_models([LogisticRegression()], FLAT, Y, cv=2, scoring=["accuracy", "roc_auc"])
    assert found.metric_names == ["accuracy", "roc_auc"]
    one = compare_models([LogisticRegression()], FLAT, Y, cv=2, scoring="roc_auc")
    assert one.metric_names == ["roc_auc"]
    np.testing.assert_array_equal(
        one.scores["roc_auc"]["LogisticRegression"], found.scores["roc_auc"]["LogisticRegression"]
    )


def test_models_of_a_sequence_are_named_by_class_and_numbered():
    models = [Ridge(1.0), DummyRegressor(), Ridge(10.0)]
    found = compare_models(models, FLAT, FLAT[:, 0], cv=2)
    assert found.model_names == ["Ridge 1", "DummyRegressor", "Ridge 2"]


@pytest.mark.parametrize(
    "cv", [KFold(2, shuffle=True, random_state=0), ShuffleSplit(3, test_size=0.3)]
)
def test_seeds_shuffle_splitters_that_shuffle(cv):
    found = compare_models([LogisticRegression()], FLAT, Y, cv=cv, seeds=2)
    scores = found.scores["score"]["LogisticRegression"]
    for seed in (0, 1):
        cv.random_state = seed
        expected = cross_validate(LogisticRegression(), FLAT, Y, cv=cv)["test_score"]
        np.testing.assert_array_equal(scores[seed], expected)
    cv.random_state = 0


def test_a_splitter_of_the_user_is_not_changed():
    cv = RepeatedKFold(n_splits=2, n_repeats=2, random_state=5)
    compare_models([DummyClassifier()], FLAT, Y, cv=cv, seeds=[8])
    assert cv.random_state == 5


@pytest.mark.parametrize(
    "cv", [KFold(3), PredefinedSplit(np.arange(N) % 2), [(np.arange(40), np.arange(40, N))]]
)
def test_fixed_splits_are_the_same_for_all_seeds(cv):
    scores = compare_models([LogisticRegression()], FLAT, Y, cv=cv, seeds=2).scores["score"]
    np.testing.assert_array_equal(*scores["LogisticRegression"])


@pytest.mark.parametrize(
    ("make_cv", "same"),
    [
        (lambda: KFold(3), True),
        (lambda: KFold(3).split(FLAT), True),  # a generator
        (lambda: [(np.arange(40), np.arange(40, N))], True),
        (lambda: 3, False),
        (lambda: KFold(3, shuffle=True), False),
    ],
)
def test_seeds_that_repeat_the_folds_are_no_further_evidence(make_cv, same):
    models = [LogisticRegression(), DummyClassifier()]
    one = compare_models(models, FLAT, Y, cv=make_cv(), seeds=1)
    many = compare_models(models, FLAT, Y, cv=make_cv(), seeds=4)
    assert many.same_folds == same
    columns = ["lower", "upper", "difference_lower", "difference_upper", "p_value"]
    if same:
        np.testing.assert_allclose(many.summary()[columns], one.summary()[columns])


@pytest.mark.parametrize("seeds", [np.int64(2), [0, 1], (seed for seed in (0, 1)), np.arange(2)])
def test_seeds_are_a_number_or_several(seeds):
    found = compare_models([DummyClassifier()], FLAT, Y, cv=2, seeds=seeds)
    assert found.seeds == [0, 1]


def test_groups_reach_the_splitter():
    groups = np.arange(N) // 10
    found = compare_models([LogisticRegression()], FLAT, Y, cv=GroupKFold(3), groups=groups)
    expected = cross_validate(LogisticRegression(), FLAT, Y, cv=GroupKFold(3), groups=groups)
    np.testing.assert_array_equal(
        found.scores["score"]["LogisticRegression"][0], expected["test_score"]
    )


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_error_names_the_model(n_jobs):
    gaps = np.where(FLAT > 1, np.nan, FLAT)
    models = {"most frequent": DummyClassifier(), "no gaps": LogisticRegression()}
    with pytest.raises(ValueError, match="contains NaN") as caught:
        compare_models(models, gaps, Y, cv=2, n_jobs=n_jobs)
    assert caught.value.__notes__ == ["This was the model 'no gaps' of compare_models."]


def test_processes_change_nothing():
    one = compare_models([fusion(), table()], X, Y, cv=2).scores["score"]
    with parallel_config("threading"):
        two = compare_models([fusion(), table()], X, Y, cv=2, n_jobs=2).scores["score"]
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


@pytest.mark.parametrize(
    ("models", "params", "error", "message"),
    [
        ([], {}, InputError, "at least one, got none"),
        ({"a": 3}, {}, InputTypeError, "got 'a': 3"),
        ({1: LogisticRegression()}, {}, InputTypeError, "expected names"),
        ([LogisticRegression()], {"seeds": 0}, InputError, "seeds: expected at least one"),
        ([LogisticRegression()], {"seeds": [1, 1]}, InputError, r"each once, got \[1, 1\]"),
        ([LogisticRegression()], {"seeds": 1.5}, InputTypeError, "a number of seeds or several"),
        (LogisticRegression(), {}, InputTypeError, r"expected several, .*\[LogisticRegression"),
    ],
)
def test_unusable_input_is_refused(models, params, error, message):
    with pytest.raises(error, match=message):
        compare_models(models, FLAT, Y, **params)
