"""Tests of what a fit chooses by itself on held-out rows: interactions, strength, epochs."""

import pickle
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklearn_mmfusion import (
    InTenseClassifier,
    InTenseRegressor,
    LinearEncoder,
    MLPEncoder,
    MNLClassifier,
    MNLRegressor,
    SummaryEncoder,
)
from sklearn_mmfusion._block_norm import _REG_FACTORS
from sklearn_mmfusion.modules.dropout import Dropout

# Few epochs and rows: whether the models converge is asked where it matters.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

RNG = np.random.default_rng(0)
MANY = {"a": RNG.normal(size=(1500, 3)), "b": RNG.normal(size=(1500, 3))}
FEW = {name: values[:240] for name, values in MANY.items()}
NOISE = RNG.normal(size=1500)
PRODUCT = MANY["a"][:, 0] * MANY["b"][:, 0]
SUM = MANY["a"][:, 0] + MANY["b"][:, 0] + 0.5 * NOISE


def params(**changes):
    return {
        "encoders": MLPEncoder(hidden_dim=16, dropout=0.2),
        "latent_dim": 4,
        "max_epochs": 25,
        "batch_size": 256,
        "lr": 0.01,
        "random_state": 0,
    } | changes


def additive(**changes):
    """Parameters of MNL."""
    return {name: value for name, value in params(**changes).items() if name != "latent_dim"}


def outputs(est, x):
    return est.decision_function(x) if hasattr(est, "decision_function") else est.predict(x)


class Recorder(Callback):
    """Held-out losses, terms and dropout of every epoch of every fit of a call."""

    def __init__(self):
        self.fits = []

    def on_train_begin(self, net, **kwargs):
        fit = {"terms": net.module_.features.terms, "valid": [], "dropout": []}
        self.fits.append({**fit, "batch_size": net.options.batch_size})

    def on_epoch_end(self, net, **kwargs):
        fit = self.fits[-1]
        fit["valid"].append(net.history[-1].get("valid_loss"))
        layers = [m for m in net.module_.modules() if isinstance(m, Dropout)]
        fit["dropout"].append({(m.strength, m.shared) for m in layers})


# -- interactions -----------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [InTenseRegressor, InTenseClassifier])
@pytest.mark.parametrize(
    "x", [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)]
)
def test_interactions_are_left_out_of_an_additive_truth(cls, x):
    n = len(x["a"])
    y = SUM[:n] if cls is InTenseRegressor else np.digitize(SUM[:n], [-0.7, 0.7])
    est = cls(**params()).fit(x, y)
    assert est.term_names_ == ["a", "b", "a x b"]
    assert est.relevance_scores_["a x b"] == 0
    assert min(est.relevance_scores_["a"], est.relevance_scores_["b"]) > 0.3
    parts = est.contributions(x)
    assert parts.shape == (n, 3, len(est.intercept_))
    assert (parts[:, 2] == 0).all()
    assert (est.contribution_std_[2] == 0).all()
    total = (parts.sum(1) + est.intercept_).squeeze()
    np.testing.assert_allclose(total, outputs(est, x), rtol=1e-10, atol=1e-10)
    again = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(again.contributions(x), parts)


@pytest.mark.parametrize("cls", [InTenseRegressor, InTenseClassifier])
def test_interactions_are_kept_where_they_are_all_there_is(cls):
    y = PRODUCT if cls is InTenseRegressor else (PRODUCT > 0).astype(int)
    est = cls(**params()).fit(MANY, y)
    assert est.relevance_scores_["a x b"] > 0.95
    assert est.score(MANY, y) > 0.9
    assert est.contribution_std_[2, 0] > 10 * est.contribution_std_[:2].max()


def test_interactions_are_kept_on_few_rows_too():
    est = InTenseRegressor(**params(max_epochs=60)).fit(FEW, PRODUCT[:240])
    assert est.relevance_scores_["a x b"] > 0.7


def test_given_strength_keeps_every_term():
    recorder = Recorder()
    InTenseRegressor(**params(reg=1e-2, callbacks=[recorder], max_epochs=5)).fit(FEW, SUM[:240])
    assert [len(fit["terms"]) for fit in recorder.fits] == [3, 3]


def test_model_without_interactions_is_fitted_beside_the_whole_one():
    recorder = Recorder()
    InTenseRegressor(**params(callbacks=[recorder], max_epochs=5)).fit(FEW, SUM[:240])
    assert [len(fit["terms"]) for fit in recorder.fits] == [3, 2, 2]
    alone = Recorder()
    MNLRegressor(**additive(callbacks=[alone], max_epochs=5)).fit(FEW, SUM[:240])
    assert [len(fit["terms"]) for fit in alone.fits] == [2, 2]


def test_terms_left_out_are_removed_as_others_and_stay_out_in_a_warm_start():
    est = InTenseRegressor(**params()).fit(FEW, SUM[:240])
    predicted = est.predict(FEW)
    est.set_params(warm_start=True).fit(FEW, SUM[:240])
    assert est.relevance_scores_["a x b"] == 0
    est.set_params(warm_start=False).fit(FEW, SUM[:240])
    np.testing.assert_array_equal(est.predict(FEW), predicted)
    est.remove_terms(["b x a"])
    assert est.term_names_ == ["a", "b"]
    np.testing.assert_array_equal(est.predict(FEW), predicted)


# -- strength ---------------------------------------------------------------------------------


@pytest.mark.parametrize("p, n_outputs", [(1, 1), (2, 3), (np.inf, 1)])
def test_strength_is_the_documented_one_or_one_of_its_multiples(p, n_outputs):
    y = SUM[:240] if n_outputs == 1 else np.column_stack([SUM, -SUM, NOISE])[:240]
    est = MNLRegressor(**additive(p=p, max_epochs=10)).fit(FEW, y)
    expected = 0.02 * (3 - 2 / p) / n_outputs**1.5
    assert np.isclose(est.reg_, [factor * expected for factor in _REG_FACTORS]).any()
    assert np.isnan(est.polish_gap_) or 0 <= est.polish_gap_ <= 1e-6


@pytest.mark.parametrize("reg", [0.0, 0.01, 5.0])
def test_given_strength_is_kept(reg):
    est = MNLRegressor(**additive(reg=reg, max_epochs=5)).fit(FEW, SUM[:240])
    assert est.reg_ == reg
    assert np.isnan(est.polish_gap_) == (reg == 0)


def test_second_fit_uses_the_strength_of_the_first(monkeypatch):
    # With two times the documented strength as the only choice, that is what remains.
    monkeypatch.setattr("sklearn_mmfusion._block_norm._REG_FACTORS", (2.0,))
    est = MNLRegressor(**additive(max_epochs=10)).fit(FEW, SUM[:240])
    assert est.reg_ == pytest.approx(0.04)


# -- epochs -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_few_rows_run_as_many_epochs_as_did_best_on_others():
    recorder = Recorder()
    encoders = MLPEncoder(hidden_dim=64)
    noisy = SUM[:120] + 2 * NOISE[500:620]
    x = {name: values[:120] for name, values in FEW.items()}
    est = MNLRegressor(
        **additive(encoders=encoders, max_epochs=80, reg=1e-3, callbacks=[recorder])
    ).fit(x, noisy)
    first, second = recorder.fits
    assert len(first["valid"]) == 80
    assert est.n_iter_ == len(est.history_) == len(second["valid"]) < 60
    assert est.n_iter_ == int(np.argmin(first["valid"])) + 1
    assert second["valid"] == [None] * est.n_iter_
    assert [epoch["valid_loss"] for epoch in est.validation_history_] == first["valid"]


@pytest.mark.parametrize("n, batches", [(1100, [880, 1100]), (1500, [32, 32])])
def test_more_rows_are_trained_as_a_part_was_for_as_many_epochs(n, batches):
    recorder = Recorder()
    x = {name: values[:n] for name, values in MANY.items()}
    settings = {"encoders": MLPEncoder(hidden_dim=4, dropout=0.5), "batch_size": "auto"}
    settings |= {"max_epochs": "auto", "lr": 0.1, "reg": 1e-3, "callbacks": [recorder]}
    est = MNLRegressor(**additive(**settings)).fit(x, SUM[:n])
    first, second = recorder.fits
    assert [fit["batch_size"] for fit in recorder.fits] == batches
    assert est.n_iter_ == len(second["valid"]) == int(np.argmin(first["valid"])) + 1
    assert second["valid"] == [None] * est.n_iter_
    assert est.n_iter_ < len(first["valid"])
    assert second["dropout"] == first["dropout"][: est.n_iter_]  # fades as it did there
    assert not np.isnan(est.validation_gain_)


class Slowed(Recorder):
    """Takes the learning rate away from every fit but the first."""

    def on_epoch_begin(self, net, **kwargs):
        if len(self.fits) > 1:
            for group in net.optimizer_.param_groups:
                group["lr"] = 0.0


def test_second_fit_that_lags_behind_the_first_is_not_kept():
    recorder = Slowed()
    est = MNLRegressor(**additive(callbacks=[recorder])).fit(FEW, SUM[:240])
    assert len(recorder.fits) == 2
    assert est.history_[-1]["valid_loss"] == recorder.fits[0]["valid"][-1]
    assert est.validation_history_ == est.history_
    assert est.n_iter_ == len(recorder.fits[0]["valid"])
    assert est.score(FEW, SUM[:240]) > 0.5


def test_batches_of_a_given_size_are_of_that_size_in_both_fits():
    recorder = Recorder()
    x = {name: values[:1100] for name, values in MANY.items()}
    settings = {"batch_size": 1000, "max_epochs": 3, "callbacks": [recorder]}
    MNLRegressor(**additive(**settings)).fit(x, SUM[:1100])
    assert [fit["batch_size"] for fit in recorder.fits] == [880, 1000]


def test_many_rows_are_fitted_once_and_keep_the_best_epoch_on_held_out_rows():
    recorder = Recorder()
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(5001, 2))}
    settings = {"encoders": LinearEncoder(), "max_epochs": 2, "callbacks": [recorder]}
    est = MNLRegressor(**additive(**settings)).fit(x, x["a"][:, 0])
    assert [len(fit["valid"]) for fit in recorder.fits] == [2]
    assert est.history_[-1]["valid_loss"] == recorder.fits[0]["valid"][-1]
    recorder.fits.clear()
    est.fit({"a": x["a"][:5000]}, x["a"][:5000, 0])
    assert len(recorder.fits) == 2


@pytest.mark.parametrize("early_stopping, n_fits", [(False, 2), (True, 1)])
def test_epochs_are_not_chosen_where_early_stopping_is_given(early_stopping, n_fits):
    recorder = Recorder()
    est = MNLRegressor(
        **additive(early_stopping=early_stopping, callbacks=[recorder], max_epochs=12)
    ).fit(FEW, SUM[:240])
    assert est.n_iter_ == 12
    assert [len(fit["valid"]) for fit in recorder.fits] == [12] * n_fits


def test_gain_is_about_rows_that_the_fit_has_not_seen():
    # A perceptron fits 40 rows of 30 noise features, and gains nothing on others.
    rng = np.random.default_rng(4)
    x = {"a": rng.normal(size=(40, 30))}
    est = MNLRegressor(**additive(reg=1e-4, early_stopping=False, max_epochs=60))
    target = rng.normal(size=40)
    est.fit(x, target)
    assert est.score(x, target) > 0.9
    assert est.validation_gain_ < 0.2


# -- dropout ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size, shared", [(240, True), (64, False)])
def test_dropout_fades_over_the_epochs_and_is_shared_in_full_batches(batch_size, shared):
    recorder = Recorder()
    est = MNLRegressor(**additive(callbacks=[recorder], batch_size=batch_size, max_epochs=10))
    est.set_params(early_stopping=False).fit(FEW, SUM[:240])
    assert [len(fit["dropout"]) for fit in recorder.fits] == [10, 10]
    for fit in recorder.fits:
        for epoch, layers in enumerate(fit["dropout"]):
            ((strength, is_shared),) = layers
            assert strength == pytest.approx(1 - epoch / 10)
            assert is_shared is shared


def test_dropout_does_not_fade_over_calls_of_partial_fit():
    recorder = Recorder()
    est = MNLRegressor(**additive(callbacks=[recorder], max_epochs=3))
    for _ in range(5):
        est.partial_fit(FEW, SUM[:240])
    strengths = [s for fit in recorder.fits for epoch in fit["dropout"] for s, _ in epoch]
    assert strengths == pytest.approx([1.0] * 5)


# -- weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", ["auto", True])
@pytest.mark.parametrize("cls", [MNLClassifier, InTenseRegressor])
def test_whole_weights_equal_repeated_rows_with_every_default(cls, early_stopping):
    counts = np.random.default_rng(1).integers(1, 4, size=40)
    rows = np.repeat(np.arange(40), counts)
    x = {name: values[:40] for name, values in FEW.items()}
    y = SUM[:40] if cls is InTenseRegressor else np.digitize(SUM[:40], [-0.7, 0.7])
    settings = {"max_epochs": 20, "random_state": 0, "early_stopping": early_stopping}
    weighted = cls(**settings).fit(x, y, sample_weight=counts.astype(float))
    repeated = cls(**settings).fit({name: values[rows] for name, values in x.items()}, y[rows])
    assert weighted.n_iter_ == repeated.n_iter_
    assert weighted.reg_ == repeated.reg_
    scale = np.abs(outputs(repeated, x)).max()
    np.testing.assert_allclose(outputs(weighted, x), outputs(repeated, x), atol=1e-6 * scale)
    assert weighted.relevance_scores_ == pytest.approx(repeated.relevance_scores_, abs=1e-6)


# -- the smallest data ------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 9, 10])
@pytest.mark.parametrize("cls", [MNLClassifier, MNLRegressor, InTenseClassifier, InTenseRegressor])
def test_few_rows_of_one_modality_are_finite_with_every_default(cls, n):
    x = {"only": np.random.default_rng(0).normal(size=(n, 3))}
    est = cls(max_epochs=5, random_state=0).fit(x, np.arange(n) % 2)
    assert np.isfinite(outputs(est, x)).all()
    assert np.isfinite(est.contributions(x)).all()
    assert np.isfinite(est.intercept_).all()
    assert np.isfinite(list(est.relevance_scores_.values())).all()
    assert np.isfinite(est.contribution_std_).all()
    assert np.isnan(est.validation_gain_) or n >= 10


# -- sequences on few rows --------------------------------------------------------------------


def ragged(n=120):
    rng = np.random.default_rng(6)
    return [rng.normal(size=(rng.integers(1, 9), 2)) for _ in range(n)]


def test_summaries_with_a_perceptron_learn_from_ragged_sequences():
    text = ragged()
    y = np.array([steps.max() for steps in text])
    x = {"text": text, "audio": FEW["a"][:120]}
    est = MNLRegressor(max_epochs=100, random_state=0).fit(x, y)
    assert isinstance(est.encoders_["text"], SummaryEncoder)
    assert isinstance(est.encoders_["text"].head, MLPEncoder)
    assert est.score(x, y) > 0.7
    assert est.relevance_scores_["text"] > 0.8


def test_head_of_a_summary_is_reached_by_nested_parameters():
    encoders = {"text": SummaryEncoder(head=MLPEncoder(hidden_dim=5)), "audio": LinearEncoder()}
    est = MNLRegressor(**additive(encoders=encoders, max_epochs=2))
    assert est.get_params()["encoders__text__head__hidden_dim"] == 5
    est.set_params(encoders__text__head__hidden_dim=3)
    est.fit({"text": ragged(), "audio": FEW["a"][:120]}, SUM[:120])
    assert est.encoders_["text"].head.hidden_dim == 3


# -- seed -------------------------------------------------------------------------------------


@contextmanager
def numpy_seeded(seed):
    """Seed numpy's global generator for a while."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def test_without_a_seed_it_comes_from_numpys_global_generator():
    est = MNLRegressor(**additive(random_state=None, max_epochs=2))
    torch_state = torch.get_rng_state()
    with numpy_seeded(5):
        one, two = est.fit(FEW, SUM[:240]).predict(FEW), est.fit(FEW, SUM[:240]).predict(FEW)
    with numpy_seeded(5):
        again = est.fit(FEW, SUM[:240]).predict(FEW)
    np.testing.assert_array_equal(one, again)
    assert (one != two).any()
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("early_stopping", ["auto", True])
@pytest.mark.slow
def test_copies_of_a_row_are_no_evidence(early_stopping):
    # Labels are noise: what a model has learned by heart must not count as held out.
    rows = np.repeat(np.arange(60), 4)
    labels = np.random.default_rng(2).integers(0, 2, size=60)
    est = MNLClassifier(random_state=0, early_stopping=early_stopping)
    est.fit({name: values[rows] for name, values in FEW.items()}, labels[rows])
    assert est.validation_gain_ < 0.1


def test_rows_are_held_out_of_a_handful_where_that_is_asked_for():
    x, y = {"a": np.arange(9.0)[:, None]}, np.arange(9) % 2
    est = MNLClassifier(max_epochs=3, random_state=0, early_stopping=True).fit(x, y)
    assert "valid_loss" in est.history_[0]
    assert np.isnan(est.set_params(early_stopping="auto").fit(x, y).validation_gain_)


def test_a_share_of_equal_rows_is_held_out_where_few_differ():
    pair = np.array([[0.0], [1.0]])
    x, y = {"a": pair[np.arange(120) % 2]}, np.arange(120) % 4 > 1
    est = MNLClassifier(max_epochs=3, random_state=0)
    for early_stopping in (True, "auto"):
        est.set_params(early_stopping=early_stopping).fit(x, y)
        assert abs(est.validation_gain_) < 0.05  # which says nothing of the label
