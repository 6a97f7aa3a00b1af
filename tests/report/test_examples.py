"""Examples: the rows that are shown are what they are said to be."""

import warnings

import numpy as np
import pytest

from sklearn_mmfusion import fusion_report
from sklearn_mmfusion.report._examples import choose_examples


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
@pytest.mark.parametrize("n_examples", [0, 1, 5, 12, 1000])
def test_examples_are_different_rows_and_as_many_as_asked_for(subject_of, kind, n_examples):
    found = choose_examples(subject_of(kind), n_examples, 0)
    rows = [example.row for example in found]
    assert len(rows) == len(set(rows)) == min(n_examples, 40)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_right_examples_are_right_wrong_ones_surest_and_uncertain_ones_closest(
    fits, subject_of, kind
):
    est, X, y = fits[kind]
    right = est.predict(X) == y
    ordered = np.sort(est.predict_proba(X), axis=1)
    lead = ordered[:, -1] - ordered[:, -2]
    found = choose_examples(subject_of(kind), 6, 0)
    by_kind = {
        why: [e.row for e in found if e.why == why] for why in ("right", "wrong", "uncertain")
    }
    assert {why: len(rows) for why, rows in by_kind.items()} == {
        "right": 2,
        "wrong": 2,
        "uncertain": 2,
    }
    assert right[by_kind["right"]].all()
    wrong = np.flatnonzero(~right)
    assert set(by_kind["wrong"]) == set(wrong[np.argsort(-lead[wrong])][:2])
    others = [row for row in np.argsort(lead) if row not in by_kind["right"] + by_kind["wrong"]]
    assert set(by_kind["uncertain"]) <= set(others[:3])


def test_examples_of_numbers_are_close_or_the_largest_errors(fits, subject_of):
    est, X, y = fits["regression"]
    error = np.abs(est.predict(X) - y)
    found = choose_examples(subject_of("regression"), 6, 0)
    far = [example.row for example in found if example.why == "far off"]
    assert far == np.argsort(-error)[:3].tolist()
    close = [example.row for example in found if example.why == "close"]
    assert (error[close] <= np.median(error)).all()


def test_same_seed_shows_the_same_rows_and_another_others(subject_of):
    rows = [[e.row for e in choose_examples(subject_of("binary"), 8, seed)] for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


def test_output_of_an_example_is_that_of_the_predicted_class(fits, subject_of):
    est, X, _ = fits["multiclass"]
    predicted = est.predict(X)
    for example in choose_examples(subject_of("multiclass"), 10, 0):
        assert est.classes_[example.output] == predicted[example.row]
    assert {e.output for e in choose_examples(subject_of("binary"), 10, 0)} == {0}


def test_output_of_an_example_of_several_numbers_is_the_one_farthest_off_in_its_unit(
    fits, subject_of
):
    est, X, y = fits["multioutput"]
    off = np.abs(est.predict(X) - y) / y.std(axis=0)
    found = choose_examples(subject_of("multioutput"), 12, 0)
    assert [example.output for example in found] == [off[e.row].argmax() for e in found]
    assert {example.output for example in found} == {0, 1}


def test_examples_are_numbered_and_named_by_the_index(fits):
    pd = pytest.importorskip("pandas")
    est, X, y = fits["binary"]
    labels = [f"id{i}" for i in range(len(y))]
    tables = {name: pd.DataFrame(X[name], index=labels) for name in X}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = fusion_report(est, tables, y, n_examples=2)
    found = report.data["examples"]["rows"]
    assert found["columns"][:2] == ["row", "label"]
    assert [row[1] for row in found["rows"]] == [labels[row[0]] for row in found["rows"]]
    assert f"row {found['rows'][0][0]} ({found['rows'][0][1]}): right" in report.html
