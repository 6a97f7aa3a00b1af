"""InteractionDisplay: places, sizes and marks against the relevance."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import BaseEstimator

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._explanations import GlobalExplanation
from sklearn_mmfusion.plotting import InteractionDisplay, RelevanceDisplay

NAMES = {
    1: ["text"],
    2: ["text", "audio"],
    3: ["text", "audio", "video"],
    4: [
        "physiological_electrodermal_activity_left",
        "physiological_electrodermal_activity_right",
        "transcript of the interview, version 2",
        "facial action units (OpenFace 2.2)",
    ],
    6: ["demographics and history", "gene expression", "text", "audio", "video", "laboratory"],
    10: [f"modality {i}" for i in range(10)],
}


class FittedFusion(BaseEstimator):
    """What a Display needs of a fitted estimator, without a fit."""

    def fit(self, n=3, order=3, seed=0):
        self.term_modalities_ = [
            t for k in range(1, min(order, n) + 1) for t in combinations(NAMES[n], k)
        ]
        self.term_names_ = [" x ".join(term) for term in self.term_modalities_]
        shares = np.random.default_rng(seed).dirichlet(np.ones(len(self.term_names_)))
        self.relevance_scores_ = dict(zip(self.term_names_, shares.tolist(), strict=True))
        return self


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def _display(n=3, order=3, relevance=None, **params):
    fit = FittedFusion().fit(n, order)
    values = list(fit.relevance_scores_.values()) if relevance is None else relevance
    return InteractionDisplay(
        values, term_names=fit.term_names_, term_modalities=fit.term_modalities_, **params
    )


def _discs(ax):
    return [(tuple(c.get_offsets()[0]), c.get_sizes()[0]) for c in ax.collections]


def _sets(ax):
    # Long ones fill two lines.
    return [text.get_text().replace("\n     ", " ") for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("n", [2, 3, 6, 10])
def test_modalities_stand_on_a_circle_with_discs_of_their_relevance(n):
    display = _display(n).plot()
    values = display.mean[:n]
    for (place, area), value in zip(_discs(display.ax_), values, strict=True):
        assert np.hypot(*place) == pytest.approx(1)
        assert area == pytest.approx(max(900 * value / display.mean.max(), 36))
    places = np.array([place for place, _ in _discs(display.ax_)])
    steps = np.hypot(*(places - np.roll(places, 1, axis=0)).T)
    np.testing.assert_allclose(steps, 2 * np.sin(np.pi / n))
    labels = [text.get_text().replace("\n", " ") for text in display.ax_.texts]
    for name, value in zip(display.modality_names, values, strict=True):
        assert f"{name} {'<0.01' if value < 0.005 else f'{value:.2f}'}" in labels


def test_pairs_are_lines_between_their_discs_as_wide_as_relevant():
    display = _display(6, order=2).plot()
    pairs = {
        term: value
        for term, value in zip(display.term_modalities, display.mean, strict=True)
        if len(term) == 2
    }
    places = dict(
        zip(display.modality_names, [place for place, _ in _discs(display.ax_)], strict=True)
    )
    lines = {tuple(map(tuple, line.get_xydata())): line for line in display.ax_.lines}
    assert len(lines) == 15
    for (first, second), value in pairs.items():
        line = lines[places[first], places[second]]
        assert line.get_linewidth() == pytest.approx(max(11 * value / display.mean.max(), 0.8))
        assert line.get_linestyle() == "-"


def test_only_the_most_relevant_pairs_are_drawn_and_the_rest_is_named():
    display = _display(6, order=2)
    ax = display.plot(max_pairs=4).ax_
    hidden = np.sort(display.mean[6:])[::-1][4:]
    assert len(ax.lines) == 4
    bound = np.ceil(100 * hidden.max()) / 100
    assert f"{len(hidden)} more terms, each at most {bound:.2f}" in ax.get_title(loc="left")


def test_higher_orders_are_outlines_with_letters_and_a_legend():
    display = _display(6, order=4)
    ax = display.plot(max_sets=3).ax_
    higher = [t for t, term in enumerate(display.term_modalities) if len(term) > 2]
    largest = sorted(higher, key=lambda t: -display.mean[t])[:3]
    expected = [
        f"{letter}  {' × '.join(display.term_modalities[t])}  {display.mean[t]:.2f}"
        for letter, t in zip("ABC", largest, strict=True)
    ]
    assert _sets(ax) == expected
    assert [len(patch.get_xy()) - 1 for patch in ax.patches] == [
        len(display.term_modalities[t]) for t in largest
    ]
    assert {"A", "B", "C"} <= {text.get_text() for text in ax.texts}


def test_terms_without_relevance_are_counted_and_not_drawn():
    ax = _display(relevance=[0.5, 0.5, 0, 0, 0, 0, 0]).plot().ax_
    assert not ax.lines and not ax.patches and ax.get_legend() is None
    assert "4 interactions with relevance 0" in ax.get_title(loc="left")
    faces = [collection.get_facecolor()[0, :3].tolist() for collection in ax.collections]
    assert faces[2] == [1, 1, 1]  # hollow
    # An exact zero is told from what is rounded to it.
    assert [text.get_text().split("\n")[-1] for text in ax.texts] == ["0.50", "0.50", "0"]


def test_what_the_fits_do_not_agree_on_is_dashed():
    certain, doubtful = [0.3, 0.3, 0.28, 0.32], [0.4, 0.0, 0.0, 0.0]
    relevance = np.column_stack([[0.3] * 4, [0.2] * 4, [0.1] * 4, certain, doubtful, certain])
    display = InteractionDisplay(
        relevance,
        term_names=(fit := FittedFusion().fit(3, 2)).term_names_,
        term_modalities=fit.term_modalities_,
        test_ratio=0.25,
    )
    ax = display.plot().ax_
    styles = [line.get_linestyle() for line in ax.lines]
    assert styles == ["-", "-", "--"]
    assert "mean relevance over 4 fits" in ax.get_title(loc="left")
    assert "dashed: 95 % interval of the mean reaches 0" in ax.get_title(loc="left")


def test_cv_results_have_the_numbers_of_the_bars():
    fits = [FittedFusion().fit(seed=seed) for seed in range(4)]
    display = InteractionDisplay.from_cv_results({"estimator": fits})
    bars = RelevanceDisplay.from_cv_results({"estimator": fits})
    np.testing.assert_array_equal(display.mean, bars.mean)
    np.testing.assert_array_equal(display.interval, bars.interval)
    assert display.frame().equals(bars.frame())


def test_from_estimator_draws_on_given_axes():
    ax = plt.subplots()[1]
    display = InteractionDisplay.from_estimator(FittedFusion().fit(), ax=ax)
    assert display.ax_ is ax and display.figure_ is ax.figure
    with pytest.raises(InputTypeError, match="no relevance_scores_"):
        InteractionDisplay.from_estimator(3)


def test_an_explanation_without_relevance_is_drawn_by_its_spread():
    data = {"term_names": ["a", "b", "a x b"], "std_share": [0.5, 0.2, 0.3]}
    display = InteractionDisplay.from_explanation(GlobalExplanation(data)).plot()
    assert display.term_modalities == [("a",), ("b",), ("a", "b")]
    title = display.ax_.get_title(loc="left")
    assert title == "area of discs, width of lines: share of standard deviation"
    with pytest.raises(InputError, match="neither relevance nor std_share"):
        InteractionDisplay.from_explanation(GlobalExplanation({"term_names": ["a"]}))


@pytest.mark.parametrize("size", [8, 10, 14])
@pytest.mark.parametrize(("n", "order"), [(1, 1), (2, 3), (3, 3), (4, 3), (6, 3), (10, 3), (10, 2)])
def test_names_are_inside_the_figure_and_meet_neither_each_other_nor_the_notes(n, order, size):
    with plt.rc_context({"font.size": size}):
        display = _display(n, order).plot()
    display.figure_.canvas.draw()
    names = [text for text in display.ax_.texts if "\n" in text.get_text()]
    assert len(names) == n
    boxes = [text.get_window_extent() for text in names]
    boxes.append(display.ax_._left_title.get_window_extent())
    if legend := display.ax_.get_legend():
        boxes.append(legend.get_window_extent())
    whole = display.figure_.bbox
    assert all(b.x0 >= -1 and b.x1 <= whole.width + 1 for b in boxes)
    assert all(b.y0 >= -1 and b.y1 <= whole.height + 1 for b in boxes)
    for first, second in combinations(boxes, 2):
        assert not first.overlaps(second)


@pytest.mark.parametrize("layout", [None, "constrained"])
@pytest.mark.parametrize(
    ("figsize", "size"), [((6.4, 4.8), 10), ((6.4, 4.8), 14), ((5, 6), 10), ((9, 4), 10)]
)
def test_legend_is_inside_the_figure_of_a_user_and_meets_no_name(layout, figsize, size):
    with plt.rc_context({"font.size": size}):
        ax = plt.figure(figsize=figsize, layout=layout).subplots()
        _display(6).plot(ax)
        ax.figure.canvas.draw()
    legend = ax.get_legend().get_window_extent()
    assert legend.y0 >= -1
    names = [text.get_window_extent() for text in ax.texts if "\n" in text.get_text()]
    assert len(names) == 6
    assert not any(legend.overlaps(box) for box in names)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("figsize", [None, (4, 4)])
@pytest.mark.parametrize("n", [10, 15])
def test_notes_over_short_names_are_inside_the_figure_and_numbers_do_not_meet(n, figsize, seed):
    names = [f"m{i}" for i in range(n)]
    terms = [(name,) for name in names] + list(combinations(names, 2))
    relevance = np.random.default_rng(seed).dirichlet(np.full(len(terms), 0.3))
    relevance[-3:] = 0.0
    display = InteractionDisplay(
        relevance,
        term_names=[" x ".join(term) for term in terms],
        term_modalities=terms,
        unlearned=1,
    )
    ax = plt.figure(figsize=figsize, layout="constrained").subplots() if figsize else None
    display.plot(ax).figure_.canvas.draw()
    notes = display.ax_._left_title.get_window_extent()
    assert notes.y1 <= display.figure_.bbox.height + 1
    shown = [text.get_window_extent() for text in display.ax_.texts if "\n" in text.get_text()]
    assert not any(notes.overlaps(box) for box in shown)
    numbers = [text for text in display.ax_.texts if "\n" not in text.get_text()]
    assert len(numbers) == 8 or (figsize and len(numbers) > 5)
    boxes = [text.get_window_extent() for text in numbers]
    assert not any(first.overlaps(second) for first, second in combinations(boxes, 2))


@pytest.mark.parametrize(("params", "message"), [({"max_pairs": -1}, "-1"), ({"max_sets": 6}, "6")])
def test_unusable_limits_are_refused(params, message):
    with pytest.raises(InputError, match=message):
        _display().plot(**params)
