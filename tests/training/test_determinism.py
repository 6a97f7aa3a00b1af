"""Tests that a fit depends on its seed alone, and leaves nothing behind."""

import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from torch import nn
from training_data import CLASSES, RNG, N, X, assert_same, params

from sklearn_mmfusion import (
    InTenseClassifier,
    MLPEncoder,
    MNLClassifier,
    ModuleEncoder,
)
from sklearn_mmfusion._model.seeds import seed_for, seeded_construction
from sklearn_mmfusion._training.devices import intra_op_threads

# A few epochs show how the loop runs; whether it has learned is not the question here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]


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
