"""Figures of the report: what they say, as SVG that stands alone."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from sklearn_mmfusion.plotting import RelevanceDisplay, TrainingCurveDisplay
from sklearn_mmfusion.report._report_figures import (
    calibration_figure,
    confusion_figure,
    errors_figure,
    local_figure,
    pairs_figure,
    relevance_figure,
    shares_figure,
    short_term,
    training_figure,
)


def texts(svg):
    """Return the texts of a drawing."""
    root = ElementTree.fromstring(svg)
    return ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]


def inches(svg):
    width, height = re.search(r'<svg[^>]*width="([\d.]+)pt" height="([\d.]+)pt"|$', svg).groups()
    return float(width) / 72, float(height) / 72


def test_shares_figure_draws_the_largest_terms_largest_first():
    terms = [(f"m{i}",) for i in range(30)]
    share = np.linspace(0.01, 0.06, 30)
    svg = shares_figure(terms, share, share * 0.9, share * 1.1)
    shown = [text for text in texts(svg) if re.fullmatch(r"m\d+", text)]
    assert shown == [f"m{i}" for i in range(29, 14, -1)]
    assert "15 more terms, each at most 0.04" in texts(svg)  # the largest is 0.0341
    one = shares_figure(terms[-16:], share[-16:], share[-16:], share[-16:])
    assert "1 more term, at most 0.04" in texts(one)


def test_terms_of_zero_fill_a_figure_and_no_more():
    terms = [(f"m{i}",) for i in range(30)]
    share = np.zeros(30)
    share[3] = 1.0
    shown = [t for t in texts(shares_figure(terms, share, share, share)) if t.startswith("m")]
    assert len(shown) == 6
    assert shown[0] == "m3"


def test_dollars_are_no_mathematics_and_names_no_markup():
    name = r"$\frac{1}$ <b>&"
    display = RelevanceDisplay([[1.0]], term_names=[name], term_modalities=[(name,)])
    assert name in texts(relevance_figure(display))


def test_scripts_that_the_font_lacks_stay_text():
    assert "日本語" in texts(confusion_figure(["日本語", "b"], np.eye(2, dtype=np.int64)))


def test_confusion_figure_holds_the_counts():
    counts = np.array([[17, 2], [5, 31]])
    found = texts(confusion_figure(["no", "yes"], counts))
    assert {"17", "2", "5", "31", "no", "yes", "true", "predicted"} <= set(found)


def test_pairs_figure_holds_the_shares_below_the_diagonal_once():
    matrix = np.array([[0.5, 1e-5, np.nan], [1e-5, 0.2, 0.05], [np.nan, 0.05, 0.0]])
    found = [text for text in texts(pairs_figure(["a", "b", "c"], matrix)) if text.endswith("%")]
    assert sorted(found) == ["0%", "20%", "5.0%", "50%", "<0.1%"]


@pytest.mark.parametrize("n", [10, 100_000])
def test_scatter_of_many_rows_stays_small(n):
    truth = np.random.default_rng(0).normal(size=n)
    svg = errors_figure(truth, truth + 0.1, "y")
    assert len(svg) < 150_000
    assert "true y" in texts(svg)


def test_training_figure_has_both_losses_and_the_best_epoch():
    history = [{"epoch": i, "train_loss": 1 / i, "valid_loss": 2 / i} for i in range(1, 9)]
    history[4]["valid_loss"] = 0.1
    found = texts(training_figure(TrainingCurveDisplay([history])))
    assert {"training rows", "held-out rows", "best epoch, 5"} <= set(found)
    trained_alone = [{"epoch": epoch["epoch"], "train_loss": 1.0} for epoch in history]
    assert "held-out rows" not in texts(training_figure(TrainingCurveDisplay([trained_alone])))
    assert texts(training_figure(TrainingCurveDisplay([trained_alone[:1]])))


def test_calibration_figure_leaves_out_empty_bins():
    counts = np.array([3, 0, 5])
    curve = np.array([0.1, np.nan, 0.9])
    assert "nan" not in calibration_figure(curve, curve, counts, "class x").lower()


def test_local_figure_has_title_and_names_and_grows_with_them():
    few = local_figure("row 3: right", ["a", "a × b"], np.array([1.0, -0.5]), 2.0, "logit")
    assert {"row 3: right", "a", "a × b", "logit"} <= set(texts(few))
    many = local_figure("row", [f"m{i}" for i in range(9)], np.ones(9), 2.0, "logit")
    assert inches(many)[1] > inches(few)[1]
    # All contributions may be zero.
    assert local_figure("row", ["a"], np.zeros(1), 0.0, "logit")


def test_local_figure_breaks_a_long_title_and_quantity():
    name = "angry_with_high_arousal_condition_1"
    title = f"row 167: wrong, for {name}"
    names, values = [name[:26], "b"], np.array([1.0, -0.5])
    svg = local_figure(title, names, values, 2.0, f"contribution to {name}")
    assert "".join(texts(svg)).replace(" ", "").count(name) == 2
    assert max(map(len, texts(svg))) <= 32
    assert inches(svg)[1] > inches(local_figure("row 167", names, values, 2.0, "logit"))[1]


def test_long_names_make_no_figure_wider_than_a_desktop():
    name = "an unreasonably long name of a modality " * 20
    terms = [(name,), ("b",), (name, "b")]
    share = np.array([0.5, 0.3, 0.2])
    assert inches(shares_figure(terms, share, share, share))[0] < 10


def test_short_term_gives_every_modality_its_share():
    assert short_term(["text"]) == "text"
    long = short_term(["electronic health record", "chest radiograph"])
    assert long == "electro…ord × chest r…aph"
    assert len(long) <= 26


def test_short_term_tells_names_apart_that_begin_alike():
    left, right = "electrodermal_activity_of_hand_left", "electrodermal_activity_of_hand_right"
    assert short_term([left]) != short_term([right])
    assert short_term([left, "text"]) != short_term([right, "text"])


@pytest.mark.parametrize("size", [1.0, 1e6, 1e-6])
def test_numbers_on_small_axes_are_few_and_short(size):
    values = size * np.linspace(0, 7.3, 40)
    drawings = [
        errors_figure(values, values[::-1], "salary"),
        local_figure("row", ["a", "b"], np.array([values[-1], -values[-1]]), values[-1], "euro"),
    ]
    for drawing, n_axes in zip(drawings, (2, 1), strict=True):
        numbers = [t for t in texts(drawing) if re.fullmatch(r"[\u2212.\d]+", t)]
        assert 3 * n_axes <= len(numbers) <= 6 * n_axes
        assert max(map(len, numbers)) <= 4
        power = [] if size == 1 else [f"1e{np.log10(size):.0f}".replace("-", "\u2212")] * n_axes
        assert [t for t in texts(drawing) if t.startswith("1e")] == power
