"""Tests of refits: together or alone they say the same."""

import warnings

import numpy as np
import pytest
import torch
from side_by_side import SIGNAL, X, count_companies, interrupt_at, one_by_one, params
from sklearn.base import clone
from skorch.callbacks import Callback

from sklearn_mmfusion import (
    SGD,
    DivergedError,
    InTenseRegressor,
    LinearEncoder,
    MNLRegressor,
    relevance_intervals,
    relevance_test,
)
from sklearn_mmfusion._relevance import refits as refits_module

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]


@pytest.fixture
def companies(monkeypatch):
    return count_companies(monkeypatch)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("seeds", marks=pytest.mark.slow),
        "bootstrap",
        pytest.param("cv", marks=pytest.mark.slow),
    ],
)
def test_refits_trained_together_have_the_scores_of_refits_alone(method, companies):
    est = InTenseRegressor(**params(n_bags=1, max_epochs=2, encoders=LinearEncoder()))
    given = {"n_refits": 3, "cv": 3, "method": method, "random_state": 0}

    def run():
        return relevance_intervals(est, X, SIGNAL, **given)

    with one_by_one():
        alone = run()
    assert companies == []
    together = run()
    assert companies
    for name in ("estimate", "scores", "low", "high", "null_scores"):
        found, expected = getattr(together, name), getattr(alone, name)
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8, err_msg=name)


def test_splits_of_a_test_are_fitted_together(companies):
    est = InTenseRegressor(**params(n_bags=1))

    def run():
        return relevance_test(est, X, SIGNAL, n_splits=3, n_null=99, random_state=0)

    with one_by_one():
        alone = run()
    together = run()
    assert companies == [3]
    np.testing.assert_allclose(together.statistic, alone.statistic, rtol=1e-7)
    np.testing.assert_array_equal(together.p_value, alone.p_value)


def test_groups_of_refits_do_not_depend_on_the_number_of_processes():
    est = MNLRegressor(**params(n_bags=1))
    jobs = [refits_module.Refit(est, X, SIGNAL, None, None, seed) for seed in range(21)]
    assert [len(part) for part in refits_module.in_companies(jobs)] == [5, 4, 4, 4, 4]
    deep = clone(est).set_params(callbacks=[Callback()])
    jobs = [refits_module.Refit(deep, X, SIGNAL, None, None, seed) for seed in range(3)]
    assert [len(part) for part in refits_module.in_companies(jobs)] == [1, 1, 1]


def test_refits_count_the_warnings_that_each_would_show_alone():
    est = MNLRegressor(**params(n_bags=1, max_epochs=25, n_iter_no_change=25))
    hasty = {"n_iter_no_change": 1, "lr": 0.5}
    jobs = [
        refits_module.Refit(est, X, SIGNAL, None, None, seed, changes)
        for seed, changes in enumerate([{}, hasty, {}])
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = refits_module.refit(jobs)
    assert caught == []
    alone = [refits_module.refit([job])[0][1] for job in jobs]
    assert [warned for _, warned in found] == alone
    assert {warned.counts["ConvergenceWarning"] for warned in alone} == {0, 1}
    assert [fitted.random_state for fitted, _ in found] == [0, 1, 2]


def test_refits_that_are_interrupted_give_no_scores(monkeypatch):
    interrupt_at(monkeypatch, 3)
    est = MNLRegressor(**params(n_bags=1))
    with pytest.raises(KeyboardInterrupt):
        relevance_intervals(est, X, SIGNAL, n_refits=3, random_state=0)


def test_an_error_of_one_refit_ends_all_and_leaves_the_threads_as_they_were():
    before = torch.get_num_threads()
    est = MNLRegressor(**params(n_bags=1, optimizer=SGD(), lr=1e30, encoders=LinearEncoder()))
    jobs = [refits_module.Refit(est, X, SIGNAL, None, None, seed) for seed in range(2)]
    with pytest.raises(DivergedError):
        refits_module.refit(jobs)
    assert torch.get_num_threads() == before
