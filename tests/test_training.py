"""Tests of the training loop, as the estimators show it and skorch callbacks see it."""

import gc
import pickle
import re
import weakref
from concurrent.futures import ThreadPoolExecutor

import joblib
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
from torch import nn

from sklearn_mmfusion import (
    SGD,
    DivergedError,
    FitInterruptedWarning,
    InTenseClassifier,
    InTenseRegressor,
    LinearEncoder,
    MLPEncoder,
    MNLClassifier,
    MNLRegressor,
    ModuleEncoder,
)
from sklearn_mmfusion._devices import intra_op_threads
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._seeds import seed_for, seeded_construction

# A few epochs show how the loop runs; whether it has learned is not the question here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 161  # early stopping holds out 32 of them and trains on 129 = 2 * 64 + 1
RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(N, 3)), "b": RNG.normal(size=(N, 2))}
SIGNAL = X["a"][:, 0] + X["b"][:, 0]
NUMBERS = SIGNAL + 0.5 * RNG.normal(size=N)
CLASSES = (NUMBERS > 0).astype(int)
ENCODERS = {"a": LinearEncoder(output_dim=2), "b": LinearEncoder()}


def params(**changes):
    """One fit with held-out rows, six epochs of batches of 64, without the polish."""
    return {
        "encoders": ENCODERS,
        "reg": 0.001,
        "max_epochs": 6,
        "batch_size": 64,
        "polish": False,
        "early_stopping": True,
        "validation_fraction": 0.2,
        "random_state": 0,
    } | changes


class Recorder(Callback):
    """What a callback sees: targets of the training batches by epoch, and states."""

    def on_train_begin(self, net, **kwargs):
        self.epochs, self.held, self.states = [], [], []
        self.groups = net.optimizer_.param_groups
        self.names = {p: name for name, p, _ in net.module_.trained_parameters()}

    def on_epoch_begin(self, net, **kwargs):
        self.epochs.append([])

    def on_batch_begin(self, net, batch, training, **kwargs):
        (self.epochs[-1] if training else self.held).append(batch[1].numpy().copy())

    def on_epoch_end(self, net, **kwargs):
        self.states.append({k: v.clone() for k, v in net.module_.state_dict().items()})


def encoder_weights(state):
    return {k: np.asarray(v) for k, v in state.items() if k.startswith("encoders.")}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key], err_msg=key)


# -- batches ----------------------------------------------------------------------------------


def record(**changes):
    recorder = Recorder()
    MNLRegressor(**params(callbacks=[recorder], **changes)).fit(X, NUMBERS)
    return recorder


def test_last_batch_of_one_row_joins_the_one_before():
    assert [[len(b) for b in epoch] for epoch in record().epochs] == [[64, 65]] * 6


@pytest.mark.parametrize("size, sizes", [(50, [50, 50, 29]), (128, [129]), (129, [129])])
def test_batches_have_the_size_that_was_asked_for(size, sizes):
    assert [len(b) for b in record(batch_size=size, max_epochs=1).epochs[0]] == sizes


def test_batches_hold_every_row_once_in_a_new_order_each_epoch():
    recorder = record()
    orders = [np.concatenate(epoch)[:, 0] for epoch in recorder.epochs]
    held = np.unique(np.concatenate(recorder.held))
    assert len(held) == 32
    for order in orders:
        assert len(np.unique(order)) == 129
        assert not np.isin(order, held).any()
    assert all((a != b).any() for a, b in zip(orders, orders[1:], strict=False))
    np.testing.assert_array_equal(np.sort(orders[0]), np.sort(orders[1]))


def test_order_of_rows_is_that_of_the_seed():
    first, again, other = record(), record(), record(random_state=1)
    for a, b in zip(first.epochs, again.epochs, strict=True):
        np.testing.assert_array_equal(np.concatenate(a), np.concatenate(b))
    assert (np.concatenate(first.epochs[0]) != np.concatenate(other.epochs[0])).any()


def test_rows_go_through_in_their_order_where_there_is_one_batch():
    recorder = record(batch_size=500)
    np.testing.assert_array_equal(recorder.epochs[0][0], recorder.epochs[1][0])


def test_model_depends_on_gathering_of_batches_in_nothing(monkeypatch):
    # Rows are gathered many batches at a time; one batch at a time gives the same.
    expected = MNLRegressor(**params(batch_size=20)).fit(X, NUMBERS).predict(X)
    monkeypatch.setattr("sklearn_mmfusion._dataset.GATHER_BYTES", 1)
    found = MNLRegressor(**params(batch_size=20)).fit(X, NUMBERS).predict(X)
    np.testing.assert_array_equal(found, expected)


# -- optimiser --------------------------------------------------------------------------------


def test_decay_reaches_encoder_weights_alone():
    recorder = Recorder()
    est = InTenseRegressor(**params(weight_decay=0.3, callbacks=[recorder], max_epochs=1))
    est.fit(X, NUMBERS)
    decay = {
        recorder.names[p]: group["weight_decay"]
        for group in recorder.groups
        for p in group["params"]
    }
    decayed = {name for name, value in decay.items() if value}
    assert decayed == {f"encoders.{m}.linear.weight" for m in range(2)}
    assert {decay[name] for name in decayed} == {0.3}
    assert decay["fusion.weight"] == 0


def test_learning_rate_falls_by_its_factor():
    est = MNLRegressor(**params(lr=0.02, lr_decay=0.5)).fit(X, NUMBERS)
    np.testing.assert_allclose([e["lr"] for e in est.history_], 0.02 * 0.5 ** np.arange(6))


def test_sgd_trains_too():
    est = MNLRegressor(**params(optimizer=SGD(), lr=0.05, max_epochs=40)).fit(X, NUMBERS)
    assert est.score(X, NUMBERS) > 0.7


def test_first_step_equals_plain_gradient_descent():
    # Nine rows are not split. Fusion weights start at zero, so that the encoders stand still.
    x, y = {name: values[:9] for name, values in X.items()}, NUMBERS[:9]
    est = MNLRegressor(
        **params(optimizer=SGD(momentum=0.0), lr=0.1, max_epochs=1, reg=0.0, weight_decay=0.0)
    )
    est.set_params(early_stopping=False).fit(x, y)
    expected = []
    for m, name in enumerate("ab"):
        scaled = (x[name] - x[name].mean(0)) / x[name].std(0)
        linear = est.module_.encoders[m].linear
        z = scaled @ linear.weight.numpy().T + linear.bias.numpy()
        z = z - z.mean(0)
        z = z / np.sqrt((z**2).sum(1).mean() + 1e-5)
        expected.append(0.1 * 2 / 9 * (y - y.mean()) / y.std() @ z)
    np.testing.assert_allclose(est.module_.fusion.weight[0], np.hstack(expected), rtol=1e-9)


# -- early stopping ---------------------------------------------------------------------------


def overfitting(**changes):
    noise = np.random.default_rng(3).normal(size=N)
    encoders = MLPEncoder(hidden_dim=64)
    changes = {"encoders": encoders, "max_epochs": 60, "lr": 0.02, **changes}
    recorder = Recorder()
    est = MNLRegressor(**params(n_iter_no_change=5, callbacks=[recorder], **changes))
    return est.fit(X, SIGNAL + noise), recorder


def test_early_stopping_restores_the_best_epoch():
    est, recorder = overfitting()
    losses = [epoch["valid_loss"] for epoch in est.history_]
    best = int(np.argmin(losses))
    assert est.n_iter_ == len(losses) == best + 1 + 5 < 60
    assert_same(encoder_weights(est.module_.state_dict()), encoder_weights(recorder.states[best]))
    np.testing.assert_array_equal(est.module_.fusion.weight, recorder.states[best]["fusion.weight"])


def test_without_early_stopping_every_epoch_is_run():
    est, recorder = overfitting(early_stopping=False, max_epochs=25)
    assert est.n_iter_ == 25
    assert "valid_loss" not in est.history_[0]
    assert_same(encoder_weights(est.module_.state_dict()), encoder_weights(recorder.states[-1]))


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


# -- determinism ------------------------------------------------------------------------------


def noisy(seed=0):
    """Estimator that uses every source of randomness."""
    encoders = MLPEncoder(hidden_dim=8, dropout=0.3, input_dropout=0.1)
    return InTenseClassifier(
        **params(encoders=encoders, modality_dropout=0.2, random_state=seed, max_epochs=4)
    )


def state_after_fit(seed=0):
    return noisy(seed).fit(X, CLASSES).module_.state_dict()


def test_same_seed_gives_the_same_model_and_another_another():
    first = state_after_fit()
    assert_same(first, state_after_fit())
    other = state_after_fit(1)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_fits_in_four_threads_equal_their_serial_runs():
    serial = [state_after_fit(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(state_after_fit, range(4)))
    for a, b in zip(serial, parallel, strict=True):
        assert_same(a, b)


def test_predictions_in_eight_threads_equal_the_serial_one():
    est = noisy().fit(X, CLASSES)
    expected = est.predict_proba(X)
    est = pickle.loads(pickle.dumps(est))  # the module has to be rebuilt, by whichever comes first
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: est.predict_proba(X), range(8)))
    for proba in found:
        np.testing.assert_array_equal(proba, expected)


def with_dropout_of_torch(layout):
    return nn.Sequential(nn.Linear(layout.shape[0], 4), nn.Dropout(0.5))


def draws_of_torch(seed=0):
    encoders = ModuleEncoder(module=with_dropout_of_torch)
    return noisy(seed).set_params(encoders=encoders).fit(X, CLASSES).predict_proba(X)


def test_dropout_of_torch_in_a_module_of_the_users_follows_the_seed():
    expected = draws_of_torch()
    before = torch.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(99)
        np.testing.assert_array_equal(draws_of_torch(), expected)
    assert torch.equal(torch.get_rng_state(), before)
    assert not np.array_equal(draws_of_torch(1), expected)


def test_dropout_of_torch_in_four_threads_is_that_of_serial_runs():
    serial = [draws_of_torch(seed) for seed in range(4)]
    before = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_array_equal(list(pool.map(draws_of_torch, range(4))), serial)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_fits_in_processes_equal_their_serial_runs():
    serial = [noisy(seed).fit(X, CLASSES).predict_proba(X) for seed in range(2)]
    fits = joblib.Parallel(n_jobs=2)(
        joblib.delayed(noisy(seed).fit)(X, CLASSES) for seed in range(2)
    )
    for est, expected in zip(fits, serial, strict=True):
        np.testing.assert_array_equal(est.predict_proba(X), expected)


def test_estimator_module_and_rows_end_with_their_last_reference():
    class Rows(np.ndarray):  # a view of ours, which can be weakly referenced
        pass

    rows = RNG.normal(size=(N, 3)).view(Rows)
    est = MNLClassifier(**params()).fit({"a": rows, "b": X["b"]}, CLASSES)
    held = [weakref.ref(part) for part in (est, est.module_, rows)]
    gc.collect()
    gc.disable()
    try:
        again = MNLClassifier(**params()).fit({"a": rows, "b": X["b"]}, CLASSES)
        held += [weakref.ref(again), weakref.ref(again.module_)]
        del est, again, rows
        assert [part() for part in held] == [None] * 5
    finally:
        gc.enable()


def test_global_random_states_are_left_alone_and_do_not_matter():
    expected = state_after_fit()
    before = torch.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(99)
        found = state_after_fit()
    assert_same(found, expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_number_of_threads_is_put_back_also_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="inside"), intra_op_threads(2):
        assert torch.get_num_threads() == 2
        raise ValueError("inside")
    assert torch.get_num_threads() == before
    with intra_op_threads(None):
        assert torch.get_num_threads() == before


def test_number_of_threads_does_not_change_the_model():
    one = MNLClassifier(**params(n_threads=1)).fit(X, CLASSES).predict_proba(X)
    two = MNLClassifier(**params(n_threads=2)).fit(X, CLASSES).predict_proba(X)
    np.testing.assert_array_equal(one, two)


def test_construction_is_seeded_without_a_trace():
    before = torch.get_rng_state()
    draws = []
    for _ in range(2):
        with seeded_construction() as seed_default:
            seed_default(7)
            draws.append(torch.rand(3))
    assert torch.equal(*draws)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_of_parts_differ_by_seed_and_name():
    seeds = {
        seed_for(s, *names) for s in (0, 1, 2**31 - 2) for names in [("a",), ("b",), ("a", "b")]
    }
    assert len(seeds) == 9
    assert seed_for(3, "a") == seed_for(3, "a")
    assert seed_for(3, "ab") != seed_for(3, "a", "b")
