"""Summaries of modalities and targets against plain NumPy on the user's own arrays."""

import warnings

import numpy as np
import pytest

from sklearn_mmfusion import LateVotingClassifier, LinearEncoder, MNLRegressor, ModalityFrame
from sklearn_mmfusion.data._blocks import ModalityBlock
from sklearn_mmfusion.report import _data_summary
from sklearn_mmfusion.report._data_summary import (
    n_shared_rows,
    summarise_modality,
    target_rows,
)
from sklearn_mmfusion.report._subject import Subject


def _by_hand(values):
    there = values[~np.isnan(values)]
    return [there.min(), there.max(), there.mean(), there.std()]


def _numbers(summary):
    return [summary.minimum, summary.maximum, summary.mean, summary.std]


@pytest.fixture
def sequences():
    rng = np.random.default_rng(0)
    values = rng.normal(5, 3, size=(60, 7, 2))
    for row, length in enumerate(rng.integers(1, 8, size=60)):
        values[row, length:] = np.nan
    values[:9] = np.nan
    flat = rng.normal(size=(60, 3))
    return ModalityFrame({"steps": values, "flat": flat}), np.arange(60) % 2


@pytest.fixture
def subject(sequences):
    X, y = sequences
    return Subject.of(LateVotingClassifier(missing="mask", random_state=0).fit(X, y), X, y)


def test_summary_of_padded_sequences_counts_neither_padding_nor_missing_rows(subject, sequences):
    values = np.asarray(sequences[0]["steps"])
    summary = summarise_modality(subject.data.blocks[0])
    np.testing.assert_allclose(_numbers(summary), _by_hand(values), rtol=1e-12)
    there = ~np.isnan(values).all(axis=2)
    present = there.any(axis=1)
    assert summary.missing == pytest.approx(1 - present.mean())
    assert summary.padding == pytest.approx(1 - there[present].mean())
    assert (summary.kind, summary.shape, summary.dtype) == ("sequence", "7 × 2", "float64")


@pytest.mark.parametrize("chunk", [1, 20, 10**9])
def test_summary_in_chunks_equals_that_of_the_whole(subject, sequences, monkeypatch, chunk):
    monkeypatch.setattr(_data_summary, "_CHUNK_VALUES", chunk)
    values = np.asarray(sequences[0]["steps"])
    summary = summarise_modality(subject.data.blocks[0])
    np.testing.assert_allclose(_numbers(summary), _by_hand(values), rtol=1e-12)


def test_summary_of_far_away_values_keeps_their_spread():
    values = 1e9 + np.random.default_rng(0).normal(size=(500, 2))
    summary = summarise_modality(ModalityBlock("far", values))
    assert summary.std == pytest.approx(values.std(), rel=1e-6)
    assert summary.padding is None


def test_summary_of_a_modality_that_is_missing_throughout_is_nan():
    block = ModalityBlock("gone", np.zeros((3, 2)), present=np.zeros(3, bool))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = summarise_modality(block)
    assert summary.missing == 1
    assert np.isnan(_numbers(summary)).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [((4,), "float64", "features"), ((4, 5), "uint8", "image"), ((3, 4, 5), "uint8", "image")],
)
def test_summary_names_the_kind_by_shape(shape, dtype, kind):
    assert summarise_modality(ModalityBlock("m", np.zeros((2, *shape), dtype))).kind == kind


def test_target_rows_of_classes_count_rows_and_weigh_shares(sequences):
    X, y = sequences
    weight = np.where(y == 1, 3.0, 1.0)
    est = LateVotingClassifier(missing="mask", random_state=0).fit(X, y)
    columns, rows = target_rows(Subject.of(est, X, y, weight))
    assert columns == ["class", "rows", "share"]
    assert rows == [["0", 30, pytest.approx(0.25)], ["1", 30, pytest.approx(0.75)]]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
def test_target_rows_of_numbers_are_those_of_numpy():
    rng = np.random.default_rng(0)
    X, y = {"a": rng.normal(size=(50, 2))}, rng.normal(3, 2, size=(50, 2))
    est = MNLRegressor(encoders=LinearEncoder(), max_epochs=2, random_state=0).fit(X, y)
    _, rows = target_rows(Subject.of(est, X, y))
    expected = np.column_stack([y.min(0), y.mean(0), y.max(0), y.std(0)])
    np.testing.assert_allclose([row[1:] for row in rows], expected)
    # A constant does not vary by the rounding of its mean.
    weight = rng.uniform(0.1, 3, size=50)
    _, rows = target_rows(Subject.of(est, X, np.full((50, 2), 0.1), weight))
    assert [row[1:] for row in rows] == [[0.1, 0.1, 0.1, 0.0]] * 2


def test_target_rows_of_labels_count_each_label(sequences):
    X, y = sequences
    Y = np.column_stack([y, np.arange(60) < 10])
    _, rows = target_rows(
        Subject.of(LateVotingClassifier(missing="mask", random_state=0).fit(X, Y), X, Y)
    )
    assert rows == [[0, 30, pytest.approx(0.5)], [1, 10, pytest.approx(1 / 6)]]


def test_shared_rows_are_counted_whatever_the_padding(sequences):
    X, y = sequences
    est = LateVotingClassifier(missing="mask", random_state=0).fit(X, y)
    first, others = np.arange(40), np.arange(25, 60)
    one, two = Subject.of(est, X.iloc[first], y[first]), Subject.of(est, X.iloc[others], y[others])
    assert n_shared_rows(one, two) == 15
    assert n_shared_rows(two, one) == 15
    changed = ModalityFrame({"steps": X["steps"], "flat": np.asarray(X["flat"]) + 1e-9})
    assert n_shared_rows(Subject.of(est, changed, y), one) == 0
