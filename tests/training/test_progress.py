"""scikit-learn's callbacks: what they are told, in which order, and that nothing else changes."""

import io
import sys
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_mmfusion import (
    DivergedError,
    InTenseClassifier,
    LateVotingClassifier,
    LinearEncoder,
    MKLClassifier,
    MNLClassifier,
    MNLRegressor,
    ModalityConcatenator,
    ModalityFrame,
    ModalitySelector,
    ModalityTransformer,
    MROClassifier,
)
from sklearn_mmfusion._training.progress import FitTask

QUICK = {"encoders": LinearEncoder(), "max_epochs": 3, "random_state": 0}
HAS_CALLBACKS = hasattr(MNLClassifier, "set_callbacks")
RNG = np.random.default_rng(0)
X = ModalityFrame({"a": RNG.normal(size=(60, 3)), "b": RNG.normal(size=(60, 2))})
Y = (X["a"][:, 0] > 0).astype(int)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]


class Recorder:
    """A callback that writes down what it is told."""

    max_propagation_depth = None

    def __init__(self, stop_after=None):
        self.told, self.stop_after = [], stop_after
        self.estimators = []

    def __deepcopy__(self, memo):
        return self

    @staticmethod
    def _path(context):
        path = [context.task_name]
        while context.parent is not None:
            context = context.parent
            path.insert(0, context.task_name)
        return tuple(path)

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.told.append(("begin", self._path(context)))
        self.given = X, y, metadata

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.told.append(("end", self._path(context)))
        self.estimators.append(fitted_estimator)
        epochs = sum(t[0] == "end" and t[1][-1] == "epoch" for t in self.told if len(t) == 2)
        return self.stop_after is not None and epochs >= self.stop_after


def pair(path, inside=()):
    """Return a task's beginning, what is inside, and its end."""
    return [("begin", path), *inside, ("end", path)]


def training(*path, n_epochs=3):
    return pair(path, pair((*path, "epoch")) * n_epochs)


PART, ALL = "training on a part of the rows", "training on all rows"


def told(est, recorder, *data):
    est.set_callbacks(recorder).fit(*(data or (X, Y)))
    return recorder.told


if HAS_CALLBACKS:

    def test_callbacks_are_told_of_every_training_and_epoch_in_order():
        inside = training("fit", PART) * 2 + training("fit", ALL)
        est = InTenseClassifier(**QUICK, early_stopping=False)
        assert told(est, Recorder()) == ["setup", *pair(("fit",), inside), "teardown"]

    def test_fit_with_early_stopping_has_one_training_and_may_end_before_its_bound():
        est = MNLClassifier(**QUICK | {"max_epochs": 60, "lr": 0.5}, early_stopping=True)
        est.set_params(n_iter_no_change=1, batch_size=16)
        found = told(est, Recorder())
        assert est.n_iter_ < 60
        expected = training("fit", PART, n_epochs=est.n_iter_)
        assert found == ["setup", *pair(("fit",), expected), "teardown"]

    def test_sequential_orders_are_trainings_of_their_own():
        est = MROClassifier(**QUICK, hidden_dim=4, schedule="sequential", early_stopping=False)
        steps = ["step 1 of 2", "step 2 of 2"]
        inside = [t for rows in (PART, ALL) for s in steps for t in training("fit", f"{rows}, {s}")]
        assert told(est, Recorder()) == ["setup", *pair(("fit",), inside), "teardown"]

    @pytest.mark.parametrize(
        ("est", "inside"),
        [
            (MKLClassifier(), []),
            (
                LateVotingClassifier(random_state=0),
                pair(("fit", "training on a")) + pair(("fit", "training on b")),
            ),
            (ModalitySelector(["a"]), []),
            (ModalityConcatenator(), []),
            (ModalityTransformer([("a", "passthrough")]), []),
        ],
    )
    def test_what_trains_no_network_is_told_of_too(est, inside):
        assert told(est, Recorder()) == ["setup", *pair(("fit",), inside), "teardown"]

    def test_callbacks_get_what_fit_was_given():
        weight, recorder = np.linspace(0.5, 1, 60), Recorder()
        told(MNLClassifier(**QUICK), recorder, X, Y, weight)
        assert recorder.given[0] is X
        assert recorder.given[1] is Y
        assert recorder.given[2] == {"sample_weight": weight}

    def test_callback_that_wants_an_end_ends_the_training_as_early_stopping_does():
        est = MNLRegressor(**QUICK | {"max_epochs": 50}, early_stopping=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # A training that was ended on purpose is not warned of as unfinished.
            warnings.filterwarnings("ignore", "the model is not shown")
            found = told(est, Recorder(stop_after=4))
        assert est.n_iter_ == 4
        assert found == ["setup", *pair(("fit",), training("fit", PART, n_epochs=4)), "teardown"]

    def test_estimator_of_an_epoch_is_the_fit_that_ends_there():
        recorder = Recorder()
        settings = QUICK | {"max_epochs": 5, "lr_decay": 1.0, "lr": 0.01}
        est = MNLClassifier(**settings, early_stopping=False, polish=False)
        told(est, recorder)
        epochs = [e for e in recorder.estimators if e is not None]
        # Five of a training on some rows, five on all, and the whole fit.
        assert len(epochs) == 11
        np.testing.assert_array_equal(epochs[9].decision_function(X), est.decision_function(X))
        losses = [log_loss(Y, e.predict_proba(X)) for e in epochs[5:10]]
        recorded = [epoch["train_loss"] for epoch in est.history_]
        # The loss of an epoch is that of its first step, before it.
        np.testing.assert_allclose(losses[:4], recorded[1:], rtol=0.02)

    @pytest.mark.slow
    def test_callbacks_change_neither_the_fit_nor_its_pickle():
        alone = InTenseClassifier(**QUICK).fit(X, Y)
        with_them = InTenseClassifier(**QUICK).set_callbacks(Recorder()).fit(X, Y)
        np.testing.assert_array_equal(alone.contributions(X), with_them.contributions(X))
        left = set(vars(with_them)) - set(vars(alone))
        assert left == {"_skl_callbacks"}
        assert clone(with_them)._skl_callbacks == with_them._skl_callbacks

    def test_callbacks_are_torn_down_when_a_fit_fails():
        recorder = Recorder()
        est = MNLRegressor(**QUICK | {"lr": 1e30, "max_epochs": 60}).set_callbacks(recorder)
        with pytest.raises(DivergedError):
            est.fit(X, Y)
        assert recorder.told[-1] == "teardown"
        assert not hasattr(est, "_callback_fit_ctx")

    def test_partial_fit_tells_nothing():
        recorder = Recorder()
        MNLClassifier(**QUICK).set_callbacks(recorder).partial_fit(X, Y)
        assert recorder.told == []

    @pytest.mark.slow
    def test_trainings_are_nested_in_a_search_and_a_pipeline():
        recorder = Recorder()
        est = make_pipeline(ModalitySelector(["a"]), MNLClassifier(**QUICK, early_stopping=False))
        search = GridSearchCV(est, {"mnlclassifier__p": [1, 2]}, cv=2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # No warning of a step that does not support callbacks.
            warnings.filterwarnings("ignore", "the model is not shown|training had not converged")
            found = told(search, recorder)
        epochs = [t for t in found if t[0] == "end" and t[1][-1] == "epoch"]
        assert len(epochs) == (2 * 2 + 1) * 2 * 3
        assert {path[0] for _, path in epochs} == {"fit"}
        assert {path[-2] for _, path in epochs} == {PART, ALL}

    def test_progress_bar_of_scikit_learn_shows_the_epochs(monkeypatch):
        pytest.importorskip("rich")
        from sklearn.callback import ProgressBar

        shown = io.StringIO()
        monkeypatch.setattr(sys, "stdout", shown)
        MNLClassifier(**QUICK).set_callbacks(ProgressBar()).fit(X, Y)
        assert "MNLClassifier - fit" in shown.getvalue()
        assert ALL in shown.getvalue()

    def test_scoring_monitor_of_scikit_learn_scores_every_epoch():
        from sklearn.callback import ScoringMonitor

        monitor = ScoringMonitor(scoring="neg_log_loss")
        est = MNLClassifier(**QUICK, early_stopping=False).set_callbacks(monitor).fit(X, Y)
        log = monitor.get_logs().data
        assert len(log) == 7
        whole = [entry for entry in log if entry["task_id_path"] == (0,)]
        assert whole[0]["neg_log_loss"] == pytest.approx(-log_loss(Y, est.predict_proba(X)))


def test_task_without_callbacks_does_nothing():
    class Plain:
        pass

    task = FitTask(Plain(), X, Y)
    task.begin(2)
    part = task.begin_part("a part", 3)
    part.begin_step()
    assert part.end_step(lambda: pytest.fail("nobody asked")) is False
    part.end()
    task.end()
    assert task.context is None


def test_fit_without_callbacks_leaves_no_attribute_of_them():
    est = MNLClassifier(**QUICK).fit(X, Y)
    assert not [name for name in vars(est) if "callback" in name and name != "callbacks"]
