"""Tests of n_bags: the average of several fits is additive, and one is the fit without bags."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sklearn_mmfusion import (
    EstimatorEncoder,
    InputError,
    InTenseClassifier,
    InTenseRegressor,
    LinearEncoder,
    MNLClassifier,
    MNLRegressor,
)
from sklearn_mmfusion._model.seeds import seed_for

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 60
RNG = np.random.default_rng(0)
X = {name: RNG.normal(size=(N, d)) for name, d in [("text", 3), ("audio", 2)]}
SIGNAL = X["text"][:, 0] + X["text"][:, 1] * X["audio"][:, 0] + 0.3 * RNG.normal(size=N)
CASES = {
    "binary": (MNLClassifier, np.where(SIGNAL > 0, "yes", "no")),
    "multiclass": (InTenseClassifier, np.digitize(SIGNAL, [-0.7, 0.7])),
    "regression": (InTenseRegressor, 40 + 7 * SIGNAL),
    "multi-output": (MNLRegressor, np.column_stack([SIGNAL, X["audio"][:, 1]])),
}


def params(**changes):
    return {
        "encoders": LinearEncoder(),
        "reg": 0.01,
        "max_epochs": 3,
        "early_stopping": False,
        "polish": False,
        "lr": 0.01,
        "random_state": 0,
        "n_bags": 3,
    } | changes


def outputs(est, x):
    return est.decision_function(x) if hasattr(est, "decision_function") else est.predict(x)


def fit_bag(kind="regression", **changes):
    cls, y = CASES[kind]
    settings = params(**changes)
    if cls in (InTenseClassifier, InTenseRegressor):
        settings["latent_dim"] = 2
    return cls(**settings).fit(X, y)


def fit_members(est, y):
    """Fit each member on its own: the seeds are those that the docstring promises."""
    seed = int(np.random.RandomState(est.random_state).randint(2**31 - 1))
    seeds = [seed, *(seed_for(seed, "bag", str(b)) for b in range(1, est.n_bags))]
    members = []
    for wanted in seeds:
        # The fit draws its seed from random_state: hand it a state that gives the wanted one.
        member = clone(est).set_params(n_bags=1, random_state=_FixedState(wanted))
        members.append(member.fit(X, y))
    return members


class _FixedState(np.random.RandomState):
    """A random state whose first draw is known."""

    def __init__(self, value=0):
        super().__init__(0)
        self.value = value

    def __deepcopy__(self, memo):
        return self

    def randint(self, *args, **kwargs):
        return self.value


@pytest.mark.parametrize("kind", CASES)
def test_bag_is_the_mean_of_its_members(kind):
    est = fit_bag(kind)
    members = fit_members(est, CASES[kind][1])
    mean = np.mean([outputs(member, X) for member in members], axis=0)
    np.testing.assert_allclose(outputs(est, X), mean, rtol=1e-12, atol=1e-12)
    parts = np.mean([member.contributions(X) for member in members], axis=0)
    np.testing.assert_allclose(est.contributions(X), parts, rtol=1e-12, atol=1e-12)
    scores = np.array([list(member.relevance_scores_.values()) for member in members])
    assert np.ptp(scores, axis=0).max() > 0
    np.testing.assert_allclose(list(est.relevance_scores_.values()), scores.mean(0), rtol=1e-12)
    np.testing.assert_allclose(list(est.relevance_std_.values()), scores.std(0, ddof=1), rtol=1e-9)
    for name in ("fusion_norm_", "validation_gain_", "contribution_std_", "intercept_", "reg_"):
        mean = np.mean([getattr(member, name) for member in members], axis=0)
        np.testing.assert_allclose(getattr(est, name), mean, rtol=1e-12)


@pytest.mark.parametrize("kind", CASES)
def test_contributions_of_a_bag_add_up_to_its_output(kind):
    est = fit_bag(kind)
    total = (est.contributions(X).sum(1) + est.intercept_).squeeze()
    np.testing.assert_allclose(total, outputs(est, X), rtol=1e-11, atol=1e-11)


def test_one_member_is_the_first_of_many():
    one, many = fit_bag(n_bags=1), fit_bag(n_bags=2)
    assert np.isnan(list(one.relevance_std_.values())).all()
    for epoch, other in zip(one.history_, many.history_, strict=True):
        assert epoch == pytest.approx(other, rel=1e-12)
    first = one.module_.state_dict()
    for name, value in many.module_.state_dict().items():
        np.testing.assert_allclose(value, first[name], rtol=1e-9, atol=1e-11)
    assert np.abs(one.predict(X) - many.predict(X)).max() > 0


@pytest.mark.parametrize("p", [2, np.inf])
def test_relevance_of_a_bag_has_norm_one(p):
    scores = list(fit_bag(p=p).relevance_scores_.values())
    wanted = 1.0 if np.isfinite(p) else max(scores)
    assert np.linalg.norm(scores, ord=p) == pytest.approx(wanted, rel=1e-12)
    assert max(scores) <= 1


def test_members_that_kept_other_terms_are_averaged_with_zeros():
    # With reg="auto" each member decides on its own whether interactions earn their place; this one
    # is at the edge of what 120 rows can show.
    rng = np.random.default_rng(0)
    X = {"text": rng.normal(size=(120, 3)), "audio": rng.normal(size=(120, 2))}
    a, b = X["text"][:, 0], X["audio"][:, 0]
    y = a + b + 0.4 * a * b + 0.7 * rng.normal(size=120)
    settings = params(reg="auto", n_bags=2, max_epochs=40, lr=0.05, polish=True)
    for seed in range(12):
        est = InTenseRegressor(**settings | {"latent_dim": 2, "random_state": seed}).fit(X, y)
        kept = [len(result.plan.terms) for result in est._results]
        if len(set(kept)) == 2:
            break
    assert sorted(kept) == [2, 3], "no seed gave members with and without the interaction"
    total = est.contributions(X).sum(1)[:, 0] + est.intercept_
    np.testing.assert_allclose(total, est.predict(X), rtol=1e-11)
    assert est.relevance_scores_["text x audio"] > 0
    assert est.relevance_std_["text x audio"] == pytest.approx(
        est.relevance_scores_["text x audio"] * np.sqrt(2), rel=1e-9
    )


def test_whole_weights_equal_repeated_rows_with_bags():
    weight = RNG.integers(0, 3, size=N).astype(float)
    repeated = {name: np.repeat(v, weight.astype(int), axis=0) for name, v in X.items()}
    y = CASES["regression"][1]
    settings = params(early_stopping="auto", n_bags=2)
    weighted = MNLRegressor(**settings).fit(X, y, sample_weight=weight)
    doubled = MNLRegressor(**settings).fit(repeated, np.repeat(y, weight.astype(int)))
    np.testing.assert_allclose(weighted.predict(X), doubled.predict(X), rtol=1e-7)


def test_removed_terms_leave_every_member():
    est = fit_bag()
    before, parts = est.predict(X), est.contributions(X)
    est.remove_terms(["audio x text"])
    assert est.term_names_ == ["text", "audio"] == list(est.relevance_std_)
    np.testing.assert_allclose(est.predict(X), before - parts[:, 2, 0], rtol=1e-10)
    np.testing.assert_allclose(est.contributions(X), parts[:, :2], rtol=1e-12)


def test_pickled_bag_predicts_the_same_bits():
    est = fit_bag("multiclass")
    copy = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(copy.predict_proba(X), est.predict_proba(X))
    assert copy._result is copy._results[0]
    assert copy.relevance_std_ == est.relevance_std_


def test_warm_start_goes_on_with_every_member():
    est = fit_bag(warm_start=True)
    before = [dict(result.state) for result in est._results]
    fresh = fit_bag()
    np.testing.assert_array_equal(est.predict(X), fresh.predict(X))
    est.fit(X, CASES["regression"][1])
    for old, new in zip(before, est._results, strict=True):
        change = np.abs(new.state["fusion.weight"] - old["fusion.weight"]).max()
        assert 0 < change < 0.1  # three steps of 0.003 from where it stood
    with pytest.raises(InputError, match="n_bags=2, but the last fit has 3 members"):
        est.set_params(n_bags=2).fit(X, CASES["regression"][1])


def test_partial_fit_is_refused_for_bags():
    with pytest.raises(InputError, match="n_bags=3 takes all rows at once"):
        MNLRegressor(**params()).partial_fit(X, CASES["regression"][1])


def test_bag_masks_missing_modalities_and_shares_fitted_representations():
    x = {name: values.copy() for name, values in X.items()}
    x["audio"][:10] = np.nan
    est = MNLRegressor(
        **params(missing="mask", encoders={"text": EstimatorEncoder(Ridge()), "audio": "auto"})
    ).fit(x, CASES["regression"][1])
    assert (est.contributions(x)[:10, 1] == 0).all()
    total = est.contributions(x).sum(1)[:, 0] + est.intercept_
    np.testing.assert_allclose(total, est.predict(x), rtol=1e-11)
    ridge = Ridge().fit(X["text"], CASES["regression"][1])
    features = est.representations_["text"].estimator.predict(X["text"])
    np.testing.assert_allclose(features, ridge.predict(X["text"]), rtol=1e-9)


def test_bag_that_is_interrupted_keeps_the_members_it_has():
    class Interrupt(Callback):
        epochs = 0

        def on_epoch_end(self, net, **kwargs):
            Interrupt.epochs += 1
            # Fits of three epochs: two for the first member, on some rows and then on all.
            if Interrupt.epochs == 8:
                raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="of member 2 and those before it"):
        est = fit_bag(callbacks=[Interrupt()])
    assert len(est._results) == 2
    total = est.contributions(X).sum(1)[:, 0] + est.intercept_
    np.testing.assert_allclose(total, est.predict(X), rtol=1e-11)


def test_nothing_of_a_bag_depends_on_scaled_targets():
    y = CASES["regression"][1]
    scaled = StandardScaler().fit_transform(y[:, None])[:, 0]
    one = MNLRegressor(**params()).fit(X, y).predict(X)
    other = MNLRegressor(**params()).fit(X, scaled).predict(X)
    np.testing.assert_allclose(one, other * y.std() + y.mean(), rtol=1e-6)
