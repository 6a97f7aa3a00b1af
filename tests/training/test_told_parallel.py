"""Lines of many fits: how many are printed, what they say, and that nothing else changes."""

import re

import numpy as np
import pytest
from joblib import delayed, parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin
from skorch.callbacks import Callback

from sklearn_mmfusion import (
    InputError,
    InTenseRegressor,
    LinearEncoder,
    MNLClassifier,
    compare_models,
    relevance_intervals,
)
from sklearn_mmfusion._training.told_parallel import ToldParallel, check_verbose

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 40
RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(N, 2)), "b": RNG.normal(size=(N, 2))}
SIGNAL = X["a"][:, 0] + 0.3 * RNG.normal(size=N)
FEW = {"encoders": LinearEncoder(), "max_epochs": 2, "early_stopping": True, "polish": False}
LINE = re.compile(
    r"\[(\w+)\] (\d+) of (\d+) (.+?), \d+\.\d (s|min)(, about \d+\.\d (s|min) left)?$"
)


def square(number):
    return number * number


def told(captured):
    """Return caller, done, total and what of each line; every line has to be one."""
    found = [LINE.match(line) for line in captured.out.splitlines()]
    assert all(found) and captured.err == ""
    return [(m[1], int(m[2]), int(m[3]), m[4]) for m in found]


@pytest.mark.parametrize(("verbose", "n_lines"), [(0, 0), (1, 20), (2, 100), (5, 100)])
def test_verbose_says_how_many_lines(verbose, n_lines, capsys):
    parallel = ToldParallel(None, "f", verbose)
    found = parallel.run((delayed(square)(i) for i in range(100)), "squares", [1] * 100)
    assert found == [i * i for i in range(100)]
    lines = told(capsys.readouterr())
    assert len(lines) == n_lines
    if lines:
        assert lines[-1] == ("f", 100, 100, "squares")


def test_calls_of_several_count_as_many_and_runs_begin_anew(capsys):
    parallel = ToldParallel(1, "f", 1)
    for sizes in ([3, 3, 2], [1, 1]):
        parallel.run((delayed(square)(i) for i in sizes), "fits", sizes)
    assert [line[1:3] for line in told(capsys.readouterr())] == [
        (3, 8),
        (6, 8),
        (8, 8),
        (1, 2),
        (2, 2),
    ]


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.slow
def test_processes_and_threads_tell_the_caller(backend, capsys):
    with parallel_config(backend):
        parallel = ToldParallel(2, "f", 2)
        assert parallel.run((delayed(square)(i) for i in range(6)), "fits", [1] * 6) == [
            i * i for i in range(6)
        ]
    done = [line[1] for line in told(capsys.readouterr())]
    assert done == sorted(set(done)) and done[-1] == 6


def test_last_line_has_no_time_left(capsys):
    ToldParallel(1, "f", 2).run((delayed(square)(i) for i in range(2)), "fits", [1, 1])
    first, last = capsys.readouterr().out.splitlines()
    assert first.endswith(" left") and not last.endswith(" left")


@pytest.mark.parametrize("verbose", [-1, 1.5, "yes", None])
def test_other_verbose_is_refused(verbose):
    with pytest.raises(InputError, match=f"verbose is {verbose!r}; expected False, True"):
        check_verbose(verbose)
    with pytest.raises(InputError, match="verbose is"):
        compare_models([MNLClassifier()], X, SIGNAL > 0, verbose=verbose)
    with pytest.raises(InputError, match="verbose is"):
        relevance_intervals(InTenseRegressor(), X, SIGNAL, verbose=verbose)


def intervals(**given):
    est = InTenseRegressor(latent_dim=2, reg=0.01, **FEW)
    return relevance_intervals(est, X, SIGNAL, n_refits=3, random_state=0, **given)


def test_relevance_intervals_tells_fits_and_those_of_the_null(capsys):
    silent = intervals()
    assert told(capsys.readouterr()) == []
    found = intervals(verbose=True)
    lines = told(capsys.readouterr())
    ends = [line for line in lines if line[1] == line[2]]
    assert ends == [
        ("relevance_intervals", 4, 4, "fits"),
        ("relevance_intervals", 5, 5, "fits without interactions, for the null"),
        ("relevance_intervals", 3, 3, "fits of the null"),
    ]
    np.testing.assert_array_equal(found.scores, silent.scores)
    np.testing.assert_array_equal(found.null_scores, silent.null_scores)


def test_compare_models_tells_fits(capsys):
    models = [MNLClassifier(**FEW)]
    silent = compare_models(models, X, SIGNAL > 0, cv=2, seeds=2)
    assert told(capsys.readouterr()) == []
    found = compare_models(models, X, SIGNAL > 0, cv=2, seeds=2, verbose=1)
    assert [line[:3] for line in told(capsys.readouterr())] == [
        ("compare_models", i, 4) for i in range(1, 5)
    ]
    scores = (result.scores["score"]["MNLClassifier"] for result in (found, silent))
    np.testing.assert_array_equal(*scores)


class CtrlC(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def test_interrupt_of_a_fit_ends_compare_models():
    model = MNLClassifier(callbacks=[("ctrl_c", CtrlC())], max_epochs=3)
    with pytest.raises(KeyboardInterrupt):
        compare_models([model], X, SIGNAL > 0, cv=2)


class Interrupted(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        raise KeyboardInterrupt


def test_interrupt_in_an_estimator_of_others_ends_it_too(capsys):
    with pytest.raises(KeyboardInterrupt):
        compare_models([Interrupted()], X, SIGNAL > 0, cv=2, verbose=1)
    assert told(capsys.readouterr()) == []
