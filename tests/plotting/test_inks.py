"""Whatever is written or drawn as a line is read on its background, light or dark."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from sklearn_mmfusion import GlobalExplanation
from sklearn_mmfusion.plotting import (
    ComparisonDisplay,
    ContributionDisplay,
    InteractionDisplay,
    RelevanceDisplay,
    RoutingDisplay,
    TrainingCurveDisplay,
)
from sklearn_mmfusion.plotting._inks import DARK, LIGHT, inks_of

TERMS = [("text",), ("audio",), ("face",), ("text", "audio"), ("text", "audio", "face")]
NAMES = [" x ".join(term) for term in TERMS]
FITS = np.array([[0.4, 0.0, 0.2, 0.3, 0.1], [0.5, 0.0, 0.1, 0.3, 0.1]])
EPOCHS = [{"train_loss": 1 / e, "valid_loss": 1.2 / e, "lr": 0.9**e} for e in range(1, 9)]
LEAST = 4.5  # contrast of texts that WCAG 2 asks for
LEAST_OF_LINES = 3.0


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def _relevance():
    return RelevanceDisplay(FITS, term_names=NAMES, term_modalities=TERMS, unlearned=1).plot()


def _interaction():
    return InteractionDisplay(FITS, term_names=NAMES, term_modalities=TERMS).plot()


def _contribution():
    explanation = {
        "term_names": NAMES,
        "output_names": ["yes"],
        "sample_index": [0],
        "contributions": np.array([0.5, -0.2, 0.0, 1.0, -1.0]).reshape(1, 5, 1),
        "intercept": [0.1],
        "decision": [[0.4]],
    }
    return ContributionDisplay(explanation).plot()


def _training():
    return TrainingCurveDisplay([EPOCHS]).plot(learning_rate=True)


def _comparison():
    return ComparisonDisplay({"a": [0.9, 0.8, 0.7], "b": [0.6, 0.7, 0.7]}).plot()


def _routing():
    routing = np.full((5, 3), 1 / 3)
    explanation = GlobalExplanation(
        {
            "term_names": NAMES,
            "concept_names": ["calm", "happy", "sad"],
            "n_samples": 9,
            "routing_coefficients": routing,
            "routing_intervals": np.stack([routing - 0.1, routing + 0.1], axis=-1),
        }
    )
    return RoutingDisplay(explanation).plot()


PLOTS = (_relevance, _interaction, _contribution, _training, _comparison, _routing)


def _brightness(color):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def _contrast(first, second):
    dark, bright = sorted([_brightness(first), _brightness(second)])
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("plot", PLOTS)
def test_texts_and_spines_are_read_on_the_background(style, plot):
    with plt.style.context(style):
        display = plot()
        figure = display.figure_
        ground = figure.get_facecolor()
        # Numbers of heat maps stand on their cells; letters have the colours of their sets.
        apart = {_routing: display.ax_.texts, _interaction: display.ax_.texts[:1]}.get(plot, [])
        texts = {text for text in figure.findobj(Text) if text.get_text() and text.get_visible()}
        for text in texts - set(apart):
            assert _contrast(text.get_color(), ground) >= LEAST, text
        for spine in display.ax_.spines.values():
            if spine.get_visible():
                assert _contrast(spine.get_edgecolor(), ground) >= LEAST_OF_LINES


@pytest.mark.parametrize("plot", [_relevance, _comparison, _training])
def test_lines_are_read_on_a_dark_background(plot):
    with plt.style.context("dark_background"):
        lines = plot().ax_.lines
        # An edge in the colour of the ground keeps a line apart from its bar.
        colors = [line.get_color() for line in lines if to_rgb(line.get_color()) != (0, 0, 0)]
        assert colors
        assert all(_contrast(color, "black") >= LEAST_OF_LINES for color in colors)


@pytest.mark.parametrize(
    ("figure", "axes", "inks"),
    [
        ("white", "white", LIGHT),
        ("white", "#EAEAF2", LIGHT),
        ("black", "black", DARK),
        ("#1E1E1E", "none", DARK),
        ("none", "none", LIGHT),
        ("white", "#202020", DARK),
        ("black", "white", LIGHT),
    ],
)
def test_inks_are_those_of_what_is_seen_behind(figure, axes, inks):
    ax = plt.figure(facecolor=figure).subplots()
    ax.set_facecolor(axes)
    assert inks_of(ax).text == inks.text


def test_ground_is_the_colour_that_is_seen_through_subfigures():
    panel = plt.figure(facecolor="#102030").subfigures(1, 2)[0]
    ax = panel.subplots()
    ax.set_facecolor("none")
    assert inks_of(ax).ground == inks_of(panel).ground == "#102030"


@pytest.mark.parametrize(("figure", "ground"), [("white", "#202020"), ("black", "white")])
def test_a_legend_inside_axes_is_read_on_them(figure, ground):
    ax = plt.figure(facecolor=figure).subplots()
    ax.set_facecolor(ground)
    text_color = "black" if figure == "white" else "white"  # what goes with the figure
    with plt.rc_context({"text.color": text_color}):
        legend = TrainingCurveDisplay([EPOCHS]).plot(ax=ax).ax_.get_legend()
    assert all(_contrast(text.get_color(), ground) >= LEAST for text in legend.get_texts())
