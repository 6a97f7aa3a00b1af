"""Global explanations: tables, text and HTML against the arrays they are made of."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from explanation_data import TERMS, Table, additive_global, global_data

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._explanations import GlobalExplanation
from sklearn_mmfusion._explanations.tables import HTML_COLUMNS, HTML_ROWS


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
    data = global_data()
    data["routing_intervals"] = np.full_like(data["routing_intervals"], np.nan)
    explanation = GlobalExplanation(data)
    assert not explanation.significant.any()
    assert "±" not in Table(explanation._repr_html_()).rows[1][1]


def test_uniform_is_one_over_the_number_of_concepts_unless_it_is_given():
    data = global_data()
    assert GlobalExplanation(data | {"uniform": None}).uniform == 0.25
    assert GlobalExplanation(data | {"uniform": 0.4}).uniform == 0.4
    assert GlobalExplanation({"term_names": TERMS}).uniform is None


def test_global_frame_has_a_row_per_term_and_concept():
    pytest.importorskip("pandas")
    data = global_data()
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
    data = global_data()
    kept = ("term_names", "concept_names", "activations", "activation_intervals")
    explanation = GlobalExplanation(
        {key: data[key] for key in kept} | {"routing_coefficients": None}
    )
    frame = explanation.to_frame()
    assert frame.columns.tolist() == ["term", "activation", "activation_low", "activation_high"]
    np.testing.assert_array_equal(frame["activation"], data["activations"])
    assert explanation.significant is None
    assert Table(explanation._repr_html_()).rows[0] == ["term", "activation"]


def test_global_html_holds_means_half_widths_and_bold_where_significant():
    explanation = GlobalExplanation(data := global_data())
    html = explanation._repr_html_()
    table = Table(html)
    assert table.rows[0][:5] == ["term", *data["concept_names"]]
    ends = data["routing_intervals"][1, 2]
    expected = f"{data['routing_coefficients'][1, 2]:.3f} ± {(ends[1] - ends[0]) / 2:.3f}"
    assert table.rows[2][3] == expected
    assert html.count("<b>") == explanation.significant.sum()
    assert 0 < explanation.significant.sum() < explanation.significant.size


def test_global_html_is_cut_with_a_note():
    terms = [f"term {i}" for i in range(HTML_ROWS + 5)]
    concepts = [f"c{i}" for i in range(HTML_COLUMNS + 3)]
    html = GlobalExplanation(global_data(terms=terms, concepts=concepts))._repr_html_()
    assert len(Table(html).rows) == 1 + HTML_ROWS
    assert "5 more terms are not shown" in html
    assert "3 more concepts are not shown" in html


def test_global_frame_without_routing_has_a_row_per_term_and_output():
    pytest.importorskip("pandas")
    frame = GlobalExplanation(data := additive_global()).to_frame()
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
    data = global_data() | {"output_names": ["a", "b", "c", "d"], "contribution_std": std}
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
    table = Table(GlobalExplanation(data := additive_global())._repr_html_())
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
    one = Table(GlobalExplanation(additive_global(["happy"]))._repr_html_())
    assert one.rows[0][3:] == ["std of contribution", "mean absolute contribution"]
    many = [f"y{i}" for i in range(9)]
    html = GlobalExplanation(additive_global(many))._repr_html_()
    assert len(Table(html).rows[0]) == 1 + HTML_COLUMNS
    assert f"{2 + 18 - HTML_COLUMNS} more columns are not shown" in html
