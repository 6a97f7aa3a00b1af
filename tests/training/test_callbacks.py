"""Tests of the training loop as callbacks see it and end it: interruption, divergence, output."""

import re

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    LRScheduler,
    ProgressBar,
    TrainEndCheckpoint,
)
from training_data import CLASSES, NUMBERS, X, assert_same, encoder_weights, params

from sklearn_mmfusion import (
    DivergedError,
    FitInterruptedWarning,
    InTenseClassifier,
    MNLClassifier,
    MNLRegressor,
)
from sklearn_mmfusion._errors import InputError

# A few epochs show how the loop runs; whether it has learned is not the question here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]


# -- callbacks, interruption, divergence ------------------------------------------------------


class RaiseAt(Callback):
    """Raise in a batch of an epoch, in one of the fits that a call may make."""

    def __init__(self, error, epoch=4, fit=None, batch=2):
        self.error, self.epoch, self.fit, self.batch = error, epoch, fit, batch
        self.fits, self.states, self.batches_after = 0, [], 0
        self.raised = False

    def on_train_begin(self, net, **kwargs):
        self.fits += 1
        self.states = []

    def on_epoch_begin(self, net, **kwargs):
        self.seen = 0

    def on_batch_end(self, net, batch, training, **kwargs):
        self.batches_after += self.raised
        if not training:
            return
        self.seen += 1
        here = len(net.history) == self.epoch and self.seen == self.batch
        if here and self.fit in (None, self.fits):
            self.raised = True
            raise self.error

    def on_epoch_end(self, net, **kwargs):
        self.states.append({k: v.clone() for k, v in net.module_.state_dict().items()})


def test_interrupt_keeps_the_last_whole_epoch():
    # Without early stopping the fit that counts is the last.
    callback = RaiseAt(KeyboardInterrupt(), fit=2)
    est = MNLRegressor(**params(early_stopping=False, callbacks=[callback], batch_size=30))
    with pytest.warns(FitInterruptedWarning, match="epoch 3"):
        est.fit(X, NUMBERS)
    assert callback.fits == 2
    assert est.n_iter_ == len(est.history_) == 3
    assert np.isfinite(est.predict(X)).all()
    state = est.module_.state_dict()
    assert_same(encoder_weights(state), encoder_weights(callback.states[2]))
    np.testing.assert_array_equal(state["fusion.weight"], callback.states[2]["fusion.weight"])


def test_interrupt_in_the_first_of_two_fits_ends_the_call():
    callback = RaiseAt(KeyboardInterrupt(), fit=1)
    est = MNLRegressor(**params(early_stopping=False, callbacks=[callback], batch_size=30))
    with pytest.warns(FitInterruptedWarning):
        est.fit(X, NUMBERS)
    assert callback.raised
    assert callback.batches_after == 0
    assert np.isfinite(est.predict(X)).all()


def test_interrupt_with_held_out_rows_keeps_a_whole_epoch():
    callback = RaiseAt(KeyboardInterrupt())
    est = MNLClassifier(**params(callbacks=[callback], polish=True))
    with pytest.warns(FitInterruptedWarning):
        est.fit(X, CLASSES)
    assert est.n_iter_ == 3
    weights = encoder_weights(est.module_.state_dict())
    matches = [
        all(np.array_equal(weights[k], np.asarray(state[k])) for k in weights)
        for state in callback.states
    ]
    assert matches.count(True) == 1
    np.testing.assert_allclose(est.predict_proba(X).sum(1), 1, rtol=1e-12)


def test_interrupt_in_the_first_epoch_leaves_a_model_that_predicts():
    callback = RaiseAt(KeyboardInterrupt(), epoch=1, batch=1)
    est = MNLClassifier(**params(callbacks=[callback]))
    with pytest.warns(FitInterruptedWarning):
        est.fit(X, CLASSES)
    assert est.n_iter_ == 0
    assert np.isfinite(est.predict_proba(X)).all()


def test_early_stopping_of_skorch_is_no_interruption():
    # Improvements below all of the loss do not count: it stops after its patience.
    callback = EarlyStopping(
        monitor="train_loss", patience=3, threshold=1.0, threshold_mode="rel", sink=lambda _: None
    )
    est = MNLRegressor(**params(callbacks=[callback], max_epochs=50)).fit(X, NUMBERS)
    assert est.n_iter_ < 10


@pytest.mark.parametrize(
    "callback",
    [
        EarlyStopping(patience=2, threshold=1.0, sink=lambda _: None),
        ("stop", EarlyStopping(patience=2, threshold=1.0, sink=lambda _: None)),
        LRScheduler(policy="ReduceLROnPlateau", monitor="valid_loss"),
        EpochScoring("r2", name="r2"),
        BatchScoring(lambda net, X, y: 1.0, name="one"),
    ],
    ids=["stopping", "named", "plateau", "epoch scoring", "batch scoring"],
)
def test_callback_that_watches_held_out_rows_has_some(callback):
    est = MNLRegressor(**params(callbacks=[callback], early_stopping="auto", max_epochs=12))
    est.fit(X, NUMBERS)
    assert all("valid_loss" in epoch for epoch in est.history_)
    stops = isinstance(callback, (tuple, EarlyStopping))
    assert est.n_iter_ <= 3 if stops else est.n_iter_ == 12


@pytest.mark.filterwarnings("ignore::tqdm.TqdmWarning")
def test_checkpoints_and_the_bar_of_skorch_find_what_they_look_for(tmp_path):
    folders = [tmp_path / name for name in ("held_out", "train", "end")]
    bar = ProgressBar(detect_notebook=False)
    callbacks = [
        Checkpoint(dirname=str(folders[0])),  # monitors valid_loss_best
        Checkpoint(dirname=str(folders[1]), monitor="train_loss_best"),
        TrainEndCheckpoint(dirname=str(folders[2])),
        bar,
    ]
    est = MNLRegressor(**params(callbacks=callbacks, early_stopping="auto")).fit(X, NUMBERS)
    for folder in folders:
        assert any(folder.iterdir())
    weights = torch.load(folders[0] / "params.pt", weights_only=True)
    assert set(weights) == set(est.module_.state_dict())
    assert set(est.history_[-1]) == {"epoch", "lr", "train_loss", "valid_loss", "event_cp"}


def test_batches_are_recorded_for_those_who_ask():
    class Batches(Callback):
        seen = []

        def on_batch_end(self, net, batch, training, **kwargs):
            last = net.history[-1, "batches", -1]
            self.seen.append(
                (training, len(net.history[-1, "batches"]), sorted(last), len(batch[1]))
            )

    MNLRegressor(**params(callbacks=[Batches()], max_epochs=1)).fit(X, NUMBERS)
    of_training, of_others = ["train_batch_size", "train_loss"], ["valid_batch_size", "valid_loss"]
    assert Batches.seen == [
        (True, 1, of_training, 64),
        (True, 2, of_training, 65),
        (False, 3, of_others, 32),
    ]


def test_callback_that_watches_held_out_rows_is_refused_where_there_are_none():
    est = MNLRegressor(**params(callbacks=[EarlyStopping()], early_stopping=False))
    with pytest.raises(InputError, match="EarlyStopping monitors 'valid_loss'.*early_stopping"):
        est.fit(X, NUMBERS)
    with pytest.raises(InputError, match="no held-out rows in partial_fit; use fit"):
        est.partial_fit(X, NUMBERS)
    est.set_params(callbacks=[EpochScoring("r2", name="r2")])
    text = "EpochScoring takes a score of held-out rows.*early_stopping.*or on_train=True"
    with pytest.raises(InputError, match=text):
        est.fit(X, NUMBERS)
    assert not hasattr(est, "n_iter_")
    est.set_params(callbacks=[EpochScoring("r2", name="r2", on_train=True)])
    assert all(epoch["r2"] <= 1 for epoch in est.fit(X, NUMBERS).history_)


def test_error_in_a_callback_comes_through_and_nothing_is_fitted():
    est = MNLRegressor(**params(callbacks=[RaiseAt(RuntimeError("mine"))]))
    with pytest.raises(RuntimeError, match="mine"):
        est.fit(X, NUMBERS)
    with pytest.raises(NotFittedError):
        est.predict(X)
    assert not [name for name in vars(est) if name.endswith("_")]


def test_failed_fit_leaves_the_old_one_usable():
    est = MNLRegressor(**params()).fit(X, NUMBERS)
    before = est.predict(X), est.n_iter_, dict(est.relevance_scores_)
    for changes, error in [
        ({"callbacks": [RaiseAt(RuntimeError("mine"))]}, RuntimeError),
        ({"callbacks": None, "lr": 1e30, "dtype": "float32"}, DivergedError),
    ]:
        est.set_params(**changes)
        with pytest.raises(error):
            est.fit(X, NUMBERS + 5)
        np.testing.assert_array_equal(est.predict(X), before[0])
        assert (est.n_iter_, est.relevance_scores_) == before[1:]


def test_share_that_leaves_no_rows_to_hold_out_is_refused_where_they_are_asked_for():
    few = {name: values[:60] for name, values in X.items()}
    est = MNLRegressor(**params(early_stopping=True, validation_fraction=0.02, max_epochs=2))
    with pytest.raises(InputError, match=r"validation_fraction=0.02 of 60 rows are no two to hold"):
        est.fit(few, NUMBERS[:60])
    with pytest.raises(InputError, match=r"validation_fraction=0.99 of 60 rows are no two"):
        clone(est).set_params(validation_fraction=0.99).fit(few, NUMBERS[:60])
    # Where one of the two is left to the fit, it does what it can.
    for changes in ({"early_stopping": "auto"}, {"early_stopping": False}):
        assert len(clone(est).set_params(**changes).fit(few, NUMBERS[:60]).history_) == 2
    five = {name: values[:5] for name, values in X.items()}
    est.set_params(validation_fraction="auto").fit(five, NUMBERS[:5])
    assert "valid_loss" not in est.history_[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_divergence_names_epoch_and_rate(dtype, early_stopping):
    est = InTenseClassifier(
        **params(lr=1e30, dtype=dtype, max_epochs=60, early_stopping=early_stopping)
    )
    with pytest.raises(DivergedError, match=r"diverged in epoch \d+.*lr [\d.]+e\+") as caught:
        est.fit(X, CLASSES)
    assert isinstance(caught.value, FloatingPointError)
    # No encoder is to blame: where both are at infinity, that of the first name is not.
    who = r"encoder of modality '[ab]' moved most|encoders of all modalities have weights"
    assert re.search(who, str(caught.value))
    with pytest.raises(NotFittedError):
        est.predict(X)


def test_callbacks_of_skorch_are_called_with_the_whole_interface():
    called = set()

    class Spy(Callback):
        def __getattribute__(self, name):
            if name.startswith("on_"):
                called.add(name)
            return super().__getattribute__(name)

        def on_batch_begin(self, net, **kwargs):
            pass

        def on_batch_end(self, net, **kwargs):
            pass

        def on_grad_computed(self, net, named_parameters, **kwargs):
            assert any(p.grad is not None for _, p in named_parameters)

    MNLRegressor(**params(callbacks=[Spy()], max_epochs=1)).fit(X, NUMBERS)
    assert called == {
        "on_train_begin",
        "on_epoch_begin",
        "on_batch_begin",
        "on_grad_computed",
        "on_batch_end",
        "on_epoch_end",
        "on_train_end",
    }


def test_listening_to_gradients_changes_nothing():
    class Spy(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            pass

    plain = MNLRegressor(**params()).fit(X, NUMBERS).predict(X)
    spied = MNLRegressor(**params(callbacks=[Spy()])).fit(X, NUMBERS).predict(X)
    np.testing.assert_array_equal(spied, plain)


def test_verbose_prints_a_line_per_epoch(capsys):
    MNLRegressor(**params(verbose=0)).fit(X, NUMBERS)
    assert capsys.readouterr().out == ""
    MNLRegressor(**params(verbose=1)).fit(X, NUMBERS)
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 3 + 6
    assert lines[0] == "training on a part of the rows, at most 6 epochs"
    assert "train_loss" in lines[1]
