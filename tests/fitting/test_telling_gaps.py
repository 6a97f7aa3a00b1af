"""Tests of the warning of modalities whose absence says something of the target."""

import warnings

import numpy as np
import pandas as pd
import pytest

from sklearn_mmfusion import (
    LateFusionClassifier,
    LazyArray,
    LinearEncoder,
    MNLClassifier,
    MNLRegressor,
    RoutingClassifier,
)
from sklearn_mmfusion._fitting.telling_gaps import _least_chance

FAST = {"encoders": LinearEncoder(), "max_epochs": 40, "lr": 0.05, "missing": "mask"}


def make(seed=0, n=300, mechanism="not at random", shift=0.0):
    """Two modalities with an effect each, the first absent in a part of the rows; log-odds."""
    rng = np.random.default_rng(seed)
    X = {"test": rng.normal(size=(n, 4)), "age": rng.normal(size=(n, 3))}
    log_odds = 1.5 * X["test"][:, 0] + 1.5 * X["age"][:, 0] + shift
    steer = {
        "at random": np.zeros(n),
        "by the other": 1.5 * X["age"][:, 0],
        "not at random": 3 * X["test"][:, 0],
    }[mechanism]
    X["test"][rng.random(n) < 1 / (1 + np.exp(1 - steer))] = np.nan
    return X, log_odds, rng


def warned(est, X, y, **fit_params):
    """Texts of the warnings of absence of a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est.set_params(random_state=0).fit(X, y, **fit_params)
    return [str(w.message) for w in caught if "training rows that lack it" in str(w.message)]


def test_numbers():
    X, mean, rng = make()
    y = mean + rng.normal(size=300)
    est = MNLRegressor(**FAST)
    (text,) = warned(est, X, y)
    absent = np.isnan(X["test"][:, 0])
    said = est.predict(X)[absent].mean()
    assert f"modality 'test': in the {absent.sum()} training rows that lack it" in text
    assert f"the mean of y is {y[absent].mean():.3g}, and {said:.3g} by the model" in text
    X["has test"] = ~absent[:, None]
    assert warned(est, X, y) == []  # what the warning advises
    assert est.predict(X)[absent].mean() == pytest.approx(y[absent].mean(), abs=0.3)


def test_units_of_the_target_change_nothing():
    X, mean, rng = make()
    y = mean + rng.normal(size=300)
    for factor in (1e-9, 1e9):
        assert len(warned(MNLRegressor(**FAST), X, factor * (y + 5))) == 1
    both = np.column_stack([rng.normal(size=300), 1e6 * y])
    (text,) = warned(MNLRegressor(**FAST), X, both)
    assert "the mean of column 1 of y" in text
    (text,) = warned(MNLRegressor(**FAST), X, pd.DataFrame(both, columns=["mood", "pain"]))
    assert "the mean of column 'pain' of y" in text


def test_classes():
    X, log_odds, rng = make(n=600)
    y = np.where(log_odds + rng.logistic(size=600) > 0, "ill", "well")
    (text,) = warned(MNLClassifier(**FAST), X, y)
    assert "the share of class well is" in text
    y = np.array(["a", "b", "c"])[np.digitize(log_odds + rng.logistic(size=600), [-1, 1])]
    (text,) = warned(MNLClassifier(**FAST), X, y)
    assert "the share of class " in text


@pytest.mark.parametrize("estimator", [RoutingClassifier, LateFusionClassifier])
def test_models_that_go_by_what_is_there(estimator):
    X, log_odds, rng = make(n=600)
    y = np.where(log_odds + rng.logistic(size=600) > 0, "ill", "well")
    est = estimator(**FAST)
    assert warned(est, X, y) == []
    absent = np.isnan(X["test"][:, 0])
    well = est.predict_proba(X)[:, 1]
    assert well[absent].mean() == pytest.approx((y[absent] == "well").mean(), abs=0.1)


def test_a_modality_of_few_rows_whose_mean_is_off_by_chance():
    for seed in range(3):
        X, _, rng = make(seed, 600, "at random")
        X["test"] = rng.normal(size=(600, 4))
        absent = rng.random(600) < 0.9
        y = 4 * np.where(absent, 0.0, X["test"][:, 0]) + X["age"][:, 0]
        X["test"][absent] = np.nan
        assert warned(MNLRegressor(**FAST), X, y + 0.1 * rng.normal(size=600)) == []


def test_labels():
    X, log_odds, rng = make(n=600)
    y = np.column_stack([rng.random(600) < 0.5, log_odds + rng.logistic(size=600) > 0])
    (text,) = warned(MNLClassifier(**FAST), X, y.astype(int))
    assert "the share of label 1 is" in text
    (text,) = warned(MNLClassifier(**FAST), X, pd.DataFrame(y.astype(int), columns=["a", "b"]))
    assert "the share of label 'b' is" in text


@pytest.mark.parametrize("mechanism", ["at random", "by the other"])
@pytest.mark.parametrize("n", [60, 400])
@pytest.mark.parametrize("shift", [0.0, -3.0])
@pytest.mark.slow
def test_what_is_absent_at_random_is_not_warned_of(mechanism, n, shift):
    X, log_odds, rng = make(1, n, mechanism, shift)
    y = (log_odds + rng.logistic(size=n) > 0).astype(int)
    assert warned(MNLClassifier(**FAST), X, y) == []
    assert warned(MNLClassifier(class_weight="balanced", **FAST), X, y) == []
    assert warned(MNLRegressor(**FAST), X, log_odds + rng.standard_t(3, size=n)) == []


def test_rows_that_do_not_count_are_not_looked_at():
    X, mean, rng = make()
    y = mean + rng.normal(size=300)
    weight = (~np.isnan(X["test"][:, 0])).astype(float)
    weight[:20] = 1
    assert 0 < np.isnan(X["test"][:20, 0]).sum() < 10
    assert warned(MNLRegressor(**FAST), X, y, sample_weight=weight) == []


@pytest.mark.parametrize("reg", ["auto", 50.0])
def test_what_others_say_of_who_lacks_a_modality_is_nothing_of_its_absence(reg):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = {"test": rng.normal(size=(400, 4)), "age": rng.normal(size=(400, 3))}
        bent = X["age"][:, 0] ** 2 - 1  # no linear encoder sees it
        y = X["test"][:, 0] + 1.5 * bent + rng.normal(size=400)
        X["test"][rng.random(400) < 1 / (1 + np.exp(1 - 2 * bent))] = np.nan
        est = MNLRegressor(**FAST, reg=reg)
        assert warned(est, X, y) == []
        absent = np.isnan(X["test"][:, 0])
        left_over = y - est.predict(X)
        assert left_over[absent].mean() > left_over[~absent].mean() + 1


def test_few_rows_of_many_and_numbers_of_any_size():
    rng = np.random.default_rng(0)
    X = {"test": rng.normal(size=(20_000, 2)), "age": 1e200 * rng.normal(size=(20_000, 2))}
    y = X["test"][:, 0] + rng.normal(size=20_000)
    X["test"][np.argsort(-y)[:500:5]] = np.nan
    X["age"][rng.random(20_000) < 0.3] = np.nan
    est = MNLRegressor(encoders=LinearEncoder(), max_epochs=3, missing="mask")
    (text,) = warned(est, X, y)
    assert "in the 100 training rows that lack it" in text


def test_rows_of_a_group_say_no_more_than_one_row():
    rng = np.random.default_rng(0)
    absent = np.arange(60) < 20
    target, zero, ones = rng.normal(size=(60, 1)) + absent[:, None], np.zeros((60, 1)), np.ones(60)
    once = _least_chance(target, zero, zero, ones, absent)
    rows = np.repeat(np.arange(60), 10)
    many = target[rows], zero[rows], zero[rows], ones[rows], absent[rows]
    assert _least_chance(*many, rows) == pytest.approx(once)
    assert _least_chance(*many)[1] < 1e-6 * once[1]
    assert _least_chance(*many, rows // 10) == (0, 1.0)  # two groups lack it


def test_persons_whose_absence_tells_are_warned_of():
    rng = np.random.default_rng(1)
    person = np.repeat(np.arange(60), 6)
    of_person = rng.normal(size=60)[person]
    X = {"test": rng.normal(size=(360, 3)), "age": rng.normal(size=(360, 3))}
    y = X["test"][:, 0] + 2 * of_person + 0.1 * rng.normal(size=360)
    X["test"][of_person > 0.5] = np.nan
    assert len(warned(MNLRegressor(**FAST), X, y, groups=person)) == 1


def test_few_rows_without_a_case_are_no_evidence():
    rng = np.random.default_rng(0)
    X = {"test": rng.normal(size=(500, 2)), "age": rng.normal(size=(500, 2))}
    y = (rng.random(500) < 0.04).astype(int)
    X["test"][np.flatnonzero(y == 0)[:20]] = np.nan
    assert warned(MNLClassifier(**FAST), X, y) == []


def test_medians_and_modalities_on_disk_are_not_looked_at():
    X, mean, rng = make()
    y = mean + rng.normal(size=300)
    assert warned(MNLRegressor(loss="absolute_error", **FAST), X, y) == []
    on_disk = {"test": LazyArray(X["test"]), "age": X["age"]}
    assert warned(MNLRegressor(**FAST), on_disk, y) == []


def test_the_bound_is_not_below_the_chance():
    absent = np.arange(10_100) < 100
    target = np.where(absent, 0.0, np.arange(10_100) % 10 == 0)[:, None]
    predicted = np.full_like(target, 0.1)
    ones = np.ones(len(target))
    _, chance = _least_chance(target, predicted, predicted * (1 - predicted), ones, absent)
    assert 0.9**100 < chance < 0.1  # none of a hundred is a case


def test_what_is_clear_but_small_is_not_warned_of():
    rng = np.random.default_rng(0)
    absent = np.arange(20_000) % 2 == 0
    target = rng.normal(size=(20_000, 1))
    for shift, is_clear in ((0.1, False), (0.4, True)):
        _, chance = _least_chance(
            target + shift * absent[:, None],
            np.zeros_like(target),
            np.zeros_like(target),
            np.ones(len(target)),
            absent,
        )
        assert (chance < 1e-9) is is_clear
