"""Names and labels with dollars are drawn as they are, with line breaks as spaces; one drawing to
axes."""

import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from sklearn_mmfusion import InputError, MNLClassifier, RoutingClassifier
from sklearn_mmfusion.plotting import ComparisonDisplay, InteractionDisplay, RelevanceDisplay

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

# Of two dollars matplotlib makes mathematics, and an error where there is none between them.
NAMES = ["price_$", "cost_$", "$x_1$"]
X = {name: np.random.default_rng(i).normal(size=(30, 2)) for i, name in enumerate(NAMES)}
Y = np.array(["$a_1$", "b"])[np.arange(30) % 2]
TERMS = [(NAMES[0],), (NAMES[1],), tuple(NAMES)]
LABELS = [" x ".join(term) for term in TERMS]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def mnl():
    return MNLClassifier(max_epochs=2, random_state=0).fit(X, Y)


@pytest.fixture(scope="module")
def routing():
    return RoutingClassifier(max_epochs=2, random_state=0).fit(X, Y)


def _bars(mnl, routing):
    return RelevanceDisplay([[0.5, 0.2, 0.3]], term_names=LABELS, term_modalities=TERMS).plot()


def _circle(mnl, routing):
    return InteractionDisplay([[0.5, 0.2, 0.3]], term_names=LABELS, term_modalities=TERMS).plot()


def _comparison(mnl, routing):
    display = ComparisonDisplay({name: [0.1, 0.3, 0.2] for name in NAMES}, metric="$R^2$")
    return display.plot(reference="$x_1$")


def _global(mnl, routing):
    return mnl.explain_global().plot()


def _local(mnl, routing):
    return mnl.explain_local({name: v[:2] for name, v in X.items()}, Y[:2]).plot()


def _routed(mnl, routing):
    return routing.explain_global().plot()


def _routed_rows(mnl, routing):
    return routing.explain_local({name: v[:2] for name, v in X.items()}, Y[:2]).plot()


@pytest.mark.parametrize(
    "draw", [_bars, _circle, _comparison, _global, _local, _routed, _routed_rows]
)
def test_dollars_in_names_and_labels_are_drawn_as_they_are(mnl, routing, draw):
    figure = draw(mnl, routing).figure_
    assert isinstance(figure, Figure)
    with mpl.rc_context({"svg.fonttype": "none", "text.parse_math": True}):
        svg = io.StringIO()
        figure.savefig(svg, format="svg")
    texts = [text for text in figure.findobj(Text) if "$" in text.get_text()]
    assert texts and not any(text.get_parse_math() for text in texts)
    assert "$x_1$" in svg.getvalue()


@pytest.mark.parametrize(
    "draw", [_bars, _circle, _comparison, _global, _local, _routed, _routed_rows]
)
def test_axes_take_one_drawing(mnl, routing, draw):
    display = draw(mnl, routing)
    axes = getattr(display, "axes_", display.ax_)
    with pytest.raises(InputError, match="ax holds a drawing already"):
        display.plot(axes)


def test_line_breaks_in_names_are_spaces_on_a_circle():
    names = ["one\nmodality", "another\tone", "third"]
    terms = [*((name,) for name in names), tuple(names)]
    labels = [" x ".join(term) for term in terms]
    display = InteractionDisplay(
        [0.3, 0.2, 0.1, 0.4], term_names=labels, term_modalities=terms
    ).plot()
    said = [text.get_text() for text in display.ax_.texts]
    assert "one modality\n0.30" in said and "another one\n0.20" in said
    assert display.ax_.get_legend().get_texts()[0].get_text() == (
        "A  one modality × another one × third  0.40"
    )
