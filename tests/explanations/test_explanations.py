"""Explanation objects: what local and global ones share, and which kind of plot each has."""

import pickle
import re
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from explanation_data import (
    TERMS,
    Table,
    additive_global,
    global_data,
    local_data,
    regression_data,
)

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._explanations import GlobalExplanation, LocalExplanation
from sklearn_mmfusion._explanations.base import DISPLAYS
from sklearn_mmfusion.plotting import RoutingDisplay

HOSTILE = "<script>alert('x')</script> & co"


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


# --- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "explanation",
    [
        GlobalExplanation(global_data(terms=[HOSTILE, "b"], concepts=[HOSTILE, "c"])),
        LocalExplanation(local_data(terms=[HOSTILE, "b"], concepts=["a", HOSTILE])),
        GlobalExplanation(additive_global([HOSTILE, "c"])),
        LocalExplanation(regression_data() | {"output_names": [HOSTILE, "c"]}),
    ],
    ids=["global", "local", "outputs", "targets"],
)
def test_html_escapes_names(explanation):
    html = explanation._repr_html_()
    table = Table(html)
    assert "script" not in table.tags
    assert not re.search(r"<script|</script", html)
    assert any(HOSTILE in cell for row in table.rows for cell in row)


def test_repr_is_one_short_line():
    expected = "n_samples=50, n_terms=3, n_concepts=4)"
    assert repr(GlobalExplanation(global_data())) == f"GlobalExplanation(kind='routing', {expected}"
    expected = "n_samples=6, n_terms=3, n_concepts=4)"
    assert repr(LocalExplanation(local_data())) == f"LocalExplanation(kind='routing', {expected}"


@pytest.mark.parametrize(
    "explanation",
    [GlobalExplanation(global_data()), LocalExplanation(local_data())],
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
    explanation = GlobalExplanation(global_data())
    display = explanation.plot(quantity="activation")
    assert isinstance(display, RoutingDisplay)
    assert display.explanation is explanation
    assert display.ax_.get_title(loc="left").startswith("activation")
    ax = plt.subplots()[1]
    assert LocalExplanation(local_data())[2].plot(ax=ax).ax_ is ax


def test_every_kind_has_a_display_that_exists():
    kinds = ("relevance", "contribution", "routing", "activation")
    assert set(DISPLAYS) == {(scope, kind) for scope in ("global", "local") for kind in kinds}
    whole, local = global_data() | {"std_share": np.full(3, 1 / 3)}, local_data()
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
    data = {name: value for name, value in global_data().items() if name != "kind"}
    kept = {"term_names": TERMS, "concept_names": data["concept_names"], key: data[key]}
    assert GlobalExplanation(kept).kind == kind
    assert GlobalExplanation(kept | {"kind": "routing"}).kind == "routing"


@pytest.mark.parametrize(
    "explanation",
    [GlobalExplanation(global_data()), LocalExplanation(local_data())],
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
    data = global_data() if make is GlobalExplanation else local_data()
    with pytest.raises(InputError, match=message):
        make(data | change)


def test_unknown_quantity_is_refused_with_those_there_are():
    pytest.importorskip("pandas")
    explanation = LocalExplanation(local_data() | {"decision": None})
    with pytest.raises(InputError, match=r"'votes'; this explanation has \['contribution'"):
        explanation.to_frame("votes")
    with pytest.raises(InputError, match="'decision'"):
        explanation.to_frame("decision")
