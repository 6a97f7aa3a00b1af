"""Tests of fits that run side by side: each leaves what it leaves alone."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from sklearn_mmfusion import (
    SGD,
    AdamW,
    DivergedError,
    FitInterruptedWarning,
    GRUEncoder,
    IdentityEncoder,
    InTenseClassifier,
    InTenseRegressor,
    LinearEncoder,
    MLPEncoder,
    MNLClassifier,
    MNLRegressor,
    _base,
    _refits,
    _stacked_training,
    _together,
    relevance_intervals,
    relevance_test,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 90
RNG = np.random.default_rng(0)
X = {name: RNG.normal(size=(N, d)) for name, d in [("a", 4), ("b", 4), ("c", 3)]}
SIGNAL = X["a"][:, 0] + X["b"][:, 0] * X["c"][:, 1] + 0.3 * RNG.normal(size=N)
CLASSES = (SIGNAL > 0).astype(int)
WEIGHT = RNG.exponential(size=N)
MISSING = {name: values.copy() for name, values in X.items()}
MISSING["a"][::7], MISSING["c"][3::11] = np.nan, np.nan


def params(**changes):
    """Small settings; without the polish, which answers round-off with its tolerance."""
    return {
        "encoders": MLPEncoder(hidden_dim=6, output_dim=4, dropout=0.3, skip=True),
        "max_epochs": 4,
        "batch_size": 20,
        "early_stopping": True,
        "polish": False,
        "random_state": 0,
        "n_bags": 3,
    } | changes


@pytest.fixture
def companies(monkeypatch):
    """Sizes of the stacks that are trained."""
    sizes = []
    train_stack = _together.train_stack

    def counted(trainings):
        sizes.append(len(trainings))
        return train_stack(trainings)

    monkeypatch.setattr(_together, "train_stack", counted)
    return sizes


@pytest.fixture
def one_by_one(monkeypatch):
    """Return a function that runs another with every fit alone."""

    def run(function):
        with monkeypatch.context() as patch:
            patch.setattr(_base, "may_run_beside_others", lambda *args: False)
            return function()

    return run


def assert_same_results(found, expected, tol=1e-9):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.plan.terms == other.plan.terms
        for name in ("n_epochs", "best_epoch", "stopped", "interrupted", "used_held_out"):
            assert getattr(one.training, name) == getattr(other.training, name), name
        for epoch, wanted in zip(one.training.history, other.training.history, strict=True):
            assert epoch == pytest.approx(wanted, rel=tol, abs=tol)
        assert one.state.keys() == other.state.keys()
        for name, value in other.state.items():
            np.testing.assert_allclose(one.state[name], value, rtol=tol, atol=tol, err_msg=name)
        for name in ("reg", "gain", "gain_error", "polish_gap"):
            wanted = pytest.approx(getattr(other, name), rel=1e-6, abs=1e-9, nan_ok=True)
            assert getattr(one, name) == wanted, name


I_CLASSIFIER, M_CLASSIFIER, I_REGRESSOR, M_REGRESSOR = (
    InTenseClassifier, MNLClassifier, InTenseRegressor, MNLRegressor,
)  # fmt: skip
CASES = {
    "binary": (I_CLASSIFIER, {}, X, CLASSES, {}),
    "default encoders": (I_CLASSIFIER, {"encoders": "auto", "max_epochs": 3}, X, CLASSES, {}),
    "classes with weights": (
        I_CLASSIFIER, {"class_weight": "balanced"}, X, np.digitize(SIGNAL, [-0.5, 0.5]), {},
    ),
    "labels": (
        I_CLASSIFIER, {}, X, np.column_stack([CLASSES, X["a"][:, 1] > 0]).astype(int), {},
    ),
    "weighted rows": (I_CLASSIFIER, {}, X, CLASSES, {"sample_weight": WEIGHT}),
    "regression": (
        I_REGRESSOR, {"interactions": 3, "lr_decay": 0.8}, X,
        np.column_stack([SIGNAL, X["a"][:, 1]]), {},
    ),
    "absolute error": (M_REGRESSOR, {"loss": "absolute_error"}, X, SIGNAL, {}),
    "missing": (I_CLASSIFIER, {"missing": "mask"}, MISSING, CLASSES, {"sample_weight": WEIGHT}),
    "modality dropout": (I_CLASSIFIER, {"modality_dropout": 0.3}, X, CLASSES, {}),
    "small data, full batches": (
        M_CLASSIFIER, {"batch_size": "auto", "early_stopping": "auto"}, X, CLASSES, {},
    ),
    "no held-out rows": (I_CLASSIFIER, {"early_stopping": False}, X, CLASSES, {}),
    "rows of the user": (
        I_CLASSIFIER, {}, X, CLASSES,
        {"X_val": {name: v[:30] for name, v in X.items()}, "y_val": CLASSES[:30]},
    ),
    "other encoders": (
        I_CLASSIFIER,
        {"encoders": {"a": LinearEncoder(dropout=0.2), "b": MLPEncoder(), "c": IdentityEncoder()}},
        X, CLASSES, {},
    ),
    "SGD": (I_CLASSIFIER, {"optimizer": SGD(), "lr": 0.05}, X, CLASSES, {}),
    "p of 2, a number for reg": (I_CLASSIFIER, {"p": 2, "reg": 0.01}, X, CLASSES, {}),
    "one row in the last batch": (I_CLASSIFIER, {"batch_size": 17}, X, CLASSES, {}),
    "float32": (
        M_CLASSIFIER, {"optimizer": SGD(), "lr": 0.05},
        {name: v.astype(np.float32) for name, v in X.items()}, CLASSES, {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_members_trained_together_equal_members_trained_alone(name, companies, one_by_one):
    cls, changes, x, y, extra = CASES[name]
    est = cls(**params(**changes))
    alone = one_by_one(lambda: clone(est).fit(x, y, **extra))
    assert companies == []
    together = clone(est).fit(x, y, **extra)
    assert companies[0] == 3
    assert_same_results(together._results, alone._results, 1e-4 if name == "float32" else 1e-9)


def test_polished_members_equal_those_trained_alone(companies, one_by_one):
    est = InTenseClassifier(**params(polish=True))
    alone = one_by_one(lambda: clone(est).fit(X, CLASSES))
    assert_same_results(clone(est).fit(X, CLASSES)._results, alone._results, 1e-6)
    assert companies[0] == 3


def test_members_end_each_at_its_own_epoch_and_keep_their_best(companies, one_by_one):
    est = MNLClassifier(**params(max_epochs=30, n_iter_no_change=2, lr=0.05))
    alone = one_by_one(lambda: clone(est).fit(X, CLASSES))
    together = clone(est).fit(X, CLASSES)
    trainings = [result.training for result in together._results]
    assert len({training.n_epochs for training in trainings}) > 1
    assert all(training.stopped for training in trainings)
    assert any(training.best_epoch < training.n_epochs for training in trainings)
    assert_same_results(together._results, alone._results, 1e-7)


def test_members_go_on_from_the_last_fit_together(companies, one_by_one):
    est = InTenseRegressor(**params(warm_start=True))
    alone = one_by_one(lambda: clone(est).fit(X, SIGNAL).fit(X, SIGNAL))
    together = clone(est).fit(X, SIGNAL).fit(X, SIGNAL)
    assert set(companies) <= {2, 3}
    assert len(companies) > 2
    assert_same_results(together._results, alone._results)


def test_more_members_than_a_stack_takes_come_in_even_parts(companies):
    est = MNLClassifier(**params(n_bags=12, max_epochs=2, reg=0.01)).fit(X, CLASSES)
    assert companies == [6, 6]
    assert len(est._results) == 12


# -- what goes on alone -----------------------------------------------------------------------


class _OwnOptimizer(AdamW):
    pass


@pytest.mark.parametrize(
    "changes",
    [
        {"callbacks": [Callback()]},
        {"checkpoint": "fit.zip"},
        {"net_params": {"warm_start": False}},
        {"optimizer": _OwnOptimizer()},
        {"encoders": {"a": GRUEncoder(hidden_dim=2), "b": "auto", "c": "auto"}},
        {"n_bags": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_cannot_be_had_together_goes_on_one_after_the_other(changes, companies, tmp_path):
    if "checkpoint" in changes:
        changes = {"checkpoint": tmp_path / changes["checkpoint"]}
    x = X
    if isinstance(changes.get("encoders"), dict):
        x = X | {"a": X["a"].reshape(N, 2, 2)}
    est = MNLClassifier(**params(max_epochs=2, **changes)).fit(x, CLASSES)
    assert companies == []
    assert len(est._results) == est.n_bags


def test_large_batches_go_on_one_after_the_other(companies, monkeypatch):
    monkeypatch.setattr(_together, "_MAX_BATCH_ROWS", 19)
    MNLClassifier(**params(max_epochs=2)).fit(X, CLASSES)
    assert companies == []


def test_trainings_of_other_shapes_are_not_stacked():
    def training(**changes):
        est = MNLClassifier(**params(**changes))
        members, beside = next(est._fitting(X, CLASSES, None))
        assert beside
        return next(next(members))

    keys = [
        _stacked_training.stack_key(training(**changes))
        for changes in (
            {}, {"random_state": 1}, {"lr": 0.1}, {"encoders": MLPEncoder(hidden_dim=7)},
            {"validation_fraction": 0.3}, {"optimizer": AdamW(eps=1e-6)}, {"p": 2},
        )
    ]  # fmt: skip
    assert keys[0] == keys[1]
    assert len(set(keys)) == len(keys) - 1


# -- when something goes wrong ----------------------------------------------------------------


def test_divergence_of_a_member_is_the_error_of_its_fit_alone(companies, one_by_one):
    est = MNLRegressor(**params(optimizer=SGD(), lr=1e200, encoders=LinearEncoder()))
    with pytest.raises(DivergedError, match="in epoch 1") as alone:
        one_by_one(lambda: clone(est).fit(X, SIGNAL))
    with pytest.raises(DivergedError) as together:
        clone(est).fit(X, SIGNAL)
    assert companies == [3]
    assert str(together.value) == str(alone.value)
    assert together.value.weights.keys() == alone.value.weights.keys()
    for name, value in alone.value.weights.items():
        np.testing.assert_array_equal(together.value.weights[name], value)  # those of the start


def interrupt_at(monkeypatch, step):
    """Let the user press Ctrl-C at some forward pass of a stack in training."""
    forward, count = _stacked_training.NetworkStack.forward, [0]

    def interrupted(self, batch, *, training):
        count[0] += training
        if training and count[0] == step:
            raise KeyboardInterrupt
        return forward(self, batch, training=training)

    monkeypatch.setattr(_stacked_training.NetworkStack, "forward", interrupted)


PLAIN = {"encoders": LinearEncoder(), "reg": 0, "early_stopping": False, "batch_size": 30}


def test_interrupt_keeps_the_last_whole_epoch_of_every_member(monkeypatch, one_by_one):
    # 72 rows of an inner fit in three batches: the second batch of the third epoch.
    est = MNLRegressor(**params(**PLAIN))
    whole = clone(est).set_params(max_epochs=2)
    firsts = one_by_one(lambda: first_trainings(whole))
    interrupt_at(monkeypatch, 8)
    with pytest.warns(FitInterruptedWarning, match=r"3 members are those of epochs \[2, 2, 2\]"):
        est.fit(X, SIGNAL)
    assert [len(result.training.history) for result in est._results] == [2, 2, 2]
    for result, wanted in zip(est._results, firsts, strict=True):
        for name in ("encoders.0.linear.weight", "fusion.weight", "fusion.bias"):
            np.testing.assert_allclose(result.state[name], wanted[name], rtol=1e-9, atol=1e-12)


def first_trainings(est):
    """Weights of every member after the first training of a fit."""
    fitting = est._fitting(X, SIGNAL, None)
    members, _ = next(fitting)
    found = []
    for steps in members:
        training = next(steps)
        training.run()
        arrays = training.network.state_dict()
        found.append({name: value.numpy().copy() for name, value in arrays.items()})
    fitting.close()
    return found


def test_interrupt_with_held_out_rows_keeps_the_best_epoch_of_every_member(monkeypatch):
    est = MNLClassifier(**params(max_epochs=6))
    whole = clone(est).fit(X, CLASSES)
    interrupt_at(monkeypatch, 4 * 5 - 2)  # of 72 rows in four batches, in the fifth epoch
    with pytest.warns(FitInterruptedWarning, match="members are those of epochs"):
        est.fit(X, CLASSES)
    for result, other in zip(est._results, whole._results, strict=True):
        assert result.training.interrupted
        losses = [epoch["valid_loss"] for epoch in other.training.history[:4]]
        assert [e["valid_loss"] for e in result.training.history] == losses
        assert result.training.best_epoch == 1 + int(np.argmin(losses))
    assert np.isfinite(est.predict_proba(X)).all()


def test_interrupt_in_the_first_epoch_leaves_models_that_predict(monkeypatch):
    interrupt_at(monkeypatch, 1)
    est = MNLClassifier(**params())
    with pytest.warns(FitInterruptedWarning):
        est.fit(X, CLASSES)
    assert est.n_iter_ == 0
    assert len(est._results) == 3
    assert np.isfinite(est.predict_proba(X)).all()


def test_members_that_had_not_begun_are_left_out_when_a_fit_is_interrupted(monkeypatch):
    interrupt_at(monkeypatch, 1)
    est = MNLClassifier(**params(n_bags=12))
    with pytest.warns(FitInterruptedWarning, match="its 6 members"):
        est.fit(X, CLASSES)
    assert len(est._results) == 6


# -- refits -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("seeds", marks=pytest.mark.slow),
        "bootstrap",
        pytest.param("cv", marks=pytest.mark.slow),
    ],
)
def test_refits_trained_together_have_the_scores_of_refits_alone(method, companies, one_by_one):
    est = InTenseRegressor(**params(n_bags=1, max_epochs=2, encoders=LinearEncoder()))
    given = {"n_refits": 3, "cv": 3, "method": method, "random_state": 0}

    def run():
        return relevance_intervals(est, X, SIGNAL, **given)

    alone = one_by_one(run)
    assert companies == []
    together = run()
    assert companies
    for name in ("estimate", "scores", "low", "high", "null_scores"):
        found, expected = getattr(together, name), getattr(alone, name)
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8, err_msg=name)


def test_splits_of_a_test_are_fitted_together(companies, one_by_one):
    est = InTenseRegressor(**params(n_bags=1))

    def run():
        return relevance_test(est, X, SIGNAL, n_splits=3, n_null=99, random_state=0)

    alone = one_by_one(run)
    together = run()
    assert companies == [3]
    np.testing.assert_allclose(together.statistic, alone.statistic, rtol=1e-7)
    np.testing.assert_array_equal(together.p_value, alone.p_value)


def test_groups_of_refits_do_not_depend_on_the_number_of_processes():
    est = MNLRegressor(**params(n_bags=1))
    jobs = [_refits.Refit(est, X, SIGNAL, None, None, seed) for seed in range(21)]
    assert [len(part) for part in _refits.in_companies(jobs)] == [5, 4, 4, 4, 4]
    deep = clone(est).set_params(callbacks=[Callback()])
    jobs = [_refits.Refit(deep, X, SIGNAL, None, None, seed) for seed in range(3)]
    assert [len(part) for part in _refits.in_companies(jobs)] == [1, 1, 1]


def test_refits_count_the_warnings_that_each_would_show_alone():
    est = MNLRegressor(**params(n_bags=1, max_epochs=25, n_iter_no_change=25))
    hasty = {"n_iter_no_change": 1, "lr": 0.5}
    jobs = [
        _refits.Refit(est, X, SIGNAL, None, None, seed, changes)
        for seed, changes in enumerate([{}, hasty, {}])
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = _refits.refit(jobs)
    assert caught == []
    alone = [_refits.refit([job])[0][1] for job in jobs]
    assert [warned for _, warned in found] == alone
    assert {warned["ConvergenceWarning"] for warned in alone} == {0, 1}
    assert [fitted.random_state for fitted, _ in found] == [0, 1, 2]


def test_refits_that_are_interrupted_give_no_scores(monkeypatch):
    interrupt_at(monkeypatch, 3)
    est = MNLRegressor(**params(n_bags=1))
    with pytest.raises(KeyboardInterrupt):
        relevance_intervals(est, X, SIGNAL, n_refits=3, random_state=0)


def test_an_error_of_one_refit_ends_all_and_leaves_the_threads_as_they_were():
    before = torch.get_num_threads()
    est = MNLRegressor(**params(n_bags=1, optimizer=SGD(), lr=1e30, encoders=LinearEncoder()))
    jobs = [_refits.Refit(est, X, SIGNAL, None, None, seed) for seed in range(2)]
    with pytest.raises(DivergedError):
        _refits.refit(jobs)
    assert torch.get_num_threads() == before
