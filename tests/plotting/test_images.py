"""Pictures against ones drawn here by plain matplotlib calls from numbers worked out by hand.

Texts are hidden in both: fonts differ between machines. Both come from the same matplotlib, so that
its versions do not matter. Images are averaged over small squares before they are compared, and
every test also shows that a wrong picture is told apart.
"""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from sklearn_mmfusion.plotting import ContributionDisplay, InteractionDisplay, TrainingCurveDisplay

TOLERANCE = 1.0  # root of the mean squared difference, of 255
SQUARE = 4  # pixels
GRID = {"axis": "x", "color": "#E3E3E3", "linewidth": 0.8, "zorder": 0}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def _axes():
    """Return axes at a fixed place in a figure without a layout engine, which would see texts."""
    figure = plt.figure(figsize=(4, 3), dpi=80)
    return figure.add_axes((0.1, 0.1, 0.8, 0.8))


def _image(ax):
    for text in ax.figure.findobj(Text):
        text.set_visible(False)
    if legend := ax.get_legend():
        legend.set_visible(False)
    ax.figure.canvas.draw()
    pixels = np.asarray(ax.figure.canvas.buffer_rgba())[..., :3].astype(float)
    height, width = (size // SQUARE * SQUARE for size in pixels.shape[:2])
    squares = pixels[:height, :width].reshape(height // SQUARE, SQUARE, width // SQUARE, SQUARE, 3)
    return squares.mean(axis=(1, 3))


def _difference(first, second):
    return np.sqrt(np.mean((_image(first) - _image(second)) ** 2))


# Intercept 0.5, then +2, -1 and +0.25: the decision is 1.75.
WATERFALL = {
    "term_names": ["video", "text", "audio"],
    "output_names": ["happy"],
    "sample_index": [0],
    "contributions": [[[0.25], [2.0], [-1.0]]],
    "intercept": [0.5],
    "decision": [[1.75]],
}


def _waterfall_by_hand(end_of_text):
    ax = _axes()
    grey, blue, vermilion = "#8A8A8A", "#0072B2", "#D55E00"
    for row, (left, width, color) in enumerate(
        [
            (0, 0.5, grey),
            (0.5, end_of_text - 0.5, blue),
            (end_of_text - 1, 1.0, vermilion),
            (end_of_text - 1, 0.25, blue),
            (0, end_of_text - 0.75, grey),
        ]
    ):
        ax.barh(row, width, left=left, height=0.66, color=color, zorder=2)
    for row, end in enumerate([0.5, end_of_text, end_of_text - 1, end_of_text - 0.75]):
        ax.vlines(end, row, row + 1, color=grey, linewidth=0.8, zorder=1)
    ax.axvline(0, color=grey, linewidth=0.8, zorder=1)
    ax.set_ylim(4.5, -0.5)
    ax.grid(**GRID)
    ax.set_axisbelow(True)
    ax.locator_params(axis="x", nbins=4)
    ax.set_yticks(range(5))
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(grey)
    return ax


def test_waterfall_looks_as_drawn_by_hand():
    ax = ContributionDisplay(WATERFALL).plot(_axes()).ax_
    for end_of_text, is_same in ((2.5, True), (2.2, False)):
        by_hand = _waterfall_by_hand(end_of_text)
        by_hand.set_xlim(ax.get_xlim())  # where the numbers have room is no matter of the bars
        difference = _difference(ax, by_hand)
        assert (difference < TOLERANCE) == is_same


def _triangle_by_hand(width):
    """Draw discs of 0.4, 0.2 and 0, a pair of 0.3 and the triple of 0.1."""
    ax = _axes()
    corners = np.array([[0, 1], [np.sqrt(0.75), -0.5], [-np.sqrt(0.75), -0.5]])
    ax.fill(
        *(0.86 * corners).T,
        facecolor=("#009E73", 0.1),
        edgecolor="#009E73",
        linewidth=1 + 2.5 * 0.1 / 0.4,
        joinstyle="round",
        zorder=2,
    )
    ax.plot(*corners[:2].T, color="#E69F00", linewidth=width, solid_capstyle="butt", zorder=3)
    for corner, area, face in zip(
        corners, (900, 450, 36), ("#0072B2", "#0072B2", "white"), strict=True
    ):
        ax.scatter(*corner, s=area, color=face, edgecolor="#0072B2", zorder=5)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def test_circle_of_three_modalities_looks_as_drawn_by_hand():
    names = ["text", "audio", "video", "text x audio", "text x audio x video"]
    ax = InteractionDisplay(
        [0.4, 0.2, 0.0, 0.3, 0.1],
        term_names=names,
        term_modalities=[tuple(name.split(" x ")) for name in names],
    ).plot(_axes()).ax_  # fmt: skip
    for width, is_same in ((11 * 0.3 / 0.4, True), (3.0, False)):
        by_hand = _triangle_by_hand(width)
        by_hand.set_xlim(ax.get_xlim())
        by_hand.set_ylim(ax.get_ylim())
        difference = _difference(ax, by_hand)
        assert (difference < TOLERANCE) == is_same


def _curves_by_hand(valid, best):
    ax = _axes()
    ax.plot([1, 2, 3, 4], [1.0, 0.6, 0.4, 0.3], "-", color="#0072B2", linewidth=1.8)
    ax.plot([1, 2, 3, 4], valid, "--", color="#D55E00", linewidth=1.8)
    ax.axvline(best, color="#222222", linewidth=0.8, linestyle=":")
    ax.plot(best, valid[best - 1], "o", color="#222222", markersize=7, zorder=4)
    ax.set_xticks([1, 2, 3, 4])
    ax.grid(axis="y", color="#E3E3E3", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#8A8A8A")
    return ax


def test_training_curve_looks_as_drawn_by_hand():
    train, valid = [1.0, 0.6, 0.4, 0.3], [0.9, 0.7, 0.65, 0.8]
    history = [
        {"epoch": e, "train_loss": t, "valid_loss": v}
        for e, (t, v) in enumerate(zip(train, valid, strict=True), start=1)
    ]
    ax = TrainingCurveDisplay([history]).plot(_axes()).ax_
    ax.set_xticks([1, 2, 3, 4])
    assert _difference(ax, _curves_by_hand(valid, best=3)) < TOLERANCE
    assert _difference(ax, _curves_by_hand(valid, best=2)) > TOLERANCE
