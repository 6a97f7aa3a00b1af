"""Modalities on disk: the same fits and predictions as in memory, and the same errors."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate

from sklearn_mmfusion import (
    Conv1dEncoder,
    EarlyFusionClassifier,
    EstimatorEncoder,
    FusionError,
    GAMClassifier,
    InputError,
    InTenseClassifier,
    InTenseRegressor,
    LateFusionClassifier,
    LateVotingClassifier,
    LazyArray,
    LinearEncoder,
    MKLClassifier,
    ModalityFrame,
    MROClassifier,
    MulTClassifier,
    MulTEncoder,
    RelevanceWarning,
    RoutingClassifier,
    SummaryEncoder,
    TensorFusionClassifier,
)
from sklearn_mmfusion._fitting import finishing as finishing_module
from sklearn_mmfusion._inputs import lazy_blocks as lazy_blocks_module
from sklearn_mmfusion._inputs.lazy_blocks import take_rows
from sklearn_mmfusion._inputs.validation import check_X
from sklearn_mmfusion._training import dataset as dataset_module
from sklearn_mmfusion._training import network_rows as network_rows_module
from sklearn_mmfusion._training.dataset import Batches, to_dataset
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData

SMALL = SummaryEncoder()
N = 1100  # above the full-batch size, so that batches are shuffled and rows held out


def _data(n=N, nan=True):
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(n, 4)).astype(np.float32)
    sequence = rng.normal(size=(n, 6, 3)).astype(np.float32)
    pixels = rng.integers(0, 255, size=(n, 5)).astype(np.uint8)
    y = (flat[:, 0] + sequence[:, 0, 0] > 0).astype(int)
    if nan:
        sequence[::7, 4:] = np.nan
        flat[::11] = np.nan
    return {"flat": flat, "sequence": sequence, "pixels": pixels}, y


def _on_disk(X, path):
    lazy = {}
    for name, values in X.items():
        np.save(path / f"{name}.npy", values)
        lazy[name] = LazyArray(np.load(path / f"{name}.npy", mmap_mode="r"))
    return lazy


@pytest.fixture(autouse=True)
def _short_fits():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RelevanceWarning)
        yield


def _assert_same(one, other):
    for name, value in one._result.state.items():
        np.testing.assert_array_equal(other._result.state[name], value, err_msg=name)
    assert other.history_ == one.history_


@pytest.mark.parametrize(
    "estimator",
    [
        InTenseClassifier(max_epochs=2),
        InTenseClassifier(max_epochs=2, reg=0.01, early_stopping=False, encoders=SMALL),
        InTenseClassifier(
            max_epochs=1, reg=0.01, encoders={"sequence": Conv1dEncoder(batch_norm=True)}
        ),
        RoutingClassifier(max_epochs=2, encoders=SMALL),
        GAMClassifier(max_epochs=1, encoders=SMALL),
        MROClassifier(max_epochs=1, schedule="sequential", encoders=SMALL),
        LateFusionClassifier(max_epochs=2, encoders=SMALL),
        EarlyFusionClassifier(max_epochs=2),
        TensorFusionClassifier(max_epochs=2, encoders=SMALL),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_fit_and_prediction_are_those_of_arrays_in_memory_to_the_bit(estimator, tmp_path):
    X, y = _data()
    lazy = _on_disk(X, tmp_path)
    estimator.set_params(missing="mask", random_state=0)
    in_memory = estimator.fit(X, y)
    expected, expected_contributions = in_memory.predict_proba(X), None
    if hasattr(in_memory, "contributions"):
        expected_contributions = in_memory.contributions(X)
    from_disk = type(estimator)(**estimator.get_params(deep=False)).fit(lazy, y)
    _assert_same(in_memory, from_disk)
    np.testing.assert_array_equal(from_disk.predict_proba(lazy), expected)
    if expected_contributions is not None:
        np.testing.assert_array_equal(from_disk.contributions(lazy), expected_contributions)


def test_joint_encoder_fits_the_same(tmp_path):
    X, y = _data(nan=False)
    X = {"a": X["sequence"], "b": X["sequence"][:, :, :2].copy()}
    encoder = MulTEncoder(hidden_dim=4, n_heads=1, n_layers=1)
    settings = {"encoders": encoder, "max_epochs": 1, "random_state": 0}
    _assert_same(
        MulTClassifier(**settings).fit(X, y),
        MulTClassifier(**settings).fit(_on_disk(X, tmp_path), y),
    )


def test_weights_targets_and_partial_fit_are_those_of_arrays_in_memory(tmp_path):
    X, _ = _data(200)
    rng = np.random.default_rng(1)
    y, weight = rng.normal(size=(200, 2)), rng.integers(0, 3, size=200).astype(float)
    lazy = _on_disk(X, tmp_path)
    make = InTenseRegressor(max_epochs=2, missing="mask", random_state=0, encoders=SMALL)
    fits = []
    for values in (X, lazy):
        first = type(make)(**make.get_params(deep=False)).fit(values, y, sample_weight=weight)
        step = type(make)(**make.get_params(deep=False)).partial_fit(values, y)
        fits.append((first, step.partial_fit(values, y)))
    for one, other in zip(*fits, strict=True):
        _assert_same(one, other)


def test_fits_in_many_chunks_are_the_same(tmp_path, monkeypatch):
    X, y = _data()
    lazy = _on_disk(X, tmp_path)
    estimator = InTenseClassifier(max_epochs=2, reg=0.01, missing="mask", random_state=0)
    whole = type(estimator)(**estimator.get_params(deep=False)).fit(X, y)
    monkeypatch.setattr(lazy_blocks_module, "_SCAN_BYTES", 1000)
    monkeypatch.setattr(dataset_module, "GATHER_BYTES", 10_000)
    _assert_same(whole, estimator.fit(lazy, y))


def test_no_more_rows_than_a_window_are_read_at_a_time(monkeypatch):
    class Counting:
        def __init__(self, values):
            self.values, self.shape, self.dtype = values, values.shape, values.dtype
            self.largest = 0

        def __getitem__(self, rows):
            found = self.values[rows]
            self.largest = max(self.largest, len(found))
            return found

    X, y = _data(5000, nan=False)
    array = Counting(X["flat"])
    monkeypatch.setattr(lazy_blocks_module, "_SCAN_BYTES", 16 * 100)
    monkeypatch.setattr(dataset_module, "GATHER_BYTES", 16 * 1024)
    monkeypatch.setattr("sklearn_mmfusion._rows.scaling.CHUNK_VALUES", 400)
    monkeypatch.setattr(network_rows_module, "_CHUNK_ROWS", 100)
    monkeypatch.setattr("sklearn_mmfusion._fitted._PREDICT_VALUES", 8 * 4 * 100)
    LateFusionClassifier(max_epochs=1, encoders=LinearEncoder(), random_state=0).fit(
        {"flat": LazyArray(array)}, y
    ).predict({"flat": LazyArray(array)})
    assert 100 <= array.largest <= 1024


def test_scikit_learn_splits_searches_and_permutes_what_is_on_disk(tmp_path):
    X, y = _data(150)
    lazy = ModalityFrame(_on_disk(X, tmp_path))
    frame = ModalityFrame(X)
    estimator = LateFusionClassifier(
        max_epochs=2, early_stopping=True, missing="mask", random_state=0, encoders=SMALL
    )
    scores = [cross_validate(estimator, data, y, cv=2)["test_score"] for data in (frame, lazy)]
    np.testing.assert_array_equal(*scores)
    search = GridSearchCV(estimator, {"lr": [0.01, 0.1]}, cv=2)
    found = [search.fit(data, y).cv_results_["mean_test_score"] for data in (frame, lazy)]
    np.testing.assert_array_equal(*found)
    importances = [
        permutation_importance(search, data, y, n_repeats=2, random_state=0).importances
        for data in (frame, lazy)
    ]
    np.testing.assert_array_equal(*importances)


@pytest.mark.slow
def test_processes_read_the_file_for_themselves(tmp_path):
    X, y = _data(1100)
    lazy = ModalityFrame(_on_disk(X, tmp_path))
    estimator = LateFusionClassifier(max_epochs=2, missing="mask", random_state=0, encoders=SMALL)
    scores = [
        cross_validate(estimator, lazy, y, cv=2, n_jobs=n_jobs)["test_score"] for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*scores)


def test_estimators_that_need_all_rows_read_them(tmp_path):
    X, y = _data(60, nan=False)
    lazy = _on_disk(X, tmp_path)
    for estimator in (MKLClassifier(), LateVotingClassifier(random_state=0)):
        expected = estimator.fit(X, y).decision_function(X)
        np.testing.assert_array_equal(estimator.fit(lazy, y).decision_function(lazy), expected)
    encoder = EstimatorEncoder(LogisticRegression())
    estimator = LateFusionClassifier(
        max_epochs=2, encoders={"flat": encoder, "pixels": encoder}, random_state=0
    )
    expected = estimator.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(estimator.fit(lazy, y).predict_proba(lazy), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_cannot_be_used_is_named_with_modality_and_row(value, tmp_path, monkeypatch):
    monkeypatch.setattr(lazy_blocks_module, "_SCAN_BYTES", 16 * 50)
    monkeypatch.setattr("sklearn_mmfusion._fitted._PREDICT_VALUES", 8 * 4 * 50)
    X, y = _data(300, nan=False)
    X = {"flat": X["flat"]}
    estimator = LateFusionClassifier(max_epochs=2, encoders=LinearEncoder(), random_state=0)
    estimator.fit(X, y)
    X["flat"][217, 1] = value
    lazy = ModalityFrame(_on_disk(X, tmp_path))
    for call in (lambda: estimator.fit(lazy, y), lambda: estimator.predict(lazy)):
        with pytest.raises(InputError, match=r"modality 'flat': contains .*first in row 217"):
            call()
    rows = np.array([3, 217, 5])
    with pytest.raises(InputError, match=r"first in row 1\)"):
        estimator.predict(lazy.iloc[rows])


def test_other_faults_are_those_of_arrays_in_memory(tmp_path):
    X, y = _data(30, nan=False)
    lazy = _on_disk(X, tmp_path)
    estimator = LateFusionClassifier(max_epochs=2, random_state=0)
    estimator.fit(X, y)
    cases = [
        lambda data: estimator.predict({**data, "flat": data["flat"].__class__}),
        lambda data: estimator.predict({name: data[name] for name in ("flat", "sequence")}),
        lambda data: estimator.predict({**data, "flat": data["pixels"]}),
        lambda data: estimator.predict({**data, "flat": data["flat"][:7]}),
        lambda data: estimator.fit(data, y[:-1]),
    ]
    for case in cases:
        messages = []
        for data in (X, lazy):
            with pytest.raises(FusionError) as caught:
                case(data)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
    np.save(tmp_path / "words.npy", np.array([["a"], ["b"]]))
    words = LazyArray(np.load(tmp_path / "words.npy", mmap_mode="r"))
    with pytest.raises(FusionError, match="modality 'words': could not convert string"):
        estimator.fit({"words": words}, [0, 1])


def test_half_precision_is_read_as_in_memory(tmp_path):
    X = {"a": np.random.default_rng(0).normal(size=(20, 3)).astype(np.float16)}
    estimator = LateFusionClassifier(max_epochs=2, encoders=LinearEncoder(), random_state=0)
    lazy = _on_disk(X, tmp_path)
    schemas = [check_X(data, estimator=estimator)[0] for data in (X, lazy)]
    assert schemas[0].layouts == schemas[1].layouts
    y = np.arange(20) % 2
    _assert_same(estimator.fit(X, y), type(estimator)(**estimator.get_params(False)).fit(lazy, y))


def test_missing_in_every_row_is_refused(tmp_path):
    X, y = _data(30, nan=False)
    X["flat"][:] = np.nan
    with pytest.raises(InputError, match="'flat': missing in every row"):
        LateFusionClassifier(missing="mask").fit(_on_disk(X, tmp_path), y)


def _order(block_size, n=203, size=10, window=40, monkeypatch=None):
    data = LazyArray(np.arange(2.0 * n, dtype=np.float32).reshape(n, 2), block_size=block_size)
    _, checked = check_X({"a": data}, estimator=LateFusionClassifier(), modalities=None, lazy=True)
    monkeypatch.setattr(dataset_module, "GATHER_BYTES", window * 8)
    dataset = to_dataset(lazy_blocks_module.scan(checked), np.arange(n), None, torch.float32)
    batches = Batches(dataset, size, torch.Generator().manual_seed(0))
    return [target.numpy() for _, target in batches]


@pytest.mark.parametrize("block_size", [1, 16, 64, 500])
def test_an_epoch_holds_every_row_once_whatever_the_chunks(block_size, monkeypatch):
    batches = _order(block_size, monkeypatch=monkeypatch)
    rows = np.concatenate(batches)
    np.testing.assert_array_equal(np.sort(rows), np.arange(203))
    assert (rows != np.arange(203)).sum() > 150
    assert {len(batch) for batch in batches} == {10, 3}


def test_rows_of_a_chunk_are_read_together(monkeypatch):
    rows = np.concatenate(_order(16, monkeypatch=monkeypatch))
    chunks_per_window = [len(np.unique(rows[i : i + 40] // 16)) for i in range(0, 160, 40)]
    # 40 rows in whole chunks touch 4 of them at most, of 13.
    assert max(chunks_per_window) <= 4
    plain = np.concatenate(_order(1, monkeypatch=monkeypatch))
    assert len(np.unique(plain[:40] // 16)) > 8


def test_take_reads_nothing_and_keeps_row_numbers():
    values = np.arange(40.0).reshape(20, 2)
    values[13, 0] = np.nan
    _, data = check_X(
        {"a": LazyArray(values)}, estimator=LateFusionClassifier(), modalities=None, lazy=True
    )
    block = data.take(slice(4, None)).take(np.array([9, 1])).blocks[0]
    assert list(block.rows) == [13, 5]
    with pytest.raises(InputError, match="modality 'a': contains NaN.*first in row 13"):
        block.read()
    np.testing.assert_array_equal(replace(block).take(slice(1, 2)).read().values, values[[5]])


def test_statistics_of_too_many_rows_are_those_of_a_sample(tmp_path, monkeypatch):
    X, y = _data(4000, nan=False)
    X = {"flat": X["flat"]}
    estimator = InTenseClassifier(max_epochs=2, encoders=LinearEncoder(), random_state=0)
    whole = estimator.fit(X, y)._result
    encoder = whole.state["encoders.0.linear.weight"]
    for limit in ("FEATURE_BYTES", "LAZY_FEATURE_BYTES"):
        monkeypatch.setattr(finishing_module, limit, 1000 * 8 * 2 * len(encoder))
    part = estimator.fit(X, y)._result
    name = "features.unimodal_norms.0.running_mean"
    np.testing.assert_array_equal(part.state["encoders.0.linear.weight"], encoder)
    assert (part.state[name] != whole.state[name]).any()
    # Means of 1000 rows against those of all: within four standard errors.
    spread = np.sqrt((encoder.astype(float) ** 2).sum(1))
    assert (np.abs(part.state[name] - whole.state[name]) < 4 * spread / np.sqrt(1000)).all()


@pytest.mark.parametrize("limit", [10, 10**6])
def test_rows_of_a_large_modality_in_memory_are_a_view_that_is_read_unchecked(monkeypatch, limit):
    monkeypatch.setattr(lazy_blocks_module, "VIEW_BYTES", 100)
    monkeypatch.setattr(lazy_blocks_module, "LARGE_BYTES", limit)
    values = np.arange(80.0, dtype=np.float32).reshape(40, 2)
    present = np.arange(40) % 3 > 0
    rows = np.array([7, 3, 21, 3])
    data = ModalityData(
        [ModalityBlock("a", values, None, present), ModalityBlock("b", np.ones((40, 1), np.uint8))]
    )
    part = take_rows(data, rows)
    view, copied = part.blocks
    assert isinstance(view, lazy_blocks_module.LazyBlock) and type(copied) is ModalityBlock
    values[3] = [np.inf, -1]  # seen through the view, and not refused: nothing is checked twice
    read = view.take(np.array([1, 0, 2])).read()
    np.testing.assert_array_equal(read.values, values[[3, 7, 21]])
    np.testing.assert_array_equal(read.present, present[[3, 7, 21]])
    dataset = to_dataset(part, np.zeros(4), None, torch.float32)
    assert dataset.is_large is (limit == 10)
    np.testing.assert_array_equal(dataset[torch.tensor([2, 0])][0].values[0], values[[21, 7]])


def test_predictions_of_many_chunks_are_those_of_one(monkeypatch):
    X, y = _data(60, nan=False)
    estimator = LateFusionClassifier(max_epochs=2, random_state=0, encoders={"sequence": SMALL})
    estimator.fit(X, y)
    whole = estimator.predict_proba(X), estimator.contributions(X)
    monkeypatch.setattr("sklearn_mmfusion._fitted._PREDICT_VALUES", 1)  # chunks of 16 rows
    np.testing.assert_allclose(estimator.predict_proba(X), whole[0], rtol=1e-13)
    np.testing.assert_allclose(estimator.contributions(X), whole[1], rtol=1e-12, atol=1e-15)
