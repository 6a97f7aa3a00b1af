"""TrainingCurveDisplay: its lines and marks against the history of fits."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.model_selection import cross_validate

from sklearn_mmfusion import LateFusionRegressor, LinearEncoder, MRORegressor
from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.plotting import TrainingCurveDisplay

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

RNG = np.random.default_rng(0)
X = ModalityFrame({"a": RNG.normal(size=(60, 3)), "b": RNG.normal(size=(60, 2))})
Y = X["a"][:, 0] + X["b"][:, 0]
SETTINGS = {"encoders": LinearEncoder(), "max_epochs": 6, "random_state": 0, "lr": 0.05}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def _history(valid):
    return [
        {"epoch": e, "train_loss": 1 / e, "lr": 0.1 / e}
        | ({} if loss is None else {"valid_loss": loss})
        for e, loss in enumerate(valid, start=1)
    ]


def _line(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


def test_from_estimator_draws_both_losses_and_marks_the_best_epoch():
    est = LateFusionRegressor(early_stopping=True, **SETTINGS).fit(X, Y)
    display = TrainingCurveDisplay.from_estimator(est)
    valid = [epoch["valid_loss"] for epoch in est.history_]
    train = [epoch["train_loss"] for epoch in est.history_]
    np.testing.assert_array_equal(_line(display.ax_, "training rows").get_ydata(), train)
    np.testing.assert_array_equal(_line(display.ax_, "held-out rows").get_ydata(), valid)
    best = int(np.argmin(valid)) + 1
    assert display.best_epochs == [best]
    mark = _line(display.ax_, f"best epoch, {best}")
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (best, min(valid))
    assert display.rate_ax_ is None
    assert display.figure_ is display.ax_.figure


def test_held_out_losses_are_those_of_the_first_of_two_fits():
    est = LateFusionRegressor(**SETTINGS | {"max_epochs": 30}).fit(X, Y + RNG.normal(size=60))
    assert "valid_loss" not in est.history_[0]
    assert len(est.validation_history_) > est.n_iter_  # it went on to look for a better epoch
    display = TrainingCurveDisplay.from_estimator(est)
    valid = [epoch["valid_loss"] for epoch in est.validation_history_]
    train = [epoch["train_loss"] for epoch in est.history_]
    np.testing.assert_array_equal(_line(display.ax_, "training rows").get_ydata(), train)
    np.testing.assert_array_equal(_line(display.ax_, "held-out rows").get_ydata(), valid)
    assert display.best_epochs == [int(np.argmin(valid)) + 1] == [est.n_iter_]
    assert "training rows: of the second, on all rows" in display.ax_.get_title(loc="left")


def test_best_epoch_is_the_lowest_held_out_loss():
    assert TrainingCurveDisplay([_history([0.5, 0.2, 0.3])]).best_epochs == [2]
    assert TrainingCurveDisplay([_history([None, None])]).best_epochs == [None]
    phases = _history([0.1, 0.2, 0.4, 0.3])
    for epoch in phases:
        epoch["phase"] = 1 if epoch["epoch"] <= 2 else 2
    assert TrainingCurveDisplay([phases]).best_epochs == [4]


def test_a_fit_without_held_out_rows_says_so():
    ax = TrainingCurveDisplay([_history([None] * 4)]).plot().ax_
    assert ax.get_title(loc="left") == "no held-out rows in this fit"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training rows"]


def test_cv_results_have_a_line_per_fold():
    est = LateFusionRegressor(early_stopping=True, **SETTINGS)
    results = cross_validate(est, X, Y, cv=3, return_estimator=True)
    display = TrainingCurveDisplay.from_cv_results(results, learning_rate=True)
    losses = [line for line in display.ax_.lines if len(line.get_xdata()) > 1]
    assert len(losses) == 2 * 3
    marks = [line for line in display.ax_.lines if len(line.get_xdata()) == 1]
    assert [int(mark.get_xdata()[0]) for mark in marks] == display.best_epochs
    assert len(display.ax_.get_legend().get_texts()) == 4
    assert display.ax_.get_title(loc="left") == "3 fits, a line each"
    rates = [epoch["lr"] for epoch in results["estimator"][0].history_]
    np.testing.assert_array_equal(display.rate_ax_.lines[0].get_ydata(), rates)


def test_orders_that_are_trained_one_after_the_other_are_parted():
    est = MRORegressor(schedule="sequential", early_stopping=False, **SETTINGS).fit(X, Y)
    ax = TrainingCurveDisplay.from_estimator(est).ax_
    parted = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert [line.get_xdata()[0] for line in parted] == [6.5]
    assert "the next order of terms begins" in ax.get_title(loc="left")


def test_frame_has_a_row_per_fit_and_epoch():
    pytest.importorskip("pandas")
    display = TrainingCurveDisplay([_history([0.5, 0.2, 0.3]), _history([0.1, 0.4])])
    frame = display.frame()
    assert frame.columns.tolist() == ["fit", "epoch", "train_loss", "valid_loss", "lr", "is_best"]
    assert frame["fit"].tolist() == [0, 0, 0, 1, 1]
    assert frame["epoch"].tolist() == [1, 2, 3, 1, 2]
    assert frame["valid_loss"].tolist() == [0.5, 0.2, 0.3, 0.1, 0.4]
    assert frame["is_best"].tolist() == [False, True, False, True, False]


def test_frame_goes_to_the_end_of_both_fits():
    pytest.importorskip("pandas")
    frame = TrainingCurveDisplay([_history([None] * 2)], [_history([0.5, 0.2, 0.3])]).frame()
    assert frame["epoch"].tolist() == [1, 2, 3]
    assert frame["valid_loss"].tolist() == [0.5, 0.2, 0.3]
    assert frame["train_loss"].tolist()[:2] == [1.0, 0.5]
    assert np.isnan(frame["train_loss"][2])
    assert np.isnan(frame["lr"][2])
    assert frame["is_best"].tolist() == [False, True, False]


def test_one_epoch_and_given_axes():
    ax = plt.subplots()[1]
    display = TrainingCurveDisplay([_history([0.3])]).plot(ax)
    assert display.ax_ is ax
    assert _line(ax, "training rows").get_marker() == "o"


def test_unusable_input_is_refused():
    for histories in ([], [[]]):
        with pytest.raises(InputError, match="at least one epoch"):
            TrainingCurveDisplay(histories)
    with pytest.raises(InputError, match="one for each of 1 histories, got 2"):
        TrainingCurveDisplay([_history([0.3])], [[], []])
    with pytest.raises(InputTypeError, match="int has no history_"):
        TrainingCurveDisplay.from_estimator(3)
    with pytest.raises(InputError, match="return_estimator=True"):
        TrainingCurveDisplay.from_cv_results({"test_score": [1.0]})


def test_several_on_one_axes_have_names_in_the_legend_and_colours_of_their_own():
    ax = plt.subplots()[1]
    small = LateFusionRegressor(early_stopping=True, **SETTINGS).fit(X, Y)
    large = LateFusionRegressor(early_stopping=False, **SETTINGS | {"max_epochs": 3}).fit(X, Y)
    TrainingCurveDisplay.from_estimator(small, name="small\n$net$", ax=ax)
    TrainingCurveDisplay.from_cv_results([large, large], name="large", ax=ax)
    best = int(np.argmin([epoch["valid_loss"] for epoch in small.history_])) + 1
    said = ["training rows", "held-out rows", f"best epoch, {best}"]
    entries = [text.get_text() for text in ax.get_legend().get_texts()]
    assert entries == [*(f"small $net$: {words}" for words in said), "large: training rows"]
    drawn = [_line(ax, entry) for entry in (entries[0], entries[1], entries[3])]
    assert len({line.get_color() for line in drawn}) == 3
    assert ax.get_title(loc="left").split("\n") == [
        "large: 2 fits, a line each",
        "large: no held-out rows in this fit",
    ]
    np.testing.assert_array_equal(drawn[0].get_ydata(), [e["train_loss"] for e in small.history_])
    np.testing.assert_array_equal(drawn[2].get_ydata(), [e["train_loss"] for e in large.history_])


def test_notes_of_earlier_curves_stay_and_more_than_three_share_colours():
    ax = plt.subplots()[1]
    for name in "abcd":
        TrainingCurveDisplay([_history([None] * 4)], name=name).plot(ax)
    said = [f"{name}: no held-out rows in this fit" for name in "abcd"]
    assert ax.get_title(loc="left").split("\n") == said
    assert len({line.get_color() for line in ax.lines}) == 3
