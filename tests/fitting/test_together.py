"""Tests of fits that run side by side: each leaves what it leaves alone."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from side_by_side import (
    CLASSES,
    RNG,
    SIGNAL,
    N,
    X,
    assert_same_results,
    count_companies,
    one_by_one,
    params,
)
from sklearn.base import clone
from skorch.callbacks import Callback

from sklearn_mmfusion import (
    SGD,
    AdamW,
    GRUEncoder,
    IdentityEncoder,
    InTenseClassifier,
    InTenseRegressor,
    LinearEncoder,
    MLPEncoder,
    MNLClassifier,
    MNLRegressor,
    _base,
)
from sklearn_mmfusion._fitting import together as together_module
from sklearn_mmfusion._training import progress as progress_module

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

WEIGHT = RNG.exponential(size=N)
MISSING = {name: values.copy() for name, values in X.items()}
MISSING["a"][::7], MISSING["c"][3::11] = np.nan, np.nan


@pytest.fixture
def companies(monkeypatch):
    return count_companies(monkeypatch)


I_CLASSIFIER, M_CLASSIFIER, I_REGRESSOR, M_REGRESSOR = (
    InTenseClassifier, MNLClassifier, InTenseRegressor, MNLRegressor,
)  # fmt: skip
CASES = {
    "binary": (I_CLASSIFIER, {}, X, CLASSES, {}),
    "default encoders": (I_CLASSIFIER, {"encoders": "auto", "max_epochs": 3}, X, CLASSES, {}),
    "classes with weights": (
        I_CLASSIFIER, {"class_weight": "balanced", "reg": 0.01}, X,
        np.digitize(SIGNAL, [-0.5, 0.5]), {},
    ),
    "labels": (
        I_CLASSIFIER, {"reg": 0.01}, X,
        np.column_stack([CLASSES, X["a"][:, 1] > 0]).astype(int), {},
    ),
    "weighted rows": (I_CLASSIFIER, {"reg": 0.01}, X, CLASSES, {"sample_weight": WEIGHT}),
    "regression": (
        I_REGRESSOR, {"interactions": 3, "lr_decay": 0.8}, X,
        np.column_stack([SIGNAL, X["a"][:, 1]]), {},
    ),
    "absolute error": (M_REGRESSOR, {"loss": "absolute_error", "reg": 0.01}, X, SIGNAL, {}),
    "missing": (I_CLASSIFIER, {"missing": "mask"}, MISSING, CLASSES, {"sample_weight": WEIGHT}),
    "modality dropout": (I_CLASSIFIER, {"modality_dropout": 0.3}, X, CLASSES, {}),
    "small data, full batches": (
        M_CLASSIFIER, {"batch_size": "auto", "early_stopping": "auto"}, X, CLASSES, {},
    ),
    "no held-out rows": (I_CLASSIFIER, {"early_stopping": False}, X, CLASSES, {}),
    "rows of the user": (
        I_CLASSIFIER, {}, X, CLASSES,
        {"X_val": {name: v[:30] for name, v in X.items()}, "y_val": CLASSES[:30]},
    ),
    "other encoders": (
        I_CLASSIFIER,
        {
            "encoders": {
                "a": LinearEncoder(dropout=0.2), "b": MLPEncoder(), "c": IdentityEncoder(),
            },
            "reg": 0.01,
        },
        X, CLASSES, {},
    ),
    "SGD": (I_CLASSIFIER, {"optimizer": SGD(), "lr": 0.05, "reg": 0.01}, X, CLASSES, {}),
    "p of 2, a number for reg": (I_CLASSIFIER, {"p": 2, "reg": 0.01}, X, CLASSES, {}),
    "one row in the last batch": (I_CLASSIFIER, {"batch_size": 17, "reg": 0.01}, X, CLASSES, {}),
    "float32": (
        M_CLASSIFIER, {"optimizer": SGD(), "lr": 0.05, "reg": 0.01},
        {name: v.astype(np.float32) for name, v in X.items()}, CLASSES, {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_members_trained_together_equal_members_trained_alone(name, companies):
    cls, changes, x, y, extra = CASES[name]
    est = cls(**params(**changes))
    with one_by_one():
        alone = clone(est).fit(x, y, **extra)
    assert companies == []
    together = clone(est).fit(x, y, **extra)
    # Where rows lack modalities each is trained alone: shares of rows differ between members.
    assert companies == [] if name == "missing" else companies[0] == 3
    assert_same_results(together._results, alone._results, 1e-4 if name == "float32" else 1e-9)


def test_polished_members_equal_those_trained_alone(companies):
    est = InTenseClassifier(**params(polish=True))
    with one_by_one():
        alone = clone(est).fit(X, CLASSES)
    assert_same_results(clone(est).fit(X, CLASSES)._results, alone._results, 1e-6)
    assert companies[0] == 3


def test_members_end_each_at_its_own_epoch_and_keep_their_best(companies):
    est = MNLClassifier(**params(max_epochs=30, n_iter_no_change=2, lr=0.05))
    with one_by_one():
        alone = clone(est).fit(X, CLASSES)
    together = clone(est).fit(X, CLASSES)
    trainings = [result.training for result in together._results]
    assert len({training.n_epochs for training in trainings}) > 1
    assert all(training.stopped for training in trainings)
    assert any(training.best_epoch < training.n_epochs for training in trainings)
    assert_same_results(together._results, alone._results, 1e-7)


def test_members_go_on_from_the_last_fit_together(companies):
    est = InTenseRegressor(**params(warm_start=True))
    with one_by_one():
        alone = clone(est).fit(X, SIGNAL).fit(X, SIGNAL)
    together = clone(est).fit(X, SIGNAL).fit(X, SIGNAL)
    assert set(companies) <= {2, 3}
    assert len(companies) > 2
    assert_same_results(together._results, alone._results)


def test_more_members_than_a_stack_takes_come_in_even_parts(companies):
    est = MNLClassifier(**params(n_bags=12, max_epochs=2, reg=0.01)).fit(X, CLASSES)
    assert companies == [6, 6]
    assert len(est._results) == 12


# -- what goes on alone -----------------------------------------------------------------------


class _OwnOptimizer(AdamW):
    pass


@pytest.mark.parametrize(
    "changes",
    [
        {"callbacks": [Callback()]},
        {"checkpoint": "fit.zip"},
        {"net_params": {"warm_start": False}},
        {"verbose": 1},
        {"dtype": "bfloat16"},
        {"optimizer": _OwnOptimizer()},
        {"encoders": {"a": GRUEncoder(hidden_dim=2), "b": "auto", "c": "auto"}},
        {"n_bags": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_cannot_be_had_together_goes_on_one_after_the_other(changes, companies, tmp_path):
    if "checkpoint" in changes:
        changes = {"checkpoint": tmp_path / changes["checkpoint"]}
    x = X
    if isinstance(changes.get("encoders"), dict):
        x = X | {"a": X["a"].reshape(N, 2, 2)}
    est = MNLClassifier(**params(max_epochs=2, **changes)).fit(x, CLASSES)
    assert companies == []
    assert len(est._results) == est.n_bags


def test_large_batches_go_on_one_after_the_other(companies, monkeypatch):
    monkeypatch.setattr(together_module, "_MAX_BATCH_ROWS", 19)
    MNLClassifier(**params(max_epochs=2)).fit(X, CLASSES)
    assert companies == []


def test_whoever_follows_a_fit_sees_one_training_at_a_time(monkeypatch):
    est = MNLClassifier(**params())
    plan, options, rows = fit_inputs(est)
    assert together_module.may_run_beside_others(plan, options, rows)
    monkeypatch.setattr(progress_module.FitTask, "has_listeners", property(lambda self: True))
    assert not together_module.may_run_beside_others(plan, options, rows)


@pytest.mark.parametrize(
    ("device", "batch_size", "n_bytes", "together"),
    [
        ("cpu", 128, 8 * 2**20, True),
        ("cpu", 129, 0, False),
        ("cpu", 128, 8 * 2**20 + 1, False),
        ("cuda:0", 4096, 128 * 2**20, True),
        ("cuda:0", 4097, 0, False),
        ("cuda:0", 4096, 128 * 2**20 + 1, False),
        ("mps", 32, 0, False),  # which has no float64
    ],
)
def test_a_gpu_takes_larger_batches_and_data_together(device, batch_size, n_bytes, together):
    plan, options, rows = fit_inputs(MNLClassifier(**params()))
    block = SimpleNamespace(values=SimpleNamespace(nbytes=n_bytes), present=None)
    data = SimpleNamespace(n_samples=10_000, blocks=[block])
    options, rows = replace(options, device=device, batch_size=batch_size), replace(rows, data=data)
    assert together_module.may_run_beside_others(plan, options, rows) is together
    block.present = np.ones(10_000, dtype=bool)
    assert not together_module.may_run_beside_others(plan, options, rows)


def fit_inputs(est):
    """What the rule is asked about when an estimator is fitted."""
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_base, "may_run_beside_others", lambda *args: asked.append(args))
        next(est._fitting(X, CLASSES, None))
    return asked[0]
