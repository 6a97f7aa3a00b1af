"""Tests of the choice of encoders up to 5000 rows: hidden layers or none, columns or components."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from skorch.callbacks import Callback

from sklearn_mmfusion import (
    Conv2dEncoder,
    EarlyFusionClassifier,
    EncoderByShape,
    EstimatorEncoder,
    GAMClassifier,
    GRUEncoder,
    IdentityEncoder,
    InTenseClassifier,
    InTenseRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
    LinearEncoder,
    MLPEncoder,
    MNLClassifier,
    MNLRegressor,
    MROClassifier,
    MRORegressor,
    RoutingClassifier,
    SummaryEncoder,
    TensorFusionClassifier,
    load,
)
from sklearn_mmfusion._block_norm import auto_reg
from sklearn_mmfusion._encoders.choosing import SMALL_SAMPLE, resolve_encoders
from sklearn_mmfusion._errors import FitInterruptedWarning, InputError
from sklearn_mmfusion._fitting.held_fit import HeldFit
from sklearn_mmfusion._rows.row_errors import RowErrors
from sklearn_mmfusion._rows.splitting import SPARE_ROWS
from sklearn_mmfusion.data._blocks import ModalityLayout

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

FLAT = ModalityLayout("flat", (6,), "float64")
SEQUENCE = ModalityLayout("steps", (9, 2), "float64")
IMAGE = ModalityLayout("image", (8, 8), "uint8")


def wide(n=200, n_noise=30):
    """Three columns of signal, of which one is in the target, and many of noise."""
    rng = np.random.default_rng(0)
    X = {"signal": rng.normal(size=(n, 3)), "noise": rng.normal(size=(n, n_noise))}
    return X, X["signal"][:, 0] + 0.5 * rng.normal(size=n)


def est_result():
    X, y = wide(40, n_noise=2)
    return MNLRegressor(encoders=LinearEncoder(), max_epochs=1, random_state=0).fit(X, y)._result


def halves(X, y):
    n = len(y) // 2
    parts = [{name: values[rows] for name, values in X.items()} for rows in (np.s_[:n], np.s_[n:])]
    return parts[0], y[:n], parts[1], y[n:]


def kinds(est):
    return {type(encoder).__name__ for encoder in est.encoders_.values()}


class Counter(Callback):
    """Names of the encoders of each training; may interrupt one."""

    def __init__(self, interrupt=0):
        self.interrupt = interrupt
        self.fits, self.n_terms = [], []

    def on_train_begin(self, net, **kwargs):
        self.n_terms.append(len(net.module_.features.terms))
        self.fits.append([type(m).__name__ for m in net.module_.encoders])

    def on_epoch_end(self, net, **kwargs):
        if len(self.fits) == self.interrupt and len(net.history) == 2:
            raise KeyboardInterrupt


# -- what is chosen -----------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [MNLRegressor, InTenseRegressor])
@pytest.mark.slow
def test_noise_of_many_columns_has_little_relevance_on_few_rows(cls):
    X, y, X_new, y_new = halves(*wide(400, n_noise=50))
    est = cls(random_state=0).fit(X, y)
    assert kinds(est) == {"IdentityEncoder"}
    assert est.relevance_scores_["noise"] < 0.1
    perceptrons = cls(random_state=0, encoders=EncoderByShape(hidden_dim=128)).fit(X, y)
    assert kinds(perceptrons) == {"MLPEncoder"}
    assert est.score(X_new, y_new) > 0.05 + perceptrons.score(X_new, y_new)


@pytest.mark.slow
def test_few_rows_with_curves_keep_their_perceptrons():
    X, _ = wide(400, n_noise=3)
    y = np.cos(2 * X["signal"][:, 0])
    est = MNLRegressor(random_state=0).fit(X, y)
    assert kinds(est) == {"MLPEncoder"}
    assert est.score(X, y) > 0.7


@pytest.mark.slow
def test_wide_sequences_may_be_summarised_without_a_perceptron():
    rng = np.random.default_rng(0)
    X = {"steps": rng.normal(size=(200, 5, 12)), "flat": rng.normal(size=(200, 3))}
    y = X["flat"][:, 0] + 0.5 * rng.normal(size=200)
    est = MNLRegressor(random_state=0).fit(X, y)
    assert isinstance(est.encoders_["steps"], SummaryEncoder)
    assert est.encoders_["steps"].head is None
    assert isinstance(est.encoders_["flat"], LinearEncoder)


def test_linear_choice_of_every_shape():
    def chosen(encoders, n):
        return resolve_encoders(encoders, [FLAT, SEQUENCE, IMAGE], n, linear=True)

    flat, steps, image = chosen("auto", SMALL_SAMPLE)
    assert type(flat) is LinearEncoder
    assert type(steps) is SummaryEncoder
    assert steps.head is None
    assert type(image) is Conv2dEncoder
    many, more = ([type(e) for e in chosen("auto", n)] for n in (SMALL_SAMPLE + 1, SPARE_ROWS + 1))
    assert many == [LinearEncoder, GRUEncoder, Conv2dEncoder]
    assert more == [MLPEncoder, GRUEncoder, Conv2dEncoder]
    flat, steps, _ = chosen(EncoderByShape(output_dim=7, dropout=0.25), SMALL_SAMPLE)
    assert (flat.output_dim, flat.dropout) == (steps.output_dim, steps.dropout) == (7, 0.25)
    named = {"flat": MLPEncoder(hidden_dim=5), "steps": EncoderByShape(hidden_dim=5)}
    assert [type(e) for e in chosen(named, SMALL_SAMPLE)] == [MLPEncoder, GRUEncoder, Conv2dEncoder]


def blocks(n=200):
    """Factors behind many columns, and a narrow modality that says as much as one of them."""
    rng = np.random.default_rng(0)
    factors, loads = rng.normal(size=(n, 4)), rng.normal(size=(4, 600))
    genes = factors @ (loads * (rng.random(loads.shape) < 0.1)) + rng.normal(size=(n, 600))
    X = {"clinical": rng.normal(size=(n, 3)), "genes": genes}
    return X, factors[:, 0] + X["clinical"][:, 0] + 0.3 * rng.normal(size=n)


@pytest.mark.parametrize("cls", [MNLRegressor, InTenseRegressor])
@pytest.mark.slow
def test_wide_modalities_with_few_directions_are_read_by_components(cls):
    X, y, X_new, y_new = halves(*blocks(400))
    est = cls(random_state=0).fit(X, y)
    assert est.encoders_["genes"].n_components == 16
    assert est.encoders_["clinical"].n_components is None
    assert est.relevance_scores_["genes"] == pytest.approx(0.5, abs=0.1)
    assert est.relevance_scores_["clinical"] == pytest.approx(0.5, abs=0.1)
    features = cls(encoders=LinearEncoder(), random_state=0).fit(X, y)
    assert est.score(X_new, y_new) > 0.05 + features.score(X_new, y_new)


@pytest.mark.slow
def test_one_column_of_many_is_not_lost_among_components():
    rng = np.random.default_rng(0)
    X = {"genes": rng.normal(size=(400, 60)), "clinical": rng.normal(size=(400, 3))}
    y = 2 * X["genes"][:, 7] + X["clinical"][:, 0]
    est = MNLRegressor(random_state=0).fit(X, y)
    assert est.encoders_["genes"].n_components is None
    assert est.relevance_scores_["genes"] > est.relevance_scores_["clinical"]


ADDITIVE = {"Routing": RoutingClassifier, "GAM": GAMClassifier, "MRO": MROClassifier}
OTHERS = {
    **ADDITIVE,
    "MRO in turn": partial(MROClassifier, schedule="sequential"),
    "LateFusion": LateFusionClassifier,
    "TensorFusion": TensorFusionClassifier,
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.slow
def test_other_estimators_read_wide_modalities_by_components(name, tmp_path):
    X, y, X_new, y_new = halves(*blocks(400))
    counter = Counter()
    est = OTHERS[name](callbacks=[counter], random_state=0).fit(X, y > 0)
    assert est.encoders_["genes"].n_components == 16
    assert est.encoders_["clinical"].n_components is None
    per_fit = 2 if name == "MRO in turn" else 1
    assert len(counter.fits) == 3 * per_fit
    # No linear encoders: they lose more often than they win behind other heads than MNL's.
    features = OTHERS[name](encoders=EncoderByShape(hidden_dim=128), random_state=0).fit(X, y > 0)
    assert est.score(X_new, y_new > 0) > 0.03 + features.score(X_new, y_new > 0)
    scores = est.set_params(callbacks=None).predict_proba(X_new)
    est.save(tmp_path / "model.zip")
    for again in (pickle.loads(pickle.dumps(est)), load(tmp_path / "model.zip")):
        np.testing.assert_array_equal(again.predict_proba(X_new), scores)
        again.set_params(warm_start=True, max_epochs=2).fit(X, y > 0)
        assert again.encoders_["genes"].n_components == 16
    if name in ADDITIVE:
        parts = est.contributions(X).sum(1) + est.intercept_
        np.testing.assert_allclose(parts[:, 0], est.decision_function(X), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "est",
    [
        EarlyFusionClassifier(),
        LateFusionClassifier(encoders={"genes": MLPEncoder()}),
        RoutingClassifier(encoders=EncoderByShape(hidden_dim=8)),
    ],
    ids=lambda est: type(est).__name__,
)
def test_nothing_else_is_tried(est):
    counter = Counter()
    X, y = blocks(60)
    est.set_params(callbacks=[counter], max_epochs=2, random_state=0).fit(X, y > 0)
    assert len(counter.fits) == 2


# -- what is tried ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "n_rows", "fits"),
    [
        ({}, 60, ["MLP", "Linear", "chosen"]),
        ({"early_stopping": True}, 60, ["MLP", "Linear"]),
        ({"reg": 0.01}, 60, ["MLP", "Linear", "chosen"]),
        ({"encoders": MLPEncoder()}, 60, ["MLP", "MLP"]),
        ({"encoders": EncoderByShape(hidden_dim=4)}, 60, ["MLP", "MLP"]),
        ({"encoders": LinearEncoder()}, 60, ["Linear", "Linear"]),
        ({}, SMALL_SAMPLE + 1, ["MLP", "Linear", "chosen"]),
        ({}, SPARE_ROWS + 1, ["MLP"]),
    ],
)
def test_fits_of_a_call(changes, n_rows, fits):
    counter = Counter()
    est = MNLRegressor(max_epochs=2, callbacks=[counter], random_state=0, **changes)
    est.fit(*wide(n_rows, n_noise=3))
    found = [names[0].removesuffix("Module") for names in counter.fits]
    chosen = est.encoders_["noise"]
    assert found == [type(chosen).__name__[:-7] if name == "chosen" else name for name in fits]


@pytest.mark.slow
def test_linear_encoders_are_tried_on_the_terms_that_are_left():
    counter = Counter()
    X, y = wide()
    est = InTenseRegressor(callbacks=[counter], random_state=0).fit(X, y)
    assert [names[0] for names in counter.fits] == ["MLPModule"] * 2 + ["LinearModule"] * 2
    assert counter.n_terms == [3, 2, 2, 2]
    additive = MNLRegressor(random_state=0).fit(X, y)
    np.testing.assert_array_equal(est.predict(X), additive.predict(X))


@pytest.mark.slow
def test_components_are_tried_with_either_kind():
    counter = Counter()
    X, y = blocks()
    est = MNLRegressor(callbacks=[counter], random_state=0).fit(X, y)
    perceptron, linear, *others = counter.fits
    assert (perceptron, linear) == (["MLPModule"] * 2, ["LinearModule"] * 2)
    assert others[:2] == [["MLPModule", "ComponentsModule"], ["LinearModule", "ComponentsModule"]]
    kind = type(est.encoders_["clinical"]).__name__.replace("Encoder", "Module")
    assert others[2:] == [["IdentityModule", "ComponentsModule"], [kind, "ComponentsModule"]]
    assert type(est.encoders_["genes"]) is type(est.encoders_["clinical"])
    again = pickle.loads(pickle.dumps(est)).set_params(warm_start=True, callbacks=None).fit(X, y)
    assert again.encoders_["genes"].n_components == 16


@pytest.mark.parametrize("helps", [True, False])
def test_both_changes_at_once_are_tried_where_one_has_helped(helps):
    rng = np.random.default_rng(0)
    n, counter = SMALL_SAMPLE + 100, Counter()
    X = {"genes": rng.normal(size=(n, 40)), "clinical": rng.normal(size=(n, 2))}
    effect = X["clinical"][:, 0] if helps else 2 * np.cos(2 * X["clinical"][:, 0])
    y = effect + X["genes"][:, 0] + 0.5 * rng.normal(size=n)
    MNLRegressor(max_epochs=30, callbacks=[counter], random_state=0).fit(X, y)
    *tried, _ = counter.fits
    one_by_one = [["MLPModule"] * 2, ["LinearModule"] * 2, ["MLPModule", "ComponentsModule"]]
    assert tried == one_by_one + [["LinearModule", "ComponentsModule"]] * helps


def patients(n, seed=0):
    """Two wide modalities of factors, of which none is in the target, and a narrow one."""
    rng = np.random.default_rng(seed)
    X = {
        name: rng.normal(size=(n, 4)) @ rng.normal(size=(4, 200)) + rng.normal(size=(n, 200))
        for name in ("genes", "proteins")
    }
    X["clinical"] = rng.normal(size=(n, 5))
    return X, X["clinical"][:, 0] + 0.6 * rng.normal(size=n)


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.slow
def test_components_that_learn_nothing_leave_noise_little_relevance(classes):
    cls, noise = MNLClassifier if classes else MNLRegressor, {}
    for kind in (IdentityEncoder, LinearEncoder):
        found = []
        for seed in (3, 4):
            X, y = patients(150, seed)
            encoders = dict.fromkeys(("genes", "proteins"), kind(n_components=16))
            est = cls(encoders={**encoders, "clinical": kind()}, random_state=0)
            est.fit(X, y > 0.4 if classes else y)
            found.append(1 - est.relevance_scores_["clinical"])
        noise[kind] = np.mean(found)
    assert noise[IdentityEncoder] < 0.1
    assert noise[IdentityEncoder] < noise[LinearEncoder] - 0.04


@pytest.mark.slow
@pytest.mark.parametrize("cls", [MNLRegressor, InTenseRegressor])
def test_components_that_learn_nothing_are_kept_where_wide_modalities_are_noise(cls, tmp_path):
    X, y = patients(120)
    est = cls(random_state=0).fit(X, y)
    assert kinds(est) == {"IdentityEncoder"}
    assert est.encoders_["genes"].n_components == 16
    assert est.encoders_["clinical"].n_components is None
    assert est.relevance_scores_["clinical"] > 0.85
    est.save(tmp_path / "model.zip")
    again = load(tmp_path / "model.zip")
    np.testing.assert_array_equal(again.predict(X), est.predict(X))
    again.set_params(warm_start=True, max_epochs=2).fit(X, y)
    assert kinds(again) == {"IdentityEncoder"}


def test_effects_of_components_have_the_relevance_of_their_deviation():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(400, 2))
    X = {
        name: 3 * factor[:, None] * rng.normal(size=60) + rng.normal(size=(400, 60))
        for name, factor in zip("ab", factors.T, strict=True)
    }
    y = factors @ [2.0, 1.0] + 0.3 * rng.normal(size=400)
    est = MNLRegressor(encoders=IdentityEncoder(n_components=16), random_state=0).fit(X, y)
    assert est.relevance_scores_["a"] == pytest.approx(2 / 3, abs=0.03)


@pytest.mark.parametrize(
    ("n_components", "width", "part"), [(16, 40, 0.25), (None, 40, 1.0)], ids=["fixed", "features"]
)
def test_penalty_of_fixed_components_goes_by_the_number_of_classes(n_components, width, part):
    rng = np.random.default_rng(0)
    X = {"genes": rng.normal(size=(60, width))}
    y = np.arange(60) % 2
    params = {"encoders": IdentityEncoder(n_components=n_components), "max_epochs": 1}
    params |= {"early_stopping": True, "polish": False, "random_state": 0}
    assert MNLClassifier(**params).fit(X, y).reg_ == pytest.approx(part * auto_reg(1.0, 1))
    assert MNLRegressor(**params).fit(X, y).reg_ == pytest.approx(auto_reg(1.0, 1))
    three = MNLClassifier(**params).fit(X, np.arange(60) % 3)
    times = 1.0 if n_components is None else 3.0
    assert three.reg_ == pytest.approx(times * auto_reg(1.0, 3))


@pytest.mark.parametrize(
    ("cls", "width", "n_rows", "kind", "n_fits"),
    [
        (MNLRegressor, 2001, 60, "ComponentsModule", 5),
        (MNLRegressor, 2000, 60, "MLPModule", 6),
        (LateFusionRegressor, 2001, 60, "ComponentsModule", 2),
        (LateFusionRegressor, 2001, SMALL_SAMPLE + 1, "MLPModule", 3),
    ],
)
def test_perceptrons_of_thousands_of_columns_are_not_tried_on_few_rows(
    cls, width, n_rows, kind, n_fits
):
    rng = np.random.default_rng(0)
    X = {"clinical": rng.normal(size=(n_rows, 2)), "genes": rng.normal(size=(n_rows, width))}
    counter = Counter()
    cls(max_epochs=1, callbacks=[counter], random_state=0).fit(X, X["clinical"][:, 0])
    assert counter.fits[0] == ["MLPModule", kind]
    assert len(counter.fits) == n_fits
    assert (["MLPModule", "MLPModule"] in counter.fits) is (kind == "MLPModule")


@pytest.mark.parametrize(
    ("changes", "n_rows", "tried"),
    [
        ({}, 60, True),
        ({}, SMALL_SAMPLE + 1, False),
        ({"reg": 0}, 60, False),
        ({"polish": False}, 60, False),
        ({"encoders": EncoderByShape(output_dim=4)}, 60, False),
        ({"encoders": {"genes": MLPEncoder()}}, 60, False),
    ],
)
def test_fixed_components_are_tried_on_few_rows_where_weights_are_solved_for(
    changes, n_rows, tried
):
    X, y = blocks(n_rows)
    counter = Counter()
    est = MNLRegressor(max_epochs=1, callbacks=[counter], random_state=0, **changes)
    est.fit({**X, "genes": X["genes"][:, :40]}, y)
    assert (["IdentityModule", "ComponentsModule"] in counter.fits) is tried


@pytest.mark.slow
def test_perceptrons_on_components_have_to_be_clearly_better_on_few_rows():
    rng = np.random.default_rng(4)
    X = {"signal": rng.normal(size=(160, 3)), "noise": rng.normal(size=(160, 150))}
    y = X["signal"][:, 0] + X["signal"][:, 1] + rng.logistic(size=160) * 0.5 > 0
    est = MNLClassifier(random_state=0).fit(X, y)
    assert kinds(est) == {"LinearEncoder"}
    assert est.relevance_scores_["noise"] < 0.4


@pytest.mark.parametrize(
    ("mine", "margin", "wins"),
    [
        (0.9, 0.0, True),
        (1.1, 0.0, False),
        (0.9, 2.0, False),  # lower by 1.6 standard errors
        (0.8, 2.0, True),
        (1.1, -2.0, True),
        (1.2, -2.0, False),
        (1.0, 0.0, False),
        (1.0, -1.0, True),
    ],
)
def test_simpler_model_may_be_worse_by_its_margin(mine, margin, wins):
    # The difference has standard deviation 0.5 over 64 rows, so that 0.0625 is a standard error.
    noise = np.tile([-0.5, 0.5], 32)
    share = torch.full((64,), 1 / 64, dtype=torch.float64)
    errors = RowErrors(share, 64.0)
    one, other = HeldFit(mine + noise, errors), HeldFit(np.ones(64), errors)
    assert one.beats(other, margin) is wins


def test_encoders_of_the_users_own_stay():
    encoders = {"signal": MLPEncoder(hidden_dim=4)}
    counter = Counter()
    est = MNLRegressor(encoders=encoders, callbacks=[counter], max_epochs=3, random_state=0)
    est.fit(*wide(60))
    assert counter.fits[:2] == [["MLPModule", "MLPModule"], ["LinearModule", "MLPModule"]]
    assert isinstance(est.encoders_["signal"], MLPEncoder)


def test_estimators_in_place_of_encoders_stay():
    encoders = {"signal": EstimatorEncoder(Ridge())}
    est = MNLRegressor(encoders=encoders, random_state=0).fit(*wide())
    assert isinstance(est.encoders_["signal"], EstimatorEncoder)
    assert isinstance(est.encoders_["noise"], LinearEncoder)


@pytest.mark.parametrize("interrupt", [1, 2])
def test_interrupt_while_encoders_are_tried_ends_the_call(interrupt):
    counter = Counter(interrupt)
    est = MNLRegressor(callbacks=[counter], random_state=0)
    X, y = wide()
    with pytest.warns(FitInterruptedWarning):
        est.fit(X, y)
    assert len(counter.fits) == interrupt
    assert kinds(est) == {"MLPEncoder"}
    assert np.isfinite(est.predict(X)).all()


# -- what is done with the choice ---------------------------------------------------------------


@pytest.mark.parametrize("cls", [MNLClassifier, InTenseClassifier])
@pytest.mark.slow
def test_model_of_linear_encoders_is_kept_goes_on_and_is_explained(cls, tmp_path):
    X, y = wide(300)
    est = cls(random_state=0).fit(X, y > 0)
    assert kinds(est) == {"LinearEncoder"}
    scores = est.predict_proba(X)
    est.save(tmp_path / "model.zip")
    for again in (pickle.loads(pickle.dumps(est)), load(tmp_path / "model.zip")):
        np.testing.assert_array_equal(again.predict_proba(X), scores)
        again.set_params(warm_start=True).fit(X, y > 0)
        assert kinds(again) == {"LinearEncoder"}
        again.partial_fit(X, y > 0)
        assert kinds(again) == {"LinearEncoder"}
    parts = est.contributions(X).sum(1) + est.intercept_
    np.testing.assert_allclose(parts[:, 0], est.decision_function(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cls", [MNLRegressor, LateFusionRegressor, MRORegressor])
def test_warm_start_goes_on_with_more_rows_and_with_fewer(cls):
    X, y = blocks(SPARE_ROWS + 10)
    X["genes"] = X["genes"][:, :40]

    def rows(n):
        return {name: values[:n] for name, values in X.items()}, y[:n]

    est = cls(max_epochs=2, warm_start=True, random_state=0).fit(*rows(200))
    first = repr(est.encoders_)
    for n in (SMALL_SAMPLE + 10, SPARE_ROWS + 10, 300):
        est.fit(*rows(n))
        assert repr(est.encoders_) == first
    est.set_params(encoders=MLPEncoder(hidden_dim=3))
    with pytest.raises(InputError, match="set warm_start=False"):
        est.fit(*rows(200))


def test_warm_start_keeps_encoders_of_sequences_in_either_direction():
    rng = np.random.default_rng(0)
    n = SMALL_SAMPLE + 10
    X = {"steps": rng.normal(size=(n, 4, 2)), "flat": rng.normal(size=(n, 3))}
    y = X["flat"][:, 0]
    few = {name: values[:100] for name, values in X.items()}
    for start, then, kind in (
        ((few, y[:100]), (X, y), SummaryEncoder),
        ((X, y), (few, y[:100]), GRUEncoder),
    ):
        est = MNLRegressor(max_epochs=1, warm_start=True, random_state=0).fit(*start)
        assert isinstance(est.fit(*then).encoders_["steps"], kind)


@pytest.mark.slow
def test_members_choose_each_for_itself():
    X, y = wide()
    est = MNLRegressor(n_bags=4, random_state=0).fit(X, y)
    each = [type(result.plan.encoders[0]).__name__ for result in est._results]
    assert each[0] == type(est.encoders_["noise"]).__name__
    parts = est.contributions(X).sum(1) + est.intercept_
    np.testing.assert_allclose(parts[:, 0], est.predict(X), rtol=1e-9, atol=1e-9)
    est.set_params(warm_start=True).fit(X, y)
    assert [type(result.plan.encoders[0]).__name__ for result in est._results] == each
