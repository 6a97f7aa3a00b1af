"""Explanation objects: tables, text and HTML against the arrays they are made of."""

import pickle
import re
import sys
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._explanation_base import DISPLAYS
from sklearn_mmfusion._explanation_local import HTML_OUTPUTS
from sklearn_mmfusion._explanation_tables import HTML_COLUMNS, HTML_ROWS
from sklearn_mmfusion._explanations import GlobalExplanation, LocalExplanation
from sklearn_mmfusion.plotting import RoutingDisplay

TERMS = ["text", "audio", "text x audio"]
HOSTILE = "<script>alert('x')</script> & co"


def _local_data(n_samples=6, concepts=("sad", "angry", "happy", "calm"), terms=TERMS, seed=0):
    """Return what a routing model computes, with random votes in place of a fit."""
    rng = np.random.default_rng(seed)
    names, n_terms = list(concepts), len(terms)
    # Unequal concepts: some means differ from 1/J, some do not.
    routing = rng.dirichlet(np.linspace(0.7, 1.3, len(names)), size=(n_samples, n_terms))
    activations = rng.random((n_samples, n_terms))
    routed = activations[:, :, None] * routing
    contributions = routed * rng.normal(size=routed.shape)
    intercept = rng.normal(size=len(names))
    if len(names) == 2:
        contributions = contributions[..., 1:] - contributions[..., :1]
        intercept = intercept[1:] - intercept[:1]
    decision = intercept + contributions.sum(axis=1)
    logits = decision if len(names) > 2 else np.hstack([np.zeros_like(decision), decision])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return {
        "kind": "routing",
        "term_names": list(terms),
        "concept_names": names,
        "output_names": names if len(names) > 2 else names[1:],
        "sample_index": np.arange(n_samples),
        "routing_coefficients": routing,
        "activations": activations,
        "routed_activations": routed,
        "contributions": contributions,
        "intercept": intercept,
        "decision": decision,
        "probabilities": probabilities,
        "predicted": np.array(names)[probabilities.argmax(axis=1)],
        "y": np.array(names)[rng.integers(len(names), size=n_samples)],
    }


def _global_data(**params):
    local = _local_data(**{"n_samples": 50} | params)
    data = {key: local[key] for key in ("kind", "term_names", "concept_names")}
    for key, interval_key in (
        ("routing_coefficients", "routing_intervals"),
        ("activations", "activation_intervals"),
        ("routed_activations", "routed_activation_intervals"),
    ):
        mean, half = local[key].mean(axis=0), 1.96 * local[key].std(axis=0, ddof=1) / np.sqrt(50)
        data |= {key: mean, interval_key: np.stack([mean - half, mean + half], axis=-1)}
    share = np.abs(local["contributions"]).mean(axis=(0, 2))
    data["contribution_share"] = share / share.sum()
    data["relevance"] = data["activations"] / data["activations"].sum()
    return data | {"n_samples": 50, "uniform": 1 / len(local["concept_names"])}


class _Table(HTMLParser):
    """The texts of the cells of a table, row by row, and the names of all tags."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.tags, self.cell = [], set(), False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = False

    def handle_data(self, data):
        if self.cell:
            self.rows[-1][-1] += data


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


# --- global ---------------------------------------------------------------------------------------


def test_significant_is_where_the_interval_excludes_uniform_routing():
    explanation = GlobalExplanation(
        {
            "term_names": ["above", "below and at", "around", "unused"],
            "concept_names": ["a", "b"],
            "routing_coefficients": np.full((4, 2), 0.5),
            "routing_intervals": [
                [[0.51, 0.6], [0.6, 0.9]],
                [[0.1, 0.49], [0.1, 0.5]],
                [[0.2, 0.7], [0.499, 0.501]],
                # Coefficients that never left 1/J: the interval is as narrow as round-off.
                [[0.5 + 1e-12, 0.5 + 2e-12], [0.5 - 2e-8, 0.5 - 1e-8]],
            ],
        }
    )
    expected = [[True, True], [True, False], [False, False], [False, False]]
    np.testing.assert_array_equal(explanation.significant, expected)


def test_interval_of_one_sample_is_nan_and_never_significant():
    data = _global_data()
    data["routing_intervals"] = np.full_like(data["routing_intervals"], np.nan)
    explanation = GlobalExplanation(data)
    assert not explanation.significant.any()
    assert "±" not in _Table(explanation._repr_html_()).rows[1][1]


def test_uniform_is_one_over_the_number_of_concepts_unless_it_is_given():
    data = _global_data()
    assert GlobalExplanation(data | {"uniform": None}).uniform == 0.25
    assert GlobalExplanation(data | {"uniform": 0.4}).uniform == 0.4
    assert GlobalExplanation({"term_names": TERMS}).uniform is None


def test_global_frame_has_a_row_per_term_and_concept():
    pytest.importorskip("pandas")
    data = _global_data()
    frame = GlobalExplanation(data).to_frame()
    assert frame.columns.tolist() == [
        "term",
        "concept",
        "routing",
        "routing_low",
        "routing_high",
        "significant",
        "activation",
        "activation_low",
        "activation_high",
        "routed_activation",
        "routed_activation_low",
        "routed_activation_high",
        "relevance",
        "contribution_share",
    ]
    assert len(frame) == 3 * 4
    for _, row in frame.iterrows():
        term, concept = TERMS.index(row["term"]), data["concept_names"].index(row["concept"])
        low, high = data["routing_intervals"][term, concept]
        assert row["routing"] == data["routing_coefficients"][term, concept]
        assert (row["routing_low"], row["routing_high"]) == (low, high)
        assert row["significant"] == (not low <= 0.25 <= high)
        assert row["activation"] == data["activations"][term]
        assert row["activation_high"] == data["activation_intervals"][term, 1]
        assert row["routed_activation"] == data["routed_activations"][term, concept]
        low = data["routed_activation_intervals"][term, concept, 0]
        assert row["routed_activation_low"] == low
        assert row["relevance"] == data["relevance"][term]
        assert row["contribution_share"] == data["contribution_share"][term]


def test_global_frame_of_a_model_without_routing_has_a_row_per_term():
    pytest.importorskip("pandas")
    data = _global_data()
    kept = ("term_names", "concept_names", "activations", "activation_intervals")
    explanation = GlobalExplanation(
        {key: data[key] for key in kept} | {"routing_coefficients": None}
    )
    frame = explanation.to_frame()
    assert frame.columns.tolist() == ["term", "activation", "activation_low", "activation_high"]
    np.testing.assert_array_equal(frame["activation"], data["activations"])
    assert explanation.significant is None
    assert _Table(explanation._repr_html_()).rows[0] == ["term", "activation"]


def test_global_html_holds_means_half_widths_and_bold_where_significant():
    explanation = GlobalExplanation(data := _global_data())
    html = explanation._repr_html_()
    table = _Table(html)
    assert table.rows[0][:5] == ["term", *data["concept_names"]]
    ends = data["routing_intervals"][1, 2]
    expected = f"{data['routing_coefficients'][1, 2]:.3f} ± {(ends[1] - ends[0]) / 2:.3f}"
    assert table.rows[2][3] == expected
    assert html.count("<b>") == explanation.significant.sum()
    assert 0 < explanation.significant.sum() < explanation.significant.size


def test_global_html_is_cut_with_a_note():
    terms = [f"term {i}" for i in range(HTML_ROWS + 5)]
    concepts = [f"c{i}" for i in range(HTML_COLUMNS + 3)]
    html = GlobalExplanation(_global_data(terms=terms, concepts=concepts))._repr_html_()
    assert len(_Table(html).rows) == 1 + HTML_ROWS
    assert "5 more terms are not shown" in html
    assert "3 more concepts are not shown" in html


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
    data = _local_data(concepts=concepts) | {"sample_index": np.array([9, 4, 2, 7, 5, 1])}
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
    data = _local_data()
    assert "contribution" in LocalExplanation(data).to_frame()
    without = {key: value for key, value in data.items() if key != "contributions"}
    assert "routing" in LocalExplanation(without).to_frame()


def test_decision_frame_adds_up():
    pytest.importorskip("pandas")
    frame = LocalExplanation(data := _local_data()).to_frame("decision")
    assert frame.columns.tolist() == ["sample", "output", "intercept", "contributions", "decision"]
    np.testing.assert_allclose(frame["intercept"] + frame["contributions"], frame["decision"])
    np.testing.assert_array_equal(frame["decision"], data["decision"].ravel())
    alone = LocalExplanation(data | {"contributions": None}).to_frame("decision")
    assert alone.columns.tolist() == ["sample", "output", "decision"]


@pytest.mark.parametrize("labels", [("no", "yes"), ("a", "b", "c"), (3, 5, 8)])
def test_probability_frame_says_which_concept_is_predicted_and_true(labels):
    pytest.importorskip("pandas")
    data = _local_data(concepts=labels)
    frame = LocalExplanation(data).to_frame("probability")
    np.testing.assert_array_equal(frame["probability"], data["probabilities"].ravel())
    for word, key in (("predicted", "predicted"), ("true", "y")):
        assert frame.loc[frame[word], "concept"].tolist() == data[key].tolist()
    assert "true" not in LocalExplanation(data | {"y": None}).to_frame("probability")


def test_multilabel_predictions_are_flags_per_label_and_names_in_words():
    pytest.importorskip("pandas")
    flags = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]])
    data = _local_data(n_samples=3, concepts=("rain", "wind", "snow"))
    explanation = LocalExplanation(data | {"predicted": flags, "y": flags[::-1]})
    frame = explanation.to_frame("probability")
    np.testing.assert_array_equal(frame["predicted"], flags.ravel().astype(bool))
    np.testing.assert_array_equal(frame["true"], flags[::-1].ravel().astype(bool))
    said = [explanation.label_text(row, "predicted") for row in range(3)]
    assert said == ["wind, snow", "none", "rain"]


def test_deviation_is_the_largest_difference_from_the_decision():
    data = _local_data()
    assert LocalExplanation(data).deviation < 1e-14
    data["decision"] = data["decision"].copy()
    data["decision"][2, 1] += 0.125
    explanation = LocalExplanation(data)
    assert explanation.deviation == pytest.approx(0.125, abs=1e-14)
    assert "do NOT add up to the decision; largest deviation 1.2e-01" in str(explanation)
    assert LocalExplanation(data | {"intercept": None}).deviation is None
    assert explanation[:0].deviation is None


def test_local_says_in_text_and_html_that_the_parts_add_up():
    explanation = LocalExplanation(_local_data())
    sentence = (
        "Intercept and the contributions of all 3 terms add up to the decision; largest deviation "
        f"{explanation.deviation:.1e}."
    )
    assert str(explanation).splitlines() == [repr(explanation), sentence]
    assert sentence in explanation._repr_html_()


def test_local_html_names_the_largest_contributions_to_the_largest_decision():
    terms = ["t1", "t2", "t3", "t4", "t5"]
    data = _local_data(terms=terms)
    table = _Table(LocalExplanation(data)._repr_html_())
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
    html = LocalExplanation(_local_data(n_samples=HTML_ROWS + 7))._repr_html_()
    assert len(_Table(html).rows) == 1 + HTML_ROWS
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
    data = _local_data() | {"sample_labels": list("uvwxyz")}
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
    explanation = LocalExplanation(_local_data())
    assert [one.data["sample_index"].tolist() for one in explanation] == [[i] for i in range(6)]
    with pytest.raises(IndexError):
        explanation[6]


# --- without routing ------------------------------------------------------------------------------


def _additive_global(outputs=("happy", "sad")):
    rng = np.random.default_rng(0)
    std, size = rng.random((2, 3, len(outputs)))
    return {
        "kind": "relevance",
        "term_names": TERMS,
        "output_names": list(outputs),
        "n_samples": 30,
        "relevance": np.array([0.5, 0.2, 0.3]),
        "contribution_std": std,
        "std_share": std.mean(1) / std.mean(1).sum(),
        "mean_absolute_contribution": size,
        "mean_absolute_intervals": np.stack([size - 0.1, size + 0.2], axis=-1),
    }


def test_global_frame_without_routing_has_a_row_per_term_and_output():
    pytest.importorskip("pandas")
    frame = GlobalExplanation(data := _additive_global()).to_frame()
    assert frame.columns.tolist() == [
        "term",
        "output",
        "contribution_std",
        "mean_absolute",
        "mean_absolute_low",
        "mean_absolute_high",
        "relevance",
        "std_share",
    ]
    assert len(frame) == 3 * 2
    for _, row in frame.iterrows():
        term, output = TERMS.index(row["term"]), data["output_names"].index(row["output"])
        assert row["contribution_std"] == data["contribution_std"][term, output]
        size = data["mean_absolute_contribution"][term, output]
        assert row["mean_absolute"] == size
        assert (row["mean_absolute_low"], row["mean_absolute_high"]) == (size - 0.1, size + 0.2)
        assert row["relevance"] == data["relevance"][term]


def test_global_tables_of_routing_are_asked_for_by_name():
    pytest.importorskip("pandas")
    std = np.random.default_rng(1).random((3, 4))
    data = _global_data() | {"output_names": ["a", "b", "c", "d"], "contribution_std": std}
    explanation = GlobalExplanation(data)
    assert "routing" in explanation.to_frame()
    activation = explanation.to_frame("activation")
    assert activation["term"].tolist() == TERMS
    np.testing.assert_array_equal(activation["activation"], data["activations"])
    frame = explanation.to_frame("contribution")
    np.testing.assert_array_equal(frame["contribution_std"], std.ravel())
    assert frame["output"].tolist() == ["a", "b", "c", "d"] * 3
    assert explanation.to_frame("relevance")["relevance"].tolist() == data["relevance"].tolist()
    with pytest.raises(InputError, match=r"'mood'; this explanation has \['routing', 'activation"):
        explanation.to_frame("mood")


def test_global_html_without_routing_has_a_column_per_output():
    table = _Table(GlobalExplanation(data := _additive_global())._repr_html_())
    assert table.rows[0] == [
        "term",
        "relevance",
        "share of std",
        "std of contribution: happy",
        "std of contribution: sad",
        "mean absolute contribution: happy",
        "mean absolute contribution: sad",
    ]
    assert table.rows[2][1] == "0.200"
    assert table.rows[2][4] == f"{data['contribution_std'][1, 1]:.3f}"
    assert table.rows[2][6] == f"{data['mean_absolute_contribution'][1, 1]:.3f} ± 0.150"
    one = _Table(GlobalExplanation(_additive_global(["happy"]))._repr_html_())
    assert one.rows[0][3:] == ["std of contribution", "mean absolute contribution"]
    many = [f"y{i}" for i in range(9)]
    html = GlobalExplanation(_additive_global(many))._repr_html_()
    assert len(_Table(html).rows[0]) == 1 + HTML_COLUMNS
    assert f"{2 + 18 - HTML_COLUMNS} more columns are not shown" in html


def _regression_data(n_outputs=2, n_samples=4):
    rng = np.random.default_rng(0)
    contributions = rng.normal(size=(n_samples, 3, n_outputs))
    intercept = rng.normal(size=n_outputs)
    decision = contributions.sum(axis=1) + intercept
    return {
        "kind": "contribution",
        "target": "regression",
        "term_names": TERMS,
        "output_names": [f"y{i}" for i in range(n_outputs)],
        "sample_index": np.arange(n_samples),
        "contributions": contributions,
        "intercept": intercept,
        "decision": decision,
        "predicted": decision,
        "y": rng.normal(size=(n_samples, n_outputs)),
    }


def test_html_of_a_regressor_has_a_row_per_output_and_speaks_of_predictions():
    explanation = LocalExplanation(data := _regression_data())
    table = _Table(explanation._repr_html_())
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
    html = LocalExplanation(_regression_data(HTML_OUTPUTS + 3))._repr_html_()
    assert len(_Table(html).rows) == 1 + 4 * HTML_OUTPUTS
    assert "3 more outputs are not shown" in html


def test_numbers_of_a_regressor_are_not_taken_for_labels():
    data = _regression_data() | {"predicted": np.array([[0.0, 1.0]] * 4)}
    assert LocalExplanation(data).label_text(0, "predicted") == "0, 1"


def test_probabilities_without_concepts_are_named_by_class():
    pytest.importorskip("pandas")
    data = _local_data(concepts=("no", "yes"))
    names = data.pop("concept_names")
    for key in ("routing_coefficients", "routed_activations"):
        del data[key]
    frame = LocalExplanation(data | {"class_names": names}).to_frame("probability")
    assert frame.columns.tolist() == ["sample", "class", "probability", "predicted", "true"]
    assert frame["class"].tolist() == ["no", "yes"] * 6
    assert frame.loc[frame["predicted"], "class"].tolist() == data["predicted"].tolist()


# --- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "explanation",
    [
        GlobalExplanation(_global_data(terms=[HOSTILE, "b"], concepts=[HOSTILE, "c"])),
        LocalExplanation(_local_data(terms=[HOSTILE, "b"], concepts=["a", HOSTILE])),
        GlobalExplanation(_additive_global([HOSTILE, "c"])),
        LocalExplanation(_regression_data() | {"output_names": [HOSTILE, "c"]}),
    ],
    ids=["global", "local", "outputs", "targets"],
)
def test_html_escapes_names(explanation):
    html = explanation._repr_html_()
    table = _Table(html)
    assert "script" not in table.tags
    assert not re.search(r"<script|</script", html)
    assert any(HOSTILE in cell for row in table.rows for cell in row)


def test_repr_is_one_short_line():
    expected = "n_samples=50, n_terms=3, n_concepts=4)"
    assert (
        repr(GlobalExplanation(_global_data())) == f"GlobalExplanation(kind='routing', {expected}"
    )
    expected = "n_samples=6, n_terms=3, n_concepts=4)"
    assert repr(LocalExplanation(_local_data())) == f"LocalExplanation(kind='routing', {expected}"


@pytest.mark.parametrize(
    "explanation",
    [GlobalExplanation(_global_data()), LocalExplanation(_local_data())],
    ids=["global", "local"],
)
def test_pickle_keeps_the_data(explanation):
    copy = pickle.loads(pickle.dumps(explanation))
    assert type(copy) is type(explanation)
    assert list(copy.data) == list(explanation.data)
    for key, value in explanation.data.items():
        np.testing.assert_array_equal(copy.data[key], value)


def test_given_data_are_not_changed():
    data = {"term_names": ["a"], "activations": [0.5]}
    explanation = GlobalExplanation(data)
    assert data == {"term_names": ["a"], "activations": [0.5]}
    assert isinstance(explanation.data["activations"], np.ndarray)


def test_plot_gives_the_display_of_the_explanation():
    explanation = GlobalExplanation(_global_data())
    display = explanation.plot(quantity="activation")
    assert isinstance(display, RoutingDisplay)
    assert display.explanation is explanation
    assert display.ax_.get_title(loc="left").startswith("activation")
    ax = plt.subplots()[1]
    assert LocalExplanation(_local_data())[2].plot(ax=ax).ax_ is ax


def test_every_kind_has_a_display_that_exists():
    kinds = ("relevance", "contribution", "routing", "activation")
    assert set(DISPLAYS) == {(scope, kind) for scope in ("global", "local") for kind in kinds}
    whole, local = _global_data() | {"std_share": np.full(3, 1 / 3)}, _local_data()
    for (scope, kind), name in DISPLAYS.items():
        explain, data = (
            (GlobalExplanation, whole) if scope == "global" else (LocalExplanation, local)
        )
        assert type(explain(data | {"kind": kind}).plot()).__name__ == name
    with pytest.raises(InputError, match=r"'mood'; there are pictures of \['activation', 'contri"):
        GlobalExplanation({"kind": "mood", "term_names": TERMS}).plot()


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("routing_coefficients", "routing"),
        ("activations", "activation"),
        ("relevance", "relevance"),
        ("contribution_share", "contribution"),
    ],
)
def test_kind_is_read_off_the_quantities(key, kind):
    data = {name: value for name, value in _global_data().items() if name != "kind"}
    kept = {"term_names": TERMS, "concept_names": data["concept_names"], key: data[key]}
    assert GlobalExplanation(kept).kind == kind
    assert GlobalExplanation(kept | {"kind": "routing"}).kind == "routing"


@pytest.mark.parametrize(
    "explanation",
    [GlobalExplanation(_global_data()), LocalExplanation(_local_data())],
    ids=["global", "local"],
)
def test_frame_without_pandas_says_what_to_install(explanation, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame needs pandas; install the extra 'frames'"):
        explanation.to_frame()
    assert "<table>" in explanation._repr_html_()


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (GlobalExplanation, {"term_names": None}, "needs term_names"),
        (GlobalExplanation, {"activations": np.ones(2)}, r"activations has shape \(2,\).*T = 3"),
        (GlobalExplanation, {"routing_intervals": np.ones((3, 4))}, "routing_intervals has shape"),
        (GlobalExplanation, {"concept_names": ["a"]}, "routing_coefficients has shape"),
        (LocalExplanation, {"sample_index": None}, "needs sample_index"),
        (LocalExplanation, {"predicted": np.ones(5)}, r"predicted has shape \(5,\).*n = 6"),
        (LocalExplanation, {"output_names": ["a"]}, "contributions has shape"),
        (LocalExplanation, {"intercept": np.ones(3)}, "intercept has shape"),
    ],
)
def test_quantities_that_do_not_fit_the_names_are_refused(make, change, message):
    data = _global_data() if make is GlobalExplanation else _local_data()
    with pytest.raises(InputError, match=message):
        make(data | change)


def test_unknown_quantity_is_refused_with_those_there_are():
    pytest.importorskip("pandas")
    explanation = LocalExplanation(_local_data() | {"decision": None})
    with pytest.raises(InputError, match=r"'votes'; this explanation has \['contribution'"):
        explanation.to_frame("votes")
    with pytest.raises(InputError, match="'decision'"):
        explanation.to_frame("decision")
