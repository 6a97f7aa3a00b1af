"""Labels of rows that contradict the order in which modalities are matched."""

import numpy as np
import pytest
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    cross_val_predict,
    permutation_test_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline

from sklearn_mmfusion import (
    InputError,
    LinearEncoder,
    MNLClassifier,
    ModalityConcatenator,
    ModalityFrame,
    ModalityTransformer,
)
from sklearn_mmfusion.data._row_labels import check_row_labels, row_labels, without_labels
from sklearn_mmfusion.inspection import perceptual_score

pd = pytest.importorskip("pandas")

N = 12
LABELS = [f"id{i}" for i in range(N)]
VALUES = np.random.default_rng(0).normal(size=(N, 2))
Y = np.tile([0, 1], N // 2)


def table(labels):
    return pd.DataFrame(VALUES, columns=["u", "v"], index=labels)


def faults(**labels):
    return check_row_labels((name, table(index)) for name, index in labels.items())


SAME_ELSEWHERE = {
    "texts": (LABELS, LABELS[::-1]),
    "numbers": (range(N), np.roll(np.arange(N), 1)),
    "float and integer": (np.arange(N), np.arange(N)[::-1].astype(float)),
    "repeated": (["a", "b"] * (N // 2), ["b", "a"] * (N // 2)),
    "two levels": (
        pd.MultiIndex.from_product([["a", "b"], range(N // 2)]),
        pd.MultiIndex.from_product([["b", "a"], range(N // 2)]),
    ),
    "dates": (pd.date_range("2020", periods=N), pd.date_range("2020", periods=N)[::-1]),
}
OTHER = {
    "equal": (LABELS, list(LABELS)),
    "equal of another type": (range(N), np.arange(N)),
    "row numbers and identifiers": (range(N), LABELS),
    "row numbers and numbers": (range(N), np.arange(N) + 100),
    "times in two zones": (
        pd.date_range("2020", periods=N, tz="UTC"),
        pd.date_range("2020", periods=N, tz="UTC").tz_convert("Europe/Berlin"),
    ),
    "with gaps": ([np.nan, *LABELS[1:]], [float("nan"), *LABELS[1:]]),
    "with pd.NA": ([pd.NA, *LABELS[1:]], [pd.NA, *LABELS[1:]]),
}
# First labels, second labels, and the first that differ.
ELSE = {
    "mostly the same": (LABELS, [*LABELS[:11], "new"], "'new' in row 11, where 'tab' has 'id11'"),
    "none the same": (LABELS, [f"x{i}" for i in range(N)], "'x0' in row 0, where 'tab' has 'id0'"),
    "numbers": (np.arange(N) + 1, np.arange(N) + 2, "2 in row 0, where 'tab' has 1"),
    "repeated less often": (["a", "a", "b"] * 4, ["a", "b", "b"] * 4, "'b' in row 1"),
    "one and two levels": (
        LABELS,
        pd.MultiIndex.from_product([["a", "b"], range(N // 2)]),
        "('a', 0) in row 0",
    ),
    "a gap": (LABELS, [*LABELS[:4], pd.NA, *LABELS[5:]], " in row 4, where 'tab' has 'id4'"),
}


@pytest.mark.parametrize("labels", SAME_ELSEWHERE.values(), ids=SAME_ELSEWHERE)
def test_same_labels_in_another_order_are_a_fault_that_names_both(labels):
    (fault,) = faults(tab=labels[0], sens=labels[1])
    assert str(fault).startswith(
        "modality 'sens': expected its rows in the order of modality 'tab', got an index with"
    )
    for remedy in ("by position", "reindex", ".reset_index(drop=True)", ".to_numpy()"):
        assert remedy in str(fault)


@pytest.mark.parametrize("labels", OTHER.values(), ids=OTHER)
def test_equal_labels_and_row_numbers_are_fine(labels):
    assert faults(tab=labels[0], sens=labels[1]) == []


def test_labels_beside_numbers_that_were_left_when_rows_were_drawn_are_fine():
    first, second = pd.DataFrame({"x": range(N)}), pd.DataFrame({"x": range(N)}, index=LABELS)
    parts = train_test_split(first, second, random_state=0)
    for one, other in ((parts[0], parts[2]), (parts[3], parts[1])):
        assert check_row_labels([("tab", one), ("sens", other)]) == []


@pytest.mark.parametrize(("first", "second", "said"), ELSE.values(), ids=ELSE)
def test_other_labels_are_a_fault_that_names_both_and_the_first(first, second, said):
    (fault,) = faults(tab=first, sens=second)
    start = "modality 'sens': expected the rows of modality 'tab', got an index with other labels"
    assert str(fault).startswith(f"{start} (first ")
    assert said in str(fault)
    for remedy in ("by position", "reindex", ".loc", ".reset_index(drop=True)", ".to_numpy()"):
        assert remedy in str(fault)


def test_first_label_in_another_order_is_told():
    (fault,) = faults(tab=LABELS, sens=[*LABELS[:10], "id11", "id10"])
    assert "in another order (first 'id11' in row 10, where 'tab' has 'id10')" in str(fault)


def test_tables_of_different_length_are_another_fault():
    assert check_row_labels([("a", table(LABELS)), ("b", table(LABELS)[1:])]) == []


def test_each_modality_in_another_order_than_the_first_is_a_fault():
    found = faults(a=LABELS, b=LABELS[::-1], c=LABELS, d=range(N), e=LABELS[::-1])
    assert [str(fault).split(":")[0] for fault in found] == ["modality 'b'", "modality 'e'"]
    assert all("modality 'a'" in str(fault) for fault in found)


def test_arrays_have_no_labels_and_frames_can_do_without():
    assert check_row_labels([("a", VALUES), ("b", table(LABELS)), ("c", VALUES.tolist())]) == []
    assert without_labels(VALUES) is VALUES
    assert list(without_labels(table(LABELS)).index) == list(range(N))


def mismatched():
    return {"tab": table(LABELS), "sens": table(LABELS[::-1])}


@pytest.mark.parametrize(
    "use",
    [
        ModalityFrame,
        lambda X: MNLClassifier().fit(X, Y),
        lambda X: ModalityTransformer([]).fit(X),
        lambda X: ModalityFrame({"tab": X["tab"]}).__setitem__("sens", X["sens"]),
        lambda X: perceptual_score(fitted(), X, Y),
        lambda X: fitted().predict(X),
    ],
    ids=["frame", "fit", "transformer", "setitem", "inspection", "predict"],
)
def test_every_way_in_refuses_them(use):
    with pytest.raises(InputError, match="modality 'sens': expected .* order of modality 'tab'"):
        use(mismatched())


@pytest.mark.parametrize(
    "use",
    [ModalityFrame, lambda X: MNLClassifier().fit(X, Y), lambda X: fitted().predict(X)],
    ids=["frame", "fit", "predict"],
)
def test_every_way_in_refuses_other_labels(use):
    X = {"tab": table(LABELS), "sens": table([label.upper() for label in LABELS])}
    with pytest.raises(InputError, match="modality 'sens': expected the rows of modality 'tab'"):
        use(X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
def test_labels_of_the_target_are_not_looked_at():
    X = {"tab": table(LABELS), "sens": table(LABELS)}
    y = pd.Series(Y, index=LABELS)
    few = {"max_epochs": 2, "early_stopping": True, "polish": False, "random_state": 0}
    est = MNLClassifier(encoders=LinearEncoder(), **few)
    groups = np.repeat(np.arange(6), 2)  # labels of a fold are those of its rows, shuffled
    found = permutation_test_score(
        est, ModalityFrame(X), y, groups=groups, cv=GroupKFold(3), n_permutations=3, random_state=0
    )
    assert len(found[1]) == 3


def test_series_have_labels_too():
    with pytest.raises(InputError, match="modality 'b'"):
        ModalityFrame({"a": table(LABELS), "b": table(LABELS[::-1])["u"]})


def fitted():
    X = {"tab": table(LABELS), "sens": table(LABELS)}
    return make_pipeline(ModalityConcatenator(), LogisticRegression()).fit(X, Y)


@pytest.mark.parametrize("labels", [LABELS, np.arange(N) + 100], ids=["texts", "numbers"])
def test_rows_of_a_table_without_labels_beside_labelled_ones_have_none(labels):
    X = ModalityFrame({"tab": table(labels), "numbered": table(range(N)), "plain": VALUES})
    order = np.random.default_rng(1).permutation(N)[:7]
    for part in (X[order], X.iloc[order], X.take(order), X[order][::-1][::-1]):
        assert list(part["tab"].index) == [labels[i] for i in order]
        assert list(part["numbered"].index) == list(range(7))
        np.testing.assert_array_equal(part["numbered"], VALUES[order])
    assert list(X["numbered"].index) == list(range(N))
    assert list(X.iloc[order, [1]]["numbered"].index) == list(order)  # alone, as in pandas
    assert cross_val_predict(fitted(), X.iloc[:, :2], Y, cv=3).shape == (N,)


def test_subsets_and_permutations_of_one_order_are_fine():
    X = ModalityFrame({"tab": table(LABELS), "sens": table(LABELS), "other": table(range(N))})
    order = np.random.default_rng(1).permutation(N)
    assert list(X[order]["tab"].index) == [LABELS[i] for i in order]
    assert cross_val_predict(fitted(), X, Y, cv=3).shape == (N,)


@pytest.mark.parametrize("form", [dict, ModalityFrame])
def test_modalities_are_permuted_against_each_other_by_inspection(form):
    X = {"tab": table(LABELS), "sens": table(LABELS)}
    plain = {name: value.to_numpy() for name, value in X.items()}
    found, expected = (
        perceptual_score(fitted(), form(x), Y, n_repeats=3, random_state=0) for x in (X, plain)
    )
    assert found.importances_mean.tolist() == expected.importances_mean.tolist()


def test_rows_that_replace_a_modality_take_its_labels_where_there_are_as_many():
    X = ModalityFrame({"tab": table(LABELS)})
    X["tab"] = X.iloc[::-1, 0]
    assert list(X["tab"].index) == LABELS
    np.testing.assert_array_equal(X["tab"].to_numpy(), VALUES[::-1])
    X["tab"] = X.iloc[:3, 0]
    assert list(X["tab"].index) == LABELS[:3]


def test_permutation_importance_permutes_modalities_with_labels():
    # Rows that were shuffled before: their labels are those of no row numbers.
    order = np.random.default_rng(1).permutation(N)
    X = {"tab": table(order), "sens": table(order)}
    plain = {name: value.to_numpy() for name, value in X.items()}
    found, expected = (
        permutation_importance(fitted(), ModalityFrame(x), Y, n_repeats=3, random_state=0)
        for x in (X, plain)
    )
    np.testing.assert_array_equal(found.importances, expected.importances)


@pytest.mark.parametrize("labels", SAME_ELSEWHERE.values(), ids=SAME_ELSEWHERE)
def test_labels_of_rows_are_those_that_modalities_agree_on(labels):
    first = table(labels[1])
    found = row_labels({"tab": first, "plain": VALUES, "numbered": table(range(N)), "again": first})
    assert list(found) == list(first.index)
    assert list(row_labels(first)) == list(first.index)
    assert found.shape == (N,)


@pytest.mark.parametrize(
    "X",
    [
        VALUES,
        {"a": VALUES, "b": VALUES.tolist()},
        table(range(N)),
        {"a": table(range(N)), "b": table(np.arange(N))},
        {"a": table(LABELS), "b": table([*LABELS[1:], "new"])},
    ],
    ids=["array", "arrays", "numbered table", "numbered tables", "tables that disagree"],
)
def test_rows_have_no_labels_where_there_are_none_or_modalities_disagree(X):
    assert row_labels(X) is None


def test_labels_of_rows_of_the_modalities_that_are_named_alone():
    X = {"a": table(LABELS), "b": table([*LABELS[1:], "new"])}
    assert list(row_labels(X, ["a"])) == LABELS
