"""ContributionDisplay: its bars and table against the arrays of the explanation."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_mmfusion import GlobalExplanation, LateFusionRegressor, LinearEncoder
from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._explanations import LocalExplanation
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.plotting import ContributionDisplay

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

UP, DOWN, END = "#0072b2", "#d55e00", "#8a8a8a"


def _data(n_samples=3, n_terms=5, outputs=("sad", "happy", "calm"), seed=0):
    rng = np.random.default_rng(seed)
    contributions = rng.normal(size=(n_samples, n_terms, len(outputs)))
    intercept = rng.normal(size=len(outputs))
    decision = contributions.sum(axis=1) + intercept
    return {
        "kind": "relevance",
        "target": "multiclass",
        "term_names": [f"t{i}" for i in range(n_terms)],
        "output_names": list(outputs),
        "sample_index": np.arange(n_samples) * 10,
        "contributions": contributions,
        "intercept": intercept,
        "decision": decision,
        "predicted": np.array(outputs)[decision.argmax(1)],
        "y": np.array(outputs)[rng.integers(len(outputs), size=n_samples)],
    }


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def _bars(ax):
    """Return start, signed length and colour of the bars, from the top."""
    bars = sorted(ax.patches, key=lambda bar: bar.get_y())
    return [(b.get_x(), b.get_width(), to_hex(b.get_facecolor())) for b in bars]


def _labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_waterfall_leads_from_the_intercept_to_the_decision_of_the_predicted_class():
    display = ContributionDisplay(data := _data()).plot()
    sizes = np.abs(data["contributions"][np.arange(3), :, data["decision"].argmax(1)]).max(0)
    order = np.argsort(-sizes)
    assert len(display.axes_) == 3
    assert _labels(display.ax_) == ["intercept", *(f"t{t}" for t in order), "decision"]
    for row, ax in enumerate(display.axes_):
        output = data["decision"][row].argmax()
        end = 0.0
        *steps, last = _bars(ax)
        values = [data["intercept"][output], *data["contributions"][row, order, output]]
        for i, ((start, width, color), value) in enumerate(zip(steps, values, strict=True)):
            assert start == pytest.approx(end)
            assert width == pytest.approx(value)
            assert color == (END if i == 0 else UP if value >= 0 else DOWN)
            end += value
        assert last[:2] == pytest.approx((0.0, data["decision"][row, output]))
        assert end == pytest.approx(last[1])
        texts = [text.get_text() for text in ax.texts]
        assert texts[1] == f"{values[1]:+.2f}".replace("-", "−")
        assert f"for {data['output_names'][output]}" in ax.get_xlabel()
        assert ax.get_title(loc="left").split("\n") == [
            f"sample {row * 10}",
            f"predicted: {data['predicted'][row]}",
            f"true: {data['y'][row]}",
        ]


def test_bars_begin_at_zero_and_leave_the_ends_out():
    display = ContributionDisplay(data := _data()).plot(kind="bars", output="calm")
    bars = _bars(display.axes_[1])
    assert len(bars) == 5
    assert {start for start, _, _ in bars} == {0.0}
    widths = sorted(width for _, width, _ in bars)
    np.testing.assert_allclose(widths, np.sort(data["contributions"][1, :, 2]))
    label = display.ax_.get_xlabel().replace("\n", " ")
    assert label == "contribution to the decision for calm"


def test_terms_that_are_left_out_share_a_bar_so_that_the_steps_add_up():
    display = ContributionDisplay(data := _data(n_terms=9)).plot(max_terms=4, output="sad")
    assert _labels(display.ax_)[-2:] == ["5 other terms", "decision"]
    for row, ax in enumerate(display.axes_):
        widths = [width for _, width, _ in _bars(ax)]
        assert sum(widths[:-1]) == pytest.approx(data["decision"][row, 0])
        drawn = sum(widths[1:5])
        assert widths[5] == pytest.approx(data["contributions"][row, :, 0].sum() - drawn)


def test_a_single_term_beyond_the_limit_has_its_own_bar():
    display = ContributionDisplay(_data(n_terms=5)).plot(max_terms=4)
    assert not any("other" in label for label in _labels(display.ax_))


def test_frame_holds_the_steps():
    pytest.importorskip("pandas")
    data = _data()
    frame = ContributionDisplay(data).frame(output="happy", max_terms=2)
    assert frame.columns.tolist() == ["sample", "output", "step", "value", "start", "end"]
    assert frame["sample"].tolist() == np.repeat([0, 10, 20], 5).tolist()
    steps = frame["step"][:5].tolist()
    assert steps[0] == "intercept" and steps[3:] == ["3 other terms", "decision"]
    one = frame[frame["sample"] == 10]
    np.testing.assert_allclose(one["start"] + one["value"], one["end"])
    np.testing.assert_allclose(one["start"][1:-1], one["end"][:-2])
    assert one["end"].iloc[-2] == pytest.approx(data["decision"][1, 1])
    assert len(ContributionDisplay(data).frame()) == 3 * 7


def test_from_estimator_takes_rows_by_their_position_through_pipelines():
    rng = np.random.default_rng(0)
    X = ModalityFrame({"a": rng.normal(size=(60, 3)), "b": rng.normal(size=(60, 2))})
    y = X["a"][:, 0] + X["b"][:, 0]
    model = LateFusionRegressor(
        max_epochs=30, encoders=LinearEncoder(), early_stopping=False, random_state=0
    )
    fitted = make_pipeline(FunctionTransformer(), model).fit(X, y)
    display = ContributionDisplay.from_estimator(fitted, X, y, samples=[7, 3], kind="waterfall")
    assert [ax.get_title(loc="left").split("\n")[0] for ax in display.axes_] == [
        "sample 7",
        "sample 3",
    ]
    assert _labels(display.ax_)[-1] == "prediction"
    predicted = fitted.predict(X)[[7, 3]]
    np.testing.assert_allclose([_bars(ax)[-1][1] for ax in display.axes_], predicted)
    assert f"true: {y[7]:.4g}" in display.ax_.get_title(loc="left")


def test_given_axes_are_drawn_on():
    axes = plt.subplots(1, 3)[1]
    display = ContributionDisplay(_data()).plot(axes)
    assert display.axes_.tolist() == axes.tolist()
    assert display.figure_ is axes[0].figure
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("n_samples", [1, 6])
@pytest.mark.parametrize("kind", ["waterfall", "bars"])
def test_numbers_and_labels_are_inside_the_figure_and_do_not_meet(n_samples, kind):
    data = _data(n_samples, n_terms=8)
    data["term_names"] = [f"demographics and history x number {i} x audio" for i in range(8)]
    display = ContributionDisplay(data).plot(kind=kind)
    display.figure_.canvas.draw()
    width = display.figure_.bbox.width
    for ax in display.axes_:
        numbers = [text.get_window_extent() for text in ax.texts]
        assert all(box.x0 >= 0 and box.x1 <= width for box in numbers)
        assert all(ax.bbox.x0 - 1 <= b.x0 and b.x1 <= ax.bbox.x1 + 1 for b in numbers)
    labels = [label.get_window_extent() for label in display.ax_.get_yticklabels()]
    assert min(box.x0 for box in labels) >= 0
    labels = sorted(labels, key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 for low, high in zip(labels, labels[1:], strict=False))


def test_contributions_of_zero_are_drawn():
    data = _data(1)
    zeros = {key: np.zeros_like(data[key]) for key in ("contributions", "intercept", "decision")}
    display = ContributionDisplay(data | zeros).plot()
    assert {text.get_text() for text in display.ax_.texts} == {"0"}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d: ContributionDisplay(3), InputTypeError, "int; expected what explain_local"),
        (
            lambda d: ContributionDisplay(GlobalExplanation({"term_names": ["a"]})),
            InputTypeError,
            "GlobalExplanation; expected",
        ),
        (
            lambda d: ContributionDisplay({"term_names": ["a"], "sample_index": [0]}),
            InputError,
            "no contributions, intercept, decision",
        ),
        (lambda d: d.plot(output="mad"), InputError, r"'mad'; this explanation has \['sad'"),
        (lambda d: d.plot(kind="pie"), InputError, "'pie'; expected one of"),
        (lambda d: d.plot(max_terms=0), InputError, "max_terms is 0"),
        (lambda d: d.plot(plt.subplots()[1]), InputError, "ax holds 1 Axes, for 3 samples"),
        (
            lambda d: ContributionDisplay(_data(7)).plot(),
            InputError,
            "7 samples to draw; choose 1 to 6",
        ),
        (
            lambda d: ContributionDisplay(LocalExplanation(_data())[:0]).plot(),
            InputError,
            "0 samples",
        ),
    ],
)
def test_unusable_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(ContributionDisplay(_data()))


def test_frame_without_pandas_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="ContributionDisplay.frame needs pandas"):
        ContributionDisplay(_data()).frame()
