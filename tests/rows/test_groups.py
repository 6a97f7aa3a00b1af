"""Tests of groups of rows that belong together: held-out rows, folds, and who hands them on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline

import sklearn_mmfusion._base
import sklearn_mmfusion._fitting.fit
import sklearn_mmfusion._fitting.runs
from sklearn_mmfusion import (
    ContributionTransformer,
    EstimatorEncoder,
    InputError,
    InTenseClassifier,
    LinearEncoder,
    MNLClassifier,
    MNLRegressor,
    RelevanceWarning,
    compare_models,
    relevance_intervals,
    relevance_test,
)
from sklearn_mmfusion._fitting.gains import row_errors
from sklearn_mmfusion._rows.groups import check_groups, group_folds, groups_for, split_by_group
from sklearn_mmfusion._training.dataset import to_dataset
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]
N_GROUPS, SIZE = 30, 8
N = N_GROUPS * SIZE
GROUPS = np.repeat(np.arange(N_GROUPS), SIZE)
RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.arange(N_GROUPS) % 2)[GROUPS]
# What tells groups apart, and nothing of the labels; and nothing at all.
X = {
    "who": RNG.normal(size=(N_GROUPS, 12))[GROUPS] + 0.05 * RNG.normal(size=(N, 12)),
    "noise": RNG.normal(size=(N, 2)),
}
QUICK = {"encoders": LinearEncoder(output_dim=2), "max_epochs": 5, "random_state": 0}


@pytest.fixture
def seen(monkeypatch):
    """Labels that fits were given, as numbers, in their order."""
    found = []

    def recorded(groups, n_samples):
        codes = check_groups(groups, n_samples)
        found.append(codes)
        return codes

    monkeypatch.setattr(sklearn_mmfusion._base, "check_groups", recorded)
    return found


# -- labels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        ["b", "a", "b", "c"],
        np.array([5, 2, 5, 7]),
        pd.Series(["b", "a", "b", "c"], index=[3, 3, 1, 0]),
        pd.Categorical(["b", "a", "b", "c"], categories=["a", "b", "c", "d"]),
        pd.Series([5, 2, 5, 7], dtype="Int64"),
        pd.to_datetime(["2020-02-01", "2020-01-01", "2020-02-01", "2020-03-01"]),
        [b"b", b"a", b"b", b"c"],
        pd.Series([("x", 2), ("x", 1), ("x", 2), ("y", 1)]),
        torch.tensor([5, 2, 5, 7]),
    ],
)
def test_labels_of_any_kind_become_numbers(labels):
    assert check_groups(labels, 4).tolist() == [1, 0, 1, 2]


@pytest.mark.parametrize(
    "labels, message",
    [
        ([0, 1, 2], r"groups: expected one label for each of the 4 rows .* shape \(3,\)"),
        (np.zeros((4, 1)), r"one label for each of the 4 rows .* shape \(4, 1\)"),
        ("abcd", r"one label for each of the 4 rows .* shape \(\)"),
        (np.array(["a", 1, "b", 2], dtype=object), "got int and str"),
        (["a", 1, "b", 2], "that can be sorted, got int and str; use strings or integers"),
        (np.array([b"a", "b", b"a", "b"], dtype=object), "got bytes and str"),
        ([object()] * 4, "that can be sorted, got object"),
        ([[1], [1, 2], [3], [4]], "got sequences of several lengths"),
        (pd.DataFrame({"who": [1, 2, 1, 2]}), r"shape \(4, 1\); pass one column"),
        ([(1, 2), (1, 2), (0, 1), (0, 1)], r"shape \(4, 2\); pass one column"),
        (pd.Series([np.arange(2)] * 4), "that can be sorted, got ndarray"),
        ([None, "a", "a", "b"], "for every row, got None in row 0; give rows .* of their own"),
        (["a", "a", np.nan, "b"], "got nan in row 2"),
        (np.array(["a", np.nan, "a", None], dtype=object), "got nan in row 1 and 1 more"),
        (pd.Series(["a", pd.NA, "a", "b"], dtype="string"), "got <NA> in row 1"),
        (pd.Series([True, None, True, False], dtype="boolean"), "got <NA> in row 1"),
        (pd.Categorical(["a", None, "b", "a"]), "got nan in row 1"),
        (pd.Series([1, None, 2, 2], dtype="Int64"), "got nan in row 1"),
        ([None, 1, 2, 1], "got None in row 0"),
        ([0.0, np.nan, 1.0, 1.0], "got nan in row 1; give rows without a group a label"),
        (pd.to_datetime([None, "2020-01-01", "2020-01-01", "2021-01-01"]), "got NaT in row 0"),
    ],
)
def test_labels_that_are_none_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        check_groups(labels, 4)


@pytest.fixture
def pl():
    return pytest.importorskip("polars")  # it sets an environment variable when it is imported


def test_labels_of_polars_become_numbers(pl):
    assert check_groups(pl.Series(["b", "a", "b", "c"]), 4).tolist() == [1, 0, 1, 2]
    with pytest.raises(InputError, match="got None in row 1"):
        check_groups(pl.Series(["b", None, "b", "c"]), 4)
    with pytest.raises(InputError, match="got nan in row 1"):
        check_groups(pl.Series([5, None, 5, 7]), 4)


def test_no_groups_are_no_groups():
    assert check_groups(None, 4) is None


# -- held-out rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3, 0.4, 0.5, 0.75])
def test_whole_groups_are_held_out_with_their_share_of_rows_and_classes(kind, fraction):
    rng = np.random.default_rng(1)
    groups = rng.permutation(np.repeat(np.arange(60), rng.integers(1, 12, 60)))
    n = len(groups)
    target = {
        "binary": rng.uniform(size=n) < 0.3,
        "multiclass": rng.integers(3, size=n),
        "multilabel": rng.uniform(size=(n, 2)) < 0.5,
        "regression": rng.normal(size=n),
    }[kind]
    split = split_by_group(groups, target, kind, fraction, 0)
    assert not np.intersect1d(groups[split.kept], groups[split.held]).size
    assert sorted([*split.kept, *split.held]) == list(range(n))
    assert len(split.held) / n == pytest.approx(fraction, abs=0.04)
    if kind in ("binary", "multiclass"):
        for label in np.unique(target):
            share = np.mean(target[split.held] == label)
            assert share == pytest.approx(np.mean(target == label), abs=0.1)


def test_many_groups_are_dealt_at_once():
    rng = np.random.default_rng(0)
    groups, labels = np.repeat(np.arange(20_000), 3), rng.uniform(size=60_000) < 0.1
    split = split_by_group(groups, labels, "binary", 0.2, 0)
    assert len(split.held) / len(groups) == pytest.approx(0.2, abs=0.001)
    assert labels[split.held].mean() == pytest.approx(0.1, abs=0.01)
    assert not np.intersect1d(groups[split.kept], groups[split.held]).size


def test_order_of_rows_does_not_matter_and_the_seed_does():
    order = np.random.default_rng(2).permutation(N)
    split = split_by_group(GROUPS, LABELS, "binary", 0.2, 7)
    permuted = split_by_group(GROUPS[order], LABELS[order], "binary", 0.2, 7)
    assert sorted(order[permuted.held]) == split.held.tolist()
    other = split_by_group(GROUPS, LABELS, "binary", 0.2, 8)
    assert other.held.tolist() != split.held.tolist()


def test_a_class_of_one_group_is_trained_on():
    target = np.where(GROUPS == 4, 2, LABELS)
    for seed in range(20):
        split = split_by_group(GROUPS, target, "multiclass", 0.2, seed)
        assert 2 in target[split.kept] and 2 not in target[split.held]
        assert set(target[split.held]) == {0, 1}


def test_of_classes_with_one_group_each_nothing_unseen_is_held_out():
    groups = np.repeat([0, 1, 2], 20)
    assert split_by_group(groups, groups, "multiclass", 0.2, 0) is None


def test_rows_of_weight_zero_are_not_there():
    weight = np.where(GROUPS < 3, 0.0, 1.0)
    split = split_by_group(GROUPS, LABELS, "binary", 0.2, 0, weight)
    rest = np.flatnonzero(weight)
    alone = split_by_group(GROUPS[rest], LABELS[rest], "binary", 0.2, 0)
    assert split.held.tolist() == rest[alone.held].tolist()
    assert split_by_group(GROUPS, LABELS, "binary", 0.2, 0, np.where(GROUPS == 1, 1.0, 0.0)) is None


@pytest.mark.parametrize("n_groups, n_held", [(2, 1), (3, 1), (4, 1), (10, 2)])
def test_of_few_groups_one_is_held_out(n_groups, n_held):
    groups = np.repeat(np.arange(n_groups), 10)
    split = split_by_group(groups, groups * 0.5, "regression", 0.2, 0)
    assert len(np.unique(groups[split.held])) == n_held


def test_folds_are_of_whole_groups():
    fold_of = group_folds(GROUPS, LABELS, "binary", 5, 0)
    assert np.bincount(fold_of).tolist() == [48] * 5
    assert all(len(np.unique(fold_of[g == GROUPS])) == 1 for g in range(N_GROUPS))
    assert set(group_folds(GROUPS[:16], LABELS[:16], "binary", 5, 0)) == {0, 1}


def test_classes_of_one_row_each_are_dealt_as_rows():
    classes, groups = np.arange(12), np.repeat(np.arange(4), 3)
    assert set(group_folds(groups, classes, "multiclass", 5, 0)) == {0, 1, 2, 3}
    assert split_by_group(groups, classes, "multiclass", 0.2, 0) is None  # all would be unseen


# -- fits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", ["auto", True])
@pytest.mark.slow
def test_what_tells_groups_apart_is_no_gain(early_stopping):
    est = MNLClassifier(early_stopping=early_stopping, random_state=0)
    blind = clone(est).fit(X, LABELS)
    assert blind.validation_gain_ > 0.8
    with pytest.warns(RelevanceWarning):
        est.fit(X, LABELS, groups=GROUPS)
    assert est.validation_gain_ < 2 * est.validation_gain_error_


def test_groups_go_with_the_rows_of_a_data_set():
    block = ModalityBlock("row", np.arange(float(N))[:, None])
    rows = to_dataset(ModalityData([block]), LABELS, None, torch.float64)
    rows.group = torch.from_numpy(GROUPS)
    some = rows.sample(50, 0).to("cpu", torch.float64).on_device("cpu")
    numbers = some[:][0].values[0][:, 0].numpy().astype(int)
    assert len(numbers) == 50 and some.group.tolist() == GROUPS[numbers].tolist()


def test_errors_of_gains_are_those_of_groups(monkeypatch):
    y = np.random.default_rng(3).normal(size=N_GROUPS)[GROUPS] + 0.1 * X["noise"][:, 0]
    est = MNLRegressor(**QUICK).fit(X, y, groups=GROUPS)

    def of_rows(rows, dataset):
        assert len(np.unique(rows.groups)) == N_GROUPS // 5
        return replace(row_errors(rows, dataset), group=None)

    monkeypatch.setattr(sklearn_mmfusion._fitting.fit, "row_errors", of_rows)
    other = clone(est).fit(X, y, groups=GROUPS)
    assert est.validation_gain_ == other.validation_gain_
    assert est.validation_gain_error_ > 2 * other.validation_gain_error_


def test_two_groups_are_enough_and_one_says_nothing(seen):
    some = GROUPS % 2
    est = MNLRegressor(**QUICK).fit(X, X["noise"][:, 0], groups=some)
    assert np.isfinite(est.validation_gain_)
    est.fit(X, X["noise"][:, 0], groups=np.zeros(N))
    assert np.isnan(est.validation_gain_)
    assert [len(np.unique(codes)) for codes in seen] == [2, 1]


def test_groups_of_one_row_each_are_rows():
    y = X["noise"][:, 0] + 0.1 * RNG.normal(size=N)
    est = MNLRegressor(**QUICK).fit(X, y, groups=pd.DataFrame({"row": np.arange(N)})["row"])
    rows = clone(est).fit(X, y)
    assert est.validation_gain_ == pytest.approx(rows.validation_gain_, abs=0.1)
    assert est.validation_gain_error_ == pytest.approx(rows.validation_gain_error_, rel=0.5)


@pytest.mark.parametrize("as_weight", [np.asarray, list, pd.Series])
def test_rows_of_weight_zero_have_groups_too(as_weight):
    y, weight = X["noise"][:, 0], np.where(GROUPS % 5 == 2, 0.0, 1.0)
    rest = np.flatnonzero(weight)
    some = {name: values[rest] for name, values in X.items()}
    est = MNLRegressor(**QUICK).fit(X, y, as_weight(weight), groups=GROUPS)
    alone = clone(est).fit(some, y[rest], groups=GROUPS[rest])
    np.testing.assert_allclose(est.predict(X), alone.predict(X), rtol=1e-6)
    assert est.validation_gain_error_ == pytest.approx(alone.validation_gain_error_)
    with pytest.raises(InputError, match=f"each of the {N} rows of X"):
        est.fit(X, y, as_weight(weight), groups=GROUPS[rest])


@pytest.mark.parametrize("method", ["bootstrap", "cv"])
def test_intervals_take_groups_and_weights_of_zero(method):
    weight = np.where(GROUPS % 5 == 2, 0.0, 1.0)
    est = MNLRegressor(**QUICK)
    options = {"groups": GROUPS, "sample_weight": weight, "method": method, "random_state": 0}
    cv = {"cv": 2} if method == "cv" else {}
    found = relevance_intervals(est, X, X["noise"][:, 0], n_refits=2, **options, **cv)
    assert found.scores.shape == (2, 2)


def test_groups_that_leave_nothing_to_hold_out_are_named():
    one, y = np.zeros(N), X["noise"][:, 0]
    with pytest.warns(RelevanceWarning, match="one group in all or of each class"):
        MNLRegressor(**QUICK).fit(X, y, groups=one)
    wanted = {"early_stopping": True, "validation_fraction": 0.2}
    with pytest.raises(InputError, match=r"0\.2 of 240 rows .* from 1 group;.* more groups"):
        MNLRegressor(**QUICK, **wanted).fit(X, y, groups=one)
    with pytest.raises(InputError, match=r"0\.2 of 240 rows .* from 2 groups;"):
        MNLClassifier(**QUICK, **wanted).fit(X, LABELS, groups=LABELS)


def test_groups_that_are_none_change_nothing():
    est = MNLRegressor(**QUICK).fit(X, X["noise"][:, 0])
    before = est.predict(X)
    with pytest.raises(InputError, match="groups: expected one label"):
        est.fit(X, X["noise"][:, 0], groups=GROUPS[:-1])
    np.testing.assert_array_equal(est.predict(X), before)


# -- estimators as encoders ------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [5, GroupKFold(4)])
@pytest.mark.slow
def test_estimators_represent_groups_that_they_have_not_seen(cv):
    encoder = EstimatorEncoder(LogisticRegression(C=100.0), cv=cv)
    est = MNLClassifier(encoders={"who": encoder}, random_state=0)
    est.fit(X, LABELS, groups=GROUPS)
    assert est.validation_gain_ < 0.05
    if cv == 5:
        est.fit(X, LABELS)
        assert est.validation_gain_ > 0.3


def test_splitter_of_groups_asks_for_them():
    encoder = EstimatorEncoder(LogisticRegression(), cv=GroupKFold(3))
    est = MNLClassifier(encoders=encoder, random_state=0)
    with pytest.raises(
        InputError, match=r"cv of EstimatorEncoder: GroupKFold .*pass groups to fit"
    ):
        est.fit(X, LABELS)


# -- who hands groups on ---------------------------------------------------------------------------


def assert_all_are_whole(seen, n_fits):
    assert len(seen) == n_fits
    for codes in seen:  # as many different rows of a group as there are
        assert set(np.bincount(codes)) == {SIZE}


def test_pipelines_hand_groups_on(seen):
    pipeline = make_pipeline("passthrough", MNLRegressor(**QUICK))
    pipeline.fit(ModalityFrame(X), X["noise"][:, 0], mnlregressor__groups=GROUPS)
    assert_all_are_whole(seen, 1)


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_with_metadata_routing_groups_reach_every_fit(seen, in_pipeline):
    est = MNLRegressor(**QUICK)
    grid, prefix = {"max_epochs": [1, 2]}, ""
    if in_pipeline:
        est, prefix = make_pipeline("passthrough", est), "mnlregressor__"
    grid = {f"{prefix}{name}": values for name, values in grid.items()}
    frame, y = ModalityFrame(X), X["noise"][:, 0]
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(est, grid, cv=GroupKFold(3), error_score="raise")
        search.fit(frame, y, groups=GROUPS)
        assert_all_are_whole(seen, 7)
        seen.clear()
        cross_validate(est, frame, y, cv=GroupKFold(3), params={"groups": GROUPS})
        assert_all_are_whole(seen, 3)
        declined = clone(est)
        (declined[-1] if in_pipeline else declined).set_fit_request(groups=False)
        seen.clear()
        cross_validate(declined, frame, y, cv=GroupKFold(3), params={"groups": GROUPS})
    assert seen == [None] * 3


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_comparisons_and_transformers_hand_groups_on(seen, routing, in_pipeline):
    est = MNLRegressor(**QUICK)
    est = make_pipeline("passthrough", est) if in_pipeline else est
    frame, y = ModalityFrame(X), X["noise"][:, 0]
    with config_context(enable_metadata_routing=routing):
        compare_models({"ours": est}, frame, y, cv=GroupKFold(3), groups=GROUPS)
        assert_all_are_whole(seen, 3)
        seen.clear()
        transformer = ContributionTransformer(est, cv=GroupKFold(3))
        transformer.fit_transform(frame, y, groups=GROUPS)
        assert_all_are_whole(seen, 4)


def test_models_that_know_no_groups_are_not_given_any():
    assert groups_for(Ridge(), GROUPS) == {}
    assert groups_for(make_pipeline("passthrough", Ridge()), GROUPS) == {}
    assert groups_for(MNLRegressor(), None) == {}


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_models_that_ask_for_no_groups_are_not_given_any(seen, in_pipeline):
    with config_context(enable_metadata_routing=True):
        est = MNLRegressor(**QUICK).set_fit_request(groups=False)
        est = make_pipeline("passthrough", est) if in_pipeline else est
        assert groups_for(est, GROUPS) == {}
        cv = GroupKFold(2)
        compare_models({"it": est}, ModalityFrame(X), X["noise"][:, 0], cv=cv, groups=GROUPS)
    assert seen == [None, None]


@pytest.mark.parametrize("method", ["seeds", "bootstrap", "cv"])
@pytest.mark.slow
def test_intervals_and_their_null_keep_groups_whole(seen, method):
    est = InTenseClassifier(**QUICK, reg=0.01)
    given = {"method": method, "n_refits": 4, "cv": 2, "groups": GROUPS}
    relevance_intervals(est, X, LABELS, **given, random_state=0)
    assert seen and all(codes is not None and set(np.bincount(codes)) == {SIZE} for codes in seen)


def test_tests_and_sweeps_keep_groups_whole(seen):
    est = InTenseClassifier(**QUICK, reg=0.01)
    relevance_test(est, X, LABELS, groups=GROUPS, n_null=19, random_state=0)
    assert_all_are_whole(seen, 1)
    fitted = est.fit(X, LABELS, groups=GROUPS)
    fitted.sweep(X, LABELS, threshold=0.0, groups=GROUPS)
    assert_all_are_whole(seen, 3)
