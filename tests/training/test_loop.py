"""Tests of the training loop: batches, the optimiser, early stopping."""

import numpy as np
import pytest
from skorch.callbacks import (
    Callback,
)
from training_data import NUMBERS, SIGNAL, N, X, assert_same, encoder_weights, params

from sklearn_mmfusion import (
    SGD,
    InTenseRegressor,
    MLPEncoder,
    MNLRegressor,
)

# A few epochs show how the loop runs; whether it has learned is not the question here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]


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
    monkeypatch.setattr("sklearn_mmfusion._training.dataset.GATHER_BYTES", 1)
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
