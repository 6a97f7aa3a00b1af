"""RoutingDisplay: what it draws, cell by cell, against the arrays of the explanation."""

import sys
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._explanations import GlobalExplanation, LocalExplanation
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.plotting import RoutingDisplay

TRI = ("text", "audio", "video")
EMOTIONS = ("neutral", "happy", "sad", "angry")


class FittedRouting(BaseEstimator):
    """What a Display needs of a fitted estimator: coefficients are a formula of the data."""

    def __init__(self, modalities=TRI, order=3, classes=EMOTIONS, uncertain=1.0):
        self.modalities = modalities
        self.order = order
        self.classes = classes
        self.uncertain = uncertain

    def fit(self, X=None, y=None):
        self.term_names_ = [
            " x ".join(term)
            for k in range(1, self.order + 1)
            for term in combinations(self.modalities, k)
        ]
        self.trained_on_ = np.arange(40.0) if X is None else self._numbers(X)
        return self

    def _numbers(self, X):
        return np.asarray(X["text"] if hasattr(X, "keys") else X, dtype=np.float64).reshape(-1)

    def explain_local(self, X, y=None):
        numbers = self._numbers(X)
        n_terms, n_concepts = len(self.term_names_), len(self.classes)
        angle = np.add.outer(np.arange(n_terms), np.arange(n_concepts) * 1.3)
        votes = np.sin(angle) + self.uncertain * np.sin(numbers[:, None, None] * (1 + angle))
        votes[:, 0] = 0.0  # a term that is not used: uniform routing
        routing = np.exp(votes) / np.exp(votes).sum(axis=-1, keepdims=True)
        activations = 0.5 + 0.4 * np.sin(np.add.outer(numbers, np.arange(n_terms)))
        predicted = np.array(self.classes)[routing.sum(axis=1).argmax(axis=1)]
        return LocalExplanation(
            {
                "term_names": self.term_names_,
                "concept_names": list(self.classes),
                "sample_index": np.arange(len(numbers)),
                "routing_coefficients": routing,
                "activations": activations,
                "routed_activations": activations[..., None] * routing,
                "predicted": predicted,
                "y": y,
            }
        )

    def explain_global(self, X=None):
        local = self.explain_local(self.trained_on_ if X is None else X)
        data = {key: local.data[key] for key in ("term_names", "concept_names")}
        n_samples = len(local)
        for key, interval_key in (
            ("routing_coefficients", "routing_intervals"),
            ("activations", "activation_intervals"),
            ("routed_activations", "routed_activation_intervals"),
        ):
            mean = local.data[key].mean(axis=0)
            half = 1.96 * local.data[key].std(axis=0, ddof=1) / np.sqrt(n_samples)
            data |= {key: mean, interval_key: np.stack([mean - half, mean + half], axis=-1)}
        share = np.arange(1.0, 1 + len(self.term_names_))
        data["contribution_share"] = share / share.sum()
        data |= {"uniform": 1 / len(self.classes), "n_samples": n_samples}
        return GlobalExplanation(data)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def _mesh(ax):
    """Return the numbers behind the heat map, terms by columns."""
    return np.asarray(ax.collections[0].get_array())


def _texts(ax):
    """Return the texts in the panel by their place, (row, column)."""
    return {(round(t.get_position()[1]), t.get_position()[0]): t for t in ax.texts}


def _row_labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def _column_labels(ax):
    return [label.get_text() for label in ax.get_xticklabels()]


# --- a data set -----------------------------------------------------------------------------------


def test_from_estimator_draws_the_means_over_the_training_set():
    estimator = FittedRouting().fit()
    display = RoutingDisplay.from_estimator(estimator)
    expected = estimator.explain_global().data
    np.testing.assert_array_equal(_mesh(display.ax_), expected["routing_coefficients"])
    assert _row_labels(display.ax_) == [n.replace(" x ", " × ") for n in estimator.term_names_]
    assert _column_labels(display.ax_) == [*EMOTIONS, "activation", "share of\ncontribution"]
    assert display.ax_.yaxis_inverted()
    assert display.axes_.tolist() == [display.ax_]
    assert display.figure_ is display.ax_.figure
    assert len(display.figure_.axes) == 2  # the heat map and its colour bar
    assert display.ax_.get_title(loc="left") == "routing coefficient, mean over 40 samples"


def test_from_estimator_draws_the_means_over_other_data():
    estimator, X = FittedRouting().fit(), {"text": np.linspace(0, 3, 17)}
    display = RoutingDisplay.from_estimator(estimator, X)
    local = estimator.explain_local(X).data["routing_coefficients"]
    np.testing.assert_allclose(_mesh(display.ax_), local.mean(axis=0), rtol=1e-12)
    assert display.ax_.get_title(loc="left").endswith("mean over 17 samples")


def test_cells_tell_mean_and_half_width_bold_where_the_interval_excludes_uniform():
    estimator = FittedRouting(uncertain=2.0).fit()
    ax = RoutingDisplay.from_estimator(estimator).ax_
    data, texts = estimator.explain_global().data, _texts(ax)
    n_bold = 0
    for row, column in np.ndindex(7, 4):
        low, high = data["routing_intervals"][row, column]
        mean, half = data["routing_coefficients"][row, column], (high - low) / 2
        text = texts[row, column]
        assert text.get_text() == f"{mean:.2f} ± " + f"{half:.2f}"[1:]
        significant = row > 0 and not low <= 0.25 <= high  # the first term is uniform
        assert text.get_fontweight() == ("bold" if significant else "normal")
        n_bold += significant
    assert 0 < n_bold < 24
    assert ax.get_xlabel() == (
        "bold: 95 % interval excludes uniform routing, 0.25\n±: half the width of the 95 % interval"
    )


def test_activation_and_share_of_contribution_stand_beside_the_heat_map():
    estimator = FittedRouting().fit()
    ax = RoutingDisplay.from_estimator(estimator).ax_
    data = estimator.explain_global().data
    ground, activations, ground_of_share, share = (
        np.array([bar.get_width() for bar in container]) for container in ax.containers
    )
    np.testing.assert_allclose(activations / ground, data["activations"])
    np.testing.assert_allclose(share / ground_of_share, data["contribution_share"])
    beside = [t.get_text() for (row, column), t in sorted(_texts(ax).items()) if column > 3.5]
    assert len(beside) == 2 * 7
    assert beside[0].startswith(f"{data['activations'][0]:.2f} ± ")
    assert beside[1::2] == [f"{value:.0%}" for value in data["contribution_share"]]


def test_colours_are_white_at_uniform_routing_and_reach_equally_far():
    display = RoutingDisplay.from_estimator(FittedRouting().fit())
    mesh = display.ax_.collections[0]
    low, high = mesh.get_clim()
    assert (low + high) / 2 == pytest.approx(0.25)
    assert high - 0.25 == pytest.approx(np.abs(_mesh(display.ax_) - 0.25).max())
    assert mesh.to_rgba(0.25)[:3] == pytest.approx(to_rgb("#F7F7F7"), abs=0.01)
    # The colour bar shows coefficients that can occur, and marks 1/J.
    bar = display.figure_.axes[1]
    assert bar.get_ylim() == (max(low, 0), min(high, 1))
    assert any(np.allclose(line.get_ydata(), 0.25) for line in bar.lines)


def test_noise_around_uniform_routing_is_not_stretched_over_all_colours():
    display = RoutingDisplay(
        {
            "term_names": ["text"],
            "concept_names": ["a", "b"],
            "routing_coefficients": [[0.501, 0.499]],
        }
    ).plot()
    assert display.ax_.collections[0].get_clim() == pytest.approx((0.45, 0.55))


@pytest.mark.parametrize(("quantity", "n_columns"), [("activation", 1), ("routed_activation", 4)])
def test_other_quantities_start_at_zero_and_are_never_bold(quantity, n_columns):
    estimator = FittedRouting().fit()
    display = RoutingDisplay.from_estimator(estimator, quantity=quantity)
    key = {"activation": "activations", "routed_activation": "routed_activations"}[quantity]
    expected = estimator.explain_global().data[key].reshape(7, n_columns)
    np.testing.assert_array_equal(_mesh(display.ax_), expected)
    assert display.ax_.collections[0].get_clim() == (0, expected.max())
    assert all(text.get_fontweight() == "normal" for text in display.ax_.texts)
    assert "uniform" not in display.ax_.get_xlabel()
    assert len(display.ax_.containers) == (2 if quantity == "activation" else 4)


def test_a_model_without_routing_is_drawn_by_its_activations():
    data = {"term_names": ["text", "audio"], "activations": [0.4, 0.9]}
    ax = RoutingDisplay(data).plot().ax_
    np.testing.assert_array_equal(_mesh(ax), [[0.4], [0.9]])
    assert [text.get_text() for text in ax.texts] == ["0.40", "0.90"]


def test_many_terms_have_triangles_instead_of_numbers():
    estimator = FittedRouting(tuple("abcdef"), 6, tuple(f"class {i}" for i in range(10))).fit()
    ax = RoutingDisplay.from_estimator(estimator).ax_
    explanation = estimator.explain_global()
    assert len(_row_labels(ax)) == 63
    assert not ax.texts
    means, drawn = explanation.data["routing_coefficients"], []
    for points, above in zip(ax.collections[1:], (True, False), strict=True):
        cells = {(int(row), int(column)) for column, row in points.get_offsets()}
        sign = 1 if above else -1
        expected = explanation.significant & (sign * (means - 0.1) > 0)
        assert cells == set(map(tuple, np.argwhere(expected)))
        assert sign * points.get_paths()[0].vertices[0, 1] > 0  # the tip points up or down
        drawn += cells
    assert 0 < len(drawn) < 630
    assert ax.get_xlabel().startswith("triangle: 95 % interval above or below uniform routing")
    assert "full bar: 3%" in _column_labels(ax)[-1]


def test_many_terms_without_routing_have_neither():
    names = [f"term {i}" for i in range(40)]
    ax = RoutingDisplay({"term_names": names, "activations": np.linspace(0, 1, 40)}).plot().ax_
    assert len(_row_labels(ax)) == 40
    assert not ax.texts
    assert len(ax.collections) == 1


def test_given_axes_are_drawn_on_with_the_numbers_that_fit():
    wide, narrow = plt.subplots(figsize=(16, 4))[1], plt.subplots(figsize=(2.5, 4))[1]
    estimator = FittedRouting().fit()
    assert RoutingDisplay.from_estimator(estimator, ax=wide).ax_ is wide
    RoutingDisplay.from_estimator(estimator, ax=narrow)
    assert len(plt.get_fignums()) == 2
    assert "±" in _texts(wide)[1, 1].get_text()
    assert not narrow.texts


# --- samples --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [dict, ModalityFrame, lambda X: X["text"].reshape(-1, 1)])
def test_samples_are_a_row_of_heat_maps_with_one_colour_bar(form):
    estimator, X = FittedRouting().fit(), {"text": np.linspace(0, 9, 30)}
    y = np.array(EMOTIONS)[np.arange(30) % 4]
    samples = [3, 10, 4, 22]
    display = RoutingDisplay.from_estimator(estimator, form(X), y, samples=samples)
    expected = estimator.explain_local(X, y).data
    assert len(display.axes_) == 4
    assert len(display.figure_.axes) == 5
    assert display.ax_ is display.axes_[0]
    limits = {ax.collections[0].get_clim() for ax in display.axes_}
    assert len(limits) == 1
    for sample, ax in zip(samples, display.axes_, strict=True):
        np.testing.assert_allclose(_mesh(ax), expected["routing_coefficients"][sample])
        title = ax.get_title().split("\n")
        assert title[0] == f"sample {sample}"
        assert title[1] == f"predicted: {expected['predicted'][sample]}"
        assert title[2] == f"true: {y[sample]}"
    np.testing.assert_array_equal(display.explanation.data["sample_index"], samples)


def test_term_names_stand_beside_the_first_sample_only():
    local = FittedRouting().fit().explain_local(np.arange(3.0))
    display = local.plot()
    display.figure_.canvas.draw()
    shown = [any(t.label1.get_visible() for t in a.yaxis.get_major_ticks()) for a in display.axes_]
    assert shown == [True, False, False]


def test_title_without_a_true_label_tells_the_prediction():
    estimator = FittedRouting().fit()
    display = RoutingDisplay.from_estimator(estimator, {"text": np.arange(5.0)}, samples=[2])
    assert len(display.axes_) == 1
    assert "true" not in display.ax_.get_title()
    assert "predicted: " in display.ax_.get_title()


@pytest.mark.parametrize("quantity", ["routed_activation", "activation"])
def test_other_quantities_of_samples(quantity):
    local = FittedRouting().fit().explain_local(np.arange(2.0))
    display = local.plot(quantity=quantity)
    values = {"activation": "activations", "routed_activation": "routed_activations"}[quantity]
    for position, ax in enumerate(display.axes_):
        expected = local.data[values][position].reshape(7, -1)
        np.testing.assert_array_equal(_mesh(ax), expected)
        written = [text.get_text() for text in ax.texts]
        assert written == [f"{value:.2f}" for value in expected.ravel()]


def test_samples_are_drawn_on_given_axes():
    local = FittedRouting().fit().explain_local(np.arange(2.0))
    axes = plt.subplots(1, 2)[1]
    assert local.plot(ax=axes).axes_.tolist() == list(axes)
    assert len(plt.get_fignums()) == 1


# --- numbers, wrappers, looks ---------------------------------------------------------------------


def test_frame_is_the_table_of_the_explanation():
    pd = pytest.importorskip("pandas")
    estimator = FittedRouting().fit()
    explanation = estimator.explain_global()
    pd.testing.assert_frame_equal(RoutingDisplay(explanation).frame(), explanation.to_frame())
    local = estimator.explain_local(np.arange(3.0))
    frame = RoutingDisplay(local).frame()
    np.testing.assert_array_equal(frame["routing"], local.data["routing_coefficients"].ravel())
    frame = RoutingDisplay(local).frame("activation")
    np.testing.assert_array_equal(frame["activation"], local.data["activations"].ravel())


def test_pipelines_and_searches_are_looked_into_and_transform_the_data():
    double = FunctionTransformer(lambda X: 2 * X)
    X = np.linspace(0, 3, 12).reshape(-1, 1)
    pipeline = make_pipeline(double, FittedRouting()).fit(X)
    search = BaseEstimator()
    search.best_estimator_ = pipeline
    bare = FittedRouting().fit(2 * X)
    for given, expected in ((None, bare.trained_on_), (X[:5], 2 * X[:5])):
        display = RoutingDisplay.from_estimator(search, given)
        means = bare.explain_global(expected).data["routing_coefficients"]
        np.testing.assert_allclose(_mesh(display.ax_), means, rtol=1e-12)
    display = RoutingDisplay.from_estimator(search, X, samples=[7])
    local = bare.explain_local(2 * X).data["routing_coefficients"][7]
    np.testing.assert_allclose(_mesh(display.ax_), local, rtol=1e-12)


def test_plot_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="extra 'plots'"):
        RoutingDisplay.from_estimator(FittedRouting().fit())


LONG = ("demographics and history", "gene expression", "text")
WORDY = ("a class with a name that never ends", "short", "0", "1", "2", "3", "4", "5")


@pytest.mark.parametrize(
    ("params", "samples"),
    [
        ({"order": 1, "classes": ("negative", "positive")}, None),
        ({}, None),
        ({"modalities": LONG, "classes": WORDY}, None),
        pytest.param(
            {"modalities": tuple("abcdef"), "order": 6, "classes": tuple("ABCDEFGHIJ")},
            None,
            marks=pytest.mark.slow,
        ),
        pytest.param({}, 4, marks=pytest.mark.slow),
        ({"order": 1, "classes": ("negative", "positive")}, 4),
        ({"modalities": LONG, "classes": WORDY}, 8),
    ],
    ids=["3x2", "7x4", "long", "63x10", "local", "local binary", "local long"],
)
def test_nothing_overlaps_or_is_cut_off(params, samples):
    estimator = FittedRouting(**params).fit()
    if samples is None:
        display = RoutingDisplay.from_estimator(estimator)
    else:
        names = np.array(estimator.classes)[np.arange(samples) % 2]
        display = estimator.explain_local(np.arange(float(samples)), names).plot()
    figure = display.figure_
    figure.canvas.draw()
    titles = [ax.title if samples else ax._left_title for ax in display.axes_]
    bars = [figure.axes[-1].yaxis.label]
    groups = [
        [text for ax in display.axes_ for text in ax.texts],
        display.ax_.get_yticklabels(),
        [label for ax in display.axes_ for label in ax.get_xticklabels()],
        titles,
        [display.ax_.xaxis.label],
        bars,
    ]
    boxes = [[text.get_window_extent() for text in group if text.get_text()] for group in groups]
    for box in [box for group in boxes for box in group]:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
    together = [box for group in boxes for box in group]
    for first, second in combinations(together, 2):
        assert not first.overlaps(second)
    # Numbers stay inside their cells.
    for ax in display.axes_:
        cell = np.diff(ax.transData.transform([[0, 0], [1, 1]]), axis=0)[0]
        for (_, column), text in _texts(ax).items():
            if column < len(estimator.classes) - 0.5:
                assert text.get_window_extent().width < cell[0]
                assert text.get_window_extent().height < abs(cell[1])


def test_not_fitted_is_said():
    with pytest.raises(NotFittedError):
        RoutingDisplay.from_estimator(FittedRouting())
    with pytest.raises(NotFittedError):
        RoutingDisplay.from_estimator(make_pipeline(FunctionTransformer(), FittedRouting()))


def _local(n_samples):
    return FittedRouting().fit().explain_local(np.arange(float(n_samples)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: RoutingDisplay.from_estimator(3), InputTypeError, "int has no explain_global"),
        (lambda: RoutingDisplay([[0.5, 0.5]]), InputTypeError, "explanation is a list"),
        (
            lambda: RoutingDisplay.from_estimator(FittedRouting().fit(), samples=[1]),
            InputError,
            "X is None",
        ),
        (
            lambda: RoutingDisplay.from_estimator(FittedRouting().fit(), quantity="votes"),
            InputError,
            r"'votes'; this explanation has \['routing'",
        ),
        (lambda: RoutingDisplay({"term_names": ["a"]}).plot(), InputError, "which has neither"),
        (
            lambda: RoutingDisplay(
                GlobalExplanation({"term_names": ["a"], "relevance": [1.0]})
            ).plot(),
            InputError,
            "kind 'relevance', which has neither. RoutingDisplay is for RoutingClassifier and GAMC",
        ),
        (lambda: _local(9).plot(), InputError, r"9 samples to draw; choose 1 to 8.*\[:8\]"),
        (lambda: _local(2)[:0].plot(), InputError, "0 samples to draw"),
    ],
)
def test_unusable_input_is_refused_and_leaves_no_figure(call, error, message):
    with pytest.raises(error, match=message):
        call()
    assert not plt.get_fignums()


def test_too_few_axes_are_refused():
    with pytest.raises(InputError, match="1 Axes, for 2 heat maps"):
        _local(2).plot(ax=plt.subplots()[1])
