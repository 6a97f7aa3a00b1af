"""estimate_memory, and the guard that refuses what cannot fit."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from skorch.callbacks import Callback

from sklearn_mmfusion import (
    EstimatorEncoder,
    FusionMemoryError,
    InputError,
    InTenseClassifier,
    LateFusionClassifier,
    LazyArray,
    LinearEncoder,
    MLPEncoder,
    MNLClassifier,
    MulTRegressor,
    RoutingClassifier,
)
from sklearn_mmfusion._fitting import memory_estimate as memory_estimate_module
from sklearn_mmfusion._fitting.memory_estimate import _kept_per_row, spares_memory
from sklearn_mmfusion._inputs import lazy_blocks as lazy_blocks_module
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData


def _data(n=400, dtype=np.float32):
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(n, 6)).astype(dtype), "b": rng.normal(size=(n, 5, 4)).astype(dtype)}
    return X, (X["a"][:, 0] > 0).astype(int)


@pytest.mark.parametrize("estimator", [InTenseClassifier(), RoutingClassifier(), MulTRegressor()])
def test_every_part_is_counted_and_nothing_is_changed(estimator):
    X, _ = _data()
    found = estimator.estimate_memory(X)
    assert set(found) == {"data", "batches", "model", "optimizer", "polish", "total"}
    assert all(isinstance(value, int) and value > 0 for value in found.values())
    assert found["total"] < sum(found.values())
    assert not hasattr(estimator, "n_features_in_")


def test_rows_in_memory_are_copied_and_those_on_disk_are_not(monkeypatch):
    X, _ = _data()
    estimator = LateFusionClassifier()
    assert estimator.estimate_memory(X)["data"] == X["a"].nbytes + X["b"].nbytes
    lazy = {**X, "b": LazyArray(X["b"])}
    assert estimator.estimate_memory(lazy)["data"] == X["a"].nbytes
    monkeypatch.setattr(lazy_blocks_module, "VIEW_BYTES", X["a"].nbytes)
    monkeypatch.setattr(memory_estimate_module, "VIEW_BYTES", X["a"].nbytes)
    assert estimator.estimate_memory(X)["data"] == X["a"].nbytes


def test_weights_and_optimizer_are_those_of_the_network():
    X, y = _data()
    X = {"a": X["a"]}
    estimator = LateFusionClassifier(encoders=LinearEncoder(output_dim=7), dtype="float64")
    found = estimator.estimate_memory(X, y)
    n_weights = 6 * 7 + 7 + 7 + 1  # encoder, and the fusion of 7 features to one output
    assert found["optimizer"] == 3 * 8 * n_weights
    assert found["model"] >= 5 * 8 * n_weights
    three = estimator.estimate_memory(X, np.arange(400) % 3)
    assert three["optimizer"] == 3 * 8 * (6 * 7 + 7 + 3 * 7 + 3)


def test_larger_batches_take_more_until_they_hold_all_rows():
    X, _ = _data(5000)
    sizes = [
        LateFusionClassifier(batch_size=size).estimate_memory(X)["batches"]
        for size in (2048, 4096, 5000)
    ]
    assert sizes[0] < sizes[1] < sizes[2] * 1.5


def test_what_the_gradients_keep_is_what_autograd_saves():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 5, bias=False)

        def set_generator(self, generator):
            pass

        def forward(self, x):
            return torch.exp(self.linear(x))

    rows = type("Rows", (list,), {"batch": torch.ones(16, 3)})([0] * 16)
    with torch.random.fork_rng(devices=[]):
        network = Network()
    # Per row the input (3) and the result of exp (5), in float32; twice for the way back.
    assert _kept_per_row(network, rows) == 2 * 4 * (3 + 5)


@pytest.mark.parametrize("patience", [None, 5])
def test_fits_spare_memory_where_the_data_are_large(monkeypatch, patience):
    X, _ = _data()
    data = ModalityData([ModalityBlock(name, values) for name, values in X.items()])
    options = SimpleNamespace(patience=patience)
    assert not spares_memory(data, options)
    on_disk = ModalityData([lazy_blocks_module.LazyBlock("a", LazyArray(X["a"])), data.blocks[1]])
    assert spares_memory(on_disk, options)
    monkeypatch.setattr(memory_estimate_module, "LARGE_BYTES", X["b"].nbytes - 1)
    # Of few rows, and without early stopping, the last fit is one on the arrays themselves.
    assert not spares_memory(data, options)
    monkeypatch.setattr(memory_estimate_module, "SPARE_ROWS", len(X["b"]) - 1)
    assert spares_memory(data, options) == (patience is not None)


def test_estimator_encoder_is_refused():
    X, _ = _data()
    estimator = LateFusionClassifier(encoders={"a": EstimatorEncoder(LogisticRegression())})
    with pytest.raises(InputError, match="EstimatorEncoder is not known"):
        estimator.estimate_memory(X)


def test_a_batch_that_cannot_fit_is_refused_before_it_is_allocated(monkeypatch):
    X, y = _data(300)
    monkeypatch.setattr(memory_estimate_module, "_LARGE_BATCH", 1000)
    monkeypatch.setattr(memory_estimate_module, "available_memory", lambda: 10 * 2**20)
    estimator = LateFusionClassifier(encoders={"a": MLPEncoder(hidden_dim=200)}, random_state=0)
    with pytest.raises(FusionMemoryError, match=r"batches of 2\d\d rows.*Lower batch_size"):
        estimator.fit(X, y)
    assert not hasattr(estimator, "classes_")


def test_interactions_that_cannot_fit_are_refused_before_they_are_allocated(monkeypatch):
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(600, 2)).astype(np.float32) for name in "abcde"}
    y = rng.integers(0, 2, size=600)
    monkeypatch.setattr(memory_estimate_module, "available_memory", lambda: 256 * 2**20)
    # A row has about 10 ** 5 features, a batch of 480 rows 180 MiB of them, and more on their way.
    estimator = InTenseClassifier(interactions=5, latent_dim=9, batch_size=512, random_state=0)
    with pytest.raises(FusionMemoryError, match="a lower latent_dim or interactions of lower"):
        estimator.fit(X, y)
    assert not hasattr(estimator, "classes_")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
def test_no_fit_is_refused_where_the_memory_is_unknown_or_enough(monkeypatch):
    X, y = _data(40)
    monkeypatch.setattr(memory_estimate_module, "_LARGE_BATCH", 1000)
    estimator = LateFusionClassifier(max_epochs=2, random_state=0)
    for available in (None, 2**36):
        monkeypatch.setattr(memory_estimate_module, "available_memory", lambda n=available: n)
        estimator.fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
def test_fit_on_views_of_large_modalities_is_that_on_copies_to_the_bit(monkeypatch):
    X, y = _data(1100)
    X["b"][::7, 3:] = np.nan
    X["a"][::5] = np.nan
    estimator = LateFusionClassifier(max_epochs=2, random_state=0, missing="mask")
    copies = estimator.fit(X, y)._result
    monkeypatch.setattr(lazy_blocks_module, "VIEW_BYTES", 100)
    views = estimator.fit(X, y)._result
    assert views.training.history == copies.training.history
    for name, value in copies.state.items():
        np.testing.assert_array_equal(views.state[name], value, err_msg=name)


@pytest.mark.parametrize(("n_bags", "n_fits"), [(4, 4), (25, 10)])
def test_members_that_are_trained_together_count_each(n_bags, n_fits):
    X = {"a": np.zeros((300, 8)), "b": np.zeros((300, 8))}
    one = MNLClassifier(batch_size=32).estimate_memory(X)
    many = MNLClassifier(batch_size=32, n_bags=n_bags).estimate_memory(X)
    for part in ("data", "batches", "model", "optimizer"):
        assert many[part] == n_fits * one[part]
    assert many["polish"] == one["polish"]
    assert one["total"] < many["total"] <= n_fits * one["total"]


def test_members_that_are_trained_one_after_another_count_once():
    X = {"a": np.zeros((300, 8)), "b": np.zeros((300, 8))}
    settings = {"batch_size": 32, "callbacks": [Callback()]}
    one = MNLClassifier(**settings).estimate_memory(X)
    assert MNLClassifier(**settings, n_bags=5).estimate_memory(X) == one
