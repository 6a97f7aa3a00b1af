"""Names are broken where they are read best, and stay apart when they are cut."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sklearn_mmfusion import GlobalExplanation
from sklearn_mmfusion.plotting import ComparisonDisplay, RelevanceDisplay, RoutingDisplay
from sklearn_mmfusion.plotting._labels import LABEL_WIDTH, folded, wrapped


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_names_are_broken_after_underscores():
    lines = folded("physiological_electrodermal_activity_left", 16)
    assert lines == ["physiological_", "electrodermal_", "activity_left"]
    assert folded("__a__b", 16) == ["__a__b"]


def test_words_longer_than_a_line_are_cut():
    assert folded("x" * 20 + " y", 8) == ["xxxxxxxx", "xxxxxxxx", "xxxx y"]
    assert folded("", 8) == [""]


def test_lines_of_words_are_those_of_textwrap():
    rng = np.random.default_rng(0)
    for _ in range(200):
        words = ("".join(rng.choice(list("ab-,×"), rng.integers(1, 9))) for _ in range(8))
        text = " ".join(words)
        assert folded(text, 16) == textwrap.wrap(text, 16, break_on_hyphens=False)


@pytest.mark.parametrize("length", range(20, 40))
def test_sign_of_an_interaction_never_stands_alone_on_a_line(length):
    for name in ("a" * length, "ab_" * (length // 3) + "c", "a b " * (length // 4) + "c"):
        lines = wrapped(f"{name} x {name}").split("\n")
        assert all(len(line) <= LABEL_WIDTH for line in lines)
        assert not any(line.strip() == "×" for line in lines)
        assert sum("×" in line for line in lines) == 1


def test_columns_of_long_names_in_one_word_stay_apart():
    concepts = [f"angry_with_high_arousal_condition_{i}" for i in (1, 2)]
    explanation = GlobalExplanation(
        {
            "term_names": ["text"],
            "concept_names": concepts,
            "n_samples": 9,
            "routing_coefficients": np.array([[0.4, 0.6]]),
        }
    )
    ax = RoutingDisplay(explanation).plot().ax_
    first, second = (label.get_text() for label in ax.get_xticklabels()[:2])
    assert first != second
    assert first.startswith("angry_with")
    assert first.endswith("_1")


def _several_fits(ax=None):
    terms = [("text",), ("audio",), ("text", "audio")]
    return RelevanceDisplay(
        [[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]],
        term_names=[" x ".join(term) for term in terms],
        term_modalities=terms,
        unlearned=1,
        assumed_folds=2,
    ).plot(ax)


@pytest.mark.parametrize("size", [7, 10, 14])
@pytest.mark.parametrize("width", [4, 6.4, 9])
def test_notes_and_legend_do_not_meet(width, size):
    with plt.rc_context({"font.size": size}):
        figure, axes = plt.subplots(1, 2, figsize=(2 * width, 5), layout="constrained")
        ax = _several_fits(axes[0]).ax_
        figure.canvas.draw()
        notes, legend = ax._left_title.get_window_extent(), ax.get_legend().get_window_extent()
        assert not notes.overlaps(legend)


def test_notes_stand_beside_the_legend_where_there_is_room():
    display = _several_fits()
    display.figure_.canvas.draw()
    notes = display.ax_._left_title.get_window_extent()
    legend = display.ax_.get_legend().get_window_extent()
    assert notes.y0 < legend.y1


def test_notes_of_a_comparison_are_inside_the_figure_beside_long_names():
    name = "a long name of a model that fills two lines"
    with plt.rc_context({"font.size": 14}):
        display = ComparisonDisplay({name: [0.9, 0.8, 0.7], "b": [0.6, 0.7, 0.7]}).plot()
        display.figure_.canvas.draw()
        box = display.ax_._left_title.get_window_extent()
        assert box.x1 <= display.figure_.bbox.width


def test_figures_grow_with_the_font():
    usual = _several_fits().figure_.get_figheight()
    with plt.rc_context({"font.size": 15}):
        assert _several_fits().figure_.get_figheight() == pytest.approx(1.5 * usual)
    with plt.rc_context({"font.size": 7}):
        assert _several_fits().figure_.get_figheight() == usual
