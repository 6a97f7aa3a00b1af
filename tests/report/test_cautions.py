"""Cautions: each is there when its condition holds, and only then."""

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest

from sklearn_mmfusion import InTenseClassifier, LinearEncoder, ModalityFrame
from sklearn_mmfusion.report._cautions import cautions
from sklearn_mmfusion.report._scores import score_rows
from sklearn_mmfusion.report._subject import Subject


def _texts(subject, train=None, level=None):
    found = cautions(subject, score_rows(subject), train)
    return " ".join(c.text for c in found if level in (None, c.level))


def _changed(est, result=None, **attributes):
    """Return a copy of a fitted estimator with other attributes."""
    est = copy.copy(est)
    for name, value in attributes.items():
        setattr(est, name, value)
    if result:
        est._set_results([replace(est._result, **result)])
    return est


def test_model_that_learned_has_no_warning(fits, subject_of):
    assert _texts(subject_of("binary"), level="warning") == ""


@pytest.mark.parametrize(
    ("gain", "error", "warned"), [(0.3, 0.05, False), (0.05, 0.04, True), (-0.1, 0.01, True)]
)
def test_gain_near_zero_is_warned_of_in_plain_words(fits, gain, error, warned):
    est, X, y = fits["binary"]
    est = _changed(est, validation_gain_=gain, validation_gain_error_=error)
    text = _texts(Subject.of(est, X, y), level="warning")
    assert ("not shown to be better than a constant" in text) is warned
    assert ("may mean nothing" in text) is warned


def test_fit_without_held_out_rows_is_noted(fits):
    est, X, y = fits["binary"]
    est = _changed(est, validation_gain_=float("nan"))
    assert "no held-out rows" in _texts(Subject.of(est, X, y))
    assert "no held-out rows" not in _texts(Subject.of(*fits["binary"]))


def test_interrupted_fit_is_warned_of(fits):
    est, X, y = fits["binary"]
    training = replace(est._result.training, interrupted=True)
    est = _changed(est, {"training": training})
    assert "interrupted" in _texts(Subject.of(est, X, y), level="warning")


def test_zero_weights_and_unpolished_weights_are_told(fits):
    est, X, y = fits["binary"]
    assert "is a constant" in _texts(Subject.of(_changed(est, fusion_norm_=0.0), X, y))
    unpolished = _changed(est, polish_gap_=float("nan"))
    assert "last training step" in _texts(Subject.of(unpolished, X, y))
    assert "last training step" not in _texts(Subject.of(_changed(est, polish_gap_=1e-9), X, y))
    unpolished.polish = False
    assert "last training step" not in _texts(Subject.of(unpolished, X, y))


def test_weights_without_a_gap_are_explained(fits):
    est, X, y = fits["binary"]
    nan = float("nan")
    text = _texts(Subject.of(_changed(est, polish_gap_=nan, reg_=0.0), X, y))
    assert "without a penalty (reg=0)" in text and "did worse on held-out rows" not in text
    # A sum of log-posteriors is solved for.
    text = _texts(Subject.of(_changed(est, {"is_vote": True}, polish_gap_=nan), X, y))
    assert "last training step" not in text


def test_interactions_that_are_all_out_are_noted(fits):
    est, X, y = fits["binary"]
    relevance = {
        n: float(len(t) == 1) for n, t in zip(est.term_names_, est.term_modalities_, strict=True)
    }
    out = _changed(est, relevance_scores_=relevance)
    assert "None of the 3 interactions" in _texts(Subject.of(out, X, y))
    relevance["text x audio"] = 0.1
    assert "None of the" not in _texts(Subject.of(out, X, y))


def test_score_no_better_than_a_constant_is_warned_of(fits):
    est, X, y = fits["binary"]
    swapped = np.where(y == "yes", "no", "yes")
    assert "does no better than a constant: log loss" in _texts(Subject.of(est, X, swapped))
    est, X, y = fits["regression"]
    assert "does no better than a constant: R²" in _texts(Subject.of(est, X, -y))
    assert "does no better" not in _texts(Subject.of(est, X, y))


def test_few_rows_are_noted(fits, subject_of):
    assert "40 rows are few" in _texts(subject_of("binary"))
    est, X, y = fits["binary"]
    more = np.tile(np.arange(40), 2)
    assert "are few" not in _texts(Subject.of(est, X.iloc[more], y[more]))


def test_rows_that_are_training_rows_are_counted(fits, subject_of):
    est, X, y = fits["binary"]
    part = Subject.of(est, X.iloc[:7], y[:7])
    assert "7 of the 40 rows are training rows" in _texts(subject_of("binary"), part, "warning")
    other = ModalityFrame({name: np.asarray(X[name]) + 1 for name in X})
    assert "training rows" not in _texts(subject_of("binary"), Subject.of(est, other, y))
    assert "can't know" in _texts(subject_of("binary"))


def test_unseen_class_is_named(fits):
    est, X, y = fits["binary"]
    y = y.astype(object)
    y[:3] = "maybe"
    assert "never seen the class maybe" in _texts(Subject.of(est, X, y))


def test_modality_that_is_mostly_missing_is_named():
    rng = np.random.default_rng(0)
    X, y = {"a": rng.normal(size=(80, 2)), "b": rng.normal(size=(80, 2))}, np.arange(80) % 2
    X["b"][:60] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est = InTenseClassifier(
            missing="mask", encoders=LinearEncoder(), max_epochs=2, random_state=0
        ).fit(X, y)
    text = _texts(Subject.of(est, X, y))
    assert "Modality b: missing in 75%" in text
    assert "Modality a" not in text


def test_warnings_come_before_notes(fits):
    est, X, y = fits["binary"]
    subject = Subject.of(est, X, np.where(y == "yes", "no", "yes"))
    levels = [caution.level for caution in cautions(subject, score_rows(subject), None)]
    assert levels == sorted(levels, reverse=True)
    assert set(levels) == {"warning", "note"}
