"""What a user asks of training has its effect: schedules, hidden modalities, own modules."""

import numpy as np
import pytest
import torch
from skorch.callbacks import LRScheduler
from torch import nn
from torch.optim.lr_scheduler import StepLR

from sklearn_mmfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    IdentityEncoder,
    InputError,
    InTenseClassifier,
    InTenseRegressor,
    LateFusionClassifier,
    LinearEncoder,
    MNLClassifier,
    MNLRegressor,
    ModuleEncoder,
    RAVENClassifier,
    RoutingClassifier,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(120, 4)), "b": RNG.normal(size=(120, 3))}
SIGNAL = X["a"][:, 0] + X["b"][:, 0]
Y = SIGNAL > 0


@pytest.mark.parametrize("cls", [MNLClassifier, LateFusionClassifier])
def test_scheduler_of_the_user_sets_the_learning_rate(cls):
    settings = {"max_epochs": 5, "early_stopping": False, "random_state": 0, "lr": 0.02}
    steps = LRScheduler(policy=StepLR, step_size=2, gamma=0.1)
    estimator = cls(callbacks=[steps], lr_decay=1.0, **settings).fit(X, Y)
    rates = [epoch["lr"] for epoch in estimator.history_]
    np.testing.assert_allclose(rates, [0.02, 0.02, 0.002, 0.002, 0.0002])
    # With both, each epoch has one factor of each.
    halves = LRScheduler(policy=StepLR, step_size=1, gamma=0.5)
    estimator = cls(callbacks=[halves], lr_decay=0.9, **settings).fit(X, Y)
    rates = np.array([epoch["lr"] for epoch in estimator.history_])
    np.testing.assert_allclose(rates, 0.02 * 0.45 ** np.arange(5))


@pytest.mark.parametrize(
    "params",
    [{"lr": 0.1}, {"optimizer__weight_decay": 1.0}, {"criterion": nn.MSELoss}, {"max_epochs": 3},
     {"iterator_train__shuffle": False}, {"train_split": None}, {"module": nn.Identity}],
    ids=str,
)  # fmt: skip
def test_parameters_of_the_net_that_would_change_nothing_are_refused(params):
    with pytest.raises(InputError, match=rf"net_params: \['{next(iter(params))}'\] are not for"):
        MNLClassifier(net_params=params, random_state=0).fit(X, Y)
    few = {"encoders": LinearEncoder(), "max_epochs": 2, "early_stopping": True, "polish": False}
    MNLClassifier(net_params={"warm_start": False}, random_state=0, **few).fit(X, Y)


def test_rate_decays_as_told_without_a_scheduler():
    estimator = LateFusionClassifier(lr=0.02, lr_decay=0.9, max_epochs=5, random_state=0).fit(X, Y)
    rates = [epoch["lr"] for epoch in estimator.history_]
    np.testing.assert_array_equal(rates, 0.02 * 0.9 ** np.arange(len(rates)))


@pytest.mark.parametrize(
    ("cls", "rate"),
    [
        (MNLClassifier, 0.01),
        (InTenseClassifier, 0.01),
        (RAVENClassifier, 0.01),
        (EarlyFusionClassifier, 0.003),
    ],
)
def test_first_steps_on_few_rows_are_as_long_as_told(cls, rate):
    settings = {"early_stopping": True, "random_state": 0}
    few = cls(max_epochs=2, **settings).fit(X, Y)
    assert few.history_[0]["lr"] == rate
    many = {name: np.tile(values, (12, 1)) for name, values in X.items()}
    assert cls(max_epochs=1, **settings).fit(many, np.tile(Y, 12)).history_[0]["lr"] == 0.003


@pytest.mark.parametrize(("n_classes", "rate"), [(10, 0.003), (11, 0.01)])
def test_steps_of_routing_are_longer_where_classes_are_many(n_classes, rate):
    y = np.arange(120) % n_classes
    est = RoutingClassifier(max_epochs=2, early_stopping=False, random_state=0).fit(X, y)
    assert est.history_[0]["lr"] == rate


@pytest.mark.parametrize("cls", [EarlyFusionClassifier, EarlyFusionRegressor])
def test_modalities_are_hidden_from_joint_encoders_too(cls):
    y = Y if cls is EarlyFusionClassifier else SIGNAL
    some, most = (
        cls(modality_dropout=rate, max_epochs=20, missing="mask", random_state=0).fit(X, y)
        for rate in (0.01, 0.9)
    )
    outputs = "decision_function" if cls is EarlyFusionClassifier else "predict"
    assert np.std(getattr(some, outputs)(X)) > 1.2 * np.std(getattr(most, outputs)(X))


@pytest.mark.parametrize("cls", [MNLClassifier, InTenseClassifier])
def test_hidden_modalities_teach_the_others_to_do_without(cls):
    # Two noisy copies: one is enough where it is all there is.
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, size=600)
    copies = {m: (2 * y - 1)[:, None] + 1.2 * rng.normal(size=(600, 1)) for m in "ab"}
    train = {m: v[:300] for m, v in copies.items()}
    new = {m: v[300:].copy() for m, v in copies.items()}
    new["a"][:] = np.nan
    settings = {"max_epochs": 40, "early_stopping": True, "random_state": 0}
    estimator = cls(encoders=LinearEncoder(), missing="mask", modality_dropout=0.5, **settings)
    estimator.fit(train, y[:300])
    assert np.isnan(estimator.polish_gap_)
    alone = ((new["b"][:, 0] > 0) == y[300:]).mean()
    assert estimator.score(new, y[300:]) > alone - 0.03


@pytest.mark.parametrize("cls", [MNLClassifier, LateFusionClassifier])
def test_default_dtype_of_torch_changes_nothing(cls):
    expected = cls(max_epochs=5, random_state=0).fit(X, Y).decision_function(X)
    torch.set_default_dtype(torch.float64)
    try:
        found = cls(max_epochs=5, random_state=0).fit(X, Y).decision_function(X)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(found, expected)


class Bag(nn.Module):
    def __init__(self, input_shape):
        super().__init__()
        self.vectors = nn.Embedding(5, 3)

    def forward(self, codes):
        return self.vectors(codes).mean(dim=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float64])
def test_module_gets_codes_that_embeddings_take(dtype):
    codes = RNG.integers(0, 5, size=(120, 6))
    encoder = ModuleEncoder(module=Bag, codes=True)
    settings = {"encoders": {"words": encoder}, "max_epochs": 3, "random_state": 0}
    expected = LateFusionClassifier(**settings).fit({"words": codes}, Y)
    found = LateFusionClassifier(**settings).fit({"words": codes.astype(dtype)}, Y)
    np.testing.assert_allclose(  # floats are trained in float64
        found.decision_function({"words": codes}),
        expected.decision_function({"words": codes}),
        rtol=1e-5,
    )
    np.testing.assert_array_equal(
        expected.decision_function({"words": codes.astype(dtype)}),
        expected.decision_function({"words": codes}),
    )


def test_lazy_module_may_come_with_its_width():
    encoder = ModuleEncoder(module=nn.LazyLinear(3), output_dim=3)
    estimator = MNLClassifier(encoders={"a": encoder}, max_epochs=3, random_state=0).fit(X, Y)
    assert estimator.predict(X).shape == (120,)


@pytest.mark.parametrize("settings", [{"reg": 0.0}, {"polish": False}], ids=str)
@pytest.mark.parametrize("cls", [MNLRegressor, InTenseRegressor])
def test_weights_that_are_not_solved_for_may_take_longer_steps(cls, settings):
    encoders = dict.fromkeys("ab", IdentityEncoder())
    one = {"encoders": encoders, "early_stopping": True, "random_state": 0}
    estimator = cls(**one, **settings).fit(X, SIGNAL)
    assert estimator.history_[0]["lr"] == 0.03
    assert estimator.score(X, SIGNAL) > 0.9
