"""One modality alone: the bits of late fusion of that modality, and what it looks at."""

import pickle

import numpy as np
import pandas as pd
import pytest
from bad_inputs import BAD, NAMED, good
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_mmfusion import (
    InputError,
    LateFusionClassifier,
    LateFusionRegressor,
    ModalityFrame,
    UnimodalClassifier,
    UnimodalRegressor,
)
from sklearn_mmfusion.utils.estimator_checks import check_multimodal_estimator

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N = 60
RNG = np.random.default_rng(0)
X = {"text": RNG.normal(size=(N, 4)), "audio": RNG.normal(size=(N, 5, 2))}
SIGNAL = X["text"][:, 0] + X["audio"][:, :, 0].mean(1)
QUICK = {"max_epochs": 3, "early_stopping": False, "random_state": 0}
PAIRS = [
    (UnimodalClassifier, LateFusionClassifier, SIGNAL > 0),
    (UnimodalRegressor, LateFusionRegressor, 3 + 2 * SIGNAL),
]


@pytest.mark.parametrize(("cls", "late", "y"), PAIRS)
@pytest.mark.parametrize("name", X)
def test_it_is_late_fusion_of_the_one_modality(cls, late, y, name):
    est = cls(name, **QUICK).fit(X, y)
    plain = late(modalities=[name], **QUICK).fit(X, y)
    np.testing.assert_array_equal(est.contributions(X), plain.contributions(X))
    np.testing.assert_array_equal(est.predict(X), plain.predict(X))
    assert est.term_names_ == est.modality_names_ == list(est.feature_names_in_) == [name]
    assert est.n_features_in_ == 1


@pytest.mark.parametrize(("cls", "late", "y"), PAIRS)
def test_values_of_other_modalities_are_not_looked_at(cls, late, y):
    whole = cls("text", **QUICK).fit(X, y)
    other = X | {"audio": np.full((N, 5, 2), np.nan)}
    est = cls("text", **QUICK).fit(other, y)
    np.testing.assert_array_equal(est.predict({"text": X["text"]}), whole.predict(X))
    np.testing.assert_array_equal(est.partial_fit(other, y).predict(other).shape, (N,))


@pytest.mark.parametrize(("cls", "late", "y"), PAIRS)
def test_every_form_of_x_gives_the_same_model(cls, late, y):
    expected = cls("text", **QUICK).fit(X, y).predict(X)
    table = np.column_stack([X["audio"].reshape(N, -1), X["text"]])
    spec = {"audio": (slice(0, 10), (5, 2)), "text": slice(10, 14)}
    in_columns = cls("text", modalities=spec, **QUICK).fit(table, y)
    assert (in_columns.n_features_in_, in_columns.modality_names_) == (14, ["text"])
    frame = ModalityFrame(X)
    named = pd.DataFrame(table, columns=[f"c{i}" for i in range(14)])
    by_name = {"audio": list(named.columns[:10]), "text": list(named.columns[10:])}
    for est, x in [
        (in_columns, table),
        (cls("text", **QUICK).fit(frame, y), frame),
        (cls("text", modalities=by_name, **QUICK).fit(named, y), named),
        (cls(**QUICK).fit({"text": X["text"]}, y), X | {"text": X["text"]}),
    ]:
        x = x if est.modality is not None else {"text": X["text"]}
        np.testing.assert_array_equal(est.predict(x), expected)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(est)).predict(x), expected)  # noqa: S301


@pytest.mark.parametrize(("cls", "late", "y"), PAIRS)
def test_no_name_for_several_modalities_and_unknown_names_raise(cls, late, y):
    pattern = f"modality=None: expected X with a single modality.*{cls.__name__}.modality='text'"
    with pytest.raises(InputError, match=pattern):
        cls(**QUICK).fit(X, y)
    with pytest.raises(InputError, match="modality 'txt'.*did you mean 'text'"):
        cls("txt", **QUICK).fit(X, y)
    est = cls("text", **QUICK).fit(X, y)
    with pytest.raises(InputError, match="missing: .'text'."):
        est.predict({"audio": X["audio"]})


def test_the_modality_is_searchable():
    y = (X["audio"][:, :, 0].mean(1) > 0).astype(int)
    est = UnimodalClassifier(**QUICK | {"max_epochs": 30, "lr": 0.03})
    search = GridSearchCV(est, {"modality": ["text", "audio"]}, cv=2).fit(ModalityFrame(X), y)
    assert search.best_params_ == {"modality": "audio"}
    assert search.score(ModalityFrame(X), y) > 0.8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cls", [UnimodalClassifier, UnimodalRegressor])
def test_contract_holds_but_for_the_modalities_that_are_not_its_own(cls):
    results = check_multimodal_estimator(cls("text", max_epochs=3), on_fail=None)
    failed = {result["check_name"] for result in results if result["status"] != "passed"}
    # It counts one modality of three, and does not mind what the others hold or lack.
    assert failed == {
        "check_fit_attributes",
        "check_grid_search",
        "check_feature_count",
        "check_modality_names",
        "check_different_rows",
        "check_failed_fit",
    }
    assert len(results) - len(failed) > 25
    assert clone(cls("text")).modality == "text"


@pytest.fixture(scope="module")
def fitted():
    """Fits to either modality of the good input, which faults leave as they are."""
    names = ("audio", "text")
    return [UnimodalRegressor(name, **QUICK).fit(good(), np.arange(8.0)) for name in names]


@pytest.mark.parametrize(
    ("build", "error", "pattern"),
    [pytest.param(*row, id=name) for name, *row in BAD if row[2].startswith(NAMED)],
)
def test_faults_of_its_modality_are_refused_and_others_are_not_seen(fitted, build, error, pattern):
    y = np.arange(8.0)
    est, whole = fitted
    before = est.predict(good())
    for call in (lambda: est.fit(build(), y), lambda: est.predict(build())):
        with pytest.raises(error, match=pattern):
            call()
    np.testing.assert_array_equal(est.predict(good()), before)
    if len(text := build()["text"]):  # one of the faults is that there are no rows
        np.testing.assert_array_equal(whole.predict(build()), whole.predict({"text": text}))
