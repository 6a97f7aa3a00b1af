"""Errors that say what to do where users go wrong most often."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion import (
    InputError,
    InputTypeError,
    LinearEncoder,
    MNLClassifier,
    MNLRegressor,
    ModalityFrame,
    fusion_report,
)
from sklearn_mmfusion.plotting import (
    ComparisonDisplay,
    ContributionDisplay,
    InteractionDisplay,
    RelevanceDisplay,
    RoutingDisplay,
    TrainingCurveDisplay,
)

pd = pytest.importorskip("pandas")

N = 40
VITALS = ["age", "pulse", "weight", "height", "pressure", "sugar", "iron"]
RNG = np.random.default_rng(0)
X = {"vitals": RNG.normal(size=(N, 7)), "gait": RNG.normal(size=(N, 2))}
Y = (X["vitals"][:, 0] > 0).astype(int)


def tables(value, *columns):
    """Return tables with a value in row 3 of some columns."""
    vitals = pd.DataFrame(X["vitals"].copy(), columns=VITALS)  # pandas before 3 writes through
    vitals.loc[3, list(columns)] = value
    return {"vitals": vitals, "gait": pd.DataFrame(X["gait"], columns=["left", "right"])}


# -- columns ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["pulse"], "1 value(s), first in row 3, in column 'pulse')"),
        (["pulse", "iron"], "2 value(s), first in row 3, in columns 'pulse', 'iron')"),
        (VITALS[:6], "'age', 'pulse', 'weight', 'height', 'pressure' and 1 more)"),
    ],
)
@pytest.mark.parametrize("form", ["dict", "frame", "two levels", "flat", "one modality"])
def test_columns_that_are_not_finite_are_named(value, columns, said, form):
    rows, est = tables(value, *columns), MNLClassifier(random_state=0)
    if form == "frame":
        rows = ModalityFrame(rows)
    elif form == "two levels":
        rows = pd.concat(rows, axis=1)
    elif form == "flat":
        est.set_params(modalities={"vitals": VITALS, "gait": ["left", "right"]})
        rows = pd.concat(list(rows.values()), axis=1)
    elif form == "one modality":
        rows = rows["vitals"]
    with pytest.raises(InputError) as caught, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X is a 2D array and modalities=None")
        est.fit(rows, Y)
    assert said in str(caught.value)


def test_columns_of_numbers_are_named_too():
    rows = {"vitals": tables(np.nan, "pulse")["vitals"].set_axis(range(7), axis=1)}
    with pytest.raises(InputError, match="in column '1'"):
        MNLClassifier(random_state=0).fit(rows, Y)


def test_arrays_have_no_columns_to_be_named():
    values = X["vitals"].copy()
    values[3, 1] = np.nan
    with pytest.raises(InputError, match=r"\(1 value\(s\), first in row 3\)"):
        MNLClassifier(random_state=0).fit({"vitals": values}, Y)


# -- displays ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("display", "said"),
    [
        (RelevanceDisplay, "RelevanceDisplay.from_estimator"),
        (InteractionDisplay, "InteractionDisplay.from_estimator"),
        (TrainingCurveDisplay, "TrainingCurveDisplay.from_estimator"),
        (ContributionDisplay, r"ContributionDisplay.from_estimator\(estimator, X\)"),
        (RoutingDisplay, "RoutingDisplay.from_estimator"),
        (ComparisonDisplay, "compare_models"),
    ],
)
def test_display_of_an_estimator_says_what_draws_it(display, said):
    with pytest.raises(InputTypeError, match=rf"MNLClassifier.*{said}"):
        display(MNLClassifier())
    assert plt.get_fignums() == []


@pytest.mark.parametrize("given", [{}, {"term_names": ["a"]}, {"term_modalities": [("a",)]}])
def test_relevance_without_names_is_refused(given):
    with pytest.raises(InputTypeError, match="needs term_names and term_modalities"):
        RelevanceDisplay([1.0], **given)


# -- the report -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (lambda est: (X, Y, est), "estimator: expected a fitted estimator, got a dict"),
        (lambda est: (Y, X, est), "estimator: expected a fitted estimator, got a ndarray"),
        (lambda est: (MNLClassifier, X, Y), "got the class MNLClassifier"),
        (lambda est: (est, est, Y), "X: expected rows, got an estimator, MNLClassifier"),
        (lambda est: (est, X, est), "y: expected their target, got an estimator"),
        (lambda est: (est, Y, X), "y: expected the target, got a dict of rows"),
        (lambda est: (est, Y, ModalityFrame(X)), "got a ModalityFrame of rows"),
    ],
)
def test_report_with_arguments_in_another_order_says_the_order(arguments, said):
    with pytest.raises(InputTypeError) as caught:
        fusion_report(*arguments(MNLClassifier()))
    assert said in str(caught.value)
    assert str(caught.value).endswith("the order is fusion_report(estimator, X, y)")


# -- encoders ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoders",
    [
        LogisticRegression(),
        {"gait": LogisticRegression()},
        [("vitals", LinearEncoder()), ("gait", LogisticRegression())],
    ],
    ids=["all", "mapping", "pairs"],
)
def test_estimator_as_an_encoder_is_to_be_wrapped(encoders):
    with pytest.raises(InputTypeError, match=r"EstimatorEncoder\(LogisticRegression\(\)\)$"):
        MNLClassifier(encoders=encoders, random_state=0).fit(X, Y)


def test_long_estimators_are_shown_short():
    steps = make_pipeline(StandardScaler(), LogisticRegression(C=0.123456789, max_iter=12345))
    with pytest.raises(InputTypeError, match=r"EstimatorEncoder\(Pipeline\(\.\.\.\)\)$"):
        MNLClassifier(encoders=steps, random_state=0).fit(X, Y)


@pytest.mark.parametrize("wrong", [LogisticRegression, 3, "mlp", MNLRegressor])
def test_what_is_no_estimator_is_not_to_be_wrapped(wrong):
    with pytest.raises((InputTypeError, ValueError)) as caught:
        MNLClassifier(encoders=wrong, random_state=0).fit(X, Y)
    assert "EstimatorEncoder(" not in str(caught.value)
