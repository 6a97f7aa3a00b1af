"""Tests of what a model gains on held-out rows, and of how sure that is."""

import warnings

import numpy as np
import pytest
import torch

from sklearn_mmfusion import MNLClassifier, RelevanceWarning
from sklearn_mmfusion._fitting.data import FitInput
from sklearn_mmfusion._fitting.gains import class_counts, held_out_gain
from sklearn_mmfusion._fitting.scales import row_shares
from sklearn_mmfusion._rows.row_errors import RowClasses, RowErrors
from sklearn_mmfusion._training.dataset import FusionDataset
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData
from sklearn_mmfusion.modules.network import FusionBatch

RNG = np.random.default_rng(0)


def dataset(target, weight=None):
    target = torch.as_tensor(target)
    weight = None if weight is None else torch.as_tensor(weight, dtype=torch.float64)
    batch = FusionBatch([torch.zeros(len(target), 1)], [None], [None], weight)
    return FusionDataset(batch, target)


def gain_of(losses, train, held, counts, weight=None, kind="binary", n_outputs=1):
    rows, some = dataset(train), dataset(held, weight)
    errors = RowErrors(row_shares(some), float(len(some)))
    if counts is not None:
        errors.classes = RowClasses(some.target, counts)
    return held_out_gain(torch.as_tensor(losses), rows, some, kind, n_outputs, errors)


def shares_of(target, n_classes=2):
    return np.bincount(target, minlength=n_classes) / len(target)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_error_is_that_of_the_means_within_classes(n_classes):
    held = np.repeat(np.arange(n_classes), [90, 6, 4][:n_classes])
    train = np.tile(held, 4)
    losses = RNG.uniform(0, 2, len(held))
    rates = shares_of(train, n_classes)
    before = -np.log(rates)[held]
    gains, n = before - losses, len(held)
    variance = sum(
        (size / n) ** 2 * gains[held == label].var() / size
        for label, size in enumerate(np.bincount(held))
    )
    kind, n_outputs = ("binary", 1) if n_classes == 2 else ("multiclass", 3)
    counts = np.bincount(held).astype(float)
    gain, error = gain_of(losses, train, held, counts, kind=kind, n_outputs=n_outputs)
    assert gain == pytest.approx(gains.mean() / before.mean())
    assert error == pytest.approx(np.sqrt(variance) / before.mean())
    assert error < np.sqrt(gains.var() / n) / before.mean()


@pytest.mark.parametrize("factor", [16.0, 16.5, 1.0])
def test_class_weights_make_no_rows(factor):
    held = np.repeat([0, 1], [95, 5])
    losses = RNG.uniform(0, 1, 100)
    weight = np.where(held == 1, factor, 1.0)
    _, error = gain_of(losses, held, held, np.array([95.0, 5.0]), weight)
    share = weight / weight.sum()
    rate = share_of_train = 0.05  # the training rows have no weights here
    before = np.where(held == 1, -np.log(rate), -np.log(1 - share_of_train))
    gains = before - losses
    own = -np.log(np.where(held == 1, share @ held, 1 - share @ held))
    within = sum(
        share[held == c].sum() ** 2 * gains[held == c].var() / (held == c).sum() for c in (0, 1)
    )
    by_shares = share @ before - share @ own
    over_all = share**2 @ (gains - share @ gains) ** 2
    expected = np.sqrt(min(within + by_shares**2, over_all)) / (share @ before)
    assert error == pytest.approx(expected)


@pytest.mark.parametrize("held", [np.repeat([0, 1], [97, 3]), np.repeat([0, 1], [60, 40])])
@pytest.mark.parametrize("rate", [0.01, 0.03, 0.1, 0.4, 0.5])
def test_a_constant_has_not_learned_whatever_it_is(held, rate):
    train = np.repeat([0, 1], [388, 12])
    losses = np.where(held == 1, -np.log(rate), -np.log(1 - rate))
    gain, error = gain_of(losses, train, held, np.bincount(held).astype(float))
    # Of the user's own rows, with other shares, some constants are better than that of training.
    assert not gain > 2 * error or held.mean() > 0.03


def test_rounding_does_not_make_a_constant_better_than_itself():
    held = np.repeat([0, 1], [97, 3])
    losses = np.where(held == 1, -np.log(0.03), -np.log(0.97)) - 1e-13
    gain, error = gain_of(losses, np.tile(held, 4), held, np.array([97.0, 3.0]))
    assert 0 < gain < error


def test_a_class_of_one_row_has_the_distance_to_the_others():
    held = np.repeat([0, 1], [99, 1])
    losses = RNG.uniform(0, 0.1, 100)
    _, error = gain_of(losses, held, held, np.array([99.0, 1.0]))
    before = -np.log(np.where(held == 1, 0.01, 0.99))
    gains = before - losses
    variance = 0.99**2 * gains[:99].var() / 99 + 0.01**2 * (gains[99] - gains.mean()) ** 2
    assert error == pytest.approx(np.sqrt(variance) / before.mean())


def rows(weight, counted=None, target=(0, 0, 0, 1, 1)):
    block = ModalityBlock("a", np.zeros((len(target), 1)), None, None)
    data = ModalityData([block])
    return FitInput(data, np.array(target), weight, "binary", counted)


def test_rows_of_each_class_are_counted_without_the_weights_of_classes():
    assert class_counts(rows(None)).tolist() == [3, 2]
    repeated = np.array([1.0, 2, 3, 1, 4])
    assert class_counts(rows(repeated)).tolist() == [6, 5]
    assert class_counts(rows(repeated * [1, 1, 1, 9, 9], repeated)).tolist() == [6, 5]
    uneven = class_counts(rows(np.array([0.5, 0.5, 0.5, 1.0, 3.0])))
    assert uneven == pytest.approx([3, 16 / 10])
    assert class_counts(rows(np.array([0.5, 0.5, 0.5, 0, 0])))[1:] == pytest.approx([0])


def test_some_of_the_rows_count_as_many_repetitions_as_were_taken():
    own = np.array([2.0, 1, 1, 4, 1])
    whole = rows(own * [1, 1, 1, 3, 3], own)
    part = whole.take(np.array([0, 3]), np.array([1.0, 6.0]))
    assert part.weight.tolist() == [1, 6] and part.counted.tolist() == [1, 2]
    assert whole.take(np.array([1, 4])).counted.tolist() == [1, 1]
    none = rows(np.zeros(5), np.zeros(5)).take(np.array([0]), np.zeros(1))
    assert none.counted.tolist() == [0]


def rare(mean, seed):
    """500 rows, 15 of a class whose first features have this mean; AUC 0.88 for 1.28."""
    rng = np.random.default_rng(500_000 + seed)
    y = np.zeros(500, dtype=int)
    y[:15] = 1
    rng.shuffle(y)
    X = {"a": rng.normal(size=(500, 5)), "b": rng.normal(size=(500, 5))}
    for values in X.values():
        values[:, 0] += mean * y
    return X, y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("class_weight", "mean", "seed"),
    [
        (None, 1.28, 6),
        ("balanced", 1.28, 13),
        (None, 0.0, 6),
        ("balanced", 0.0, 13),
        ({0: 1, 1: 32}, 0.0, 2),
    ],
)
@pytest.mark.slow
def test_a_rare_class_is_warned_of_unless_it_was_learned(class_weight, mean, seed):
    X, y = rare(mean, seed)
    est = MNLClassifier(class_weight=class_weight, random_state=seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est.fit(X, y)
    warned = any(issubclass(w.category, RelevanceWarning) for w in caught)
    assert warned is (mean == 0), (est.validation_gain_, est.validation_gain_error_)


def test_error_for_numbers_is_that_of_a_ratio_over_resampled_rows():
    rng = np.random.default_rng(0)
    train, held = rng.standard_t(5, size=(2, 1500))
    losses = (held - 0.8 * held + 0.3 * rng.normal(size=1500)) ** 2
    column = train[:, None], held[:, None]
    gain, error = gain_of(losses, *column, None, kind="squared_error")
    before = (held - train.mean()) ** 2
    draws = rng.integers(1500, size=(2000, 1500))
    gains = 1 - losses[draws].mean(1) / before[draws].mean(1)
    assert gain == pytest.approx(1 - losses.mean() / before.mean())
    assert error == pytest.approx(gains.std(), rel=0.1)
