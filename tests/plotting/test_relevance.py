"""RelevanceDisplay: its numbers against NumPy and SciPy, and what it draws."""

import sys
from itertools import combinations, pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import RepeatedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_mmfusion import RelevanceIntervals
from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._explanations import GlobalExplanation
from sklearn_mmfusion.plotting import InteractionDisplay, RelevanceDisplay
from sklearn_mmfusion.plotting._bars import ORDER_COLORS
from sklearn_mmfusion.plotting._labels import LABEL_WIDTH


class FittedFusion(BaseEstimator):
    """What a Display needs of a fitted estimator, without a fit."""

    def __init__(self, modalities=("text", "audio", "video"), order=2, seed=0, gain=1.0):
        self.modalities = modalities
        self.order = order
        self.seed = seed
        self.gain = gain

    def fit(self, X=None, y=None):
        self.term_modalities_ = [
            term for k in range(1, self.order + 1) for term in combinations(self.modalities, k)
        ]
        self.term_names_ = [" x ".join(term) for term in self.term_modalities_]
        shares = np.random.default_rng(self.seed).dirichlet(np.ones(len(self.term_names_)))
        self.relevance_scores_ = dict(zip(self.term_names_, shares.tolist(), strict=True))
        self.validation_gain_ = self.gain
        return self


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def _five_fits(**params):
    return [FittedFusion(seed=seed, **params).fit() for seed in range(5)]


def _labels(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


def _bar_widths(display):
    bars = [bar for container in display.ax_.containers for bar in container]
    return np.array([bar.get_width() for bar in sorted(bars, key=lambda bar: bar.get_y())])


def test_from_estimator_draws_one_bar_per_term_most_relevant_on_top():
    estimator = FittedFusion().fit()
    display = RelevanceDisplay.from_estimator(estimator)
    scores = estimator.relevance_scores_
    expected = sorted(scores, key=scores.get, reverse=True)
    assert _labels(display) == [name.replace(" x ", " × ") for name in expected]
    np.testing.assert_array_equal(_bar_widths(display), [scores[name] for name in expected])
    assert display.ax_.yaxis_inverted()
    assert display.figure_ is display.ax_.figure
    assert display.interval is None


def test_sort_false_keeps_the_order_of_the_terms():
    estimator = FittedFusion().fit()
    display = RelevanceDisplay.from_estimator(estimator, sort=False)
    np.testing.assert_array_equal(_bar_widths(display), list(estimator.relevance_scores_.values()))


def test_max_terms_draws_the_most_relevant_and_says_what_is_left_out():
    estimator = FittedFusion().fit()
    values = np.sort(list(estimator.relevance_scores_.values()))[::-1]
    display = RelevanceDisplay.from_estimator(estimator, max_terms=2)
    np.testing.assert_array_equal(_bar_widths(display), values[:2])
    title = display.ax_.get_title(loc="left")
    assert title == f"4 more terms, each at most {np.ceil(100 * values[2]) / 100:.2f}"


@pytest.mark.parametrize(
    ("values", "max_terms", "written", "title"),
    [
        ([0.99996, 3e-5, 1e-5, 0, 0], None, ["1.00", "<0.01", "<0.01", "0", "0"], ""),
        ([0.999, 0.001, 0, 0, 0], 1, ["1.00"], "4 more terms, each at most 0.01"),
        ([0.96, 0.04, 0, 0, 0], 4, ["0.96", "0.04", "0", "0"], "1 more term, 0"),
        ([0.6, 0.4, 0, 0, 0], 2, ["0.60", "0.40"], "3 more terms, each 0"),
        ([0.5, 0.46, 0.04, 0, 0], 2, ["0.50", "0.46"], "3 more terms, each at most 0.04"),
        ([0.04, 0.0004, 0, 0, 0], None, ["0.040", "<0.001", "0", "0", "0"], ""),
    ],
)
def test_exact_zeros_are_told_from_small_values(values, max_terms, written, title):
    terms = {"term_names": "abcde", "term_modalities": [(name,) for name in "abcde"]}
    display = RelevanceDisplay(values, **terms).plot(max_terms=max_terms)
    assert [text.get_text() for text in display.ax_.texts] == written
    assert display.ax_.get_title(loc="left") == title


def test_colour_tells_the_order_of_a_term():
    display = RelevanceDisplay.from_estimator(FittedFusion(order=3).fit(), sort=False)
    bars = [bar for container in display.ax_.containers for bar in container]
    colors = [to_hex(bar.get_facecolor()).upper() for bar in sorted(bars, key=lambda b: b.get_y())]
    assert colors == [ORDER_COLORS[0]] * 3 + [ORDER_COLORS[1]] * 3 + [ORDER_COLORS[2]]
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["one modality", "two modalities", "three modalities"]


def test_one_order_needs_no_legend():
    assert RelevanceDisplay.from_estimator(FittedFusion(order=1).fit()).ax_.get_legend() is None


def test_given_axes_are_drawn_on():
    ax = plt.subplots()[1]
    assert RelevanceDisplay.from_estimator(FittedFusion().fit(), ax=ax).ax_ is ax
    assert len(plt.get_fignums()) == 1


def test_cv_results_interval_equals_corrected_students_t_per_term():
    fits = _five_fits()
    display = RelevanceDisplay.from_cv_results({"test_score": [0.5] * 5, "estimator": fits})
    for column, name in enumerate(fits[0].term_names_):
        values = np.array([fit.relevance_scores_[name] for fit in fits])
        scale = np.sqrt(np.var(values, ddof=1) * (1 / 5 + 1 / 4))
        lower, upper = stats.t(df=4, loc=values.mean(), scale=scale).interval(0.95)
        np.testing.assert_allclose(display.mean[column], values.mean(), rtol=1e-12)
        expected = [max(lower, 0), min(upper, 1)]
        np.testing.assert_allclose(display.interval[column], expected, rtol=1e-12)


def test_interval_of_shares_stays_within_0_and_1_in_figure_and_table():
    pd = pytest.importorskip("pandas")
    shares, terms = [[0.9, 0.1], [0.2, 0.8]], {"term_names": "ab", "term_modalities": ["a", "b"]}
    display = RelevanceDisplay(shares, test_ratio=1.0, **terms).plot()
    # Student's t of two fits is far wider: 12.7 standard errors to both sides.
    np.testing.assert_array_equal(display.interval, [[0, 1], [0, 1]])
    frame = display.frame()
    pd.testing.assert_series_equal(frame["upper"], frame["lower"] + 1, check_names=False)
    assert display.ax_.get_xlim()[1] < 1.2
    # What is no share has no upper bound.
    values = 10 * np.array(shares)
    lower, upper = stats.t.interval(
        0.95, 1, loc=values.mean(axis=0), scale=stats.sem(values, axis=0)
    )
    free = RelevanceDisplay(values, **terms).interval
    np.testing.assert_allclose(free, np.transpose([np.maximum(lower, 0), upper]))
    rounded = RelevanceDisplay([[1 + 1e-15], [1.0]], term_names=["a"], term_modalities=["a"])
    assert rounded.interval[0, 0] <= rounded.mean[0] <= rounded.interval[0, 1] < 1 + 1e-12


def test_cv_results_with_indices_take_the_ratio_of_the_parts():
    indices = {"train": [np.arange(30)] * 5, "test": [np.arange(15)] * 5}
    display = RelevanceDisplay.from_cv_results({"estimator": _five_fits(), "indices": indices})
    assert display.test_ratio == 0.5


@pytest.mark.parametrize("display", [RelevanceDisplay, InteractionDisplay])
def test_a_guess_of_the_ratio_is_told_in_the_figure(display):
    fits, indices = _five_fits(), {"train": [range(40)] * 5, "test": [range(10)] * 5}
    said = "interval: as of 5-fold cross-validation"
    assert said in display.from_cv_results(fits).ax_.get_title(loc="left")
    for cv_results, test_ratio in (({"estimator": fits, "indices": indices}, None), (fits, 0.25)):
        known = display.from_cv_results(cv_results, test_ratio=test_ratio)
        assert known.test_ratio == 0.25
        assert "as of" not in known.ax_.get_title(loc="left")
    assert "as of" not in display.from_cv_results(fits[:1]).ax_.get_title(loc="left")


def test_indices_of_repeated_cross_validation_give_the_ratio_of_one():
    splitter = RepeatedKFold(n_splits=5, n_repeats=2, random_state=0)
    train, test = zip(*splitter.split(np.zeros(50)), strict=True)
    results = {"estimator": 2 * _five_fits(), "indices": {"train": train, "test": test}}
    assert RelevanceDisplay.from_cv_results(results).test_ratio == pytest.approx(1 / 4)


def test_independent_fits_give_the_ordinary_interval_of_a_mean():
    display = RelevanceDisplay.from_cv_results(_five_fits(), test_ratio=0)
    lower, upper = stats.t.interval(
        0.95, 4, loc=display.mean, scale=stats.sem(display.relevance, axis=0)
    )
    expected = np.clip([lower, upper], 0, 1)
    np.testing.assert_allclose(display.interval.T, expected, rtol=1e-12)


def test_cv_results_draw_a_dot_per_fit_and_term():
    display = RelevanceDisplay.from_cv_results(_five_fits())
    dots = np.vstack([points.get_offsets() for points in display.ax_.collections])
    assert dots.shape == (5 * 6, 2)
    np.testing.assert_allclose(np.sort(dots[:, 0]), np.sort(display.relevance.ravel()))


def test_fits_with_terms_in_another_order_are_matched_by_name():
    first, second = _five_fits()[:2]
    second.relevance_scores_ = dict(reversed(second.relevance_scores_.items()))
    display = RelevanceDisplay.from_cv_results([first, second])
    expected = [second.relevance_scores_[name] for name in first.term_names_]
    np.testing.assert_array_equal(display.relevance[1], expected)


def test_fits_that_learned_nothing_are_named_in_the_figure():
    fits = [*_five_fits()[:3], FittedFusion(gain=-0.1).fit()]
    title = RelevanceDisplay.from_cv_results(fits).ax_.get_title(loc="left")
    assert "1 of 4 fits not shown to beat a constant" in title


def test_fits_are_counted_by_the_rule_that_the_fit_warns_by():
    class Judged(FittedFusion):
        validation_gain_error_ = 0.05

    fits = [Judged(gain=gain).fit() for gain in (-0.1, 0.09, 0.1, 0.11, np.nan)]
    assert RelevanceDisplay.from_cv_results(fits).unlearned == 3


def test_pipelines_and_searches_are_looked_into():
    fitted = make_pipeline(FunctionTransformer(), FittedFusion()).fit([[0.0]])
    search = BaseEstimator()
    search.best_estimator_ = fitted
    display = RelevanceDisplay.from_estimator(search)
    np.testing.assert_array_equal(display.mean, list(fitted[-1].relevance_scores_.values()))


def test_frame_holds_the_numbers_of_the_figure():
    pd = pytest.importorskip("pandas")
    fits = _five_fits()
    display = RelevanceDisplay.from_cv_results(fits)
    frame = display.frame()
    reference = pd.DataFrame([fit.relevance_scores_ for fit in fits])
    assert frame.index.tolist() == fits[0].term_names_
    assert frame["order"].tolist() == [1, 1, 1, 2, 2, 2]
    np.testing.assert_allclose(frame["relevance"], reference.mean())
    np.testing.assert_allclose(frame["std"], reference.std())
    np.testing.assert_array_equal(frame[["lower", "upper"]], display.interval)
    single = RelevanceDisplay.from_estimator(fits[0]).frame()
    assert single.columns.tolist() == ["order", "relevance"]


def test_frame_without_pandas_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    display = RelevanceDisplay([1.0], term_names=["text"], term_modalities=[("text",)])
    with pytest.raises(ImportError, match="needs pandas"):
        display.frame()


def test_plot_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="extra 'plots'"):
        RelevanceDisplay.from_estimator(FittedFusion().fit())


@pytest.mark.parametrize("n_modalities", [2, 5])
def test_labels_of_long_names_are_wrapped_and_inside_the_figure(n_modalities):
    modalities = ("demographics and history", "gene expression", "text", "audio", "video")
    estimator = FittedFusion(modalities[:n_modalities]).fit()
    display = RelevanceDisplay.from_estimator(estimator)
    assert all(len(line) <= LABEL_WIDTH for label in _labels(display) for line in label.split("\n"))
    display.figure_.canvas.draw()
    width = display.figure_.bbox.width
    boxes = [label.get_window_extent() for label in display.ax_.get_yticklabels()]
    boxes += [text.get_window_extent() for text in display.ax_.texts]
    assert all(box.x0 >= 0 and box.x1 <= width for box in boxes)
    labels = sorted(boxes[: len(estimator.term_names_)], key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 for low, high in zip(labels, labels[1:], strict=False))


def test_labels_of_very_long_names_keep_their_ends_and_do_not_overlap():
    names = ["a" * 60, "with a long name of " * 4 + "one", "with a long name of " * 4 + "two"]
    estimator = FittedFusion((*names, *"bcdefgh"), order=2).fit()
    display = RelevanceDisplay.from_estimator(estimator, sort=False)
    display.figure_.canvas.draw()
    boxes = [label.get_window_extent() for label in display.ax_.get_yticklabels()]
    assert len({label.count("\n") for label in _labels(display)}) > 2  # of different heights
    assert all(low.y1 < high.y0 for high, low in pairwise(boxes))
    assert len(set(_labels(display))) == 55
    # Each bar stands at its label.
    bars = sorted((b for c in display.ax_.containers for b in c), key=lambda bar: bar.get_y())
    places = [bar.get_y() + bar.get_height() / 2 for bar in bars]
    np.testing.assert_allclose(places, display.ax_.get_yticks())


def test_rows_of_one_line_stand_at_whole_numbers():
    ax = RelevanceDisplay.from_estimator(FittedFusion().fit()).ax_
    np.testing.assert_array_equal(ax.get_yticks(), np.arange(6))
    assert ax.get_ylim() == (5.6, -0.6)


def test_line_breaks_and_tabs_in_names_are_spaces():
    names = ["with\nnewline", "with\ttab"]
    display = RelevanceDisplay.from_estimator(FittedFusion(names).fit(), sort=False)
    said = ["with newline", "with tab", "with newline × with tab"]
    assert _labels(display) == said


def test_axes_that_hold_a_drawing_are_refused_until_they_are_cleared():
    ax = plt.subplots()[1]
    ax.axvline(0.1)  # a line of the user's is no drawing of other terms
    display = RelevanceDisplay.from_estimator(FittedFusion().fit(), ax=ax)
    other = FittedFusion(("left", "right")).fit()
    before = _labels(display)
    with pytest.raises(InputError, match=r"ax holds a drawing already.*ax\.clear\(\)"):
        RelevanceDisplay.from_estimator(other, ax=ax)
    assert _labels(display) == before
    ax.clear()
    assert len(_bar_widths(RelevanceDisplay.from_estimator(other, ax=ax))) == 3


def test_all_relevance_zero_is_drawn():
    display = RelevanceDisplay([0.0], term_names=["text"], term_modalities=[("text",)]).plot()
    assert display.ax_.get_xlim()[1] > 0


def test_not_fitted_is_said():
    with pytest.raises(NotFittedError):
        RelevanceDisplay.from_estimator(FittedFusion())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: RelevanceDisplay.from_estimator(3), InputTypeError, "int has no relevance"),
        (lambda: RelevanceDisplay.from_cv_results([]), InputError, "no estimators"),
        (
            lambda: RelevanceDisplay.from_cv_results({"test_score": [1.0]}),
            InputError,
            "return_estimator=True",
        ),
        (
            lambda: RelevanceDisplay.from_cv_results([{"estimator": [FittedFusion().fit()]}] * 2),
            InputTypeError,
            "got several results; pass .fit for found in results",
        ),
        (
            lambda: RelevanceDisplay.from_cv_results(
                [FittedFusion().fit(), FittedFusion(order=1).fit()]
            ),
            InputError,
            "different terms",
        ),
        (
            lambda: RelevanceDisplay.from_estimator(FittedFusion().fit(), max_terms=0),
            InputError,
            "max_terms is 0",
        ),
        (
            lambda: RelevanceDisplay([1.0, 2.0], term_names=["a"], term_modalities=[("a",)]),
            InputError,
            "shape",
        ),
        (
            lambda: RelevanceDisplay([np.nan], term_names=["a"], term_modalities=[("a",)]),
            InputError,
            "finite",
        ),
    ],
)
def test_unusable_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_explanation_without_relevance_is_drawn_by_its_shares_and_says_so():
    data = {"term_names": ["a", "b"], "term_modalities": [("a",), ("b",)]}
    shares = GlobalExplanation(data | {"std_share": [0.75, 0.25]})
    display = RelevanceDisplay.from_explanation(shares).plot()
    np.testing.assert_array_equal(_bar_widths(display), [0.75, 0.25])
    assert display.ax_.get_xlabel() == "share of standard deviation"
    scored = GlobalExplanation(data | {"std_share": [0.75, 0.25], "relevance": [0.4, 0.6]})
    display = RelevanceDisplay.from_explanation(scored).plot(sort=False)
    np.testing.assert_array_equal(_bar_widths(display), [0.4, 0.6])
    assert display.ax_.get_xlabel() == "relevance"


# -- refits ------------------------------------------------------------------------------------


def _intervals(null=True):
    estimate = np.array([0.5, 0.2, 0.3])
    scores = estimate + np.array([[0.01], [0.03]]) * [1, -1, 0]
    return RelevanceIntervals(
        {
            "term_names": ["a", "b", "a x b"],
            "estimate": estimate,
            "scores": scores,
            "mean": scores.mean(0),
            "std": scores.std(0, ddof=1),
            "low": estimate - 0.1,
            "high": estimate + 0.15,
            "null_scores": np.full((2, 3), 0.04) if null else None,
            "null_quantile": np.array([np.nan, np.nan, 0.05]),
            "method": "bootstrap",
            "confidence": 0.9,
            "n_refits": 2,
        }
    )


def test_intervals_of_refits_are_drawn_around_the_estimate():
    found = _intervals()
    display = found.plot(sort=False)
    np.testing.assert_allclose(_bar_widths(display), found.estimate)
    lines = [line for line in display.ax_.lines if len(set(line.get_ydata())) == 1]
    ends = {tuple(np.round(line.get_xdata(), 9)) for line in lines}
    assert ends == {tuple(np.round(row, 9)) for row in found.interval}
    crossing = [line for line in display.ax_.lines if len(set(line.get_xdata())) == 1]
    assert {x for line in crossing for x in line.get_xdata() if np.isfinite(x)} == {0.05}
    notes = display.ax_.get_title(loc="left")
    for words in ("2 refits", "90 % interval", "null"):
        assert words in notes
    frame = display.frame()
    np.testing.assert_allclose(frame["relevance"], found.estimate)
    np.testing.assert_allclose(frame[["lower", "upper"]], found.interval)
    np.testing.assert_allclose(frame["null"], found.null_quantile)
    assert display.term_modalities == [("a",), ("b",), ("a", "b")]


def test_intervals_without_a_null_have_no_mark_of_it():
    display = RelevanceDisplay.from_intervals(_intervals(null=False), max_terms=2)
    assert _labels(display) == ["a", "a \N{MULTIPLICATION SIGN} b"]
    assert not [line for line in display.ax_.lines if len(set(line.get_xdata())) == 1]
    assert "null" not in display.frame()


def test_other_things_are_no_intervals():
    with pytest.raises(InputTypeError, match=r"what relevance_intervals.* got FittedFusion"):
        RelevanceDisplay.from_intervals(FittedFusion().fit())
