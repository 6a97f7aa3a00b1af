"""Log-posteriors added up with one weight per modality: against numpy, and late voting itself."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from sklearn_mmfusion import (
    EstimatorEncoder,
    InTenseClassifier,
    LateVotingClassifier,
    LinearEncoder,
    MNLClassifier,
    MNLRegressor,
    ModalityFrame,
)
from sklearn_mmfusion._fitting.vote import VoteProblem, _folds, _solve, vote_weights
from sklearn_mmfusion._rows.row_errors import RowErrors

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 150


def problem(strengths, n=N, n_classes=3, seed=0):
    """Votes that say the class with the given strengths, too loud by half."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    votes = rng.normal(size=(n, len(strengths), n_classes))
    for m, strength in enumerate(strengths):
        votes[np.arange(n), m, y] += strength
    votes -= votes.mean(2, keepdims=True)
    prior = np.log(np.bincount(y) / n)
    prior -= prior.mean()
    share = np.full(n, 1 / n)
    return VoteProblem(*map(torch.from_numpy, (votes, prior, y, share)), "multiclass")


def errors(problem, n_rows, group=None):
    return RowErrors(problem.share, float(n_rows), group=group)


def numpy_objective(c, p):
    votes, prior, y = p.votes.numpy(), p.prior.numpy(), p.target.numpy()
    outputs = c.mean() * prior + np.tensordot(votes, c, (1, 0))
    losses = np.log(np.exp(outputs).sum(1)) - outputs[np.arange(len(y)), y]
    return losses.mean() + 0.05 * ((c - c.mean()) ** 2).sum()


def test_weights_minimise_the_loss_and_the_penalty_on_their_spread():
    p = problem([1.5, 0.5, 0.0])
    found = _solve(p, equal=False).numpy()
    oracle = minimize(numpy_objective, np.full(3, 0.5), args=(p,), bounds=[(0, None)] * 3)
    np.testing.assert_allclose(found, oracle.x, atol=1e-4)
    equal = _solve(p, equal=True).numpy()
    assert np.ptp(equal) == 0
    grid = [numpy_objective(np.full(3, equal[0] + step), p) for step in (-0.01, 0.0, 0.01)]
    assert grid[1] == min(grid)


def test_row_that_comes_twice_is_one_of_weight_two():
    once = problem([1.5, 0.3])
    counts = torch.from_numpy(np.random.default_rng(3).integers(1, 4, size=N))
    once.share = counts / counts.sum()
    rows = torch.arange(N).repeat_interleave(counts)
    repeated = VoteProblem(
        once.votes[rows], once.prior, once.target[rows], torch.full((len(rows),), 1 / len(rows)),
        once.kind,
    )  # fmt: skip
    repeated.share = repeated.share.double()
    n_rows = float(counts.sum())
    expected = vote_weights(once, errors(once, n_rows))
    assert np.ptp(expected) > 0
    found = vote_weights(repeated, errors(repeated, n_rows))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rows_that_are_all_alike_get_equal_weights():
    p = problem([1.5, 0.3])
    same = p.take(torch.zeros(12, dtype=torch.long))
    assert np.ptp(vote_weights(same, errors(same, 12.0))) == 0


def test_weights_are_equal_unless_cross_validation_says_otherwise():
    alike, unlike = problem([1.0, 1.0]), problem([2.5, 0.0], n=600)
    assert np.ptp(vote_weights(alike, errors(alike, N))) == 0
    different = vote_weights(unlike, errors(unlike, 600))
    assert different[0] > 2 * different[1]
    # Two rows stand for one each, whatever their weights add up to: few rows decide nothing.
    assert np.ptp(vote_weights(unlike, errors(unlike, 2))) == 0


def test_rows_of_one_group_say_no_more_than_one_row():
    once = problem([1.5, 0.6], n=60)
    copies = torch.arange(60).repeat_interleave(20)
    p = once.take(copies)
    assert np.ptp(vote_weights(once, errors(once, 60))) == 0
    assert np.ptp(vote_weights(p, errors(p, len(copies)))) > 0
    assert np.ptp(vote_weights(p, errors(p, len(copies), group=copies))) == 0


def test_folds_are_of_whole_groups():
    p, group = problem([1.0, 1.0]), torch.arange(N) % 30
    fold = _folds(p, group)
    assert len(torch.unique(fold)) == 4
    assert all(len(torch.unique(fold[group == g])) == 1 for g in range(30))
    assert np.ptp(vote_weights(p, errors(p, N, group=torch.zeros_like(group)))) == 0


def data(kind, n=N, seed=0):
    rng = np.random.default_rng(seed)
    X = {name: rng.normal(size=(n, 4)) for name in ("a", "b", "c")}
    signal = sum(x[:, 0] for x in X.values()) + 1.5 * rng.normal(size=n)
    if kind == "binary":
        return X, np.where(signal > 0, "yes", "no")
    if kind == "multiclass":
        return X, np.digitize(signal, [-1, 1])
    # No modality says more of one label than the others do, or weights would rightly differ.
    other = sum(x[:, 1] for x in X.values()) + 1.5 * rng.normal(size=n)
    return X, np.column_stack([signal > 0, other > 0.3]).astype(int)


def out_of_fold(n_rows_seed):
    return EstimatorEncoder(LogisticRegression(), cv=n_rows_seed)


@pytest.mark.parametrize(
    ("kind", "cls"),
    [
        ("binary", MNLClassifier),
        ("multiclass", MNLClassifier),
        ("multilabel", MNLClassifier),
        ("binary", InTenseClassifier),
    ],
)
def test_fusion_of_equal_modalities_is_late_voting_up_to_a_factor(kind, cls):
    X, y = data(kind)
    est = cls(encoders=out_of_fold(3), max_epochs=10, random_state=0).fit(X, y)
    assert est._result.is_vote
    late = LateVotingClassifier(LogisticRegression(), random_state=0).fit(X, y)
    ours, theirs = est.decision_function(X), late.decision_function(X)
    factor = (ours * theirs).sum() / (theirs**2).sum()
    assert 0.3 < factor < 1.5
    np.testing.assert_allclose(ours, factor * theirs, rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(est.predict(X), late.predict(X))
    total = est.contributions(X).sum(1) + est.intercept_
    np.testing.assert_allclose(total.reshape(ours.shape), ours, rtol=1e-9, atol=1e-12)
    # The weights are equal, so that relevance is the size of the log-posteriors.
    assert sum(est.relevance_scores_.values()) == pytest.approx(1)
    assert est.term_names_[:3] == ["a", "b", "c"]
    assert np.isnan(est.polish_gap_)
    assert np.isfinite(est.validation_gain_)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_votes_of_all_kinds_take_groups(kind):
    X, y = data(kind)
    est = MNLClassifier(encoders=out_of_fold(3), max_epochs=10, random_state=0)
    est.fit(X, y, groups=np.arange(N) // 5)
    assert est._result.is_vote


def test_matrices_win_where_a_modality_misleads():
    # The log-posteriors of `b` are those of a class that is shifted by one: no weight mends that.
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 900)
    X = {"a": rng.normal(size=(900, 3)), "b": rng.normal(size=(900, 3))}
    X["a"][np.arange(900), y] += 0.5
    X["b"][np.arange(900), (y + 1) % 3] += 3.0

    class Wrong(LogisticRegression):
        """It says the class before the right one."""

        def predict_proba(self, X):
            return np.roll(super().predict_proba(X), 1, axis=1)

    encoders = {"a": EstimatorEncoder(LogisticRegression()), "b": EstimatorEncoder(Wrong())}
    est = MNLClassifier(encoders=encoders, max_epochs=20, random_state=0).fit(X, y)
    assert not est._result.is_vote
    assert est.score(X, y) > 0.85


def test_large_data_and_rows_of_the_users_own_are_judged_by():
    X, y = data("multiclass", n=1200)
    frame = ModalityFrame(X)
    est = MNLClassifier(encoders=out_of_fold(2), max_epochs=5, random_state=0)
    assert est.fit(X, y)._result.is_vote
    few, rest = frame.iloc[:100], frame.iloc[100:]
    assert est.fit(few, y[:100], X_val=rest, y_val=y[100:])._result.is_vote


def test_missing_modalities_contribute_nothing():
    X, y = data("binary")
    X["b"][::3] = np.nan
    est = MNLClassifier(encoders=out_of_fold(3), missing="mask", random_state=0, max_epochs=10)
    est.fit(X, y)
    assert est._result.is_vote
    parts = est.contributions(X)
    assert (parts[::3, 1] == 0).all()
    assert np.abs(parts[1::3, 1]).min() > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"reg": 0.01},
        {"polish": False},
        {"encoders": {"a": LinearEncoder(), "b": out_of_fold(2), "c": out_of_fold(2)}},
        {"encoders": EstimatorEncoder(LogisticRegression(), method="decision_function", cv=2)},
    ],
)
def test_no_vote_where_the_user_decides_or_encodings_are_no_log_posteriors(changes):
    X, y = data("binary")
    settings = {"encoders": out_of_fold(2), "max_epochs": 5, "random_state": 0} | changes
    assert not MNLClassifier(**settings).fit(X, y)._result.is_vote


def test_no_vote_in_regression():
    X, _ = data("binary")
    from sklearn.linear_model import Ridge

    est = MNLRegressor(encoders=EstimatorEncoder(Ridge(), cv=2), max_epochs=5, random_state=0)
    assert not est.fit(X, X["a"][:, 0])._result.is_vote
