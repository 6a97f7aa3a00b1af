"""Tests of the loop that trains several networks at once."""

import numpy as np
import pytest
from side_by_side import (
    CLASSES,
    SIGNAL,
    X,
    count_companies,
    interrupt_at,
    one_by_one,
    params,
)
from sklearn.base import clone

from sklearn_mmfusion import (
    SGD,
    AdamW,
    DivergedError,
    FitInterruptedWarning,
    LinearEncoder,
    MLPEncoder,
    MNLClassifier,
    MNLRegressor,
)
from sklearn_mmfusion._fitting import stacked_training as stacked_training_module

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]


def test_trainings_of_other_shapes_are_not_stacked():
    def training(**changes):
        est = MNLClassifier(**params(**changes))
        members, beside = next(est._fitting(X, CLASSES, None))
        assert beside
        return next(next(members))

    keys = [
        stacked_training_module.stack_key(training(**changes))
        for changes in (
            {}, {"random_state": 1}, {"lr": 0.1}, {"encoders": MLPEncoder(hidden_dim=7)},
            {"validation_fraction": 0.3}, {"optimizer": AdamW(eps=1e-6)}, {"p": 2},
        )
    ]  # fmt: skip
    assert keys[0] == keys[1]
    assert len(set(keys)) == len(keys) - 1


def test_divergence_of_a_member_is_the_error_of_its_fit_alone(monkeypatch):
    est = MNLRegressor(**params(optimizer=SGD(), lr=1e200, encoders=LinearEncoder()))
    with one_by_one(), pytest.raises(DivergedError, match="in epoch 1") as alone:
        clone(est).fit(X, SIGNAL)
    companies = count_companies(monkeypatch)
    with pytest.raises(DivergedError) as together:
        clone(est).fit(X, SIGNAL)
    assert companies == [3]
    assert str(together.value) == str(alone.value)
    assert together.value.weights.keys() == alone.value.weights.keys()
    for name, value in alone.value.weights.items():
        np.testing.assert_array_equal(together.value.weights[name], value)  # those of the start


PLAIN = {"encoders": LinearEncoder(), "reg": 0, "early_stopping": False, "batch_size": 30}


def test_interrupt_keeps_the_last_whole_epoch_of_every_member(monkeypatch):
    # 72 rows of an inner fit in three batches: the second batch of the third epoch.
    est = MNLRegressor(**params(**PLAIN))
    whole = clone(est).set_params(max_epochs=2)
    with one_by_one():
        firsts = first_trainings(whole)
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


def test_interrupt_while_a_member_leaves_keeps_the_best_epoch_of_all(monkeypatch):
    est = MNLClassifier(**params(max_epochs=30, n_iter_no_change=2, lr=0.05, reg=0.01))
    whole = clone(est).fit(X, CLASSES)
    first = min(result.training.n_epochs for result in whole._results)
    assert first < max(result.training.n_epochs for result in whole._results)
    build, count = stacked_training_module.NetworkStack.__init__, [0]

    def interrupted(self, networks):
        count[0] += 1
        build(self, networks)
        if count[0] == 2:  # the first member has ended, the others have moved
            raise KeyboardInterrupt

    monkeypatch.setattr(stacked_training_module.NetworkStack, "__init__", interrupted)
    with pytest.warns(FitInterruptedWarning):
        est.fit(X, CLASSES)
    for result, other in zip(est._results, whole._results, strict=True):
        losses = [epoch["valid_loss"] for epoch in other.training.history[:first]]
        assert result.training.best_epoch == 1 + int(np.argmin(losses))
        if result.training.best_epoch == other.training.best_epoch:
            assert result.gain == pytest.approx(other.gain, rel=1e-9)
        assert np.isfinite(result.state["fusion.weight"]).all()
