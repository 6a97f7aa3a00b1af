"""Rows that do not fit on a device go there batch by batch, to the same fit."""

import numpy as np
import pytest
import torch

from sklearn_mmfusion import GRUEncoder, InTenseClassifier, LazyArray, MLPEncoder
from sklearn_mmfusion._training import dataset as dataset_module
from sklearn_mmfusion._training import transfer as transfer
from sklearn_mmfusion.modules.network import FusionBatch

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion.RelevanceWarning"),
]

CPU = torch.device("cpu")
N = 90
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, N)
X = {
    "a": RNG.normal(size=(N, 3)).astype(np.float32),
    "b": [RNG.normal(size=(length, 2)) for length in RNG.integers(1, 5, N)],
}
X["a"][::9] = np.nan


class Recording:
    """A way to a device that says what is done when."""

    def __init__(self):
        self.events = []

    def send(self, rows):
        self.events.append(("send", int(rows[1][0])))
        return rows

    def arrived(self, sent):
        self.events.append(("arrived", int(sent[1][0])))
        return sent


def _rows(i):
    return FusionBatch([torch.full((2, 1), i)], [None], [None]), torch.full((2,), i)


def test_each_batch_is_sent_before_the_one_before_it_is_used():
    line = Recording()
    for _, target in transfer.ahead(map(_rows, range(3)), line):
        line.events.append(("use", int(target[0])))
    assert line.events == [
        ("send", 0),
        ("send", 1),
        ("arrived", 0),
        ("use", 0),
        ("send", 2),
        ("arrived", 1),
        ("use", 1),
        ("arrived", 2),
        ("use", 2),
    ]


def test_no_batch_is_none_on_the_way():
    assert list(transfer.ahead([], Recording())) == []


def test_rows_stay_on_a_device_up_to_half_of_what_is_free(monkeypatch):
    monkeypatch.setattr(transfer, "free_bytes", lambda device: 1000.0)
    assert transfer.fits(500, torch.device("cuda"))
    assert not transfer.fits(501, torch.device("cuda"))


def test_everything_fits_on_the_cpu_where_it_is():
    assert transfer.fits(2**60, CPU)


def test_free_memory_counts_what_torch_holds_without_use(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 70)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 30)
    assert transfer.free_bytes(torch.device("cuda")) == 140


def _fit(X, **changes):
    encoders = {"a": MLPEncoder(), "b": GRUEncoder(hidden_dim=3)}
    params = {"encoders": encoders, "batch_size": 32, "max_epochs": 4, "early_stopping": True}
    est = InTenseClassifier(missing="mask", random_state=0, **(params | changes))
    est.fit(X, Y, sample_weight=RNG_WEIGHTS)
    return est._result.state, est.history_


RNG_WEIGHTS = RNG.uniform(0.5, 1.5, N)


@pytest.mark.parametrize("changes", [{}, {"batch_size": N}], ids=["batches", "full batch"])
@pytest.mark.slow
def test_fit_of_rows_that_do_not_fit_is_the_fit_of_those_that_do_to_the_bit(monkeypatch, changes):
    expected, history = _fit(X, **changes)
    sent = []

    def counted(device):
        sent.append(device)
        return transfer._PlainLine(device)

    monkeypatch.setattr(transfer, "free_bytes", lambda device: 0.0)
    monkeypatch.setattr(dataset_module, "line_to", counted)
    # Prepared values are the same numbers; here they are made anew in each epoch.
    found, again = _fit(X, **changes)
    assert set(sent) == {CPU}
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    for one, other in zip(history, again, strict=True):
        assert one["train_loss"] == other["train_loss"]
        assert one["valid_loss"] == other["valid_loss"]


def test_modalities_on_disk_do_not_count(tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    np.save(path, X["a"])
    monkeypatch.setattr(transfer, "_SHARE", 0.0)
    monkeypatch.setattr(transfer, "free_bytes", lambda device: 0.0)
    monkeypatch.setattr(dataset_module, "line_to", None)  # is not called
    lazy = {"a": LazyArray(np.load(path, mmap_mode="r"))}
    state, _ = _fit(lazy, encoders=MLPEncoder(), interactions=1)
    assert all(np.isfinite(value).all() for value in state.values())
