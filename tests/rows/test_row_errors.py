"""Tests of standard errors of means over held-out rows, and of which of two losses is lower."""

import warnings

import numpy as np
import pytest
import torch

from sklearn_mmfusion import InTenseClassifier
from sklearn_mmfusion._rows.row_errors import RowClasses, RowErrors


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(n, **known):
    return RowErrors(torch.full((n,), 1 / n, dtype=torch.float64), float(n), **known)


def test_nearly_equal_losses_differ_by_the_same_errors_as_a_ratio():
    losses = randn(400).square() + 1.0
    others = losses + 0.02 + 0.2 * randn(400)
    difference = (others - losses).numpy()
    error = difference.std() / np.sqrt(400)
    z = difference.mean() / error
    for by_ratio in (False, True):
        assert uniform(400, by_ratio=by_ratio).clearly_less(losses, others, z - 0.15)
        assert not uniform(400, by_ratio=by_ratio).clearly_less(losses, others, z + 0.15)


def test_error_of_a_log_ratio_is_that_of_resampled_rows():
    rng = np.random.default_rng(0)
    losses, others = rng.gamma(0.5, size=(2, 2000)) * [[1.0], [3.0]]
    draws = rng.integers(2000, size=(2000, 2000))
    ratios = np.log(others[draws].mean(1) / losses[draws].mean(1))
    z = np.log(others.mean() / losses.mean()) / ratios.std()
    pair = torch.from_numpy(losses), torch.from_numpy(others)
    assert uniform(2000, by_ratio=True).clearly_less(*pair, 0.95 * z)
    assert not uniform(2000, by_ratio=True).clearly_less(*pair, 1.05 * z)


def test_tails_of_the_target_hide_no_large_gain_from_a_ratio():
    others = torch.cat([torch.full((37,), 0.1), torch.tensor([25.0, 36.0, 64.0])]).double()
    pair = torch.full((40,), 0.01).double(), others
    assert not uniform(40).clearly_less(*pair, 2.5)
    assert uniform(40, by_ratio=True).clearly_less(*pair, 2.5)


def test_rows_that_no_model_fits_hide_no_gain_in_the_others():
    wild = torch.tensor([5000.0, 5010.0]).double()
    others = torch.cat([torch.ones(38).double() + 0.1 * randn(38), wild])
    losses = torch.cat([0.1 * others[:38], wild])
    for by_ratio in (False, True):
        assert uniform(40, by_ratio=by_ratio).clearly_less(losses, others, 2.5)


def test_ratio_of_losses_of_zero_is_that_of_their_order():
    nothing, some, rows = torch.zeros(5).double(), torch.ones(5).double(), uniform(5, by_ratio=True)
    assert rows.clearly_less(nothing, some, 3.0)
    assert not rows.clearly_less(some, nothing, 3.0)
    assert not rows.clearly_less(nothing, nothing, 0.0)
    one_row = torch.tensor([0.0, 0.0, 0.0, 0.0, 9.0]).double()
    assert rows.clearly_less(nothing, one_row, 3.0)
    assert not uniform(5).clearly_less(nothing, one_row, 3.0)


# -- classes ---------------------------------------------------------------------------------------


def two_classes(n_rare=12, n=240):
    label = torch.zeros(n, dtype=torch.long)
    label[:n_rare] = 1
    counts = np.bincount(label.numpy()).astype(float)
    return uniform(n, classes=RowClasses(label, counts)), label


def test_what_a_rare_class_gains_is_no_matter_of_chance():
    rows, label = two_classes()
    losses = 0.1 + 0.01 * randn(240)
    others = losses + torch.where(label == 1, 1.0, 0.0).double() + 0.01 * randn(240, seed=1)
    assert rows.clearly_less(losses, others, 10.0, within_classes=True)
    for errors in (rows, uniform(240)):
        assert not errors.clearly_less(losses, others, 4.0)
    assert rows.variance_over_all(others - losses) == pytest.approx(
        uniform(240).variance(others - losses)
    )


def test_error_within_classes_is_that_of_stratified_samples():
    rng = np.random.default_rng(0)
    rows, label = two_classes(40, 200)
    values = torch.from_numpy(np.where(label == 1, rng.gamma(0.5, 4, 200), rng.normal(size=200)))
    parts = [np.flatnonzero(label == k) for k in (0, 1)]
    draws = np.concatenate([rng.choice(part, (20_000, len(part))) for part in parts], axis=1)
    expected = values.numpy()[draws].mean(1).std()
    assert np.sqrt(rows.variance(values)) == pytest.approx(expected, rel=0.03)


def test_a_fit_asks_for_errors_within_classes_where_interactions_are_at_stake(monkeypatch):
    asked = []

    def clearly_less(self, losses, others, n_errors=1.0, **how):
        asked.append(how.get("within_classes"))
        return False

    monkeypatch.setattr(RowErrors, "clearly_less", clearly_less)
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(60, 2)) for name in "ab"}
    est = InTenseClassifier(max_epochs=2, polish=False, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est.fit(X, np.arange(60) % 2)
    assert asked[0] is True  # without interactions
    assert len(asked) > 1 and not any(asked[1:])  # other encoders


# -- groups ----------------------------------------------------------------------------------------


def grouped(n_groups, size, **known):
    return uniform(n_groups * size, group=torch.arange(n_groups).repeat_interleave(size), **known)


@pytest.mark.parametrize("classes", [False, True])
def test_error_is_that_of_resampled_groups(classes):
    rng = np.random.default_rng(1)
    of_group = rng.normal(size=(60, 1)) + 0.5 * rng.normal(size=(60, 8))
    values = torch.from_numpy(of_group.reshape(-1))
    expected = of_group.mean(1)[rng.integers(60, size=(20_000, 60))].mean(1).std()
    known = {}
    if classes:  # both in every group, and the same values in both
        known = {"classes": RowClasses(torch.arange(480) % 2, np.array([240.0, 240.0]))}
    rows = grouped(60, 8, **known)
    assert np.sqrt(rows.variance(values)) == pytest.approx(expected, rel=0.04)
    assert rows.variance(values) > 4 * uniform(480).variance(values)


def test_groups_of_unlike_sizes_and_weights_count_by_their_weights():
    group = torch.tensor([0, 0, 0, 1, 2, 2])
    share = torch.tensor([0.1, 0.2, 0.1, 0.3, 0.2, 0.1]).double()
    values = torch.tensor([3.0, 4.0, 5.0, -1.0, 0.0, -2.0]).double()
    centred = values - share @ values
    sums = [float((share * centred)[group == g].sum()) for g in range(3)]
    expected = 1.5 * sum(s**2 for s in sums)
    assert RowErrors(share, 6.0, group=group).variance(values) == pytest.approx(expected)


def test_one_group_or_one_row_a_group_is_no_surer_than_rows():
    values = randn(30)
    alone = uniform(30).variance(values)
    assert grouped(1, 30).variance(values) == alone
    assert alone <= grouped(30, 1).variance(values) < 1.05 * alone


def test_numbers_of_groups_may_have_gaps():
    values = randn(12)
    group = torch.arange(4).repeat_interleave(3)
    near, far = uniform(12, group=group), uniform(12, group=7 * group + 2)
    assert near.variance(values) == pytest.approx(far.variance(values))


def test_design_effect_is_the_ratio_of_the_variances_of_resampled_means():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(60, 1)) + rng.normal(size=(60, 8))
    by_group = values.mean(1)[rng.integers(60, size=(20_000, 60))].mean(1).var()
    by_row = values.reshape(-1)[rng.integers(480, size=(20_000, 480))].mean(1).var()
    rows, errors = torch.from_numpy(values), grouped(60, 8)
    assert errors.design_effect(rows.flatten()) == pytest.approx(by_group / by_row, rel=0.06)
    assert uniform(480).design_effect(rows.flatten()) == 1
    assert errors.design_effect((rows - rows.mean(1, keepdim=True)).flatten()) == 1
    assert errors.design_effect(torch.zeros(480)) == 1
    assert grouped(1, 30).design_effect(randn(30)) == 30


# -- precision -------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [None, RowClasses(torch.arange(12) % 2, np.full(2, 6.0))])
def test_values_of_any_precision(classes):
    rows, values = uniform(12, classes=classes), randn(12).float()
    for error_of in (rows.variance, rows.variance_over_all):
        assert error_of(values) == error_of(values.double())
    assert rows.clearly_less(values - 5, values) and not rows.clearly_less(values, values)
