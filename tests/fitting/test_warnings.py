"""Tests of what a fit that has ended is warned of."""

from dataclasses import replace

import numpy as np
import pytest

from sklearn_mmfusion import InTenseRegressor, RelevanceWarning
from sklearn_mmfusion._fitting.warnings import not_shown_to_learn, warn_of_fit


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(80, 2)), "b": rng.normal(size=(80, 2))}
    y = X["a"][:, 0] + X["b"][:, 0]
    return InTenseRegressor(max_epochs=60, lr=0.05, random_state=0).fit(X, y)


def judged(fitted, gains, errors):
    """Return the results of members with these gains and standard errors, all converged."""
    result = fitted._results[0]
    training = replace(result.training, stopped=True)
    return [
        replace(result, training=training, gain=gain, gain_error=error)
        for gain, error in zip(gains, errors, strict=True)
    ]


@pytest.mark.parametrize(
    ("gains", "errors", "warned"),
    [
        ([0.163], [0.084], True),  # a gain, but of less than two standard errors
        ([0.169], [0.084], False),
        ([-0.1], [0.01], True),
        ([0.1, 0.3], [0.05, 0.1], False),  # 0.2 against 2 * 0.075
        ([0.1, 0.15], [0.05, 0.1], True),  # 0.125 against 0.15
    ],
)
def test_gain_is_weighed_against_two_standard_errors(fitted, gains, errors, warned, recwarn):
    results = judged(fitted, gains, errors)
    fitted._set_fitted(fitted._schema, fitted._target, fitted._display, results)
    assert fitted.validation_gain_error_ == pytest.approx(np.mean(errors), nan_ok=True)
    assert not_shown_to_learn(fitted) is warned
    warn_of_fit(fitted, results, "relevance scores")
    found = [str(w.message) for w in recwarn if w.category is RelevanceWarning]
    assert len(found) == warned and len(recwarn) == warned
    if warned:
        gain, error = (
            f"gain is {np.mean(gains):.3f}",
            f"two standard errors of {np.mean(errors):.3f}",
        )
        assert "is not shown to predict" in found[0] and gain in found[0] and error in found[0]
        assert "no better" not in found[0]
        assert found[0].endswith("its relevance scores may mean nothing")


def test_fit_that_could_hold_no_rows_out_is_warned_of(fitted):
    results = judged(fitted, [np.nan], [np.nan])
    fitted._set_fitted(fitted._schema, fitted._target, fitted._display, results)
    assert not_shown_to_learn(fitted) is False
    with pytest.warns(RelevanceWarning, match="too few rows to hold some out .* its figures may"):
        warn_of_fit(fitted, results, "figures")


def test_models_that_do_not_judge_themselves_are_not_doubted():
    assert not_shown_to_learn(object()) is False
