"""ComparisonDisplay: its marks against the scores."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.plotting import ComparisonDisplay

RNG = np.random.default_rng(0)
SCORES = {
    "a": RNG.random((2, 5)),
    "b": RNG.random((2, 5)) + 1,
    "a long name of a third model": RNG.random((2, 5)) - 1,
}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def _means(ax):
    return [c.get_offsets()[0].tolist() for c in ax.collections if len(c.get_offsets()) == 1]


def test_scores_means_and_intervals_are_drawn_best_on_top():
    ax = ComparisonDisplay(SCORES, test_ratio=0.25, metric="accuracy").plot().ax_
    ranked = ["b", "a", "a long name of a third model"]
    assert [x.get_text().replace("\n", " ") for x in ax.get_yticklabels()] == ranked
    assert ax.get_xlabel() == "accuracy"
    marks = zip(ranked, ax.get_yticks(), _means(ax), ax.lines, strict=True)
    for name, row, (mean, position), line in marks:
        values = SCORES[name].ravel()
        assert (mean, position) == (pytest.approx(values.mean()), row)
        scale = values.std(ddof=1) * np.sqrt(1 / 10 + 0.25)
        ends = stats.t.interval(0.95, 9, loc=values.mean(), scale=scale)
        np.testing.assert_allclose(line.get_xdata(), ends)
    dots = [c.get_offsets()[:, 0] for c in ax.collections if len(c.get_offsets()) == 10]
    np.testing.assert_array_equal(dots[0], SCORES["b"].ravel())


def test_differences_are_paired_and_leave_the_reference_out():
    display = ComparisonDisplay(SCORES, test_ratio=0.25).plot(reference="a")
    means = [mean for mean, _ in _means(display.ax_)]
    others = ["b", "a long name of a third model"]
    np.testing.assert_allclose(means, [(SCORES[n] - SCORES["a"]).mean() for n in others])
    assert display.ax_.get_xlabel() == "score minus that of a"
    assert display.ax_.texts[0].get_text() == f"{means[0]:+.3f}"


def test_frame_holds_what_is_drawn():
    pytest.importorskip("pandas")
    display = ComparisonDisplay(SCORES)
    frame = display.frame()
    assert frame.index.tolist() == ["b", "a", "a long name of a third model"]
    lines = np.array([line.get_xdata() for line in display.plot().ax_.lines])
    np.testing.assert_array_equal(frame[["lower", "upper"]], lines)
    assert display.frame(reference="b").index.tolist()[0] == "a"


def test_one_score_has_no_line():
    ax = ComparisonDisplay({"a": [0.5], "b": [0.25]}).plot(plt.subplots()[1]).ax_
    assert not ax.lines


def test_unusable_input_is_refused():
    for scores in ({}, {"a": [1.0], "b": [1.0, 2.0]}):
        with pytest.raises(InputError, match="the same number for every model"):
            ComparisonDisplay(scores)
    with pytest.raises(InputError, match="'c'; expected one of"):
        ComparisonDisplay(SCORES).plot(reference="c")


def test_labels_of_long_names_of_models_do_not_overlap():
    names = ("a very long name " * 6, "b " * 60, *"cdefghij")
    scores = {name: RNG.random(6) - place for place, name in enumerate(names)}
    display = ComparisonDisplay(scores).plot()
    display.figure_.canvas.draw()
    boxes = [label.get_window_extent() for label in display.ax_.get_yticklabels()]
    assert all(low.y1 < high.y0 for high, low in pairwise(boxes))
