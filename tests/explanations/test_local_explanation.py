"""Local explanations: tables, text and HTML against the arrays they are made of."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from explanation_data import TERMS, Table, local_data, regression_data
from sklearn.linear_model import LogisticRegression

from sklearn_mmfusion import (
    InTenseClassifier,
    LateVotingClassifier,
    LinearEncoder,
    MKLClassifier,
    RoutingClassifier,
)
from sklearn_mmfusion._explanations import LocalExplanation
from sklearn_mmfusion._explanations.local_explanation import HTML_OUTPUTS
from sklearn_mmfusion._explanations.tables import HTML_ROWS
from sklearn_mmfusion.plotting import ContributionDisplay


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


# --- local ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("concepts", [("no", "yes"), ("a", "b", "c")])
@pytest.mark.parametrize(
    ("quantity", "key", "axes"),
    [
        ("contribution", "contributions", ["sample", "term", "output"]),
        ("routing", "routing_coefficients", ["sample", "term", "concept"]),
        ("activation", "activations", ["sample", "term"]),
        ("routed_activation", "routed_activations", ["sample", "term", "concept"]),
    ],
)
def test_local_frame_holds_each_number_once(quantity, key, axes, concepts):
    pytest.importorskip("pandas")
    data = local_data(concepts=concepts) | {"sample_index": np.array([9, 4, 2, 7, 5, 1])}
    frame = LocalExplanation(data).to_frame(quantity)
    assert frame.columns.tolist() == [*axes, quantity]
    assert len(frame) == data[key].size
    assert not frame.duplicated(axes).any()
    names = {
        "sample": list(data["sample_index"]),
        "term": TERMS,
        "concept": data["concept_names"],
        "output": data["output_names"],
    }
    for _, row in frame.iterrows():
        position = tuple(names[axis].index(row[axis]) for axis in axes)
        assert row[quantity] == data[key][position]


def test_local_frame_is_of_contributions_unless_there_are_none():
    pytest.importorskip("pandas")
    data = local_data()
    assert "contribution" in LocalExplanation(data).to_frame()
    without = {key: value for key, value in data.items() if key != "contributions"}
    assert "routing" in LocalExplanation(without).to_frame()


def test_decision_frame_adds_up():
    pytest.importorskip("pandas")
    frame = LocalExplanation(data := local_data()).to_frame("decision")
    assert frame.columns.tolist() == ["sample", "output", "intercept", "contributions", "decision"]
    np.testing.assert_allclose(frame["intercept"] + frame["contributions"], frame["decision"])
    np.testing.assert_array_equal(frame["decision"], data["decision"].ravel())
    alone = LocalExplanation(data | {"contributions": None}).to_frame("decision")
    assert alone.columns.tolist() == ["sample", "output", "decision"]


@pytest.mark.parametrize("labels", [("no", "yes"), ("a", "b", "c"), (3, 5, 8)])
def test_probability_frame_says_which_concept_is_predicted_and_true(labels):
    pytest.importorskip("pandas")
    data = local_data(concepts=labels)
    frame = LocalExplanation(data).to_frame("probability")
    np.testing.assert_array_equal(frame["probability"], data["probabilities"].ravel())
    for word, key in (("predicted", "predicted"), ("true", "y")):
        assert frame.loc[frame[word], "concept"].tolist() == data[key].tolist()
    assert "true" not in LocalExplanation(data | {"y": None}).to_frame("probability")


def test_multilabel_predictions_are_flags_per_label_and_names_in_words():
    pytest.importorskip("pandas")
    flags = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]])
    data = local_data(n_samples=3, concepts=("rain", "wind", "snow"))
    explanation = LocalExplanation(data | {"predicted": flags, "y": flags[::-1]})
    frame = explanation.to_frame("probability")
    np.testing.assert_array_equal(frame["predicted"], flags.ravel().astype(bool))
    np.testing.assert_array_equal(frame["true"], flags[::-1].ravel().astype(bool))
    said = [explanation.label_text(row, "predicted") for row in range(3)]
    assert said == ["wind, snow", "none", "rain"]


def test_deviation_is_the_largest_difference_from_the_decision():
    data = local_data()
    assert LocalExplanation(data).deviation < 1e-14
    data["decision"] = data["decision"].copy()
    data["decision"][2, 1] += 0.125
    explanation = LocalExplanation(data)
    assert explanation.deviation == pytest.approx(0.125, abs=1e-14)
    assert "do NOT add up to the decision; largest deviation 1.2e-01" in str(explanation)
    assert LocalExplanation(data | {"intercept": None}).deviation is None
    assert explanation[:0].deviation is None


def test_local_says_in_text_and_html_that_the_parts_add_up():
    explanation = LocalExplanation(local_data())
    sentence = (
        "Intercept and the contributions of all 3 terms add up to the decision; largest deviation "
        f"{explanation.deviation:.1e}."
    )
    assert str(explanation).splitlines() == [repr(explanation), sentence]
    assert sentence in explanation._repr_html_()


def test_local_html_names_the_largest_contributions_to_the_largest_decision():
    terms = ["t1", "t2", "t3", "t4", "t5"]
    data = local_data(terms=terms)
    table = Table(LocalExplanation(data)._repr_html_())
    output = data["decision"][4].argmax()
    parts = dict(zip(terms, data["contributions"][4, :, output], strict=True))
    largest = sorted(parts, key=lambda term: -abs(parts[term]))[:3]
    assert table.rows[5] == [
        "4",
        data["y"][4],
        data["predicted"][4],
        data["concept_names"][output],
        f"{data['decision'][4, output]:+.3g}",
        f"{data['intercept'][output]:+.3g}",
        ", ".join(f"{term} {parts[term]:+.3g}" for term in largest),
    ]


def test_local_html_is_cut_with_a_note():
    html = LocalExplanation(local_data(n_samples=HTML_ROWS + 7))._repr_html_()
    assert len(Table(html).rows) == 1 + HTML_ROWS
    assert "7 more samples are not shown" in html


@pytest.mark.parametrize(
    ("rows", "positions"),
    [
        (3, [3]),
        (-1, [5]),
        (slice(None, 2), [0, 1]),
        (slice(None, None, -2), [5, 3, 1]),
        ([4, 0], [4, 0]),
        (np.array([True, False, False, True, False, False]), [0, 3]),
        ([], []),
    ],
)
def test_rows_of_a_local_explanation_are_one(rows, positions):
    data = local_data() | {"sample_labels": list("uvwxyz")}
    explanation = LocalExplanation(data)
    taken = explanation[rows]
    assert isinstance(taken, LocalExplanation)
    assert len(taken) == len(positions)
    per_sample = {key for key, letters in LocalExplanation._shapes.items() if letters[0] == "n"}
    assert per_sample == set(data) - {
        "kind",
        "term_names",
        "concept_names",
        "output_names",
        "intercept",
    }
    for key, value in data.items():
        expected = np.asarray(value)[positions] if key in per_sample else value
        np.testing.assert_array_equal(taken.data[key], expected)
    assert len(explanation) == 6


def test_iterating_a_local_explanation_ends():
    explanation = LocalExplanation(local_data())
    assert [one.data["sample_index"].tolist() for one in explanation] == [[i] for i in range(6)]
    with pytest.raises(IndexError):
        explanation[6]


def test_label_of_a_row_is_refused_with_the_way_to_its_position():
    with pytest.raises(IndexError, match=r"by position, got 'p1': .*sample_names.index\(label\)"):
        LocalExplanation(local_data())["p1"]


def test_html_of_a_regressor_has_a_row_per_output_and_speaks_of_predictions():
    explanation = LocalExplanation(data := regression_data())
    table = Table(explanation._repr_html_())
    assert table.rows[0] == [
        "sample",
        "true",
        "output",
        "prediction",
        "intercept",
        "largest contributions",
    ]
    assert len(table.rows) == 1 + 4 * 2
    true = ", ".join(f"{number:.4g}" for number in data["y"][1])
    assert table.rows[4][:4] == ["1", true, "y1", f"{data['decision'][1, 1]:+.3g}"]
    assert "of all 3 terms add up to the prediction" in explanation._repr_html_()
    html = LocalExplanation(regression_data(HTML_OUTPUTS + 3))._repr_html_()
    assert len(Table(html).rows) == 1 + 4 * HTML_OUTPUTS
    assert "3 more outputs are not shown" in html


def test_numbers_of_a_regressor_are_not_taken_for_labels():
    data = regression_data() | {"predicted": np.array([[0.0, 1.0]] * 4)}
    assert LocalExplanation(data).label_text(0, "predicted") == "0, 1"


def test_probabilities_without_concepts_are_named_by_class():
    pytest.importorskip("pandas")
    data = local_data(concepts=("no", "yes"))
    names = data.pop("concept_names")
    for key in ("routing_coefficients", "routed_activations"):
        del data[key]
    frame = LocalExplanation(data | {"class_names": names}).to_frame("probability")
    assert frame.columns.tolist() == ["sample", "class", "probability", "predicted", "true"]
    assert frame["class"].tolist() == ["no", "yes"] * 6
    assert frame.loc[frame["predicted"], "class"].tolist() == data["predicted"].tolist()


@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "model",
    [
        InTenseClassifier(encoders=LinearEncoder(), max_epochs=2, interactions=2, random_state=0),
        RoutingClassifier(encoders=LinearEncoder(), max_epochs=2, interactions=2, random_state=0),
        MKLClassifier(),
        LateVotingClassifier(LogisticRegression(), random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_what_is_missing_is_told_from_what_has_no_effect(model):
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(40, 2)), "b": rng.normal(size=(40, 2))}
    X["b"][:4] = np.nan
    y = rng.integers(2, size=40)
    found = model.set_params(missing="mask").fit(X, y).explain_local(X)
    lacks_b = np.arange(40) < 4
    for t, term in enumerate(model.term_modalities_):
        np.testing.assert_array_equal(found.data["absent"][:, t], lacks_b & ("b" in term))
    assert not found.data["contributions"][found.data["absent"]].any()
    assert "b missing" in found[:1]._repr_html_()
    assert "missing" not in found[4:5]._repr_html_()
    picture = ContributionDisplay(found[:1]).plot(kind="bars")
    texts = [text.get_text() for text in picture.ax_.texts]
    assert texts.count("missing") == sum("b" in term for term in model.term_modalities_)
    whole = {name: values[4:] for name, values in X.items()}
    assert model.explain_local(whole).data["absent"] is None
