"""Tests of the hint for models that predict one label throughout."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sklearn_mmfusion import MNLClassifier, RelevanceWarning, RoutingClassifier
from sklearn_mmfusion.inspection import emap, modality_shapley, perceptual_score

COLUMNS = {"text": [0, 1], "audio": [2, 3]}
HINT = "predicts the same label for all 400 rows, "


@pytest.fixture(scope="module")
def rare():
    """One row in twenty is of a class that the first column tells a little about."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 20 == 0
    X = rng.normal(size=(400, 4))
    X[:, 0] += 0.7 * y
    return X, y


@pytest.fixture(scope="module")
def model(rare):
    X, y = rare
    fitted = LogisticRegression().fit(X, y)
    # It has learned, and shows it in no prediction.
    assert roc_auc_score(y, fitted.decision_function(X)) > 0.65
    assert not fitted.predict(X).any()
    return fitted


ASKS = {
    "perceptual_score": perceptual_score,
    "modality_shapley": lambda *args, **options: modality_shapley(
        *args, value="score", n_draws=2, **options
    ),
    "emap": emap,
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("scoring", [None, "accuracy", "balanced_accuracy"])
def test_labels_that_never_change_are_hinted_at_with_a_remedy(ask, scoring, rare, model):
    expected = (
        rf"{HINT}False: scoring by {scoring or 'accuracy'} can't tell which modalities it uses"
        ".*pass scoring='roc_auc' or .*scoring='neg_log_loss'"
    )
    with pytest.warns(RelevanceWarning, match=expected) as caught:
        ask(model, *rare, modalities=COLUMNS, scoring=scoring, random_state=0)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("scoring", ["roc_auc", "neg_log_loss", "average_precision"])
def test_the_remedy_gives_no_hint(ask, scoring, rare, model):
    options = {"response": "log_proba"} if ask is emap and scoring == "neg_log_loss" else {}
    ask(model, *rare, modalities=COLUMNS, scoring=scoring, random_state=0, **options)


def test_projection_of_a_decision_function_has_no_probabilities(rare, model):
    with pytest.warns(RelevanceWarning, match="response='log_proba' and scoring='neg_log_loss'"):
        emap(model, *rare, modalities=COLUMNS)
    with pytest.warns(RelevanceWarning, match="'roc_auc' or scoring='neg_log_loss'"):
        emap(model, *rare, modalities=COLUMNS, response="log_proba")


def test_the_remedy_finds_the_modality(rare, model):
    options = {"modalities": COLUMNS, "random_state": 0}
    with pytest.warns(RelevanceWarning, match=HINT):
        blind = perceptual_score(model, *rare, **options)
    assert np.all(blind.importances == 0)
    found = perceptual_score(model, *rare, scoring="roc_auc", **options)
    assert found.importances_mean[0] > 0.1


def test_division_by_the_gain_says_both_in_one_warning(rare, model):
    with pytest.warns(RelevanceWarning, match=f"no better than that of a constant.*{HINT}") as all_:
        found = perceptual_score(
            model, *rare, modalities=COLUMNS, normalization="task", random_state=0
        )
    assert len(all_) == 1 and np.isnan(found.importances).all()


def test_predictions_of_both_labels_give_no_hint_whatever_the_accuracy(rare, model):
    X, y = rare
    # As many rows are gained as lost: the accuracy is that of the larger class.
    outputs = model.decision_function(X)
    order = np.argsort(-outputs)
    gain = np.cumsum(np.where(y[order], 1, -1))
    n = np.flatnonzero(gain == 0)[0] + 1
    moved = LogisticRegression().fit(X, y)
    moved.intercept_ = moved.intercept_ - np.mean(outputs[order[n - 1 : n + 1]])
    assert moved.predict(X).sum() == n and moved.score(X, y) == 0.95
    found = perceptual_score(moved, X, y, modalities=COLUMNS, random_state=0)
    assert found.importances_mean[0] > 0


def test_one_label_in_y_gives_no_hint(rare, model):
    X, _ = rare
    perceptual_score(model, X, np.zeros(400, dtype=bool), modalities=COLUMNS, random_state=0)


def test_a_label_that_y_lacks_is_hinted_at(rare):
    X, y = rare
    model = LogisticRegression(C=1e-6).fit(X, ["a", "b", "c", "c"] * 100)
    with pytest.warns(RelevanceWarning, match=f"{HINT}'c'.*pass scoring='roc_auc_ovr'"):
        perceptual_score(model, X, np.where(y, "a", "b"), modalities=COLUMNS, random_state=0)


def test_row_weights_make_the_shares(rare, model):
    X, y = rare
    weight = np.random.default_rng(1).uniform(size=400)
    with pytest.warns(RelevanceWarning, match=HINT):
        perceptual_score(model, X, y, modalities=COLUMNS, sample_weight=weight, random_state=0)


@pytest.mark.parametrize(
    ("estimator", "n_classes", "remedy"),
    [
        (SVC(C=0.01, random_state=0), 2, r"pass scoring='roc_auc', which reads"),
        (SVC(C=0.01, random_state=0), 3, "use a classifier with predict_proba"),
        (LogisticRegression(), 3, "pass scoring='roc_auc_ovr' or scoring='neg_log_loss'"),
        (make_pipeline(StandardScaler(), LogisticRegression()), 2, "pass scoring='roc_auc'"),
        (GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2), 2, "pass scoring='roc_auc'"),
        (
            GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2, scoring="accuracy"),
            2,
            "pass scoring='roc_auc'",
        ),
    ],
    ids=["machine", "machine-3", "three", "pipeline", "search", "search-accuracy"],
)
def test_remedy_is_one_that_the_classifier_can_take(estimator, n_classes, remedy, rare):
    X, y = rare
    y = y.astype(int)
    if n_classes == 3:
        y = np.where(np.arange(400) % 40 == 0, 2, y)
    estimator.fit(X, y)
    with pytest.warns(RelevanceWarning, match=remedy) as caught:
        perceptual_score(estimator, X, y, modalities=COLUMNS, random_state=0)
    name = str(caught[0].message).split("scoring='")[1].split("'")[0]
    if hasattr(estimator, "predict_proba") or n_classes == 2:
        perceptual_score(
            estimator, X, y, modalities=COLUMNS, scoring=name, n_repeats=1, random_state=0
        )


def test_search_by_another_score_has_that_score(rare):
    X, y = rare
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2, scoring="roc_auc").fit(X, y)
    perceptual_score(search, X, y, modalities=COLUMNS, random_state=0)


def test_scores_of_the_users_own_are_not_guessed_at(rare, model):
    X, y = rare
    perceptual_score(
        model, X, y, modalities=COLUMNS, scoring=lambda m, X, y: m.score(X, y), random_state=0
    )
    several = MultiOutputClassifier(LogisticRegression()).fit(X, np.c_[y, y])
    perceptual_score(several, X, np.c_[y, y], modalities=COLUMNS, random_state=0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["rare", "labels"])
def test_our_estimators_on_cached_encodings_are_hinted_at(rare, kind):
    X, y = rare
    X = {"text": X[:, :2], "audio": X[:, 2:]}
    model, what = MNLClassifier(max_epochs=3, random_state=0), "label for all 400 rows, False"
    if kind == "labels":
        y = np.c_[y, np.roll(y, 1)].astype(int)
        model = RoutingClassifier(max_epochs=3, random_state=0)
        what = r"labels for all 400 rows, \[0, 0\].*pass scoring='roc_auc'"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelevanceWarning)
        model.fit(X, y)
    with pytest.warns(RelevanceWarning, match=f"predicts the same {what}"):
        perceptual_score(model, X, y, random_state=0)
    perceptual_score(model, X, y, scoring="roc_auc", n_repeats=1, random_state=0)
