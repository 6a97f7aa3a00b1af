"""Tests of MNL as an object: state, warm starts, partial fits, encoders of the user."""

import copy
import pickle
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from mnl_data import BINARY, NUMBERS, THREE, N, X, params
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from sklearn_mmfusion import (
    InputError,
    LinearEncoder,
    MLPEncoder,
    MNLClassifier,
    MNLRegressor,
    ModalityFrame,
    ModuleEncoder,
)

# Few epochs and rows: only the tests of the warnings look at whether the model has learned.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

LABEL = (BINARY[0] == BINARY).astype(int)


# -- state ------------------------------------------------------------------------------------


def test_order_of_modalities_in_the_mapping_is_irrelevant():
    est = MNLClassifier(**params()).fit(X, THREE)
    turned = {name: X[name] for name in reversed(X)}
    other = MNLClassifier(**params()).fit(turned, THREE)
    np.testing.assert_array_equal(est.predict_proba(X), other.predict_proba(turned))
    np.testing.assert_array_equal(est.predict_proba(turned), est.predict_proba(X))
    assert other.relevance_scores_ == est.relevance_scores_
    assert other.modality_names_ == list(turned)
    assert est.modality_names_ == list(X)


def test_parameter_modalities_selects_and_orders():
    est = MNLClassifier(**params(modalities=["audio", "text"])).fit(X, THREE)
    assert est.modality_names_ == est.term_names_ == ["audio", "text"]


def test_pickle_has_no_torch_and_no_training_data():
    sizes = []
    for n in (N, 10 * N):
        x = {name: np.resize(values, (n, values.shape[1])) for name, values in X.items()}
        est = MNLRegressor(**params(max_epochs=3, early_stopping=False)).fit(
            x, np.resize(NUMBERS, n)
        )
        est.predict(x)  # the rebuilt module must not get into the pickle
        data = pickle.dumps(est)
        assert b"torch" not in data
        sizes.append(len(data))
        again = pickle.loads(data)
        np.testing.assert_array_equal(again.predict(x), est.predict(x))
        np.testing.assert_array_equal(copy.deepcopy(est).predict(x), est.predict(x))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


def test_set_params_on_a_fitted_model_changes_nothing_before_the_next_fit():
    est = MNLClassifier(**params()).fit(X, THREE)
    proba, scores = est.predict_proba(X), dict(est.relevance_scores_)
    est.set_params(
        p=2, reg=10.0, encoders=MLPEncoder(), missing="mask", random_state=3, dtype="float32"
    )
    np.testing.assert_array_equal(est.predict_proba(X), proba)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(est)).predict_proba(X), proba)
    assert est.relevance_scores_ == scores
    est.remove_terms(["noise"])
    assert sum(est.relevance_scores_.values()) == pytest.approx(1)  # still of p = 1


def test_fit_twice_equals_fit_once():
    est = MNLClassifier(**params()).fit(X, THREE)
    proba = est.predict_proba(X)
    np.testing.assert_array_equal(est.fit(X, THREE).predict_proba(X), proba)


def test_warm_start_goes_on_from_the_last_fit():
    cold = MNLRegressor(**params(max_epochs=40, early_stopping=False, polish=True)).fit(X, NUMBERS)
    est = clone(cold).set_params(max_epochs=1, warm_start=True, polish=False, reg=0.0)
    est._results, est._schema = cold._results, cold._schema
    est.fit(X, NUMBERS)
    fresh = clone(cold).set_params(max_epochs=1, polish=False, reg=0.0).fit(X, NUMBERS)
    assert est.history_[0]["train_loss"] < 0.5 * fresh.history_[0]["train_loss"]


def test_warm_start_with_another_shape_is_refused():
    est = MNLRegressor(**params(max_epochs=2, warm_start=True)).fit(X, NUMBERS)
    before = est.predict(X)
    with pytest.raises(InputError, match="warm_start"):
        est.fit({"text": X["text"]}, NUMBERS)
    np.testing.assert_array_equal(est.predict(X), before)


def test_remove_terms_leaves_the_rest_of_the_model():
    est = MNLRegressor(**params()).fit(X, NUMBERS)
    before, names = est.contributions(X), list(est.term_names_)
    assert est.remove_terms(["noise"]) is est
    assert est.term_names_ == ["text", "audio"]
    np.testing.assert_allclose(est.contributions(X), before[:, :2], rtol=1e-12)
    np.testing.assert_allclose(est.predict(X), before[:, :2].sum((1, 2)) + est.intercept_[0])
    assert sum(est.relevance_scores_.values()) == pytest.approx(1)
    with pytest.raises(InputError, match="no such terms"):
        est.remove_terms(["noise"])
    with pytest.raises(InputError, match="at least one"):
        est.remove_terms(["text", "audio"])
    assert est.fit(X, NUMBERS).term_names_ == names


def test_remove_terms_keeps_the_norm_parameter_of_the_fit():
    est = MNLRegressor(**params(p=2)).fit(X, NUMBERS)
    norms = np.array(list(est.relevance_scores_.values()))[:2]
    est.set_params(p=1).remove_terms(["noise"])
    expected = norms / np.sqrt(np.sum(norms**2))
    np.testing.assert_allclose(list(est.relevance_scores_.values()), expected, rtol=1e-9)


def test_warm_start_with_other_names_of_the_same_shape_is_refused():
    est = MNLRegressor(**params(max_epochs=2, warm_start=True)).fit(X, NUMBERS)
    renamed = {"text": X["text"], "sound": X["audio"], "noise": X["noise"]}
    with pytest.raises(InputError, match="modalities, encoders or outputs differ"):
        est.fit(renamed, NUMBERS)


# -- partial_fit ------------------------------------------------------------------------------


def test_partial_fit_learns_over_many_calls():
    est = MNLClassifier(**params(lr=0.02))
    for call in range(60):
        rows = np.arange(N)[call % 3 :: 3]
        batch = {name: values[rows] for name, values in X.items()}
        est.partial_fit(batch, THREE[rows], classes=["low", "mid", "top"])
    assert est.n_iter_ == len(est.history_) == 60
    assert [epoch["epoch"] for epoch in est.history_] == list(range(1, 61))
    assert {epoch["lr"] for epoch in est.history_} == {0.02}  # a stream has no end to decay to
    assert est.score(X, THREE) > 0.65
    assert np.isnan(est.validation_gain_)


def test_partial_fit_knows_classes_that_the_first_batch_lacks():
    rows = THREE != "top"
    est = MNLClassifier(**params())
    est.partial_fit({k: v[rows] for k, v in X.items()}, THREE[rows], classes=np.unique(THREE))
    assert est.predict_proba(X).shape == (N, 3)
    est.partial_fit(X, THREE)
    est.partial_fit(X, THREE, classes=["top", "mid", "low"])
    assert est.n_iter_ == 3


@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_partial_fit_refuses_other_classes_than_before_and_keeps_the_fit(first):
    est = getattr(MNLClassifier(**params(max_epochs=2)), first)(X, BINARY)
    before = est.predict_proba(X)
    with pytest.raises(InputError, match=r"^classes: .* \(new: \['maybe'\], missing: \[\]\)"):
        est.partial_fit(X, BINARY, classes=["maybe", "no", "yes"])
    np.testing.assert_array_equal(est.predict_proba(X), before)
    # A regressor has no classes.
    assert (
        MNLRegressor(**params()).partial_fit(X, NUMBERS).partial_fit(X, NUMBERS, [0]).n_iter_ == 2
    )


@pytest.mark.parametrize("first", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("cls", "y", "other", "said"),
    [
        (MNLRegressor, np.c_[NUMBERS, NUMBERS], NUMBERS, "2 targets per row.* got 1 target per"),
        (MNLRegressor, NUMBERS, np.c_[NUMBERS, NUMBERS], "1 target per row.* got 2 targets per"),
        (MNLClassifier, np.eye(2, dtype=int)[LABEL], LABEL, "2 labels per row.* got one label per"),
        (MNLClassifier, LABEL, np.eye(2, dtype=int)[LABEL], "one label per row.* got 2 labels per"),
    ],
)
def test_partial_fit_refuses_other_outputs_than_before_and_keeps_the_fit(
    first, cls, y, other, said
):
    est = getattr(cls(**params(max_epochs=2)), first)(X, y)
    before = est.predict(X)
    with pytest.raises(InputError, match=f"^y: expected {said}"):
        est.partial_fit(X, other)
    np.testing.assert_array_equal(est.predict(X), before)


def test_partial_fit_keeps_the_names_of_targets_where_a_batch_has_none():
    y = np.c_[NUMBERS, -NUMBERS]
    est = MNLRegressor(**params()).partial_fit(X, pd.DataFrame(y, columns=["steps", "speed"]))
    frame = est.partial_fit(X, y).explain_local(X).to_frame()
    assert frame["output"].unique().tolist() == ["steps", "speed"]


def test_partial_fit_goes_on_after_fit_and_pickle():
    est = MNLRegressor(**params()).fit(X, NUMBERS)
    score, n = est.score(X, NUMBERS), est.n_iter_
    est = pickle.loads(pickle.dumps(est)).partial_fit(X, NUMBERS)
    assert est.n_iter_ == n + 1
    assert est.score(X, NUMBERS) > score - 0.05


# -- encoders ---------------------------------------------------------------------------------


def linear_of_the_user():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Linear(4, 3)


@pytest.mark.parametrize("trainable", [False, True])
def test_module_of_the_user_is_copied_and_trained_or_frozen(trainable):
    module = linear_of_the_user()
    weight = module.weight.detach().clone()
    encoders = {"text": ModuleEncoder(module=module, trainable=trainable), "audio": LinearEncoder()}
    est = MNLClassifier(**params(encoders=encoders, modalities=["text", "audio"])).fit(X, BINARY)
    assert torch.equal(module.weight, weight)
    fitted = est.module_.encoders[est._result.plan.names.index("text")].module.weight
    assert torch.equal(fitted, weight.double()) is not trainable
    assert est.score(X, BINARY) > 0.7


class Remembers(nn.Module):
    """Returns two numbers a row, and remembers what it was given."""

    given: ClassVar[list] = []

    def __init__(self, layout):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(layout.shape[-1], 2))

    def forward(self, values):
        Remembers.given.append(values.detach())
        return (values @ self.weight).reshape(len(values), -1, 2).mean(1)


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("standardize", ["auto", False, True])
def test_module_of_the_user_gets_standardised_values_where_it_is_to(trainable, standardize):
    far = {"text": 1000 + X["text"], "audio": X["audio"]}
    encoder = ModuleEncoder(
        module=Remembers, output_dim=2, trainable=trainable, standardize=standardize
    )
    est = MNLClassifier(**params(encoders={"text": encoder}, modalities=["text"]))
    Remembers.given.clear()
    est.fit({"text": far["text"]}, BINARY).predict({"text": far["text"]})
    standardised = trainable if standardize == "auto" else standardize
    for values in Remembers.given[1:]:  # the first are zeros, to see that it works
        mean = float(values.mean())
        assert abs(mean) < 5 if standardised else abs(mean - 1000) < 5
    np.testing.assert_allclose(
        Remembers.given[-1], est.module_.scalers[0](torch.tensor(far["text"]), None, None,
        torch.float64) if standardised else far["text"],
    )  # fmt: skip


def test_values_that_are_not_standardised_are_zero_where_they_are_missing():
    values = np.where(np.arange(len(X["text"]))[:, None] % 5 == 0, np.nan, 1000 + X["text"])
    encoder = ModuleEncoder(module=Remembers, output_dim=2, trainable=False)
    est = MNLClassifier(**params(encoders={"text": encoder}, missing="mask"))
    Remembers.given.clear()
    data = {"text": values, "audio": X["audio"]}
    found = est.fit(data, BINARY).predict_proba(data)
    assert not any(torch.isnan(given).any() for given in Remembers.given)
    np.testing.assert_array_equal(Remembers.given[-1], np.nan_to_num(values))
    loaded = pickle.loads(pickle.dumps(est)).predict_proba(data)
    np.testing.assert_array_equal(loaded, found)


def test_plain_module_is_an_encoder():
    encoders = {"text": linear_of_the_user()}
    est = MNLClassifier(**params(encoders=encoders, modalities=["text"])).fit(X, BINARY)
    assert isinstance(est.encoders_["text"], ModuleEncoder)


def test_grid_reaches_encoders_that_were_chosen_by_shape():
    search = GridSearchCV(
        MNLClassifier(**params(encoders="auto", max_epochs=3, modalities=["text", "audio"])),
        {"encoders__text__hidden_dim": [3, 9]},
        cv=2,
        error_score="raise",
    )
    search.fit(ModalityFrame(X), BINARY)
    chosen = search.best_params_["encoders__text__hidden_dim"]
    assert search.best_estimator_.encoders_["text"].hidden_dim == chosen
    assert chosen in (3, 9)
