"""Tests of what is done to the fusion weights once their terms are chosen."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from sklearn_mmfusion import InTenseClassifier, MNLClassifier, MNLRegressor, ModalityFrame
from sklearn_mmfusion._rows.row_errors import RowErrors
from sklearn_mmfusion._training.polish import FusionProblem
from sklearn_mmfusion._training.solving import HeldFeatures, Relaxation, common_factor, solve
from sklearn_mmfusion.modules.losses import smooth_loss

SIZES = [3, 3, 3]  # strong, weak, nothing
EFFECTS = {0: 2.0, 3: 1.0}


def uniform(n):
    return torch.full((n,), 1 / n, dtype=torch.float64)


def rows(n, seed, loss="binary"):
    """Features of three terms and a target of the first two."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, sum(SIZES))) / np.sqrt(SIZES[0])
    signal = sum(effect * np.sqrt(SIZES[0]) * z[:, i] for i, effect in EFFECTS.items())
    if loss == "binary":
        target = (rng.random(n) < 1 / (1 + np.exp(-signal))).astype(np.int64)
    else:
        target = signal[:, None] + rng.normal(size=(n, 1))
    return torch.from_numpy(z), torch.from_numpy(target)


def make(n=2000, n_held=2000, reg=0.02, loss="binary", p=1.0):
    """Problem, held-out rows, and weights to start from."""
    z, target = rows(n, 0, loss)
    terms = torch.repeat_interleave(torch.arange(3), torch.tensor(SIZES))
    problem = FusionProblem(z, target, uniform(n), smooth_loss(loss), terms, 3, p, reg)
    held_z, held_target = rows(n_held, 1, loss)
    held = HeldFeatures(held_z, held_target, RowErrors(uniform(n_held), float(n_held)), loss)
    start = torch.zeros(1, sum(SIZES), dtype=torch.float64)
    return problem, held, start, torch.zeros(1, dtype=torch.float64)


def solved(problem, held, weight, bias, *, factors=(1.0,), relaxation=None, **options):
    constant = problem.best_bias(torch.zeros(len(problem.features), 1).double(), bias)
    options = {"polishes": True, "relaxes": True, "relaxation": relaxation, **options}
    return solve(problem, weight, bias, held, constant, factors, **options)


def shares(problem, weight):
    norms = problem.norms(weight)
    return (norms / norms.sum()).numpy()


def test_factor_is_the_best_for_held_out_rows():
    problem, held, weight, bias = make()
    exact = solved(problem, None, weight, bias, factors=())
    factor, _ = common_factor(problem, exact, held)
    train, other = (
        part.numpy() @ exact.weight.numpy()[0] for part in (problem.features, held.features)
    )
    y, held_y = problem.target.numpy(), held.target.numpy()

    def loss(log_factor):
        scaled = np.exp(log_factor) * train

        def mean(b):
            return np.mean(np.logaddexp(0, scaled + b) - y * (scaled + b))

        outputs = np.exp(log_factor) * other + minimize_scalar(mean).x
        held_loss = np.mean(np.logaddexp(0, outputs) - held_y * outputs)
        return len(held_y) * held_loss + 0.5 * (log_factor / np.log(2)) ** 2

    expected = np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x)
    assert factor == pytest.approx(expected, rel=0.02)
    assert factor > 1.2


def test_what_the_penalty_has_shrunken_comes_back():
    problem, held, weight, bias = make()
    plain = solved(problem, None, weight, bias, factors=())
    found = solved(problem, held, weight, bias)
    truth = np.array([2.0, 1.0, 0.0]) / 3.0
    before, after = (np.abs(shares(problem, part.weight) - truth).max() for part in (plain, found))
    assert after < 0.5 * before
    assert found.relaxation.strength < 1
    assert found.reg == problem.reg
    assert found.gap <= 1e-6
    # A logistic regression without a penalty knows the size.
    reference = LogisticRegression(C=np.inf).fit(problem.features.numpy(), problem.target.numpy())
    sizes = [np.linalg.norm(part) for part in (plain.weight, found.weight, reference.coef_)]
    assert sizes[0] < 0.75 * sizes[2]
    assert sizes[1] == pytest.approx(sizes[2], rel=0.15)
    # What is pruned stays pruned.
    assert not found.weight[0, 6:].any()


def test_what_is_not_relaxed_is_only_rescaled():
    problem, held, weight, bias = make()
    found = solved(problem, held, weight, bias, relaxes=False)
    plain = solved(problem, None, weight, bias, factors=())
    assert found.relaxation.strength == 1
    assert found.relaxation.factor > 1.2
    np.testing.assert_allclose(shares(problem, found.weight), shares(problem, plain.weight))


def test_weights_that_follow_training_rows_too_closely_are_made_smaller():
    problem, held, weight, bias = make(n=40, reg=1e-6)
    found = solved(problem, held, weight, bias)
    assert found.relaxation.strength == 1  # a weaker penalty would make it worse
    assert found.relaxation.factor < 0.8
    plain = solved(problem, None, weight, bias, factors=())
    np.testing.assert_allclose(shares(problem, found.weight), shares(problem, plain.weight))
    losses = [
        held.mean(held.losses(held.features @ part.weight.T + part.bias)) for part in (plain, found)
    ]
    assert losses[1] < losses[0]


@pytest.mark.parametrize("loss", ["binary", "squared_error"])
def test_a_handful_of_rows_decides_little(loss):
    problem, held, weight, bias = make(n_held=3, loss=loss)
    found = solved(problem, held, weight, bias)
    assert 0.5 < found.relaxation.factor < 2
    assert found.relaxation.strength == 1


@pytest.mark.slow
def test_a_known_relaxation_is_repeated_without_held_out_rows():
    problem, held, weight, bias = make()
    chosen = solved(problem, held, weight, bias)
    again = solved(problem, None, weight, bias, relaxation=chosen.relaxation)
    torch.testing.assert_close(again.weight, chosen.weight, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(again.bias, chosen.bias, atol=1e-4, rtol=1e-4)
    assert again.relaxation == chosen.relaxation


def test_trained_weights_keep_their_shares():
    problem, _, _, bias = make()
    weight = torch.arange(1.0, 10.0).double()[None]
    found = solved(problem, None, weight, bias, polishes=False, relaxation=Relaxation(0.3, 0.5))
    torch.testing.assert_close(found.weight, 0.5 * weight)
    assert np.isnan(found.gap)


def test_nothing_is_done_to_weights_that_are_zero_or_of_a_given_strength():
    problem, held, weight, bias = make()
    problem.features = torch.zeros_like(problem.features)
    found = solved(problem, held, weight, bias)
    assert not found.weight.any()
    assert found.relaxation == Relaxation()
    problem, held, weight, bias = make()
    given = solved(problem, held, weight, bias, factors=(), relaxation=None)
    assert given.relaxation == Relaxation()
    exact = solved(problem, None, weight, bias, factors=())
    torch.testing.assert_close(given.weight, exact.weight)


def test_a_perfect_fit_is_left_as_it_is():
    problem, held, weight, bias = make(loss="squared_error")
    exact = solved(problem, None, weight, bias, factors=())
    held.target = held.features @ exact.weight.T + exact.bias
    found = solved(problem, held, weight, bias)
    assert found.relaxation == Relaxation()
    torch.testing.assert_close(found.weight, exact.weight)


# -- groups -----------------------------------------------------------------------------------


def copies(held, n, *, grouped):
    """Every held-out row so often, as rows of their own or as a group."""
    rows = torch.arange(len(held.features)).repeat_interleave(n)
    errors = RowErrors(uniform(len(rows)), float(len(rows)), group=rows if grouped else None)
    return HeldFeatures(held.features[rows], held.target[rows], errors, held.loss_name)


@pytest.mark.parametrize("loss, n_held", [("binary", 60), ("squared_error", 6)])
def test_rows_of_one_group_choose_what_one_row_does(loss, n_held):
    problem, held, weight, bias = make(n=40, n_held=n_held, reg=1e-6, loss=loss)
    once, rows, groups = (
        solved(problem, some, weight, bias).relaxation
        for some in (held, copies(held, 30, grouped=False), copies(held, 30, grouped=True))
    )
    assert groups.factor == pytest.approx(once.factor, rel=0.021)
    assert groups.strength == once.strength
    assert abs(np.log(rows.factor)) > abs(np.log(once.factor)) + 0.02


def test_the_polish_is_vetoed_by_groups_and_not_by_their_rows():
    problem, held, _, bias = make(n=30, n_held=12, reg=1e-6)
    weight = torch.zeros(1, sum(SIZES), dtype=torch.float64)
    weight[0, [0, 3]] = torch.tensor([2.0, 1.0]).double()
    is_trained = [
        np.isnan(solved(problem, some, weight, bias).gap)
        for some in (held, copies(held, 60, grouped=False), copies(held, 60, grouped=True))
    ]
    assert is_trained == [False, True, False]


# -- whole fits -------------------------------------------------------------------------------


def additive(n, seed):
    """Rows of three modalities, their true logits and labels drawn from them."""
    rng = np.random.default_rng(seed)
    X = {name: rng.normal(size=(n, 4)) for name in ("strong", "weak", "none")}
    logit = 1.5 * X["strong"][:, 0] + 0.6 * X["weak"][:, 1]
    return ModalityFrame(X), logit, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)


@pytest.mark.slow
def test_probabilities_are_those_of_the_rows():
    X, logit, y = additive(6000, 0)
    train, test = train_test_split(np.arange(len(y)), train_size=2000, random_state=0)
    est = MNLClassifier(random_state=0).fit(X[train], y[train])
    found = est.decision_function(X[test])
    slope = np.polyfit(logit[test], found, 1)[0]
    assert 0.7 < slope < 1.3  # 0.58 without a relaxation
    best = log_loss(y[test], 1 / (1 + np.exp(-logit[test])))
    assert log_loss(y[test], est.predict_proba(X[test])) < best + 0.015
    assert est.relevance_scores_["weak"] == pytest.approx(0.6 / 2.1, abs=0.07)
    assert est.relevance_scores_["none"] < 0.02
    assert est.calibration_factor_ != 1
    assert est.relaxed_reg_ <= est.reg_


@pytest.mark.slow
def test_the_penalty_is_relaxed_beside_interactions_too():
    rng = np.random.default_rng(1)
    X = {name: rng.normal(size=(2500, 1)) for name in "ab"}
    a, b = X["a"][:, 0], X["b"][:, 0]
    logit = 1.5 * a + 0.5 * b + a * b
    est = InTenseClassifier(random_state=0).fit(X, rng.random(2500) < 1 / (1 + np.exp(-logit)))
    assert est.relaxed_reg_ < est.reg_
    truth = {"a": 0.5, "b": 1 / 6, "a x b": 1 / 3}
    assert est.relevance_scores_ == pytest.approx(truth, abs=0.05)  # b is 0.09 without it
    # At other p nothing is pruned, and useless interactions would come in.
    est.set_params(p=2).fit(X, a * b + 0.5 * a > 0)
    assert est.relevance_scores_["a x b"] > 0
    assert est.relaxed_reg_ == est.reg_


@pytest.mark.slow
def test_a_number_for_reg_is_the_users_word():
    X, _, y = additive(400, 0)
    est = MNLClassifier(reg=0.02, random_state=0).fit(X, y)
    assert est.relaxed_reg_ == est.reg_ == 0.02
    assert est.calibration_factor_ == 1
    number = MNLRegressor(reg=0.02, random_state=0).fit(X, y + 0.0)
    assert number.calibration_factor_ == 1
